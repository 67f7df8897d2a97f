//! `tandem-sip-edge`: one SIP edge of a cluster.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::ALLOCATOR;

fn main() -> ExitCode {
    runtime::service::main("sip-edge", async |config, drain| {
        let url = runtime::service::needs_bus(&config)?.to_owned();
        let (name, now) = (config.instance("sip-edge"), runtime::clock::now_ms);
        let bus = bus::Bus::nats(&bus::NatsConfig { url, name, now }).await?;
        tandem_sip_edge::run(config, bus, drain).await
    })
}
