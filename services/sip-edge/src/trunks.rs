//! Trunks and the resolution of their hosts: at the start and again each minute.

use crate::Input;
use crate::screen::Ways;
use runtime::config::{NextHop, TrunkConfig};
use sip::digest::Credentials;
use sip::edge::{Flow, Target, Trunk};
use std::net::SocketAddr;
use std::time::Duration;
use tracing::warn;

const AGAIN: Duration = Duration::from_secs(60);
const LOOKUP: Duration = Duration::from_secs(5);
/// Most addresses kept of a host, beside that of our calls.
const MAX_FURTHER: usize = 31;

/// Returns the trunks whose hosts could be resolved; the others are named in the log.
pub async fn resolve(trunks: &[TrunkConfig]) -> Vec<Trunk> {
    let mut resolved = vec![];
    for trunk in trunks {
        match look_up(trunk).await {
            Ok(found) => resolved.push(found),
            Err(error) => {
                warn!(trunk = trunk.name, uri = trunk.uri, %error, "[[trunk]] uri: its host is not known now")
            }
        }
    }
    resolved
}

/// Resolves the trunks again each minute, and sends them to the edge.
pub async fn keep_resolving(trunks: Vec<TrunkConfig>, ways: Ways) {
    loop {
        tokio::time::sleep(AGAIN).await;
        let found = resolve(&trunks).await;
        // A resolver that is away must not take the trunks away.
        if found.len() == trunks.len() {
            ways.set_trunks(&found);
            if !ways.tell(Input::Trunks(found)).await {
                return;
            }
        }
    }
}

async fn look_up(trunk: &TrunkConfig) -> anyhow::Result<Trunk> {
    let (hop, sources) = (trunk.next_hop()?, trunk.networks()?);
    let host = (hop.host.as_str(), hop.port());
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host(host)).await??;
    let target = target(&hop, found).ok_or_else(|| anyhow::anyhow!("no address"))?;
    let credentials = trunk.username.clone().zip(trunk.password.clone());
    let credentials = credentials.map(|(username, password)| Credentials { username, password });
    let inbound = trunk.inbound_username.clone().zip(trunk.inbound_password.clone());
    let inbound = inbound.map(|(username, password)| Credentials { username, password });
    let (name, roaming) = (trunk.name.clone(), trunk.roaming);
    Ok(Trunk { name, targets: vec![target], sources, roaming, credentials, inbound })
}

/// Returns a target with all that its host resolved to: calls go to the first address, and what belongs to a call may come from
/// each.
fn target(hop: &NextHop, found: impl IntoIterator<Item = SocketAddr>) -> Option<Target> {
    let mut found = found.into_iter().map(|peer| Flow::new(hop.transport(), peer));
    let flow = found.next()?;
    let mut addresses = vec![];
    for ip in found.map(|other| other.peer.ip()) {
        if addresses.len() < MAX_FURTHER && ip != flow.peer.ip() && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Some(Target { host: hop.to_string(), flow, addresses })
}

#[cfg(test)]
mod tests {
    use super::{MAX_FURTHER, NextHop, target};
    use std::net::{IpAddr, SocketAddr};

    fn found(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 5070)).collect()
    }

    #[test]
    fn a_target_has_every_address_of_its_host_once() {
        let hop = NextHop::parse("sip:pbx.example:5070;transport=tcp").unwrap();
        let resolved =
            found(&["192.0.2.9", "198.51.100.9", "192.0.2.9", "::ffff:198.51.100.9", "2001:db8::9"]);
        let target = target(&hop, resolved).unwrap();
        assert_eq!(target.flow.to_string(), "tcp://192.0.2.9:5070");
        assert_eq!(target.addresses, ["198.51.100.9", "2001:db8::9"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    }

    #[test]
    fn a_host_without_address_is_no_target_and_one_of_many_is_bounded() {
        let hop = NextHop::parse("sip:pbx.example").unwrap();
        assert_eq!(target(&hop, vec![]), None);
        let many = (0..=255).map(|last| SocketAddr::from(([192, 0, 2, last], 5060)));
        assert_eq!(target(&hop, many).unwrap().addresses.len(), MAX_FURTHER);
    }
}
