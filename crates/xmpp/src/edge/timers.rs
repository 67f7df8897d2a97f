//! Timers: missing verdicts and answers, idle legs.

use super::Edge;
use super::leg::{Timer, Work};
use signal::{Time, Verdict};

impl Edge {
    /// Fires the timers that are due.
    pub fn tick(&mut self, now: Time) {
        while let Some((ticket, _)) = self.pending.first_key_value().filter(|(_, asked)| asked.due <= now) {
            self.verdict(*ticket, Verdict::Unavailable, now);
        }
        while let Some((at, name)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, name));
            let Some(leg) = self.legs.get_mut(&name) else { continue };
            leg.deadline = None;
            let due: Vec<Timer> =
                leg.timers.extract_if(.., |(at, _)| *at <= now).map(|(_, timer)| timer).collect();
            if due.is_empty() && leg.idle_at <= now {
                if !leg.busy {
                    self.remove(name);
                    continue;
                }
                leg.idle_at = now + 1_000;
            }
            let idle = leg.idle_at;
            for timer in due {
                if let Timer::Reply(id) = &timer {
                    self.pending_iqs.remove(id);
                }
                self.enqueue(name, Work::Timer(timer), now);
            }
            // A timer is no sign of life.
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.idle_at = leg.idle_at.min(idle.max(now));
            }
            self.schedule(name, now);
        }
    }

    /// Returns the time of the next tick.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let asked = self.pending.first_key_value().map(|(_, asked)| asked.due);
        self.deadlines.first().map(|w| w.0).into_iter().chain(asked).min()
    }
}
