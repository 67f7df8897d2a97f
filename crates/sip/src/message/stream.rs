//! Framing on streams (RFC 3261 §18.3) with keep-alives (RFC 5626 §3.5.1).

use super::read::{MAX_HEAD, MAX_MESSAGE};
use bytes::{Buf, Bytes, BytesMut};

/// Framer of a byte stream; holds at most one message's worth of octets.
#[derive(Debug, Default)]
pub struct Stream(BytesMut);

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
        self.0.extend_from_slice(octets);
    }

    /// Returns the next event; to be called until it is `Wait` or `Broken`.
    pub fn take(&mut self) -> Framed {
        if self.0.starts_with(b"\r\n\r\n") {
            self.0.advance(4);
            return Framed::Ping;
        }
        // A single CRLF is a pong, or white space before a message.
        while self.0.starts_with(b"\r\n") && self.0.len() > 2 && !self.0[2..].starts_with(b"\r") {
            self.0.advance(2);
        }
        let Some(end) = self.0.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else {
            return if self.0.len() > MAX_HEAD {
                Framed::Broken("header block too long")
            } else {
                Framed::Wait
            };
        };
        let Some(length) = content_length(&self.0[..end]) else {
            return Framed::Broken("no usable Content-Length");
        };
        if end + length > MAX_MESSAGE {
            return Framed::Broken("message too long");
        }
        if self.0.len() < end + length {
            return Framed::Wait;
        }
        Framed::Message(self.0.split_to(end + length).freeze())
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
