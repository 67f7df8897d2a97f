//! Store on Redis: one script for each operation that must be atomic; all keys of a script lie in one hash slot.

use crate::{Key, NewRecord, Record, SHARDS, Saved, StoreError};
use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, ErrorKind, FromRedisValue, RedisError, Script, ServerErrorKind, Value};
use std::sync::Arc;
use std::time::Duration;

/// Address and timeout of Redis.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// URL, `redis://[user:password@]host:port[/db]`.
    pub url: String,
    /// Time after which an operation fails; 2 s is usual.
    pub timeout: Duration,
}

#[derive(Clone)]
pub(crate) struct Redis {
    link: ConnectionManager,
    scripts: Arc<Scripts>,
}

struct Scripts {
    save: Script,
    delete: Script,
    due: Script,
    lease: Script,
}

impl Redis {
    pub async fn connect(config: &RedisConfig) -> Result<Redis, StoreError> {
        let client = redis::Client::open(config.url.as_str()).map_err(failed)?;
        let manager = ConnectionManagerConfig::new()
            .set_response_timeout(Some(config.timeout))
            .set_connection_timeout(Some(config.timeout))
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(500));
        let link = client.get_connection_manager_with_config(manager).await.map_err(failed)?;
        let scripts = Scripts {
            save: Script::new(include_str!("save.lua")),
            delete: Script::new(include_str!("delete.lua")),
            due: Script::new(include_str!("due.lua")),
            lease: Script::new(include_str!("lease.lua")),
        };
        Ok(Redis { link, scripts: Arc::new(scripts) })
    }

    pub async fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let fields: (Option<u64>, Option<Vec<u8>>, Option<Vec<u8>>) =
            self.link.clone().hmget(key.record_name(), &["v", "b", "o"]).await.map_err(failed)?;
        Ok(fields.0.map(|version| record(version, fields.1, fields.2)))
    }

    pub async fn save(&self, key: &Key, expected: u64, new: &NewRecord) -> Result<Saved, StoreError> {
        let mut call = self.scripts.save.key(key.record_name());
        call.key(Key::index_name(key.kind, key.shard()))
            .arg(&key.id)
            .arg(expected)
            .arg(&new.body[..])
            .arg(&new.outbox[..]);
        call.arg(text(new.deadline)).arg(text(new.ttl.map(|t| t.as_millis())));
        let answer: Vec<Value> = call.invoke_async(&mut self.link.clone()).await.map_err(failed)?;
        let mut answer = answer.into_iter();
        let stored: i64 = take(&mut answer)?.unwrap_or(0);
        match (stored, take::<u64>(&mut answer)?) {
            (1, Some(version)) => Ok(Saved::Stored(version)),
            (_, None) => Ok(Saved::Conflict(None)),
            (_, Some(version)) => {
                Ok(Saved::Conflict(Some(record(version, take(&mut answer)?, take(&mut answer)?))))
            }
        }
    }

    pub async fn list(&self, kind: &'static str, limit: usize) -> Result<Vec<String>, StoreError> {
        let (mut link, mut found, mut cursor) = (self.link.clone(), vec![], 0u64);
        loop {
            let (next, names): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg(&["MATCH", &format!("tandem:{{{kind}:*}}:*"), "COUNT", "1000"])
                .query_async(&mut link)
                .await
                .map_err(failed)?;
            let ids = names.iter().filter_map(|name| name.rsplit_once("}:")).map(|(_, id)| id);
            found.extend(ids.filter(|id| *id != "due").map(str::to_owned));
            cursor = next;
            if cursor == 0 || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    pub async fn delete(&self, key: &Key, expected: u64) -> Result<bool, StoreError> {
        let mut call = self.scripts.delete.key(key.record_name());
        call.key(Key::index_name(key.kind, key.shard())).arg(&key.id).arg(expected);
        call.invoke_async(&mut self.link.clone()).await.map_err(failed)
    }

    pub async fn due(
        &self,
        kind: &'static str,
        now: u64,
        lease_ms: u64,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        // Orchestrators ask several times a second: all shards in one round trip.
        let mut batch = redis::pipe();
        for shard in 0..SHARDS {
            let mut call = self.scripts.due.key(Key::index_name(kind, shard));
            call.arg(now).arg(lease_ms).arg(limit);
            batch.invoke_script(&call);
        }
        let mut link = self.link.clone();
        let mut found: Result<Vec<Vec<String>>, RedisError> = batch.query_async(&mut link).await;
        if found.as_ref().is_err_and(|e| e.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            self.scripts.due.load_async(&mut link).await.map_err(failed)?;
            found = batch.query_async(&mut link).await;
        }
        Ok(found.map_err(failed)?.concat())
    }

    /// Writes to one hash a group: a batch is one round trip, and each value is a field.
    pub async fn keep(
        &self,
        group: &str,
        values: &[(String, Bytes)],
        gone: &[String],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let name = group_name(group);
        let mut batch = redis::pipe();
        batch.atomic();
        if !values.is_empty() {
            let set = batch.cmd("HSET").arg(&name);
            for (id, value) in values {
                set.arg(id).arg(&value[..]);
            }
            set.ignore();
        }
        if !gone.is_empty() {
            batch.cmd("HDEL").arg(&name).arg(gone).ignore();
        }
        batch.cmd("PEXPIRE").arg(&name).arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)).ignore();
        batch.query_async::<()>(&mut self.link.clone()).await.map_err(failed)
    }

    pub async fn kept(&self, group: &str, id: &str) -> Result<Option<Bytes>, StoreError> {
        let value: Option<Vec<u8>> = self.link.clone().hget(group_name(group), id).await.map_err(failed)?;
        Ok(value.map(Bytes::from))
    }

    pub async fn kept_ids(&self, group: &str) -> Result<Vec<String>, StoreError> {
        self.link.clone().hkeys(group_name(group)).await.map_err(failed)
    }

    /// Takes or renews a lease. Redis measures the time to live itself; `now` serves the memory store.
    pub async fn lease(&self, name: &str, holder: &str, _now: u64, ttl_ms: u64) -> Result<bool, StoreError> {
        let mut call = self.scripts.lease.key(format!("tandem:lease:{name}"));
        call.arg(holder).arg(ttl_ms);
        call.invoke_async(&mut self.link.clone()).await.map_err(failed)
    }

    pub async fn unlease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let mut call = self.scripts.lease.key(format!("tandem:lease:{name}"));
        call.arg(holder).arg("");
        call.invoke_async::<()>(&mut self.link.clone()).await.map_err(failed)
    }
}

fn group_name(group: &str) -> String {
    format!("tandem:kept:{group}")
}

fn record(version: u64, body: Option<Vec<u8>>, outbox: Option<Vec<u8>>) -> Record {
    Record {
        version,
        body: Bytes::from(body.unwrap_or_default()),
        outbox: Bytes::from(outbox.unwrap_or_default()),
    }
}

fn text(number: Option<impl ToString>) -> String {
    number.map(|n| n.to_string()).unwrap_or_default()
}

fn take<T: FromRedisValue>(values: &mut impl Iterator<Item = Value>) -> Result<Option<T>, StoreError> {
    values.next().map(T::from_redis_value).transpose().map_err(|e| StoreError::Protocol(e.to_string()))
}

fn failed(error: RedisError) -> StoreError {
    // The URL may hold a password; the library's messages do not repeat it.
    match error.kind() {
        ErrorKind::UnexpectedReturnType | ErrorKind::Client => StoreError::Protocol(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}
