//! Records in a store that others can read.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test says what is wrong by failing")]

use bytes::Bytes;
use session::user::{Settings, User};
use signal::{RecordId, Secret, Time};
use store::{Key, NewRecord, Store};
use tandem_orchestrator::runner::{Loaded, Runner, Unreadable, Vault};

const NOW: Time = Time(1_795_385_000_000);

fn runner(store: &Store, secret: &[u8]) -> Runner {
    Runner::sealed(store.clone(), Vault::new(Secret::new(secret)).unwrap())
}

async fn create(runner: &Runner, jid: &str) -> RecordId {
    let id = Secret::new(b"ids").user(jid);
    let settings = Settings { blocked: vec!["somebody-in-particular".into()], ..Settings::default() };
    let (user, effects) = User::create(id, jid.into(), session::user::Event::Set(settings), NOW);
    assert!(runner.create(id, user, effects, NOW).await.unwrap().is_ok());
    id
}

fn key(id: RecordId) -> Key {
    Key { kind: "user", id: id.hash_text() }
}

#[tokio::test]
async fn f11_a_record_is_read_with_the_cluster_s_secret_alone() {
    let store = Store::in_memory();
    let id = create(&runner(&store, b"ours"), "rosa@example.net").await;
    let stored = store.load(&key(id)).await.unwrap().unwrap();
    for part in [&stored.body, &stored.outbox] {
        assert!(!part.is_empty());
        for word in ["rosa@example.net", "somebody-in-particular"] {
            assert!(!part.windows(word.len()).any(|w| w == word.as_bytes()), "{word} stands in the store");
        }
    }
    // Another instance of the cluster.
    let loaded: Loaded<User> = runner(&store, b"ours").load(id).await.unwrap().unwrap();
    assert_eq!(loaded.version, 1);
    let error = runner(&store, b"theirs").load::<User>(id).await.err().unwrap();
    assert!(format!("{error:#}").contains("[cluster] secret"), "{error:#}");
    // An instance with a wrong secret must not put off the calls of the others.
    assert_eq!(Unreadable::of(&error), Some(Unreadable::Newer));
}

/// Somebody who can write to the store can lose records, but not make one, nor take one for another.
#[tokio::test]
async fn f11_a_record_that_somebody_else_wrote_is_not_taken() {
    let store = Store::in_memory();
    let ours = runner(&store, b"ours");
    let (rosa, otto) = (create(&ours, "rosa@example.net").await, create(&ours, "otto@example.net").await);
    let of_otto = store.load(&key(otto)).await.unwrap().unwrap();
    let plain = Runner::new(Store::in_memory());
    let made = create(&plain, "rosa@example.net").await;
    let made = plain.store().load(&key(made)).await.unwrap().unwrap();
    let others = Store::in_memory();
    let theirs = create(&runner(&others, b"theirs"), "rosa@example.net").await;
    let theirs = others.load(&key(theirs)).await.unwrap().unwrap();
    // One of another secret may be of an instance that has the right one: it is left to that.
    let forged = [
        (of_otto.body, Unreadable::Broken),
        (made.body, Unreadable::Broken),
        (theirs.body, Unreadable::Newer),
        (Bytes::from_static(b"nonsense"), Unreadable::Broken),
    ];
    for (forged, unreadable) in forged {
        let version = store.load(&key(rosa)).await.unwrap().unwrap().version;
        store.save(&key(rosa), version, &NewRecord { body: forged, ..NewRecord::default() }).await.unwrap();
        let error = runner(&store, b"ours").load::<User>(rosa).await.err().unwrap();
        assert_eq!(Unreadable::of(&error), Some(unreadable));
    }
}
