//! Transfer: a leg of an established call gets another peer, or before the answer another callee.
//!
//! One rule: who talks goes on talking until the target has answered. Then the target takes the place of the leg that its partner
//! heard, which is hung up; a target that fails leaves the call as it is. If the leg to be replaced hangs up first, its partner waits
//! for the target alone.
//!
//! A leg may ask to be replaced (REFER, XEP-0251). It hears how that goes ([`ReferStatus`]), first of all once the route is known: a
//! target that may not be called is refused at once. Replaced, it has a moment to hang up by itself (RFC 5589 §6).

use super::{Feature, play_music};
use crate::call::effect::{Effect, Fact};
use crate::call::leg::{AddressNotice, Leg, Offerer, Phase, Role, Signaling};
use crate::call::record::Call;
use crate::call::{Effects, bridge, end, relocation, target};
use signal::{End, LegId, Media, Reason, ReferStatus, Referral, Signal, Time};

/// Time in which a leg that was replaced at its own wish hangs up by itself, ms (interworking §2.12).
const LEAVE_MS: u64 = 5_000;

/// Legs outside the bridge.
pub(super) struct Transfer;

impl Feature for Transfer {
    fn hear(&self, call: &mut Call, from: LegId, signal: &Signal, now: Time, effects: &mut Effects) -> bool {
        let Some(leg) = call.leg_mut(from) else { return false };
        if leg.leave_by.is_some() {
            leaving(call, from, signal, effects);
            return true;
        }
        if leg.role != Role::Target {
            let Signal::Refer { target, replaces } = signal else { return false };
            refer(call, from, target, replaces.clone(), now, effects);
            return true;
        }
        match signal {
            Signal::Ringing | Signal::Progress(Some(_)) if leg.phase == Phase::Calling => {
                leg.phase = Phase::Ringing;
                tell(call, from, ReferStatus::Ringing, effects);
            }
            Signal::Answer(media) => answered(call, from, media.clone(), now, effects),
            Signal::Candidates(trickles) => bridge::candidates(call, from, trickles.clone(), effects),
            Signal::Redirect(to, _) => end::left(call, from, bridge::redirected(to), effects),
            Signal::End(end) => end::left(call, from, end.clone(), effects),
            Signal::Offer(_) | Signal::Update(_) => {
                call.say(from, Signal::Refused(Reason::Glare), effects);
            }
            Signal::Refer { .. } => refuse(call, from, Reason::Glare, effects),
            Signal::Ringing
            | Signal::Progress(_)
            | Signal::Referred(_)
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
        let _ = target::open(call, (id, Role::Target), (id, to, None), now, effects);
        return;
    }
    // Nobody was heard yet: the callee makes room at once.
    if target::open(call, (id, Role::Callee), (id, to, None), now, effects).is_ok() {
        end::hang_up(call, peer, Reason::Cancelled.into(), effects);
        end::release_leg(call, peer, effects);
    }
}

/// Begins to replace a leg at its own wish: the one that it talks to gets another peer, named in the words of the leg that asks.
fn refer(
    call: &mut Call,
    from: LegId,
    target: &str,
    replaces: Option<String>,
    now: Time,
    effects: &mut Effects,
) {
    let begun = call.peer(from).ok_or(Reason::NotFound).and_then(|partner| {
        check(call, partner)?;
        // Nobody is transferred while it rings.
        if !call.is_established() {
            return Err(Reason::Glare);
        }
        let by = call.leg(from).ok_or(Reason::NotFound)?.party().clone();
        let referral = Some(Referral { by, replaces });
        target::open(call, (partner, Role::Target), (from, target, referral), now, effects)
    });
    match begun {
        Ok(id) => {
            if let Some(leg) = call.leg_mut(id) {
                leg.referrer = Some(from);
            }
        }
        Err(reason) => refuse(call, from, reason, effects),
    }
}

fn refuse(call: &mut Call, id: LegId, reason: Reason, effects: &mut Effects) {
    call.say(id, Signal::Referred(ReferStatus::Failed(reason.into())), effects);
}

/// Tells the leg that asked for a target of its status.
fn tell(call: &mut Call, target: LegId, status: ReferStatus, effects: &mut Effects) {
    if let Some(referrer) = call.leg(target).and_then(|leg| leg.referrer) {
        call.say(referrer, Signal::Referred(status), effects);
    }
}

/// Tells the leg that asked for a target that the target is called now.
pub(in crate::call) fn target_called(call: &mut Call, id: LegId, effects: &mut Effects) {
    tell(call, id, ReferStatus::Trying, effects);
}

/// Tells the leg that asked for a target that it came to nothing.
pub(in crate::call) fn target_failed(call: &mut Call, id: LegId, end: &End, effects: &mut Effects) {
    tell(call, id, ReferStatus::Failed(end.clone()), effects);
    if let Some(leg) = call.leg_mut(id) {
        leg.referrer = None;
    }
}

/// Lets a leg go that was replaced at its own wish: it knows, and is to hang up.
fn release(call: &mut Call, id: LegId, now: Time, effects: &mut Effects) {
    let Some(leg) = call.leg_mut(id) else { return };
    let open = matches!(leg.signaling, Signaling::HaveRemoteOffer | Signaling::RestartPending);
    (leg.leave_by, leg.signaling) = (Some(now + LEAVE_MS), Signaling::Stable);
    (leg.address_notice, leg.met, leg.settle) = (AddressNotice::Current, true, None);
    if open {
        call.say(id, Signal::Refused(Reason::Glare), effects);
    }
    call.say(id, Signal::Referred(ReferStatus::Accepted), effects);
    end::release_leg(call, id, effects);
}

/// Hears a leg that is about to leave.
fn leaving(call: &mut Call, id: LegId, signal: &Signal, effects: &mut Effects) {
    match signal {
        Signal::End(end) => end::left(call, id, end.clone(), effects),
        Signal::Offer(_) | Signal::Update(_) => call.say(id, Signal::Refused(Reason::Glare), effects),
        Signal::Refer { .. } => refuse(call, id, Reason::NotFound, effects),
        _ => {}
    }
}

/// Hangs up on legs that were replaced at their own wish and have not left.
pub(in crate::call) fn dismiss(call: &mut Call, now: Time, effects: &mut Effects) {
    let due = |leg: &&Leg| leaves(leg).is_some_and(|at| at <= now);
    for id in call.legs.iter().filter(due).map(|leg| leg.id).collect::<Vec<_>>() {
        end::hang_up(call, id, Reason::Normal.into(), effects);
    }
}

/// Returns the time at which the next of them is hung up on.
pub(in crate::call) fn leave_deadline(call: &Call) -> Option<Time> {
    call.legs.iter().filter_map(leaves).min()
}

fn leaves(leg: &Leg) -> Option<Time> {
    leg.leave_by.filter(|_| !leg.phase.is_over())
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
    let referrer = call.leg_mut(id).and_then(|leg| leg.referrer.take());
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
        if !left && referrer == Some(replaced) {
            release(call, replaced, now, effects);
        } else if !left {
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
