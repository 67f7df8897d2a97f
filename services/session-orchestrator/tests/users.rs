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
use signal::mailbox::{Headline, Noted, Notice};
use signal::{Ask, Reason, Secret, Time, Verdict, stored, subjects};
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

/// R-MWI-2: what a voicemail server tells is noted, and the user is told once, by the edge that holds the link; a second orchestrator
/// goes on where the first one has died.
#[tokio::test]
async fn new_messages_are_noted_and_told_once() {
    let world = World::new().await;
    let orchestrator = world.orchestrator().await;
    let notice =
        |to: &str, new| Notice { trunk: "pbx".into(), to: to.into(), account: None, counts: Some((new, 8)) };
    let tell = async |notice: Notice| {
        let message = bus::Message { trace: String::new(), payload: stored::encode(&notice).into() };
        let answer = world.bus.request(subjects::MAILBOX, message, Duration::from_secs(5)).await.unwrap();
        stored::decode::<Noted>(&answer).unwrap()
    };
    assert_eq!(tell(notice("sip:2709@gw.example", 1)).await, Noted::Unknown);
    // No edge holds the link yet.
    assert_eq!(tell(notice("sip:2700@gw.example", 2)).await, Noted::Stored);
    drop(orchestrator);
    let _second = world.orchestrator().await;
    let mut headlines = world.bus.serve(&subjects::headline("sip.example.net"), "link").await.unwrap();
    let request = tokio::time::timeout(Duration::from_secs(20), headlines.next()).await.unwrap().unwrap();
    let headline: Headline = stored::decode(&request.message.payload).unwrap();
    assert_eq!(
        (headline.from.as_str(), headline.to.as_str(), headline.text.as_str()),
        ("voicemail@sip.example.net", "rosa@example.net", "2 new voice messages (8 old)")
    );
    request.reply("taken").await.unwrap();
    assert_eq!(tell(notice("sip:2700@gw.example", 2)).await, Noted::Stored);
    let more = tokio::time::timeout(Duration::from_secs(6), headlines.next()).await;
    assert!(more.is_err(), "told twice: {more:?}");
    let users = users(&world);
    let words = signal::service::Query::Words("status".into());
    let (user, language) = ("rosa@example.net".to_owned(), signal::service::Language::English);
    let answer = users.serve(&signal::service::Request { user, language, query: words }).await;
    let signal::service::Answer::Done(status) = answer else { panic!("{answer:?}") };
    assert!(status.contains("2 new / 8 old"), "{status}");
}

/// Without call waiting a second call finds the user busy until the first one is over, whether she was called or calls.
#[tokio::test]
async fn a_user_without_call_waiting_takes_one_call() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _orchestrator = world.orchestrator().await;
    let users = users(&world);
    let single = Settings { no_call_waiting: true, ..Settings::default() };
    users.set("rosa@example.net", single).await.unwrap();
    let second = || {
        let mut heard = invite("sip:2700@gw.example");
        heard.leg.record = signal::RecordId::call([2; 10]);
        Ask::Heard(heard)
    };
    let verdict = world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    assert!(matches!(verdict, Some(Verdict::Committed { .. })), "{verdict:?}");
    assert_eq!(world.ask(second()).await, Some(Verdict::Refused(Reason::Busy.into())));
    world.until(|w| w.said().contains(&(1, "offer"))).await;
    let ended = signal::Signal::End(Reason::Normal.into());
    let verdict = world.ask(Ask::Heard(common::heard(0, 1, 77, vec![ended]))).await;
    assert!(matches!(verdict, Some(Verdict::Committed { .. })), "{verdict:?}");
    let verdict = world.ask(second()).await;
    assert!(matches!(verdict, Some(Verdict::Committed { .. })), "{verdict:?}");
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
