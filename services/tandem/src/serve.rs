//! `tandem serve`: the four services in one process, over the embedded bus and store, or over NATS and Redis where configured.

use anyhow::{Result, bail};
use bus::{Bus, NatsConfig};
use orchestrator::Dial;
use rtp_relay::Control;
use runtime::service::{read, run};
use runtime::{Config, Drain};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use store::{RedisConfig, Store};
use tokio::task::JoinSet;

/// Runs until it is told to stop.
pub fn main(path: Option<&Path>) -> ExitCode {
    match read(path) {
        Ok(config) => run("serve", config, serve),
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("tandem: {fault}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config, drain: Drain) -> Result<()> {
    let bus = match &config.bus {
        Some(bus) => {
            let (url, name) = (bus.url.clone(), config.instance("tandem"));
            Bus::nats(&NatsConfig { url, name, now: runtime::clock::now_ms }).await?
        }
        None => Bus::in_process(),
    };
    let store = match &config.store {
        Some(redis) => {
            let timeout = Duration::from_millis(redis.timeout_ms);
            Store::redis(&RedisConfig { url: redis.url.clone(), timeout }).await?
        }
        None => Store::in_memory(),
    };
    let (dialer, listener) = proto::pipe::pipe();
    // Each service is an instance of its own, whatever the process is called.
    let named = |kind: &str| {
        let instance = config.instance.as_ref().map(|name| format!("{name}-{kind}"));
        Config { instance, ..config.clone() }
    };
    // Nobody drains before the calls have ended: the edges go first, the others stop with the process.
    let edges = drain.clone();
    let others = Drain::default();
    let mut services = JoinSet::new();
    services.spawn(rtp_relay::run(named("rtp-relay"), bus.clone(), Control::Pipe(listener), others.clone()));
    services.spawn(orchestrator::run(
        named("orchestrator"),
        bus.clone(),
        store,
        Dial::Pipe(dialer),
        others.clone(),
    ));
    let mut fronts = JoinSet::new();
    fronts.spawn(sip_edge::run(named("sip-edge"), bus.clone(), edges.clone()));
    if config.xmpp.component.is_empty() {
        tracing::warn!("[[xmpp.component]]: absent; no XMPP domain is served");
    } else {
        fronts.spawn(xmpp_edge::run(named("xmpp-edge"), bus, edges.clone()));
    }
    let outcome = loop {
        tokio::select! {
            Some(ended) = services.join_next() => match ended {
                Ok(Err(error)) => break Err(error),
                ended => bail!("a service ended: {ended:?}"),
            },
            Some(ended) = fronts.join_next() => match ended {
                Ok(Ok(())) if fronts.is_empty() => break Ok(()),
                Ok(Ok(())) => {}
                Ok(Err(error)) => break Err(error),
                Err(error) => break Err(error.into()),
            },
            () = drain.stopping() => break Ok(()),
        }
    };
    others.stop();
    let _ = tokio::time::timeout(Duration::from_secs(6), async {
        while services.join_next().await.is_some() {}
        while fronts.join_next().await.is_some() {}
    })
    .await;
    outcome
}
