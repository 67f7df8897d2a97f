//! Legs that are woken: a timer of a leg outlives the edge that it was set at.
//!
//! One rule: the edge says with each state of its leg when it wants to be woken, and the record keeps that beside the state. A leg that
//! stays as it was when it was woken is woken again: the edge that was told may have died of it.

use super::Effects;
use super::effect::Effect;
use super::leg::Leg;
use super::record::Call;
use signal::Time;

/// Pause before a leg that has not changed is woken again, ms.
const AGAIN_MS: u64 = 32_000;

/// Wakes the legs whose time has come.
pub(super) fn send(call: &mut Call, now: Time, effects: &mut Effects) {
    for leg in call.legs.iter_mut().filter(|leg| due(leg).is_some_and(|at| at <= now)) {
        leg.wake = Some(now + AGAIN_MS);
        effects.push(Effect::Wake { leg: leg.id });
    }
}

/// Returns the time at which the next leg is woken.
pub(super) fn deadline(call: &Call) -> Option<Time> {
    call.legs.iter().filter_map(due).min()
}

fn due(leg: &Leg) -> Option<Time> {
    leg.wake.filter(|_| !leg.phase.is_over())
}
