//! `tandem-rtp-relay`: one media relay of a cluster.

use std::process::ExitCode;
use tandem_rtp_relay::{Control, run};

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::ALLOCATOR;

fn main() -> ExitCode {
    runtime::service::main("rtp-relay", async |config, drain| {
        let url = runtime::service::needs_bus(&config)?.to_owned();
        let (name, now) = (config.instance("rtp-relay"), runtime::clock::now_ms);
        let bus = bus::Bus::nats(&bus::NatsConfig { url, name, now }).await?;
        run(config, bus, Control::Tcp, drain).await
    })
}
