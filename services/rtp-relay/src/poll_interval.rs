//! How long a thread lets packets gather before it polls again: nothing while it is idle, up to a cap when it is busy.
//!
//! One rule: a busy thread polls at most once in `wait`, counted from poll to poll, so a packet waits no longer than that however
//! long the work takes. Waking up costs more than a packet does; packets that are taken together share it.

/// How often the share is taken, us.
const PERIOD: u64 = 100_000;
/// Thousandths of a core: where waiting begins …
const BUSY: u32 = 150;
/// … and ends; in between is what a thread gains by waiting.
const IDLE: u32 = 75;
/// Least wait that is worth a sleep, us.
const LEAST: u64 = 250;
/// Share at which the cap is reached, thousandths.
const FULL: u32 = 500;

/// Poll interval of one thread. All times are of one clock that never jumps, us.
#[derive(Clone, Debug)]
pub struct PollInterval {
    cap: u64,
    /// When the share was last taken, and the CPU time then.
    taken: Option<(u64, u64)>,
    busy: u32,
    wait: u64,
    /// The last poll.
    last_poll: u64,
}

impl PollInterval {
    /// Waits at most `cap` us; 0 = never.
    #[must_use]
    pub fn new(cap: u64) -> PollInterval {
        PollInterval { cap, taken: None, busy: 0, wait: 0, last_poll: 0 }
    }

    /// Thousandths of its core that the thread used lately.
    #[must_use]
    pub fn busy(&self) -> u32 {
        self.busy
    }

    /// Returns true when the CPU time of the thread is to be told: [`PollInterval::used`].
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.taken.is_none_or(|(at, _)| now.saturating_sub(at) >= PERIOD)
    }

    /// The thread has used so much CPU since its start, us.
    pub fn used(&mut self, cpu: u64, now: u64) {
        if let Some((at, before)) = self.taken.replace((now, cpu)) {
            let share = cpu.saturating_sub(before) * 1_000 / now.saturating_sub(at).max(1);
            // A single period may be a hiccup.
            self.busy = (self.busy + u32::try_from(share).unwrap_or(1_000).min(1_000)) / 2;
        }
        self.wait = match self.busy {
            _ if self.cap == 0 => 0,
            busy if busy >= BUSY || self.wait > 0 && busy > IDLE => {
                let far = u64::from(busy.clamp(IDLE, FULL) - IDLE);
                let most = self.cap.max(LEAST);
                (LEAST + (most - LEAST) * far / u64::from(FULL - IDLE)).min(self.cap)
            }
            _ => 0,
        };
    }

    /// Returns how long to sleep before the next poll, us; 0 = not at all.
    pub fn next_poll(&mut self, now: u64) -> u64 {
        let sleep = (self.last_poll + self.wait).saturating_sub(now);
        self.last_poll = now + sleep;
        sleep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells of `periods` in which the thread used this share, thousandths.
    fn after(interval: &mut PollInterval, share: u64, periods: u64) {
        let (mut at, mut cpu) = interval.taken.unwrap_or_default();
        for _ in 0..periods {
            (at, cpu) = (at + PERIOD, cpu + PERIOD * share / 1_000);
            assert!(interval.is_due(at) && !interval.is_due(at - 1));
            interval.used(cpu, at);
        }
    }

    #[test]
    fn an_idle_thread_never_waits_a_busy_one_does_and_stays_at_it() {
        let mut interval = PollInterval::new(1_000);
        interval.used(0, 0);
        after(&mut interval, 140, 20);
        assert_eq!((interval.next_poll(5_000_000), interval.next_poll(5_000_001)), (0, 0));
        after(&mut interval, 160, 20);
        let at = 9_000_000;
        assert_eq!(interval.next_poll(at), 0, "nothing was last_poll at for long");
        let wait = interval.next_poll(at + 1);
        assert!((250..=1_000).contains(&wait), "{wait}");
        // Waiting makes it cheaper; that is no reason to stop.
        after(&mut interval, 100, 20);
        assert!(interval.wait >= LEAST);
        after(&mut interval, 600, 20);
        assert_eq!(interval.wait, 1_000);
        after(&mut interval, 50, 20);
        assert_eq!((interval.wait, interval.busy), (0, 50));
    }

    #[test]
    fn work_counts_as_waiting_and_the_cap_holds() {
        let mut interval = PollInterval::new(600);
        interval.used(0, 0);
        after(&mut interval, 900, 20);
        interval.next_poll(1_000_000);
        assert_eq!(interval.next_poll(1_000_400), 200, "a poll every 600 us");
        assert_eq!(interval.next_poll(1_001_900), 0, "who is late does not sleep");
        let mut never = PollInterval::new(0);
        never.used(0, 0);
        after(&mut never, 900, 20);
        assert_eq!((never.next_poll(5), never.next_poll(6)), (0, 0));
    }
}
