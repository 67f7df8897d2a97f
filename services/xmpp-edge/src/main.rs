//! `tandem-xmpp-edge`: one XMPP edge of a cluster.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::ALLOCATOR;

fn main() -> ExitCode {
    runtime::service::main("xmpp-edge", async |config, drain| {
        let url = runtime::service::needs_bus(&config)?.to_owned();
        let (name, now) = (config.instance("xmpp-edge"), runtime::clock::now_ms);
        let bus = bus::Bus::nats(&bus::NatsConfig { url, name, now }).await?;
        tandem_xmpp_edge::run(config, bus, drain).await
    })
}
