//! Ability of the whole gateway to serve a call, as the instances announce it.

use bus::directory::{Directory, InstanceInfo, LINKS};
use bus::{Bus, BusError};
use std::time::Duration;
use tokio::time::Instant;

/// Time after which every instance that lives has announced itself, with its links.
const COMPLETE: Duration = Duration::from_secs(5);

/// Instances without which no call is served.
pub struct Serving {
    start: Instant,
    orchestrators: Directory,
    xmpp_edges: Directory,
}

impl Serving {
    /// Follows the announcements.
    ///
    /// # Errors
    /// [`BusError::Link`] without connection.
    pub async fn watch(bus: &Bus) -> Result<Serving, BusError> {
        let orchestrators = Directory::watch(bus, "orchestrator").await?;
        Ok(Serving {
            start: Instant::now(),
            orchestrators,
            xmpp_edges: Directory::watch(bus, "xmpp-edge").await?,
        })
    }

    /// Returns true while an orchestrator decides and an XMPP edge has a link, and before all can have announced themselves.
    pub fn now(&self) -> bool {
        if self.start.elapsed() < COMPLETE {
            return true;
        }
        let is_linked = |edge: &InstanceInfo| edge.facts.get(LINKS).is_none_or(|links| links != "0");
        !self.orchestrators.list().is_empty() && self.xmpp_edges.list().iter().any(is_linked)
    }
}
