//! Real time: what real programs are waited for in.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in time after which waiting ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// `within` from now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "real programs are waited for in real time")]
    pub fn after(within: Duration) -> Deadline {
        Deadline(Instant::now() + within)
    }

    /// Time that is left; zero when the deadline has passed.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "real programs are waited for in real time")]
    pub fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// True when it has passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// Milliseconds since 1970.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "real programs are waited for in real time")]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0))
}

/// Asks `ready` every 20 ms until it says something or `within` has passed.
pub fn poll<T>(within: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(within);
    loop {
        if let Some(found) = ready() {
            return Some(found);
        }
        if deadline.passed() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
