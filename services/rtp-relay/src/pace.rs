//! How long a thread lets packets gather before it looks again: nothing while it is idle, up to a cap when it is busy.
//!
//! One rule: a busy thread looks at most once in `wait`, counted from look to look, so a packet waits no longer than that however
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

/// The pace of one thread. All times are of one clock that never jumps, us.
#[derive(Clone, Debug)]
pub struct Pace {
    cap: u64,
    /// When the share was last taken, and the CPU time then.
    taken: Option<(u64, u64)>,
    busy: u32,
    wait: u64,
    /// The last look.
    looked: u64,
}

impl Pace {
    /// Waits at most `cap` us; 0 = never.
    #[must_use]
    pub fn new(cap: u64) -> Pace {
        Pace { cap, taken: None, busy: 0, wait: 0, looked: 0 }
    }

    /// Thousandths of its core that the thread used lately.
    #[must_use]
    pub fn busy(&self) -> u32 {
        self.busy
    }

    /// It is time to tell how much CPU the thread has used: [`Pace::used`].
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

    /// A look begins now. How long to sleep before it, us; 0 = not at all.
    pub fn look(&mut self, now: u64) -> u64 {
        let sleep = (self.looked + self.wait).saturating_sub(now);
        self.looked = now + sleep;
        sleep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells of `periods` in which the thread used this share, thousandths.
    fn after(pace: &mut Pace, share: u64, periods: u64) {
        let (mut at, mut cpu) = pace.taken.unwrap_or_default();
        for _ in 0..periods {
            (at, cpu) = (at + PERIOD, cpu + PERIOD * share / 1_000);
            assert!(pace.is_due(at) && !pace.is_due(at - 1));
            pace.used(cpu, at);
        }
    }

    #[test]
    fn an_idle_thread_never_waits_a_busy_one_does_and_stays_at_it() {
        let mut pace = Pace::new(1_000);
        pace.used(0, 0);
        after(&mut pace, 140, 20);
        assert_eq!((pace.look(5_000_000), pace.look(5_000_001)), (0, 0));
        after(&mut pace, 160, 20);
        let at = 9_000_000;
        assert_eq!(pace.look(at), 0, "nothing was looked at for long");
        let wait = pace.look(at + 1);
        assert!((250..=1_000).contains(&wait), "{wait}");
        // Waiting makes it cheaper; that is no reason to stop.
        after(&mut pace, 100, 20);
        assert!(pace.wait >= LEAST);
        after(&mut pace, 600, 20);
        assert_eq!(pace.wait, 1_000);
        after(&mut pace, 50, 20);
        assert_eq!((pace.wait, pace.busy), (0, 50));
    }

    #[test]
    fn work_counts_as_waiting_and_the_cap_holds() {
        let mut pace = Pace::new(600);
        pace.used(0, 0);
        after(&mut pace, 900, 20);
        pace.look(1_000_000);
        assert_eq!(pace.look(1_000_400), 200, "a look every 600 us");
        assert_eq!(pace.look(1_001_900), 0, "who is late does not sleep");
        let mut never = Pace::new(0);
        never.used(0, 0);
        after(&mut never, 900, 20);
        assert_eq!((never.look(5), never.look(6)), (0, 0));
    }
}
