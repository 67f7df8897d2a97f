//! Placing: the caller's offer becomes an offer to the callee.

use super::effect::{Effect, Fact};
use super::event::Placement;
use super::leg::{Leg, Phase, Role};
use super::record::Call;
use super::{Effects, feature, target};
use signal::{End, LegId, Reason, Signal, Time};

/// Leg of the party that places a call.
pub const CALLER: LegId = LegId(0);
/// Leg of the party that is called at first.
pub const CALLEE: LegId = LegId(1);

pub(super) fn place(placement: Placement, now: Time, effects: &mut Effects) -> Result<Call, End> {
    let Placement { heard, caller: profile, route, mut policy, allocation, trace } = placement;
    // Only what the relay can do is offered.
    policy.transcode &= allocation.transcodes;
    let (Some(opening), Some(Signal::Offer(described))) =
        (heard.opening.clone(), heard.signals.first().cloned())
    else {
        return Err(Reason::BadRequest.into());
    };
    let mut ends = allocation.ends;
    let mut ends_of = |id: LegId| {
        let at = ends.iter().position(|(leg, _)| *leg == id).ok_or(Reason::Unavailable)?;
        Ok::<_, Reason>(ends.swap_remove(at).1)
    };
    // Facts are the operator's: a number that is withheld from the callee alone stands there.
    let withheld = route.opening.from.is_anonymous() && !opening.from.is_anonymous();
    let known = if withheld { &opening.from } else { &route.opening.from };
    let from = known.address.split('/').next().unwrap_or_default().to_owned();
    let mut caller = Leg::new(CALLER, Role::Caller, true, opening, profile);
    caller.set_ends(ends_of(CALLER)?);
    let described = media::admit(described, profile);
    let mut callee = Leg::new(CALLEE, Role::Callee, false, route.opening.clone(), route.profile);
    (callee.ipv6, callee.early_media) = (route.ipv6, route.early_media);
    callee.set_ends(ends_of(CALLEE)?);
    caller.remote_description = Some(described.clone());
    caller.note(&heard);
    callee.ring = Some(route.ring(now));
    let mut call = Call {
        id: heard.leg.record,
        trace,
        legs: vec![caller, callee],
        bridge: (CALLER, CALLEE),
        relay: Some(allocation.session),
        leaving: None,
        policy,
        placed: now,
        answered: None,
        ended: None,
        end: None,
        answer_by: None,
        deadline: None,
        rang: None,
        carried_by: None,
    };
    effects.push(Effect::Record(Fact::Placed { from, to: route.opening.to.address.clone() }));
    if feature::placed(&mut call, CALLEE, (&route.settings, route.engaged), effects)? {
        let ends = call.leg(CALLEE).map(|leg| leg.ends.clone()).unwrap_or_default();
        let offered = target::first_offer(&described, &ends, route.profile, &call.policy)?;
        let callee = call.leg_mut(CALLEE).ok_or(Reason::General)?;
        (callee.phase, callee.local_description) = (Phase::Calling, Some(offered.clone()));
        call.open(CALLEE, Signal::Offer(offered), Some(route.opening), effects);
    }
    // A caller that gave up in the same breath (a propose with its retract) is heard like any other signal.
    for signal in heard.signals.into_iter().skip(1) {
        super::bridge::hear(&mut call, CALLER, signal, now, effects);
    }
    Ok(call)
}
