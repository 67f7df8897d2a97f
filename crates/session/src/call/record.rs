use super::event::RelaySession;
use media::{LocalEnd, Policy, Profile};
use serde::{Deserialize, Serialize};
use signal::media::Content;
use signal::{CallId, End, EventId, Heard, LegId, LegRef, LegState, Media, Opening, Reason, Signal, Time};

use super::{Effect, Effects};

/// Format of the stored record. An instance refuses to touch a record with a higher number (rolling upgrade).
pub const FORMAT: u16 = 2;
/// An ended call is kept this long, so that late messages get their answer (R-CALL-5).
pub(super) const TOMBSTONE_MS: u64 = 60_000;
/// From proceed to session-initiate, from 200 to the ACK that carries the answer (interworking §2.6).
pub(super) const DESCRIBE_MS: u64 = 15_000;
/// An established call asks this often whether its relay still has it; its record outlives several such times.
pub(super) const CHECK_MS: u64 = 3_600_000;
/// Events of a leg that are remembered to tell a repetition.
const REMEMBERED: usize = 12;

/// A call as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// See [`FORMAT`].
    pub format: u16,
    /// Its name.
    pub id: CallId,
    /// W3C traceparent of the span that placed it.
    pub trace: String,
    /// Two are usual; the place in the list is the leg's id.
    pub legs: Vec<Leg>,
    /// Who hears whom.
    pub bridge: (LegId, LegId),
    /// Its media anchor; `None` once released.
    pub relay: Option<RelaySession>,
    /// The relay that it is leaving, which forwards until everybody knows the new one.
    pub leaving: Option<Leaving>,
    /// What media is served.
    pub policy: Policy,
    /// When it was placed.
    pub placed: Time,
    /// When it was answered.
    pub answered: Option<Time>,
    /// When everybody had gone.
    pub ended: Option<Time>,
    /// Why.
    pub end: Option<End>,
    /// It may ring until then.
    pub ring_by: Time,
    /// An answered leg must have described its media by then.
    pub answer_by: Option<Time>,
    /// Reason when `ring_by` passes with nothing heard.
    pub unheard: Reason,
    /// When to decide again.
    pub deadline: Option<Time>,
}

/// A relay that a call is moving away from while it still forwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leaving {
    /// Released at last.
    pub session: RelaySession,
    /// Since when.
    pub since: Time,
    /// Everybody knows the new one: it is released then.
    pub until: Option<Time>,
}

/// Whether a leg's peer knows where its media is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// It does.
    #[default]
    Known,
    /// The media has moved since it was told; to be told as soon as nothing else is open.
    Moved {
        /// It was told so often and would not hear.
        tries: u8,
        /// Not before.
        after: Time,
    },
    /// It is being told.
    Told {
        /// As in `Moved`.
        tries: u8,
    },
}

/// How media is spoken with each leg of a call that is being placed.
pub type Profiles = (Profile, Profile);

/// One party's side of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// Its place.
    pub id: LegId,
    /// Who is there and who they see, in the leg's own protocol.
    pub opening: Opening,
    /// True when the peer opened the leg, false when we did.
    pub inbound: bool,
    /// How far it is.
    pub phase: Phase,
    /// Whose offer is open.
    pub offer: Offer,
    /// The last offer that was answered was ours, and `heard` its answer; else `spoken` is the answer to theirs.
    pub offerer: Offerer,
    /// What the peer last described.
    pub heard: Option<Media>,
    /// What we last described to it.
    pub spoken: Option<Media>,
    /// While an offer is open: what it would replace, of `heard` (their offer) or of `spoken` (ours). A refusal brings it back
    /// (RFC 3264 §8: as if the offer had never been made).
    #[serde(default)]
    pub before: Option<Media>,
    /// How media is spoken with it.
    pub profile: Profile,
    /// The relay's ends that face it, by content.
    pub ends: Vec<LocalEnd>,
    /// Whether it knows them.
    pub place: Place,
    /// Its end has met the peer since it moved.
    pub met: bool,
    /// Signals said to it so far.
    pub count: u32,
    /// The edge crate's own serialised state.
    pub dialog: Vec<u8>,
    /// How often `dialog` changed.
    pub revision: u32,
    /// The edge that holds its open transaction.
    pub edge: String,
    /// Events already committed, newest last.
    pub events: Vec<EventId>,
}

/// How far a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// An offer was made, by them or by us; nothing more.
    Calling,
    /// It rings: theirs heard it from us, ours said so.
    Ringing,
    /// Answered, but its media is still to be described (after a propose or an offerless INVITE).
    Answered,
    /// Both descriptions are known.
    Active,
    /// They left, or we told them to go.
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

/// Whose offer is open on a leg (RFC 3264 §4: one at a time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offer {
    /// None.
    Settled,
    /// We offered.
    Ours,
    /// They offered.
    Theirs,
    /// They offered an ICE restart that we take: the answer waits for the relay's new credentials.
    Restarting,
}

/// The side of a leg that made its last answered offer: the other description is the answer (RFC 3264 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offerer {
    /// We offered; `heard` is the answer.
    Local,
    /// The peer offered; `spoken` is the answer.
    Remote,
}

/// Whether something heard may be decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Decide.
    Fresh,
    /// This very event was committed before: same verdict, no decision.
    Seen,
    /// The leg has changed since the edge looked: it must hear again.
    Stale,
    /// An answer to a leg that is over, whose edge believes that it is open: whoever answered is to be told that nobody is there.
    Over,
    /// No such leg.
    Unknown,
}

impl Leg {
    /// Offer and answer as they were last agreed, whoever offered; an offer that is open is none yet.
    pub(super) fn agreed(&self) -> Option<(&Media, &Media)> {
        let (mut remote, mut local) = (self.heard.as_ref(), self.spoken.as_ref());
        match self.offer {
            Offer::Theirs => remote = self.before.as_ref(),
            Offer::Ours => local = self.before.as_ref(),
            Offer::Settled | Offer::Restarting => {}
        }
        match self.offerer {
            Offerer::Local => local.zip(remote),
            Offerer::Remote => remote.zip(local),
        }
    }

    /// The peer's description with no other codecs than those in use.
    pub(super) fn in_use(&self) -> Option<Media> {
        let (offer, answer) = self.agreed()?;
        let mut media = if self.offerer == Offerer::Local { answer } else { offer }.clone();
        media::narrow(&mut media, answer);
        Some(media)
    }

    /// What we last described to the peer, as an offer that changes no codec.
    pub(super) fn offer_again(&self) -> Option<Media> {
        let mut ours = self.spoken.clone()?;
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

    /// Takes over what the edge knows after an event.
    pub(super) fn note(&mut self, heard: &Heard) {
        self.dialog.clone_from(&heard.dialog);
        self.revision = heard.base + 1;
        self.edge.clone_from(&heard.edge);
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

    /// Who hears what this leg says: the only place that knows.
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

    /// May this be decided on? (architecture §4, "hearing is checked")
    #[must_use]
    pub fn admit(&self, heard: &Heard) -> Admission {
        match self.leg(heard.leg.leg) {
            None => Admission::Unknown,
            Some(leg) if leg.events.contains(&heard.event) => Admission::Seen,
            Some(leg) if heard.base < leg.revision => Admission::Stale,
            Some(leg)
                if leg.phase.is_over() && heard.signals.iter().any(|s| matches!(s, Signal::Answer(_))) =>
            {
                Admission::Over
            }
            Some(_) => Admission::Fresh,
        }
    }

    /// The leg as edges get it.
    #[must_use]
    pub fn state(&self, id: LegId) -> Option<LegState> {
        self.leg(id).map(|leg| LegState {
            leg: LegRef { call: self.id, leg: id },
            revision: leg.revision,
            dialog: leg.dialog.clone(),
            edge: leg.edge.clone(),
            trace: self.trace.clone(),
        })
    }

    /// Orders something to be said, unless nobody listens there any more.
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
