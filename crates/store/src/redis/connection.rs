//! The connection, and its replacement when it is lost.
//!
//! One rule: whoever needs the connection waits for the same attempt, and an attempt that failed is followed by another one, whatever
//! it failed of: a server that loads its data, a password that changes, a master that Sentinels have not named yet.

use super::connect::{ConnectError, Login, RedisConfig, connect};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, ServerErrorKind, Value};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Pause before an attempt that follows one that failed; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Connection to one server, or to all of a cluster.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Server(server) => server.req_packed_command(cmd),
            Connection::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Server(server) => server.req_packed_commands(pipeline, offset, count),
            Connection::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Server(server) => server.get_db(),
            Connection::Cluster(cluster) => cluster.get_db(),
        }
    }
}

type Attempt = Shared<BoxFuture<'static, Result<Connection, ConnectError>>>;

/// Keeper of the connection.
pub(super) struct Keeper {
    state: Mutex<State>,
}

struct State {
    /// Configuration of the next attempt.
    config: RedisConfig,
    attempt: Attempt,
    number: u64,
    pause: Duration,
}

impl Keeper {
    /// Makes a keeper that has this connection.
    pub(super) fn new(config: RedisConfig, connection: Connection) -> Keeper {
        let attempt = std::future::ready(Ok(connection)).boxed().shared();
        Keeper { state: Mutex::new(State { config, attempt, number: 0, pause: Duration::ZERO }) }
    }

    /// Replaces the credentials of later attempts.
    pub(super) fn set_logins(&self, login: Login, sentinel_login: Login) {
        let mut state = self.state();
        (state.config.login, state.config.sentinel_login) = (login, sentinel_login);
    }

    /// Returns the connection, and its number for [`Keeper::replace`].
    pub(super) async fn connection(&self) -> Result<(Connection, u64), ConnectError> {
        let (attempt, number) = {
            let state = self.state();
            (state.attempt.clone(), state.number)
        };
        match attempt.await {
            Ok(connection) => Ok((connection, number)),
            Err(error) => {
                self.renew(number, true);
                Err(error)
            }
        }
    }

    /// Replaces a connection that an operation has found to be of no use, unless that has happened already.
    pub(super) fn replace(&self, number: u64) {
        self.renew(number, false);
    }

    fn renew(&self, number: u64, failed: bool) {
        let mut state = self.state();
        if state.number != number {
            return;
        }
        state.number += 1;
        state.pause =
            if failed { (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE) } else { Duration::ZERO };
        let (config, pause) = (state.config.clone(), state.pause);
        let attempt = async move {
            tokio::time::sleep(pause).await;
            connect(&config).await
        };
        state.attempt = attempt.boxed().shared();
        // It goes on whoever still waits for it.
        tokio::spawn(state.attempt.clone().map(drop));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns true if an error says that the connection is of no use: it broke, hangs, has another password by now, or leads to a server
/// that is no master any more.
pub(super) fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_io_error()
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
        || error.kind() == ErrorKind::AuthenticationFailed
        || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}
