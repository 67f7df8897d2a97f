//! `tandem-orchestrator`: one orchestrator of a cluster.

use anyhow::Context;
use std::process::ExitCode;
use std::time::Duration;
use tandem_orchestrator::{Dial, drained, run};

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::ALLOCATOR;

fn main() -> ExitCode {
    runtime::service::main("orchestrator", async |config, drain| {
        let url = runtime::service::needs_bus(&config)?.to_owned();
        let (name, now) = (config.instance("orchestrator"), runtime::clock::now_ms);
        let bus = bus::Bus::nats(&bus::NatsConfig { url, name, now }).await?;
        let redis = config.store.as_ref().context("[store] url: absent; name a Redis")?;
        let redis =
            store::RedisConfig { url: redis.url.clone(), timeout: Duration::from_millis(redis.timeout_ms) };
        let store = store::Store::redis(&redis).await?;
        tokio::spawn(drained(bus.clone(), config.instance("orchestrator"), drain.clone()));
        run(config, bus, store, Dial::Tcp, drain).await
    })
}
