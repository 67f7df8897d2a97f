//! Going away in good order: first no new work, then the end.

use tokio::sync::watch;

/// How far a service is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Serving.
    Running,
    /// No new calls; live ones are served.
    Draining,
    /// Leave now.
    Stopping,
}

/// Says when to go; clones share it.
#[derive(Clone, Debug)]
pub struct Drain(watch::Sender<Stage>);

impl Default for Drain {
    fn default() -> Drain {
        Drain(watch::Sender::new(Stage::Running))
    }
}

impl Drain {
    /// No new work from now on.
    pub fn drain(&self) {
        self.0.send_if_modified(|stage| {
            let change = *stage < Stage::Draining;
            *stage = (*stage).max(Stage::Draining);
            change
        });
    }
    /// Leave now.
    pub fn stop(&self) {
        self.0.send_replace(Stage::Stopping);
    }
    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }
    /// Waits for `Draining` or `Stopping`.
    pub async fn draining(&self) {
        self.reached(Stage::Draining).await;
    }
    /// Waits for `Stopping`.
    pub async fn stopping(&self) {
        self.reached(Stage::Stopping).await;
    }
    async fn reached(&self, stage: Stage) {
        let mut watch = self.0.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = watch.wait_for(|s| *s >= stage).await;
    }
}
