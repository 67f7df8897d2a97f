//! The default rule: what a leg says, its peer hears, in the words that fit the hearer's state.

use super::effect::{Connect, Effect, Fact};
use super::record::{Call, DESCRIBE_MS, Leg, Offer, Offerer, Phase};
use super::{Effects, end, moving, restart};
use signal::media::Kind;
use signal::{End, LegId, Media, Reason, Signal, Time};

/// Decides on one signal from one leg.
pub(super) fn relay(call: &mut Call, from: LegId, signal: Signal, now: Time, effects: &mut Effects) {
    let (Some(leg), Some(peer)) = (call.leg(from), call.peer(from)) else { return };
    if leg.phase.is_over() {
        // A BYE that crossed ours, a late ringing: the edge has answered it, nobody else needs to know.
        return;
    }
    match signal {
        // A second offer of an open call is an update by another name.
        Signal::Offer(media) | Signal::Update(media) => update(call, from, peer, media, now, effects),
        // Progress without a description tells that the call goes on, not that anybody heard it (R-CALL-12).
        Signal::Progress(None) => ringing(call, from, peer, false, effects),
        Signal::Ringing | Signal::Progress(Some(_)) => ringing(call, from, peer, true, effects),
        Signal::Answer(media) => answer(call, from, peer, media, now, effects),
        Signal::Updated(media) => updated(call, from, peer, media, now, effects),
        Signal::Refused(reason) => refused(call, from, peer, reason, now, effects),
        Signal::Candidates(trickles) => {
            for trickle in trickles {
                let place = call.leg(from).and_then(|leg| {
                    let heard = leg.heard.as_ref()?;
                    let index = heard.contents.iter().position(|c| c.name == trickle.name)?;
                    Some(call.facing(leg, heard, index))
                });
                let content = place.and_then(|p| u16::try_from(p).ok()).unwrap_or(0);
                effects.push(Effect::Candidates { leg: from, content, ice: trickle.ice });
            }
        }
        Signal::Tone(tone) => {
            if call.leg(peer).is_some_and(|p| p.phase == Phase::Active) {
                call.say(peer, Signal::Tone(tone), effects);
            }
        }
        Signal::Refer { .. } => call.say(from, Signal::Refused(Reason::NotImplemented), effects),
        Signal::Redirect(_) => end::left(call, from, Reason::Gone.into(), now, effects),
        Signal::End(end) => end::left(call, from, end, now, effects),
    }
}

fn ringing(call: &mut Call, from: LegId, peer: LegId, heard: bool, effects: &mut Effects) {
    let Some(leg) = call.leg_mut(from).filter(|leg| leg.phase == Phase::Calling && !leg.inbound) else {
        return;
    };
    if heard {
        leg.phase = Phase::Ringing;
    }
    // Once per call, however many devices ring (R-CALL-8).
    if let Some(leg) = call.leg_mut(peer).filter(|leg| leg.phase == Phase::Calling) {
        leg.phase = Phase::Ringing;
        call.say(peer, Signal::Ringing, effects);
    }
}

fn answer(call: &mut Call, from: LegId, peer: LegId, media: Media, now: Time, effects: &mut Effects) {
    // Only the side that was offered to answers, and only once.
    let Some(leg) = call.leg_mut(from).filter(|leg| leg.phase.is_early() && leg.offer == Offer::Ours) else {
        return;
    };
    let media = taken(leg, media);
    (leg.phase, leg.offer, leg.heard) = (Phase::Active, Offer::Settled, Some(media.clone()));
    leg.offerer = Offerer::Local;
    moving::begun(leg, now);
    let Some(hearer) = call.leg(peer).filter(|leg| leg.phase.is_early()) else {
        return answered(call, now, effects);
    };
    if is_nothing(&media) {
        return end::everybody(call, Reason::IncompatibleMedia.into(), now, effects);
    }
    match hearer.heard.clone().filter(Media::is_described) {
        Some(theirs) => {
            let Ok(agreed) = media::answer(&theirs, &media, &hearer.ends, hearer.profile, &call.policy)
            else {
                return end::everybody(call, Reason::IncompatibleMedia.into(), now, effects);
            };
            if let Some(leg) = call.leg_mut(peer) {
                (leg.phase, leg.offer, leg.spoken) = (Phase::Active, Offer::Settled, Some(agreed.clone()));
                moving::known(leg);
            }
            answered(call, now, effects);
            connect(call, from, effects);
            connect(call, peer, effects);
            call.say(peer, Signal::Answer(agreed), effects);
        }
        // The caller has not described itself yet: it is offered what the callee took, and describes itself next.
        None => {
            let ours = media::offer(&media, &hearer.ends, hearer.profile, &call.policy);
            if let Some(leg) = call.leg_mut(peer) {
                (leg.phase, leg.offer, leg.spoken) = (Phase::Answered, Offer::Ours, Some(ours.clone()));
                moving::known(leg);
            }
            call.answer_by = Some(now + DESCRIBE_MS);
            answered(call, now, effects);
            connect(call, from, effects);
            call.say(peer, Signal::Answer(ours), effects);
        }
    }
}

/// Narrows an answer to what we offered this leg: a codec that was not offered is not in use (RFC 3264 §6.1).
fn taken(leg: &Leg, media: Media) -> Media {
    let Some(ours) = &leg.spoken else { return media };
    let mut media = media::accept(ours, media, leg.profile);
    media::narrow(&mut media, ours);
    media
}

/// Every content is rejected.
fn is_nothing(media: &Media) -> bool {
    media.contents.iter().all(|content| content.rejected)
}

/// A fact only once the media of both fits: nobody pays for a call that nobody could hear.
fn answered(call: &mut Call, now: Time, effects: &mut Effects) {
    call.answered.get_or_insert(now);
    effects.push(Effect::Record(Fact::Answered));
}

fn update(call: &mut Call, from: LegId, peer: LegId, theirs: Media, now: Time, effects: &mut Effects) {
    let (Some(leg), Some(hearer)) = (call.leg(from), call.leg(peer)) else { return };
    let theirs = media::admit(theirs, leg.profile);
    if leg.phase == Phase::Answered {
        return describe(call, from, peer, theirs, now, effects);
    }
    // Transfers and changes need settled legs; an offer that meets an open one is refused (architecture §4).
    if leg.phase != Phase::Active
        || hearer.phase != Phase::Active
        || leg.offer != Offer::Settled
        || hearer.offer != Offer::Settled
    {
        return call.say(from, Signal::Refused(Reason::Glare), effects);
    }
    if is_nothing(&theirs) {
        return call.say(from, Signal::Refused(Reason::IncompatibleMedia), effects);
    }
    let (Some(peers), Some(said)) = (hearer.in_use(), hearer.offer_again()) else { return };
    let mut ours = said.clone();
    if !media::can_answer(&theirs, &peers, &call.policy) && !keeps(leg, &theirs) {
        // The hearer would have to change its codec. Jingle has no word for that which clients take (XEP-0167 §8.2).
        if hearer.profile == media::Profile::Webrtc {
            return call.say(from, Signal::Refused(Reason::IncompatibleMedia), effects);
        }
        ours.contents = media::offer(&theirs, &hearer.ends, hearer.profile, &call.policy).contents;
    }
    carry(&theirs, &mut ours);
    if media::same_session(&said, &ours) {
        // New address, new candidates, another order of codecs: the relay takes it, the peer need not know.
        accept(call, from, theirs, &peers, now, effects);
        return;
    }
    if let Some(leg) = call.leg_mut(from) {
        (leg.offer, leg.before) = (Offer::Theirs, leg.heard.replace(theirs));
    }
    if let Some(leg) = call.leg_mut(peer) {
        (leg.offer, leg.before) = (Offer::Ours, leg.spoken.replace(ours.clone()));
    }
    call.say(peer, Signal::Update(ours), effects);
}

/// Returns true if the leg's new offer names a codec that it uses in each content: its peer need not change then.
fn keeps(leg: &Leg, theirs: &Media) -> bool {
    let Some((_, in_use)) = leg.agreed() else { return false };
    let live = theirs.contents.iter().zip(&in_use.contents).filter(|(offered, _)| !offered.rejected);
    live.filter(|(_, used)| !used.rejected).all(|(offered, used)| {
        let mut codecs = used.codecs.iter().filter(|codec| !codec.is_auxiliary());
        codecs.any(|used| offered.codecs.iter().any(|codec| codec.same(used)))
    })
}

/// Carries what a peer changed into the offer to its hearer: directions and contents that go.
fn carry(theirs: &Media, ours: &mut Media) {
    for (content, wish) in ours.contents.iter_mut().zip(&theirs.contents) {
        content.direction = wish.direction;
        content.rejected |= wish.rejected;
    }
}

/// Answers an update ourselves.
fn accept(call: &mut Call, from: LegId, theirs: Media, peers: &Media, now: Time, effects: &mut Effects) {
    let Some(leg) = call.leg(from) else { return };
    let was = leg.before.as_ref().or(leg.heard.as_ref());
    let (holds, held) = (theirs.holds(), was.is_some_and(Media::holds));
    let in_use = leg.agreed().map(|(_, answer)| answer);
    match media::answer_again(&theirs, peers, in_use, &leg.ends, leg.profile, &call.policy) {
        Ok(agreed) => {
            let restarts = was.is_some_and(|was| restart::restarts(was, &theirs, &agreed));
            if let Some(leg) = call.leg_mut(from) {
                (leg.offer, leg.heard, leg.spoken) = (Offer::Settled, Some(theirs), Some(agreed.clone()));
                (leg.offerer, leg.before) = (Offerer::Remote, None);
                moving::known(leg);
            }
            if restarts {
                restart::begin(call, from, effects);
            } else {
                connect(call, from, effects);
            }
            if holds != held {
                music(call, from, holds, effects);
            }
            if !restarts {
                call.say(from, Signal::Updated(agreed), effects);
            }
        }
        Err(_) if call.leg(from).is_some_and(|l| l.phase == Phase::Answered) => {
            end::everybody(call, End::from(Reason::IncompatibleMedia), now, effects)
        }
        Err(_) => {
            if let Some(leg) = call.leg_mut(from) {
                leg.offer = Offer::Settled;
                moving::begun(leg, now);
                leg.heard = leg.before.take().or(leg.heard.take());
            }
            call.say(from, Signal::Refused(Reason::IncompatibleMedia), effects);
        }
    }
}

/// Whom `from` holds hears music, if there is some; no more when it resumes.
pub(super) fn music(call: &Call, from: LegId, holds: bool, effects: &mut Effects) {
    let (Some(music), Some(leg)) = (&call.policy.music, call.peer(from)) else { return };
    let contents = call.leg(from).and_then(|leg| leg.heard.as_ref()).map(|media| media.contents.iter());
    let audio = contents.and_then(|mut contents| contents.position(|c| c.kind == Kind::Audio && !c.rejected));
    let Some(content) = audio.and_then(|place| u16::try_from(place).ok()) else { return };
    effects.push(Effect::Play { leg, content, sound: holds.then(|| music.clone()) });
}

/// The session-initiate that follows our proceed: the first description of a leg that is already answered.
fn describe(call: &mut Call, from: LegId, peer: LegId, theirs: Media, now: Time, effects: &mut Effects) {
    let Some(peers) = call.leg(peer).and_then(|leg| leg.heard.clone()) else { return };
    let Some(leg) = call.leg(from) else { return };
    match media::answer(&theirs, &peers, &leg.ends, leg.profile, &call.policy) {
        Ok(agreed) => {
            if let Some(leg) = call.leg_mut(from) {
                leg.offerer = Offerer::Remote;
                (leg.phase, leg.offer, leg.heard, leg.spoken) =
                    (Phase::Active, Offer::Settled, Some(theirs), Some(agreed.clone()));
                moving::known(leg);
            }
            connect(call, from, effects);
            call.say(from, Signal::Updated(agreed), effects);
        }
        Err(_) => end::everybody(call, Reason::IncompatibleMedia.into(), now, effects),
    }
}

fn updated(call: &mut Call, from: LegId, peer: LegId, media: Media, now: Time, effects: &mut Effects) {
    let Some(leg) = call.leg_mut(from).filter(|leg| leg.offer == Offer::Ours && !leg.phase.is_early()) else {
        return;
    };
    let late = leg.phase == Phase::Answered;
    let media = taken(leg, media);
    let moved = moving::heard(leg, now);
    (leg.phase, leg.offer, leg.heard) = (Phase::Active, Offer::Settled, Some(media.clone()));
    (leg.offerer, leg.before) = (Offerer::Local, None);
    connect(call, from, effects);
    if late || moved {
        return;
    }
    let Some(asker) = call.leg(peer).filter(|leg| leg.offer == Offer::Theirs) else { return };
    let Some(theirs) = asker.heard.clone() else { return };
    accept(call, peer, theirs, &media, now, effects);
}

fn refused(call: &mut Call, from: LegId, peer: LegId, reason: Reason, now: Time, effects: &mut Effects) {
    let Some(leg) = call.leg_mut(from).filter(|leg| leg.offer == Offer::Ours && leg.phase == Phase::Active)
    else {
        return;
    };
    leg.offer = Offer::Settled;
    if moving::refused(leg, now) {
        return;
    }
    leg.spoken = leg.before.take().or(leg.spoken.take());
    if let Some(leg) = call.leg_mut(peer).filter(|leg| leg.offer == Offer::Theirs) {
        leg.offer = Offer::Settled;
        moving::begun(leg, now);
        leg.heard = leg.before.take().or(leg.heard.take());
        call.say(peer, Signal::Refused(reason), effects);
    }
}

/// Tells the relay what a leg agreed, content by content.
pub(super) fn connect(call: &Call, id: LegId, effects: &mut Effects) {
    connects(call, id).into_iter().map(Effect::Connect).for_each(|told| effects.push(told));
}

/// What a leg agreed, content by content.
pub(super) fn connects(call: &Call, id: LegId) -> Vec<Connect> {
    let mut connects = vec![];
    let Some((leg, theirs)) = call.leg(id).and_then(|leg| leg.heard.as_ref().map(|m| (leg, m))) else {
        return connects;
    };
    let agreed = leg.agreed();
    for (index, content) in theirs.contents.iter().enumerate() {
        let place = call.facing(leg, theirs, index);
        if content.rejected || content.codecs.is_empty() || leg.ends.get(place).is_none() {
            continue;
        }
        let carrier = agreed.and_then(|(offer, answer)| media::carrier(offer, answer, index));
        let carrier = carrier.map(|carrier| call.facing(leg, theirs, carrier));
        // The numbers of the answer are those in use in both directions.
        let answered = agreed.and_then(|(_, answer)| answer.contents.get(index));
        if answered.is_some_and(|content| content.rejected) {
            continue;
        }
        let codecs = answered.map_or_else(|| content.codecs.clone(), |answered| answered.codecs.clone());
        connects.push(Connect {
            leg: id,
            content: u16::try_from(place).unwrap_or(u16::MAX),
            remote: content.transport.clone(),
            bundled: carrier.and_then(|carrier| u16::try_from(carrier).ok()),
            codecs,
            direction: content.direction,
            ours: !leg.inbound,
        });
    }
    connects
}
