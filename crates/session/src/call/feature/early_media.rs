//! Early media: what the network of a callee says before the answer is heard by a Jingle caller (interworking §2.6, mode C).
//!
//! One rule: the first description with sound takes the caller's client up, for no client hears anything before that; the call itself is
//! answered by the callee alone. Descriptions of further early dialogs replace each other, the answer replaces them all.

use super::Feature;
use crate::call::bridge::{answered, connect, is_nothing, is_other, taken};
use crate::call::leg::{Leg, Offerer, Phase, Role, Signaling};
use crate::call::record::{Call, DESCRIBE_MS};
use crate::call::{Effects, end, relocation, settle};
use media::Profile;
use signal::media::Kind;
use signal::{LegId, Media, Reason, Signal, Time};

/// Early media.
pub(super) struct EarlyMedia;

impl Feature for EarlyMedia {
    fn hear(&self, call: &mut Call, from: LegId, signal: &Signal, now: Time, effects: &mut Effects) -> bool {
        let Some(peer) = call.peer(from).filter(|peer| is_between(call, from, *peer)) else { return false };
        match signal {
            Signal::Progress(Some(media)) if call.leg(from).is_some_and(|leg| leg.early_media) => {
                progress(call, from, peer, media, now, effects)
            }
            Signal::Answer(media) if call.leg(peer).is_some_and(|leg| !leg.phase.is_early()) => {
                answer(call, from, peer, media, now, effects);
                true
            }
            _ => false,
        }
    }
}

/// Returns true for a callee that has not answered and a caller with a Jingle client.
fn is_between(call: &Call, callee: LegId, caller: LegId) -> bool {
    let waits = |leg: &Leg| leg.role == Role::Callee && !leg.inbound && leg.phase.is_early();
    let calls = |leg: &Leg| {
        leg.role == Role::Caller && leg.inbound && leg.profile == Profile::Webrtc && !leg.phase.is_over()
    };
    call.leg(callee).is_some_and(waits) && call.leg(caller).is_some_and(calls)
}

/// Takes a provisional description. False: there is nothing to be heard, and the callee rings.
fn progress(
    call: &mut Call,
    from: LegId,
    peer: LegId,
    media: &Media,
    now: Time,
    effects: &mut Effects,
) -> bool {
    let (Some(leg), Some(hearer)) = (call.leg(from), call.leg(peer)) else { return false };
    let mut media = taken(leg, media.clone());
    media::default_roles(&mut media);
    let sounds = media.contents.iter().any(|c| c.kind == Kind::Audio && !c.rejected && c.direction.sends());
    if !sounds || is_nothing(&media) || is_other(&media) {
        return false;
    }
    let told = if hearer.phase.is_early() {
        let (ends, profile) = (&hearer.ends, hearer.profile);
        match hearer.remote_description.as_ref().filter(|theirs| theirs.is_described()) {
            Some(theirs) => match media::answer(theirs, &media, ends, profile, &call.policy) {
                Ok(agreed) => Some((Phase::Active, Signaling::Stable, agreed)),
                Err(_) => return false,
            },
            None => {
                let offered = media::offer(&media, ends, profile, &call.policy);
                Some((Phase::Answered, Signaling::HaveLocalOffer, offered))
            }
        }
    } else {
        None
    };
    if let Some(leg) = call.leg_mut(from) {
        (leg.phase, leg.signaling, leg.offerer) = (Phase::Ringing, Signaling::Stable, Offerer::Local);
        leg.remote_description = Some(media);
    }
    connect(call, from, effects);
    let Some((phase, signaling, ours)) = told else { return true };
    if let Some(leg) = call.leg_mut(peer) {
        (leg.phase, leg.signaling, leg.local_description) = (phase, signaling, Some(ours.clone()));
        relocation::drop_notice(leg);
    }
    call.rang.get_or_insert(now);
    if phase == Phase::Active {
        connect(call, peer, effects);
    } else {
        call.answer_by = Some(now + DESCRIBE_MS);
    }
    call.say(peer, Signal::Answer(ours), effects);
    true
}

/// Takes the answer of a callee whose caller has been taken up for what came before it.
fn answer(call: &mut Call, from: LegId, peer: LegId, media: &Media, now: Time, effects: &mut Effects) {
    let Some(leg) = call.leg_mut(from) else { return };
    let mut media = taken(leg, media.clone());
    media::default_roles(&mut media);
    (leg.phase, leg.signaling, leg.offerer) = (Phase::Active, Signaling::Stable, Offerer::Local);
    leg.remote_description = Some(media.clone());
    relocation::postpone_notice(leg, now);
    let described = |leg: &Leg| leg.remote_description.clone().filter(|_| leg.phase == Phase::Active);
    let theirs = call.leg(peer).and_then(described);
    let fits = theirs.is_none_or(|theirs| media::can_answer(&theirs, &media, &call.policy));
    if is_nothing(&media) || is_other(&media) || !fits {
        return end::everybody(call, Reason::IncompatibleMedia.into(), effects);
    }
    answered(call, now, effects);
    connect(call, from, effects);
    settle::plan(call, from, now);
}
