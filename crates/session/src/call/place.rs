//! Placing: the caller's offer becomes an offer to the callee.

use super::Effects;
use super::effect::{Effect, Fact};
use super::event::Placement;
use super::record::{AddressNotice, Call, Leg, Offerer, Phase, Signaling};
use signal::{End, LegId, Media, Opening, Reason, Signal, Time};

const CALLER: LegId = LegId(0);
const CALLEE: LegId = LegId(1);

pub(super) fn place(placement: Placement, now: Time, effects: &mut Effects) -> Result<Call, End> {
    let Placement { heard, mut route, allocation, settings, trace } = placement;
    // Only what the relay can do is offered.
    route.policy.transcode &= allocation.transcodes;
    let (Some(opening), Some(Signal::Offer(described))) =
        (heard.opening.clone(), heard.signals.first().cloned())
    else {
        return Err(Reason::BadRequest.into());
    };
    if settings.blocks(&opening.from.address) {
        return Err(Reason::Declined.into());
    }
    let mut ends = allocation.ends.into_iter();
    let (Some(caller_ends), Some(callee_ends)) = (ends.next(), ends.next()) else {
        return Err(Reason::Unavailable.into());
    };
    let described = media::admit(described, route.caller);
    let offered = media::offer(&described, &callee_ends, route.callee, &route.policy);
    if offered.contents.is_empty() || !offered.is_described() {
        return Err(Reason::IncompatibleMedia.into());
    }

    let mut caller = leg(CALLER, opening, true, route.caller, caller_ends, Some(described), None);
    caller.note(&heard);
    let callee =
        leg(CALLEE, route.opening.clone(), false, route.callee, callee_ends, None, Some(offered.clone()));
    let mut call = Call {
        id: heard.leg.record,
        trace,
        legs: vec![caller, callee],
        bridge: (CALLER, CALLEE),
        relay: Some(allocation.session),
        leaving: None,
        policy: route.policy,
        placed: now,
        answered: None,
        ended: None,
        end: None,
        ring_by: now + route.ring_ms,
        answer_by: None,
        unheard: route.unheard,
        deadline: None,
    };
    effects.push(Effect::Record(Fact::Placed {
        from: route.opening.from.address.clone(),
        to: route.opening.to.address.clone(),
    }));
    call.open(CALLEE, Signal::Offer(offered), Some(route.opening), effects);
    // A caller that gave up in the same breath (a propose with its retract) is heard like any other signal.
    for signal in heard.signals.into_iter().skip(1) {
        super::bridge::hear(&mut call, CALLER, signal, now, effects);
    }
    Ok(call)
}

fn leg(
    id: LegId,
    opening: Opening,
    inbound: bool,
    profile: media::Profile,
    mut ends: Vec<media::LocalEnd>,
    remote_description: Option<Media>,
    local_description: Option<Media>,
) -> Leg {
    if profile == media::Profile::Webrtc {
        // Keys that nobody will use are not kept.
        ends.iter_mut().for_each(|end| end.crypto.clear());
    }
    Leg {
        id,
        opening,
        inbound,
        phase: Phase::Calling,
        signaling: if inbound { Signaling::HaveRemoteOffer } else { Signaling::HaveLocalOffer },
        offerer: if inbound { Offerer::Remote } else { Offerer::Local },
        remote_description,
        local_description,
        rollback: None,
        profile,
        ends,
        address_notice: AddressNotice::Current,
        met: false,
        count: 0,
        dialog: vec![],
        revision: 0,
        edge: String::new(),
        events: vec![],
        wake: None,
    }
}
