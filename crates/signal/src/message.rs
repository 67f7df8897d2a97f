//! Vocabulary of messages (interworking §6): sender and recipient are those of the leg's opening.

use crate::End;
use minicbor::{Decode, Encode};

/// Longest body, octets (interworking §6.1).
pub const MAX_BODY: usize = 65_536;

/// Signal about one message, on a leg of its record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum MessageSignal {
    /// MESSAGE (RFC 3428); message stanza (RFC 6121 §5).
    #[n(0)]
    Send(#[n(0)] InstantMessage),
    /// 202 to MESSAGE: taken, and perhaps delivered later (RFC 3428 §7); no error stanza came.
    #[n(1)]
    Accepted,
    /// 200 to MESSAGE; receipt (XEP-0184).
    #[n(2)]
    Delivered,
    /// 300 to 699 to MESSAGE, or no response; message stanza of type error.
    #[n(3)]
    Failed(#[n(0)] End),
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct InstantMessage {
    /// Id that the sender gave it: of the stanza, or Call-ID and CSeq; empty = none.
    #[n(0)]
    pub id: String,
    /// MIME type of the body: `text/plain` for that of a stanza.
    #[n(1)]
    pub content_type: String,
    /// Body; at most [`MAX_BODY`] octets.
    #[n(2)]
    pub body: String,
}

impl MessageSignal {
    /// Returns the variant's name for logs, spans and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            MessageSignal::Send(_) => "send",
            MessageSignal::Accepted => "accepted",
            MessageSignal::Delivered => "delivered",
            MessageSignal::Failed(_) => "failed",
        }
    }
}
