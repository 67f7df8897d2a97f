//! `tandem-xmpp-edge`: one XMPP edge of a cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::service::main("xmpp-edge", async |config, drain| {
        let url = runtime::service::needs_bus(&config)?.to_owned();
        let bus = bus::Bus::nats(&bus::NatsConfig { url, name: config.instance("xmpp-edge") }).await?;
        tandem_xmpp_edge::run(config, bus, drain).await
    })
}
