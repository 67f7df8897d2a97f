//! `tandem-xmpp-edge`: one XMPP edge of a cluster.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::ALLOCATOR;

fn main() -> ExitCode {
    runtime::service::main("xmpp-edge", async |config, drain| {
        runtime::admin::ready("xmpp-edge", Some("it starts"));
        match runtime::links::open_bus(&config, "xmpp-edge", &drain).await? {
            Some(bus) => tandem_xmpp_edge::run(config, bus, drain).await,
            None => Ok(()),
        }
    })
}
