//! Ability of the whole gateway to serve a call, as the instances announce it.

use bus::directory::{Directory, InstanceInfo, LINKS};
use bus::{Bus, BusError};

/// Instances without which no call is served.
pub struct Serving {
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
        Ok(Serving { orchestrators, xmpp_edges: Directory::watch(bus, "xmpp-edge").await? })
    }

    /// Returns true while an orchestrator decides and an XMPP edge has a link.
    pub fn now(&self) -> bool {
        let is_linked = |edge: &InstanceInfo| edge.facts.get(LINKS).is_none_or(|links| links != "0");
        !self.orchestrators.list().is_empty() && self.xmpp_edges.list().iter().any(is_linked)
    }
}
