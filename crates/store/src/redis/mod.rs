//! Store on Redis: one script for each operation that must be atomic; all keys of a script lie in one hash slot.

mod connect;
mod connection;

pub use connect::{Cause, ConnectError, Login, RedisConfig, Tls};

use crate::{Claim, Key, NewRecord, Record, SHARDS, Saved, StoreError};
use bytes::Bytes;
use connection::{Connection, Keeper, is_broken};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{AsyncCommands, ErrorKind, FromRedisValue, RedisError, RedisResult};
use redis::{Script, ScriptInvocation, ServerErrorKind, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Kind of record that nobody stores: asking for its deadlines changes nothing.
const PROBE: &str = "probe";

#[derive(Clone)]
pub(crate) struct Redis {
    keeper: Arc<Keeper>,
    scripts: Arc<Scripts>,
    timeout: Duration,
}

struct Scripts {
    save: Script,
    delete: Script,
    due: Script,
    lease: Script,
}

impl Redis {
    /// Connects, authenticates, and runs a script that changes nothing on every shard.
    pub async fn connect(config: &RedisConfig) -> Result<Redis, ConnectError> {
        let connection = connect::connect(config).await?;
        let scripts = Scripts {
            save: Script::new(include_str!("save.lua")),
            delete: Script::new(include_str!("delete.lua")),
            due: Script::new(include_str!("due.lua")),
            lease: Script::new(include_str!("lease.lua")),
        };
        let keeper = Arc::new(Keeper::new(config.clone(), connection));
        let redis = Redis { keeper, scripts: Arc::new(scripts), timeout: config.timeout };
        match redis.due(PROBE, 0, 0, 1).await {
            Ok(_) => Ok(redis),
            Err(error) => {
                let text = error.to_string();
                let cause =
                    if text.contains("NoPerm") { Cause::Permission(text) } else { Cause::Other(text) };
                Err(ConnectError { servers: connect::without_login(&config.url), cause })
            }
        }
    }

    /// Replaces the credentials of later connections.
    pub fn set_logins(&self, login: Login, sentinel_login: Login) {
        self.keeper.set_logins(login, sentinel_login);
    }

    /// Runs an operation on the connection, and has that replaced if it turns out to be of no use.
    async fn run<T, F: Future<Output = RedisResult<T>>>(
        &self,
        operation: impl FnOnce(Connection) -> F,
    ) -> Result<T, StoreError> {
        let waited = timeout(self.timeout, self.keeper.connection()).await;
        let late = |_| StoreError::Unavailable("no connection in time".into());
        let unavailable = |error: ConnectError| StoreError::Unavailable(error.to_string());
        let (connection, number) = waited.map_err(late)?.map_err(unavailable)?;
        operation(connection).await.map_err(|error| {
            if is_broken(&error) {
                self.keeper.replace(number);
            }
            failed(error)
        })
    }

    pub async fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let fields: (Option<u64>, Option<Vec<u8>>, Option<Vec<u8>>) = self
            .run(|mut connection| async move { connection.hmget(key.record_name(), &["v", "b", "o"]).await })
            .await?;
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
        let answer: Vec<Value> =
            self.run(|mut connection| async move { call.invoke_async(&mut connection).await }).await?;
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
        self.run(|mut connection| async move {
            let nodes = match &mut connection {
                Connection::Server(_) => vec![None],
                Connection::Cluster(cluster) => primaries(cluster).await?.into_iter().map(Some).collect(),
            };
            let mut found = vec![];
            for node in nodes {
                scan(&mut connection, node, kind, limit, &mut found).await?;
            }
            Ok(found)
        })
        .await
    }

    pub async fn delete(&self, key: &Key, expected: u64) -> Result<bool, StoreError> {
        let mut call = self.scripts.delete.key(key.record_name());
        call.key(Key::index_name(key.kind, key.shard())).arg(&key.id).arg(expected);
        self.run(|mut connection| async move { call.invoke_async(&mut connection).await }).await
    }

    pub async fn due(
        &self,
        kind: &'static str,
        now: u64,
        lease_ms: u64,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let calls = (0..SHARDS).map(|shard| {
            let mut call = self.scripts.due.key(Key::index_name(kind, shard));
            call.arg(now).arg(lease_ms).arg(limit);
            call
        });
        let calls: Vec<_> = calls.collect();
        let found: Vec<Vec<String>> = self
            .run(|mut connection| async move {
                match connection {
                    // Orchestrators ask several times a second: all shards in one round trip.
                    Connection::Server(_) => self.due_at_once(&mut connection, &calls).await,
                    // Shards lie at different servers there.
                    Connection::Cluster(cluster) => {
                        let each = calls.iter().map(|call| {
                            let mut cluster = cluster.clone();
                            async move { call.invoke_async(&mut cluster).await }
                        });
                        futures::future::try_join_all(each).await
                    }
                }
            })
            .await?;
        Ok(found.concat())
    }

    async fn due_at_once(
        &self,
        connection: &mut Connection,
        calls: &[ScriptInvocation<'_>],
    ) -> RedisResult<Vec<Vec<String>>> {
        let mut batch = redis::pipe();
        for call in calls {
            batch.invoke_script(call);
        }
        let found = batch.query_async(connection).await;
        if found.as_ref().is_err_and(is_unknown_script) {
            self.scripts.due.load_async(connection).await?;
            return batch.query_async(connection).await;
        }
        found
    }

    pub async fn postpone(&self, key: &Key, deadline: u64) -> Result<(), StoreError> {
        let mut command = redis::cmd("ZADD");
        command.arg(Key::index_name(key.kind, key.shard())).arg("XX").arg(deadline).arg(&key.id);
        self.run(|mut connection| async move { command.exec_async(&mut connection).await }).await
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
        self.run(|mut connection| async move { batch.query_async::<()>(&mut connection).await }).await
    }

    pub async fn kept(&self, group: &str, id: &str) -> Result<Option<Bytes>, StoreError> {
        let value: Option<Vec<u8>> =
            self.run(|mut connection| async move { connection.hget(group_name(group), id).await }).await?;
        Ok(value.map(Bytes::from))
    }

    pub async fn kept_ids(&self, group: &str) -> Result<Vec<String>, StoreError> {
        self.run(|mut connection| async move { connection.hkeys(group_name(group)).await }).await
    }

    /// Takes or renews a lease. Redis measures the time to live itself; `now` serves the memory store.
    pub async fn lease(&self, name: &str, claim: &Claim<'_>, _now: u64) -> Result<bool, StoreError> {
        let mut call = self.scripts.lease.key(format!("tandem:lease:{name}"));
        call.arg(claim.holder).arg(claim.ttl_ms).arg(u8::from(claim.in_use));
        self.run(|mut connection| async move { call.invoke_async(&mut connection).await }).await
    }

    pub async fn unlease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let mut call = self.scripts.lease.key(format!("tandem:lease:{name}"));
        call.arg(holder).arg("");
        self.run(|mut connection| async move { call.invoke_async::<()>(&mut connection).await }).await
    }
}

/// Collects the ids of records of one kind at one server, a node of a cluster if it is named, until there are so many.
async fn scan(
    connection: &mut Connection,
    node: Option<SingleNodeRoutingInfo>,
    kind: &str,
    limit: usize,
    found: &mut Vec<String>,
) -> RedisResult<()> {
    let mut cursor = 0;
    while found.len() < limit {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg(&["MATCH", &format!("tandem:{{{kind}:*}}:*"), "COUNT", "1000"]);
        let (next, names): (u64, Vec<String>) = match (&mut *connection, &node) {
            (Connection::Cluster(cluster), Some(node)) => {
                let answer = cluster.route_command(command, RoutingInfo::SingleNode(node.clone())).await?;
                FromRedisValue::from_redis_value(answer)?
            }
            (connection, _) => command.query_async(connection).await?,
        };
        let ids = names.iter().filter_map(|name| name.rsplit_once("}:")).map(|(_, id)| id);
        found.extend(ids.filter(|id| *id != "due").map(str::to_owned));
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    found.truncate(limit);
    Ok(())
}

/// Returns the servers of a cluster that hold slots.
async fn primaries(cluster: &mut ClusterConnection) -> RedisResult<Vec<SingleNodeRoutingInfo>> {
    let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    let answers = cluster.route_command(redis::cmd("PING"), all).await?;
    let answers: std::collections::BTreeMap<String, Value> = FromRedisValue::from_redis_value(answers)?;
    let nodes = answers.into_keys().filter_map(|address| {
        let (host, port) = address.rsplit_once(':')?;
        Some(SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port: port.parse().ok()? })
    });
    Ok(nodes.collect())
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
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
    let told = told(&error);
    match error.kind() {
        ErrorKind::UnexpectedReturnType | ErrorKind::Client => StoreError::Protocol(told),
        // A value of another type under our name.
        _ if error.code() == Some("WRONGTYPE") => StoreError::Protocol(told),
        _ => StoreError::Unavailable(told),
    }
}

/// Returns the words of an error, of the first one where a batch has many. The URL may hold a password; the library's words do not
/// repeat it.
fn told(error: &RedisError) -> String {
    let first = error.clone().into_server_errors().and_then(|errors| errors.first().cloned());
    first.map_or_else(|| error.to_string(), |(_, error)| error.to_string())
}
