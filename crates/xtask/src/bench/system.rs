//! The gateway under load, in one process or as four services, with what it needs around it.

use super::process::{Cost, cost};
use super::responder::DOMAIN;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use testkit::clock::poll;
use testkit::prosody::{COMPONENT, Options, SECRET};
use testkit::{Nats, Program, Prosody, Redis, http, ports};

/// SIP domain of the load component's users.
pub const SIP_DOMAIN: &str = "im.example.net";
/// Media ports of the relay: enough for the calls held at once.
const MEDIA_PORTS: u16 = 8_000;

/// Time for a service to end by itself.
const GRACE: Duration = Duration::from_secs(20);

/// How the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `tandem serve`: everything in one process.
    One,
    /// Four services, NATS and Redis.
    Four,
}

impl Mode {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Mode::One => "one process",
            Mode::Four => "four services",
        }
    }
}

/// A running system. Its parts die with it, the gateway first.
pub struct System {
    gateway: Vec<(&'static str, Program)>,
    brokers: Option<(Nats, Redis)>,
    /// The XMPP server.
    pub prosody: Prosody,
    /// Where it takes SIP.
    pub sip: SocketAddr,
    /// Admin port of the orchestrator, or of the one process.
    pub admin: SocketAddr,
    _directory: TempDir,
}

impl System {
    /// Starts it and waits until every service is ready. `trunk`: where calls to SIP go.
    ///
    /// # Errors
    /// A program is missing or does not become ready.
    pub fn start(mode: Mode, binaries: &Path, trunk: SocketAddr) -> Result<System> {
        let directory = TempDir::with_prefix("tandem-bench-")?;
        let components = vec![COMPONENT.to_owned(), DOMAIN.to_owned()];
        let prosody = Prosody::with(&Options { users: vec![], components, ..Options::default() })?;
        let brokers = if mode == Mode::Four { Some((Nats::start()?, Redis::start()?)) } else { None };
        let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let sip = here(ports::one());
        let media = ports::block(MEDIA_PORTS);
        let mut config = String::new();
        if let Some((nats, redis)) = &brokers {
            write!(config, "[bus]\nurl = \"{}\"\n[store]\nurl = \"{}\"\n", nats.url(), redis.url())?;
        }
        write!(
            config,
            r#"[cluster]
secret = "a secret of the load test, and of nothing else"
[telemetry]
log = "warn"
[sip]
listen = ["udp://{sip}", "tcp://{sip}"]
domains = ["{SIP_DOMAIN}"]
[[xmpp.component]]
domain = "{COMPONENT}"
server = "127.0.0.1:{}"
secret = "{SECRET}"
users = "{DOMAIN}"
max_calls_per_caller = 100000
[[trunk]]
name = "load"
uri = "sip:{trunk};transport=udp"
domain = "{COMPONENT}"
sources = ["127.0.0.1/32"]
[relay]
listen = "127.0.0.1"
ports = "{media}-{}"
"#,
            prosody.component_port,
            media + MEDIA_PORTS - 1
        )?;
        let file = directory.path().join("tandem.toml");
        std::fs::write(&file, config)?;
        let names: &[&str] = match mode {
            Mode::One => &["tandem"],
            Mode::Four => &["tandem-rtp-relay", "tandem-orchestrator", "tandem-xmpp-edge", "tandem-sip-edge"],
        };
        let mut gateway = vec![];
        let mut orchestrator = here(0);
        for name in names {
            let admin = here(ports::one());
            if matches!(*name, "tandem" | "tandem-orchestrator") {
                orchestrator = admin;
            }
            let mut command = Command::new(binaries.join(name));
            command.env("TANDEM_ADMIN__LISTEN", admin.to_string());
            if mode == Mode::One {
                command.arg("serve");
            }
            command.arg("--config").arg(&file);
            let mut program = Program::start(name, command)?;
            let up = poll(Duration::from_secs(20), || {
                let ready = matches!(http::get(admin, "/readyz"), Ok((200, _)));
                (ready || !program.running()).then_some(ready)
            });
            if up != Some(true) {
                let missing = http::get(admin, "/readyz").map_or_else(|e| e.to_string(), |(_, body)| body);
                return Err(program.failure(&format!("is not ready ({missing})")));
            }
            gateway.push((*name, program));
        }
        Ok(System { gateway, brokers, prosody, sip, admin: orchestrator, _directory: directory })
    }

    /// Cost of each part so far: the gateway's services, and the programs around them.
    pub fn costs(&mut self) -> Costs {
        let gateway = self.gateway.iter().map(|(name, program)| (*name, cost(program.pid()))).collect();
        let mut around = BTreeMap::from([("prosody", cost(self.prosody.program().pid()))]);
        if let Some((nats, redis)) = &mut self.brokers {
            around.insert("nats", cost(nats.program().pid()));
            around.insert("redis", cost(redis.program().pid()));
        }
        Costs { gateway, around }
    }

    /// Ends the gateway as an operator does, edges first.
    pub fn stop(mut self) {
        for (_, program) in self.gateway.iter_mut().rev() {
            program.stop(GRACE);
        }
    }

    /// An error with the end of the gateway's output.
    pub fn blame(&self, error: &anyhow::Error) -> anyhow::Error {
        let said = self.gateway.iter().map(|(name, program)| format!("{name}: {}", program.log().tail(12)));
        anyhow::anyhow!("{error:#}\nthe gateway's last words:\n{}", said.collect::<Vec<_>>().join("\n"))
    }
}

/// Costs of the parts of a system.
#[derive(Clone, Debug)]
pub struct Costs {
    /// The gateway's services.
    pub gateway: BTreeMap<&'static str, Cost>,
    /// The XMPP server, NATS and Redis.
    pub around: BTreeMap<&'static str, Cost>,
}

impl Costs {
    /// CPU time of each part since `before`, ms a call.
    pub fn per_call(&self, before: &Costs, calls: u32) -> (BTreeMap<String, f64>, BTreeMap<String, f64>) {
        let each = |now: &BTreeMap<&'static str, Cost>, then: &BTreeMap<&'static str, Cost>| {
            let spent = |name: &str, cost: &Cost| {
                (cost.cpu_ms - then.get(name).map_or(0.0, |c| c.cpu_ms)) / f64::from(calls)
            };
            now.iter().map(|(name, cost)| ((*name).to_owned(), spent(name, cost))).collect()
        };
        (each(&self.gateway, &before.gateway), each(&self.around, &before.around))
    }

    /// Memory of the gateway, KiB.
    pub fn memory(&self) -> f64 {
        self.gateway.values().map(|cost| cost.pss_kib).sum()
    }

    /// KiB that each of the gateway's services has taken since `before`, for each of so many calls.
    pub fn memory_per_call(&self, before: &Costs, calls: u32) -> BTreeMap<String, f64> {
        let grown = |(name, cost): (&&'static str, &Cost)| {
            let kib = cost.pss_kib - before.gateway.get(name).map_or(0.0, |cost| cost.pss_kib);
            ((*name).to_owned(), kib / f64::from(calls))
        };
        self.gateway.iter().map(grown).collect()
    }
}
