//! `tandem-rtp-relay`: one media relay of a cluster.

use std::process::ExitCode;
use tandem_rtp_relay::{Control, run};

fn main() -> ExitCode {
    runtime::service::main("rtp-relay", async |config, drain| {
        let url = runtime::service::needs_bus(&config)?.to_owned();
        let bus = bus::Bus::nats(&bus::NatsConfig { url, name: config.instance("rtp-relay") }).await?;
        run(config, bus, Control::Tcp, drain).await
    })
}
