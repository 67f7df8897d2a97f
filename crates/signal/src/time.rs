use minicbor::{Decode, Encode};
use std::ops::{Add, Sub};

/// Time in milliseconds since the Unix epoch. Services take it from `runtime::clock`, tests from a virtual clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Time(#[n(0)] pub u64);

impl Time {
    /// Returns the milliseconds from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the next whole second: what may as well come later comes together, and wakes its thread once.
    #[must_use]
    pub fn whole_second(self) -> Time {
        Time(self.0.div_ceil(1_000).saturating_mul(1_000))
    }
}

impl Add<u64> for Time {
    type Output = Time;
    fn add(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }
}

impl Sub<u64> for Time {
    type Output = Time;
    fn sub(self, ms: u64) -> Time {
        Time(self.0.saturating_sub(ms))
    }
}
