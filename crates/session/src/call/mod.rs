//! A call: legs and a pure function.
//!
//! One rule: what a leg says, its peer hears ([`bridge`]); `peer` is the only place that knows who hears whom.
//! A call is placed by [`place`], gets further legs by [`target`] and is ended by [`end`]; [`record`] and [`leg`] hold what is
//! stored. Features are files of [`feature`], which may claim a signal before the default rule.
//!
//! A phone calls, is answered and hangs up. Whoever drives a call stores what each decision gives, then performs the effects:
//!
//! ```
//! use media::{LocalEnd, Policy, Profile};
//! use tandem_session::Machine;
//! use tandem_session::call::{Allocation, CALLEE, CALLER, Call, Effect, Event, Placement, RelaySession, Route};
//! use signal::media::{Codec, Fingerprint, Ice, Kind};
//! use signal::{EventId, Heard, LegId, LegRef, Media, Opening, Party, Reason, RecordId, Signal, Time};
//!
//! # fn main() -> Result<(), signal::End> {
//! let id = RecordId::call([7; 10]);
//! // What an edge heard of a leg: signals, and the state that it keeps with the record.
//! let heard = |leg, base, signal| Heard {
//!     leg: LegRef { record: id, leg },
//!     base,
//!     event: EventId(base.into()),
//!     signals: vec![signal],
//!     dialog: vec![],
//!     edge: "sip-edge-1".into(),
//!     opening: None,
//!     wake: None,
//!     wire_id: None,
//! };
//! let parties = |from: &str, to: &str| Opening {
//!     from: Party::sip(from),
//!     to: Party::sip(to),
//!     link: "pbx".into(),
//!     hops: 70,
//!     diverted: None, referral: None,
//! };
//! let end = |port| LocalEnd {
//!     address: [203, 0, 113, 1].into(),
//!     rtp_port: port,
//!     rtcp_port: port + 1,
//!     ice: Ice::default(),
//!     fingerprint: Fingerprint { hash: "sha-256".into(), digest: vec![0; 32] },
//!     other: None,
//!     crypto: vec![],
//! };
//! let mut described = Media::undescribed(&[Kind::Audio]);
//! described.contents[0].codecs = vec![Codec::new(8, "PCMA", 8_000, 1)];
//!
//! // Everything that placing needs is gathered first.
//! let offer = heard(CALLER, 0, Signal::Offer(described.clone()));
//! let placement = Placement {
//!     heard: Heard { opening: Some(parties("sip:2041@pbx.example", "sip:2050@gw.example")), ..offer },
//!     caller: Profile::Plain,
//!     route: Route {
//!         opening: parties("sip:2041@gw.example", "sip:2050@pbx.example"),
//!         profile: Profile::Plain,
//!         ipv6: false,
//!         engaged: false,
//!         ring_ms: 60_000,
//!         unheard: Reason::Timeout,
//!         unheard_ms: None,
//!         early_media: false,
//!         settings: tandem_session::user::Settings::default(),
//!     },
//!     policy: Policy::default(),
//!     allocation: Allocation {
//!         session: RelaySession::default(),
//!         ends: vec![(CALLER, vec![end(30_000)]), (CALLEE, vec![end(30_002)])],
//!         transcodes: false,
//!     },
//!     trace: String::new(),
//! };
//! let (call, effects) = Call::place(placement, Time(1_000))?;
//! assert!(matches!(&effects[..], [Effect::Record(_), Effect::Say { leg: CALLEE, signal: Signal::Offer(_), .. }]));
//!
//! let (call, effects) = call.decide(Event::Heard(heard(CALLEE, 0, Signal::Answer(described))), Time(4_000));
//! let says = |effect: &Effect| matches!(effect, Effect::Say { leg: CALLER, signal: Signal::Answer(_), .. });
//! assert!(call.is_established() && effects.iter().any(says));
//!
//! let hang_up = Signal::End(Reason::Normal.into());
//! let (call, _) = call.decide(Event::Heard(heard(CALLER, 1, hang_up)), Time(9_000));
//! assert_eq!(call.ended, Some(Time(9_000)));
//! # Ok(())
//! # }
//! ```

mod bridge;
mod effect;
mod end;
mod event;
mod feature;
mod leg;
mod place;
mod record;
mod relocation;
mod settle;
mod target;
mod timeline;
mod wake;

pub use effect::{Connect, Effect, Fact};
pub use event::{Allocation, Event, MediaEvent, Placement, RelayChange, RelaySession, Renewal, Route};
pub use feature::Forwarding;
pub use leg::{AddressNotice, Leg, Offerer, Phase, Ring, Role, Signaling};
pub use place::{CALLEE, CALLER};
pub use record::{Admission, Call, Leaving};
pub use target::MAX_CONTENTS;
pub use timeline::{Quality, Timeline};

use crate::{Machine, StoredEffect};
use signal::{Heard, LegId, Reason, RecordKind, Said, Time};

impl StoredEffect for Effect {
    const NAME: &'static str = "an outbox of a call";
    const VERSION: u16 = 6;
    const OLDEST: u16 = 3;
    type Lane = Lane;

    fn lane(&self) -> Lane {
        match self {
            Effect::Say { leg, .. } | Effect::Wake { leg } => Lane::Leg(*leg),
            Effect::Connect(Connect { leg, .. })
            | Effect::Restart { leg, .. }
            | Effect::Candidates { leg, .. }
            | Effect::Play { leg, .. }
            | Effect::Press { leg, .. }
            | Effect::Allocate { leg, .. }
            | Effect::ReleaseLeg(leg) => Lane::Media(*leg),
            // An order that comes after it finds no session, and nobody is left to miss it.
            Effect::Bridge { .. } | Effect::Leave(_) | Effect::Release(_) | Effect::Probe => Lane::Relay,
            // After the release, whose answer tells of the media.
            Effect::Cdr => Lane::Relay,
            Effect::Route { leg, .. } => Lane::Route(*leg),
            Effect::Record(_) => Lane::Facts,
        }
    }
}

/// Lane of a call's effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Orders about one leg to its edge.
    Leg(LegId),
    /// Orders to the relay about the ends of one leg.
    Media(LegId),
    /// Orders to the relay about the session.
    Relay,
    /// The route of one leg.
    Route(LegId),
    /// Facts for billing and monitoring.
    Facts,
}

impl Machine for Call {
    const KIND: RecordKind = RecordKind::Call;
    const DEADLINE: Event = Event::Deadline;
    const LIFETIME_MS: Option<u64> = Some(24 * 3_600_000);
    type Event = Event;
    type Effect = Effect;

    fn decide(mut self, event: Event, now: Time) -> (Call, Vec<Effect>) {
        let mut effects = Effects::at(now);
        match event {
            Event::Heard(heard) => self.heard(heard, now, &mut effects),
            Event::Said(leg, said) => self.said(leg, said, &mut effects),
            Event::GivenUp(leg) => end::failed(&mut self, leg, Reason::Connectivity.into(), &mut effects),
            Event::Media(leg, event) => self.media(leg, event, &mut effects),
            Event::RelayChanged(to) => relocation::relay_changed(&mut self, to, now, &mut effects),
            Event::Renewed(leg, renewal) => feature::renewed(&mut self, leg, renewal, &mut effects),
            Event::Routed(leg, route) => target::routed(&mut self, leg, route, now, &mut effects),
            Event::Allocated(leg, relay, ends) => {
                target::allocated(&mut self, leg, &relay, ends, now, &mut effects)
            }
            Event::Measured(figures) => timeline::measured(&mut self, figures),
            Event::Transfer(leg, to) => feature::transfer(&mut self, leg, &to, now, &mut effects),
            Event::Deadline => self.expire(now, &mut effects),
            Event::HangUp(reason) => end::everybody(&mut self, reason.into(), &mut effects),
        }
        self.finish(now, &mut effects);
        (self, effects.list)
    }

    fn may_wait(event: &Event) -> bool {
        matches!(event, Event::Said(..) | Event::Measured(_))
    }

    fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    fn finished(&self, now: Time) -> bool {
        self.ended.is_some_and(|t| now.since(t) >= record::TOMBSTONE_MS)
    }
}

/// The effects of one decision, in the order in which they are performed.
pub(crate) struct Effects {
    /// Time of the decision.
    now: Time,
    list: Vec<Effect>,
}

impl Effects {
    fn at(now: Time) -> Effects {
        Effects { now, list: vec![] }
    }

    fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }
}

impl Call {
    /// A call that was just placed: the record of its first event, and what follows.
    ///
    /// # Errors
    /// The reason to refuse it with when nothing can be placed; nothing is stored then.
    pub fn place(placement: Placement, now: Time) -> Result<(Call, Vec<Effect>), signal::End> {
        let mut effects = Effects::at(now);
        let mut call = place::place(placement, now, &mut effects)?;
        call.finish(now, &mut effects);
        Ok((call, effects.list))
    }

    fn heard(&mut self, heard: Heard, now: Time, effects: &mut Effects) {
        let from = heard.leg.leg;
        let Some(leg) = self.leg_mut(from) else { return };
        leg.note(&heard);
        for signal in heard.signals {
            bridge::hear(self, from, signal, now, effects);
        }
    }

    /// The edge said it: keep the dialog that came of it; a failure ends the leg.
    fn said(&mut self, id: LegId, said: Said, effects: &mut Effects) {
        let Some(leg) = self.leg_mut(id) else { return };
        let opened = leg.revision > 0;
        if let Some(dialog) = said.dialog
            && said.base >= leg.revision
        {
            leg.dialog = dialog;
            leg.revision = said.base + 1;
            leg.edge = said.edge;
            leg.wake = said.wake;
        }
        leg.timeline.wire_id = said.wire_id.or(leg.timeline.wire_id.take());
        match said.failed {
            // Its peer is there, through another edge perhaps, and is told.
            Some(failed) if opened => end::failed(self, id, failed, effects),
            Some(failed) => end::left(self, id, failed, effects),
            None => {}
        }
    }

    /// The relay saw something on a leg's end.
    fn media(&mut self, id: LegId, event: MediaEvent, effects: &mut Effects) {
        if self.leg(id).is_none_or(|leg| leg.phase.is_over()) {
            return;
        }
        let reason = match event {
            MediaEvent::Connected => return relocation::met(self, id),
            // Interworking §12.6 rule 10, §12.5: silence and failed checks are connectivity, a wrong key is security.
            MediaEvent::TimedOut | MediaEvent::Unreachable => Reason::Connectivity,
            MediaEvent::Insecure => Reason::Security,
        };
        end::failed(self, id, reason.into(), effects);
    }

    /// The deadline passed: whoever waited has waited long enough.
    fn expire(&mut self, now: Time, effects: &mut Effects) {
        if self.deadline.is_none_or(|deadline| deadline > now) || self.ended.is_some() {
            return;
        }
        if self.errands().any(|at| at <= now) {
            // What waited for its time is done in the end, as after every decision.
            return;
        }
        if let Some(late) = self.late_target(now) {
            return end::failed(self, late.0, late.1.into(), effects);
        }
        if self.is_established() {
            return effects.push(Effect::Probe);
        }
        let callees = || self.legs.iter().filter(|leg| leg.role == Role::Callee);
        let rang = callees().any(|leg| leg.phase == Phase::Ringing);
        let unheard = callees().filter(|leg| !leg.phase.is_over()).find_map(|leg| leg.ring);
        let answered = self.legs.iter().any(|leg| leg.phase == Phase::Answered);
        // What the callee's side is told is that the caller waits no longer, or (interworking §2.6) that its media never came.
        let (reason, callee) = match (answered, rang) {
            // R-CALL-12: "rang and nobody came" differs from "nothing heard".
            (true, _) => (Reason::Timeout, Reason::Connectivity),
            (_, true) => (Reason::NoAnswer, Reason::NoAnswer),
            _ => (unheard.map_or(Reason::General, |ring| ring.unheard), Reason::NoAnswer),
        };
        let callees: Vec<LegId> = callees().map(|leg| leg.id).collect();
        let replaced = callees.iter().any(|leg| feature::replace(self, *leg, &reason.into(), effects));
        for leg in callees {
            end::hang_up(self, leg, callee.into(), effects);
            if replaced {
                end::release_leg(self, leg, effects);
            }
        }
        if !replaced {
            end::everybody(self, reason.into(), effects);
        }
    }

    /// Returns a target that did not answer in time, with the reason.
    fn late_target(&self, now: Time) -> Option<(LegId, Reason)> {
        let late = |leg: &&Leg| leg.role == Role::Target && leg.waits_until().is_some_and(|at| at <= now);
        let leg = self.legs.iter().find(late)?;
        let rang = leg.phase == Phase::Ringing;
        Some((leg.id, if rang { Reason::NoAnswer } else { leg.ring?.unheard }))
    }

    /// Returns the times of what waits for its time and is done after any decision.
    fn errands(&self) -> impl Iterator<Item = Time> {
        let others = [relocation::deadline(self), settle::deadline(self), wake::deadline(self)];
        others.into_iter().flatten().chain(feature::leave_deadline(self))
    }

    /// After every decision: tell who does not know yet where the media is, release the relay exactly once when everybody has gone, and set the deadline.
    fn finish(&mut self, now: Time, effects: &mut Effects) {
        relocation::send_notices(self, now, effects);
        settle::send(self, now, effects);
        wake::send(self, now, effects);
        feature::dismiss(self, now, effects);
        timeline::note(self, now);
        if self.ended.is_none() && self.legs.iter().all(|leg| leg.phase.is_over()) {
            end::finish(self, now, effects);
        }
        self.deadline = match self.ended {
            Some(ended) => Some(ended + record::TOMBSTONE_MS),
            None if self.legs.iter().any(|leg| leg.phase == Phase::Answered) => self.answer_by,
            None if self.is_established() => Some(now + record::CHECK_MS),
            None => None,
        };
        if self.ended.is_none() {
            let rings = self.legs.iter().filter_map(Leg::waits_until);
            let due = rings.chain(self.errands()).chain(self.deadline).min();
            self.deadline = due.or(Some(now + record::CHECK_MS));
        }
    }
}
