//! Features: rules beside the default one, in a fixed order.
//!
//! One rule: [`FEATURES`] is the order. A feature may claim a signal before the default rule ([`super::bridge`]) sees it, put another leg
//! in the place of one that has gone, claim the answer to an offer that was accepted, or add to such an answer; the first that claims decides alone. A new feature is a file and
//! a line of the list.

mod early_media;
mod forward;
mod hold_music;
mod ice_restart;
mod redirect;
mod screen;
mod transfer;

pub use forward::Forwarding;
pub(super) use forward::{placed, routed, unrouted};
pub(super) use hold_music::play as play_music;
pub(super) use ice_restart::{begin as restart, keep, readdress, renewed};
pub(super) use transfer::{
    begin as transfer, check as check_transfer, dismiss, leave_deadline, target_called, target_failed,
};

use super::Effects;
use super::record::Call;
use signal::{End, LegId, Media, Signal, Time};

/// Features in the order in which they are asked.
const FEATURES: [&dyn Feature; 6] = [
    &transfer::Transfer,
    &redirect::Redirect,
    &forward::Forward,
    &early_media::EarlyMedia,
    &ice_restart::IceRestart,
    &hold_music::HoldMusic,
];
/// Most diversions of a call, those before it came here among them (interworking §2.13).
const MAX_FORWARDS: u32 = 5;

/// Rule that may decide before the default one.
trait Feature: Sync {
    /// Claims a signal of a leg that is not over; false leaves it to the next rule.
    fn hear(&self, call: &mut Call, from: LegId, signal: &Signal, now: Time, effects: &mut Effects) -> bool {
        let _ = (call, from, signal, now, effects);
        false
    }

    /// Puts another leg in the place of one that has gone, on which the call would end; false leaves it to the next rule.
    fn replace(&self, call: &mut Call, gone: LegId, end: &End, effects: &mut Effects) -> bool {
        let _ = (call, gone, end, effects);
        false
    }

    /// Claims the answer to an accepted offer; false leaves it to the next rule.
    fn answer(&self, call: &mut Call, accepted: &Accepted, effects: &mut Effects) -> bool {
        let _ = (call, accepted, effects);
        false
    }

    /// Adds effects to those of an accepted offer, once the relay was told of it.
    fn accepted(&self, call: &Call, accepted: &Accepted, effects: &mut Effects) {
        let _ = (call, accepted, effects);
    }
}

/// A later offer of a leg that was accepted; the leg holds offer and answer.
pub(super) struct Accepted {
    /// The leg.
    pub leg: LegId,
    /// Description of its peer before the offer.
    pub before: Option<Media>,
}

/// Returns true if a feature claims the signal.
pub(super) fn hear(call: &mut Call, from: LegId, signal: &Signal, now: Time, effects: &mut Effects) -> bool {
    FEATURES.iter().any(|feature| feature.hear(call, from, signal, now, effects))
}

/// Returns true if a feature puts another leg in the place of one that has gone.
pub(super) fn replace(call: &mut Call, gone: LegId, end: &End, effects: &mut Effects) -> bool {
    FEATURES.iter().any(|feature| feature.replace(call, gone, end, effects))
}

/// Returns true if a feature claims the answer.
pub(super) fn answer(call: &mut Call, accepted: &Accepted, effects: &mut Effects) -> bool {
    FEATURES.iter().any(|feature| feature.answer(call, accepted, effects))
}

/// Adds the effects of features to an accepted offer.
pub(super) fn accepted(call: &Call, accepted: &Accepted, effects: &mut Effects) {
    FEATURES.iter().for_each(|feature| feature.accepted(call, accepted, effects));
}
