//! A peer restarts ICE (RFC 8445 §9; interworking §2.17): it is answered with new credentials of ours (R-RTP-17).
//!
//! One rule: credentials are the relay's, so the answer waits for it ([`Signaling::RestartPending`]); the order to the relay stays in the
//! outbox until its reply is in the record, and asked again the relay gives the same one.

use super::{Accepted, Feature};
use crate::call::bridge::connects;
use crate::call::effect::{Connect, Effect};
use crate::call::event::Renewal;
use crate::call::leg::{Leg, Signaling};
use crate::call::record::Call;
use crate::call::{Effects, relocation};
use media::LocalEnd;
use signal::{LegId, Media, Signal};

/// ICE restarts of peers.
pub(super) struct IceRestart;

impl Feature for IceRestart {
    fn answer(&self, call: &mut Call, accepted: &Accepted, effects: &mut Effects) -> bool {
        let restarts = accepted.before.as_ref().is_some_and(|before| {
            let descriptions =
                call.leg(accepted.leg).map(|leg| (&leg.remote_description, &leg.local_description));
            matches!(descriptions, Some((Some(now), Some(answered))) if restarts(before, now, answered))
        });
        if restarts {
            begin(call, accepted.leg, effects);
        }
        restarts
    }
}

/// Returns true if `now` restarts the ICE of `before` (RFC 8445 §9) and is answered with ICE.
fn restarts(before: &Media, now: &Media, answered: &Media) -> bool {
    let ice = |media: &Media, index: usize| media.contents.get(index).and_then(|c| c.transport.ice.clone());
    (0..answered.contents.len()).any(|index| {
        let other =
            ice(before, index).zip(ice(now, index)).is_some_and(|(before, now)| before.ufrag != now.ufrag);
        other && ice(answered, index).is_some()
    })
}

/// Orders the relay to take the restart and to tell its new credentials.
pub(in crate::call) fn begin(call: &mut Call, id: LegId, effects: &mut Effects) {
    let ends = connects(call, id);
    if let Some(leg) = call.leg_mut(id) {
        leg.signaling = Signaling::RestartPending;
        effects.push(Effect::Restart { leg: id, ends });
    }
}

/// Answers the peer with the credentials that the relay told.
pub(in crate::call) fn renewed(call: &mut Call, id: LegId, renewal: Renewal, effects: &mut Effects) {
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
    if leg.signaling != Signaling::RestartPending || renewal.theirs != current {
        return;
    }
    leg.signaling = Signaling::Stable;
    relocation::drop_notice(leg);
    if let Some(spoken) = leg.local_description.clone() {
        call.say(id, Signal::Updated(spoken), effects);
    }
}

/// Puts the new ends into the descriptions that named the old ones.
pub(in crate::call) fn readdress(leg: &mut Leg, before: &[LocalEnd]) {
    for spoken in [&mut leg.local_description, &mut leg.rollback].into_iter().flatten() {
        // Of an offer of theirs `before` is their own description, in which nothing of ours is found.
        media::readdress(spoken, before, &leg.ends);
    }
}

/// Keeps newer credentials than those of ends that another relay restored from a state before a restart.
pub(in crate::call) fn keep(before: &[LocalEnd], ends: &mut [LocalEnd]) {
    for (before, end) in before.iter().zip(ends) {
        let generation = before.ice.generation();
        if generation > end.ice.generation() {
            (end.ice.ufrag, end.ice.pwd) = (before.ice.ufrag.clone(), before.ice.pwd.clone());
            end.ice.candidates.iter_mut().for_each(|candidate| candidate.generation = generation);
        }
    }
}
