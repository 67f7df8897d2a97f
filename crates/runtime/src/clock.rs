//! The one place that reads the clock.
#![allow(clippy::disallowed_methods, reason = "this is the clock")]

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch. Shells wrap it into `signal::Time`.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// A monotonic moment, for measuring how long something took.
#[must_use]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}
