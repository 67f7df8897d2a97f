//! Endings: *they left* differs from *we hang up*, and the relay is released exactly once.

use super::Effects;
use super::effect::{Effect, Fact};
use super::record::{Call, Phase};
use signal::{End, LegId, Signal, Time};

/// Ends a leg that has left: nothing more is said to it; its peer hears the end.
pub(super) fn left(call: &mut Call, id: LegId, end: End, now: Time, effects: &mut Effects) {
    let Some(leg) = call.leg_mut(id).filter(|leg| !leg.phase.is_over()) else { return };
    leg.phase = Phase::Over;
    if let Some(peer) = call.peer(id) {
        hang_up(call, peer, end.clone(), effects);
    }
    note(call, end, now);
}

/// Hangs up on a leg: it is told and is over for us.
pub(super) fn hang_up(call: &mut Call, id: LegId, end: End, effects: &mut Effects) {
    call.say(id, Signal::End(end), effects);
    if let Some(leg) = call.leg_mut(id) {
        leg.phase = Phase::Over;
    }
}

/// Hangs up on every leg.
pub(super) fn everybody(call: &mut Call, end: End, now: Time, effects: &mut Effects) {
    for id in (0..call.legs.len()).filter_map(|i| u8::try_from(i).ok()).map(LegId) {
        hang_up(call, id, end.clone(), effects);
    }
    note(call, end, now);
}

fn note(call: &mut Call, end: End, _now: Time) {
    // The first reason is the true one; what follows is its echo.
    call.end.get_or_insert(end);
}

/// Closes a call whose legs are all over: the relay is released and the end recorded.
pub(super) fn finish(call: &mut Call, now: Time, effects: &mut Effects) {
    call.ended = Some(now);
    if let Some(session) = call.relay.take() {
        effects.push(Effect::Release(session));
    }
    if let Some(leaving) = call.leaving.take() {
        effects.push(Effect::Release(leaving.session));
    }
    let end = call.end.clone().unwrap_or_else(|| signal::Reason::General.into());
    let talked_ms = call.answered.map(|answered| now.since(answered));
    effects.push(Effect::Record(Fact::Ended { end, talked_ms }));
}
