//! Leaving: another orchestrator takes over, or the calls that still stand are ended on both sides.
//!
//! One rule: an orchestrator that decides alone serves to the end of its drain. What stands then would be left to a phone and a
//! client that nobody serves any more, so it is ended while edges and relays are still there.

use crate::calls::Calls;
use crate::counters::ENDED_BY_DRAIN;
use bus::directory::Directory;
use runtime::Drain;
use session::call::Call;
use signal::Reason;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info};

/// Time before the end of a drain at which the last calls are ended: edges and relays still carry that out.
const LAST_CALL: Duration = Duration::from_secs(4);
/// Longest time in which all of them are given their end.
const ENDING: Duration = Duration::from_secs(4);
/// Pause between two looks for another orchestrator.
const LOOK: Duration = Duration::from_millis(250);
/// Most calls that are given their end at once.
const AT_ONCE: usize = 64;

/// Orchestrators besides this one.
#[derive(Clone)]
pub struct Others {
    instances: Arc<Directory>,
    me: String,
}

impl Others {
    pub fn new(instances: Arc<Directory>, me: String) -> Others {
        Others { instances, me }
    }

    /// Returns true if another orchestrator lives and takes work.
    pub fn decide(&self) -> bool {
        let list = self.instances.list();
        list.iter().any(|other| other.kind == "orchestrator" && other.instance != self.me && !other.draining)
    }

    /// Waits until this orchestrator drains and another one decides, no call stands, or the last call of its drain has come.
    pub fn relieve<T: FnOnce() -> Duration + Send + 'static>(
        &self,
        calls: Calls,
        drain: Drain,
        drain_time: T,
    ) -> impl Future<Output = ()> + Send + use<T> {
        let others = self.clone();
        async move {
            drain.draining().await;
            let alone = async {
                while !others.decide() && stand(&calls).await {
                    tokio::time::sleep(LOOK).await;
                }
            };
            let _ = tokio::time::timeout(drain_time().saturating_sub(LAST_CALL), alone).await;
        }
    }
}

/// Returns true if a call goes on, or if the store does not tell.
async fn stand(calls: &Calls) -> bool {
    let mut found = false;
    let see = |_| {
        found = true;
        ControlFlow::Break(())
    };
    calls.standing(see).await.is_err() || found
}

/// Ends the calls that stand, on both sides.
pub async fn end_calls(calls: &Calls) {
    let mut standing = vec![];
    let see = |call: Call| {
        standing.push(call.id);
        ControlFlow::Continue(())
    };
    if let Err(error) = calls.standing(see).await {
        return error!(%error, "calls that still stand cannot be listed, and are left");
    }
    if standing.is_empty() {
        return;
    }
    let (mut waiting, mut ended) = (standing.into_iter(), 0);
    let ending = async {
        let mut running = tokio::task::JoinSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(id) = waiting.next()
            {
                let calls = calls.clone();
                running.spawn(async move { calls.end(id, Reason::Unavailable).await });
            }
            match running.join_next().await {
                Some(done) => ended += usize::from(done.unwrap_or(false)),
                None => break,
            }
        }
    };
    let in_time = tokio::time::timeout(ENDING, ending).await.is_ok();
    ENDED_BY_DRAIN.increment(ended as u64);
    info!(calls = ended, in_time, "calls that still stood at the end of the drain were ended");
}
