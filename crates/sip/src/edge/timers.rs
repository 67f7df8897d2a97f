//! Timers of legs: repeated 2xx and 180, timeouts.

use super::Output;
use super::user_agent::UserAgent;
use crate::dialog::{Dialog, PUT_OFF, State};
use crate::signal::{Timeout, awaits_ringing, rseq};
use crate::transaction::{Key, T2, TIMEOUT};
use ::edge::LegMut;
use signal::Time;

/// Interval of provisional responses while it rings, ms (RFC 3261 §13.3.1.1).
pub(super) const REPEAT_PROVISIONAL: u64 = 60_000;
/// The same where each is a new one that the peer acknowledges, ms (§13.3.1.1, RFC 3262).
pub(super) const REPEAT_RELIABLE: u64 = 150_000;
/// Longest time from the last provisional response to our INVITE to its end, ms (interworking §10.1, Timer C).
pub(super) const TIMER_C: u64 = 180_000;
/// Longest time from the last provisional response to our re-INVITE to its end, ms (interworking appendix B).
pub(super) const REINVITE: u64 = TIMEOUT;
/// Time after which a re-INVITE of ours is given up by an edge that does not hold it, ms: Timer B (RFC 3261 §17.1.1.2), and a second
/// in which the edge that holds it comes first.
pub(super) const REINVITE_LOST: u64 = TIMEOUT + 1_000;
/// Time after which an offer that waits after a 491 is sent by an edge that did not put it off, ms.
pub(super) const GLARE_LOST: u64 = 1_000;
/// Longest time from our INVITE until its caller hears ringing, ms, if the peer has answered at all: with the way from the caller's client
/// R-CALL-41 has 5 s.
pub(super) const RINGING: u64 = 4_500;
/// Longest Expires of an INVITE that is used, ms.
pub(super) const MAX_EXPIRES: u64 = 3_600_000;

/// Timer of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Our 2xx is repeated.
    RepeatAnswer,
    /// Our provisional response is repeated.
    RepeatProvisional,
    /// The peer's INVITE expires.
    Expiry,
    /// No final response to our INVITE.
    Final,
    /// No sign of ringing after our INVITE.
    Ringing,
    /// No final response to our re-INVITE.
    Reinvite,
    /// Our offer waits for the end of the pause after a 491.
    Glare,
    /// No response at all to our INVITE, while other addresses are left.
    Silence,
    /// Our provisional response is repeated until its PRACK comes.
    RepeatReliable,
    /// No final response to our INVITE after its CANCEL.
    Cancelled,
}

impl UserAgent {
    /// Repeats the response of a timer, or returns the timeout to be heard.
    pub(super) fn fire_timer(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: Option<&Dialog>,
        timer: Timer,
        now: Time,
    ) -> Option<Timeout> {
        // A dialog that is not known now may be in that state: it is recalled.
        let is = |state| dialog.is_none_or(|dialog| dialog.state == state);
        match timer {
            Timer::RepeatAnswer => self.repeat_answer(leg, dialog, now),
            Timer::RepeatProvisional => {
                let (invite, response) = leg.local.last_provisional.as_ref()?;
                if rseq(response).is_some() {
                    return Some(Timeout::Provisional);
                }
                self.table.respond(&Key::of_request(invite)?, response, now);
                leg.timers.set(Timer::RepeatProvisional, now + REPEAT_PROVISIONAL);
                None
            }
            Timer::RepeatReliable => self.repeat_reliable(leg, dialog, now),
            Timer::Cancelled => {
                // As if a 487 had come (§9.1).
                let over = dialog.is_some_and(|dialog| dialog.state == State::Cancelled);
                if let Some(key) = leg.local.invite.as_ref().filter(|_| over) {
                    self.table.abandon(key);
                }
                over.then_some(Timeout::Response)
            }
            Timer::Expiry => is(State::Incoming).then_some(Timeout::Expiry),
            Timer::Final => is(State::Outgoing).then_some(Timeout::Final),
            Timer::Ringing => {
                let presumed = dialog.is_none_or(awaits_ringing);
                if presumed {
                    leg.local.invited = None;
                }
                presumed.then_some(Timeout::Ringing)
            }
            Timer::Reinvite => {
                let sent = |dialog: &Dialog| dialog.local_offer_cseq.is_some_and(|cseq| cseq != PUT_OFF);
                let open = dialog.is_none_or(sent);
                open.then_some(Timeout::Reinvite)
            }
            Timer::Glare => {
                let waits = dialog.is_none_or(|dialog| dialog.local_offer_cseq == Some(PUT_OFF));
                waits.then_some(Timeout::Glare)
            }
            Timer::Silence => {
                let over = dialog.is_some_and(|dialog| self.give_up_attempt(leg, dialog, now));
                over.then_some(Timeout::Response)
            }
        }
    }

    fn repeat_answer(
        &mut self,
        leg: &mut LegMut<'_, Self>,
        dialog: Option<&Dialog>,
        now: Time,
    ) -> Option<Timeout> {
        let accepted = leg.local.accepted.as_mut()?;
        if now >= accepted.end {
            // Nobody acknowledged: hang up (§13.3.1.4), if that was not said already.
            let flow = accepted.flow;
            return match dialog.filter(|_| leg.local.bye.is_some()) {
                Some(dialog) => {
                    self.acknowledged(leg.local, leg.id, dialog, flow, now);
                    None
                }
                None => {
                    leg.local.accepted = None;
                    Some(Timeout::Acknowledgement)
                }
            };
        }
        self.out.push_back(Output::Send(accepted.flow, accepted.octets.clone()));
        accepted.interval = (accepted.interval * 2).min(T2);
        leg.timers.set(Timer::RepeatAnswer, (now + accepted.interval).min(accepted.end));
        None
    }
}
