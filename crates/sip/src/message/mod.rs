//! Messages (RFC 3261 §7): a reader that keeps what it does not understand and a writer with one form.
//!
//! One rule: reading fails on framing only. Headers keep their order and raw values (compact names are told, folded lines
//! joined); [`crate::validate`] checks the meaning. Bodies are octets.

mod body;
mod fields;
mod read;
mod salvage;
mod stream;
mod write;

pub use fields::{CSeq, Via};
pub use read::{MAX_HEADERS, MAX_LINE, MAX_MESSAGE, ReadError, read};
pub use salvage::salvage;
pub use stream::{Framed, Stream};

use bytes::Bytes;

/// A request or response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: Start,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// Body: octets up to Content-Length or the end of the datagram.
    pub body: Bytes,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Request: method and Request-URI as received.
    Request {
        /// Method, case-sensitive.
        method: String,
        /// Request-URI, not validated.
        uri: String,
    },
    /// Response: status code and reason phrase.
    Response {
        /// Status code, 100–699.
        code: u16,
        /// Reason phrase: any UTF-8, may be empty.
        phrase: String,
    },
}

/// A header line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name: the long, canonical one of a known header, else as written.
    pub name: Name,
    /// Value, unfolded, without white space at the ends; may hold octets that are not UTF-8.
    pub value: Bytes,
}

/// A header's name.
#[derive(Clone, Debug)]
pub enum Name {
    /// Canonical spelling.
    Known(&'static str),
    /// As written; compared without case.
    Other(String),
}

impl Name {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Name::Known(name) => name,
            Name::Other(name) => name,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl Eq for Name {}

impl From<&str> for Name {
    fn from(name: &str) -> Name {
        let known = KNOWN.iter().find(|(long, short)| {
            long.eq_ignore_ascii_case(name) || (!short.is_empty() && short.eq_ignore_ascii_case(name))
        });
        known.map_or_else(|| Name::Other(name.to_owned()), |(long, _)| Name::Known(long))
    }
}

/// Canonical names and their compact forms.
const KNOWN: &[(&str, &str)] = &[
    ("Via", "v"),
    ("From", "f"),
    ("To", "t"),
    ("Call-ID", "i"),
    ("CSeq", ""),
    ("Contact", "m"),
    ("Max-Forwards", ""),
    ("Content-Type", "c"),
    ("Content-Length", "l"),
    ("Content-Encoding", "e"),
    ("Route", ""),
    ("Record-Route", ""),
    ("Allow", ""),
    ("Supported", "k"),
    ("Require", ""),
    ("Proxy-Require", ""),
    ("Unsupported", ""),
    ("Subject", "s"),
    ("Event", "o"),
    ("Allow-Events", "u"),
    ("Refer-To", "r"),
    ("Referred-By", "b"),
    ("Session-Expires", "x"),
    ("Accept-Contact", "a"),
    ("Reject-Contact", "j"),
    ("Request-Disposition", "d"),
    ("Identity", "y"),
    ("Expires", ""),
    ("Reason", ""),
    ("Retry-After", ""),
    ("Warning", ""),
    ("User-Agent", ""),
    ("Server", ""),
    ("Date", ""),
    ("Authorization", ""),
    ("Proxy-Authorization", ""),
    ("WWW-Authenticate", ""),
    ("Proxy-Authenticate", ""),
    ("P-Asserted-Identity", ""),
    ("RAck", ""),
    ("RSeq", ""),
    ("Replaces", ""),
    ("Accept", ""),
    ("Info-Package", ""),
    ("Recv-Info", ""),
];

impl Message {
    /// Makes a request without headers.
    #[must_use]
    pub fn request(method: &str, uri: impl Into<String>) -> Message {
        Message {
            start: Start::Request { method: method.into(), uri: uri.into() },
            headers: vec![],
            body: Bytes::new(),
        }
    }

    /// Makes a response to `request`: copies Via, From, To, Call-ID, CSeq and Record-Route (RFC 3261 §8.2.6.2, §12.1.1), and
    /// adds the tag to a To without one.
    #[must_use]
    pub fn response(request: &Message, code: u16, phrase: &str, tag: &str) -> Message {
        let copied = ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route"];
        let mut headers: Vec<Header> =
            request.headers.iter().filter(|h| copied.contains(&h.name.as_str())).cloned().collect();
        if code > 100
            && !tag.is_empty()
            && request.to().is_none_or(|to| to.tag().is_none())
            && let Some(to) = headers.iter_mut().find(|h| h.name == Name::Known("To"))
        {
            to.value = [&to.value[..], b";tag=", tag.as_bytes()].concat().into();
        }
        Message { start: Start::Response { code, phrase: phrase.into() }, headers, body: Bytes::new() }
    }

    /// Returns the method of a request, or of the request that a response answers.
    #[must_use]
    pub fn method(&self) -> Option<String> {
        match &self.start {
            Start::Request { method, .. } => Some(method.clone()),
            Start::Response { .. } => self.cseq().map(|c| c.method),
        }
    }

    /// Returns the status code of a response.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        if let Start::Response { code, .. } = self.start { Some(code) } else { None }
    }

    /// Returns all values of a header, in order, as written.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Bytes> + use<'a, 'n> {
        self.headers.iter().filter(move |h| h.name.as_str().eq_ignore_ascii_case(name)).map(|h| &h.value)
    }

    /// Returns the first value of a header as text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next().and_then(|v| std::str::from_utf8(v).ok())
    }

    /// Returns every member of a list header, over all its lines.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.all(name)
            .filter_map(|v| std::str::from_utf8(v).ok())
            .flat_map(crate::uri::members)
            .filter(|m| !m.is_empty())
            .collect()
    }

    /// Adds a header at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Bytes>) -> Message {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// Sets the body with its type.
    #[must_use]
    pub fn with_body(mut self, content_type: &str, body: impl Into<Bytes>) -> Message {
        self.body = body.into();
        self.with("Content-Type", content_type.to_owned())
    }
}
