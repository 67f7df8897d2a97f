//! `tandem-sip-edge`: one SIP edge of a cluster.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::ALLOCATOR;

fn main() -> ExitCode {
    runtime::service::main("sip-edge", async |config, drain| {
        runtime::admin::ready("sip", Some("it starts"));
        match runtime::links::open_bus(&config, "sip-edge", &drain).await? {
            Some(bus) => tandem_sip_edge::run(config, bus, drain).await,
            None => Ok(()),
        }
    })
}
