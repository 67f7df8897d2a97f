//! Trunks and the resolution of their hosts: at the start and again each minute.

use crate::Input;
use runtime::config::TrunkConfig;
use sip::digest::Credentials;
use sip::edge::{Flow, Trunk};
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::warn;

const AGAIN: Duration = Duration::from_secs(60);
const LOOKUP: Duration = Duration::from_secs(5);
const PORT: u16 = 5060;

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
    let (host, tcp) = target(&trunk.uri);
    let sources = trunk.networks()?;
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.clone()
    } else {
        format!("{host}:{PORT}")
    };
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host(&with_port)).await??.next();
    let peer = found.ok_or_else(|| anyhow::anyhow!("no address"))?;
    let credentials = trunk.username.clone().zip(trunk.password.clone());
    let credentials = credentials.map(|(username, password)| Credentials { username, password });
    let flow = if tcp { Flow::tcp(peer) } else { Flow::udp(peer) };
    Ok(Trunk { name: trunk.name.clone(), host, flow, sources, roaming: trunk.roaming, credentials })
}

/// Returns host with port, and true for TCP, of `sip:user@host:port;transport=tcp`.
fn target(uri: &str) -> (String, bool) {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let mut parts = rest.split(';');
    let host = parts.next().unwrap_or(rest).split('?').next().unwrap_or(rest);
    let tcp = parts.any(|p| p.eq_ignore_ascii_case("transport=tcp"));
    (host.to_owned(), tcp)
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn a_uri_names_host_and_transport() {
        assert_eq!(target("sip:127.0.0.1:5070;transport=udp"), ("127.0.0.1:5070".into(), false));
        assert_eq!(target("sip:pbx.example;transport=TCP"), ("pbx.example".into(), true));
        assert_eq!(target("sip:gw@[2001:db8::1]:5070"), ("[2001:db8::1]:5070".into(), false));
    }
}
