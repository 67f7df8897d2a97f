//! Legs whose answer left more codecs open than the other side of the call knows of.
//!
//! One rule: whatever a peer may send by its answer, its hearer has, or the peer is offered that alone (RFC 3264 §8.3.2). A caller that
//! describes itself late (after a propose) may have taken another codec than the callee sends first; then the callee is offered that
//! one, and nothing is transcoded without need. Jingle has no word for a change of codecs (XEP-0167 §8.2): its clients are left alone.

use super::leg::{AddressNotice, Leg, Offerer, Phase, Signaling};
use super::record::Call;
use super::{Effects, relocation};
use media::Profile;
use signal::{LegId, Media, Signal, Time};

/// Sees to it that the peer of a leg is settled soon, if there is need: its answer has reached it first.
pub(super) fn plan(call: &mut Call, id: LegId, now: Time) {
    let needed = wanted(call, id).is_some();
    if let Some(leg) = call.leg_mut(id) {
        leg.settle = needed.then_some(now + relocation::REST_MS);
    }
}

/// Offers the codecs that are known on both sides, once nothing else is open.
pub(super) fn send(call: &mut Call, now: Time, effects: &mut Effects) {
    if call.ended.is_some() {
        return;
    }
    for id in [call.bridge.0, call.bridge.1] {
        if call.leg(id).and_then(|leg| due(call, leg)).is_none_or(|at| at > now) {
            continue;
        }
        let wanted = wanted(call, id);
        let Some(leg) = call.leg_mut(id) else { continue };
        leg.settle = None;
        let Some(ours) = wanted else { continue };
        leg.signaling = Signaling::HaveLocalOffer;
        leg.rollback = leg.local_description.replace(ours.clone());
        call.say(id, Signal::Update(ours), effects);
    }
}

/// Returns the time of the next such offer.
pub(super) fn deadline(call: &Call) -> Option<Time> {
    [call.bridge.0, call.bridge.1].iter().filter_map(|id| due(call, call.leg(*id)?)).min()
}

/// Returns the time at which a leg is settled, while neither side has an offer open and no notice is under way.
fn due(call: &Call, leg: &Leg) -> Option<Time> {
    let free = |leg: &Leg| leg.phase == Phase::Active && leg.signaling == Signaling::Stable;
    let peer = call.peer(leg.id).and_then(|peer| call.leg(peer));
    let ready = free(leg) && peer.is_some_and(free) && leg.address_notice == AddressNotice::Current;
    leg.settle.filter(|_| ready)
}

/// Returns the offer that settles the peer of a leg; `None` = there is no need, or no way.
fn wanted(call: &Call, id: LegId) -> Option<Media> {
    let leg = call.leg(id).filter(|leg| leg.profile != Profile::Webrtc && leg.offerer == Offerer::Local)?;
    let hearer = call.leg(call.peer(id)?)?;
    let ((ours, theirs), (_, told)) = (leg.agreed()?, hearer.agreed()?);
    let mut offer = leg.offer_again()?;
    let mut needed = false;
    for (place, heard) in leg.live().into_iter().zip(hearer.live()) {
        let (ours, theirs) = (ours.contents.get(place)?, theirs.contents.get(place)?);
        let (content, told) = (offer.contents.get_mut(place)?, told.contents.get(heard)?);
        if let Some(codecs) = media::settled(&ours.codecs, &theirs.codecs, &told.codecs) {
            (content.codecs, needed) = (codecs, true);
        }
    }
    needed.then_some(offer)
}
