use super::event::RelaySession;
use super::leg::{Leg, Phase, Ring, Role};
use super::{Effect, Effects};
use media::{Policy, Profile};
use minicbor::decode::Error;
use minicbor::{Decode, Decoder, Encode};
use signal::media::{Content, Ssrc};
use signal::{
    End, EventId, Heard, LegId, LegRef, LegState, Media, Opening, Reason, RecordId, Signal, Stored, Time,
    Verdict,
};

/// An ended call is kept this long, so that late messages get their answer (R-CALL-5).
pub(super) const TOMBSTONE_MS: u64 = 60_000;
/// From proceed to session-initiate, from 200 to the ACK that carries the answer (interworking §2.6).
pub(super) const DESCRIBE_MS: u64 = 15_000;
/// An established call asks this often whether its relay still has it; its record outlives several such times.
pub(super) const CHECK_MS: u64 = 3_600_000;
/// A call record.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Call {
    /// Id of the call.
    #[n(0)]
    pub id: RecordId,
    /// W3C traceparent of the span that placed it.
    #[n(1)]
    pub trace: String,
    /// Legs by id: the index in the list is the id. Two are usual; those that are over stay.
    #[n(2)]
    pub legs: Vec<Leg>,
    /// The two legs that hear each other: caller's and callee's side. Other legs hear nobody.
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
    /// Time by which an answered leg must have described its media.
    #[n(12)]
    pub answer_by: Option<Time>,
    /// Time of the next decision without an event.
    #[n(14)]
    pub deadline: Option<Time>,
    /// Time at which the caller was first told of ringing.
    #[n(15)]
    pub rang: Option<Time>,
    /// Instance of the relay that carried the media last, once that is released.
    #[n(20)]
    pub carried_by: Option<String>,
}

/// Fields of version 3 that have moved to the callee's leg.
#[derive(Decode)]
struct Version3 {
    #[n(11)]
    ring_by: Time,
    #[n(13)]
    unheard: Reason,
}

impl Stored for Call {
    const NAME: &'static str = "a call record";
    // Versions 1 and 2 were positional and never released.
    const VERSION: u16 = 7;
    const OLDEST: u16 = 3;

    fn upgrade(mut self, version: u16, octets: &mut Decoder<'_>) -> Result<Call, Error> {
        if version == 3 {
            let Version3 { ring_by: until, unheard } = octets.decode()?;
            for leg in &mut self.legs {
                leg.role = if leg.inbound { Role::Caller } else { Role::Callee };
                leg.ring = (!leg.inbound).then_some(Ring { until, unheard, heard_by: None });
                leg.ipv6 = leg.ends.iter().any(|end| end.address.is_ipv6());
            }
        }
        Ok(self)
    }
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

/// Answer to an event that an edge heard on a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Decide on it; the verdict once that is stored.
    Decide(Verdict),
    /// Leave the record as it is; the verdict now.
    Leave(Verdict),
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

    /// Returns the target that is being called to become the peer of this leg.
    #[must_use]
    pub fn target_for(&self, id: LegId) -> Option<LegId> {
        let target = |leg: &&Leg| leg.partner == Some(id) && !leg.phase.is_over();
        self.legs.iter().find(target).map(|leg| leg.id)
    }

    /// Returns true if the leg may be given another peer now.
    ///
    /// # Errors
    /// `Glare`: an offer is open, or another target is being called; `NotFound`: the leg talks to nobody; `Loop`: the call has had
    /// too many legs.
    pub fn check_transfer(&self, id: LegId) -> Result<(), Reason> {
        super::feature::check_transfer(self, id)
    }

    /// Puts a leg in the place of the one that `partner` hears; returns that one.
    pub(super) fn replace(&mut self, partner: LegId, by: LegId) -> Option<LegId> {
        let (one, other) = &mut self.bridge;
        let place = match partner {
            id if id == *one => other,
            id if id == *other => one,
            _ => return None,
        };
        Some(std::mem::replace(place, by))
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

    /// Returns the source of what a WebRTC peer hears from this end. A browser in whose group another content stands, even a refused
    /// one, plays a stream only if its description says the SSRC.
    pub(super) fn ssrc(&self, leg: &Leg, end: usize) -> Option<Ssrc> {
        let (call, id, end) = (self.id.to_string(), leg.id.0.to_string(), end.to_string());
        let (name, cname) =
            (EventId::of(&["ssrc", &call, &id, &end]).0, EventId::of(&["cname", &call, &id]).0);
        (leg.profile == Profile::Webrtc).then_some(Ssrc { id: (name ^ name >> 32) as u32, cname })
    }

    /// Puts our sources into a description that is said to a leg: into offers, and into answers to a peer that says its own.
    fn sourced(&self, leg: &Leg, mut signal: Signal) -> Signal {
        let theirs = leg.remote_description.as_ref();
        let (media, answers) = match &mut signal {
            Signal::Offer(media) | Signal::Update(media) => (media, false),
            Signal::Answer(media) | Signal::Updated(media) => (media, true),
            _ => return signal,
        };
        let says =
            |index: usize| theirs.and_then(|media| media.contents.get(index)?.transport.ssrc).is_some();
        for index in 0..media.contents.len() {
            let end = self.facing(leg, theirs.unwrap_or(&*media), index);
            let Some(content) = media.contents.get_mut(index).filter(|content| !content.rejected) else {
                continue;
            };
            content.transport.ssrc = self.ssrc(leg, end).filter(|_| !answers || says(index));
        }
        signal
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
        let Some(leg) = self.leg(id).filter(|leg| !leg.phase.is_over()) else { return };
        let signal = self.sourced(leg, signal);
        let Some(leg) = self.leg_mut(id) else { return };
        let count = leg.count;
        leg.count += 1;
        effects.push(Effect::Say { leg: id, count, signal, opening });
    }
}
