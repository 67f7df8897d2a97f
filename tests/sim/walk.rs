//! One walk: two orchestrators over one store, an edge and a peer for each leg, and everything that can go wrong between them.

use crate::check::{Checks, at_rest};
use crate::parts::{CALL, START, described_media, end, placement, route, settings};
use crate::random::Random;
use crate::side::Side;
use media::{LocalEnd, Profile};
use session::call::{
    Allocation, Connect, Effect, Event, MediaEvent, Phase, Placement, RelayChange, RelaySession, Renewal,
    Route,
};
use signal::media::Ice;
use signal::{EffectId, EventId, Heard, LegId, LegRef, Reason, Said, Signal, Verdict};
use std::collections::BTreeMap;
use tandem_tests::orchestrator::Orchestrator;

/// The world of a walk.
pub struct Walk {
    random: Random,
    now: signal::Time,
    store: store::Store,
    orchestrators: [Orchestrator; 2],
    sides: Vec<Side>,
    /// First port of each relay session, by its number.
    ports: BTreeMap<u64, u16>,
    /// Events on their way to an orchestrator; the network may reorder and double them.
    up: Vec<Event>,
    /// Orders that an edge gets so late that nobody waits for its reply.
    late: Vec<(EffectId, LegId, Signal)>,
    checks: Checks,
    events: u64,
    forgotten: bool,
    talk: bool,
}

impl Walk {
    /// Returns a walk whose call was just placed.
    pub fn new(seed: u64, talk: bool) -> Walk {
        let mut random = Random::new(seed);
        let placement = placement(&mut random);
        let store = store::Store::in_memory();
        let mut orchestrators = [(); 2].map(|()| Orchestrator::new(store.clone()));
        let Signal::Offer(offer) = &placement.heard.signals[0] else { panic!("a call begins with an offer") };
        let caller = Side::caller(!offer.is_described());
        let mut checks = Checks::default();
        place(placement, &mut orchestrators, &mut random, &mut checks);
        let mut walk = Walk {
            random,
            now: START,
            store,
            orchestrators,
            sides: vec![caller, Side::default()],
            ports: BTreeMap::new(),
            up: vec![],
            late: vec![],
            checks,
            events: 1,
            forgotten: false,
            talk,
        };
        walk.check();
        walk
    }

    /// Lets one thing happen.
    pub fn step(&mut self) {
        match self.random.below(10) {
            0..=3 => self.perform(),
            4..=5 => self.speak(),
            6..=8 => self.hear(),
            _ if self.random.chance(12) => self.leave_relay(),
            _ if self.random.chance(20) => {
                let leg = LegId(self.random.index(self.sides.len()) as u8);
                self.decide(&Event::Transfer(leg, "target".into()));
            }
            _ if self.random.chance(35) => self.refer(),
            _ if self.random.chance(30) => {
                // Its batch is lost with it; the record's deadline brings the outbox to another.
                let at = self.random.index(self.orchestrators.len());
                self.orchestrators[at] = Orchestrator::new(self.store.clone());
            }
            _ => {
                let pause = [900, 900, 900, 4_000, 4_000, 4_000, 4_000, 70_000][self.random.index(8)];
                self.now = self.now + self.random.below(pause);
                self.tick();
            }
        }
        self.check();
    }

    /// A party of the bridge wants the other one to have another peer, by its phone or its client.
    fn refer(&mut self) {
        let Some(call) = self.orchestrators[0].call(CALL).unwrap() else { return };
        let (one, other) = call.bridge;
        let at = usize::from(if self.random.chance(50) { one.0 } else { other.0 });
        if self.sides.get(at).is_some_and(|side| side.opened && !side.gone) {
            self.utter(at, Signal::Refer { target: "sip:2050@pbx.example".into(), replaces: None });
        }
    }

    fn orchestrator(&mut self) -> &mut Orchestrator {
        let at = self.random.index(self.orchestrators.len());
        &mut self.orchestrators[at]
    }

    fn decide(&mut self, event: &Event) {
        let now = self.now;
        self.orchestrator().decide(CALL, event, now).unwrap();
        self.check();
    }

    fn tick(&mut self) {
        let now = self.now;
        self.orchestrator().tick(now).unwrap();
        if !self.forgotten && self.orchestrators[0].calls().unwrap().is_empty() {
            self.forgotten = true;
            for (side, leg) in self.sides.iter().zip((0..).map(LegId)) {
                // Who answers a leg that was opened too late is told so.
                let speaks = |event: &Event| matches!(event, Event::Heard(heard) if heard.leg.leg == leg);
                let told = side.is_over() || side.rings || self.up.iter().any(speaks);
                assert!(told, "the call is forgotten, and leg {} is left alone", leg.0);
            }
        }
    }

    fn check(&mut self) {
        let made = |orchestrator: &mut Orchestrator| {
            std::iter::from_fn(|| orchestrator.decision()).collect::<Vec<_>>()
        };
        let mut decisions: Vec<_> = self.orchestrators.iter_mut().flat_map(made).collect();
        // What two orchestrators did in one step is in the order of the record.
        decisions.sort_by_key(|decision| decision.version);
        for decision in decisions {
            if self.talk {
                let (event, effects) = (&decision.event, &decision.effects);
                println!("{} v{} {event:?}\n    -> {effects:?}", self.now.0, decision.version);
            }
            self.checks.decision(&decision);
        }
    }

    /// The relay dies, drains, or is started anew; two orchestrators may see it and find different ones that take the session.
    fn leave_relay(&mut self) {
        let relay = |walk: &Walk| walk.orchestrators[0].call(CALL).unwrap().and_then(|call| call.relay);
        let Some(from) = relay(self) else { return };
        let alive = self.random.chance(40);
        for _ in 0..=self.random.index(2) {
            self.checks.moves += 1;
            let number = self.checks.moves;
            let session = RelaySession { started_ms: number, ..RelaySession::default() };
            // Started anew it has its old ports, perhaps, and nobody has to hear of it.
            let anew = !alive && !self.random.chance(70);
            self.ports.insert(number, if anew { 1 } else { 100 * number as u16 });
            let Some(call) = self.orchestrators[0].call(CALL).unwrap() else { return };
            let held = call.legs.iter().filter(|leg| leg.phase != Phase::Over && !leg.ends.is_empty());
            let ends: Vec<_> = held.map(|leg| (leg.id, self.ends(&session, leg.id))).collect();
            let allocation = Allocation { session: session.clone(), ends, transcodes: false };
            self.decide(&Event::RelayChanged(RelayChange { from: from.clone(), alive, allocation }));
            if relay(self) != Some(session) {
                // Nobody needs it: whoever allocated it gives it back.
                self.checks.release(number);
                self.checks.released.insert(number);
            } else if !alive {
                self.checks.dead.insert(from.started_ms);
            }
        }
        if self.random.chance(50) {
            let leg = LegId(self.random.index(self.sides.len()) as u8);
            self.up.push(Event::Media(leg, MediaEvent::Connected));
        }
    }

    /// The ends that a relay gives to a leg.
    fn ends(&self, session: &RelaySession, leg: LegId) -> Vec<LocalEnd> {
        let first = self.ports.get(&session.started_ms).copied().unwrap_or(1);
        vec![end(first + 2 * u16::from(leg.0))]
    }

    /// The relay gives ends to a further leg, or has no room.
    fn allocate(&mut self, leg: LegId, relay: Option<RelaySession>) -> Vec<Event> {
        let Some(relay) = relay else { return vec![] };
        if self.random.chance(10) {
            return vec![Event::Allocated(leg, relay, Err(Reason::Connectivity))];
        }
        let ends = self.ends(&relay, leg);
        vec![Event::Allocated(leg, relay, Ok(ends))]
    }

    /// One effect is performed, of those that lanes allow: it may get lost, or its reply.
    fn perform(&mut self) {
        if !self.late.is_empty() && self.random.chance(10) {
            let (id, leg, signal) = self.late.remove(0);
            self.say(id, leg, &signal);
            return;
        }
        let first = self.random.index(2);
        for at in [first, 1 - first] {
            let waiting = self.orchestrators[at].waiting();
            if !waiting.is_empty() {
                let id = waiting[self.random.index(waiting.len())];
                return self.perform_at(at, id);
            }
        }
    }

    fn perform_at(&mut self, at: usize, id: EffectId) {
        let now = self.now;
        let order = self.orchestrators[at].order(id).unwrap();
        let (lost, unheard) = (self.random.chance(6), self.random.chance(6));
        if lost {
            return self.orchestrators[at].failed(id, now).unwrap();
        }
        let events = match order.entry.effect {
            Effect::Say { leg, signal: signal @ Signal::Offer(_), .. } if self.random.chance(3) => {
                // No answer in time: it is given up, and the edge may open the leg all the same, late.
                if self.random.chance(50) {
                    self.late.push((id, leg, signal));
                }
                vec![Event::GivenUp(leg)]
            }
            Effect::Say { leg, signal, .. } => vec![self.say(id, leg, &signal)],
            Effect::Wake { leg } => {
                let recorded = order.record.machine.legs[usize::from(leg.0)].revision;
                vec![self.wake(id, leg, recorded)]
            }
            Effect::Release(session) => {
                self.checks.released.insert(session.started_ms);
                vec![]
            }
            Effect::Route { leg, .. } if self.random.chance(10) => {
                vec![Event::Routed(leg, Err(Reason::NotFound.into()))]
            }
            Effect::Route { leg, opening, .. } => {
                let profile = [Profile::Plain, Profile::Webrtc][self.random.index(2)];
                let route = Route { settings: settings(&mut self.random), ..route(opening, profile) };
                vec![Event::Routed(leg, Ok(route))]
            }
            Effect::Allocate { leg, .. } => self.allocate(leg, order.record.machine.relay.clone()),
            Effect::Restart { leg, ends } => self.restart(leg, &ends, order.record.machine.relay.clone()),
            Effect::Connect(_)
            | Effect::Candidates { .. }
            | Effect::Play { .. }
            | Effect::Press { .. }
            | Effect::Record(_)
            | Effect::Cdr
            | Effect::Leave(_)
            | Effect::Bridge { .. }
            | Effect::ReleaseLeg(_)
            | Effect::Probe => vec![],
        };
        let orchestrator = &mut self.orchestrators[at];
        if unheard { orchestrator.failed(id, now) } else { orchestrator.performed(id, events, now) }.unwrap();
    }

    /// The relay takes a restart and replies; the call may have left it by then.
    fn restart(&mut self, leg: LegId, asked: &[Connect], relay: Option<RelaySession>) -> Vec<Event> {
        let Some(relay) = relay else { return vec![] };
        let theirs = asked.iter().map(Connect::ufrag).collect();
        if self.random.chance(20) {
            self.leave_relay();
        }
        let ice = Ice { ufrag: format!("ours{}", self.events), ..Ice::default() };
        let ends = if self.random.chance(90) { vec![(0, ice)] } else { vec![] };
        self.events += 1;
        vec![Event::Renewed(leg, Renewal { relay, theirs, ends })]
    }

    fn say(&mut self, id: EffectId, leg: LegId, signal: &Signal) -> Event {
        self.checks.said(id, leg, signal);
        if self.sides.len() <= usize::from(leg.0) {
            self.sides.resize_with(usize::from(leg.0) + 1, Side::default);
        }
        let fails = self.random.chance(1);
        let offers = matches!(signal, Signal::Update(_)) && self.random.chance(30);
        let wake = offers.then(|| self.now + self.random.below(40_000));
        Event::Said(leg, self.sides[usize::from(leg.0)].say(id, leg, signal, wake, fails))
    }

    /// An edge wakes a leg, and gives up the update that its peer has not answered. A session that nobody refreshes is over.
    fn wake(&mut self, id: EffectId, leg: LegId, revision: u32) -> Event {
        let side = &mut self.sides[usize::from(leg.0)];
        let open = side.told.iter().position(|signal| matches!(signal, Signal::Update(_)));
        if let Some(open) = open.filter(|_| side.revision == revision) {
            side.told.remove(open);
            self.utter(usize::from(leg.0), Signal::Refused(Reason::Timeout));
        } else if side.revision == revision && self.random.chance(80) {
            self.refresh(usize::from(leg.0));
        } else if side.revision == revision && self.random.chance(10) {
            self.utter(usize::from(leg.0), Signal::End(Reason::Timeout.into()));
        }
        Event::Said(
            leg,
            Said {
                id,
                base: revision,
                dialog: None,
                wake: None,
                edge: "edge-a".into(),
                failed: None,
                wire_id: None,
            },
        )
    }

    /// A peer says something: what fits, what is late, or what makes no sense.
    fn speak(&mut self) {
        let at = self.random.index(self.sides.len());
        if !self.sides[at].opened || self.sides[at].gone && self.random.chance(80) {
            return;
        }
        let reacts = !self.sides[at].told.is_empty() && self.random.chance(70);
        let told = reacts.then(|| self.sides[at].told.remove(0));
        let media = described_media(&mut self.random);
        let late_offer = self.sides[at].undescribed && self.sides[at].answered;
        let signal = match told {
            Some(Signal::Offer(_)) if self.random.chance(60) => Signal::Answer(media),
            Some(Signal::Offer(_)) if self.random.chance(20) => Signal::Progress(Some(media)),
            Some(Signal::Offer(_)) if self.random.chance(40) => {
                let reasons = [Reason::Busy, Reason::NoAnswer, Reason::Offline, Reason::Declined];
                Signal::End(reasons[self.random.index(4)].into())
            }
            Some(Signal::Offer(_)) => Signal::Ringing,
            Some(Signal::Answer(_)) if late_offer => {
                if self.random.chance(50) {
                    Signal::Update(media)
                } else {
                    Signal::Updated(media)
                }
            }
            // An early answer, to our offer in a provisional response.
            Some(Signal::Progress(Some(_))) if self.random.chance(50) => Signal::Progress(Some(media)),
            Some(Signal::Update(_)) if self.random.chance(80) => Signal::Updated(media),
            Some(Signal::Update(_)) => Signal::Refused(Reason::IncompatibleMedia),
            _ => match self.random.below(40) {
                0 => Signal::End(Reason::Normal.into()),
                1 => {
                    let mut target = || format!("sip:205{}@pbx.example", self.random.index(4));
                    let (first, second) = (target(), target());
                    Signal::Redirect(first, vec![second])
                }
                2..=4 => Signal::Answer(media),
                5..=24 => Signal::Update(media),
                25..=27 => Signal::Updated(media),
                28..=30 => Signal::Refused(Reason::Glare),
                31..=33 => Signal::Tone(signal::Tone { digit: '5', duration: 160 }),
                34..=36 => Signal::Refer { target: "sip:2050@pbx.example".into(), replaces: None },
                37 => Signal::Progress(None),
                38 if self.random.chance(30) => Signal::Progress(Some(media)),
                38 => return self.refresh(at),
                _ => Signal::Ringing,
            },
        };
        self.utter(at, signal);
    }

    /// The edge of a side brings what its peer said.
    fn utter(&mut self, at: usize, signal: Signal) {
        let side = &mut self.sides[at];
        side.rings &= !matches!(signal, Signal::Answer(_));
        // A redirection is an end too: the peer of this leg is elsewhere.
        side.gone |= matches!(signal, Signal::End(_) | Signal::Redirect(..));
        self.bring(at, vec![signal], None);
    }

    /// One of both refreshes the session: the call hears nothing, and the edge wants to be woken before it is over.
    fn refresh(&mut self, at: usize) {
        let wake = self.now + self.random.below(90_000);
        self.bring(at, vec![], Some(wake));
    }

    /// The edge of a side brings an event.
    fn bring(&mut self, at: usize, signals: Vec<Signal>, wake: Option<signal::Time>) {
        let side = &self.sides[at];
        let leg = LegId(at as u8);
        let heard = Heard {
            leg: LegRef { record: CALL, leg },
            base: side.revision,
            event: EventId(self.events),
            signals,
            dialog: vec![leg.0, 2],
            edge: "edge-a".into(),
            opening: None,
            wake,
            wire_id: None,
        };
        self.events += 1;
        if self.random.chance(1) {
            let event =
                [MediaEvent::Connected, MediaEvent::TimedOut, MediaEvent::Insecure][self.random.index(3)];
            self.up.push(Event::Media(leg, event));
        }
        if self.random.chance(15) {
            self.up.push(Event::Heard(heard.clone()));
        }
        self.up.push(Event::Heard(heard));
    }

    /// An event reaches an orchestrator.
    fn hear(&mut self) {
        if self.up.is_empty() {
            return;
        }
        let at = self.random.index(self.up.len());
        let mut heard = match self.up.remove(at) {
            Event::Heard(heard) => heard,
            event => return self.decide(&event),
        };
        let now = self.now;
        let nobody = |_| panic!("nothing opens a second call");
        let mut verdict = self.orchestrator().hear(heard.clone(), now, nobody).unwrap();
        // Each orchestrator may know of something that was said and is not saved yet.
        for _ in 0..=self.orchestrators.len() {
            let Verdict::Stale(state) = verdict else { break };
            // The edge hears the message again against the leg as it is now.
            heard.base = state.revision;
            verdict = self.orchestrator().hear(heard.clone(), now, nobody).unwrap();
        }
        let side = &mut self.sides[usize::from(heard.leg.leg.0)];
        match verdict {
            Verdict::Committed { revision, .. } => side.revision = side.revision.max(revision),
            // Who speaks there is told that nobody is there any more.
            Verdict::Gone => side.gone = true,
            verdict => panic!("{verdict:?}"),
        }
        self.check();
    }

    /// Returns how often the bridge of the call has changed, how many of its legs were replaced at their own wish, and how often it was
    /// diverted.
    pub fn counts(&self) -> [u64; 3] {
        [self.checks.bridges, self.checks.referred, self.checks.diversions]
    }

    fn rest(&mut self) {
        while !self.up.is_empty() {
            self.hear();
        }
        self.tick();
        while !self.late.is_empty() || self.orchestrators.iter().any(|o| !o.waiting().is_empty()) {
            self.perform();
        }
        self.check();
    }

    /// Brings everything to rest: every effect performed, every event heard, all parties hung up at last.
    pub fn finish(&mut self) {
        for round in 0..60 {
            self.rest();
            for at in 0..self.sides.len() {
                // Who was offered something answers at last.
                let told = std::mem::take(&mut self.sides[at].told);
                let (updates, others): (Vec<_>, Vec<_>) =
                    told.into_iter().partition(|signal| matches!(signal, Signal::Update(_)));
                self.sides[at].told = others;
                for _ in updates {
                    let media = described_media(&mut self.random);
                    self.utter(at, Signal::Updated(media));
                }
            }
            if round == 30
                && let Some(call) = self.orchestrators[0].call(CALL).unwrap()
                && call.ended.is_none()
            {
                at_rest(&call);
                self.decide(&Event::HangUp(Reason::Normal));
            }
            if self.forgotten && self.sides.iter().all(Side::is_over) {
                break;
            }
            // A call that is diverted from one to the next rings for minutes.
            self.now = self.now + if round < 20 { 5_000 } else { 40_000 };
        }
        // Whoever still rings is answered at last.
        for at in 0..self.sides.len() {
            if self.sides[at].rings && !self.sides[at].gone {
                let media = described_media(&mut self.random);
                self.utter(at, Signal::Answer(media));
            }
        }
        self.rest();
        assert!(
            self.forgotten,
            "left undone: {:?}",
            self.orchestrators[0].load(CALL).unwrap().map(|l| l.outbox)
        );
        self.checks.all_released();
        for (side, leg) in self.sides.iter().zip(0..) {
            assert!(side.is_over(), "leg {leg} was left alone");
        }
    }
}

/// Places the call. Now and then its first message, repeated by the network, reaches the other orchestrator while the first one
/// gathers, and is faster.
fn place(ours: Placement, orchestrators: &mut [Orchestrator; 2], random: &mut Random, checks: &mut Checks) {
    let heard = ours.heard.clone();
    let mut theirs = ours.clone();
    let [first, second] = orchestrators;
    let (meet, same_relay) = (random.chance(20), random.chance(50));
    if meet && !same_relay {
        checks.moves += 1;
        theirs.allocation.session.started_ms = checks.moves;
    }
    let (mine, repeated) = (ours.allocation.session.started_ms, heard.clone());
    let committed = |verdict| assert!(matches!(verdict, Verdict::Committed { .. }), "{verdict:?}");
    let gather = |_| {
        if meet {
            committed(second.hear(repeated, START, |_| Ok(theirs)).unwrap());
        }
        Ok(ours)
    };
    committed(first.hear(heard, START, gather).unwrap());
    if meet && !same_relay {
        checks.release(mine);
        checks.released.insert(mine);
    }
}
