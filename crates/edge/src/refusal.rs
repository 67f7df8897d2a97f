//! Refusals, as the people who run the gateway see them.

/// Refusal of a peer's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Trunk or component domain; empty: the peer is a stranger.
    pub link: String,
    /// Source address, or JID.
    pub peer: String,
    /// Method, or kind of the stanza: `INVITE`, `propose`.
    pub message: String,
    /// Status or condition of the answer: `403`, `resource-constraint`. There are few of them.
    pub status: String,
    /// Words of the answer, or more of the cause.
    pub cause: String,
}
