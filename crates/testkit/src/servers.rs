//! The servers that hold state and carry signals when the services run apart: Redis and NATS.

use crate::clock::poll;
use crate::{Program, ports};
use anyhow::Result;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A Redis server without persistence.
pub struct Redis {
    program: Program,
    _directory: TempDir,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// The server is not installed or does not come up.
    pub fn start() -> Result<Redis> {
        let port = ports::one();
        Redis::with(port, &["--port", &port.to_string()])
    }

    /// Starts one with these arguments, that takes connections at `port`.
    ///
    /// # Errors
    /// The server is not installed or does not come up.
    pub fn with(port: u16, arguments: &[&str]) -> Result<Redis> {
        let directory = TempDir::with_prefix("tandem-redis-")?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
        command.arg(directory.path()).args(arguments);
        let program = listening("Redis", command, port)?;
        Ok(Redis { program, _directory: directory, port })
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}

/// A NATS server with JetStream.
pub struct Nats {
    program: Program,
    _directory: TempDir,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Nats {
    /// Starts one.
    ///
    /// # Errors
    /// The server is not installed or does not come up.
    pub fn start() -> Result<Nats> {
        let lines = |directory: &Path| format!("jetstream {{ store_dir: {:?} }}", directory.join("store"));
        Nats::launch(ports::one(), lines)
    }

    /// Starts one on this port with lines of configuration, without JetStream.
    ///
    /// # Errors
    /// The server is not installed or does not come up.
    pub fn with(port: u16, lines: &str) -> Result<Nats> {
        Nats::launch(port, |_| lines.to_owned())
    }

    fn launch(port: u16, lines: impl Fn(&Path) -> String) -> Result<Nats> {
        let directory = TempDir::with_prefix("tandem-nats-")?;
        let file = directory.path().join("nats.conf");
        let lines = lines(directory.path());
        std::fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\n{lines}\n"))?;
        // Debian puts it into sbin, which is not on everybody's path.
        let known = ["/usr/sbin/nats-server", "/usr/local/bin/nats-server"];
        let found = known.into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(found.unwrap_or("nats-server"));
        command.arg("--config").arg(&file);
        let program = listening("NATS", command, port)?;
        Ok(Nats { program, _directory: directory, port })
    }

    /// `nats://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}

/// Starts a program and waits until it takes connections.
pub(crate) fn listening(name: &str, command: Command, port: u16) -> Result<Program> {
    let mut program = Program::start(name, command)?;
    let up = poll(Duration::from_secs(20), || {
        let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        (connected || !program.running()).then_some(connected)
    });
    if up == Some(true) { Ok(program) } else { Err(program.failure("does not take connections")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_come_up_and_go() {
        let (mut redis, mut nats) = (Redis::start().unwrap(), Nats::start().unwrap());
        assert!(redis.program().running() && nats.program().running());
        assert_ne!(redis.url().rsplit(':').next(), nats.url().rsplit(':').next());
        let port = redis.port;
        drop(redis);
        assert!(ports::is_free(port));
    }
}
