//! An orchestrator that drains: what it was asked before is answered, what comes after is for others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use bus::directory::{InstanceInfo, announce};
use bus::{Bus, BusError, Message};
use proto::pipe::pipe;
use runtime::{Config, Drain};
use signal::subjects;
use std::time::Duration;
use store::Store;
use tandem_orchestrator::{Dial, run};

fn claim(number: usize) -> Message {
    let claim = serde_json::json!({ "name": number.to_string(), "holder": "edge", "ttl_ms": 1_000 });
    Message { trace: String::new(), payload: claim.to_string().into() }
}

#[tokio::test]
async fn what_was_asked_before_the_drain_is_answered() {
    let (bus, drain, (dialer, _listener)) = (Bus::in_process(), Drain::default(), pipe());
    let running = tokio::spawn({
        let (bus, drain) = (bus.clone(), drain.clone());
        async move { run(Config::default(), bus, Store::in_memory(), Dial::Pipe(dialer), drain).await }
    });
    let wait = Duration::from_secs(5);
    while bus.request(subjects::CLAIM, claim(0), wait).await == Err(BusError::NoResponder) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Another one takes over.
    let kind = "orchestrator".to_owned();
    let _other = announce(&bus, InstanceInfo { kind, instance: "other".into(), ..InstanceInfo::default() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // All are in its inbox before it looks again.
    let asking = futures::future::join_all((0..100).map(|n| bus.request(subjects::CLAIM, claim(n), wait)));
    let (answers, ()) = futures::future::join(asking, async { drain.drain() }).await;
    let lost = answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(lost, 0, "of {}", answers.len());
    for _ in 0..100 {
        if bus.request(subjects::CLAIM, claim(0), wait).await == Err(BusError::NoResponder) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bus.request(subjects::CLAIM, claim(0), wait).await, Err(BusError::NoResponder));
    tokio::time::timeout(wait, running).await.unwrap().unwrap().unwrap();
}
