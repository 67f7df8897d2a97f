//! Endings: *they left* differs from *we hang up*, and the relay is released exactly once.
//!
//! One rule: a call ends with the first leg that it cannot do without ([`goes_on_without`]) and that no feature replaces.

use super::effect::{Effect, Fact};
use super::leg::Phase;
use super::record::Call;
use super::{Effects, feature};
use signal::{End, LegId, Signal, Time};

/// Ends a leg that has left: nothing more is said to it. The others hear the end, unless the call goes on without the leg.
pub(super) fn left(call: &mut Call, id: LegId, end: End, effects: &mut Effects) {
    let stays = goes_on_without(call, id);
    let Some(leg) = call.leg_mut(id).filter(|leg| !leg.phase.is_over()) else { return };
    leg.note_end(&end, true);
    leg.phase = Phase::Over;
    if stays {
        feature::target_failed(call, id, &end, effects);
    }
    if stays || feature::replace(call, id, &end, effects) {
        release_leg(call, id, effects);
    } else {
        everybody(call, end, effects);
    }
}

/// Ends a leg that has failed, and is told of it. The others hear the end, unless the call goes on without the leg.
pub(super) fn failed(call: &mut Call, id: LegId, end: End, effects: &mut Effects) {
    if call.leg(id).is_none_or(|leg| leg.phase.is_over()) {
        return;
    }
    let stays = goes_on_without(call, id);
    if stays || feature::replace(call, id, &end, effects) {
        hang_up(call, id, end.clone(), effects);
        if stays {
            feature::target_failed(call, id, &end, effects);
        }
        release_leg(call, id, effects);
    } else {
        everybody(call, end, effects);
    }
}

/// Returns true if the call goes on once this leg is over: a target that may still take its place is being called, it is a target
/// itself, and those who talk stay, or it was replaced and is about to leave.
fn goes_on_without(call: &Call, id: LegId) -> bool {
    let there = |id: LegId| call.leg(id).is_some_and(|leg| !leg.phase.is_over());
    match (call.peer(id), call.leg(id).and_then(|leg| leg.partner)) {
        (Some(peer), _) => there(peer) && call.target_for(peer).is_some(),
        (None, Some(partner)) => there(partner) && call.peer(partner).is_some_and(there),
        (None, None) => call.leg(id).is_some_and(|leg| leg.leave_by.is_some()),
    }
}

/// Hangs up on a leg: it is told, if it was opened, and is over for us.
pub(super) fn hang_up(call: &mut Call, id: LegId, end: End, effects: &mut Effects) {
    if call.leg(id).is_some_and(|leg| !leg.phase.is_unopened()) {
        call.say(id, Signal::End(end.clone()), effects);
    }
    if let Some(leg) = call.leg_mut(id) {
        leg.note_end(&end, false);
        leg.phase = Phase::Over;
    }
}

/// Hangs up on every leg.
pub(super) fn everybody(call: &mut Call, end: End, effects: &mut Effects) {
    for id in (0..call.legs.len()).filter_map(|i| u8::try_from(i).ok()).map(LegId) {
        hang_up(call, id, end.clone(), effects);
    }
    // The first reason is the true one; what follows is its echo.
    call.end.get_or_insert(end);
}

/// Gives the ends of a leg back while the call goes on.
pub(super) fn release_leg(call: &mut Call, id: LegId, effects: &mut Effects) {
    let Some(leg) = call.leg_mut(id).filter(|leg| !leg.ends.is_empty()) else { return };
    leg.ends.clear();
    effects.push(Effect::ReleaseLeg(id));
}

/// Closes a call whose legs are all over: the relay is released and the end recorded.
pub(super) fn finish(call: &mut Call, now: Time, effects: &mut Effects) {
    call.ended = Some(now);
    if let Some(session) = call.relay.take() {
        call.carried_by = Some(session.instance.clone());
        effects.push(Effect::Release(session));
    }
    if let Some(leaving) = call.leaving.take() {
        effects.push(Effect::Release(leaving.session));
    }
    let end = call.end.clone().unwrap_or_else(|| signal::Reason::General.into());
    let talked_ms = call.answered.map(|answered| now.since(answered));
    effects.push(Effect::Cdr);
    effects.push(Effect::Record(Fact::Ended { end, talked_ms }));
}
