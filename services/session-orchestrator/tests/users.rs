//! Settings of users: stored, shared by all orchestrators, announced, and read when a call is placed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{World, config, invite};
use session::user::Settings;
use signal::{Ask, Reason, Secret, Time, Verdict, subjects};
use std::time::Duration;
use store::Key;
use tandem_orchestrator::records::Records;
use tandem_orchestrator::runner::Runner;
use tandem_orchestrator::users::{Announcer, Users};

fn users(world: &World) -> Users {
    let records = Records::new(Runner::new(world.store.clone()), Announcer(world.bus.clone()), || {
        Time(runtime::clock::now_ms())
    });
    Users::new(records, Secret::new(&config().secret()))
}

fn blocking(caller: &str) -> Settings {
    Settings { blocked: vec![caller.into()], ..Settings::default() }
}

#[tokio::test]
async fn settings_are_shared_announced_and_forgotten_with_the_last_one() {
    let world = World::new().await;
    let mut facts = world.bus.subscribe(subjects::USER_FACTS).await.unwrap();
    let (one, two) = (users(&world), users(&world));
    assert_eq!(one.settings("rosa@example.net").await.unwrap(), Settings::default());
    // Two orchestrators create the record at once.
    let (a, b) = (blocking("2041"), blocking("2042"));
    let (first, second) =
        tokio::join!(one.set("rosa@example.net", a.clone()), two.set("rosa@example.net", b.clone()));
    first.unwrap();
    second.unwrap();
    let settings = one.settings("rosa@example.net").await.unwrap();
    assert!(settings == a || settings == b, "{settings:?}");
    assert_eq!(two.settings("rosa@example.net").await.unwrap(), settings);
    let fact = tokio::time::timeout(Duration::from_secs(5), facts.next()).await.unwrap().unwrap();
    let fact: serde_json::Value = serde_json::from_slice(&fact.payload).unwrap();
    assert_eq!((&fact["fact"], &fact["user"]), (&"changed".into(), &"rosa@example.net".into()));

    let _orchestrator = world.orchestrator().await;
    one.set("rosa@example.net", Settings::default()).await.unwrap();
    let id = Secret::new(&config().secret()).user("rosa@example.net");
    let key = Key { kind: "user", id: id.hash_text() };
    for _ in 0..400 {
        if world.store.load(&key).await.unwrap().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("default settings are still a record");
}

#[tokio::test]
async fn a_blocked_caller_finds_nobody_on_line_and_no_relay_keeps_anything() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _orchestrator = world.orchestrator().await;
    let users = users(&world);
    users.set("rosa@example.net", blocking("2041")).await.unwrap();
    let verdict = world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    assert_eq!(verdict, Some(Verdict::Refused(Reason::Offline.into())));
    world.until(|w| w.books.count("release") == w.books.count("allocate")).await;
    users.set("rosa@example.net", blocking("2042")).await.unwrap();
    let verdict = world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    assert!(matches!(verdict, Some(Verdict::Committed { .. })), "{verdict:?}");
}
