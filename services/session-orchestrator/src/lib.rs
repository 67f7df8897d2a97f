//! The orchestrator: takes what edges hear, decides, stores, and has the effects performed.
//!
//! One rule: *load, decide, save, perform* ([`runner`]). It holds nothing that is not in the store, so any orchestrator can take
//! any event of any call. Decisions are in `crates/session`; here is only what surrounds them. Start at [`calls`].

pub mod admin;
pub mod calls;
mod desk;
mod gather;
mod perform;
mod record;
mod relays;
pub mod runner;
mod serve;
pub mod view;

pub use relays::Dial;

use anyhow::{Context, Result};
use bus::Bus;
use bus::directory::Directory;
use calls::Calls;
use runtime::{Config, Drain};
use signal::Time;
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// After a drain, effects on their way get this long.
const FINISH: Duration = Duration::from_secs(5);

/// Runs one orchestrator until the drain says stop.
///
/// # Errors
/// The bus or the configuration does not allow it to start, or the bus is gone.
pub async fn run(config: Config, bus: Bus, store: Store, dial: Dial, drain: Drain) -> Result<()> {
    let directory = Arc::new(Directory::watch(&bus, "rtp-relay").await.context("cannot watch the relays")?);
    let relays = relays::Relays::new(directory, dial);
    let gather = gather::Gather::new(&config)?;
    let performer = perform::Performer::new(bus.clone(), relays.clone(), now);
    let calls = Calls::new(runner::Runner::new(store), gather, relays, performer, now);
    let looking = tokio::spawn(serve::look_after(calls.clone(), drain.clone()));
    let served = serve::serve(bus, calls.clone(), drain.clone()).await;
    let _ = tokio::time::timeout(FINISH, async {
        while calls.busy() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    looking.abort();
    served
}

fn now() -> Time {
    Time(runtime::clock::now_ms())
}
