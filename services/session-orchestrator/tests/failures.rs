//! The orchestrator's use of its store, and the fate of calls when that stands still or does not answer in time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{CALL, World, described, heard, invite};
use session::call::{Call, Effect, Event};
use session::{Machine, Outbox};
use signal::{Ask, End, Reason, RecordId, Signal, Time, Verdict, stored};
use std::time::Duration;
use store::{Key, NewRecord, RedisConfig, Store};
use testkit::Redis;

/// Stop and go on.
const STOP: i32 = 19;
const CONTINUE: i32 = 18;

/// Edges, relays and an orchestrator with a store that can be made to stand still.
async fn world() -> (World, Redis) {
    let redis = Redis::start().unwrap();
    let config = RedisConfig::new(&redis.url(), Duration::from_millis(500));
    let store = Store::redis(&config).await.unwrap();
    // From now on it knows the script.
    store.save(&Key { kind: "test", id: "first".into() }, 0, &NewRecord::default()).await.unwrap();
    (World::on(store).await, redis)
}

#[tokio::test]
async fn what_a_relay_tells_is_taken_only_once_it_is_stored() {
    let (world, mut redis) = world().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Answer(described())]))).await;
    world.until(|w| w.said().contains(&(0, "answer"))).await;
    world.until(|w| w.books.count("connect") == 2).await;
    redis.program().kill();
    assert!(!world.silence(1).await, "nobody keeps it: the relay must tell it again");
}

#[tokio::test]
async fn a_call_that_was_stored_without_an_answer_is_taken() {
    let (world, mut redis) = world().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    *world.books.2.lock().unwrap() = Duration::from_millis(300);
    let placing = world.ask(Ask::Heard(invite("sip:2700@gw.example")));
    let standing_still = async {
        world.until(|w| w.books.count("allocate") == 1).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        redis.program().signal(STOP);
        // The save has had no answer by then.
        tokio::time::sleep(Duration::from_millis(900)).await;
        redis.program().signal(CONTINUE);
    };
    let (verdict, ()) = tokio::join!(placing, standing_still);
    assert!(matches!(verdict, Some(Verdict::Committed { revision: 1, .. })), "{verdict:?}");
    world.until(|w| w.said() == [(1, "offer")]).await;
    assert_eq!(world.books.count("release"), 0);
}

#[tokio::test]
async fn what_a_relay_may_have_allocated_is_given_back() {
    let world = World::new().await;
    let _one = world.orchestrator().await;
    *world.books.2.lock().unwrap() = Duration::from_millis(2_500);
    let verdict = world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    assert_eq!(
        verdict,
        Some(Verdict::Refused(End::from(Reason::Connectivity))),
        "R-CODE-8: one relay's trouble"
    );
    world.until(|w| w.books.count("release") == 1).await;
}

/// Nobody has said anything for an hour, and the relay was started anew meanwhile.
#[tokio::test]
async fn a_quiet_call_ends_when_its_relay_knows_nothing_of_it() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Answer(described())]))).await;
    world.until(|w| w.said().contains(&(0, "answer")) && w.books.count("connect") == 2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let key = Key { kind: "call", id: CALL.to_string() };
    let record = world.store.load(&key).await.unwrap().unwrap();
    let call: Call = stored::decode(&record.body).unwrap();
    let hour = call.deadline().unwrap();
    let (call, effects) = call.decide(Event::Deadline, hour);
    assert_eq!(effects, [Effect::Probe]);
    let mut outbox = Outbox::default();
    outbox.add(CALL, record.version + 1, effects, Time(runtime::clock::now_ms()));
    let due = NewRecord {
        body: stored::encode(&call).into(),
        outbox: stored::encode(&outbox).into(),
        deadline: Some(0),
        ttl: None,
    };
    world.store.save(&key, record.version, &due).await.unwrap();
    world.until(|w| w.said().iter().filter(|(_, what)| *what == "end").count() == 2).await;
}

#[tokio::test]
async fn a_deadline_without_a_record_is_forgotten() {
    let (world, _redis) = world().await;
    let key = Key { kind: "call", id: CALL.to_string() };
    let brief = NewRecord {
        deadline: Some(runtime::clock::now_ms()),
        ttl: Some(Duration::from_millis(50)),
        ..NewRecord::default()
    };
    world.store.save(&key, 0, &brief).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _one = world.orchestrator().await;
    let later = runtime::clock::now_ms() + 60_000;
    assert!(world.store.due("call", later, 1, 10).await.unwrap().is_empty());
}

/// F10: a record that nobody can read hides no other call, and is looked at again after hours.
#[tokio::test(flavor = "multi_thread")]
async fn f10_an_unreadable_record_is_skipped_and_put_off() {
    let (world, redis) = world().await;
    let _edges = world.edges().await;
    let now = runtime::clock::now_ms();
    let (broken, newer) = (RecordId::call([11; 10]), RecordId::call([12; 10]));
    for (id, body) in [(broken, &b"nonsense"[..]), (newer, &[0x19, 0xff, 0xff, 0x80])] {
        let record = NewRecord { body: body.to_vec().into(), deadline: Some(now), ..NewRecord::default() };
        world.store.save(&Key { kind: "call", id: id.to_string() }, 0, &record).await.unwrap();
    }
    // And a value of another type under a name of ours.
    let foreign = Key { kind: "call", id: RecordId::call([13; 10]).to_string() };
    command(&redis, &format!("SET {} x", foreign.record_name()));
    command(&redis, &format!("ZADD {} {now} {}", Key::index_name("call", foreign.shard()), foreign.id));
    let _one = world.orchestrator().await;
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    world.until(|w| w.said() == [(1, "offer")]).await;

    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let of_admin = runtime::config::AdminConfig { listen: admin, ..Default::default() };
    let config = runtime::Config { admin: of_admin, ..Default::default() };
    tokio::spawn(runtime::admin::bind(config.into(), runtime::Drain::default()).await.unwrap());
    let (status, body) =
        tokio::task::spawn_blocking(move || testkit::http::get(admin, "/calls")).await.unwrap().unwrap();
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, shown["calls"].as_array().unwrap().len()), (200, 1), "{body}");
    assert_eq!(shown["unreadable"], 3, "{body}");

    // Those that nobody reads are put off by hours; one of a newer version is left to whoever has been upgraded.
    let due_in = async |hours: u64| {
        let due = world.store.due("call", now + hours * 3_600_000, 0, 100).await.unwrap();
        [broken, newer].map(|id| due.contains(&id.to_string())).into_iter().chain([due.contains(&foreign.id)])
    };
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(due_in(5).await.collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(due_in(7).await.collect::<Vec<_>>(), [true, true, true]);
}

/// Has Redis do something.
fn command(redis: &Redis, words: &str) {
    use std::io::{Read, Write};
    let mut link = std::net::TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
    link.write_all(format!("{words}\r\nQUIT\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    link.read_to_string(&mut text).unwrap();
    assert!(!text.starts_with('-'), "{text}");
}

/// How often Redis was asked for this.
fn asked(redis: &Redis, command: &str) -> u64 {
    use std::io::{Read, Write};
    let mut link = std::net::TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
    link.write_all(b"INFO commandstats\r\nQUIT\r\n").unwrap();
    let mut text = String::new();
    link.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}

/// A record that this instance has just stored need not be loaded again.
#[tokio::test]
async fn a_call_is_loaded_once_for_each_thing_that_is_heard() {
    let (world, redis) = world().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    let before = asked(&redis, "hmget");
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    world.until(|w| w.said().len() == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Ringing]))).await;
    world.until(|w| w.said().len() == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.ask(Ask::Heard(heard(1, 2, 3, vec![Signal::Answer(described())]))).await;
    world.until(|w| w.said().len() == 3 && w.books.count("connect") == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.ask(Ask::Heard(heard(0, 3, 4, vec![Signal::End(Reason::Normal.into())]))).await;
    world.until(|w| w.said().len() == 4 && w.books.count("release") == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let loads = asked(&redis, "hmget") - before;
    // Placing reads the callee's settings, once.
    assert!(loads <= 4 + 1, "{loads} loads");
}
