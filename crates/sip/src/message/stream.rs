//! Framing on streams (RFC 3261 §18.3) with keep-alives (RFC 5626 §3.5.1).

use super::read::{MAX_HEAD, MAX_MESSAGE};
use bytes::{Buf, Bytes, BytesMut};

/// Framer of a byte stream; holds at most one message's worth of octets, and looks at each of them once.
#[derive(Debug, Default)]
pub struct Stream {
    held: BytesMut,
    /// Number of octets in which no end of a header block begins.
    searched: usize,
    /// Length of the message whose header block is complete.
    length: Option<usize>,
}

/// Next event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Framed {
    /// Octets of one message, for [`super::read`].
    Message(Bytes),
    /// CRLF CRLF: answer with CRLF.
    Ping,
    /// More octets are needed.
    Wait,
    /// The stream cannot be framed any more (no or negative Content-Length, over the limits): close it.
    Broken(&'static str),
}

impl Stream {
    /// Adds octets read from the connection.
    pub fn push(&mut self, octets: &[u8]) {
        self.held.extend_from_slice(octets);
    }

    /// Returns true if no part of a message is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.iter().all(|octet| matches!(octet, b'\r' | b'\n'))
    }

    /// Returns the next event; to be called until it is `Wait` or `Broken`.
    pub fn take(&mut self) -> Framed {
        let length = match self.length {
            Some(length) => length,
            None => match self.head() {
                Ok(length) => *self.length.insert(length),
                Err(event) => return event,
            },
        };
        if self.held.len() < length {
            return Framed::Wait;
        }
        (self.searched, self.length) = (0, None);
        Framed::Message(self.held.split_to(length).freeze())
    }

    /// Returns the length of the message whose header block is here, or what comes in its place.
    fn head(&mut self) -> Result<usize, Framed> {
        if self.held.starts_with(b"\r\n\r\n") {
            self.held.advance(4);
            self.searched = 0;
            return Err(Framed::Ping);
        }
        // A single CRLF is a pong, or white space before a message.
        while self.held.starts_with(b"\r\n") && self.held.len() > 2 && !self.held[2..].starts_with(b"\r") {
            self.held.advance(2);
            self.searched = 0;
        }
        let Some(end) = self.held[self.searched..].windows(4).position(|w| w == b"\r\n\r\n") else {
            self.searched = self.held.len().saturating_sub(3);
            let too_long = self.held.len() > MAX_HEAD;
            return Err(if too_long { Framed::Broken("header block too long") } else { Framed::Wait });
        };
        let end = self.searched + end + 4;
        let length = content_length(&self.held[..end]).ok_or(Framed::Broken("no usable Content-Length"))?;
        if length > MAX_MESSAGE.saturating_sub(end) {
            Err(Framed::Broken("message too long"))
        } else {
            Ok(end + length)
        }
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let mut found = None;
    for line in head.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let name = line[..colon].trim_ascii();
        if name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l") {
            let value = std::str::from_utf8(&line[colon + 1..]).ok()?.trim().parse().ok()?;
            if found.is_some_and(|f| f != value) {
                return None;
            }
            found = Some(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was searched once is not searched again, and the end of a header block is found wherever the stream was cut.
    #[test]
    fn f15_a_dribbled_message_is_searched_once() {
        let head = format!("INFO sip:a@b SIP/2.0\r\nX: {}\r\nContent-Length: 4\r\n\r\n", "x".repeat(2_000));
        let whole = [head.as_bytes(), b"body"].concat();
        let mut stream = Stream::default();
        for (at, octet) in whole.iter().enumerate() {
            stream.push(&[*octet]);
            let event = stream.take();
            if at + 1 == whole.len() {
                assert_eq!(event, Framed::Message(Bytes::copy_from_slice(&whole)));
            } else {
                assert_eq!(event, Framed::Wait, "{at}");
                let searched = if at + 1 < head.len() { at.saturating_sub(2) } else { head.len() - 4 };
                assert_eq!(stream.searched, searched, "{at}");
            }
        }
        assert!(stream.is_empty());
        // And the next one begins anew.
        stream.push(&whole);
        assert_eq!(stream.take(), Framed::Message(whole.into()));
    }

    #[test]
    fn a_length_beyond_all_numbers_breaks_the_stream() {
        for length in ["18446744073709551615", "18446744073709551616", "-1", "65536000", "x", ""] {
            let mut stream = Stream::default();
            stream.push(format!("INFO sip:a@b SIP/2.0\r\nContent-Length: {length}\r\n\r\n").as_bytes());
            assert!(matches!(stream.take(), Framed::Broken(_)), "{length}");
        }
    }
}
