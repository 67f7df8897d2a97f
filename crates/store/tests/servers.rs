//! A3: Redis as it is run outside of trials: with passwords, TLS, Sentinels, and as a cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::path::PathBuf;
use std::time::Duration;
use tandem_store::{Cause, Claim, Key, Login, NewRecord, RedisConfig, Saved, Store, StoreError, Tls};
use testkit::stores::{RedisCluster, Sentinels};
use testkit::{Authority, Redis, ports};

const TIMEOUT: Duration = Duration::from_secs(2);

fn config(url: &str) -> RedisConfig {
    RedisConfig::new(url, TIMEOUT)
}

async fn cause(config: &RedisConfig) -> Cause {
    Store::redis(config).await.err().expect("it connects").cause
}

fn key(id: &str) -> Key {
    Key { kind: "call", id: id.into() }
}

async fn save(store: &Store, id: &str, expected: u64) -> Result<Saved, StoreError> {
    let record = NewRecord { body: id.to_owned().into(), deadline: Some(5), ..NewRecord::default() };
    store.save(&key(id), expected, &record).await
}

/// Uses every operation once, on records of all shards.
async fn works(store: &Store) {
    let mut ids: Vec<String> = (0..60).map(|i| format!("call-{i}")).collect();
    for id in &ids {
        assert_eq!(save(store, id, 0).await.unwrap(), Saved::Stored(1), "{id}");
    }
    assert_eq!(store.load(&key("call-7")).await.unwrap().unwrap().body, "call-7");
    assert!(
        matches!(save(store, "call-7", 0).await.unwrap(), Saved::Conflict(Some(record)) if record.version == 1)
    );
    let mut due = store.due("call", 5, 50, 100).await.unwrap();
    let mut listed = store.list("call", 100).await.unwrap();
    for found in [&mut ids, &mut due, &mut listed] {
        found.sort();
    }
    assert_eq!((&due, &listed), (&ids, &ids));
    assert_eq!(store.list("call", 10).await.unwrap().len(), 10);
    store.keep("relay", &[("a".into(), "1".into())], &["b".into()], TIMEOUT).await.unwrap();
    assert_eq!(store.kept("relay", "a").await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.kept_ids("relay").await.unwrap(), ["a"]);
    let claim = |holder| Claim { holder, ttl_ms: 60_000, in_use: true };
    assert!(store.lease("sip.example", &claim("edge"), 0).await.unwrap());
    assert!(!store.lease("sip.example", &claim("other"), 0).await.unwrap());
    store.unlease("sip.example", "edge").await.unwrap();
    assert!(store.delete(&key("call-7"), 1).await.unwrap());
    assert_eq!(store.load(&key("call-7")).await.unwrap(), None);
}

#[tokio::test]
async fn a3_password_acl_user_and_database() {
    let port = ports::one();
    let own = port.to_string();
    let acl = ["--user", "tandem", "on", ">geheim", "~tandem:*", "+@all", "-@dangerous", "+client", "+info"];
    let server =
        Redis::with(port, &[&["--port", &own, "--requirepass", "offen"][..], &acl].concat()).unwrap();
    let at =
        |login: &str, database: &str| config(&format!("redis://{login}127.0.0.1:{}{database}", server.port));
    works(&Store::redis(&at(":offen@", "")).await.unwrap()).await;
    works(&Store::redis(&at("tandem:geheim@", "/3")).await.unwrap()).await;
    let keys = RedisConfig {
        login: Login { user: Some("tandem".into()), password: Some("geheim".into()) },
        ..at("", "/4")
    };
    works(&Store::redis(&keys).await.unwrap()).await;

    // Each fault by its name, and no password in it.
    let wrong = Store::redis(&at("tandem:wrong-one@", "")).await.err().unwrap();
    assert_eq!(
        wrong.to_string(),
        format!("redis://127.0.0.1:{port}: the server refuses the user \"tandem\" or the password")
    );
    assert!(matches!(cause(&at("nobody:geheim@", "")).await, Cause::Login(_)));
    assert_eq!(cause(&at("", "")).await, Cause::Login("us without a password".into()));
    assert!(matches!(cause(&at(":offen@", "/99")).await, Cause::Database(_)));
    assert_eq!(cause(&config("redis://127.0.0.1:1")).await, Cause::Refused);
    assert!(matches!(cause(&config("redis://no-such-host.invalid")).await, Cause::Host(_)));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let brief =
        RedisConfig::new(&format!("redis://{}", silent.local_addr().unwrap()), Duration::from_millis(300));
    assert_eq!(cause(&brief).await, Cause::Timeout);
}

#[tokio::test]
async fn a3_an_acl_user_that_may_not_run_scripts_is_told() {
    let port = ports::one();
    let own = port.to_string();
    let acl = ["--user", "reader", "on", ">pw", "~*", "+@read", "+ping", "+client"];
    let _server = Redis::with(port, &[&["--port", &own][..], &acl].concat()).unwrap();
    let refused = cause(&config(&format!("redis://reader:pw@127.0.0.1:{port}"))).await;
    assert!(matches!(refused, Cause::Permission(_)), "{refused:?}");
}

#[tokio::test]
async fn a3_tls_with_an_authority_and_a_certificate_of_ours() {
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let identity = ours.sign("server", &["127.0.0.1", "localhost"]).unwrap();
    let client = ours.sign("client", &["tandem"]).unwrap();
    let port = ports::one();
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (own, certificate, secret, authority) =
        (port.to_string(), path(&identity.certificate), path(&identity.key), path(&ours.certificate()));
    let files =
        ["--tls-cert-file", &certificate, "--tls-key-file", &secret, "--tls-ca-cert-file", &authority];
    let arguments = [&["--port", "0", "--tls-port", &own, "--tls-auth-clients", "yes"][..], &files].concat();
    let _server = Redis::with(port, &arguments).unwrap();
    let identity = Some((client.certificate.clone(), client.key.clone()));
    let tls = Tls { ca: Some(ours.certificate()), identity };
    let at = |tls: &Tls| RedisConfig { tls: tls.clone(), ..config(&format!("rediss://127.0.0.1:{port}")) };
    works(&Store::redis(&at(&tls)).await.unwrap()).await;

    let stranger = Tls { ca: Some(theirs.certificate()), ..tls.clone() };
    let refused = cause(&at(&stranger)).await;
    assert!(matches!(refused, Cause::Certificate(_)), "an authority that we do not trust: {refused:?}");
    let refused = cause(&at(&Tls { identity: None, ..tls.clone() })).await;
    assert!(matches!(refused, Cause::Certificate(_)), "no certificate of ours: {refused:?}");
    let other = theirs.sign("client", &["tandem"]).unwrap();
    let refused = cause(&at(&Tls { identity: Some((other.certificate, other.key)), ..tls.clone() })).await;
    assert!(matches!(refused, Cause::Certificate(_)), "a certificate that they do not trust: {refused:?}");
    let named = RedisConfig { tls: tls.clone(), ..config(&format!("rediss://127.0.0.2:{port}")) };
    assert!(matches!(cause(&named).await, Cause::Refused | Cause::Certificate(_)), "another name");
    let missing = Tls { ca: Some("/nowhere/ca.pem".into()), identity: None };
    assert!(matches!(cause(&at(&missing)).await, Cause::File(text) if text.contains("/nowhere/ca.pem")));
    let clear = cause(&config(&format!("redis://127.0.0.1:{port}"))).await;
    assert!(!matches!(clear, Cause::Url(_)), "{clear:?}");
}

#[tokio::test]
async fn a3_a_cluster_holds_each_record_in_one_slot() {
    let cluster = RedisCluster::start("geheim").unwrap();
    let store = Store::redis(&config(&cluster.url(":geheim@"))).await.unwrap();
    works(&store).await;
    let sizes = cluster.sizes("geheim");
    assert!(sizes.iter().filter(|size| **size > 0).count() >= 2, "records are at several servers: {sizes:?}");
    let refused = cause(&config(&cluster.url(":wrong@"))).await;
    assert!(matches!(refused, Cause::Login(_)), "{refused:?}");
}

#[tokio::test]
async fn a3_the_master_is_the_one_that_sentinels_name() {
    let mut sentinels = Sentinels::start("geheim").unwrap();
    let with = |login: &str| RedisConfig::new(&sentinels.url(login), Duration::from_millis(500));
    let store = Store::redis(&with(":geheim@")).await.unwrap();
    works(&store).await;
    let other = RedisConfig { url: with(":geheim@").url.replace("mymaster", "other"), ..with("") };
    assert_eq!(cause(&other).await, Cause::Master("other".into()));
    let refused = cause(&with(":wrong@")).await;
    assert!(matches!(refused, Cause::Login(_)), "{refused:?}");

    // The master dies: its replica takes over, with everything that it had.
    save(&store, "kept", 0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    sentinels.servers[0].program().kill();
    assert!(matches!(store.load(&key("kept")).await, Err(StoreError::Unavailable(_))));
    let mut last = None;
    for _ in 0..150 {
        // One that had no answer may have been stored all the same.
        last = Some(save(&store, "kept", 1).await);
        if matches!(&last, Some(Ok(Saved::Stored(2) | Saved::Conflict(Some(_))))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody takes over: {last:?}");
}

/// The connection is made in the end, whatever a server answers meanwhile.
#[tokio::test]
async fn a3_a_password_that_changes_and_changes_back_is_lived_through() {
    let port = ports::one();
    let own = port.to_string();
    let mut first = Redis::with(port, &["--port", &own, "--requirepass", "one"]).unwrap();
    let store = Store::redis(&config(&format!("redis://:one@127.0.0.1:{port}"))).await.unwrap();
    first.program().kill();
    assert!(store.load(&key("a")).await.is_err());
    let mut second = Redis::with(port, &["--port", &own, "--requirepass", "two"]).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = store.load(&key("a")).await.unwrap_err();
    assert!(refused.to_string().contains("refuses the password"), "{refused}");
    second.program().kill();
    let _third = Redis::with(port, &["--port", &own, "--requirepass", "one"]).unwrap();
    let again = async {
        while store.load(&key("a")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("it never comes back");
}

/// The password of Redis is changed while a client is connected: it logs in with the new one once it has to.
#[tokio::test]
async fn a3_a_password_that_was_replaced_counts_at_the_next_connection() {
    let port = ports::one();
    let own = port.to_string();
    let mut first = Redis::with(port, &["--port", &own, "--requirepass", "one"]).unwrap();
    let store = Store::redis(&config(&format!("redis://:one@127.0.0.1:{port}"))).await.unwrap();
    store.set_logins(Login { user: None, password: Some("two".into()) }, Login::default());
    assert!(store.load(&key("a")).await.is_ok(), "the connection stands");
    first.program().kill();
    let _second = Redis::with(port, &["--port", &own, "--requirepass", "two"]).unwrap();
    let again = async {
        while store.load(&key("a")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("it never comes back");
}
