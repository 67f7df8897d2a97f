//! The orchestrator: takes what edges hear, decides, stores, and has the effects performed.
//!
//! One rule: *load, decide, save, perform* ([`runner`]). It holds nothing that is not in the store, so any orchestrator can take
//! any event of any call. Decisions are in `crates/session`; here is only what surrounds them. Start at [`calls`].

pub mod admin;
pub mod calls;
pub mod cdr;
mod census;
mod counters;
mod farewell;
mod gather;
mod orphans;
mod perform;
pub mod queue;
mod recent;
pub mod records;
mod relay_monitor;
mod relays;
pub mod runner;
mod serve;
mod spans;
pub mod users;
pub mod view;

pub use relays::Dial;

use anyhow::{Context, Result};
use bus::Bus;
use bus::directory::{Directory, InstanceInfo, announce, asked_to_drain};
use calls::Calls;
use runtime::{Drain, Live};
use signal::Time;
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// After a drain, effects on their way get this long.
const FINISH: Duration = Duration::from_secs(5);
/// Most calls without a relay that wait for their relocation to begin.
const LOST: usize = 4_096;

/// Runs one orchestrator until the drain says stop. Another configuration takes effect on calls that begin then.
///
/// # Errors
/// The bus or the configuration does not allow it to start, or the bus is gone.
pub async fn run(config: impl Into<Live>, bus: Bus, store: Store, dial: Dial, drain: Drain) -> Result<()> {
    let config: Live = config.into();
    let instances = Arc::new(Directory::watch(&bus, "*").await.context("cannot watch the instances")?);
    let secret = signal::Secret::new(&config.secret());
    let wanted = relays::Wanted {
        region: config.orchestrator.region.clone(),
        labels: config.orchestrator.labels.clone(),
    };
    let relays = relays::Relays::new(instances.clone(), dial, secret.clone(), wanted);
    // In memory nobody else reads them.
    let runner = match config.store {
        None => runner::Runner::new(store),
        Some(_) => {
            let vault = runner::Vault::new(secret.clone()).context("no random octets of the kernel")?;
            runner::Runner::sealed(store, vault)
        }
    };
    let users = records::Records::new(runner.clone(), users::Announcer(bus.clone()), now);
    let users = users::Users::new(users, secret);
    let gather = Arc::new(gather::Gather::new(&config, users.clone())?);
    config.check_by(gather::Gather::check);
    let reloading = tokio::spawn(reload(config.clone(), gather.clone()));
    let (lost, relocated) = tokio::sync::mpsc::channel(LOST);
    let (me, known) = (config.instance("orchestrator"), instances.clone());
    let cdrs = cdr::Cdrs::open(&config, &bus).await?;
    let parts = (gather.clone(), relays.clone(), cdrs.clone());
    let performer = perform::Performer::new(bus.clone(), parts, known, me.clone(), lost, now);
    let lines = gather.lines().clone();
    let records = records::Records::new(runner, performer, now);
    let orphans = orphans::Orphans::new(bus.clone(), instances.clone(), relays.clone());
    let calls = Calls::new(records, (gather, cdrs), relays.clone(), orphans, relocated);
    let seen = instances.clone();
    let state = admin::AdminState {
        calls: calls.clone(),
        users: users.clone(),
        instances: seen,
        bus: bus.clone(),
        live: config.clone(),
    };
    runtime::admin::mount(admin::routes(state));
    let card = InstanceInfo {
        kind: "orchestrator".into(),
        instance: me,
        started_ms: now().0,
        ..InstanceInfo::default()
    };
    let here_name = card.instance.clone();
    let others = farewell::Others::new(instances.clone(), card.instance.clone());
    let here = announce(&bus, card);
    let deadlines = tokio::spawn(serve::poll_deadlines(calls.records().clone(), serve::POLL, drain.clone()));
    let user_deadlines =
        tokio::spawn(serve::poll_deadlines(users.records().clone(), serve::POLL_USERS, drain.clone()));
    let counting = tokio::spawn(census::run(calls.clone(), lines, here_name.clone(), drain.clone()));
    let monitoring = tokio::spawn(relay_monitor::watch(calls.clone(), relays, here_name));
    let drain_time = move || Duration::from_secs(config.latest().call.drain_s);
    let relieved = others.relieve(calls.clone(), drain.clone(), drain_time);
    let served = serve::serve(bus, calls.clone(), users.clone(), drain.clone(), relieved).await;
    if !others.decide() {
        farewell::end_calls(&calls).await;
    }
    let _ = tokio::time::timeout(FINISH, async {
        while calls.busy() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    for task in [deadlines, user_deadlines, monitoring, counting, reloading] {
        task.abort();
    }
    here.leave().await;
    served
}

/// Has each further configuration obeyed.
async fn reload(mut live: Live, gather: Arc<gather::Gather>) {
    loop {
        if let Err(fault) = gather.replace(&*live.changed().await) {
            tracing::error!(%fault, "calls are routed as before");
        }
    }
}

/// Waits for `tandem drain INSTANCE`, which arrives by the bus. What it drains is up to the process: one that decides alone
/// cannot leave while calls live.
pub async fn drained(bus: Bus, instance: String, drain: Drain) {
    if asked_to_drain(&bus, &instance).await.is_ok() {
        drain.drain();
    }
}

fn now() -> Time {
    Time(runtime::clock::now_ms())
}
