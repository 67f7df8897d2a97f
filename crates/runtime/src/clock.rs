//! The one place that reads the clock.
#![allow(clippy::disallowed_methods, reason = "this is the clock")]

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch. Shells wrap it into `signal::Time`.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// A monotonic moment, for measuring how long something took.
#[must_use]
pub fn instant() -> Instant {
    Instant::now()
}

/// Milliseconds since the Unix epoch, for the timers of protocols: when the wall clock is stepped, this one runs on evenly, and comes
/// up with it little by little. No timer stops or fires early for that; what is stored is soon right again.
#[must_use]
pub fn steady_ms() -> u64 {
    static STEADY: Mutex<Option<(Instant, Steady)>> = Mutex::new(None);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let wall = u64::try_from(wall).unwrap_or(u64::MAX);
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    let (start, steady) = steady.get_or_insert_with(|| (Instant::now(), Steady { told: wall, passed: 0 }));
    let passed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    steady.at(passed, wall) / 1_000_000
}

/// Share of the time by which the steady clock is faster or slower, to come up with the wall clock.
const SLEW: u64 = 16;

/// Steady clock, ns.
#[derive(Clone, Copy, Debug)]
struct Steady {
    /// Time that was told last.
    told: u64,
    /// Monotonic time by then.
    passed: u64,
}

impl Steady {
    /// Tells the time, at this monotonic time and time of the wall clock.
    fn at(&mut self, passed: u64, wall: u64) -> u64 {
        let elapsed = passed.saturating_sub(self.passed);
        let even = self.told.saturating_add(elapsed);
        let most = elapsed / SLEW;
        self.told = wall.clamp(even.saturating_sub(most), even.saturating_add(most));
        self.passed = self.passed.max(passed);
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::{Steady, steady_ms};

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_700_000_000 * SECOND;

    /// The wall clock is stepped by a minute, forth or back: a second of a timer stays a second, and the clocks meet again.
    #[test]
    fn b6_a_stepped_wall_clock_moves_no_timer() {
        for step in [60_i64, -60, 3_600, -3_600] {
            let mut clock = Steady { told: START, passed: 0 };
            assert_eq!(clock.at(5 * SECOND, START + 5 * SECOND), START + 5 * SECOND);
            let (mut passed, mut before) = (5 * SECOND, START + 5 * SECOND);
            // Asked often, as a busy edge does, and seldom.
            for pause in std::iter::repeat_n(10_000, 1_000).chain(std::iter::repeat_n(SECOND / 2, 40)) {
                passed += pause;
                let wall = (START + passed).saturating_add_signed(step * SECOND as i64);
                let told = clock.at(passed, wall);
                let moved = told - before;
                assert!((pause * 15 / 16..=pause * 17 / 16).contains(&moved), "{moved} ns in {pause}");
                before = told;
            }
            for _ in 0..20 * 3_600 {
                passed += SECOND;
                let wall = (START + passed).saturating_add_signed(step * SECOND as i64);
                before = clock.at(passed, wall);
                assert!(before.abs_diff(wall) <= step.unsigned_abs() * SECOND);
            }
            assert_eq!(before, (START + passed).saturating_add_signed(step * SECOND as i64), "{step}");
        }
    }

    #[test]
    fn the_clocks_are_one_as_long_as_nobody_steps_the_other() {
        let (before, told, after) = (super::now_ms(), steady_ms(), super::now_ms());
        assert!((before.saturating_sub(50)..=after + 50).contains(&told), "{before} {told} {after}");
    }
}
