//! Messages between edges and orchestrators (architecture §4): an [`Ask`] of an edge with its [`Verdict`], and an [`Order`] of an
//! orchestrator with its answer ([`Said`]).
//!
//! The edge's state of a leg (SIP dialog, Jingle session) is opaque here: `dialog` travels to the edge with every [`Order`] and back with
//! every [`Heard`] and [`Said`], and the record stores it. `revision` counts its changes. An edge processes one event of a leg at a
//! time: while a [`Heard`] is on its way, further messages and orders of that leg wait.
//!
//! `S` is the vocabulary: [`Signal`] between parts that serve calls alone, [`AnySignal`](crate::AnySignal) as it comes from the bus.

use crate::{Diverted, EffectId, End, EventId, LegRef, Party, Signal, Time};
use minicbor::{Decode, Encode};

/// Time limit for the verdict on an ask, ms.
pub const VERDICT_MS: u64 = 15_000;

/// State of a leg as the record holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegState {
    /// Id of the leg.
    pub leg: LegRef,
    /// Number of changes of `dialog`; 0 = nothing heard or said yet.
    pub revision: u32,
    /// State of the edge, in its own encoding; empty = new leg.
    pub dialog: Vec<u8>,
    /// Id of the edge instance that holds the open transaction or connection; empty = any edge.
    pub edge: String,
    /// W3C traceparent of the call.
    pub trace: String,
}

/// Caller and callee of a new leg, in the protocol of that leg.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Opening {
    /// Caller. In a [`Heard`] as verified by the edge, in a [`Say`] the identity to show.
    #[n(0)]
    pub from: Party,
    /// Callee. In a [`Heard`] as dialled, in a [`Say`] the target.
    #[n(1)]
    pub to: Party,
    /// Name of the trunk or component domain. In a [`Heard`] the incoming one, in a [`Say`] the outgoing one.
    #[n(2)]
    pub link: String,
    /// Hops left (Max-Forwards); 70 where the protocol has no limit (R-SIP-11).
    #[n(3)]
    pub hops: u8,
    /// Past of a call that was diverted; `None` for one that was not.
    #[n(4)]
    pub diverted: Option<Diverted>,
    /// Request that the call comes of, if somebody else asked for it.
    #[n(5)]
    pub referral: Option<Referral>,
}

/// Request of a third party that makes a call (RFC 3515, XEP-0251).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Referral {
    /// Party that asked, as verified by its leg (Referred-By, RFC 3892).
    #[n(0)]
    pub by: Party,
    /// Dialog at the callee that the call replaces (Replaces, RFC 3891 §6.1).
    #[n(1)]
    pub replaces: Option<String>,
}

/// Event of a peer: signals for the call and the leg's new dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard<S = Signal> {
    /// Id of the leg; for a new call leg 0 of the hashed call id.
    pub leg: LegRef,
    /// Revision of the dialog on which the edge processed the event; 0 with `opening` = new call.
    pub base: u32,
    /// Id of the transaction or stanza; committing the same event again changes nothing and gets the same verdict.
    pub event: EventId,
    /// Signals of the peer; empty when only the dialog changed.
    pub signals: Vec<S>,
    /// Dialog after the event.
    pub dialog: Vec<u8>,
    /// Id of the edge instance that received the event.
    pub edge: String,
    /// Caller and callee, if the event opens a call.
    pub opening: Option<Opening>,
    /// Time at which the leg is to be woken ([`Wake`]), unless its dialog changes before.
    pub wake: Option<Time>,
    /// Id of the leg on the wire, if the event opens a call: Call-ID (RFC 3261 §8.1.1.4), sid (XEP-0166 §7.2).
    pub wire_id: Option<String>,
}

/// Request of an edge to any orchestrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask<S = Signal> {
    /// Commits an event.
    Heard(Heard<S>),
    /// Loads a leg that the edge does not hold, for an in-dialog message. Answered by [`Verdict::Leg`] or [`Verdict::Gone`].
    Recall(LegRef),
}

/// Answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Event is stored: the edge may now send responses that depend on it.
    Committed {
        /// Revision of the leg after the commit.
        revision: u32,
        /// W3C traceparent of the call.
        trace: String,
    },
    /// Leg has changed meanwhile: the edge processes the message again on this state.
    Stale(LegState),
    /// State of a recalled leg.
    Leg(LegState),
    /// Call or leg does not exist, or no longer.
    Gone,
    /// Call is refused; nothing was stored.
    Refused(End),
    /// No orchestrator or store answers: 503 with Retry-After; wait + `resource-constraint`.
    Unavailable,
}

/// Order of an orchestrator to an edge about a leg. Answered by [`Said`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order<S = Signal> {
    /// Says a signal to the peer of the leg.
    Say(Say<S>),
    /// Wakes the leg.
    Wake(Wake),
}

/// Order to wake a leg at the time that it asked for: whichever edge gets it does what a timer of the edge that asked would have done,
/// had that one lived. A leg that has changed since is not woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// Id of the effect.
    pub id: EffectId,
    /// State of the leg in the record.
    pub state: LegState,
}

/// Order to say a signal to the peer of a leg.
///
/// Executing an order is deterministic: ids on the wire are derived from `id` and the dialog, so an order that is repeated puts the same
/// octets on the wire. An edge that has executed `id` before sends nothing and answers with the dialog after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say<S = Signal> {
    /// Id of the effect.
    pub id: EffectId,
    /// State of the leg in the record; the edge's own copy counts if its revision is higher.
    pub state: LegState,
    /// Number of signals said to the leg before; CSeq and the like are derived from it.
    pub count: u32,
    /// Signal to say.
    pub signal: S,
    /// Caller and callee, if the signal opens the leg.
    pub opening: Option<Opening>,
}

/// Answer to an [`Order`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Id of the effect.
    pub id: EffectId,
    /// Revision of the dialog on which the signal was said.
    pub base: u32,
    /// Dialog after the signal, of revision `base + 1`; `None` = unchanged.
    pub dialog: Option<Vec<u8>>,
    /// Time at which a leg with this dialog is to be woken; means nothing if the dialog is unchanged.
    pub wake: Option<Time>,
    /// Id of the edge instance that said the signal.
    pub edge: String,
    /// Reason why the signal could not be said (no link, no route); the leg has ended then.
    pub failed: Option<End>,
    /// Id of the leg on the wire, as in [`Heard`], if the order opened the leg.
    pub wire_id: Option<String>,
}

/// Raw message that the receiving edge hands to the edge that holds its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Address of the peer, `udp://192.0.2.1:5060`.
    pub source: String,
    /// Message as received.
    pub message: Vec<u8>,
}

impl<S> Order<S> {
    /// Returns the id of the effect.
    #[must_use]
    pub fn id(&self) -> EffectId {
        match self {
            Order::Say(say) => say.id,
            Order::Wake(wake) => wake.id,
        }
    }

    /// Returns the state of the leg in the record.
    #[must_use]
    pub fn state(&self) -> &LegState {
        match self {
            Order::Say(Say { state, .. }) | Order::Wake(Wake { state, .. }) => state,
        }
    }
}

impl Order {
    /// Returns the name of the signal, or of the order, for logs and spans.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Order::Say(say) => say.signal.name(),
            Order::Wake(_) => "wake",
        }
    }
}

impl From<Say> for Order {
    fn from(say: Say) -> Order {
        Order::Say(say)
    }
}

impl From<Wake> for Order {
    fn from(wake: Wake) -> Order {
        Order::Wake(wake)
    }
}
