//! The libraries beneath count by the standard clock, the relay by [`Time`]: one moment known in both joins them.

use signal::Time;
use std::time::{Duration, Instant};

/// `base` of the standard clock is `epoch` of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Instant,
    epoch: Time,
}

impl Clock {
    pub fn new(base: Instant, epoch: Time) -> Clock {
        Clock { base, epoch }
    }

    pub fn instant(self, now: Time) -> Instant {
        self.base.checked_add(Duration::from_millis(now.since(self.epoch))).unwrap_or(self.base)
    }

    /// Rounded up: whoever wakes then is not too early.
    pub fn time(self, at: Instant) -> Time {
        let passed = at.duration_since(self.base).as_micros().div_ceil(1_000);
        self.epoch + u64::try_from(passed).unwrap_or(u64::MAX / 2)
    }
}
