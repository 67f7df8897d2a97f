//! A seeded random walk over the call machine: late, doubled and lost signals, orchestrators that die between save and
//! perform, edges that open a leg after it was given up, on virtual time. A failing seed is printed; `SEED=n cargo test -p tandem-tests --test sim` replays it.
//!
//! Invariants: nothing new is said to a leg that is over; every relay that lives is released exactly once, one that died never; no
//! leg is left alone, and who is still there in the end knows where the media is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

#[path = "sim/parts.rs"]
mod parts;
#[path = "sim/random.rs"]
mod random;
#[path = "sim/restarts.rs"]
mod restarts;

use media::{Policy, Profile};
use parts::{described_media, end, number, number_of};
use random::Random;
use session::Machine;
use session::call::{
    AddressNotice, Admission, Allocation, Call, Connect, Effect, Event, Fact, MediaEvent, Phase, Placement,
    RelayChange, RelaySession, Renewal, Route, Signaling,
};
use signal::media::{Codec, Ice, Kind};
use signal::{
    CallId, EffectId, End, EventId, Heard, LegId, LegRef, Media, Opening, Party, Reason, Said, Signal, Time,
};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 100_000;
const STEPS: usize = 40;

#[test]
fn a_hundred_thousand_walks() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|s| s.parse().ok()) {
        return walk(seed, true);
    }
    let workers: Vec<_> = (0..2)
        .map(|part| std::thread::spawn(move || (part..SEEDS).step_by(2).for_each(|seed| walk(seed, false))))
        .collect();
    for worker in workers {
        assert!(worker.join().is_ok(), "a walk failed; its seed stands above");
    }
}

/// A call whose caller has described itself, answered with this codec or with what was offered.
fn answered(codec: Option<Codec>) -> (Call, Vec<Effect>) {
    let described = |call: &Call| call.legs[0].remote_description.as_ref().is_some_and(Media::is_described);
    let call = (0..).map(|seed| World::new(seed, false).stored.call).find(described).unwrap();
    let mut media = call.legs[0].remote_description.clone().unwrap();
    if let Some(codec) = codec {
        media.contents[0].codecs = vec![codec];
    }
    let heard = Heard {
        leg: LegRef { call: call.id, leg: LegId(1) },
        base: 0,
        event: EventId(1),
        signals: vec![Signal::Answer(media)],
        dialog: vec![],
        edge: String::new(),
        opening: None,
    };
    call.decide(Event::Heard(heard), Time(1_000_100))
}

#[test]
fn a_quiet_call_asks_its_relay_every_hour() {
    let (call, effects) = answered(None);
    assert!(call.is_established() && effects.contains(&Effect::Record(Fact::Answered)));
    let at = call.deadline().unwrap();
    assert_eq!(at, Time(1_000_100 + 3_600_000));
    let (call, effects) = call.decide(Event::Deadline, at);
    assert_eq!(effects, [Effect::Probe]);
    assert!(call.is_established() && call.deadline() > Some(at));
    let (call, _) = call.decide(Event::Media(LegId(0), MediaEvent::Unreachable), at);
    assert!(call.ended.is_some(), "its relay is gone");
}

#[test]
fn an_answer_that_fits_nobody_is_no_answer() {
    let (call, effects) = answered(Some(Codec::new(18, "G729", 8_000, 1)));
    assert!(call.ended.is_some() && !effects.contains(&Effect::Record(Fact::Answered)));
    assert!(matches!(effects.last(), Some(Effect::Record(Fact::Ended { talked_ms: None, .. }))));
}

fn walk(seed: u64, talk: bool) {
    let mut world = World::new(seed, talk);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
    }));
    if outcome.is_err() {
        panic!("seed {seed} fails; SEED={seed} replays it with its steps");
    }
}

/// What an edge and the peer behind it know of a leg.
#[derive(Default)]
struct Side {
    revision: u32,
    seen: BTreeSet<EffectId>,
    /// The peer was offered something, by opening or update, and has yet to answer.
    asked: Vec<Signal>,
    undescribed: bool,
    answered: bool,
    /// The peer knows of the leg.
    opened: bool,
    /// It was offered a call that it has not answered.
    rings: bool,
    /// The last word was an end, from either side.
    gone: bool,
    /// The edge told that it could not say the end.
    lost: bool,
}

struct Stored {
    call: Call,
    version: u64,
    outbox: Vec<(EffectId, Effect)>,
}

struct World {
    random: Random,
    now: Time,
    stored: Stored,
    sides: [Side; 2],
    /// Events on their way to an orchestrator; the network may reorder and double them.
    up: Vec<Event>,
    /// Effects taken out by a living orchestrator.
    down: Vec<(EffectId, Effect)>,
    events: u64,
    over_at: BTreeMap<LegId, u64>,
    /// What released which relay session.
    released: BTreeMap<u64, BTreeSet<EffectId>>,
    /// Relay sessions made for this call so far; each is told by when its relay was started.
    sessions: u64,
    /// Those of them whose relay died.
    dead: BTreeSet<u64>,
    talk: bool,
}

impl World {
    fn new(seed: u64, talk: bool) -> World {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let call = CallId([7; 10]);
        let (sip_calls, described) = (random.chance(50), random.chance(50));
        let opening = |from: Party, to: Party| Opening { from, to, link: "pbx".into(), hops: 70 };
        let (phone, client) = (Party::sip("sip:2041@pbx.example"), Party::xmpp("rosa@xmpp.example"));
        let (here, there) = if sip_calls { (phone, client) } else { (client, phone) };
        // A relay that can make sound, or one that only passes it on.
        let able = random.chance(2);
        let profile = |sip: bool| if sip { Profile::Plain } else { Profile::Webrtc };
        let offer = if described { described_media(&mut random) } else { Media::undescribed(&[Kind::Audio]) };
        let heard = Heard {
            leg: LegRef { call, leg: LegId(0) },
            base: 0,
            event: EventId(0),
            signals: vec![Signal::Offer(offer)],
            dialog: vec![0],
            edge: "edge-a".into(),
            opening: Some(opening(here.clone(), there.clone())),
        };
        let placement = Placement {
            heard,
            route: Route {
                opening: opening(here, there),
                caller: profile(sip_calls),
                callee: profile(!sip_calls),
                policy: Policy {
                    transcode: able,
                    music: able.then(|| "hold.wav".into()),
                    ..Policy::default()
                },
                ring_ms: 60_000,
                unheard: Reason::Offline,
            },
            allocation: Allocation {
                session: RelaySession::default(),
                ends: vec![vec![end(1)], vec![end(2)]],
                transcodes: able,
            },
            trace: String::new(),
        };
        let now = Time(1_000_000);
        let (call, effects) = Call::place(placement, now).expect("what we serve is placed");
        let outbox = number(call.id, 1, effects);
        let mut sides = [Side::default(), Side::default()];
        (sides[0].revision, sides[0].undescribed, sides[0].opened) = (1, !described, true);
        World {
            random,
            now,
            stored: Stored { call, version: 1, outbox },
            sides,
            up: vec![],
            down: vec![],
            events: 1,
            over_at: BTreeMap::new(),
            released: BTreeMap::new(),
            sessions: 1,
            dead: BTreeSet::new(),
            talk,
        }
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0..=2 => self.perform(),
            3..=4 => self.deliver(),
            5..=7 => self.speak(),
            8 => self.orchestrate(),
            _ if self.random.chance(12) => self.leave(),
            _ => {
                let pause = if self.random.chance(10) { 70_000 } else { 900 };
                self.now = self.now + self.random.below(pause);
                self.redrive();
            }
        }
    }

    /// The relay dies, drains, or is started anew; two orchestrators may see it and find different ones that take the session.
    fn leave(&mut self) {
        let Some(from) = self.stored.call.relay.clone() else { return };
        let alive = self.random.chance(40);
        for _ in 0..=self.random.index(2) {
            let session = RelaySession { started_ms: self.sessions, ..RelaySession::default() };
            // Started anew it has its old ports, perhaps, and nobody has to hear of it.
            let port = if alive || self.random.chance(70) { 10 * self.sessions as u16 + 10 } else { 1 };
            self.sessions += 1;
            let ends = vec![vec![end(port)], vec![end(port + 1)]];
            let to = RelayChange {
                from: from.clone(),
                alive,
                allocation: Allocation { session: session.clone(), ends, transcodes: false },
            };
            let before = self.stored.call.relay.clone();
            self.decide(Event::RelayChanged(to));
            if self.stored.call.relay == before {
                // Nobody needs it: whoever allocated it gives it back.
                self.released.entry(session.started_ms).or_default().insert(number_of(&session));
            } else if !alive {
                self.dead.insert(from.started_ms);
            }
        }
        if self.random.chance(50) {
            self.up.push(Event::Media(LegId(self.random.below(2) as u8), MediaEvent::Connected));
        }
    }

    /// The orchestrator that saved may live to take its outbox, or die and leave it to the redrive.
    fn perform(&mut self) {
        if self.random.chance(85) {
            self.down.extend(self.stored.outbox.iter().cloned());
        }
    }

    /// Somebody picks up the deadline: the outbox again, then the machine's own deadline.
    fn redrive(&mut self) {
        self.down.extend(self.stored.outbox.iter().cloned());
        if self.stored.call.deadline().is_some_and(|d| d <= self.now) {
            self.decide(Event::Deadline);
        }
    }

    /// One effect reaches its edge or relay; it may be lost on the way (it stays in the outbox) or come twice.
    fn deliver(&mut self) {
        if self.down.is_empty() {
            return;
        }
        // Effects of one decision leave in order; those of several orchestrators may cross.
        let at = if self.random.chance(80) { 0 } else { self.random.index(self.down.len()) };
        let (id, effect) = self.down.remove(at);
        if self.random.chance(10) {
            return;
        }
        if self.random.chance(10) {
            self.down.push((id, effect.clone()));
        }
        match effect {
            Effect::Say { leg, signal: Signal::Offer(_), .. } if self.random.chance(4) => {
                // No answer in time: it is given up, and the edge may open the leg all the same, late.
                if self.random.chance(50) {
                    self.down.push((id, effect));
                }
                self.perform_done(id);
                self.decide(Event::GivenUp(leg));
            }
            Effect::Say { leg, signal, .. } => self.say(id, leg, signal),
            Effect::Release(session) => {
                self.released.entry(session.started_ms).or_default().insert(id);
                self.perform_done(id);
            }
            Effect::Restart { leg, ends: asked } => {
                self.perform_done(id);
                let Some(relay) = self.stored.call.relay.clone() else { return };
                let theirs = asked.iter().map(Connect::ufrag).collect();
                if self.random.chance(20) {
                    // What it tells is of no use any more.
                    self.leave();
                }
                let ice = Ice { ufrag: format!("ours{}", self.events), ..Ice::default() };
                let ends = if self.random.chance(90) { vec![(0, ice)] } else { vec![] };
                self.events += 1;
                self.decide(Event::Renewed(leg, Renewal { relay, theirs, ends }));
            }
            Effect::Connect(_)
            | Effect::Candidates { .. }
            | Effect::Play { .. }
            | Effect::Record(_)
            | Effect::Leave(_)
            | Effect::Probe => {
                self.perform_done(id);
            }
        }
    }

    fn perform_done(&mut self, id: EffectId) {
        self.stored.outbox.retain(|(kept, _)| *kept != id);
    }

    fn say(&mut self, id: EffectId, leg: LegId, signal: Signal) {
        if let Some(over) = self.over_at.get(&leg) {
            assert!(
                id.version <= *over,
                "{id}: {} said to leg {} that was over at {over}",
                signal.name(),
                leg.0
            );
        }
        let fails = self.random.chance(2);
        let side = &mut self.sides[usize::from(leg.0)];
        let base = side.revision;
        let mut said = Said { id, base, dialog: Some(vec![leg.0, 1]), edge: "edge-b".into(), failed: None };
        let opens = matches!(signal, Signal::Offer(_));
        if !side.seen.contains(&id) && (fails || !side.opened && !opens) {
            // Nothing has left.
            side.lost |= side.opened && matches!(signal, Signal::End(_));
            (said.dialog, said.failed) = (None, Some(End::from(Reason::Connectivity)));
        } else if side.seen.insert(id) {
            side.revision += 1;
            match &signal {
                // An end that came before found nobody.
                Signal::Offer(_) => (side.opened, side.rings) = (true, true),
                Signal::End(_) => side.gone = true,
                Signal::Answer(_) => side.answered = true,
                _ => {}
            }
            side.asked.push(signal);
        }
        self.up.push(Event::Said(leg, said));
        self.perform_done(id);
    }

    /// A peer says something: what fits, what is late, or what makes no sense.
    fn speak(&mut self) {
        let at = self.random.index(2);
        if !self.sides[at].opened || self.sides[at].gone && self.random.chance(80) {
            return;
        }
        let asked = (!self.sides[at].asked.is_empty() && self.random.chance(70))
            .then(|| self.sides[at].asked.remove(0));
        let media = described_media(&mut self.random);
        let late_offer = self.sides[at].undescribed && self.sides[at].answered;
        let signal = match asked {
            Some(Signal::Offer(_)) if self.random.chance(60) => Signal::Answer(media),
            Some(Signal::Offer(_)) => Signal::Ringing,
            Some(Signal::Answer(_)) if late_offer => {
                if self.random.chance(50) {
                    Signal::Update(media)
                } else {
                    Signal::Updated(media)
                }
            }
            Some(Signal::Update(_)) if self.random.chance(80) => Signal::Updated(media),
            Some(Signal::Update(_)) => Signal::Refused(Reason::IncompatibleMedia),
            _ => match self.random.below(14) {
                0..=1 => Signal::End(Reason::Normal.into()),
                2 => Signal::Answer(media),
                3..=6 => Signal::Update(media),
                7 => Signal::Updated(media),
                8 => Signal::Refused(Reason::Glare),
                9 => Signal::Tone(signal::Tone { digit: '5', duration: 160 }),
                10 => Signal::Refer { target: "sip:2050@pbx.example".into(), replaces: None },
                11 => Signal::Redirect("sip:2051@pbx.example".into()),
                12 => Signal::Progress(None),
                _ => Signal::Ringing,
            },
        };
        self.utter(at, signal);
    }

    /// The edge of a side brings what its peer said.
    fn utter(&mut self, at: usize, signal: Signal) {
        self.sides[at].rings &= !matches!(signal, Signal::Answer(_));
        // A redirection is an end too: the peer of this leg is elsewhere.
        self.sides[at].gone |= matches!(signal, Signal::End(_) | Signal::Redirect(_));
        let leg = LegId(if at == 0 { 0 } else { 1 });
        let heard = Heard {
            leg: LegRef { call: self.stored.call.id, leg },
            base: self.sides[at].revision,
            event: EventId(self.events),
            signals: vec![signal],
            dialog: vec![leg.0, 2],
            edge: "edge-a".into(),
            opening: None,
        };
        self.events += 1;
        if self.random.chance(3) {
            let event =
                [MediaEvent::Connected, MediaEvent::TimedOut, MediaEvent::Insecure][self.random.index(3)];
            self.up.push(Event::Media(leg, event));
        }
        if self.random.chance(15) {
            self.up.push(Event::Heard(heard.clone()));
        }
        self.up.push(Event::Heard(heard));
    }

    fn orchestrate(&mut self) {
        if !self.up.is_empty() {
            let at = self.random.index(self.up.len());
            let event = self.up.remove(at);
            self.decide(event);
        }
    }

    fn decide(&mut self, event: Event) {
        let mut event = event;
        if let Event::Heard(heard) = &mut event {
            if self.stored.call.admit(heard) == Admission::Stale {
                // The edge hears the message again against the leg as it is now.
                heard.base = self.stored.call.leg(heard.leg.leg).map_or(0, |leg| leg.revision);
            }
            match self.stored.call.admit(heard) {
                Admission::Fresh => {}
                Admission::Seen | Admission::Unknown | Admission::Stale => return,
                // Who answers there is told that nobody is there any more.
                Admission::Over => {
                    self.sides[usize::from(heard.leg.leg.0)].gone = true;
                    return;
                }
            }
            let side = &mut self.sides[usize::from(heard.leg.leg.0)];
            side.revision = side.revision.max(heard.base + 1);
        }
        let before = self.stored.call.clone();
        let (call, effects) = before.decide(event.clone(), self.now);
        let version = self.stored.version + 1;
        if self.talk {
            println!("{} v{version} {event:?}\n    -> {effects:?}", self.now.0);
        }
        for effect in &effects {
            if let Effect::Say { leg, signal, .. } = effect {
                self.fits(*leg, signal);
            }
        }
        for leg in &call.legs {
            if leg.phase == Phase::Over {
                self.over_at.entry(leg.id).or_insert(version);
            }
        }
        self.stored.outbox.extend(number(call.id, version, effects));
        (self.stored.call, self.stored.version) = (call, version);
        self.check();
    }

    /// What is said fits what the hearer was before: offers meet no open offer, answers answer one (RFC 3264 §4).
    fn fits(&self, leg: LegId, signal: &Signal) {
        let leg = &self.stored.call.legs[usize::from(leg.0)];
        let fits = match signal {
            Signal::Offer(_) => false,
            Signal::Ringing => leg.inbound && leg.phase == Phase::Calling,
            Signal::Answer(_) => {
                leg.inbound && leg.phase.is_early() && leg.signaling == Signaling::HaveRemoteOffer
            }
            Signal::Update(_) => leg.phase == Phase::Active && leg.signaling == Signaling::Stable,
            _ => !leg.phase.is_over(),
        };
        assert!(
            fits,
            "{} does not fit leg {} ({:?}, offer {:?})",
            signal.name(),
            leg.id.0,
            leg.phase,
            leg.signaling
        );
    }

    fn check(&self) {
        let call = &self.stored.call;
        let over: Vec<bool> = call.legs.iter().map(|leg| leg.phase.is_over()).collect();
        assert!(
            over.iter().all(|o| *o) == call.ended.is_some(),
            "ended exactly when everybody has gone: {over:?}"
        );
        assert!(over.iter().all(|o| *o == over[0]), "a leg is left alone: {over:?}");
        let mut releases = self.released.clone();
        for (id, effect) in &self.stored.outbox {
            if let Effect::Release(session) = effect {
                releases.entry(session.started_ms).or_default().insert(*id);
            }
        }
        for (session, ids) in &releases {
            assert!(ids.len() == 1, "session {session} is released more than once: {ids:?}");
            assert!(!self.dead.contains(session), "session {session} died with its relay, and is released");
        }
        assert_eq!(call.relay.is_none(), call.ended.is_some(), "the relay lives as long as the call");
        assert!(call.deadline().is_some(), "nobody would look after this call");
    }

    /// The world comes to rest: every effect performed, every event heard, both parties hang up at last.
    fn settle(&mut self) {
        for round in 0..40 {
            while !self.up.is_empty() {
                self.orchestrate();
            }
            self.redrive();
            while !self.down.is_empty() {
                self.deliver();
            }
            for at in 0..2 {
                // Whoever is asked answers at last.
                let asked = std::mem::take(&mut self.sides[at].asked);
                let updates = asked.iter().filter(|signal| matches!(signal, Signal::Update(_))).count();
                self.sides[at].asked =
                    asked.into_iter().filter(|s| !matches!(s, Signal::Update(_))).collect();
                for _ in 0..updates {
                    let media = described_media(&mut self.random);
                    self.utter(at, Signal::Updated(media));
                }
            }
            if round == 20 && self.stored.call.ended.is_none() {
                let waits = |leg: &session::call::Leg| leg.signaling == Signaling::RestartPending;
                assert!(!self.stored.call.legs.iter().any(waits), "a restart was not answered");
                if self.stored.call.is_established() {
                    let call = &self.stored.call;
                    let unknown = |leg: &session::call::Leg| {
                        leg.signaling == Signaling::Stable && leg.address_notice != AddressNotice::Current
                    };
                    assert!(
                        !call.legs.iter().any(unknown),
                        "somebody does not know where the media is: {call:#?}"
                    );
                    assert!(
                        call.leaving.is_none()
                            || call.legs.iter().any(|leg| leg.signaling != Signaling::Stable)
                    );
                }
                self.decide(Event::HangUp(Reason::Normal));
            }
            self.now = self.now + 5_000;
        }
        // Whoever still rings is answered at last.
        for at in 0..2 {
            if self.sides[at].rings && !self.sides[at].gone {
                let media = described_media(&mut self.random);
                self.utter(at, Signal::Answer(media));
            }
        }
        while !self.up.is_empty() {
            self.orchestrate();
        }
        assert!(self.stored.outbox.is_empty(), "left undone: {:?}", self.stored.outbox);
        assert!(self.stored.call.ended.is_some());
        for session in 0..self.sessions {
            let times = self.released.get(&session).map_or(0, BTreeSet::len);
            let wanted = usize::from(!self.dead.contains(&session));
            assert_eq!(times, wanted, "session {session} of {}", self.sessions);
        }
        for (at, side) in self.sides.iter().enumerate() {
            assert!(side.gone || side.lost || !side.opened, "leg {at} was left alone");
        }
        assert!(self.stored.call.finished(self.now + 60_000));
    }
}
