//! Moving: the media of a call goes on at another relay, and its peers are told where.
//!
//! One rule: who must be told is told once nothing else is open with them, by an update that changes nothing but the address. A
//! relay that still forwards (a drain) is left in this order: first the peers that must find the new one by checks, then, when
//! those have, the others, who switch at once; then, a moment later, it is released. One that is dead is left by everybody at once.

use super::Effects;
use super::effect::Effect;
use super::event::Move;
use super::record::{Call, Leaving, Leg, Offer, Phase, Place};
use super::relay::{connect, music};
use super::restart;
use media::LocalEnd;
use signal::media::Transport;
use signal::{LegId, Media, Reason, Signal, Time};

/// Peers that switch at once wait so long for those that need checks, ms.
const PATIENCE_MS: u64 = 3_000;
/// What was on its way to a relay when everybody knew the new one still comes through, ms.
const LINGER_MS: u64 = 500;
/// From an update that was refused to the next, ms; RFC 3261 §14.1 wants 2.1 to 4 s of who owns the Call-ID, 0 to 2 s of the other.
const AGAIN_MS: u64 = 2_100;
/// From an answer to an update.
const REST_MS: u64 = 100;
/// A peer that will not hear it so often is lost.
const TRIES: u8 = 5;

/// The session is at another relay now.
pub(super) fn moved(call: &mut Call, to: Move, now: Time, effects: &mut Effects) {
    let Move { from, alive, grant } = to;
    if call.ended.is_some() || call.relay.as_ref() != Some(&from) || grant.ends.len() < call.legs.len() {
        return;
    }
    if let Some(before) = call.leaving.take() {
        // Moved on before everybody knew the last one.
        effects.push(Effect::Release(before.session));
    }
    if alive && from != grant.session {
        effects.push(Effect::Leave(from.clone()));
        call.leaving = Some(Leaving { session: from, since: now, until: None });
    }
    call.relay = Some(grant.session);
    for (leg, mut ends) in call.legs.iter_mut().zip(grant.ends) {
        if leg.ends.iter().any(|end| end.address.is_ipv6()) {
            ends.iter_mut().for_each(LocalEnd::prefer_ipv6);
        }
        restart::keep(&leg.ends, &mut ends);
        let before = std::mem::replace(&mut leg.ends, ends);
        leg.met = false;
        restart::readdress(leg, &before);
        if !same_place(leg, &before) && !leg.phase.is_over() {
            let tries = match leg.place {
                Place::Known => 0,
                Place::Moved { tries, .. } | Place::Told { tries } => tries,
            };
            leg.place = Place::Moved { tries, after: now };
        }
    }
    let active: Vec<LegId> =
        call.legs.iter().filter(|leg| leg.phase == Phase::Active).map(|leg| leg.id).collect();
    for id in &active {
        match call.leg(*id).map(|leg| leg.offer) {
            // Whether the other one still took it is not known.
            Some(Offer::Restarting) => restart::begin(call, *id, effects),
            _ => connect(call, *id, effects),
        }
    }
    // What plays is no part of what a relay leaves behind: who is held and hears music hears it again.
    for leg in active.into_iter().filter(|id| call.leg(*id).is_some_and(holds)) {
        music(call, leg, true, effects);
    }
}

/// Its peer holds, an offer that is still open left aside.
fn holds(leg: &Leg) -> bool {
    let settled = leg.before.as_ref().filter(|_| leg.offer == Offer::Theirs).or(leg.heard.as_ref());
    settled.is_some_and(Media::holds)
}

/// A relay that was started anew on its old ports, with the keys of signalling if there are any: no peer has to hear of that.
fn same_place(leg: &Leg, before: &[LocalEnd]) -> bool {
    let keyed = leg.heard.iter().flat_map(|heard| &heard.contents).any(|c| !c.transport.crypto.is_empty());
    let place = |end: &LocalEnd| {
        let candidates: Vec<_> = end.ice.candidates.iter().map(|candidate| candidate.address).collect();
        let keys = keyed.then(|| end.crypto.clone());
        (end.address, end.rtp_port, end.rtcp_port, candidates, end.ice.ufrag.clone(), keys)
    };
    before.iter().map(place).eq(leg.ends.iter().map(place))
}

/// The end of this leg has met its peer.
pub(super) fn met(call: &mut Call, id: LegId) {
    if let Some(leg) = call.leg_mut(id) {
        leg.met = true;
    }
}

/// The leg is told of its ends anyhow, by an answer.
pub(super) fn known(leg: &mut Leg) {
    if matches!(leg.place, Place::Moved { .. }) {
        leg.place = Place::Known;
    }
}

/// The leg has just answered: that comes to rest before it is asked anything.
pub(super) fn begun(leg: &mut Leg, now: Time) {
    if let Place::Moved { after, .. } = &mut leg.place {
        *after = now + REST_MS;
    }
}

/// The peer has answered our update; true: it was told of a move, and nobody else waits for that answer.
pub(super) fn heard(leg: &mut Leg, now: Time) -> bool {
    let told = matches!(leg.place, Place::Told { .. });
    if told {
        leg.place = Place::Known;
    }
    // It was asked something else, or its media has moved again meanwhile.
    begun(leg, now);
    told
}

/// The peer has refused our update; true: it told of a move. What was said stands, and is said again.
pub(super) fn refused(leg: &mut Leg, now: Time) -> bool {
    let Place::Told { tries } = leg.place else {
        begun(leg, now);
        return false;
    };
    leg.place = Place::Moved { tries, after: now + AGAIN_MS };
    leg.before = None;
    true
}

/// Tells whoever is to be told now, and leaves the relay that nobody needs any more.
pub(super) fn tell(call: &mut Call, now: Time, effects: &mut Effects) {
    if call.ended.is_some() {
        return;
    }
    for id in [call.bridge.0, call.bridge.1] {
        let Some(leg) = call.leg(id) else { continue };
        let Place::Moved { tries, after } = leg.place else { continue };
        let free = leg.phase == Phase::Active && leg.offer == Offer::Settled;
        if !free || after > now || waits(call, leg).is_some_and(|until| until > now) {
            continue;
        }
        if tries >= TRIES {
            return super::end::everybody(call, Reason::Connectivity.into(), now, effects);
        }
        let Some(ours) = leg.offer_again() else { continue };
        if let Some(leg) = call.leg_mut(id) {
            (leg.offer, leg.place) = (Offer::Ours, Place::Told { tries: tries + 1 });
            leg.before = leg.spoken.replace(ours.clone());
        }
        call.say(id, Signal::Update(ours), effects);
    }
    let known = |leg: &Leg| leg.place == Place::Known || leg.phase.is_over();
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

/// When the call must look after its move again.
pub(super) fn deadline(call: &Call) -> Option<Time> {
    let due = |leg: &Leg| match leg.place {
        Place::Moved { after, .. } if leg.phase == Phase::Active && leg.offer == Offer::Settled => {
            Some(waits(call, leg).map_or(after, |until| until.max(after)))
        }
        _ => None,
    };
    let left = call.leaving.as_ref().and_then(|leaving| leaving.until);
    call.legs.iter().filter_map(due).chain(left).min()
}

/// Until when a peer that switches at once waits for the others; `None`: it does not.
fn waits(call: &Call, leg: &Leg) -> Option<Time> {
    let checks = |leg: &Leg| leg.says(|transport| transport.ice.is_some());
    let leaving = call.leaving.as_ref().filter(|_| !checks(leg))?;
    let slow = |leg: &Leg| checks(leg) && leg.phase == Phase::Active && !leg.met;
    call.legs.iter().any(slow).then(|| leaving.since + PATIENCE_MS)
}

impl Leg {
    /// Something that we told it of a transport is so.
    fn says(&self, so: impl Fn(&Transport) -> bool) -> bool {
        self.spoken.iter().flat_map(|spoken| &spoken.contents).any(|content| so(&content.transport))
    }
}
