//! Jingle contents (XEP-0166, 0167, 0176, 0320, 0338) ⇄ [`Media`](signal::Media) (interworking §3).
//!
//! One rule: lenient in reading, strict in writing for the strictest client (R-SDP-16): no blanks in names and values, no unnamed
//! parameter beside others, fingerprint and setup in every content. Children are found by namespace and local name, so prefixed ones
//! are read, too; unknown ones are ignored.

mod read;
mod write;

pub use read::{ice, read};
pub use write::{transport, write};

use minidom::Element;

pub(crate) const JINGLE: &str = "urn:xmpp:jingle:1";
pub(crate) const RTP: &str = "urn:xmpp:jingle:apps:rtp:1";
pub(crate) const ICE: &str = "urn:xmpp:jingle:transports:ice-udp:1";
pub(crate) const DTLS: &str = "urn:xmpp:jingle:apps:dtls:0";
pub(crate) const GROUPING: &str = "urn:xmpp:jingle:apps:grouping:0";
pub(crate) const FEEDBACK: &str = "urn:xmpp:jingle:apps:rtp:rtcp-fb:0";
pub(crate) const SOURCES: &str = "urn:xmpp:jingle:apps:rtp:ssma:0";
pub(crate) const TRICKLE: &str = "http://gultsch.de/xmpp/drafts/jingle/transports/ice-udp/option";

/// Role of the party that wrote the `<jingle/>`; gives `senders` its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Party that sent session-initiate.
    Initiator,
    /// Party that received session-initiate.
    Responder,
}

/// Reason why contents cannot be read: `bad-request`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JingleError {
    /// More than 32 contents.
    #[error("too many contents")]
    TooMany,
    /// Content without a name, or with a name that SDP cannot hold.
    #[error("a content has no name")]
    NoName,
}

/// Returns true for characters that XML 1.0 (§2.2) or SDP (RFC 8866 §9) forbid: control characters and noncharacters.
fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Removes the characters that XML 1.0 forbids (§2.2): the writer of elements accepts no others.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().filter(|c| !is_forbidden(*c) || matches!(c, '\t' | '\n')).collect()
}

fn bare(name: &str, namespace: &str) -> Element {
    Element::bare(name, namespace)
}

#[cfg(test)]
mod tests;
