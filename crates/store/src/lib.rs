//! Where records live: Redis, or memory for a single process.
//!
//! One rule: a record changes only by compare-and-set on its version, and its deadline and outbox change with it,
//! atomically. Both implementations pass the same contract suite (`tests/contract.rs`). Knows nothing of calls.
//! Start at [`Store`].

mod memory;
mod redis;

pub use self::redis::RedisConfig;

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Deadlines of one kind of record are spread over this many indices, each in the hash slot of its records.
pub const SHARDS: u16 = 16;

/// Names a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// What it is: `call`, `subscription`, …
    pub kind: &'static str,
    /// Its id.
    pub id: String,
}

/// A record as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Rises by one with each save; the first is 1.
    pub version: u64,
    /// The serialised machine.
    pub body: Bytes,
    /// Effects still to be performed; empty when none.
    pub outbox: Bytes,
}

/// What to store.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    /// The serialised machine.
    pub body: Bytes,
    /// Effects to be performed; empty when none.
    pub outbox: Bytes,
    /// When somebody must look at it, ms since the epoch.
    pub deadline: Option<u64>,
    /// The record vanishes by itself after this; `None` = never.
    pub ttl: Option<Duration>,
}

/// What became of a save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Stored under this version.
    Stored(u64),
    /// Somebody was faster; the record as it is now (`None`: it is gone).
    Conflict(Option<Record>),
}

/// Why a store does not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, or no answer in time: try again later, refuse new work meanwhile.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It answered something that makes no sense.
    #[error("the store answered nonsense: {0}")]
    Protocol(String),
}

/// A handle to the store; clones share it.
#[derive(Clone)]
pub struct Store(Inner);

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
    /// In this process; gone with it.
    #[must_use]
    pub fn in_memory() -> Store {
        Store(Inner::Memory(Arc::default()))
    }

    /// On Redis.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection can be made.
    pub async fn redis(config: &RedisConfig) -> Result<Store, StoreError> {
        Ok(Store(Inner::Redis(redis::Redis::connect(config).await?)))
    }

    /// The record, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        either!(self, store => store.load(key))
    }

    /// Stores record, deadline and outbox if the version is still `expected` (0: there must be none).
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer; whether it was stored is unknown then.
    pub async fn save(&self, key: &Key, expected: u64, record: &NewRecord) -> Result<Saved, StoreError> {
        either!(self, store => store.save(key, expected, record))
    }

    /// Ids of records of one kind, at most `limit`, in no order: for people who look, never for decisions.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn list(&self, kind: &'static str, limit: usize) -> Result<Vec<String>, StoreError> {
        either!(self, store => store.list(kind, limit))
    }

    /// Forgets the record if the version is still that one. Where there is none (its time to live is over), the deadline that it
    /// left behind goes.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn delete(&self, key: &Key, expected: u64) -> Result<bool, StoreError> {
        either!(self, store => store.delete(key, expected))
    }

    /// Ids whose deadline has passed, at most `limit` a shard. Each is pushed back by `lease_ms` as it is taken, so that one
    /// taker gets it, and another gets it again if that one dies.
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

    /// Keeps values beside the records, without versions: the newest counts. They belong to a group, which vanishes as a whole when
    /// nothing was kept in it for `ttl`; those of `gone` are forgotten.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer; whether they were kept is unknown then.
    pub async fn keep(
        &self,
        group: &str,
        values: &[(String, Bytes)],
        gone: &[String],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        either!(self, store => store.keep(group, values, gone, ttl))
    }

    /// A value of a group.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn kept(&self, group: &str, id: &str) -> Result<Option<Bytes>, StoreError> {
        either!(self, store => store.kept(group, id))
    }

    /// What a group has values of, in no order.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn kept_ids(&self, group: &str) -> Result<Vec<String>, StoreError> {
        either!(self, store => store.kept_ids(group))
    }

    /// Takes or renews a lease; false = somebody else holds it.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn lease(&self, name: &str, holder: &str, now: u64, ttl_ms: u64) -> Result<bool, StoreError> {
        either!(self, store => store.lease(name, holder, now, ttl_ms))
    }

    /// Gives a lease back, if it is still this holder's.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn unlease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        either!(self, store => store.unlease(name, holder))
    }
}

impl Key {
    /// The shard: FNV-1a of the id, the same in every version and instance.
    #[must_use]
    pub fn shard(&self) -> u16 {
        let hash = self
            .id
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        (hash % u64::from(SHARDS)) as u16
    }

    /// The Redis key of the record. The braces put it and its deadline index into one hash slot.
    #[must_use]
    pub fn record_name(&self) -> String {
        format!("tandem:{{{}:{}}}:{}", self.kind, self.shard(), self.id)
    }

    /// The Redis key of the deadline index of a shard.
    #[must_use]
    pub fn index_name(kind: &str, shard: u16) -> String {
        format!("tandem:{{{kind}:{shard}}}:due")
    }
}
