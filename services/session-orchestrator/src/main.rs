//! `tandem-orchestrator`: one orchestrator of a cluster.

use runtime::links;
use std::process::ExitCode;
use tandem_orchestrator::{Dial, drained, run};

#[global_allocator]
static ALLOCATOR: runtime::Allocator = runtime::ALLOCATOR;

fn main() -> ExitCode {
    runtime::service::main("orchestrator", async |config, drain| {
        for part in ["orchestrator", "bus", "store"] {
            runtime::admin::ready(part, Some("it starts"));
        }
        let Some(bus) = links::open_bus(&config, "orchestrator", &drain).await? else { return Ok(()) };
        let Some(store) = links::open_store(&config, &drain).await? else { return Ok(()) };
        let dial = Dial::Tcp(runtime::tls::control_link(&config)?);
        tokio::spawn(drained(bus.clone(), config.instance("orchestrator"), drain.clone()));
        run(config, bus, store, dial, drain).await
    })
}
