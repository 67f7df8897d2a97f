//! Census: the number of calls that go on, by line, as the store has them. One orchestrator at a time counts for all.

use crate::counters::Lines;
use crate::runner::Runner;
use runtime::{Drain, clock};
use session::call::{CALLER, Call};
use signal::{Opening, RecordId};
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

/// Lease of who counts; no component domain has such a name.
const LEASE: &str = "census/calls";
/// Pause between two counts; longer where one takes long, so that counting costs a twentieth of a core at most.
const PAUSE: Duration = Duration::from_secs(10);
const SHARE: u32 = 20;
/// Most calls counted.
const MOST: usize = 100_000;
/// Calls after which others have their turn.
const TURN: usize = 16;

/// Counts until the drain says stop.
pub(crate) async fn run(runner: Runner, lines: Arc<Lines>, instance: String, drain: Drain) {
    let mut pause = PAUSE;
    loop {
        let began = clock::instant();
        let ttl = u64::try_from((3 * pause).as_millis()).unwrap_or(u64::MAX);
        match runner.store().lease(LEASE, &instance, clock::now_ms(), ttl).await {
            Ok(true) => {
                if let Some(calls) = count(&runner).await {
                    lines.tell_active(&calls);
                }
            }
            Ok(false) => lines.tell_active(&[]),
            Err(error) => debug!(%error, "calls cannot be counted now"),
        }
        pause = PAUSE.max(began.elapsed() * SHARE);
        tokio::select! {
            () = drain.stopping() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Returns the openings of all calls that go on; `None`: the store does not answer.
async fn count(runner: &Runner) -> Option<Vec<Opening>> {
    let ids = runner.store().list("call", MOST).await.ok()?;
    let mut calls = vec![];
    for (number, id) in ids.iter().filter_map(|id| RecordId::parse(id)).enumerate() {
        // One that cannot be read is no call that goes on.
        let found = runner.load::<Call>(id).await.ok().flatten().map(|loaded| loaded.machine);
        let call = found.filter(|call| call.ended.is_none());
        calls.extend(call.and_then(|call| call.leg(CALLER).map(|leg| leg.opening.clone())));
        if number % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    Some(calls)
}
