//! The invariants of every walk:
//!
//! - nothing is said that does not fit the hearer's state: an answer answers an offer, no offer meets an open one (RFC 3264 §4);
//! - nothing new is said to a leg that is over;
//! - a call is diverted five times at most;
//! - no leg is left alone: it has a peer, or waits for one; the call ends exactly when everybody has gone;
//! - a bridge that changes is told to the relay, and no leg that has gone keeps its ends there;
//! - every relay session that the call had is released exactly once, one that died with its relay never;
//! - a call that ends has one detail record, and an end of each leg;
//! - somebody looks after every record.

use session::Machine;
use session::call::{AddressNotice, Call, Effect, Event, Fact, Leg, Offerer, Phase, Role, Signaling};
use signal::{EffectId, LegId, ReferStatus, Signal};
use std::collections::{BTreeMap, BTreeSet};
use tandem_tests::orchestrator::Decision;

/// History of the decisions, as far as the invariants need it.
#[derive(Default)]
pub struct Checks {
    over_at: BTreeMap<LegId, u64>,
    /// Orders to release a session, by when its relay was started.
    ordered: BTreeMap<u64, u32>,
    /// Sessions that their relays have given up.
    pub released: BTreeSet<u64>,
    /// Sessions whose relay died.
    pub dead: BTreeSet<u64>,
    /// Sessions allocated for the call after its first.
    pub moves: u64,
    /// Decisions that changed the bridge.
    pub bridges: u64,
    /// Legs that were replaced at their own wish.
    pub referred: u64,
    /// Diversions of the call.
    pub diversions: u64,
    /// Detail records of the call.
    records: u64,
}

impl Checks {
    /// Checks one decision.
    pub fn decision(&mut self, decision: &Decision) {
        let mut refused = BTreeSet::new();
        for effect in &decision.effects {
            match (effect, &decision.before) {
                (Effect::Say { leg, signal: Signal::Update(_), .. }, Some(_)) if refused.contains(leg) => {}
                (Effect::Say { leg, signal, .. }, Some(before)) => {
                    fits(before, *leg, signal);
                    if matches!(signal, Signal::Refused(_)) {
                        refused.insert(*leg);
                    }
                }
                (Effect::Release(session), _) => self.release(session.started_ms),
                (Effect::Record(Fact::Diverted { .. }), _) => self.diversions += 1,
                (Effect::Cdr, _) => self.records += 1,
                _ => {}
            }
        }
        assert!(self.diversions <= 5, "the call is diverted {} times", self.diversions);
        assert_eq!(self.records, u64::from(decision.after.ended.is_some()), "detail records");
        self.bridge(decision);
        self.referred += replaced(decision);
        ends(decision);
        spares(decision);
        asks_again(decision);
        grows(decision);
        for leg in decision.after.legs.iter().filter(|leg| leg.phase == Phase::Over) {
            self.over_at.entry(leg.id).or_insert(decision.version);
        }
        call(&decision.after);
        let timed = |leg: &Leg| leg.timeline.ended.is_some() == leg.phase.is_over();
        assert!(decision.after.legs.iter().all(timed), "the end of a leg has no time");
    }

    /// Checks that the relay is told of a bridge that changed, once both legs have ends there.
    fn bridge(&mut self, decision: &Decision) {
        let Decision { before: Some(before), after, effects, .. } = decision else { return };
        let ready = |call: &Call| {
            let ids = [call.bridge.0, call.bridge.1];
            ids.iter().all(|id| call.leg(*id).is_some_and(|leg| !leg.ends.is_empty())).then_some(call.bridge)
        };
        let changed = after.ended.is_none() && ready(before) != ready(after) && ready(after).is_some();
        self.bridges += u64::from(changed);
        let (one, other) = after.bridge;
        assert!(!changed || effects.contains(&Effect::Bridge { one, other }), "no relay hears of a bridge");
    }

    /// Checks an order to release a session.
    pub fn release(&mut self, session: u64) {
        let times = self.ordered.entry(session).or_default();
        *times += 1;
        assert!(*times == 1, "session {session} is released {times} times");
        assert!(!self.dead.contains(&session), "session {session} died with its relay, and is released");
    }

    /// Checks an order as an edge gets it.
    pub fn said(&self, id: EffectId, leg: LegId, signal: &Signal) {
        let Some(over) = self.over_at.get(&leg) else { return };
        let (what, leg) = (signal.name(), leg.0);
        assert!(id.version <= *over, "{id}: {what} said to leg {leg} that was over at {over}");
    }

    /// Checks that no session is left, and none was released that was dead.
    pub fn all_released(&self) {
        for session in 0..=self.moves {
            let (dead, ordered) = (self.dead.contains(&session), self.ordered.contains_key(&session));
            assert_ne!(dead, ordered, "session {session} of {}", self.moves);
            assert_eq!(ordered, self.released.contains(&session), "no relay was told to release {session}");
        }
    }
}

/// Checks that a signal fits its hearer as it was before the decision.
fn fits(before: &Call, leg: LegId, signal: &Signal) {
    let leg = &before.legs[usize::from(leg.0)];
    let fits = match signal {
        Signal::Offer(_) => leg.phase == Phase::Allocating,
        Signal::Ringing | Signal::Progress(_) => leg.inbound && leg.phase == Phase::Calling,
        Signal::Answer(_) => {
            // It may have answered an early offer of ours.
            let settled = leg.signaling == Signaling::Stable && leg.offerer == Offerer::Local;
            leg.inbound && leg.phase.is_early() && (leg.signaling == Signaling::HaveRemoteOffer || settled)
        }
        Signal::Update(_) => leg.phase == Phase::Active && leg.signaling == Signaling::Stable,
        _ => !leg.phase.is_over() && !leg.phase.is_unopened(),
    };
    let (what, id, phase, offer) = (signal.name(), leg.id.0, leg.phase, leg.signaling);
    assert!(fits, "{what} does not fit leg {id} ({phase:?}, offer {offer:?})");
}

/// Checks that the revision of a leg only rises: a stale event decides nothing.
fn grows(decision: &Decision) {
    let Decision { before: Some(before), after, .. } = decision else { return };
    let fell = before.legs.iter().zip(&after.legs).find(|(before, after)| after.revision < before.revision);
    assert!(fell.is_none(), "the revision of a leg fell: {:?}", fell.map(|(leg, _)| leg.id));
}

/// Checks that a call that moves asks for the ends that its new relay has not given.
fn asks_again(decision: &Decision) {
    let Decision { event: Event::RelayChanged(to), before: Some(before), after, effects, .. } = decision
    else {
        return;
    };
    if before.relay.as_ref() != Some(&to.from) || after.ended.is_some() {
        return;
    }
    let given = |leg: &Leg| to.allocation.ends.iter().any(|(id, _)| *id == leg.id);
    let leaves = |leg: &Leg| leg.leave_by.is_some();
    let needed =
        |leg: &&Leg| !matches!(leg.phase, Phase::Over | Phase::Routing) && !given(leg) && !leaves(leg);
    for leg in after.legs.iter().filter(needed) {
        let asks = |effect: &Effect| matches!(effect, Effect::Allocate { leg: id, .. } if *id == leg.id);
        assert!(effects.iter().any(asks), "leg {} has no ends at the new relay", leg.id.0);
    }
}

/// Checks that what a target says, or fails to, ends no call of those who talk, and that one whose peer is to be replaced waits.
fn spares(decision: &Decision) {
    let Decision { event, before: Some(before), after, .. } = decision else { return };
    let from = match event {
        Event::Heard(heard) => heard.leg.leg,
        Event::GivenUp(leg) | Event::Media(leg, _) | Event::Said(leg, _) => *leg,
        Event::Routed(leg, Err(_)) | Event::Allocated(leg, _, Err(_)) => *leg,
        _ => return,
    };
    let talk = |call: &Call| {
        let ids = [call.bridge.0, call.bridge.1];
        ids.iter().all(|id| call.leg(*id).is_some_and(|leg| !leg.phase.is_over()))
    };
    let target = before.leg(from).is_some_and(|leg| leg.role == Role::Target);
    // A peer that refuses a notice so often is lost, with whatever event comes then.
    let lost = |leg: &Leg| matches!(leg.address_notice, AddressNotice::Due { tries: 5.., .. });
    let spared = talk(after) || before.legs.iter().any(lost);
    assert!(!target || !talk(before) || spared, "a target ended the call");
    let leaves = |signal: &Signal| matches!(signal, Signal::End(_) | Signal::Redirect(..));
    let left = matches!(event, Event::Heard(heard) if heard.signals.iter().any(leaves));
    let waits = before.peer(from).filter(|_| left && talk(before)).and_then(|peer| before.target_for(peer));
    assert!(waits.is_none() || after.ended.is_none(), "the call ended though a target is called");
}

/// Returns the number of legs that were replaced at their own wish: each is told, and one that is told of a failure stays.
fn replaced(decision: &Decision) -> u64 {
    let Decision { before: Some(before), after, effects, .. } = decision else { return 0 };
    let mut count = 0;
    for effect in effects {
        let Effect::Say { leg, signal: Signal::Referred(status), .. } = effect else { continue };
        let leaves = |call: &Call| call.leg(*leg).is_some_and(|leg| leg.leave_by.is_some());
        let accepted = *status == ReferStatus::Accepted;
        assert!(accepted == leaves(after) || leaves(before), "leg {} is told {status:?}", leg.0);
        count += u64::from(accepted);
    }
    count
}

/// Checks that a leg that has gone gives its ends back.
fn ends(decision: &Decision) {
    let Decision { before: Some(before), after, effects, .. } = decision else { return };
    for leg in after.legs.iter().filter(|leg| leg.phase.is_over() && after.ended.is_none()) {
        let had = before.leg(leg.id).is_some_and(|leg| !leg.ends.is_empty());
        let given = matches!(&decision.event, Event::Allocated(id, relay, Ok(_))
            if *id == leg.id && after.relay.as_ref() == Some(relay));
        assert!(leg.ends.is_empty(), "leg {} has gone, and has ends", leg.id.0);
        let released = effects.contains(&Effect::ReleaseLeg(leg.id));
        assert!(released || !had && !given, "leg {} has gone, and its ends are left", leg.id.0);
    }
}

fn call(call: &Call) {
    let over: Vec<bool> = call.legs.iter().map(|leg| leg.phase.is_over()).collect();
    let all_gone = over.iter().all(|over| *over);
    assert_eq!(all_gone, call.ended.is_some(), "ended exactly when everybody has gone: {over:?}");
    let there = |id: LegId| call.leg(id).is_some_and(|leg| !leg.phase.is_over());
    for leg in call.legs.iter().filter(|leg| !leg.phase.is_over()) {
        // One that was replaced at its own wish is about to go.
        if let Some(by) = leg.leave_by {
            assert!(call.peer(leg.id).is_none() && leg.ends.is_empty(), "leg {} stays", leg.id.0);
            assert!(call.deadline() <= Some(by), "nobody hangs up on leg {}", leg.id.0);
            continue;
        }
        let peer = call.peer(leg.id).filter(|peer| there(*peer));
        let other = peer.or(call.target_for(leg.id)).or(leg.partner).filter(|other| there(*other));
        assert!(other.is_some(), "leg {} is left alone: {over:?}", leg.id.0);
    }
    let open = |leg: &Leg, signaling| leg.phase == Phase::Active && leg.signaling == signaling;
    for leg in call.legs.iter().filter(|leg| open(leg, Signaling::HaveRemoteOffer)) {
        let peer = call.peer(leg.id).and_then(|peer| call.leg(peer));
        let asked = peer.is_some_and(|peer| peer.signaling == Signaling::HaveLocalOffer);
        assert!(asked, "nobody answers the offer of leg {}", leg.id.0);
    }
    assert_eq!(call.relay.is_none(), call.ended.is_some(), "the relay lives as long as the call");
    assert!(call.deadline().is_some(), "nobody would look after this call");
    let open = call.legs.iter().filter(|leg| !leg.phase.is_over());
    let missed = open.filter_map(|leg| leg.wake).min().is_some_and(|wake| call.deadline() > Some(wake));
    assert!(!missed, "a leg would not be woken when it asked for it");
}

/// Checks a call in which nothing has happened for long: nobody waits for anything, everybody knows where the media is.
pub fn at_rest(call: &Call) {
    let some = |so: fn(&Leg) -> bool| call.legs.iter().filter(|leg| !leg.phase.is_over()).any(so);
    assert!(!some(|leg| leg.signaling == Signaling::RestartPending), "a restart was not answered");
    assert!(!some(|leg| leg.phase.is_early() || leg.phase.is_unopened()), "a leg rings for ever");
    if call.is_established() {
        let lost =
            some(|leg| leg.signaling == Signaling::Stable && leg.address_notice != AddressNotice::Current);
        assert!(!lost, "somebody does not know where the media is: {call:#?}");
        assert!(
            call.leaving.is_none() || some(|leg| leg.signaling != Signaling::Stable),
            "a relay is never left"
        );
    }
}
