//! Forwarding: a call that comes to nothing at one callee goes on to another (interworking §2.13, §9.2).
//!
//! One rule: who has the call sent on is a leg that is over, and the next one names it. Before the answer the further leg stands in the
//! place of the former at once (`call/target.rs`); its route is asked when it is needed, so that any instance goes on. A target that
//! fails leads back to whoever sent the call there: their next address, then their box, then the failure is the caller's.

use super::screen::{Screened, screen};
use super::{Feature, MAX_FORWARDS};
use crate::call::effect::{Effect, Fact};
use crate::call::event::Route;
use crate::call::leg::{Leg, Phase, Role};
use crate::call::record::Call;
use crate::call::{Effects, bridge, end, target};
use crate::user::{Forward as Targets, Settings, VOICEMAIL};
use minicbor::{Decode, Encode};
use signal::{Diversion, DiversionReason, End, LegId, Opening, Party, Protocol, Reason, Signal, Time};

/// Forwards by the callee's settings.
pub(super) struct Forward;

/// Target of a forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::call) struct Target {
    /// Number, SIP URI or JID.
    pub address: String,
    /// True if it is the box of who forwards.
    pub mailbox: bool,
}

/// Forwarding around a leg that is called.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Forwarding {
    /// Targets that its user has set.
    #[n(0)]
    pub targets: Targets,
    /// Box of its user.
    #[n(1)]
    pub voicemail: Option<String>,
    /// Leg that had the call sent to this one.
    #[n(2)]
    pub by: Option<LegId>,
    /// Addresses that it named and that were not tried yet, best first.
    #[n(3)]
    pub alternatives: Vec<String>,
}

impl Feature for Forward {
    fn replace(&self, call: &mut Call, gone: LegId, end: &End, effects: &mut Effects) -> bool {
        let Some(leg) = call.leg(gone).filter(|leg| leg.role == Role::Callee && waits(call, leg.id)) else {
            return false;
        };
        if let Some((target, reason)) = own_target(leg, end.reason, effects.now)
            && divert(call, (gone, gone), &target, reason, effects)
        {
            return true;
        }
        let mut by = call.leg(gone).and_then(|leg| leg.forwarding.as_ref()?.by);
        let reason = last_reason(call, gone);
        while let Some(id) = by {
            while let Some(address) = next_alternative(call, id) {
                let target = Target { address, mailbox: false };
                if divert(call, (id, gone), &target, reason, effects) {
                    return true;
                }
            }
            let forwarding = call.leg(id).and_then(|leg| leg.forwarding.clone()).unwrap_or_default();
            if let Some(address) = forwarding.voicemail.filter(|_| !tried_box(call, id)) {
                let target = Target { address, mailbox: true };
                return divert(call, (id, gone), &target, reason, effects);
            }
            by = forwarding.by;
        }
        false
    }
}

impl Target {
    /// Reads a target of settings; `None` for a box that there is not.
    pub(super) fn of(target: &str, voicemail: Option<&str>) -> Option<Target> {
        match voicemail {
            _ if target != VOICEMAIL => Some(Target { address: target.to_owned(), mailbox: false }),
            Some(address) => Some(Target { address: address.to_owned(), mailbox: true }),
            None => None,
        }
    }

    /// Returns the target, or the box where there is none.
    pub(super) fn first(target: Option<&str>, voicemail: Option<&str>) -> Option<Target> {
        target.or(voicemail.map(|_| VOICEMAIL)).and_then(|target| Target::of(target, voicemail))
    }
}

impl Forwarding {
    /// Returns what the settings of a callee mean to a call that rings there; `None` if nothing.
    pub(in crate::call) fn of(settings: &Settings) -> Option<Forwarding> {
        let Targets { busy, no_answer, offline, .. } = settings.forward.clone();
        let some = busy.is_some() || no_answer.is_some() || offline.is_some() || settings.voicemail.is_some();
        let targets = Targets { busy, no_answer, offline, ..Targets::default() };
        some.then(|| Forwarding { targets, voicemail: settings.voicemail.clone(), ..Forwarding::default() })
    }
}

/// Returns where the user of a leg wants a call that ends there with this reason.
fn own_target(leg: &Leg, reason: Reason, now: Time) -> Option<(Target, DiversionReason)> {
    let Forwarding { targets, voicemail, .. } = leg.forwarding.as_ref()?;
    let rang_out = leg.ring.is_some_and(|ring| ring.heard_by.unwrap_or(ring.until) <= now);
    let (target, reason) = match reason {
        Reason::Busy | Reason::Congestion => (&targets.busy, DiversionReason::UserBusy),
        Reason::NoAnswer | Reason::Timeout => (&targets.no_answer, DiversionReason::NoAnswer),
        // Nobody answered, and some clients never say that they ring.
        Reason::Offline if rang_out && targets.offline.is_none() && targets.no_answer.is_some() => {
            (&targets.no_answer, DiversionReason::NoAnswer)
        }
        Reason::Offline | Reason::Connectivity | Reason::Unavailable => {
            (&targets.offline, DiversionReason::Unavailable)
        }
        _ => return None,
    };
    Some((Target::first(target.as_deref(), voicemail.as_deref())?, reason))
}

/// Returns true if a caller who has no answer yet waits for this leg.
pub(super) fn waits(call: &Call, id: LegId) -> bool {
    let caller = call.peer(id).and_then(|peer| call.leg(peer));
    caller.is_some_and(|leg| leg.role == Role::Caller && leg.phase.is_early())
}

/// Returns the reason of the diversion that led to a leg.
fn last_reason(call: &Call, id: LegId) -> DiversionReason {
    let diverted = call.leg(id).and_then(|leg| leg.opening.diverted.as_ref());
    diverted.and_then(|diverted| diverted.history.last()).map_or(DiversionReason::Unknown, |last| last.reason)
}

fn next_alternative(call: &mut Call, id: LegId) -> Option<String> {
    let forwarding = call.leg_mut(id)?.forwarding.as_mut()?;
    (!forwarding.alternatives.is_empty()).then(|| forwarding.alternatives.remove(0))
}

/// Returns true if the box of the leg's user was called.
fn tried_box(call: &Call, id: LegId) -> bool {
    let by_it = |leg: &&Leg| leg.forwarding.as_ref().is_some_and(|forwarding| forwarding.by == Some(id));
    let is_box = |leg: &Leg| leg.opening.diverted.as_ref().is_some_and(|diverted| diverted.mailbox);
    call.legs.iter().filter(by_it).any(is_box)
}

/// Calls a target in the place of the leg `gone`, as the leg `by` wants. Returns false if the call has been diverted too often.
pub(super) fn divert(
    call: &mut Call,
    (by, gone): (LegId, LegId),
    to: &Target,
    reason: DiversionReason,
    effects: &mut Effects,
) -> bool {
    let Some((leg, partner)) = call.leg(by).zip(call.peer(gone)) else { return false };
    let Some(caller) = call.leg(partner) else { return false };
    let mut diverted = leg.opening.diverted.clone().unwrap_or_default();
    let party = leg.party().clone();
    diverted.history.push(Diversion { party: party.clone(), reason, count: 1, private: false });
    diverted.mailbox = to.mailbox;
    let here = call.legs.iter().filter(|leg| leg.forwarding.as_ref().is_some_and(|f| f.by.is_some())).count();
    if diverted.count() > MAX_FORWARDS || here >= MAX_FORWARDS as usize {
        return false;
    }
    let opening = Opening {
        from: caller.party().clone(),
        to: Party { protocol: leg.protocol(), address: to.address.clone(), display: None, identity: None },
        link: leg.opening.link.clone(),
        hops: leg.opening.hops,
        diverted: Some(diverted),
        referral: None,
    };
    let Ok(id) = target::ask(call, (partner, Role::Callee), opening, true, effects.now, effects) else {
        return false;
    };
    if let Some(leg) = call.leg_mut(id) {
        leg.forwarding = Some(Forwarding { by: Some(by), ..Forwarding::default() });
    }
    effects.push(Effect::Record(Fact::Diverted { from: party.address, to: to.address.clone(), reason }));
    // Once it rings the caller has heard so, and hears no more of where (RFC 3261 §21.1.3).
    call.say(partner, Signal::Diverted, effects);
    true
}

/// Decides on a call that was placed, before its callee's leg is opened.
///
/// # Errors
/// The reason to refuse the call with.
pub(in crate::call) fn placed(
    call: &mut Call,
    id: LegId,
    (settings, engaged): (&Settings, bool),
    effects: &mut Effects,
) -> Result<bool, Reason> {
    let Some(caller) = call.peer(id).and_then(|peer| call.leg(peer)) else { return Ok(true) };
    match screen(settings, engaged, caller.party()) {
        Screened::Ring => {
            if let Some(leg) = call.leg_mut(id) {
                leg.forwarding = Forwarding::of(settings);
            }
            Ok(true)
        }
        Screened::Refuse(reason) => Err(reason),
        Screened::Divert(target, reason) => {
            note_box(call, id, settings);
            if !divert(call, (id, id), &target, reason, effects) {
                return Err(Reason::Offline);
            }
            leave(call, id, effects);
            Ok(false)
        }
    }
}

/// Decides on a further leg whose route is known. Returns true if it is to be called.
pub(in crate::call) fn routed(call: &mut Call, id: LegId, route: &Route, effects: &mut Effects) -> bool {
    let Some(leg) = call.leg(id) else { return false };
    let forwarded = leg.forwarding.as_ref().is_some_and(|forwarding| forwarding.by.is_some());
    if forwarded && is_loop(call, id, &route.opening) {
        end::failed(call, id, Reason::Loop.into(), effects);
        return false;
    }
    let caller = call.peer(id).and_then(|peer| call.leg(peer)).map(|leg| leg.party().clone());
    match screen(&route.settings, route.engaged, caller.as_ref().unwrap_or(&route.opening.from)) {
        Screened::Refuse(reason) => {
            end::failed(call, id, reason.into(), effects);
            false
        }
        // Who is given a call by a transfer is called themselves.
        Screened::Divert(_, DiversionReason::DoNotDisturb | DiversionReason::UserBusy)
            if !waits(call, id) =>
        {
            end::failed(call, id, Reason::Busy.into(), effects);
            false
        }
        Screened::Divert(target, reason) if waits(call, id) => {
            if let Some(leg) = call.leg_mut(id) {
                leg.opening = route.opening.clone();
            }
            note_box(call, id, &route.settings);
            if divert(call, (id, id), &target, reason, effects) {
                leave(call, id, effects);
            } else {
                end::failed(call, id, Reason::Offline.into(), effects);
            }
            false
        }
        Screened::Ring | Screened::Divert(..) => {
            let targets = Forwarding::of(&route.settings).filter(|_| waits(call, id));
            if let (Some(leg), Some(targets)) = (call.leg_mut(id), targets) {
                let by = leg.forwarding.as_ref().and_then(|forwarding| forwarding.by);
                leg.forwarding = Some(Forwarding { by, ..targets });
            }
            true
        }
    }
}

/// Returns the end of a further leg that leads nowhere. What a phone redirects to and may not be called is told as an address.
pub(in crate::call) fn unrouted(call: &Call, id: LegId, end: End) -> End {
    let leg = call.leg(id);
    let by = leg.and_then(|leg| call.leg(leg.forwarding.as_ref()?.by?));
    match (leg, by) {
        (Some(leg), Some(by)) if by.protocol() == Protocol::Sip && end.reason != Reason::Loop => {
            bridge::redirected(&leg.opening.to.address)
        }
        _ => end,
    }
}

/// Keeps the box of a user whose every call goes elsewhere, for a target that fails.
fn note_box(call: &mut Call, id: LegId, settings: &Settings) {
    let Some(leg) = call.leg_mut(id).filter(|_| settings.voicemail.is_some()) else { return };
    leg.forwarding.get_or_insert_default().voicemail.clone_from(&settings.voicemail);
}

/// Ends a leg that nobody knows of.
pub(super) fn leave(call: &mut Call, id: LegId, effects: &mut Effects) {
    if let Some(leg) = call.leg_mut(id) {
        leg.phase = Phase::Over;
    }
    end::release_leg(call, id, effects);
}

/// Returns true if the call was at this callee before, here or elsewhere (RFC 3261 §16.3 rule 4 for a gateway).
fn is_loop(call: &Call, id: LegId, opening: &Opening) -> bool {
    let bare = |party: &Party| {
        let address = party.address.split('/').next().unwrap_or_default();
        (party.protocol, address.to_lowercase())
    };
    let to = bare(&opening.to);
    let tried =
        call.legs.iter().filter(|leg| leg.id != id && !leg.inbound).any(|leg| bare(&leg.opening.to) == to);
    let history = opening.diverted.iter().flat_map(|diverted| &diverted.history);
    tried || history.map(|diversion| bare(&diversion.party)).any(|party| party == to)
}
