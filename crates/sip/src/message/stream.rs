//! Framing on streams (RFC 3261 §18.3) with keep-alives (RFC 5626 §3.5.1).

use super::ReadError;
use super::read::{MAX_HEAD, MAX_MESSAGE};
use bytes::{Buf, Bytes, BytesMut};

/// Framer of a byte stream; holds at most one message's worth of octets, and looks at each once however slowly they come.
#[derive(Debug, Default)]
pub struct Stream {
    octets: BytesMut,
    /// Number of octets that were searched for the end of the header block.
    searched: usize,
    /// Length of the message, once its header block is there.
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
    /// The stream cannot be framed any more (no or negative Content-Length, several, over the limits): what came of the message. It
    /// is to be answered, if it is a request, and the stream to be closed.
    Broken(ReadError, Bytes),
}

impl Stream {
    /// Adds octets read from the connection.
    pub fn push(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// Returns true if no part of a message is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.octets.iter().all(|octet| matches!(octet, b'\r' | b'\n'))
    }

    /// Returns the next event; to be called until it is `Wait` or `Broken`.
    pub fn take(&mut self) -> Framed {
        let length = match self.length {
            Some(length) => length,
            None => match self.find_length() {
                Ok(length) => length,
                Err(other) => return other,
            },
        };
        if self.octets.len() < length {
            self.length = Some(length);
            return Framed::Wait;
        }
        (self.length, self.searched) = (None, 0);
        Framed::Message(self.octets.split_to(length).freeze())
    }

    /// Returns the length of the next message, or the event that there is in its place.
    fn find_length(&mut self) -> Result<usize, Framed> {
        if self.octets.starts_with(b"\r\n\r\n") {
            self.skip(4);
            return Err(Framed::Ping);
        }
        // A single CRLF is a pong, or white space before a message.
        while self.octets.starts_with(b"\r\n")
            && self.octets.len() > 2
            && !self.octets[2..].starts_with(b"\r")
        {
            self.skip(2);
        }
        let from = self.searched.saturating_sub(3);
        let end = self.octets[from..].windows(4).position(|w| w == b"\r\n\r\n").map(|at| from + at + 4);
        let Some(end) = end else {
            self.searched = self.octets.len();
            let long = self.searched > MAX_HEAD;
            return Err(if long { self.broken(ReadError::TooLarge) } else { Framed::Wait });
        };
        match content_length(&self.octets[..end]).map(|length| end.saturating_add(length)) {
            Ok(length) if length <= MAX_MESSAGE => Ok(length),
            Ok(_) => Err(self.broken(ReadError::TooLarge)),
            Err(why) => Err(self.broken(ReadError::BrokenRequest(why))),
        }
    }

    fn skip(&mut self, octets: usize) {
        self.octets.advance(octets);
        self.searched = 0;
    }

    fn broken(&mut self, error: ReadError) -> Framed {
        Framed::Broken(error, self.octets.split().freeze())
    }
}

fn content_length(head: &[u8]) -> Result<usize, &'static str> {
    let mut found = None;
    for line in head.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let name = line[..colon].trim_ascii();
        if name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l") {
            let value =
                std::str::from_utf8(&line[colon + 1..]).ok().and_then(|value| value.trim().parse().ok());
            let value = value.ok_or("a Content-Length that is no number")?;
            if found.is_some_and(|found| found != value) {
                return Err("several Content-Lengths");
            }
            found = Some(value);
        }
    }
    found.ok_or("no Content-Length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(octets: &[u8], size: usize) -> Vec<Framed> {
        let (mut stream, mut events) = (Stream::default(), vec![]);
        for piece in octets.chunks(size) {
            stream.push(piece);
            loop {
                match stream.take() {
                    Framed::Wait => break,
                    event => events.push(event),
                }
                if matches!(events.last(), Some(Framed::Broken(..))) {
                    return events;
                }
            }
        }
        events
    }

    #[test]
    fn pieces_of_any_size_make_the_same_messages() {
        let octets =
            b"\r\nA\r\nl: 3\r\n\r\nabc\r\n\r\nB\r\nl:0\r\n\r\nC\r\nContent-length : 1\r\nL: 1\r\n\r\nx\r\n";
        let whole = events(octets, octets.len());
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[1], Framed::Ping);
        for size in 1..octets.len() {
            assert_eq!(events(octets, size), whole, "{size}");
        }
    }

    #[test]
    fn g12_a_length_that_frames_nothing_is_told_with_what_came() {
        let huge = format!("l: {}", usize::MAX);
        for (line, error) in [
            ("l: -1", ReadError::BrokenRequest("a Content-Length that is no number")),
            ("l: x", ReadError::BrokenRequest("a Content-Length that is no number")),
            ("x: 1", ReadError::BrokenRequest("no Content-Length")),
            ("l: 1\r\nContent-Length: 2", ReadError::BrokenRequest("several Content-Lengths")),
            ("l: 65536", ReadError::TooLarge),
            (huge.as_str(), ReadError::TooLarge),
        ] {
            let text = format!("A\r\n{line}\r\n\r\nbody");
            for size in [1, text.len()] {
                let found = events(text.as_bytes(), size);
                let Some(Framed::Broken(why, octets)) = found.last() else { panic!("{line}") };
                assert_eq!(*why, error, "{line}");
                assert!(text.as_bytes().starts_with(octets) && octets.len() > text.len() - 5, "{line}");
            }
        }
        let endless = events(&b"x: y\r\n".repeat(10_000), 100);
        assert!(
            matches!(endless.as_slice(), [Framed::Broken(ReadError::TooLarge, octets)] if octets.len() <= MAX_HEAD + 100)
        );
    }

    /// Octets that were searched once are not searched again.
    #[test]
    fn f15_a_dribbled_message_is_searched_once() {
        let head = format!("INFO sip:a@b SIP/2.0\r\nX: {}\r\nContent-Length: 4\r\n\r\n", "x".repeat(2_000));
        let mut stream = Stream::default();
        assert!(stream.is_empty());
        for (at, octet) in head.bytes().enumerate() {
            assert!(stream.searched >= at, "{at}");
            stream.push(&[octet]);
            assert_eq!(stream.take(), Framed::Wait);
        }
        assert_eq!(stream.length, Some(head.len() + 4));
        stream.push(b"body");
        assert!(matches!(stream.take(), Framed::Message(_)) && stream.is_empty());
    }
}
