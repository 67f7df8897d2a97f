//! Orders from within the process: executed as those of the stream are, and answered when the relay is gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use bus::Bus;
use proto::local::local;
use proto::v1::order::Order;
use proto::v1::reply::Reply;
use proto::v1::{AllocateRequest, PlayRequest, ReleaseRequest};
use runtime::Drain;
use std::time::Duration;
use tandem_rtp_relay::{Control, run};
use tonic::Code;

#[tokio::test]
async fn orders_are_executed_and_a_relay_that_is_gone_is_told_at_once() {
    let (bus, drain, (client, server)) = (Bus::in_process(), Drain::default(), local());
    // Nothing could resume a session of a process that is alone: nothing is told of it.
    let mut states = bus.serve(signal::subjects::RELAY_STATE, "orchestrators").await.unwrap();
    let running =
        tokio::spawn(run(common::config("22600-22639"), bus.clone(), Control::Local(server), drain.clone()));
    let orders = (0..20)
        .map(|call| client.order(Order::Allocate(AllocateRequest::of_two(&format!("call-{call}"), 1))));
    let replies = futures::future::join_all(orders).await;
    let allocated =
        replies.iter().filter(|reply| matches!(reply, Ok(Reply::Allocate(a)) if a.ends.len() == 2));
    // Twenty pairs, of which one is the shared port: nine calls of two pairs each.
    assert_eq!(allocated.count(), 9, "{replies:?}");
    let full = |reply: &Reply| matches!(reply, Reply::Refused(r) if r.code == Code::ResourceExhausted as u32);
    assert_eq!(replies.iter().filter(|reply| reply.as_ref().is_ok_and(full)).count(), 11, "{replies:?}");
    let unknown = PlayRequest { session: "nobody".into(), sound: "music".into(), ..PlayRequest::default() };
    assert!(client.play(unknown).await.is_err());
    let release = ReleaseRequest { session: "call-0".into(), ..ReleaseRequest::default() };
    assert!(matches!(client.order(Order::Release(release)).await, Ok(Reply::Release(_))));
    assert!(tokio::time::timeout(Duration::from_millis(300), states.next()).await.is_err());
    drain.stop();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap().unwrap();
    let late = client.order(Order::Release(ReleaseRequest::default())).await;
    assert_eq!(late.unwrap_err().code(), Code::Unavailable);
}
