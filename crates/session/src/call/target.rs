//! Further legs: a target is looked up, given an end at the relay, and offered what its partner has described.
//!
//! One rule: nothing is gathered up front. [`Effect::Route`] asks where a target leads now, [`Effect::Allocate`] for its ends, and
//! each answer is an event that may find the call elsewhere. Before the answer of a callee the new leg stands in its place at once;
//! a target of an established call does so when it answers (`feature/transfer.rs`).

use super::Effects;
use super::effect::Effect;
use super::event::{RelaySession, Route};
use super::leg::{Leg, Phase, Ring, Role};
use super::record::Call;
use super::{end, feature, relocation};
use media::{LocalEnd, Policy, Profile};
use signal::media::Direction;
use signal::{End, LegId, Media, Opening, Party, Reason, Referral, Signal, Time};

/// Longest wait for a route, ms.
const ROUTE_MS: u64 = 10_000;
/// Most legs of a call, those that are over among them: a token has room for no more ([`LegId`]).
const MAX_LEGS: usize = 32;
/// Most contents of a leg that get ends at the relay.
pub const MAX_CONTENTS: usize = 4;

/// Returns true if the call may have a further leg.
pub(super) fn has_room(call: &Call) -> bool {
    call.legs.len() < MAX_LEGS
}

/// Begins to call `target`, for `partner`, which hears the new leg once it answers. The address is in the words of the leg `by`: the
/// partner itself, or the leg that it talks to, with the referral of that one.
///
/// # Errors
/// The call has had too many legs.
pub(super) fn open(
    call: &mut Call,
    (partner, role): (LegId, Role),
    (by, target, referral): (LegId, &str, Option<Referral>),
    now: Time,
    effects: &mut Effects,
) -> Result<LegId, Reason> {
    let asker = call.leg(by).ok_or(Reason::General)?;
    let from = call.leg(partner).ok_or(Reason::General)?.party();
    let opening = Opening {
        from: from.clone(),
        to: Party { protocol: asker.protocol(), address: target.to_owned(), display: None, identity: None },
        link: asker.opening.link.clone(),
        hops: asker.opening.hops,
        diverted: None,
        referral,
    };
    ask(call, (partner, role), opening, false, now, effects)
}

/// Begins to call the callee of an opening. `diverts`: as in [`Effect::Route`].
///
/// # Errors
/// The call has had too many legs.
pub(super) fn ask(
    call: &mut Call,
    (partner, role): (LegId, Role),
    opening: Opening,
    diverts: bool,
    now: Time,
    effects: &mut Effects,
) -> Result<LegId, Reason> {
    let id = u8::try_from(call.legs.len()).ok().filter(|_| has_room(call));
    let id = LegId(id.ok_or(Reason::Loop)?);
    let until = now + ROUTE_MS;
    let mut leg = Leg::new(id, role, false, opening.clone(), Profile::Plain);
    leg.partner = (role == Role::Target).then_some(partner);
    leg.ring = Some(Ring { until, unheard: Reason::General, heard_by: None });
    call.legs.push(leg);
    if role != Role::Target {
        let _ = call.replace(partner, id);
    }
    effects.push(Effect::Route { leg: id, opening, diverts });
    Ok(id)
}

/// Takes the route to a target: its ends at the relay are next.
pub(super) fn routed(
    call: &mut Call,
    id: LegId,
    route: Result<Route, End>,
    now: Time,
    effects: &mut Effects,
) {
    if call.leg(id).is_none_or(|leg| leg.phase != Phase::Routing) {
        return;
    }
    match route {
        Err(end) => end::failed(call, id, feature::unrouted(call, id, end), effects),
        Ok(route) => {
            if !feature::routed(call, id, &route, effects) {
                return;
            }
            if let Some(leg) = call.leg_mut(id) {
                leg.ring = Some(route.ring(now));
                (leg.opening, leg.profile, leg.ipv6) = (route.opening, route.profile, route.ipv6);
                leg.early_media = route.early_media;
                leg.phase = Phase::Allocating;
            }
            feature::target_called(call, id, effects);
            allocate(call, id, effects);
        }
    }
}

/// Asks the relay for the ends of a leg.
pub(super) fn allocate(call: &Call, id: LegId, effects: &mut Effects) {
    let Some(leg) = call.leg(id) else { return };
    let contents = described_to(call, id).map_or(1, |media| media.contents.len()).clamp(1, MAX_CONTENTS);
    let contents = u8::try_from(contents).unwrap_or(1);
    effects.push(Effect::Allocate { leg: id, contents, webrtc: leg.profile == Profile::Webrtc });
}

/// Takes the ends of a leg, or the refusal of the relay: the target is offered what its partner has.
pub(super) fn allocated(
    call: &mut Call,
    id: LegId,
    relay: &RelaySession,
    ends: Result<Vec<LocalEnd>, Reason>,
    now: Time,
    effects: &mut Effects,
) {
    // A call that moved meanwhile has asked its new relay.
    let Some(leg) = call.leg(id).filter(|_| call.relay.as_ref() == Some(relay)) else { return };
    match (leg.phase, ends) {
        // Nobody needs the ends any more.
        (Phase::Over, _) => effects.push(Effect::ReleaseLeg(id)),
        (Phase::Allocating, Ok(ends)) => {
            if let Some(leg) = call.leg_mut(id) {
                leg.set_ends(ends);
            }
            offer(call, id, effects);
        }
        (Phase::Allocating, Err(reason)) => {
            // Whether the relay has made them is not known.
            effects.push(Effect::ReleaseLeg(id));
            end::failed(call, id, reason.into(), effects);
        }
        // The ends of a leg that a move has left out.
        (_, Ok(ends)) => {
            relocation::set_ends(call, id, ends, now);
            super::bridge::connect(call, id, effects);
            bridge(call, effects);
        }
        (_, Err(reason)) => end::failed(call, id, reason.into(), effects),
    }
}

/// Offers a leg what its partner has described.
fn offer(call: &mut Call, id: LegId, effects: &mut Effects) {
    let (Some(leg), Some(theirs)) = (call.leg(id), described_to(call, id)) else {
        return end::failed(call, id, Reason::IncompatibleMedia.into(), effects);
    };
    let offered = match first_offer(&theirs, &leg.ends, leg.profile, &call.policy) {
        Ok(offered) => offered,
        Err(end) => return end::failed(call, id, end, effects),
    };
    let opening = leg.opening.clone();
    if let Some(leg) = call.leg_mut(id) {
        (leg.phase, leg.local_description) = (Phase::Calling, Some(offered.clone()));
    }
    if call.peer(id).is_some() {
        bridge(call, effects);
    }
    call.open(id, Signal::Offer(offered), Some(opening), effects);
}

/// Makes the offer that opens a leg.
///
/// # Errors
/// The reason to give the leg up with: nothing of it can be offered.
pub(super) fn first_offer(
    theirs: &Media,
    ends: &[LocalEnd],
    profile: Profile,
    policy: &Policy,
) -> Result<Media, End> {
    let offered = media::offer(theirs, ends, profile, policy);
    if offered.contents.is_empty() || !offered.is_described() {
        return Err(Reason::IncompatibleMedia.into());
    }
    Ok(offered)
}

/// Returns the description that a leg is offered: its partner's as in use, or as offered before the answer.
fn described_to(call: &Call, id: LegId) -> Option<Media> {
    let partner = call.leg(call.peer(id).or(call.leg(id)?.partner)?)?;
    if partner.phase != Phase::Active {
        return partner.remote_description.clone();
    }
    let mut media = partner.in_use()?;
    if partner.offerer == super::Offerer::Local {
        // The answer to an offer of ours follows whom we spoke for, and that party goes.
        media.contents.iter_mut().for_each(|content| content.direction = Direction::Both);
    }
    Some(media)
}

/// Orders the relay to let the legs of the bridge hear each other, and nobody else. One that has gone has no ends there.
pub(super) fn bridge(call: &Call, effects: &mut Effects) {
    let (one, other) = call.bridge;
    if [one, other].iter().all(|id| call.leg(*id).is_some_and(|leg| !leg.ends.is_empty())) {
        effects.push(Effect::Bridge { one, other });
    }
}
