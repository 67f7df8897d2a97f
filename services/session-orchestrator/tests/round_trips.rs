//! Round trips that a call costs, to the store and over the bus: docs/benchmarks.md says these numbers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{World, described, heard, invite};
use signal::{Ask, Reason, Signal};
use std::time::Duration;
use store::RoundTrips;

/// Waits until nothing more is saved: what was performed is committed by itself, or with what comes next.
async fn settled(world: &World) {
    let saves = || world.store.round_trips("call").saves;
    let mut before = 0;
    while before != saves() {
        before = saves();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// An outcome waits a moment for the next event, and is saved with it. On a busy machine an event may come too late for that: one
/// call of some is enough.
#[tokio::test]
async fn events_that_follow_at_once_save_what_was_performed_before_them() {
    let mut all = vec![];
    for _ in 0..10 {
        let world = World::new().await;
        let _edges = world.edges().await;
        let _one = world.orchestrator().await;
        let before = world.store.round_trips("call").saves;
        world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
        world.until(|w| w.said() == [(1, "offer")]).await;
        world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Ringing]))).await;
        world.until(|w| w.said().len() == 2).await;
        world.ask(Ask::Heard(heard(1, 2, 3, vec![Signal::Answer(described())]))).await;
        world.until(|w| w.said().len() == 3).await;
        settled(&world).await;
        all.push(world.store.round_trips("call").saves - before);
        if all.last() == Some(&4) {
            return;
        }
    }
    panic!("one for each event, and the last outcome: {all:?}");
}

/// Loads, saves and orders of a call from SIP that rings, is answered and ends.
#[tokio::test]
async fn a_call_costs_no_more_round_trips_than_are_told() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    let before = world.store.round_trips("call");
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    world.until(|w| w.said() == [(1, "offer")]).await;
    settled(&world).await;
    world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Ringing]))).await;
    world.until(|w| w.said().len() == 2).await;
    settled(&world).await;
    world.ask(Ask::Heard(heard(1, 2, 3, vec![Signal::Answer(described())]))).await;
    world.until(|w| w.said().len() == 3).await;
    settled(&world).await;
    world.ask(Ask::Heard(heard(0, 3, 4, vec![Signal::End(Reason::Normal.into())]))).await;
    world.until(|w| w.said().len() == 4 && w.books.count("release") == 1).await;
    settled(&world).await;
    let RoundTrips { loads, saves } = world.store.round_trips("call");
    assert_eq!(loads - before.loads, 0, "the first save finds out that it is not there, the others know it");
    assert_eq!(
        saves - before.saves,
        8,
        "one for each event, one for what was performed after it: nothing else came with that"
    );
    assert_eq!(world.store.round_trips("user").loads, 1, "the settings of the callee");
    assert_eq!((world.said().len(), world.books.count("")), (4, 4), "orders to edges, orders to the relay");
}
