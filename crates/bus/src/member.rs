//! Membership of an instance among its kind: announced, drained on order, followed by others.

use crate::directory::{Announcer, Directory, InstanceInfo, announce, asked_to_drain};
use crate::{Bus, BusError};
use tokio::task::JoinHandle;

/// Instance among those of its kind. The others notice within seconds that it is gone, or at once by [`Member::leave`].
#[derive(Debug)]
pub struct Member {
    instance: String,
    announcer: Announcer,
    others: Directory,
    drain_order: JoinHandle<()>,
}

impl Member {
    /// Announces an instance. `drain` is called when an operator orders a drain.
    ///
    /// # Errors
    /// [`BusError::Link`] without connection.
    pub async fn join(
        bus: &Bus,
        info: InstanceInfo,
        drain: impl FnOnce() + Send + 'static,
    ) -> Result<Member, BusError> {
        let others = Directory::watch(bus, &info.kind).await?;
        let instance = info.instance.clone();
        let drain_order = tokio::spawn({
            let (bus, instance) = (bus.clone(), instance.clone());
            async move {
                if asked_to_drain(&bus, &instance).await.is_ok() {
                    drain();
                }
            }
        });
        Ok(Member { instance, announcer: announce(bus, info), others, drain_order })
    }

    /// Announces load and draining of the instance.
    pub fn update(&self, load: u64, draining: bool) {
        self.announcer.update(|info| (info.load, info.draining) = (load, draining));
    }

    /// Announces a further fact of the instance, by name.
    pub fn tell(&self, fact: &str, value: &str) {
        self.announcer.update(|info| {
            if info.facts.get(fact).is_none_or(|told| told != value) {
                info.facts.insert(fact.to_owned(), value.to_owned());
            }
        });
    }

    /// Returns true if another instance lives and accepts new work.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        self.others.list().iter().any(|info| info.instance != self.instance && !info.draining)
    }

    /// Announces that the instance leaves, and waits until the bus has the message.
    pub async fn leave(self) {
        self.drain_order.abort();
        self.announcer.leave().await;
    }
}
