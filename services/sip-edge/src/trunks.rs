//! Trunks and the resolution of their hosts: at the start and again each minute.

use crate::Input;
use runtime::config::TrunkConfig;
use sip::digest::Credentials;
use sip::edge::{Flow, Target, Trunk};
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::warn;

const AGAIN: Duration = Duration::from_secs(60);
const LOOKUP: Duration = Duration::from_secs(5);

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
pub async fn keep_resolving(trunks: Vec<TrunkConfig>, inputs: mpsc::Sender<Input>) {
    loop {
        tokio::time::sleep(AGAIN).await;
        let found = resolve(&trunks).await;
        // A resolver that is away must not take the trunks away.
        if found.len() == trunks.len() && inputs.send(Input::Trunks(found)).await.is_err() {
            return;
        }
    }
}

async fn look_up(trunk: &TrunkConfig) -> anyhow::Result<Trunk> {
    let (hop, sources) = (trunk.next_hop()?, trunk.networks()?);
    let host = (hop.host.as_str(), hop.port());
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host(host)).await??.next();
    let peer = found.ok_or_else(|| anyhow::anyhow!("no address"))?;
    let credentials = trunk.username.clone().zip(trunk.password.clone());
    let credentials = credentials.map(|(username, password)| Credentials { username, password });
    let target = Target { host: hop.to_string(), flow: Flow::new(hop.transport(), peer) };
    let (name, roaming) = (trunk.name.clone(), trunk.roaming);
    Ok(Trunk { name, targets: vec![target], sources, roaming, credentials })
}
