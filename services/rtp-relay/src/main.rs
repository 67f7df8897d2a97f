//! `tandem-rtp-relay`: one media relay of a cluster.

use std::process::ExitCode;
use tandem_rtp_relay::{Control, run};

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::ALLOCATOR;

fn main() -> ExitCode {
    runtime::service::main("rtp-relay", async |config, drain| {
        runtime::admin::ready("rtp-relay", Some("it starts"));
        match runtime::links::open_bus(&config, "rtp-relay", &drain).await? {
            Some(bus) => run(config, bus, Control::Tcp, drain).await,
            None => Ok(()),
        }
    })
}
