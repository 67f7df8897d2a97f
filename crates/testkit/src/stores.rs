//! Redis as it is run for high availability: a master with a replica and Sentinels, and a cluster of three.

use crate::clock::poll;
use crate::servers::listening;
use crate::{Program, Redis, ports};
use anyhow::{Context, Result, ensure};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Name of the master that the Sentinels watch.
pub const MASTER: &str = "mymaster";

/// A master, its replica, and two Sentinels that name another master half a second after it has died.
pub struct Sentinels {
    /// Master, then replica.
    pub servers: Vec<Redis>,
    sentinels: Vec<Program>,
    ports: Vec<u16>,
    _directory: TempDir,
}

impl Sentinels {
    /// Starts them; master and replica want this password.
    ///
    /// # Errors
    /// Redis is not installed or does not come up.
    pub fn start(password: &str) -> Result<Sentinels> {
        let directory = TempDir::with_prefix("tandem-sentinel-")?;
        let (master, replica) = (ports::one(), ports::one());
        let secured =
            ["--requirepass", password, "--masterauth", password, "--repl-diskless-sync-delay", "0"];
        let named = master.to_string();
        let first = Redis::with(master, &[&["--port", &named][..], &secured].concat())?;
        let own = replica.to_string();
        let follows = ["--port", &own, "--replicaof", "127.0.0.1", &named];
        let second = Redis::with(replica, &[&follows[..], &secured].concat())?;
        let mut started = Sentinels {
            servers: vec![first, second],
            sentinels: vec![],
            ports: vec![],
            _directory: directory,
        };
        for number in 0..2 {
            let port = ports::one();
            let file = started._directory.path().join(format!("sentinel-{number}.conf"));
            let lines = format!(
                "port {port}\nbind 127.0.0.1\ndir {:?}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
                 sentinel auth-pass {MASTER} {password}\nsentinel down-after-milliseconds {MASTER} 500\n\
                 sentinel failover-timeout {MASTER} 2000\n",
                started._directory.path()
            );
            std::fs::write(&file, lines)?;
            let mut command = Command::new("redis-server");
            command.arg(&file).arg("--sentinel");
            started.sentinels.push(listening("Sentinel", command, port)?);
            started.ports.push(port);
        }
        let knows = |port: &u16, what: &str| asked(*port, &["sentinel", "master", MASTER]).contains(what);
        let ready = poll(Duration::from_secs(20), || {
            let words = ["-a", password, "--no-auth-warning", "info", "replication"];
            let follows = asked(replica, &words).contains("master_link_status:up");
            let all = |what| follows && started.ports.iter().all(|port| knows(port, what));
            (all("num-slaves\n1\n") && all("num-other-sentinels\n1\n")).then_some(())
        });
        ready.context("the Sentinels do not see each other and the replica")?;
        Ok(started)
    }

    /// `redis+sentinel://…/mymaster`
    #[must_use]
    pub fn url(&self, login: &str) -> String {
        let hosts: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{login}{}/{MASTER}", hosts.join(","))
    }
}

/// A Redis Cluster of three masters.
pub struct RedisCluster {
    servers: Vec<Redis>,
}

impl RedisCluster {
    /// Starts it; its servers want this password.
    ///
    /// # Errors
    /// Redis is not installed or the cluster does not come up.
    pub fn start(password: &str) -> Result<RedisCluster> {
        let mut servers = vec![];
        for _ in 0..3 {
            // The bus of the cluster takes a port of its own, ten thousand higher unless it is said.
            let (port, bus) = (ports::one().to_string(), ports::one().to_string());
            let arguments = ["--port", &port, "--cluster-enabled", "yes", "--cluster-port", &bus];
            let secured = ["--requirepass", password, "--masterauth", password];
            servers.push(Redis::with(port.parse()?, &[&arguments[..], &secured].concat())?);
        }
        let hosts = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let mut command = Command::new("redis-cli");
        command.args(["--no-auth-warning", "-a", password, "--cluster", "create"]).args(hosts);
        let made = command.args(["--cluster-replicas", "0", "--cluster-yes"]).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let ready = poll(Duration::from_secs(20), || {
            let up = |server: &Redis| {
                asked(server.port, &["-a", password, "--no-auth-warning", "cluster", "info"])
                    .contains("cluster_state:ok")
            };
            servers.iter().all(up).then_some(())
        });
        ready.context("the cluster does not come up")?;
        Ok(RedisCluster { servers })
    }

    /// `redis+cluster://…`, of two of the three.
    #[must_use]
    pub fn url(&self, login: &str) -> String {
        let hosts = self.servers.iter().take(2).map(|server| format!("127.0.0.1:{}", server.port));
        format!("redis+cluster://{login}{}", hosts.collect::<Vec<_>>().join(","))
    }

    /// Number of keys at each server.
    #[must_use]
    pub fn sizes(&self, password: &str) -> Vec<u64> {
        let size = |server: &Redis| {
            asked(server.port, &["-a", password, "--no-auth-warning", "dbsize"]).trim().parse().unwrap_or(0)
        };
        self.servers.iter().map(size).collect()
    }
}

impl Redis {
    /// Deletes everything that the server holds.
    ///
    /// # Errors
    /// The server does not say that it did.
    pub fn empty(&self) -> Result<()> {
        let answer = asked(self.port, &["flushall"]);
        ensure!(answer.trim() == "OK", "{answer}");
        Ok(())
    }
}

/// Answer of a server to a command, as `redis-cli` prints it; empty if there is none.
fn asked(port: u16, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    let asked = command.args(["-p", &port.to_string()]).args(words).output();
    asked.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default()
}
