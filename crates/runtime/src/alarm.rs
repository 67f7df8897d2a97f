//! Timer of a loop whose next deadline changes with every message.
//!
//! One rule: it is armed anew only for an earlier time. A deadline that went away, as most do at once, costs one early look later, in
//! place of a wake-up of the thread for each (tokio's timer wakes its own thread for every time that is earlier than the last one).

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Granularity of the timer, and of the deadlines that are given in milliseconds.
const GRAIN: Duration = Duration::from_millis(1);

/// Timer that rings by the time that it was set to, or earlier.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Alarm {
    /// Has the alarm ring within this time, however it was set before.
    pub fn set(&mut self, within: Duration) {
        let at = Instant::now() + within;
        match &mut self.sleep {
            Some(sleep) if self.armed && sleep.deadline() <= at + GRAIN => return,
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(sleep_until(at))),
        }
        self.armed = true;
    }

    /// Waits until the alarm rings: for ever, if it was not set since it rang last. Cancel safe.
    pub async fn ring(&mut self) {
        match &mut self.sleep {
            Some(sleep) if self.armed => sleep.as_mut().await,
            _ => std::future::pending().await,
        }
        self.armed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn rings_after(alarm: &mut Alarm) -> Duration {
        let begin = Instant::now();
        alarm.ring().await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_time_counts_and_a_later_one_does_not() {
        let mut alarm = Alarm::default();
        for (times, rings) in [(&[5, 2, 9][..], 2), (&[3], 3), (&[0, 4], 0)] {
            times.iter().for_each(|time| alarm.set(*time * SECOND));
            let passed = rings_after(&mut alarm).await;
            assert!((rings * SECOND..rings * SECOND + 2 * GRAIN).contains(&passed), "{times:?}: {passed:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_not_set_does_not_ring() {
        let mut alarm = Alarm::default();
        assert!(tokio::time::timeout(SECOND, alarm.ring()).await.is_err());
        alarm.set(SECOND);
        alarm.ring().await;
        assert!(tokio::time::timeout(9 * SECOND, alarm.ring()).await.is_err(), "it has rung");
        alarm.set(SECOND);
        assert!(tokio::time::timeout(SECOND / 2, alarm.ring()).await.is_err(), "given up on the way");
        assert!(rings_after(&mut alarm).await <= SECOND / 2 + 2 * GRAIN, "it rings all the same");
    }
}
