//! Subscription that a REFER makes (RFC 3515 §2.4.4).

use minicbor::{Decode, Encode};

/// REFER of the peer that waits for its answer, or its subscription.
#[derive(Clone, PartialEq, Encode, Decode)]
pub struct Refer {
    /// REFER as written, until it is answered; empty afterwards.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub request: Vec<u8>,
    /// CSeq of the REFER.
    #[n(1)]
    pub cseq: u32,
    /// True if the peer wants no NOTIFY (RFC 4488 §4).
    #[n(2)]
    pub silent: bool,
    /// True if NOTIFY names the subscription by its id: another REFER came before.
    #[n(3)]
    pub further: bool,
    /// Status that was told last.
    #[n(4)]
    pub status: u16,
}
