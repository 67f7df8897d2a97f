//! A peer restarts ICE (RFC 8445 §9; interworking §2.17): it is answered with new credentials of ours (R-RTP-17).
//!
//! One rule: credentials are the relay's, so the answer waits for it ([`Offer::Restarting`]); the order to the relay stays in the
//! outbox until its reply is in the record, and asked again the relay gives the same one.

use super::Effects;
use super::effect::{Connect, Effect};
use super::event::Renewal;
use super::moving;
use super::record::{Call, Leg, Offer};
use super::relay::connects;
use media::LocalEnd;
use signal::{LegId, Media, Signal};

/// A peer that described itself as `before` has other ICE credentials `now`, and is `answered` with ICE.
pub(super) fn restarts(before: &Media, now: &Media, answered: &Media) -> bool {
    let ice = |media: &Media, place: usize| media.contents.get(place).and_then(|c| c.transport.ice.clone());
    (0..answered.contents.len()).any(|place| {
        let other =
            ice(before, place).zip(ice(now, place)).is_some_and(|(before, now)| before.ufrag != now.ufrag);
        other && ice(answered, place).is_some()
    })
}

/// The relay is to take it, and to tell what it answers with.
pub(super) fn begin(call: &mut Call, id: LegId, effects: &mut Effects) {
    let ends = connects(call, id);
    if let Some(leg) = call.leg_mut(id) {
        leg.offer = Offer::Restarting;
        effects.push(Effect::Restart { leg: id, ends });
    }
}

/// The relay has told.
pub(super) fn renewed(call: &mut Call, id: LegId, renewal: Renewal, effects: &mut Effects) {
    if call.relay.as_ref() != Some(&renewal.relay) {
        // It moved meanwhile; the other relay was asked too.
        return;
    }
    let current: Vec<String> = connects(call, id).iter().map(Connect::ufrag).collect();
    let Some(leg) = call.leg_mut(id).filter(|leg| !leg.phase.is_over()) else { return };
    let before = leg.ends.clone();
    for (content, ice) in renewal.ends {
        // Told late, of a restart before the last one, it is no news.
        let end = leg.ends.get_mut(usize::from(content));
        if let Some(end) = end.filter(|end| ice.generation() >= end.ice.generation()) {
            end.ice = ice;
        }
    }
    readdress(leg, &before);
    if leg.offer != Offer::Restarting || renewal.theirs != current {
        return;
    }
    leg.offer = Offer::Settled;
    moving::known(leg);
    if let Some(spoken) = leg.spoken.clone() {
        call.say(id, Signal::Updated(spoken), effects);
    }
}

/// What was said of the ends as they were is said of them as they are.
pub(super) fn readdress(leg: &mut Leg, before: &[LocalEnd]) {
    for spoken in [&mut leg.spoken, &mut leg.before].into_iter().flatten() {
        // Of an offer of theirs `before` is their own description, in which nothing of ours is found.
        media::readdress(spoken, before, &leg.ends);
    }
}

/// Ends that another relay made of a state from before a restart: the peer knows what it was told since.
pub(super) fn keep(before: &[LocalEnd], ends: &mut [LocalEnd]) {
    for (before, end) in before.iter().zip(ends) {
        let generation = before.ice.generation();
        if generation > end.ice.generation() {
            (end.ice.ufrag, end.ice.pwd) = (before.ice.ufrag.clone(), before.ice.pwd.clone());
            end.ice.candidates.iter_mut().for_each(|candidate| candidate.generation = generation);
        }
    }
}
