//! Storage of records: Redis, or memory for a single process.
//!
//! One rule: a record changes only by compare-and-set on its version, and its deadline and outbox change with it,
//! atomically. Both implementations pass the same contract suite (`tests/contract.rs`). Bodies and outboxes are opaque octets.
//! Start at [`Store`].

mod memory;
mod redis;

pub use self::redis::{Cause, ConnectError, Login, RedisConfig, Tls};

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Number of deadline indices for each kind of record; each index lies in the hash slot of its records.
pub const SHARDS: u16 = 16;

/// Key of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Kind of record: `call`, `subscription`, …
    pub kind: &'static str,
    /// Id, unique within the kind.
    pub id: String,
}

/// Record as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Version; the first is 1, each save adds 1.
    pub version: u64,
    /// Serialised machine.
    pub body: Bytes,
    /// Serialised effects that are still to be performed; empty = none.
    pub outbox: Bytes,
}

/// Content of a save.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    /// Serialised machine.
    pub body: Bytes,
    /// Serialised effects to perform; empty = none.
    pub outbox: Bytes,
    /// Time from which [`Store::due`] returns the record, ms since the Unix epoch; `None` = never.
    pub deadline: Option<u64>,
    /// Time to live, counted from this save; `None` = for ever.
    pub ttl: Option<Duration>,
}

/// Result of a save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Stored; holds the new version.
    Stored(u64),
    /// Not stored, the version was another one; holds the stored record (`None` = there is none).
    Conflict(Option<Record>),
}

/// Claim to a lease.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Id of the claimant.
    pub holder: &'a str,
    /// Time to live of the lease, ms; 0 asks whether it would be granted.
    pub ttl_ms: u64,
    /// The claimant uses what the lease stands for already.
    pub in_use: bool,
}

/// Failure of a store operation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, or no answer in time. Callers retry later and refuse new work meanwhile.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Answer of an unexpected type or form: what stands there was not stored by us.
    #[error("the store answered nonsense: {0}")]
    Protocol(String),
}

/// Handle to the store; clones share it.
#[derive(Clone)]
pub struct Store(Inner, Arc<Mutex<BTreeMap<&'static str, RoundTrips>>>);

/// Number of operations on the records of one kind, by this handle and its clones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// Loads of a record.
    pub loads: u64,
    /// Saves of a record, those in vain too.
    pub saves: u64,
}

#[derive(Clone)]
enum Inner {
    Memory(Arc<memory::Memory>),
    Redis(redis::Redis),
}

macro_rules! either {
    ($self:ident, $store:ident => $call:expr) => {
        match &$self.0 {
            Inner::Memory($store) => Ok($call),
            Inner::Redis($store) => $call.await,
        }
    };
}

impl Store {
    /// Makes a store in the memory of this process.
    #[must_use]
    pub fn in_memory() -> Store {
        Store(Inner::Memory(Arc::default()), Arc::default())
    }

    /// Connects to Redis, authenticates, and runs a script that changes nothing. The connection is made again by itself when it is lost
    /// later.
    ///
    /// # Errors
    /// [`ConnectError`] with the cause.
    pub async fn redis(config: &RedisConfig) -> Result<Store, ConnectError> {
        Ok(Store(Inner::Redis(redis::Redis::connect(config).await?), Arc::default()))
    }

    /// Replaces the credentials, and those for Sentinels, by others for the connections to come.
    pub fn set_logins(&self, login: Login, sentinel_login: Login) {
        match &self.0 {
            Inner::Memory(_) => {}
            Inner::Redis(redis) => redis.set_logins(login, sentinel_login),
        }
    }

    /// Loads a record; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.count(key.kind, |count| count.loads += 1);
        either!(self, store => store.load(key))
    }

    /// Stores record, deadline and outbox if the stored version is `expected` (0 = no record).
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer; the record may or may not have been stored then.
    pub async fn save(&self, key: &Key, expected: u64, record: &NewRecord) -> Result<Saved, StoreError> {
        self.count(key.kind, |count| count.saves += 1);
        either!(self, store => store.save(key, expected, record))
    }

    /// Returns the number of operations so far on the records of a kind: each is a round trip where the store is a server.
    #[must_use]
    pub fn round_trips(&self, kind: &str) -> RoundTrips {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).get(kind).copied().unwrap_or_default()
    }

    fn count(&self, kind: &'static str, change: impl FnOnce(&mut RoundTrips)) {
        change(self.1.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default());
    }

    /// Lists ids of records of one kind, at most `limit`, unordered. Serves the admin API, never decisions: the list is no snapshot.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn list(&self, kind: &'static str, limit: usize) -> Result<Vec<String>, StoreError> {
        either!(self, store => store.list(kind, limit))
    }

    /// Deletes a record with its deadline if the stored version is `expected`, and returns true if it did. Also deletes the
    /// deadline that an expired record has left behind.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn delete(&self, key: &Key, expected: u64) -> Result<bool, StoreError> {
        either!(self, store => store.delete(key, expected))
    }

    /// Returns ids whose deadline has passed, at most `limit` a shard, and moves each deadline to `now + lease_ms`: one caller gets
    /// an id, and another gets it again if the first one dies.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn due(
        &self,
        kind: &'static str,
        now: u64,
        lease_ms: u64,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        either!(self, store => store.due(kind, now, lease_ms, limit))
    }

    /// Moves the deadline of a record, if it has one: for a record that cannot be read, and so not be saved.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn postpone(&self, key: &Key, deadline: u64) -> Result<(), StoreError> {
        either!(self, store => store.postpone(key, deadline))
    }

    /// Stores values of a group beside the records, without versions: the last write counts. Deletes the values of `gone`. The whole
    /// group expires `ttl` after its last write.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer; the values may or may not have been stored then.
    pub async fn keep(
        &self,
        group: &str,
        values: &[(String, Bytes)],
        gone: &[String],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        either!(self, store => store.keep(group, values, gone, ttl))
    }

    /// Returns a value of a group.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn kept(&self, group: &str, id: &str) -> Result<Option<Bytes>, StoreError> {
        either!(self, store => store.kept(group, id))
    }

    /// Lists the ids that have a value in a group, unordered.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn kept_ids(&self, group: &str) -> Result<Vec<String>, StoreError> {
        either!(self, store => store.kept_ids(group))
    }

    /// Takes or renews a lease; returns false if another holder has it. A holder that uses its lease takes it from one that does not:
    /// a store that has lost everything gives it back to the former holder, whoever claims first.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn lease(&self, name: &str, claim: &Claim<'_>, now: u64) -> Result<bool, StoreError> {
        either!(self, store => store.lease(name, claim, now))
    }

    /// Ends a lease if `holder` has it.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn unlease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        either!(self, store => store.unlease(name, holder))
    }
}

impl Key {
    /// Returns the shard of the record: FNV-1a of the id, the same in every version and instance.
    #[must_use]
    pub fn shard(&self) -> u16 {
        let hash = self
            .id
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        (hash % u64::from(SHARDS)) as u16
    }

    /// Returns the Redis key of the record. The braces put it and its deadline index into one hash slot.
    #[must_use]
    pub fn record_name(&self) -> String {
        format!("tandem:{{{}:{}}}:{}", self.kind, self.shard(), self.id)
    }

    /// Returns the Redis key of a shard's deadline index.
    #[must_use]
    pub fn index_name(kind: &str, shard: u16) -> String {
        format!("tandem:{{{kind}:{shard}}}:due")
    }
}
