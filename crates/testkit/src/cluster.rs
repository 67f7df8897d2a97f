//! The gateway as its four services, several instances of each, over real Redis and NATS: each a process that can be killed.

use crate::clock::poll;
use crate::gateway::{self, Options};
use crate::{Nats, Program, Prosody, Redis, http, ports};
use anyhow::{Context, Result, bail, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Kind of service, its package and its binary.
const SERVICES: [(&str, &str); 4] = [
    ("rtp-relay", "tandem-rtp-relay"),
    ("orchestrator", "tandem-orchestrator"),
    ("sip-edge", "tandem-sip-edge"),
    ("xmpp-edge", "tandem-xmpp-edge"),
];
/// Media ports of one relay.
const MEDIA_PORTS: u16 = 200;
/// What all instances share.
const SECRET: &str = "one secret for the whole cluster";

/// One instance.
pub struct Instance {
    /// `sip-edge`, …
    pub kind: &'static str,
    /// `sip-edge-1`, …
    pub name: String,
    /// Its admin port.
    pub admin: SocketAddr,
    program: Program,
    /// How it is started.
    binary: PathBuf,
    settings: Vec<(&'static str, String)>,
}

impl Instance {
    /// The program.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}

/// A running cluster.
pub struct Cluster {
    instances: Vec<Instance>,
    /// Where it takes SIP, UDP and TCP: all SIP edges share the port.
    pub sip: SocketAddr,
    nats: Nats,
    redis: Redis,
    path: PathBuf,
    _directory: TempDir,
}

impl Cluster {
    /// Starts `each` instances of every service between an XMPP server and a trunk, and waits until all are ready.
    ///
    /// # Errors
    /// Something cannot be built or does not become ready.
    pub fn start(server: &Prosody, options: &Options, each: usize) -> Result<Cluster> {
        let directory = TempDir::with_prefix("tandem-cluster-")?;
        let (nats, redis) = (Nats::start()?, Redis::start()?);
        let here =
            |port| SocketAddr::from((Ipv4Addr::LOCALHOST, if port == 0 { ports::one() } else { port }));
        let sip = here(options.sip_port);
        let shared = format!(
            "[bus]\nurl = \"{}\"\n\n[store]\nurl = \"{}\"\n\n[cluster]\nsecret = \"{SECRET}\"\n\n",
            nats.url(),
            redis.url()
        );
        let config = gateway::configuration(server, options, sip, here(0), 40_000)?;
        let path = directory.path().join("tandem.toml");
        std::fs::write(&path, shared + &config)?;

        let mut instances = vec![];
        for (kind, package) in SERVICES {
            let binary = gateway::binary_of(package)?;
            for number in 1..=each {
                let name = format!("{kind}-{number}");
                let (admin, media) = (here(0), ports::block(MEDIA_PORTS));
                ensure!(media != 0, "no {MEDIA_PORTS} free ports in a row on 127.0.0.1");
                let settings = vec![
                    ("TANDEM_INSTANCE", name.clone()),
                    ("TANDEM_ADMIN__LISTEN", admin.to_string()),
                    ("TANDEM_SIP__REUSE_PORT", "true".to_owned()),
                    ("TANDEM_RELAY__PORTS", format!("{media}-{}", media + MEDIA_PORTS - 1)),
                ];
                let program = Program::start(&name, command(&binary, &path, &settings))?;
                instances.push(Instance { kind, name, admin, program, binary: binary.clone(), settings });
            }
        }
        let mut cluster = Cluster { instances, sip, nats, redis, path, _directory: directory };
        cluster.ready(Duration::from_secs(30))?;
        Ok(cluster)
    }

    /// Waits until every living instance is ready.
    ///
    /// # Errors
    /// One ended or misses something; the error shows the end of its output.
    pub fn ready(&mut self, within: Duration) -> Result<()> {
        for instance in &mut self.instances {
            let ready = poll(within, || {
                if !instance.program.running() {
                    return Some(false);
                }
                matches!(http::get(instance.admin, "/readyz"), Ok((200, _))).then_some(true)
            });
            match ready {
                Some(true) => {}
                Some(false) => bail!(instance.program.failure("ended by itself")),
                None => {
                    let missing =
                        http::get(instance.admin, "/readyz").map_or_else(|e| e.to_string(), |(_, b)| b);
                    bail!(instance.program.failure(&format!("is not ready ({missing})")))
                }
            }
        }
        Ok(())
    }

    /// The living instances.
    pub fn instances(&mut self) -> &mut Vec<Instance> {
        &mut self.instances
    }

    /// NATS and Redis.
    pub fn servers(&mut self) -> (&mut Nats, &mut Redis) {
        (&mut self.nats, &mut self.redis)
    }

    /// Ends an instance as a crash would.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        let place = self.instances.iter().position(|instance| instance.name == name);
        let mut instance = self.instances.remove(place.with_context(|| format!("no instance {name}"))?);
        instance.program.kill();
        Ok(())
    }

    /// Ends an instance as a crash would, and starts it again at once.
    ///
    /// # Errors
    /// There is none of this name, or it does not start.
    pub fn restart(&mut self, name: &str) -> Result<()> {
        let path = self.path.clone();
        let instance = self.instances.iter_mut().find(|instance| instance.name == name);
        let instance = instance.with_context(|| format!("no instance {name}"))?;
        instance.program.kill();
        instance.program = Program::start(name, command(&instance.binary, &path, &instance.settings))?;
        Ok(())
    }

    /// Asks an instance to drain, as a rolling update does.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn drain(&mut self, name: &str) -> Result<()> {
        let instance = self.instances.iter_mut().find(|instance| instance.name == name);
        instance.with_context(|| format!("no instance {name}"))?.program.signal(libc::SIGTERM);
        Ok(())
    }

    /// Waits until an instance has ended by itself.
    ///
    /// # Errors
    /// It has not in time.
    pub fn ended(&mut self, name: &str, within: Duration) -> Result<()> {
        let place = self.instances.iter().position(|instance| instance.name == name);
        let place = place.with_context(|| format!("no instance {name}"))?;
        let ended = poll(within, || (!self.instances[place].program.running()).then_some(()));
        if ended.is_none() {
            bail!(self.instances[place].program.failure("has not ended"));
        }
        self.instances.remove(place);
        Ok(())
    }

    /// Stops an instance as the loss of its host would: its connections stand, and nothing comes of it any more.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn freeze(&mut self, name: &str) -> Result<()> {
        let instance = self.instances.iter_mut().find(|instance| instance.name == name);
        instance.with_context(|| format!("no instance {name}"))?.program.signal(libc::SIGSTOP);
        Ok(())
    }

    /// A page of the admin API of any living orchestrator, parsed.
    ///
    /// # Errors
    /// None answers, or not with JSON.
    pub fn ask(&self, path: &str) -> Result<serde_json::Value> {
        let orchestrators = self.instances.iter().filter(|instance| instance.kind == "orchestrator");
        let mut last = anyhow::anyhow!("no orchestrator lives");
        for instance in orchestrators {
            match http::get(instance.admin, path) {
                Ok((200, body)) => return serde_json::from_str(&body).with_context(|| body.clone()),
                Ok((status, body)) => last = anyhow::anyhow!("GET {path}: {status} {body}"),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// An error that shows the end of everybody's output.
    #[must_use]
    pub fn failure(&self, what: &str) -> anyhow::Error {
        let all: Vec<String> =
            self.instances.iter().map(|instance| format!("{:#}", instance.program.failure(what))).collect();
        anyhow::anyhow!(all.join("\n\n"))
    }
}

fn command(binary: &Path, config: &Path, settings: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(binary);
    command.arg("--config").arg(config);
    command.envs(settings.iter().map(|(key, value)| (*key, value)));
    command
}
