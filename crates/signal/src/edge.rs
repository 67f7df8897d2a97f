//! What an edge asks of the orchestrators, and what they say to it (architecture §4).
//!
//! An edge's own state of a leg (its SIP dialog, its Jingle session) is opaque here: `dialog` travels down with every
//! [`Say`] and comes back with every [`Heard`] and [`Said`], and the record keeps it. `revision` counts its changes.
//! An edge works on one event of a leg at a time: while a [`Heard`] is on its way, further messages and sayings of that leg wait.

use crate::{EffectId, End, EventId, LegRef, Party, Signal};
use minicbor::{Decode, Encode};

/// An ask has its verdict after this time at the latest, ms.
pub const VERDICT_MS: u64 = 15_000;

/// A leg as the call record holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegState {
    /// Which leg.
    pub leg: LegRef,
    /// How often its dialog has changed; 0 = nothing said or heard yet.
    pub revision: u32,
    /// The edge crate's own serialised state; empty = new.
    pub dialog: Vec<u8>,
    /// Instance id of the edge that holds the open transaction or connection; empty = any edge.
    pub edge: String,
    /// W3C traceparent of the call.
    pub trace: String,
}

/// Who calls whom when a leg is opened, in the protocol of that leg.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Opening {
    /// The caller. Heard: as the peer's edge verified it. Said: the identity to show.
    #[n(0)]
    pub from: Party,
    /// The callee. Heard: as dialled. Said: the target.
    #[n(1)]
    pub to: Party,
    /// Heard: name of the trunk or component domain that the call came in by. Said: the one to go out by.
    #[n(2)]
    pub link: String,
    /// Max-Forwards left; 70 where the protocol has none (R-SIP-11).
    #[n(3)]
    pub hops: u8,
}

/// Something that an edge heard from a peer: signals for the call and the leg's new dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The leg; for a new call leg 0 of the hashed call id.
    pub leg: LegRef,
    /// Revision of the dialog that it was heard against; 0 with `opening` = a new call.
    pub base: u32,
    /// The transaction or stanza; a second commit of the same event changes nothing and gets the same verdict.
    pub event: EventId,
    /// What the peer meant; may be empty when only the dialog changed.
    pub signals: Vec<Signal>,
    /// The dialog after this event.
    pub dialog: Vec<u8>,
    /// The edge that heard it.
    pub edge: String,
    /// Set when the event opens a call.
    pub opening: Option<Opening>,
}

/// A request of an edge to any orchestrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Commit what was heard. Answered by a [`Verdict`].
    Heard(Heard),
    /// Give me the leg: an in-dialog message came and I do not hold it. Answered by `Verdict::Leg` or `Verdict::Gone`.
    Recall(LegRef),
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In the store. The leg now has this revision; replies that promise something may leave.
    Committed {
        /// The leg's revision after the commit.
        revision: u32,
        /// W3C traceparent of the call.
        trace: String,
    },
    /// The leg has changed meanwhile: hear the message again against this state.
    Stale(LegState),
    /// The answer to a [`Ask::Recall`].
    Leg(LegState),
    /// There is no such call or leg (any more).
    Gone,
    /// The call is not taken; nothing was stored.
    Refused(End),
    /// No orchestrator or no store answers: 503 with Retry-After; wait + `resource-constraint`.
    Unavailable,
}

/// An order of an orchestrator to an edge: say this signal to that leg's peer.
///
/// Saying is deterministic: ids on the wire are derived from `id` and the dialog, so saying it again puts the same bytes
/// on the wire. An edge that has seen `id` sends nothing anew and answers with the dialog it would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    /// The effect.
    pub id: EffectId,
    /// The leg as recorded; the edge's own copy wins where its revision is higher.
    pub state: LegState,
    /// How many signals were said to this leg before: CSeq and the like follow from it.
    pub count: u32,
    /// What to say.
    pub signal: Signal,
    /// Set with the signal that opens the leg.
    pub opening: Option<Opening>,
}

/// The answer to a [`Say`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The effect.
    pub id: EffectId,
    /// Revision that it was said on.
    pub base: u32,
    /// The dialog after it; its revision is `base + 1`. `None` = unchanged.
    pub dialog: Option<Vec<u8>>,
    /// The edge that said it.
    pub edge: String,
    /// Why it could not be said (no link, no route); the leg is over.
    pub failed: Option<End>,
}

/// A raw message handed from the edge that received it to the edge that holds its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The peer's address, `udp://192.0.2.1:5060`.
    pub source: String,
    /// The message as received.
    pub message: Vec<u8>,
}
