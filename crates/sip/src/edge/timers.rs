//! What time does to legs: 2xx said again, legs forgotten.

use super::leg::{IDLE, Job};
use super::{Edge, Output};
use crate::dialog::State;
use crate::transaction::{T2, TIMEOUT};
use signal::{LegRef, Time};

impl Edge {
    /// Timers that are due.
    pub fn tick(&mut self, now: Time) {
        self.table.tick(now);
        while let Some((at, name)) = self.wakes.first().copied().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, name));
            let Some(leg) = self.legs.get_mut(&name) else { continue };
            leg.wake = None;
            let is = |states: &[State]| leg.dialog.as_ref().is_some_and(|d| states.contains(&d.state));
            let open = is(&[State::Incoming, State::Outgoing]);
            if !leg.busy && !open && (is(&[State::Ended]) || leg.accepted.is_none()) {
                self.legs.remove(&name);
                continue;
            }
            let Some(accepted) = leg.accepted.as_mut() else {
                self.wake(name, now + IDLE);
                continue;
            };
            if now >= accepted.end {
                // Nobody acknowledged: hang up (§13.3.1.4).
                leg.accepted = None;
                self.job(name, Job::Silence, now);
                continue;
            }
            self.out.push_back(Output::Send(accepted.flow, accepted.octets.clone()));
            accepted.interval = (accepted.interval * 2).min(T2);
            accepted.next = now + accepted.interval;
            let next = accepted.next.min(accepted.end);
            self.wake(name, next);
        }
        self.flush(now);
    }

    /// The leg's memory ends once nothing of it can be on its way any more.
    pub(super) fn forget(&mut self, name: LegRef, now: Time) {
        if let Some(leg) = self.legs.get_mut(&name) {
            if let Some(dialog) = &mut leg.dialog {
                dialog.state = State::Ended;
            }
            leg.opening = false;
            self.wake(name, now + TIMEOUT);
        }
    }

    pub(super) fn wake(&mut self, name: LegRef, at: Time) {
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if let Some(old) = leg.wake.replace(at) {
            self.wakes.remove(&(old, name));
        }
        self.wakes.insert((at, name));
    }
}
