//! When ends want to be looked at: a wheel of short steps, so that many timers cost no search and, once warm, no allocation.

use signal::Time;

/// A step, ms: as late as a look may come.
const STEP: u64 = 50;
/// Steps of one turn, 12.8 s: more than anything waits.
const SLOTS: u64 = 256;

/// Entries of a step that there is room for from the beginning: 800 ends wait without an allocation.
const ROOM: usize = 16;

/// Ends by the step that they are wanted in. What an entry is for, its end knows; one that is wanted no more is looked at in vain.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Vec<(u64, u32)>>,
    /// The first step that anything waits in.
    first: Option<u64>,
}

impl Default for Wheel {
    fn default() -> Wheel {
        Wheel { slots: (0..SLOTS).map(|_| Vec::with_capacity(ROOM)).collect(), first: None }
    }
}

impl Wheel {
    /// Looks at an end at this time.
    pub fn insert(&mut self, at: Time, index: u32) {
        let step = at.0.div_ceil(STEP);
        let Some(slot) = self.slots.get_mut((step % SLOTS) as usize) else { return };
        slot.push((step, index));
        self.first = Some(self.first.map_or(step, |first| first.min(step)));
    }

    /// The next end whose time has come.
    pub fn pop(&mut self, now: Time) -> Option<u32> {
        loop {
            let step = self.first.filter(|step| step * STEP <= now.0)?;
            let slot = self.slots.get_mut((step % SLOTS) as usize)?;
            if let Some(at) = slot.iter().position(|(due, _)| *due <= step) {
                return Some(slot.swap_remove(at).1);
            }
            self.first = self.after(step);
        }
    }

    /// The first step after this one that anything waits in.
    fn after(&self, step: u64) -> Option<u64> {
        let waits = |step: &u64| {
            let slot = self.slots.get((step % SLOTS) as usize);
            slot.is_some_and(|slot| slot.iter().any(|(due, _)| due <= step))
        };
        let soon = (step + 1..=step + SLOTS).find(waits);
        soon.or_else(|| self.slots.iter().flatten().map(|(due, _)| *due).min())
    }

    /// When to [`Wheel::pop`] next.
    pub fn deadline(&self) -> Option<Time> {
        self.first.map(|step| Time(step * STEP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_come_in_their_time_and_once() {
        let mut wheel = Wheel::default();
        let start = 1_700_000_000_000;
        for n in 0..100u64 {
            wheel.insert(Time(start + n * 370 % 30_000), n as u32);
        }
        let mut seen = vec![];
        for now in start..start + 31_000 {
            while let Some(index) = wheel.pop(Time(now)) {
                let due = start + u64::from(index) * 370 % 30_000;
                assert!((due..due + STEP).contains(&now), "{index}: {due} {now}");
                seen.push(index);
            }
            assert!(wheel.deadline().is_none_or(|at| at.0 > now));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(wheel.deadline(), None);
    }

    #[test]
    fn a_long_sleep_loses_nothing_and_entries_made_meanwhile_come_later() {
        let mut wheel = Wheel::default();
        (0..10).for_each(|n| wheel.insert(Time(u64::from(n) * 1_000), n));
        let now = Time(1_000_000);
        let mut seen = vec![];
        while let Some(index) = wheel.pop(now) {
            seen.push(index);
            wheel.insert(now + 5_000, 100 + index);
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert_eq!(wheel.deadline(), Some(now + 5_000));
        assert_eq!(wheel.pop(now + 4_999), None);
        assert_eq!(std::iter::from_fn(|| wheel.pop(now + 5_000)).count(), 10);
        assert_eq!(wheel.deadline(), None);
    }
}
