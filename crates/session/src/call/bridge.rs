//! The default rule: what a leg says, its peer hears, in the words that fit the hearer's state.

use super::effect::{Connect, Effect, Fact};
use super::feature::{self, Accepted};
use super::leg::{Leg, Offerer, Phase, Role, Signaling};
use super::record::{Call, DESCRIBE_MS};
use super::{Effects, end, relocation, settle};
use media::Profile;
use signal::media::{Kind, Trickle};
use signal::{End, LegId, Media, Reason, Signal, Time};

/// Most characters that are told of the address of a redirection.
const MAX_FORWARDED: usize = 64;

/// Decides on a signal of one leg.
pub(super) fn hear(call: &mut Call, from: LegId, signal: Signal, now: Time, effects: &mut Effects) {
    // A BYE that crossed ours, a late ringing: the edge has answered it, nobody else needs to know.
    if call.leg(from).is_none_or(|leg| leg.phase.is_over())
        || feature::hear(call, from, &signal, now, effects)
    {
        return;
    }
    let Some(peer) = call.peer(from) else { return };
    match signal {
        // A second offer of an open call is an update by another name.
        Signal::Offer(media) | Signal::Update(media) => update(call, from, peer, media, now, effects),
        // Progress without a description tells that the call goes on, not that anybody heard it (R-CALL-12).
        Signal::Progress(None) => ringing(call, from, peer, false, now, effects),
        Signal::Progress(Some(media)) if is_asked_early(call, from) => {
            answer_early(call, from, peer, media, now, effects);
        }
        Signal::Ringing | Signal::Progress(Some(_)) => ringing(call, from, peer, true, now, effects),
        Signal::Answer(media) => answer(call, from, peer, media, now, effects),
        Signal::Updated(media) => updated(call, from, peer, media, now, effects),
        Signal::Refused(reason) => refused(call, from, peer, reason, now, effects),
        Signal::Candidates(trickles) => candidates(call, from, trickles, effects),
        Signal::Tone(tone) => {
            // A party that has agreed on telephone-event hears keys there (R-DTMF-1), others in the words of their protocol.
            match (call.leg(peer).is_some_and(|p| p.phase == Phase::Active), keypad(call, peer)) {
                (true, Some(content)) => effects.push(Effect::Press { leg: peer, content, tone }),
                (true, None) => call.say(peer, Signal::Tone(tone), effects),
                (false, _) => {}
            }
        }
        // Claimed by the transfer; nobody asks us to report.
        Signal::Refer { .. } | Signal::Referred(_) => {}
        Signal::Redirect(to, _) => end::left(call, from, redirected(&to), effects),
        Signal::End(end) => end::left(call, from, end, effects),
        // Who is called elsewhere tells the caller nothing that ringing does not (interworking §2.7).
        Signal::Diverted => {}
    }
}

/// Returns the end of a leg that names another address: it is not followed, and the other party is told.
pub(super) fn redirected(to: &str) -> End {
    let user =
        to.split_once(':').map_or(to, |(_, rest)| rest).split([';', '?', '@']).next().unwrap_or_default();
    // A number or a name, and no room for tricks.
    let plain = |c: &char| c.is_alphanumeric() || "+-._*#".contains(*c);
    let user: String = user.chars().filter(plain).take(MAX_FORWARDED).collect();
    let text = (!user.is_empty()).then(|| format!("Forwarded to {user}"));
    End { text, ..Reason::Gone.into() }
}

/// Returns the content, by its end at the relay, in which the peer of a leg takes keys as telephone-event (RFC 4733).
fn keypad(call: &Call, id: LegId) -> Option<u16> {
    let leg = call.leg(id)?;
    let (_, answer) = leg.agreed()?;
    let theirs = leg.remote_description.as_ref()?;
    let takes = |place: &usize| {
        let content = answer.contents.get(*place);
        content.is_some_and(|content| {
            content.kind == Kind::Audio
                && content.codecs.iter().any(|codec| codec.name.eq_ignore_ascii_case("telephone-event"))
        })
    };
    let place = leg.live().into_iter().find(takes)?;
    u16::try_from(call.facing(leg, theirs, place)).ok()
}

/// Orders the relay to check further candidates of a leg's peer.
pub(super) fn candidates(call: &Call, from: LegId, trickles: Vec<Trickle>, effects: &mut Effects) {
    for trickle in trickles {
        let end = call.leg(from).and_then(|leg| {
            let heard = leg.remote_description.as_ref()?;
            let index = heard.contents.iter().position(|c| c.name == trickle.name)?;
            Some(call.facing(leg, heard, index))
        });
        let content = end.and_then(|p| u16::try_from(p).ok()).unwrap_or(0);
        effects.push(Effect::Candidates { leg: from, content, ice: trickle.ice });
    }
}

fn ringing(call: &mut Call, from: LegId, peer: LegId, heard: bool, now: Time, effects: &mut Effects) {
    let Some(leg) = call.leg_mut(from).filter(|leg| leg.phase == Phase::Calling && leg.role != Role::Caller)
    else {
        return;
    };
    if heard {
        leg.phase = Phase::Ringing;
    }
    // Once per call, however many devices ring (R-CALL-8).
    if let Some(leg) = call.leg_mut(peer).filter(|leg| leg.phase == Phase::Calling) {
        leg.phase = Phase::Ringing;
        let told = match is_asked_early(call, peer) {
            true => Signal::Progress(early_offer(call, peer)),
            false => Signal::Ringing,
        };
        call.rang.get_or_insert(now);
        call.say(peer, told, effects);
    }
}

/// Returns true for a caller that has not described itself and may be offered something before the call is answered: no Jingle client may
/// (R-CALL-37).
fn is_asked_early(call: &Call, id: LegId) -> bool {
    let caller = call.leg(id).filter(|leg| leg.role == Role::Caller && leg.inbound && !leg.phase.is_over());
    caller.is_some_and(|leg| {
        let described = leg.remote_description.as_ref().is_some_and(Media::is_described);
        leg.profile != Profile::Webrtc && !described
    })
}

/// Returns what a caller is offered before anybody has answered: all that we can.
fn early_offer(call: &Call, id: LegId) -> Option<Media> {
    let leg = call.leg(id)?;
    let wish = leg.remote_description.as_ref()?;
    Some(media::offer(wish, &leg.ends, leg.profile, &call.policy))
}

/// Takes the answer of a caller to our early offer, before or after that of the callee.
fn answer_early(call: &mut Call, from: LegId, peer: LegId, media: Media, now: Time, effects: &mut Effects) {
    let Some(ours) = early_offer(call, from) else { return };
    let theirs = call.leg(peer).and_then(Leg::in_use);
    let policy = call.policy.clone();
    let Some(leg) = call.leg_mut(from) else { return };
    leg.local_description = Some(ours);
    let media = taken(leg, media);
    let late = leg.phase == Phase::Answered;
    let fits = theirs.is_none_or(|theirs| !late || media::can_answer(&media, &theirs, &policy));
    if is_nothing(&media) || is_other(&media) || !fits {
        return end::everybody(call, Reason::IncompatibleMedia.into(), effects);
    }
    (leg.signaling, leg.offerer, leg.remote_description) = (Signaling::Stable, Offerer::Local, Some(media));
    relocation::postpone_notice(leg, now);
    if late {
        leg.phase = Phase::Active;
        connect(call, from, effects);
        settle::plan(call, from, now);
    }
}

fn answer(call: &mut Call, from: LegId, peer: LegId, media: Media, now: Time, effects: &mut Effects) {
    // Only the side that was offered to answers, and only once.
    let Some(leg) =
        call.leg_mut(from).filter(|leg| leg.phase.is_early() && leg.signaling == Signaling::HaveLocalOffer)
    else {
        return;
    };
    let mut media = taken(leg, media);
    media::default_roles(&mut media);
    (leg.phase, leg.signaling, leg.remote_description) =
        (Phase::Active, Signaling::Stable, Some(media.clone()));
    leg.offerer = Offerer::Local;
    relocation::postpone_notice(leg, now);
    let Some(hearer) = call.leg(peer).filter(|leg| leg.phase.is_early()) else {
        return answered(call, now, effects);
    };
    if is_nothing(&media) || is_other(&media) {
        return end::everybody(call, Reason::IncompatibleMedia.into(), effects);
    }
    match hearer.remote_description.clone().filter(Media::is_described) {
        // It has answered an offer of ours already.
        Some(theirs) if hearer.offerer == Offerer::Local => {
            let Some(agreed) = hearer.local_description.clone() else { return };
            if !media::can_answer(&theirs, &media, &call.policy) {
                return end::everybody(call, Reason::IncompatibleMedia.into(), effects);
            }
            if let Some(leg) = call.leg_mut(peer) {
                leg.phase = Phase::Active;
                relocation::postpone_notice(leg, now);
            }
            answered(call, now, effects);
            connect(call, from, effects);
            connect(call, peer, effects);
            call.say(peer, Signal::Answer(agreed), effects);
            settle::plan(call, from, now);
            settle::plan(call, peer, now);
        }
        Some(theirs) => {
            let Ok(agreed) = media::answer(&theirs, &media, &hearer.ends, hearer.profile, &call.policy)
            else {
                return end::everybody(call, Reason::IncompatibleMedia.into(), effects);
            };
            if let Some(leg) = call.leg_mut(peer) {
                (leg.phase, leg.signaling, leg.local_description) =
                    (Phase::Active, Signaling::Stable, Some(agreed.clone()));
                relocation::drop_notice(leg);
            }
            answered(call, now, effects);
            connect(call, from, effects);
            connect(call, peer, effects);
            call.say(peer, Signal::Answer(agreed), effects);
            settle::plan(call, from, now);
        }
        // The caller has not described itself yet: it is offered what the callee took, and describes itself next.
        None => {
            let ours = media::offer(&media, &hearer.ends, hearer.profile, &call.policy);
            // An early offer may be on its way to its answer, with the ends of before.
            let early = hearer.phase == Phase::Ringing && is_asked_early(call, peer);
            if let Some(leg) = call.leg_mut(peer) {
                (leg.phase, leg.signaling, leg.local_description) =
                    (Phase::Answered, Signaling::HaveLocalOffer, Some(ours.clone()));
                if !early {
                    relocation::drop_notice(leg);
                }
            }
            call.answer_by = Some(now + DESCRIBE_MS);
            answered(call, now, effects);
            connect(call, from, effects);
            call.say(peer, Signal::Answer(ours), effects);
        }
    }
}

/// Narrows an answer to what we offered this leg: a codec that was not offered is not in use (RFC 3264 §6.1).
pub(super) fn taken(leg: &Leg, media: Media) -> Media {
    let Some(ours) = &leg.local_description else { return media };
    let mut media = media::accept(ours, media, leg.profile);
    media::narrow(&mut media, ours);
    media
}

/// Returns true if every content is rejected.
pub(super) fn is_nothing(media: &Media) -> bool {
    media.contents.iter().all(|content| content.rejected)
}

/// Returns true if no content has a codec that we offered.
pub(super) fn is_other(media: &Media) -> bool {
    let mut live = media.contents.iter().filter(|content| !content.rejected);
    !is_nothing(media) && live.all(|content| content.codecs.iter().all(|codec| codec.is_auxiliary()))
}

/// Records the answer once the media of both fits: a call that nobody could hear is not billed.
pub(super) fn answered(call: &mut Call, now: Time, effects: &mut Effects) {
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
        || leg.signaling != Signaling::Stable
        || hearer.signaling != Signaling::Stable
    {
        return call.say(from, Signal::Refused(Reason::Glare), effects);
    }
    if is_nothing(&theirs) {
        return call.say(from, Signal::Refused(Reason::IncompatibleMedia), effects);
    }
    let (Some(used), Some(said)) = (hearer.in_use(), hearer.offer_again()) else { return };
    let (heard, live) = (leg.live(), hearer.live());
    let mut ours = said.clone();
    if !media::can_answer(&theirs, &used, &call.policy) && !keeps(leg, &theirs) {
        // The hearer would have to change its codec. Jingle has no word for that which clients take (XEP-0167 §8.2).
        if hearer.profile == media::Profile::Webrtc {
            return call.say(from, Signal::Refused(Reason::IncompatibleMedia), effects);
        }
        let offered = media::offer(&theirs, &hearer.ends, hearer.profile, &call.policy);
        change((&theirs, &heard), offered, (&mut ours, &live));
    }
    carry((&theirs, &heard), (&mut ours, &live));
    if media::same_session(&said, &ours) {
        // New address, new candidates, another order of codecs: the relay takes it, the peer need not know.
        let Some(peers) = hearer.agreed_media() else { return };
        accept(call, from, theirs, &peers, now, effects);
        return;
    }
    if let Some(leg) = call.leg_mut(from) {
        (leg.signaling, leg.rollback) = (Signaling::HaveRemoteOffer, leg.remote_description.replace(theirs));
    }
    if let Some(leg) = call.leg_mut(peer) {
        (leg.signaling, leg.rollback) =
            (Signaling::HaveLocalOffer, leg.local_description.replace(ours.clone()));
    }
    call.say(peer, Signal::Update(ours), effects);
}

/// Returns true if the leg's new offer names the codec that it uses in each content: its peer need not change then.
fn keeps(leg: &Leg, theirs: &Media) -> bool {
    let Some((_, in_use)) = leg.agreed() else { return false };
    let live = theirs.contents.iter().zip(&in_use.contents).filter(|(offered, _)| !offered.rejected);
    live.filter(|(_, used)| !used.rejected).all(|(offered, used)| {
        let used = used.codecs.iter().find(|codec| !codec.is_auxiliary());
        used.is_some_and(|used| offered.codecs.iter().any(|codec| codec.same(used)))
    })
}

/// Carries what a peer changed into the offer to its hearer: directions and contents that go. Beside each description stand the
/// positions of its contents in use ([`Leg::live`]): m= lines that one side alone has never shift the others.
pub(super) fn carry((theirs, heard): (&Media, &[usize]), (ours, live): (&mut Media, &[usize])) {
    for (place, heard) in live.iter().zip(heard) {
        if let (Some(content), Some(wish)) = (ours.contents.get_mut(*place), theirs.contents.get(*heard)) {
            content.direction = wish.direction;
            content.rejected |= wish.rejected;
        }
    }
}

/// Puts the codecs of a new offer into the hearer's contents, which keep their places (RFC 3264 §8).
fn change((theirs, heard): (&Media, &[usize]), offered: Media, (ours, live): (&mut Media, &[usize])) {
    let stays = |heard: &usize| theirs.contents.get(*heard).is_some_and(|content| !content.rejected);
    let places = live.iter().zip(heard).filter(|(_, heard)| stays(heard)).map(|(place, _)| *place);
    for (place, content) in places.zip(offered.contents) {
        if let Some(ours) = ours.contents.get_mut(place) {
            (ours.codecs, ours.transport) = (content.codecs, content.transport);
        }
    }
}

/// Answers an update ourselves.
fn accept(call: &mut Call, from: LegId, theirs: Media, peers: &Media, now: Time, effects: &mut Effects) {
    let Some(leg) = call.leg(from) else { return };
    let before = leg.rollback.clone().or_else(|| leg.remote_description.clone());
    let in_use = leg.agreed().map(|(_, answer)| answer);
    match media::answer_again(&theirs, peers, in_use, &leg.ends, leg.profile, &call.policy) {
        Ok(agreed) => {
            if let Some(leg) = call.leg_mut(from) {
                (leg.signaling, leg.remote_description, leg.local_description) =
                    (Signaling::Stable, Some(theirs), Some(agreed.clone()));
                (leg.offerer, leg.rollback) = (Offerer::Remote, None);
                relocation::drop_notice(leg);
            }
            let accepted = Accepted { leg: from, before };
            let claimed = feature::answer(call, &accepted, effects);
            if !claimed {
                connect(call, from, effects);
            }
            feature::accepted(call, &accepted, effects);
            if !claimed {
                call.say(from, Signal::Updated(agreed), effects);
            }
            if let Some(peer) = call.peer(from) {
                settle::plan(call, peer, now);
            }
        }
        Err(_) if call.leg(from).is_some_and(|l| l.phase == Phase::Answered) => {
            end::everybody(call, End::from(Reason::IncompatibleMedia), effects)
        }
        Err(_) => {
            if let Some(leg) = call.leg_mut(from) {
                leg.signaling = Signaling::Stable;
                relocation::postpone_notice(leg, now);
                leg.remote_description = leg.rollback.take().or(leg.remote_description.take());
            }
            call.say(from, Signal::Refused(Reason::IncompatibleMedia), effects);
        }
    }
}

/// Answers the first description of a leg that is already answered: the session-initiate that follows our proceed.
fn describe(call: &mut Call, from: LegId, peer: LegId, theirs: Media, now: Time, effects: &mut Effects) {
    let Some(peers) = call.leg(peer).and_then(|leg| leg.remote_description.clone()) else { return };
    let Some(leg) = call.leg(from) else { return };
    match media::answer(&theirs, &peers, &leg.ends, leg.profile, &call.policy) {
        Ok(agreed) => {
            if let Some(leg) = call.leg_mut(from) {
                leg.offerer = Offerer::Remote;
                (leg.phase, leg.signaling, leg.remote_description, leg.local_description) =
                    (Phase::Active, Signaling::Stable, Some(theirs), Some(agreed.clone()));
                relocation::drop_notice(leg);
            }
            connect(call, from, effects);
            call.say(from, Signal::Updated(agreed), effects);
            settle::plan(call, peer, now);
        }
        Err(_) => end::everybody(call, Reason::IncompatibleMedia.into(), effects),
    }
}

fn updated(call: &mut Call, from: LegId, peer: LegId, media: Media, now: Time, effects: &mut Effects) {
    let Some(leg) =
        call.leg_mut(from).filter(|leg| leg.signaling == Signaling::HaveLocalOffer && !leg.phase.is_early())
    else {
        return;
    };
    let late = leg.phase == Phase::Answered;
    let mut media = taken(leg, media);
    if is_other(&media) {
        // It answers with what it was not offered (RFC 3264 §6.1): the session stays as it was.
        match leg.remote_description.clone().filter(|_| relocation::is_notice(leg)) {
            _ if late => return end::everybody(call, Reason::IncompatibleMedia.into(), effects),
            Some(before) => media = before,
            None => return refused(call, from, peer, Reason::IncompatibleMedia, now, effects),
        }
    }
    let moved = relocation::notice_answered(leg, now);
    (leg.phase, leg.signaling, leg.remote_description) =
        (Phase::Active, Signaling::Stable, Some(media.clone()));
    (leg.offerer, leg.rollback) = (Offerer::Local, None);
    connect(call, from, effects);
    if late || moved {
        return;
    }
    let Some(asker) = call.leg(peer).filter(|leg| leg.signaling == Signaling::HaveRemoteOffer) else {
        return;
    };
    let Some(theirs) = asker.remote_description.clone() else { return };
    let Some(peers) = call.leg(from).and_then(Leg::agreed_media) else { return };
    accept(call, peer, theirs, &peers, now, effects);
}

fn refused(call: &mut Call, from: LegId, peer: LegId, reason: Reason, now: Time, effects: &mut Effects) {
    let Some(leg) = call
        .leg_mut(from)
        .filter(|leg| leg.signaling == Signaling::HaveLocalOffer && leg.phase == Phase::Active)
    else {
        return;
    };
    leg.signaling = Signaling::Stable;
    if relocation::notice_refused(leg, now) {
        return;
    }
    leg.local_description = leg.rollback.take().or(leg.local_description.take());
    if let Some(leg) = call.leg_mut(peer).filter(|leg| leg.signaling == Signaling::HaveRemoteOffer) {
        leg.signaling = Signaling::Stable;
        relocation::postpone_notice(leg, now);
        leg.remote_description = leg.rollback.take().or(leg.remote_description.take());
        call.say(peer, Signal::Refused(reason), effects);
    }
}

/// Orders the relay to take what a leg agreed, content by content.
pub(super) fn connect(call: &Call, id: LegId, effects: &mut Effects) {
    connects(call, id).into_iter().map(Effect::Connect).for_each(|told| effects.push(told));
}

/// Returns what a leg agreed, content by content.
pub(super) fn connects(call: &Call, id: LegId) -> Vec<Connect> {
    let mut connects = vec![];
    let Some((leg, theirs)) = call.leg(id).and_then(|leg| leg.remote_description.as_ref().map(|m| (leg, m)))
    else {
        return connects;
    };
    let agreed = leg.agreed();
    for (index, content) in theirs.contents.iter().enumerate() {
        let end = call.facing(leg, theirs, index);
        if content.rejected || content.codecs.is_empty() || leg.ends.get(end).is_none() {
            continue;
        }
        let carrier = agreed.and_then(|(offer, answer)| media::carrier(offer, answer, index));
        let carrier = carrier.map(|carrier| call.facing(leg, theirs, carrier));
        let answered = agreed.and_then(|(_, answer)| answer.contents.get(index));
        if answered.is_some_and(|content| content.rejected) {
            continue;
        }
        let offered = agreed.and_then(|(offer, _)| offer.contents.get(index));
        let codecs = match (answered, offered) {
            // An answer of ours has the numbers of its offer.
            (Some(answered), _) if leg.offerer == Offerer::Remote => answered.codecs.clone(),
            (Some(answered), Some(offered)) => media::numbers(&offered.codecs, &answered.codecs),
            _ => content.codecs.clone(),
        };
        connects.push(Connect {
            leg: id,
            content: u16::try_from(end).unwrap_or(u16::MAX),
            remote: content.transport.clone(),
            bundled: carrier.and_then(|carrier| u16::try_from(carrier).ok()),
            codecs,
            direction: content.direction,
            ours: !leg.inbound,
            ssrc: call.ssrc(leg, end),
        });
    }
    connects
}

#[cfg(test)]
mod tests {
    use super::redirected;

    #[test]
    fn c5_a_redirection_is_told() {
        for (to, told) in [
            ("sip:+4930123@192.0.2.9;user=phone", Some("Forwarded to +4930123")),
            ("tel:+4930123;phone-context=x", Some("Forwarded to +4930123")),
            ("xmpp:rosa@example.net", Some("Forwarded to rosa")),
            ("sip:ro\u{202e}sa\r\n@example.net", Some("Forwarded to rosa")),
            ("", None),
        ] {
            assert_eq!(redirected(to).text.as_deref(), told, "{to}");
        }
    }
}
