//! Census: the number of calls that go on, by line, as the store has them. One orchestrator at a time counts for all.

use crate::calls::Calls;
use crate::counters::Lines;
use runtime::{Drain, clock};
use session::call::{CALLER, Call};
use signal::Opening;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use store::Claim;
use tracing::debug;

/// Lease of who counts; no component domain has such a name.
const LEASE: &str = "census/calls";
/// Pause between two counts; longer where one takes long, so that counting costs a twentieth of a core at most.
const PAUSE: Duration = Duration::from_secs(10);
const SHARE: u32 = 20;

/// Counts until the drain says stop.
pub(crate) async fn run(calls: Calls, lines: Arc<Lines>, instance: String, drain: Drain) {
    let mut pause = PAUSE;
    loop {
        let began = clock::instant();
        let ttl = u64::try_from((3 * pause).as_millis()).unwrap_or(u64::MAX);
        let claim = Claim { holder: &instance, ttl_ms: ttl, in_use: true };
        match calls.runner().store().lease(LEASE, &claim, clock::now_ms()).await {
            Ok(true) => {
                if let Some(openings) = count(&calls).await {
                    lines.tell_active(&openings);
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
async fn count(calls: &Calls) -> Option<Vec<Opening>> {
    let mut openings = vec![];
    let see = |call: Call| {
        openings.extend(call.leg(CALLER).map(|leg| leg.opening.clone()));
        ControlFlow::Continue(())
    };
    calls.standing(see).await.ok()?;
    Some(openings)
}
