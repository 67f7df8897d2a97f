//! Relocation: the media of a call goes on at another relay, and its peers are told where.
//!
//! One rule: who must be told is told once nothing else is open with them, by an update that changes nothing but the address. A
//! relay that still forwards (a drain) is left in this order: first the peers that must find the new one by checks, then, when
//! those have, the others, who switch at once; then, a moment later, it is released. One that is dead is left by everybody at once.

use super::bridge::{carry, connect};
use super::effect::Effect;
use super::event::RelayChange;
use super::leg::{AddressNotice, Leg, Phase, Signaling};
use super::record::{Call, Leaving};
use super::{Effects, feature, target};
use media::LocalEnd;
use signal::media::Transport;
use signal::{LegId, Media, Reason, Signal, Time};

/// Peers that switch at once wait so long for those that need checks, ms.
const PATIENCE_MS: u64 = 3_000;
/// Time for packets on their way to the former relay once every peer knows the new one, ms.
const LINGER_MS: u64 = 500;
/// From an update that was refused to the next, ms; RFC 3261 §14.1 wants 2.1 to 4 s of who owns the Call-ID, 0 to 2 s of the other.
const AGAIN_MS: u64 = 2_100;
/// From an answer to an update.
pub(super) const REST_MS: u64 = 100;
/// A peer that will not hear it so often is lost.
const TRIES: u8 = 5;

/// Takes over the ends of the new relay and marks the peers that have to be told.
pub(super) fn relay_changed(call: &mut Call, to: RelayChange, now: Time, effects: &mut Effects) {
    let RelayChange { from, alive, allocation } = to;
    if call.ended.is_some() || call.relay.as_ref() != Some(&from) {
        return;
    }
    if let Some(before) = call.leaving.take() {
        // Moved on before everybody knew the last one.
        effects.push(Effect::Release(before.session));
    }
    if alive && from != allocation.session {
        effects.push(Effect::Leave(from.clone()));
        call.leaving = Some(Leaving { session: from, since: now, until: None });
    }
    call.relay = Some(allocation.session);
    let moved: Vec<LegId> = allocation.ends.iter().map(|(id, _)| *id).collect();
    for (id, ends) in allocation.ends {
        set_ends(call, id, ends, now);
    }
    // Asked of the former relay, or given by it too late to move along.
    let needs = |leg: &Leg| !matches!(leg.phase, Phase::Over | Phase::Routing) && leg.leave_by.is_none();
    let left_out = |leg: &&Leg| needs(leg) && !moved.contains(&leg.id);
    for id in call.legs.iter().filter(left_out).map(|leg| leg.id).collect::<Vec<_>>() {
        target::allocate(call, id, effects);
    }
    let active: Vec<LegId> =
        call.legs.iter().filter(|leg| leg.phase == Phase::Active).map(|leg| leg.id).collect();
    for id in &active {
        match call.leg(*id).map(|leg| leg.signaling) {
            // Whether the other one still took it is not known.
            Some(Signaling::RestartPending) => feature::restart(call, *id, effects),
            _ => connect(call, *id, effects),
        }
    }
    // What plays is no part of what a relay leaves behind: who is held and hears music hears it again.
    for leg in active.into_iter().filter(|id| call.leg(*id).is_some_and(holds)) {
        feature::play_music(call, leg, true, effects);
    }
    if call.legs.len() > 2 {
        // The state that the former relay left may be of another bridge.
        target::bridge(call, effects);
    }
}

/// Gives a leg the ends of another relay; its peer is to be told of a new address. A leg that is over or not allocated yet has none.
pub(super) fn set_ends(call: &mut Call, id: LegId, mut ends: Vec<LocalEnd>, now: Time) {
    let Some(leg) = call.leg_mut(id).filter(|leg| !leg.ends.is_empty() && !leg.phase.is_over()) else {
        return;
    };
    feature::keep(&leg.ends, &mut ends);
    let before = std::mem::take(&mut leg.ends);
    leg.set_ends(ends);
    leg.met = false;
    feature::readdress(leg, &before);
    if !same_address(leg, &before) {
        let tries = match leg.address_notice {
            AddressNotice::Current => 0,
            AddressNotice::Due { tries, .. } | AddressNotice::Sent { tries } => tries,
        };
        leg.address_notice = AddressNotice::Due { tries, after: now };
    }
}

/// Returns true if the leg holds its peer, an open offer left aside.
fn holds(leg: &Leg) -> bool {
    let settled = leg
        .rollback
        .as_ref()
        .filter(|_| leg.signaling == Signaling::HaveRemoteOffer)
        .or(leg.remote_description.as_ref());
    settled.is_some_and(Media::holds)
}

/// Returns true for ends of the same addresses, ports and keys: a relay that was restarted in place needs no notice.
fn same_address(leg: &Leg, before: &[LocalEnd]) -> bool {
    let keyed = leg
        .remote_description
        .iter()
        .flat_map(|heard| &heard.contents)
        .any(|c| !c.transport.crypto.is_empty());
    let address = |end: &LocalEnd| {
        let candidates: Vec<_> = end.ice.candidates.iter().map(|candidate| candidate.address).collect();
        let keys = keyed.then(|| end.crypto.clone());
        (end.address, end.rtp_port, end.rtcp_port, candidates, end.ice.ufrag.clone(), keys)
    };
    before.iter().map(address).eq(leg.ends.iter().map(address))
}

/// Notes that the end of this leg has met its peer.
pub(super) fn met(call: &mut Call, id: LegId) {
    if let Some(leg) = call.leg_mut(id) {
        leg.met = true;
    }
}

/// Drops a notice that is due: an answer tells the ends anyhow.
pub(super) fn drop_notice(leg: &mut Leg) {
    if matches!(leg.address_notice, AddressNotice::Due { .. }) {
        leg.address_notice = AddressNotice::Current;
    }
}

/// Puts a notice, and an offer that settles the leg, off for a moment after an answer.
pub(super) fn postpone_notice(leg: &mut Leg, now: Time) {
    leg.settle = leg.settle.map(|_| now + REST_MS);
    if let AddressNotice::Due { after, .. } = &mut leg.address_notice {
        *after = now + REST_MS;
    }
}

/// Returns true while our open update is a notice.
pub(super) fn is_notice(leg: &Leg) -> bool {
    matches!(leg.address_notice, AddressNotice::Sent { .. })
}

/// Notes an answer to our update. Returns true if the update was a notice, whose answer nobody else waits for.
pub(super) fn notice_answered(leg: &mut Leg, now: Time) -> bool {
    let told = is_notice(leg);
    if told {
        leg.address_notice = AddressNotice::Current;
    }
    // It was asked something else, or its media has moved again meanwhile.
    postpone_notice(leg, now);
    told
}

/// Notes a refusal of our update. Returns true if the update was a notice: the description stands and is said again.
pub(super) fn notice_refused(leg: &mut Leg, now: Time) -> bool {
    let AddressNotice::Sent { tries } = leg.address_notice else {
        postpone_notice(leg, now);
        return false;
    };
    leg.address_notice = AddressNotice::Due { tries, after: now + AGAIN_MS };
    leg.rollback = None;
    true
}

/// Sends the notices that are due, and releases the relay that nobody needs any more.
pub(super) fn send_notices(call: &mut Call, now: Time, effects: &mut Effects) {
    if call.ended.is_some() {
        return;
    }
    for id in [call.bridge.0, call.bridge.1] {
        let Some(leg) = call.leg(id) else { continue };
        let AddressNotice::Due { tries, after } = leg.address_notice else { continue };
        let free = leg.phase == Phase::Active && leg.signaling == Signaling::Stable;
        if !free || after > now || waits(call, leg).is_some_and(|until| until > now) {
            continue;
        }
        if tries >= TRIES {
            return super::end::everybody(call, Reason::Connectivity.into(), effects);
        }
        let Some(mut ours) = leg.offer_again() else { continue };
        let peer = call.peer(id).and_then(|peer| call.leg(peer)).filter(|peer| peer.phase == Phase::Active);
        if let Some((peer, theirs)) = peer.and_then(|peer| Some((peer, peer.remote_description.as_ref()?))) {
            carry((theirs, &peer.live()), (&mut ours, &leg.live()));
        }
        if let Some(leg) = call.leg_mut(id) {
            (leg.signaling, leg.address_notice) =
                (Signaling::HaveLocalOffer, AddressNotice::Sent { tries: tries + 1 });
            leg.rollback = leg.local_description.replace(ours.clone());
        }
        call.say(id, Signal::Update(ours), effects);
    }
    let known = |leg: &Leg| leg.address_notice == AddressNotice::Current || leg.phase.is_over();
    if !call.legs.iter().all(known) {
        return;
    }
    if let Some(leaving) = &mut call.leaving {
        leaving.until.get_or_insert(now + LINGER_MS);
    }
    if let Some(left) = call.leaving.take_if(|leaving| leaving.until.is_some_and(|until| until <= now)) {
        effects.push(Effect::Release(left.session));
    }
}

/// Returns the time of the next notice or release.
pub(super) fn deadline(call: &Call) -> Option<Time> {
    let due = |leg: &Leg| match leg.address_notice {
        AddressNotice::Due { after, .. }
            if leg.phase == Phase::Active && leg.signaling == Signaling::Stable =>
        {
            Some(waits(call, leg).map_or(after, |until| until.max(after)))
        }
        _ => None,
    };
    let left = call.leaving.as_ref().and_then(|leaving| leaving.until);
    call.legs.iter().filter_map(due).chain(left).min()
}

/// Returns the time until which a peer that switches at once waits for those that need checks.
fn waits(call: &Call, leg: &Leg) -> Option<Time> {
    let checks = |leg: &Leg| leg.describes(|transport| transport.ice.is_some());
    let leaving = call.leaving.as_ref().filter(|_| !checks(leg))?;
    let slow = |leg: &Leg| checks(leg) && leg.phase == Phase::Active && !leg.met;
    call.legs.iter().any(slow).then(|| leaving.since + PATIENCE_MS)
}

impl Leg {
    /// Returns true if a transport of our description satisfies the predicate.
    fn describes(&self, so: impl Fn(&Transport) -> bool) -> bool {
        self.local_description
            .iter()
            .flat_map(|spoken| &spoken.contents)
            .any(|content| so(&content.transport))
    }
}
