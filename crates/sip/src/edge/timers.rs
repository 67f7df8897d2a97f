//! Timers of legs: repeated 2xx and 180, timeouts, expiry from the cache.

use super::leg::Work;
use super::{Edge, Output};
use crate::dialog::State;
use crate::signal::Timeout;
use crate::transaction::{State as Waiting, T2, TIMEOUT};
use signal::{LegRef, Time};

/// Time after which an idle leg leaves the cache, ms; the record brings it back.
const IDLE: u64 = 600_000;
/// Interval of provisional responses while it rings, ms (RFC 3261 §13.3.1.1).
pub(super) const REPEAT_PROVISIONAL: u64 = 60_000;
/// Longest time from the last provisional response to our INVITE to its end, ms (interworking §10.1, Timer C).
pub(super) const TIMER_C: u64 = 180_000;
/// Longest time from the last provisional response to our re-INVITE to its end, ms (interworking appendix B).
pub(super) const REINVITE: u64 = TIMEOUT;
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
    /// No final response to our re-INVITE.
    Reinvite,
    /// The leg leaves the cache.
    Forget,
}

impl Edge {
    /// Handles the timers that are due.
    pub fn tick(&mut self, now: Time) {
        self.table.tick(now);
        while let Some((at, name)) = self.wakes.first().copied().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, name));
            let Some(leg) = self.legs.get_mut(&name) else { continue };
            leg.wake = None;
            let due: Vec<Timer> = leg.timers.iter().filter(|(_, at)| *at <= now).map(|(a, _)| *a).collect();
            leg.timers.retain(|(_, at)| *at > now);
            self.rearm(name);
            for timer in due {
                self.fire(name, timer, now);
            }
        }
        self.flush(now);
    }

    fn fire(&mut self, name: LegRef, timer: Timer, now: Time) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        match timer {
            Timer::RepeatAnswer => self.repeat_answer(name, now),
            Timer::RepeatProvisional => {
                let Some((invite, response)) = leg.last_provisional.clone() else { return };
                if let Some(key) = crate::transaction::Key::of_request(&invite) {
                    self.table.respond(&key, &response, now);
                }
                self.set_timer(name, Timer::RepeatProvisional, now + REPEAT_PROVISIONAL);
            }
            Timer::Expiry if leg.is(&[State::Incoming]) => {
                self.enqueue(name, Work::Timeout(Timeout::Expiry), now)
            }
            Timer::Final if leg.is(&[State::Outgoing]) => {
                self.enqueue(name, Work::Timeout(Timeout::Final), now)
            }
            Timer::Reinvite if leg.dialog.as_ref().is_some_and(|d| d.local_offer_cseq.is_some()) => {
                self.enqueue(name, Work::Timeout(Timeout::Reinvite), now);
            }
            Timer::Expiry | Timer::Final | Timer::Reinvite => {}
            Timer::Forget if leg.busy || !leg.waiting.is_empty() || leg.accepted.is_some() => {
                self.set_timer(name, Timer::Forget, now + TIMEOUT);
            }
            Timer::Forget if leg.is(&[State::Incoming, State::Outgoing]) => {
                let incoming = leg.is(&[State::Incoming]);
                let timeout = if incoming { Timeout::Decision } else { Timeout::Final };
                self.enqueue(name, Work::Timeout(timeout), now);
                self.set_timer(name, Timer::Forget, now + TIMEOUT);
            }
            Timer::Forget => self.remove_leg(name, now),
        }
    }

    fn repeat_answer(&mut self, name: LegRef, now: Time) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let Some(accepted) = leg.accepted.as_mut() else { return };
        if now >= accepted.end {
            // Nobody acknowledged: hang up (§13.3.1.4).
            leg.accepted = None;
            return self.enqueue(name, Work::Timeout(Timeout::Acknowledgement), now);
        }
        self.out.push_back(Output::Send(accepted.flow, accepted.octets.clone()));
        accepted.interval = (accepted.interval * 2).min(T2);
        let next = (now + accepted.interval).min(accepted.end);
        self.set_timer(name, Timer::RepeatAnswer, next);
    }

    /// Cancels our open re-INVITE (§9.1).
    pub(super) fn cancel_reinvite(&mut self, name: LegRef, now: Time) {
        let Some(leg) = self.legs.get(&name) else { return };
        let asked = leg.invite.as_ref().and_then(|key| self.table.asked(key)).cloned();
        let open = leg.invite.as_ref().and_then(|key| self.table.state(key)) == Some(Waiting::Proceeding);
        let cancel = asked.filter(|_| open).and_then(|invite| crate::dialog::cancel(&invite));
        let flow = leg.invite.as_ref().and_then(|key| self.table.flow(key)).copied();
        if let Some((cancel, flow)) = cancel.zip(flow) {
            self.table.send(cancel, flow, flow.tcp, now);
        }
    }

    /// Ends a leg; it leaves the cache once none of its messages can be under way any more.
    pub(super) fn forget(&mut self, name: LegRef, now: Time) {
        if let Some(dialog) = self.legs.get_mut(&name).and_then(|leg| leg.dialog.as_mut()) {
            dialog.state = State::Ended;
        }
        self.set_timer(name, Timer::Forget, now + TIMEOUT);
    }

    /// Keeps a leg that is in use in the cache, unless it is over.
    pub(super) fn remember(&mut self, name: LegRef, now: Time) {
        if self.legs.get(&name).is_some_and(|leg| !leg.is(&[State::Ended, State::Cancelled])) {
            self.set_timer(name, Timer::Forget, now + IDLE);
        }
    }

    /// Sets or moves a timer.
    pub(super) fn set_timer(&mut self, name: LegRef, timer: Timer, at: Time) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        leg.timers.retain(|(a, _)| *a != timer);
        leg.timers.push((timer, at));
        self.rearm(name);
    }

    fn rearm(&mut self, name: LegRef) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let next = leg.timers.iter().map(|(_, at)| *at).min();
        if next == leg.wake {
            return;
        }
        if let Some(old) = leg.wake.take() {
            self.wakes.remove(&(old, name));
        }
        leg.wake = next;
        self.wakes.extend(next.map(|at| (at, name)));
    }
}
