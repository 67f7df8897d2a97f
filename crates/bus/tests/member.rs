//! Instances of one kind among each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::time::Duration;
use tandem_bus::Bus;
use tandem_bus::directory::{InstanceInfo, ask_to_drain};
use tandem_bus::member::Member;
use tokio::sync::oneshot;
use tokio::time::timeout;

async fn join(bus: &Bus, instance: &str) -> (Member, oneshot::Receiver<()>) {
    let info = InstanceInfo { kind: "edge".into(), instance: instance.into(), ..InstanceInfo::default() };
    let (sender, ordered) = oneshot::channel();
    let member = Member::join(bus, info, move || sender.send(()).unwrap()).await.unwrap();
    (member, ordered)
}

async fn until(what: impl Fn() -> bool) {
    let looking = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), looking).await.expect("in time");
}

#[tokio::test]
async fn another_instance_follows_while_it_lives_and_does_not_drain() {
    let bus = Bus::in_process();
    let (one, _ordered) = join(&bus, "one").await;
    assert!(!one.has_successor(), "it does not follow itself");
    let (two, _ordered) = join(&bus, "two").await;
    until(|| one.has_successor() && two.has_successor()).await;
    two.update(7, true);
    until(|| !one.has_successor()).await;
    two.update(7, false);
    until(|| one.has_successor()).await;
    two.leave().await;
    until(|| !one.has_successor()).await;
}

#[tokio::test]
async fn an_order_to_drain_reaches_its_instance_alone() {
    let bus = Bus::in_process();
    let (_one, mut ordered_one) = join(&bus, "one").await;
    let (_two, ordered_two) = join(&bus, "two").await;
    let ordering = async {
        loop {
            ask_to_drain(&bus, "two").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ordered = async {
        tokio::select! {
            () = ordering => {}
            ordered = ordered_two => ordered.unwrap(),
        }
    };
    timeout(Duration::from_secs(5), ordered).await.expect("in time");
    assert!(ordered_one.try_recv().is_err());
}
