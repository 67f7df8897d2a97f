//! Contract of every store, checked on memory and on a real Redis.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tandem_store::{Cause, Claim, Key, NewRecord, RedisConfig, SHARDS, Saved, Store, StoreError};

/// Redis server on a free port, killed at the end of the test.
struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Server::on(port, tempfile::tempdir().unwrap())
    }

    fn on(port: u16, folder: tempfile::TempDir) -> Server {
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--dir",
            ])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: run `cargo xtask setup`");
        wait(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Server { child, port, folder }
    }

    fn config(&self) -> RedisConfig {
        RedisConfig::new(&format!("redis://127.0.0.1:{}", self.port), Duration::from_secs(2))
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "a bounded wait in a test")]
fn wait(mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_secs(10), "waited 10 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn key(id: &str) -> Key {
    Key { kind: "call", id: id.into() }
}

fn new(body: &str, deadline: Option<u64>) -> NewRecord {
    NewRecord { body: body.to_owned().into(), outbox: format!("out of {body}").into(), deadline, ttl: None }
}

/// Checks values beside the records: the last write counts, deleted ones vanish, and a group expires as a whole.
async fn kept(store: &Store) {
    let value = |id: &str, text: &str| (id.to_owned(), bytes::Bytes::from(text.to_owned()));
    let minute = Duration::from_secs(60);
    store.keep("relay-1", &[value("a", "1"), value("b", "2")], &[], minute).await.unwrap();
    store.keep("relay-1", &[value("a", "3"), value("c", "4")], &["b".into()], minute).await.unwrap();
    store.keep("relay-2", &[value("a", "5")], &[], Duration::from_millis(1_500)).await.unwrap();
    let mut ids = store.kept_ids("relay-1").await.unwrap();
    ids.sort();
    assert_eq!(ids, ["a", "c"]);
    assert_eq!(store.kept("relay-1", "a").await.unwrap().as_deref(), Some(&b"3"[..]));
    assert_eq!(store.kept("relay-1", "b").await.unwrap(), None);
    assert_eq!(store.kept("relay-2", "a").await.unwrap().as_deref(), Some(&b"5"[..]));
    assert!(store.kept_ids("relay-3").await.unwrap().is_empty());
    store.keep("relay-1", &[], &["a".into(), "c".into(), "nobody".into()], minute).await.unwrap();
    assert!(store.kept_ids("relay-1").await.unwrap().is_empty());
    tokio::time::sleep(Duration::from_millis(1_700)).await;
    assert_eq!(store.kept("relay-2", "a").await.unwrap(), None);
    assert!(store.kept_ids("relay-2").await.unwrap().is_empty());
}

/// Checks the whole contract.
async fn holds(store: Store) {
    // A record is made once and changed on its version alone; a conflict returns the stored record.
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
    assert_eq!(store.save(&key("a"), 0, &new("one", Some(100))).await.unwrap(), Saved::Stored(1));
    let Saved::Conflict(Some(current)) = store.save(&key("a"), 0, &new("again", None)).await.unwrap() else {
        panic!("made twice")
    };
    assert_eq!(
        (current.version, &current.body[..], &current.outbox[..]),
        (1, &b"one"[..], &b"out of one"[..])
    );
    assert_eq!(store.save(&key("a"), 1, &new("two", Some(200))).await.unwrap(), Saved::Stored(2));
    assert_eq!(store.save(&key("gone"), 7, &new("x", None)).await.unwrap(), Saved::Conflict(None));
    let record = store.load(&key("a")).await.unwrap().unwrap();
    assert_eq!((record.version, &record.body[..]), (2, &b"two"[..]));

    // A body may hold any octets.
    let octets: Vec<u8> = (0..=255).collect();
    let binary = NewRecord { body: octets.clone().into(), ..NewRecord::default() };
    store.save(&key("bin"), 0, &binary).await.unwrap();
    assert_eq!(store.load(&key("bin")).await.unwrap().unwrap().body[..], octets[..]);

    // A deadline that has passed is returned once, and again when the caller has let the lease expire.
    assert!(store.due("call", 199, 50, 10).await.unwrap().is_empty(), "the deadline moved with the save");
    assert_eq!(store.due("call", 200, 50, 10).await.unwrap(), ["a"]);
    assert!(store.due("call", 240, 50, 10).await.unwrap().is_empty());
    assert_eq!(store.due("call", 250, 50, 10).await.unwrap(), ["a"]);
    assert!(store.due("chat", 9_999, 50, 10).await.unwrap().is_empty(), "another kind");

    // A deadline is moved without a save, and none is made.
    store.postpone(&key("a"), 300).await.unwrap();
    store.postpone(&key("bin"), 300).await.unwrap();
    store.postpone(&key("nobody"), 300).await.unwrap();
    assert!(store.due("call", 299, 50, 10).await.unwrap().is_empty());
    assert_eq!(store.due("call", 300, 50, 10).await.unwrap(), ["a"]);

    // A save with an empty outbox clears the stored one and replaces a deadline that a lease has moved.
    let cleared = NewRecord { outbox: bytes::Bytes::new(), ..new("two", Some(400)) };
    assert_eq!(store.save(&key("a"), 2, &cleared).await.unwrap(), Saved::Stored(3));
    let record = store.load(&key("a")).await.unwrap().unwrap();
    assert_eq!((record.version, record.outbox.len()), (3, 0));
    assert!(store.due("call", 399, 50, 10).await.unwrap().is_empty());

    // A record is deleted on its own version only, and its deadline with it.
    assert!(!store.delete(&key("a"), 2).await.unwrap());
    assert!(store.delete(&key("a"), 3).await.unwrap());
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
    assert!(store.due("call", 9_999, 50, 10).await.unwrap().is_empty(), "no deadline without a record");

    // A list holds the ids of one kind.
    let mut listed = store.list("call", 100).await.unwrap();
    listed.sort();
    assert_eq!((listed, store.list("call", 0).await.unwrap().len()), (vec!["bin".to_owned()], 0));
    assert!(store.list("chat", 100).await.unwrap().is_empty());

    // Of many saves on the same version one succeeds.
    store.save(&key("race"), 0, &new("start", None)).await.unwrap();
    let racers: Vec<_> = (0..20)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(
                async move { store.save(&key("race"), 1, &new(&i.to_string(), None)).await.unwrap() },
            )
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        won += usize::from(racer.await.unwrap() == Saved::Stored(2));
    }
    assert_eq!(won, 1);

    // A lease has one holder, which can renew and end it.
    let lease = async |name: &str, holder: &str, now, ttl_ms| {
        store.lease(name, &Claim { holder, ttl_ms, in_use: true }, now).await.unwrap()
    };
    assert!(lease("sip.example", "edge-a", 0, 60_000).await);
    assert!(!lease("sip.example", "edge-b", 10, 60_000).await);
    assert!(lease("sip.example", "edge-a", 20, 60_000).await);
    store.unlease("sip.example", "edge-b").await.unwrap();
    assert!(!lease("sip.example", "edge-b", 30, 60_000).await);
    store.unlease("sip.example", "edge-a").await.unwrap();
    assert!(lease("sip.example", "edge-b", 40, 60_000).await);

    // A question changes nothing.
    assert!(
        lease("asked.example", "edge-a", 0, 0).await && lease("asked.example", "edge-b", 0, 60_000).await
    );
    assert!(!lease("asked.example", "edge-a", 10, 0).await && lease("asked.example", "edge-b", 20, 0).await);
    assert!(!lease("asked.example", "edge-a", 30, 60_000).await, "it is held on");

    // One that uses it takes it from one that does not; of two that do not the first has it. The first one to use it keeps it.
    let unused = async |holder: &str, now| {
        store.lease("lost.example", &Claim { holder, ttl_ms: 60_000, in_use: false }, now).await.unwrap()
    };
    assert!(unused("edge-a", 0).await && unused("edge-a", 10).await && !unused("edge-b", 20).await);
    assert!(lease("lost.example", "edge-b", 30, 60_000).await);
    assert!(!unused("edge-a", 40).await && !lease("lost.example", "edge-a", 50, 60_000).await);
    assert!(unused("edge-b", 60).await && lease("lost.example", "edge-a", 70, 60_000).await);
    assert!(unused("edge-a", 80).await);
    store.unlease("lost.example", "edge-a").await.unwrap();
    assert!(unused("edge-b", 90).await);

    // A lease that is not renewed expires.
    assert!(lease("brief.example", "edge-a", 1_000, 150).await);
    assert!(!lease("brief.example", "edge-b", 1_010, 150).await);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(lease("brief.example", "edge-b", 1_250, 60_000).await);
    assert!(!lease("brief.example", "edge-a", 1_260, 60_000).await);

    // A record expires its time to live after the last save.
    let brief = |deadline| NewRecord { ttl: Some(Duration::from_millis(400)), ..new("brief", deadline) };
    assert_eq!(store.save(&key("brief"), 0, &brief(None)).await.unwrap(), Saved::Stored(1));
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(store.save(&key("brief"), 1, &brief(Some(20_000))).await.unwrap(), Saved::Stored(2));
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(store.load(&key("brief")).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(store.load(&key("brief")).await.unwrap(), None);
    assert!(!store.list("call", 100).await.unwrap().contains(&"brief".to_owned()));
    // The deadline of an expired record may be returned once more; deleting the record deletes it, too.
    for id in store.due("call", 20_000, 50, 10).await.unwrap() {
        assert!(!store.delete(&key(&id), 0).await.unwrap());
    }
    assert!(store.due("call", 30_000, 50, 10).await.unwrap().is_empty());
    assert_eq!(
        store.save(&key("brief"), 0, &brief(None)).await.unwrap(),
        Saved::Stored(1),
        "it may come again"
    );
    kept(&store).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    holds(Store::in_memory()).await;
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    let server = Server::start();
    holds(Store::redis(&server.config()).await.unwrap()).await;
}

#[tokio::test]
async fn a_redis_that_dies_is_unavailable_and_comes_back_with_everything() {
    let mut server = Server::start();
    let store = Store::redis(&server.config()).await.unwrap();
    store.save(&key("kept"), 0, &new("one", Some(5))).await.unwrap();
    server.kill();
    assert!(matches!(store.load(&key("kept")).await, Err(StoreError::Unavailable(_))));
    let (port, folder) = (server.port, std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap()));
    let _again = Server::on(port, folder);
    let mut back = None;
    for _ in 0..100 {
        if let Ok(found) = store.load(&key("kept")).await {
            back = found;
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(back.map(|r| r.body), Some("one".into()));
    assert_eq!(store.due("call", 10, 50, 10).await.unwrap(), ["kept"]);
}

/// Deadlines of all shards are returned in one round trip, also by a server that has lost its scripts.
#[tokio::test]
async fn deadlines_of_all_shards_are_looked_at_together() {
    let server = Server::start();
    let store = Store::redis(&server.config()).await.unwrap();
    let ids: std::collections::BTreeSet<String> = (0..100).map(|i| format!("call-{i}")).collect();
    for id in &ids {
        store.save(&key(id), 0, &new("one", Some(5))).await.unwrap();
    }
    assert!(store.due("call", 4, 50, 100).await.unwrap().is_empty());
    let flushed =
        Command::new("redis-cli").args(["-p", &server.port.to_string(), "script", "flush"]).output();
    assert!(flushed.unwrap().status.success());
    let due: std::collections::BTreeSet<String> =
        store.due("call", 5, 50, 100).await.unwrap().into_iter().collect();
    assert_eq!(due, ids);
}

#[tokio::test]
async fn no_redis_is_told_at_once_and_names_the_fault() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = RedisConfig::new(&format!("redis://127.0.0.1:{port}"), Duration::from_millis(200));
    assert_eq!(Store::redis(&config).await.err().map(|error| error.cause), Some(Cause::Refused));
}

/// Redis Cluster hashes the part between the braces: all keys of one record lie in one slot.
#[test]
fn the_keys_of_a_record_share_a_slot() {
    let tag = |name: &str| {
        name.split_once('{').and_then(|(_, r)| r.split_once('}')).map(|(t, _)| t.to_owned()).unwrap()
    };
    let mut shards = std::collections::BTreeSet::new();
    for i in 0..1_000 {
        let key = key(&format!("call-{i}"));
        assert_eq!(tag(&key.record_name()), tag(&Key::index_name("call", key.shard())));
        shards.insert(key.shard());
    }
    assert_eq!(shards.len(), usize::from(SHARDS), "records spread over all shards");
}
