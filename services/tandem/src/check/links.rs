//! Faults of those whom the services talk to: each is asked as the services ask, all at the same time.

use super::{Report, host, options, redis_clock};
use bus::Bus;
use runtime::Config;
use runtime::config::{ComponentConfig, Fault, Transport, TrunkConfig};
use runtime::links;
use runtime::telemetry::{Collector, Unreached};
use std::net::SocketAddr;
use std::time::Duration;
use store::Store;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Time for everybody.
const DEADLINE: Duration = Duration::from_secs(8);
/// Most difference of two clocks: requests on the bus say until when they are of use (docs/operating.md).
const SKEW_MS: u64 = 2_000;

/// Outcome of a question.
enum Found {
    Fine,
    /// An answer that is a refusal: the configuration is wrong, here or there.
    Fault(Fault),
    /// No answer.
    Unreachable(Fault),
    Untested(String),
}

pub(super) fn check(config: &Config, report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return report.untested(format!("links: there is no runtime: {error}")),
    };
    let runs = host::gateway_runs(config);
    if runs && !config.xmpp.component.is_empty() {
        report.untested("[[xmpp.component]]: the gateway runs here and has the links; /readyz tells of them");
    }
    let found = runtime.block_on(async {
        let mut asking = JoinSet::new();
        if config.bus.is_some() {
            asking.spawn(nats(config.clone()));
        }
        if let Some(store) = &config.store {
            asking.spawn(redis(config.clone()));
            asking.spawn(clocks(store.url.clone()));
        }
        // A server may take the link from the gateway that has it, and give it to us.
        for component in config.xmpp.component.iter().filter(|_| !runs) {
            asking.spawn(xmpp(component.clone()));
        }
        let from = config.sip.listeners().unwrap_or_default();
        for trunk in &config.trunk {
            asking.spawn(sip(
                config.clone(),
                trunk.clone(),
                from.iter().map(|listener| listener.address).collect(),
            ));
        }
        if config.telemetry.otlp.is_some() {
            asking.spawn(collector(config.clone()));
        }
        asking.join_all().await
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    for found in found {
        match found {
            Found::Fine => {}
            Found::Fault(fault) => report.fault(fault),
            Found::Unreachable(fault) => report.unreachable(fault),
            Found::Untested(what) => report.untested(what),
        }
    }
}

/// Returns a URL without its credentials.
fn bare(url: &str) -> String {
    let one = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    };
    url.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",")
}

/// Returns what a connection came to: the fault of one that was answered is one of the configuration.
fn reached<T>(connected: Result<T, (Fault, bool)>) -> Found {
    match connected {
        Ok(_) => Found::Fine,
        Err((fault, true)) => Found::Unreachable(fault),
        Err((fault, false)) => Found::Fault(fault),
    }
}

async fn nats(config: Config) -> Found {
    let silence =
        || Fault::new("[bus] url", "no answer in time", "is NATS running there, and is the way to it open?");
    let nats = match links::nats(&config, "check") {
        Ok(nats) => nats,
        Err(error) => return Found::Fault(Fault::new("[bus]", format!("{error:#}"), "name a readable file")),
    };
    let away = |error: &bus::ConnectError| matches!(error.cause, bus::Cause::Refused | bus::Cause::Timeout);
    match timeout(DEADLINE, Bus::nats(&nats)).await {
        Ok(Ok(bus)) => stream(&config, &bus).await,
        Ok(Err(error)) => reached::<()>(Err((links::bus_fault(&error), away(&error)))),
        Err(_) => Found::Unreachable(silence()),
    }
}

/// Looks for JetStream, if call detail records go there.
async fn stream(config: &Config, bus: &Bus) -> Found {
    let wanted = orchestrator::cdr::stream(&config.records).and_then(|config| bus.stream(config));
    let Some(stream) = wanted else { return Found::Fine };
    match stream.check().await {
        Ok(()) => Found::Fine,
        Err(error) => Found::Fault(Fault::new(
            "[records] stream",
            format!("\"{}\": {error}", config.records.stream.as_deref().unwrap_or_default()),
            "turn JetStream on at NATS, and let the user of [bus] use $JS.API.>, tandem.cdr.> and _INBOX.>",
        )),
    }
}

async fn redis(config: Config) -> Found {
    let silence = || {
        Fault::new("[store] url", "no answer in time", "is Redis running there, and is the way to it open?")
    };
    let Ok(redis) = links::redis(&config) else { return Found::Fine };
    let away =
        |error: &store::ConnectError| matches!(error.cause, store::Cause::Refused | store::Cause::Timeout);
    let store = match timeout(DEADLINE, Store::redis(&redis)).await {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => return reached::<()>(Err((links::store_fault(&error), away(&error)))),
        Err(_) => return Found::Unreachable(silence()),
    };
    match timeout(DEADLINE, store.list("call", 1)).await {
        Ok(Ok(_)) => Found::Fine,
        Ok(Err(error)) => Found::Fault(Fault::new("[store]", error.to_string(), "see the log of the server")),
        Err(_) => Found::Unreachable(silence()),
    }
}

/// Compares the clock of Redis with ours: leases and deadlines are kept by both.
async fn clocks(url: String) -> Found {
    match timeout(DEADLINE, redis_clock::read(&url)).await {
        Ok(Some(theirs)) => {
            let ours = runtime::clock::now_ms();
            let difference = theirs.abs_diff(ours);
            if difference <= SKEW_MS {
                return Found::Fine;
            }
            let word = if theirs > ours { "ahead of" } else { "behind" };
            Found::Fault(Fault::new(
                "[store] url",
                format!("\"{}\": its clock is {} s {word} ours", bare(&url), difference / 1_000),
                "set both by NTP: they may differ by 2 s",
            ))
        }
        _ => Found::Untested(format!("clocks: \"{}\" could not be asked for the time", bare(&url))),
    }
}

async fn xmpp(component: ComponentConfig) -> Found {
    let (server, domain) = (component.server.clone(), component.domain.clone());
    let outcome = match timeout(DEADLINE, xmpp_edge::log_in(&component)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow::anyhow!("no answer in time")),
    };
    let Err(error) = outcome else { return Found::Fine };
    let text = format!("{error:#}");
    // A refusal of the server names its key: `[[xmpp.component]] secret: …; …`.
    if let Some((key, rest)) = text.split_once(": ").filter(|(key, _)| key.starts_with("[[")) {
        let (trouble, remedy) = rest.rsplit_once("; ").unwrap_or((rest, "write what the XMPP server knows"));
        return Found::Fault(Fault::new(key, trouble, remedy));
    }
    let remedy = format!("is the XMPP server running, with component {domain} configured?");
    Found::Unreachable(Fault::new("[[xmpp.component]] server", format!("\"{server}\": {text}"), remedy))
}

async fn sip(config: Config, trunk: TrunkConfig, listens: Vec<SocketAddr>) -> Found {
    if trunk.next_hop().is_err() {
        return Found::Fine;
    }
    let found = match timeout(DEADLINE, sip_edge::locate(&config, &trunk)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let trouble = format!("\"{}\": {error}", trunk.uri);
            return Found::Fault(Fault::new("[[trunk]] uri", trouble, "name a host that is known"));
        }
        Err(_) => vec![],
    };
    let Some((transport, peer)) = found.first().copied() else {
        let trouble = format!("\"{}\": no address of the host", trunk.uri);
        return Found::Unreachable(Fault::new("[[trunk]] uri", trouble, "ask the name servers for it"));
    };
    if transport == Transport::Tls {
        return Found::Untested(format!(
            "[[trunk]] uri: \"{}\": its certificate is seen by a call alone",
            trunk.uri
        ));
    }
    match timeout(DEADLINE, options::ask(transport, peer, &listens)).await {
        Ok(Ok(_)) => Found::Fine,
        Ok(Err(error)) => silent(&trunk, peer, &error.to_string()),
        Err(_) => silent(&trunk, peer, "no answer in time"),
    }
}

fn silent(trunk: &TrunkConfig, peer: SocketAddr, error: &str) -> Found {
    Found::Unreachable(Fault::new(
        "[[trunk]] uri",
        format!("\"{}\": OPTIONS to {peer}: {error}", trunk.uri),
        "is the peer running, and does it take messages from this host?",
    ))
}

async fn collector(config: Config) -> Found {
    let collector = match Collector::new(&config.telemetry) {
        Ok(Some(collector)) => collector,
        Ok(None) => return Found::Fine,
        Err(error) => return Found::Fault(of_line(&format!("{error:#}"), "[telemetry] otlp")),
    };
    let error = match timeout(DEADLINE, collector.reach()).await {
        Ok(Ok(())) => return Found::Fine,
        Ok(Err(Unreached::Fault(fault))) => return Found::Fault(fault),
        Ok(Err(Unreached::Away(error))) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    let trouble = format!("\"{}\": {error}", collector.url());
    let remedy = "is the collector running there? Calls go on without";
    Found::Unreachable(Fault::new("[telemetry] otlp", trouble, remedy))
}

/// Reads a fault from its line, `key: trouble; remedy`.
fn of_line(line: &str, key: &str) -> Fault {
    let (key, rest) = line.split_once(": ").unwrap_or((key, line));
    let (trouble, remedy) = rest.rsplit_once("; ").unwrap_or((rest, "see docs/tandem.toml"));
    Fault::new(key, trouble, remedy)
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn no_password_is_shown() {
        assert_eq!(bare("nats://u:p@a:4222, nats://b:4222"), "nats://a:4222,nats://b:4222");
        assert_eq!(bare("redis://:p@ss@r:6379/2"), "redis://r:6379/2");
    }
}
