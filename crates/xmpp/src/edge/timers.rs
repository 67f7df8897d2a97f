//! What time does to legs: verdicts and answers that never came, legs forgotten.

use super::Edge;
use super::leg::{Alarm, Job};
use signal::{Time, Verdict};

impl Edge {
    /// Timers that are due.
    pub fn tick(&mut self, now: Time) {
        while let Some((ticket, _)) = self.pending.first_key_value().filter(|(_, asked)| asked.due <= now) {
            self.verdict(*ticket, Verdict::Unavailable, now);
        }
        while let Some((at, name)) = self.wakes.first().copied().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, name));
            let Some(leg) = self.legs.get_mut(&name) else { continue };
            leg.wake = None;
            let due: Vec<Alarm> =
                leg.alarms.extract_if(.., |(at, _)| *at <= now).map(|(_, alarm)| alarm).collect();
            if due.is_empty() && leg.idle <= now {
                if !leg.busy {
                    self.remove(name);
                    continue;
                }
                leg.idle = now + 1_000;
            }
            let idle = leg.idle;
            for alarm in due {
                if let Alarm::Reply(id) = &alarm {
                    self.awaited.remove(id);
                }
                self.job(name, Job::Alarm(alarm), now);
            }
            // An alarm is no sign of life.
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.idle = leg.idle.min(idle.max(now));
            }
            self.rest(name, now);
        }
    }

    /// When to tick next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let asked = self.pending.first_key_value().map(|(_, asked)| asked.due);
        self.wakes.first().map(|w| w.0).into_iter().chain(asked).min()
    }
}
