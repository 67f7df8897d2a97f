//! Reliable provisional responses (RFC 3262), as far as they must outlive the edge that sent or heard them.

use minicbor::{Decode, Encode};
use signal::Time;

/// Most provisional responses of ours that wait for the PRACK of the one before.
pub const MAX_WAITING: usize = 4;

/// Reliable provisional responses of an INVITE: ours, if the peer's INVITE requires them, or those to our INVITE.
#[derive(Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Reliable {
    /// RSeq of our last one. The first is one more than that of the dialog's beginning.
    #[n(0)]
    pub rseq: u32,
    /// Ours, without its PRACK so far.
    #[n(1)]
    pub open: Option<Open>,
    /// Ours that leave one by one after that PRACK, as written but for their RSeq; at most [`MAX_WAITING`].
    #[n(2)]
    pub waiting: Vec<Provisional>,
    /// Our 2xx, as written, which leaves after that PRACK; empty = none.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub accept: Vec<u8>,
    /// Our offer in one of ours.
    #[n(4)]
    pub offer: EarlyOffer,
    /// Numbers of those that our last INVITE met, by the tag of their dialog.
    #[n(5)]
    pub heard: Vec<Heard>,
}

/// Our offer in a reliable provisional response to an INVITE without one (RFC 3262 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum EarlyOffer {
    /// Absent.
    #[default]
    #[n(0)]
    None,
    /// Sent; its answer comes with the PRACK.
    #[n(1)]
    Open,
    /// Answered.
    #[n(2)]
    Answered,
}

/// Reliable provisional response of ours without its PRACK.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Open {
    /// RSeq.
    #[n(0)]
    pub rseq: u32,
    /// The response.
    #[n(1)]
    pub response: Provisional,
    /// Time at which the INVITE is given up; `None` until the edge has sent it.
    #[n(2)]
    pub by: Option<Time>,
}

/// Provisional response of ours as written.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Provisional {
    /// Octets.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub octets: Vec<u8>,
    /// True if it has a description, which a 2xx may not overtake (§3).
    #[n(1)]
    pub described: bool,
}

/// Reliable provisional responses of one early dialog (§4).
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Heard {
    /// Remote tag.
    #[n(0)]
    pub tag: String,
    /// RSeq of the last one that was taken.
    #[n(1)]
    pub rseq: u32,
    /// CSeq of our PRACK for it.
    #[n(2)]
    pub cseq: u32,
    /// Answer in one of them, which no later description replaces; empty = none.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub answer: Vec<u8>,
}
