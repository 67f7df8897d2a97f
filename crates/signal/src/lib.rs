//! Vocabulary that edges and orchestrators share.
//!
//! One rule: *what a leg says, its peer hears*. All types are protocol-neutral; SIP and Jingle are translated to and from them by
//! `crates/sip/src/signal.rs` and `crates/xmpp/src/signal.rs`, and nowhere else. This crate decides nothing, keeps no state and does no
//! IO. Start at [`Signal`], then [`Media`], then [`edge`] (messages between edges and orchestrators), then [`ids`].

mod any;
mod diversion;
pub mod edge;
pub mod ids;
pub mod mailbox;
pub mod media;
pub mod message;
mod packed;
mod party;
pub mod presence;
mod reason;
pub mod service;
pub mod stored;
pub mod subjects;
mod time;

pub use any::AnySignal;
pub use diversion::{Diversion, DiversionReason, Diverted};
pub use edge::{
    Ask, Handover, Heard, LegState, Opening, Order, Referral, Said, Say, VERDICT_MS, Verdict, Wake,
};
pub use ids::{EffectId, EventId, LegId, LegRef, RecordId, RecordKind, Secret, Token};
pub use media::Media;
pub use message::{InstantMessage, MessageSignal};
pub use packed::Packed;
pub use party::{Identity, Party, Protocol};
pub use presence::{PresenceSignal, Show};
pub use reason::{End, Reason};
pub use stored::{Stored, StoredError};
pub use time::Time;

use minicbor::{Decode, Encode};

/// Signal that one leg of a call says and the other hears (architecture §3).
///
/// Travels in both directions: heard from a peer, and to be said to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Signal {
    /// INVITE; JMI propose or session-initiate. The media may be *undescribed* (a propose, an offerless INVITE):
    /// contents that name a kind but no codec.
    #[n(0)]
    Offer(#[n(0)] Media),
    /// 180; JMI ringing, session-info ringing.
    #[n(1)]
    Ringing,
    /// 183 with a description: early media. To a party that has not described itself it is an offer, which that party may answer in the same
    /// words before the call is answered (RFC 3262: 18x and PRACK). 183 without: the call proceeds and the caller shall hear ringing, although no device has
    /// reported ringing (some clients never do, interworking §2.4).
    #[n(2)]
    Progress(#[n(0)] Option<Media>),
    /// 200 to INVITE; session-accept (JMI proceed where the call came by propose).
    #[n(3)]
    Answer(#[n(0)] Media),
    /// re-INVITE, UPDATE; content-add, -modify, -remove, hold, unhold; the session-initiate that follows our proceed.
    #[n(4)]
    Update(#[n(0)] Media),
    /// Positive answer to an `Update`; also the SDP answer in an ACK.
    #[n(5)]
    Updated(#[n(0)] Media),
    /// Negative answer to an `Update`: 488, 491; content-reject, tie-break. The call continues.
    #[n(6)]
    Refused(#[n(0)] Reason),
    /// Further ICE candidates: INFO trickle-ice; transport-info.
    #[n(7)]
    Candidates(#[n(0)] Vec<media::Trickle>),
    /// Keypad digit outside RTP: INFO; XEP-0181.
    #[n(8)]
    Tone(#[n(0)] Tone),
    /// REFER; XEP-0251.
    #[n(9)]
    Refer {
        /// Address of the new peer, in the protocol of the leg that says it.
        #[n(0)]
        target: String,
        /// Dialog that the new call replaces, in an attended transfer: the value of a Replaces header (RFC 3891 §6.1).
        #[n(1)]
        replaces: Option<String>,
    },
    /// 3xx; redirect of a stanza: addresses where to try the callee next, the best first, of which there is one at least.
    #[n(10)]
    Redirect(#[n(0)] String, #[cbor(n(1), default)] Vec<String>),
    /// CANCEL, BYE, 4xx–6xx; retract, reject, finish, session-terminate. Ends the leg that says it.
    #[n(11)]
    End(#[n(0)] End),
    /// NOTIFY of the refer event package (RFC 3515 §2.4.4); said to the leg that asked for a transfer. The first one also answers the
    /// request: anything but a failure accepts it.
    #[n(14)]
    Referred(#[n(0)] ReferStatus),
    /// 181: the call goes on to another callee.
    #[n(12)]
    Diverted,
}

/// Status of the call that a [`Signal::Refer`] asked for (RFC 3515 §2.4.5).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReferStatus {
    /// The target is being called.
    #[n(0)]
    Trying,
    /// The target rings.
    #[n(1)]
    Ringing,
    /// The target has answered and has taken the place of the leg that asked.
    #[n(2)]
    Accepted,
    /// The target is not called, or has not answered: the call goes on as it was.
    #[n(3)]
    Failed(#[n(0)] End),
}

impl ReferStatus {
    /// Returns true if nothing follows.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, ReferStatus::Accepted | ReferStatus::Failed(_))
    }
}

/// Keypad digit with its duration (RFC 4733 §3.2; XEP-0181), or a pause between digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tone {
    /// Digit: `0`–`9`, `*`, `#`, `A`–`D`; [`PAUSE`].
    #[n(0)]
    pub digit: char,
    /// Duration, ms.
    #[n(1)]
    pub duration: u16,
}

/// Digit of a [`Tone`] that is a pause: digits after it wait for its duration.
pub const PAUSE: char = ',';

impl Tone {
    /// Returns true for a pause.
    #[must_use]
    pub fn is_pause(&self) -> bool {
        self.digit == PAUSE
    }
}

impl Signal {
    /// Returns the variant's name for logs, spans and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Signal::Offer(_) => "offer",
            Signal::Ringing => "ringing",
            Signal::Progress(_) => "progress",
            Signal::Answer(_) => "answer",
            Signal::Update(_) => "update",
            Signal::Updated(_) => "updated",
            Signal::Refused(_) => "refused",
            Signal::Candidates(_) => "candidates",
            Signal::Tone(_) => "tone",
            Signal::Refer { .. } => "refer",
            Signal::Redirect(..) => "redirect",
            Signal::End(_) => "end",
            Signal::Referred(_) => "referred",
            Signal::Diverted => "diverted",
        }
    }
}
