//! Transfer: a leg of an established call gets another peer, or before the answer another callee.
//!
//! One rule: who talks goes on talking until the target has answered. Then the target takes the place of the leg that its partner
//! heard, which is hung up; a target that fails leaves the call as it is. If the leg to be replaced hangs up first, its partner waits
//! for the target alone.

use super::{Feature, play_music};
use crate::call::effect::{Effect, Fact};
use crate::call::leg::{AddressNotice, Leg, Offerer, Phase, Role, Signaling};
use crate::call::record::Call;
use crate::call::{Effects, bridge, end, relocation, target};
use signal::{LegId, Media, Reason, Signal, Time};

/// Legs outside the bridge.
pub(super) struct Transfer;

impl Feature for Transfer {
    fn hear(&self, call: &mut Call, from: LegId, signal: &Signal, now: Time, effects: &mut Effects) -> bool {
        let Some(leg) = call.leg_mut(from).filter(|leg| leg.role == Role::Target) else { return false };
        match signal {
            Signal::Ringing | Signal::Progress(Some(_)) if leg.phase == Phase::Calling => {
                leg.phase = Phase::Ringing;
            }
            Signal::Answer(media) => answered(call, from, media.clone(), now, effects),
            Signal::Candidates(trickles) => bridge::candidates(call, from, trickles.clone(), effects),
            Signal::Redirect(to, _) => end::left(call, from, bridge::redirected(to), effects),
            Signal::End(end) => end::left(call, from, end.clone(), effects),
            Signal::Offer(_) | Signal::Update(_) => {
                call.say(from, Signal::Refused(Reason::Glare), effects);
            }
            Signal::Refer { .. } => call.say(from, Signal::Refused(Reason::NotImplemented), effects),
            Signal::Ringing
            | Signal::Progress(_)
            | Signal::Updated(_)
            | Signal::Refused(_)
            | Signal::Diverted
            | Signal::Tone(_) => {}
        }
        true
    }
}

/// Returns true if the leg can be given another peer now.
///
/// # Errors
/// `Glare`: an offer is open, or another target is being called; `NotFound`: the leg talks to nobody; `Loop`: the call has had too
/// many legs.
pub(in crate::call) fn check(call: &Call, id: LegId) -> Result<(), Reason> {
    let there = |id: LegId| call.leg(id).filter(|leg| !leg.phase.is_over());
    let (Some(leg), Some(peer)) = (there(id), call.peer(id).and_then(there)) else {
        return Err(Reason::NotFound);
    };
    if !target::has_room(call) {
        return Err(Reason::Loop);
    }
    let stable =
        [leg, peer].iter().all(|leg| leg.phase == Phase::Active && leg.signaling == Signaling::Stable);
    let early = leg.phase.is_early() && leg.role == Role::Caller;
    let called = [id, peer.id].into_iter().any(|id| call.target_for(id).is_some());
    if (stable || early) && !called { Ok(()) } else { Err(Reason::Glare) }
}

/// Begins to give a leg another peer, whose address is in the leg's own protocol. A leg that cannot have one now is left alone.
pub(in crate::call) fn begin(call: &mut Call, id: LegId, to: &str, now: Time, effects: &mut Effects) {
    let (Ok(()), Some(peer), Some(leg)) = (check(call, id), call.peer(id), call.leg(id)) else { return };
    if leg.phase == Phase::Active {
        // There is room, as was just checked.
        let _ = target::open(call, (id, Role::Target), (id, to), now, effects);
        return;
    }
    // Nobody was heard yet: the callee makes room at once.
    if target::open(call, (id, Role::Callee), (id, to), now, effects).is_ok() {
        end::hang_up(call, peer, Reason::Cancelled.into(), effects);
        end::release_leg(call, peer, effects);
    }
}

/// Puts a target that has answered in the place of the leg that its partner heard.
fn answered(call: &mut Call, id: LegId, media: Media, now: Time, effects: &mut Effects) {
    let Some(leg) =
        call.leg(id).filter(|leg| leg.phase.is_early() && leg.signaling == Signaling::HaveLocalOffer)
    else {
        return;
    };
    let Some((partner, in_use)) =
        leg.partner.and_then(|partner| Some((partner, call.leg(partner)?.in_use()?)))
    else {
        return end::failed(call, id, Reason::General.into(), effects);
    };
    let mut media = bridge::taken(leg, media);
    media::default_roles(&mut media);
    if bridge::is_nothing(&media) || !media::can_answer(&in_use, &media, &call.policy) {
        return end::failed(call, id, Reason::IncompatibleMedia.into(), effects);
    }
    let replaced = call.replace(partner, id);
    let role = replaced.and_then(|replaced| call.leg(replaced)).map_or(Role::Callee, |leg| leg.role);
    if let Some(leg) = call.leg_mut(id) {
        (leg.phase, leg.signaling, leg.remote_description) = (Phase::Active, Signaling::Stable, Some(media));
        (leg.offerer, leg.role, leg.partner) = (Offerer::Local, role, None);
        relocation::postpone_notice(leg, now);
        let to = leg.opening.to.address.clone();
        effects.push(Effect::Record(Fact::Transferred { to }));
    }
    bridge::connect(call, id, effects);
    target::bridge(call, effects);
    if let Some(replaced) = replaced {
        let left = call.leg(replaced).is_none_or(|leg| leg.phase.is_over());
        let held = call.leg(replaced).and_then(|leg| leg.remote_description.as_ref());
        if held.is_some_and(Media::holds) {
            play_music(call, id, false, effects);
        }
        if !left {
            end::hang_up(call, replaced, Reason::Normal.into(), effects);
            end::release_leg(call, replaced, effects);
        }
    }
    resume(call, partner, id, now, effects);
}

/// Closes an offer that the partner had open towards the replaced leg, and tells the partner if what it may send has changed.
fn resume(call: &mut Call, partner: LegId, target: LegId, now: Time, effects: &mut Effects) {
    let open = call.leg(partner).is_some_and(|leg| leg.signaling == Signaling::HaveRemoteOffer);
    if open {
        if let Some(leg) = call.leg_mut(partner) {
            leg.signaling = Signaling::Stable;
            leg.remote_description = leg.rollback.take().or(leg.remote_description.take());
        }
        call.say(partner, Signal::Refused(Reason::Glare), effects);
    }
    let Some(ours) = call.leg(partner).and_then(Leg::offer_again) else { return };
    let mut wanted = ours.clone();
    let live = call.leg(partner).map(Leg::live).unwrap_or_default();
    let heard = call.leg(target).and_then(|leg| Some((leg.remote_description.as_ref()?, leg.live())));
    if let Some((theirs, heard)) = heard {
        bridge::carry((theirs, &heard), (&mut wanted, &live));
    }
    if let Some(leg) = call.leg_mut(partner).filter(|_| !media::same_session(&ours, &wanted)) {
        leg.address_notice = AddressNotice::Due { tries: 0, after: now };
    }
}
