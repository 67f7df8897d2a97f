//! `tandem serve`: the four services in one process, over the embedded bus and store, or over NATS and Redis where configured.

use anyhow::Result;
use bus::Bus;
use orchestrator::Dial;
use rtp_relay::Control;
use runtime::config::Service;
use runtime::service::{read, run};
use runtime::{Drain, Live, links};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use store::Store;
use tokio::task::JoinSet;

/// Runs until it is told to stop.
pub fn main(path: Option<&Path>) -> ExitCode {
    match read(Service::All, path) {
        Ok(config) => run("serve", path, config, serve),
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("tandem: {fault}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Live, drain: Drain) -> Result<()> {
    let edges: &[&str] = if config.xmpp.component.is_empty() { &["sip"] } else { &["sip", "xmpp-edge"] };
    for part in [&["rtp-relay", "orchestrator"][..], edges].concat() {
        runtime::admin::ready(part, Some("it starts"));
    }
    let bus = match &config.bus {
        Some(_) => links::open_bus(&config, "tandem", &drain).await?,
        None => Some(Bus::in_process()),
    };
    let store = match &config.store {
        Some(_) => links::open_store(&config, &drain).await?,
        None => Some(Store::in_memory()),
    };
    let (Some(bus), Some(store)) = (bus, store) else { return Ok(()) };
    let (client, server) = proto::local::local();
    // Each service is an instance of its own, whatever the process is called.
    let named = |kind: &str| config.named(config.instance.as_ref().map(|name| format!("{name}-{kind}")));
    // And each drains by itself: an operator may ask one to go while the others stay.
    let [relaying, deciding, sip, xmpp] = std::array::from_fn::<_, 4, _>(|_| Drain::default());
    let mut services = JoinSet::new();
    let relay = rtp_relay::run(named("rtp-relay"), bus.clone(), Control::Local(server), relaying.clone());
    services.spawn(async { (Kind::Relay, relay.await) });
    let decides = named("orchestrator");
    // Over the embedded bus nobody else decides: there it goes last, after the edges have seen their calls through.
    let asked = if config.bus.is_some() { deciding.clone() } else { drain.clone() };
    let asked = tokio::spawn(orchestrator::drained(bus.clone(), decides.instance("orchestrator"), asked));
    let orchestrator = orchestrator::run(decides, bus.clone(), store, Dial::Local(client), deciding.clone());
    services.spawn(async { (Kind::Orchestrator, orchestrator.await) });
    let edge = sip_edge::run(named("sip-edge"), bus.clone(), sip.clone());
    services.spawn(async { (Kind::Edge, edge.await) });
    let mut edges = 1;
    if config.xmpp.component.is_empty() {
        tracing::warn!("[[xmpp.component]]: absent; no XMPP domain is served");
    } else {
        let edge = xmpp_edge::run(named("xmpp-edge"), bus, xmpp.clone());
        services.spawn(async { (Kind::Edge, edge.await) });
        edges += 1;
    }
    // Nobody else drains before the calls have ended: the edges go first, the others stop with the process.
    let draining = tokio::spawn({
        let (drain, edges) = (drain.clone(), [sip.clone(), xmpp.clone()]);
        async move {
            drain.draining().await;
            edges.iter().for_each(Drain::drain);
        }
    });
    let mut relays = true;
    let outcome = loop {
        tokio::select! {
            Some(ended) = services.join_next() => match ended {
                Err(error) => break Err(error.into()),
                Ok((_, Err(error))) => break Err(error),
                Ok((kind, Ok(()))) => {
                    tracing::info!(?kind, "a service has drained");
                    edges -= usize::from(kind == Kind::Edge);
                    relays &= kind != Kind::Relay;
                    // Over NATS, edges of other processes may have calls on our relay.
                    if edges == 0 && config.bus.is_some() {
                        relaying.drain();
                    }
                    if edges == 0 && !(relays && config.bus.is_some()) {
                        break Ok(());
                    }
                }
            },
            () = drain.stopping() => break Ok(()),
        }
    };
    for task in [asked, draining] {
        task.abort();
    }
    // What stands now is ended by the orchestrator, while the others still carry that out.
    deciding.stop();
    let decided = async {
        while let Some(Ok((kind, _))) = services.join_next().await {
            if kind == Kind::Orchestrator {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), decided).await;
    for service in [relaying, sip, xmpp] {
        service.stop();
    }
    let _ =
        tokio::time::timeout(Duration::from_secs(6), async { while services.join_next().await.is_some() {} })
            .await;
    outcome
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Edge,
    Orchestrator,
    Relay,
}
