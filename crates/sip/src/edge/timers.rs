//! What time does to legs: 2xx and 180 said again, silences told to the call, legs forgotten.

use super::leg::Job;
use super::{Edge, Output};
use crate::dialog::State;
use crate::signal::Lapse;
use crate::transaction::{State as Waiting, T2, TIMEOUT};
use signal::{LegRef, Time};

/// An idle leg leaves the cache after this time, ms; the record brings it back.
const IDLE: u64 = 600_000;
/// Between provisional responses while it rings, ms (RFC 3261 §13.3.1.1).
pub(super) const RING_AGAIN: u64 = 60_000;
/// From the last provisional response to our INVITE to its end, ms (interworking §10.1, Timer C).
pub(super) const TIMER_C: u64 = 180_000;
/// From the last provisional response to our re-INVITE to its end, ms (interworking appendix B).
pub(super) const CHANGE: u64 = TIMEOUT;
/// Longest Expires of an INVITE that is minded, ms.
pub(super) const MAX_EXPIRES: u64 = 3_600_000;

/// What a leg waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// Our 2xx is said again.
    Accept,
    /// Our 180 is said again.
    Ring,
    /// The peer's INVITE expires.
    Expiry,
    /// No final response to our INVITE.
    Final,
    /// No final response to our re-INVITE.
    Change,
    /// The leg leaves the cache.
    Forget,
}

impl Edge {
    /// Timers that are due.
    pub fn tick(&mut self, now: Time) {
        self.table.tick(now);
        while let Some((at, name)) = self.wakes.first().copied().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, name));
            let Some(leg) = self.legs.get_mut(&name) else { continue };
            leg.wake = None;
            let due: Vec<Alarm> = leg.alarms.iter().filter(|(_, at)| *at <= now).map(|(a, _)| *a).collect();
            leg.alarms.retain(|(_, at)| *at > now);
            self.rearm(name);
            for alarm in due {
                self.ring(name, alarm, now);
            }
        }
        self.flush(now);
    }

    fn ring(&mut self, name: LegRef, alarm: Alarm, now: Time) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        match alarm {
            Alarm::Accept => self.accept_again(name, now),
            Alarm::Ring => {
                let Some((invite, response)) = leg.rung.clone() else { return };
                if let Some(key) = crate::transaction::Key::of_request(&invite) {
                    self.table.respond(&key, &response, now);
                }
                self.set(name, Alarm::Ring, now + RING_AGAIN);
            }
            Alarm::Expiry if leg.is(&[State::Incoming]) => self.job(name, Job::Lapse(Lapse::Expiry), now),
            Alarm::Final if leg.is(&[State::Outgoing]) => self.job(name, Job::Lapse(Lapse::Final), now),
            Alarm::Change if leg.dialog.as_ref().is_some_and(|d| d.asking.is_some()) => {
                self.job(name, Job::Lapse(Lapse::Change), now);
            }
            Alarm::Expiry | Alarm::Final | Alarm::Change => {}
            Alarm::Forget if leg.busy || !leg.waiting.is_empty() || leg.accepted.is_some() => {
                self.set(name, Alarm::Forget, now + TIMEOUT);
            }
            Alarm::Forget if leg.is(&[State::Incoming, State::Outgoing]) => {
                let incoming = leg.is(&[State::Incoming]);
                let lapse = if incoming { Lapse::Decision } else { Lapse::Final };
                self.job(name, Job::Lapse(lapse), now);
                self.set(name, Alarm::Forget, now + TIMEOUT);
            }
            Alarm::Forget => self.drop_leg(name, now),
        }
    }

    fn accept_again(&mut self, name: LegRef, now: Time) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let Some(accepted) = leg.accepted.as_mut() else { return };
        if now >= accepted.end {
            // Nobody acknowledged: hang up (§13.3.1.4).
            leg.accepted = None;
            return self.job(name, Job::Lapse(Lapse::Acknowledgement), now);
        }
        self.out.push_back(Output::Send(accepted.flow, accepted.octets.clone()));
        accepted.interval = (accepted.interval * 2).min(T2);
        let next = (now + accepted.interval).min(accepted.end);
        self.set(name, Alarm::Accept, next);
    }

    /// Our re-INVITE is wanted no more (§9.1).
    pub(super) fn give_up(&mut self, name: LegRef, now: Time) {
        let Some(leg) = self.legs.get(&name) else { return };
        let asked = leg.invite.as_ref().and_then(|key| self.table.asked(key)).cloned();
        let open = leg.invite.as_ref().and_then(|key| self.table.state(key)) == Some(Waiting::Proceeding);
        let cancel = asked.filter(|_| open).and_then(|invite| crate::dialog::cancel(&invite));
        let flow = leg.invite.as_ref().and_then(|key| self.table.flow(key)).copied();
        if let Some((cancel, flow)) = cancel.zip(flow) {
            self.table.send(cancel, flow, flow.tcp, now);
        }
    }

    /// The leg's memory ends once nothing of it can be on its way any more.
    pub(super) fn forget(&mut self, name: LegRef, now: Time) {
        if let Some(dialog) = self.legs.get_mut(&name).and_then(|leg| leg.dialog.as_mut()) {
            dialog.state = State::Ended;
        }
        self.set(name, Alarm::Forget, now + TIMEOUT);
    }

    /// It is in use: it stays, unless it is over anyway.
    pub(super) fn remember(&mut self, name: LegRef, now: Time) {
        if self.legs.get(&name).is_some_and(|leg| !leg.is(&[State::Ended, State::Cancelled])) {
            self.set(name, Alarm::Forget, now + IDLE);
        }
    }

    /// Sets or moves an alarm.
    pub(super) fn set(&mut self, name: LegRef, alarm: Alarm, at: Time) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        leg.alarms.retain(|(a, _)| *a != alarm);
        leg.alarms.push((alarm, at));
        self.rearm(name);
    }

    fn rearm(&mut self, name: LegRef) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let next = leg.alarms.iter().map(|(_, at)| *at).min();
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
