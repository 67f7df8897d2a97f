use super::event::RelaySession;
use media::{LocalEnd, Policy, Profile};
use minicbor::{Decode, Encode};
use signal::media::Content;
use signal::{
    End, EventId, Heard, LegId, LegRef, LegState, Media, Opening, Protocol, Reason, RecordId, Signal, Time,
    Verdict,
};

use super::{Effect, Effects};

/// An ended call is kept this long, so that late messages get their answer (R-CALL-5).
pub(super) const TOMBSTONE_MS: u64 = 60_000;
/// From proceed to session-initiate, from 200 to the ACK that carries the answer (interworking §2.6).
pub(super) const DESCRIBE_MS: u64 = 15_000;
/// An established call asks this often whether its relay still has it; its record outlives several such times.
pub(super) const CHECK_MS: u64 = 3_600_000;
/// Events of a leg that are remembered to tell a repetition.
const REMEMBERED: usize = 12;

/// A call record.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Call {
    /// Id of the call.
    #[n(0)]
    pub id: RecordId,
    /// W3C traceparent of the span that placed it.
    #[n(1)]
    pub trace: String,
    /// Legs by id: the index in the list is the id. Two are usual.
    #[n(2)]
    pub legs: Vec<Leg>,
    /// The two legs that hear each other.
    #[n(3)]
    pub bridge: (LegId, LegId),
    /// Relay session that anchors the media; `None` once released.
    #[n(4)]
    pub relay: Option<RelaySession>,
    /// Relay that the call is leaving; forwards until every peer knows the new one.
    #[n(5)]
    pub leaving: Option<Leaving>,
    /// Media that is served.
    #[n(6)]
    pub policy: Policy,
    /// Time at which the call was placed.
    #[n(7)]
    pub placed: Time,
    /// Time of the answer.
    #[n(8)]
    pub answered: Option<Time>,
    /// Time at which the last leg was over.
    #[n(9)]
    pub ended: Option<Time>,
    /// Reason of the first leg to end.
    #[n(10)]
    pub end: Option<End>,
    /// Ringing ends at this time.
    #[n(11)]
    pub ring_by: Time,
    /// Time by which an answered leg must have described its media.
    #[n(12)]
    pub answer_by: Option<Time>,
    /// Reason when `ring_by` passes with nothing heard.
    #[n(13)]
    pub unheard: Reason,
    /// Time of the next decision without an event.
    #[n(14)]
    pub deadline: Option<Time>,
}

/// A relay that a call is moving away from while it still forwards.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Leaving {
    /// The session that is released at last.
    #[n(0)]
    pub session: RelaySession,
    /// Start of the move.
    #[n(1)]
    pub since: Time,
    /// Time of the release, set once every peer knows the new relay.
    #[n(2)]
    pub until: Option<Time>,
}

/// Notice of the relay's address to a leg's peer after the media has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum AddressNotice {
    /// The peer knows the address.
    #[default]
    #[n(0)]
    Current,
    /// The address has changed; the peer is told as soon as no offer is open.
    #[n(1)]
    Due {
        /// Number of notices that the peer refused.
        #[n(0)]
        tries: u8,
        /// Earliest time of the next notice.
        #[n(1)]
        after: Time,
    },
    /// An update with the new address waits for its answer.
    #[n(2)]
    Sent {
        /// As in `Due`.
        #[n(0)]
        tries: u8,
    },
}

/// One party's side of a call.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Leg {
    /// Id of the leg.
    #[n(0)]
    pub id: LegId,
    /// Parties of the leg in its own protocol.
    #[n(1)]
    pub opening: Opening,
    /// True if the peer opened the leg.
    #[n(2)]
    pub inbound: bool,
    /// Phase of the leg.
    #[n(3)]
    pub phase: Phase,
    /// Offer/answer state (JSEP, RFC 9429 §3.2).
    #[n(4)]
    pub signaling: Signaling,
    /// Side that made the last answered offer; the other description is its answer.
    #[n(5)]
    pub offerer: Offerer,
    /// Description that the peer gave last.
    #[n(6)]
    pub remote_description: Option<Media>,
    /// Description that we gave last.
    #[n(7)]
    pub local_description: Option<Media>,
    /// Description that the open offer would replace: the remote one under their offer, ours under ours. A refusal brings it back
    /// (RFC 3264 §8: as if the offer had never been made).
    #[n(8)]
    pub rollback: Option<Media>,
    /// Media profile spoken with the peer.
    #[n(9)]
    pub profile: Profile,
    /// Local ends at the relay, by content.
    #[n(10)]
    pub ends: Vec<LocalEnd>,
    /// State of the notice of these ends to the peer.
    #[n(11)]
    pub address_notice: AddressNotice,
    /// True once the end has met the peer since the last move.
    #[n(12)]
    pub met: bool,
    /// Number of signals said so far.
    #[n(13)]
    pub count: u32,
    /// The edge crate's own serialised state.
    #[cbor(n(14), with = "minicbor::bytes")]
    pub dialog: Vec<u8>,
    /// Number of changes of `dialog`.
    #[n(15)]
    pub revision: u32,
    /// Edge that holds the open transaction.
    #[n(16)]
    pub edge: String,
    /// Events already committed, newest last.
    #[n(17)]
    pub events: Vec<EventId>,
    /// Time at which the leg's edge wants it woken.
    #[n(30)]
    pub wake: Option<Time>,
}

/// Phase of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Phase {
    /// An offer was made, by them or by us; nothing more.
    #[n(0)]
    Calling,
    /// Ringing, told by the peer or to the peer.
    #[n(1)]
    Ringing,
    /// Answered, but its media is still to be described (after a propose or an offerless INVITE).
    #[n(2)]
    Answered,
    /// Both descriptions are known.
    #[n(3)]
    Active,
    /// They left, or we told them to go.
    #[n(4)]
    Over,
}

impl Phase {
    /// Nothing more is said to it.
    #[must_use]
    pub fn is_over(self) -> bool {
        self == Phase::Over
    }
    /// Before the answer.
    #[must_use]
    pub fn is_early(self) -> bool {
        matches!(self, Phase::Calling | Phase::Ringing)
    }
}

/// Offer/answer state of a leg: one offer at a time (RFC 3264 §4, RFC 9429 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Signaling {
    /// No offer is open.
    #[n(0)]
    Stable,
    /// Our offer waits for its answer.
    #[n(1)]
    HaveLocalOffer,
    /// Their offer waits for our answer.
    #[n(2)]
    HaveRemoteOffer,
    /// Their offer restarts ICE; the answer waits for the relay's new credentials.
    #[n(3)]
    RestartPending,
}

/// The side of a leg that made its last answered offer: the other description is the answer (RFC 3264 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Offerer {
    /// We offered; the remote description is the answer.
    #[n(0)]
    Local,
    /// The peer offered; the local description is the answer.
    #[n(1)]
    Remote,
}

/// Answer to an event that an edge heard on a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Decide on it; the verdict once that is stored.
    Decide(Verdict),
    /// Leave the record as it is; the verdict now.
    Leave(Verdict),
}

impl Leg {
    /// Returns the protocol of the leg: a caller speaks it as `from`, a callee as `to`.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        if self.inbound { self.opening.from.protocol } else { self.opening.to.protocol }
    }

    /// Returns offer and answer of the last completed exchange, by either side.
    pub(super) fn agreed(&self) -> Option<(&Media, &Media)> {
        let (mut remote, mut local) = (self.remote_description.as_ref(), self.local_description.as_ref());
        match self.signaling {
            Signaling::HaveRemoteOffer => remote = self.rollback.as_ref(),
            Signaling::HaveLocalOffer => local = self.rollback.as_ref(),
            Signaling::Stable | Signaling::RestartPending => {}
        }
        match self.offerer {
            Offerer::Local => local.zip(remote),
            Offerer::Remote => remote.zip(local),
        }
    }

    /// Returns the peer's description with no other codecs than those in use.
    pub(super) fn in_use(&self) -> Option<Media> {
        let (offer, answer) = self.agreed()?;
        let mut media = if self.offerer == Offerer::Local { answer } else { offer }.clone();
        media::narrow(&mut media, answer);
        Some(media)
    }

    /// Returns our description as a new offer that changes no codec.
    pub(super) fn offer_again(&self) -> Option<Media> {
        let mut ours = self.local_description.clone()?;
        if let Some((_, answer)) = self.agreed() {
            media::narrow(&mut ours, answer);
        }
        for content in &mut ours.contents {
            // A new offer says actpass again; the role once agreed stays (RFC 8842 §5.2).
            if let Some(dtls) = &mut content.transport.dtls {
                dtls.setup = signal::media::Setup::ActPass;
            }
        }
        Some(ours)
    }

    /// Takes over the edge's state after an event.
    pub(super) fn note(&mut self, heard: &Heard) {
        self.dialog.clone_from(&heard.dialog);
        self.revision = heard.base + 1;
        self.edge.clone_from(&heard.edge);
        self.wake = heard.wake;
        if self.events.len() >= REMEMBERED {
            self.events.remove(0);
        }
        self.events.push(heard.event);
    }
}

impl Call {
    /// The leg with this id.
    #[must_use]
    pub fn leg(&self, id: LegId) -> Option<&Leg> {
        self.legs.get(usize::from(id.0))
    }

    pub(super) fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.get_mut(usize::from(id.0))
    }

    /// Returns the leg that hears this one: the only place that knows.
    #[must_use]
    pub fn peer(&self, id: LegId) -> Option<LegId> {
        match self.bridge {
            (a, b) if a == id => Some(b),
            (a, b) if b == id => Some(a),
            _ => None,
        }
    }

    /// The relay's end for a content that a leg described: who called in is given ends for what is served, who was called got
    /// an offer of nothing else.
    pub(super) fn facing(&self, leg: &Leg, heard: &Media, index: usize) -> usize {
        if !leg.inbound {
            return index;
        }
        let served = |c: &&Content| !c.rejected && self.policy.kinds.contains(&c.kind);
        heard.contents.iter().take(index).filter(served).count()
    }

    /// Both legs of the bridge are active.
    #[must_use]
    pub fn is_established(&self) -> bool {
        [self.bridge.0, self.bridge.1]
            .iter()
            .all(|id| self.leg(*id).is_some_and(|leg| leg.phase == Phase::Active))
    }

    /// Judges an event by its id and the revision it was heard against (architecture §4, "hearing is checked").
    #[must_use]
    pub fn admit(&self, heard: &Heard) -> Admission {
        let committed = |revision| Verdict::Committed { revision, trace: self.trace.clone() };
        let answers = || heard.signals.iter().any(|signal| matches!(signal, Signal::Answer(_)));
        match self.leg(heard.leg.leg) {
            None => Admission::Leave(Verdict::Gone),
            // This very event was committed before: the same verdict, no decision.
            Some(leg) if leg.events.contains(&heard.event) => Admission::Leave(committed(leg.revision)),
            // The leg has changed since the edge looked: it must hear again.
            Some(leg) if heard.base < leg.revision => {
                Admission::Leave(self.state(leg.id).map_or(Verdict::Gone, Verdict::Stale))
            }
            // The edge believes that the leg is open: whoever answered there is to be told that nobody is there.
            Some(leg) if leg.phase.is_over() && answers() => Admission::Leave(Verdict::Gone),
            Some(_) => Admission::Decide(committed(heard.base + 1)),
        }
    }

    /// The leg as edges get it.
    #[must_use]
    pub fn state(&self, id: LegId) -> Option<LegState> {
        self.leg(id).map(|leg| LegState {
            leg: LegRef { record: self.id, leg: id },
            revision: leg.revision,
            dialog: leg.dialog.clone(),
            edge: leg.edge.clone(),
            trace: self.trace.clone(),
        })
    }

    /// Orders a signal to be said, unless the leg is over.
    pub(super) fn say(&mut self, id: LegId, signal: Signal, effects: &mut Effects) {
        self.open(id, signal, None, effects);
    }

    /// [`Call::say`] with the signal that opens the leg.
    pub(super) fn open(
        &mut self,
        id: LegId,
        signal: Signal,
        opening: Option<Opening>,
        effects: &mut Effects,
    ) {
        let Some(leg) = self.leg_mut(id).filter(|leg| !leg.phase.is_over()) else { return };
        let count = leg.count;
        leg.count += 1;
        effects.push(Effect::Say { leg: id, count, signal, opening });
    }
}
