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
/// The component domain of a cluster without edges.
pub const DOMAIN: &str = "sip.example.net";
/// Media ports of one relay there: for some hundred calls.
const MANY_PORTS: u16 = 1_000;
/// Secret that all instances share.
pub const SECRET: &str = "one secret for the whole cluster";

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
    /// Media ports of one relay.
    media: u16,
    path: PathBuf,
    _directory: TempDir,
}

impl Cluster {
    /// Starts `each` instances of every service between an XMPP server and a trunk, and waits until all are ready.
    ///
    /// # Errors
    /// Something cannot be built or does not become ready.
    pub fn start(server: &Prosody, options: &Options, each: usize) -> Result<Cluster> {
        let sip = here(options.sip_port);
        let config = gateway::configuration(server, options, sip, here(0), 40_000)?;
        let config = format!("{}\n\n{config}", options.cluster);
        let mut cluster = Cluster::empty(&config, sip, MEDIA_PORTS)?;
        for (kind, _) in SERVICES {
            for _ in 0..each {
                cluster.add(kind)?;
            }
        }
        cluster.ready(Duration::from_secs(30))?;
        Ok(cluster)
    }

    /// So many orchestrators and one relay, between a trunk and a component that whoever calls this plays.
    ///
    /// # Errors
    /// Something cannot be built or does not become ready.
    pub fn without_edges(orchestrators: usize) -> Result<Cluster> {
        let (sip, admin) = (here(0), here(0));
        let config = format!(
            "\n[admin]\nlisten = \"{admin}\"\n\n[sip]\nlisten = [\"udp://{sip}\"]\ndomains = [\"im.example.net\"]\n\n\
             [[xmpp.component]]\ndomain = \"{DOMAIN}\"\nserver = \"127.0.0.1:1\"\nsecret = \"{SECRET}\"\n\
             users = \"example.net\"\n\n[relay]\nlisten = \"127.0.0.1\"\n\n[[trunk]]\nname = \"desk\"\n\
             uri = \"sip:127.0.0.1:9\"\ndomain = \"{DOMAIN}\"\nsources = [\"127.0.0.1/32\"]\n\n[[alias]]\n\
             number = \"2700\"\njid = \"rosa@example.net\"\n"
        );
        let mut cluster = Cluster::empty(&config, sip, MANY_PORTS)?;
        cluster.add("rtp-relay")?;
        for _ in 0..orchestrators {
            cluster.add("orchestrator")?;
        }
        cluster.ready(Duration::from_secs(30))?;
        Ok(cluster)
    }

    fn empty(config: &str, sip: SocketAddr, media: u16) -> Result<Cluster> {
        let directory = TempDir::with_prefix("tandem-cluster-")?;
        let (nats, redis) = (Nats::start()?, Redis::start()?);
        let shared = format!(
            "[bus]\nurl = \"{}\"\n\n[store]\nurl = \"{}\"\n\n[cluster]\nsecret = \"{SECRET}\"\n",
            nats.url(),
            redis.url()
        );
        let path = directory.path().join("tandem.toml");
        std::fs::write(&path, shared + config)?;
        Ok(Cluster { instances: vec![], sip, nats, redis, media, path, _directory: directory })
    }

    /// Starts one more instance of a service.
    ///
    /// # Errors
    /// The instance cannot be built or started.
    pub fn add(&mut self, kind: &str) -> Result<()> {
        let service = SERVICES.into_iter().find(|(known, _)| *known == kind);
        let (kind, package) = service.with_context(|| format!("no service {kind}"))?;
        let number = 1 + self.instances.iter().filter(|instance| instance.kind == kind).count();
        let (path, binary) = (self.path.clone(), gateway::binary_of(package)?);
        let name = format!("{kind}-{number}");
        // Only relays use the range.
        let size = if kind == "rtp-relay" { self.media } else { MEDIA_PORTS };
        let (admin, media) = (here(0), ports::block(size));
        ensure!(media != 0, "no {size} free ports in a row on 127.0.0.1");
        let settings = vec![
            ("TANDEM_INSTANCE", name.clone()),
            ("TANDEM_ADMIN__LISTEN", admin.to_string()),
            ("TANDEM_SIP__REUSE_PORT", "true".to_owned()),
            ("TANDEM_RELAY__PORTS", format!("{media}-{}", media + size - 1)),
        ];
        let program = Program::start(&name, command(&binary, &path, &settings))?;
        self.instances.push(Instance { kind, name, admin, program, binary, settings });
        Ok(())
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

    /// The configuration file of all instances.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.path
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
    /// The time runs out.
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
        self.any(path, |admin| http::get(admin, path))
    }

    /// The answer of any living orchestrator's admin API to JSON.
    ///
    /// # Errors
    /// None answers, or not with JSON.
    pub fn post(&self, path: &str, json: &serde_json::Value) -> Result<serde_json::Value> {
        self.any(path, |admin| http::post(admin, path, json))
    }

    fn any(
        &self,
        path: &str,
        ask: impl Fn(SocketAddr) -> Result<(u16, String)>,
    ) -> Result<serde_json::Value> {
        let orchestrators = self.instances.iter().filter(|instance| instance.kind == "orchestrator");
        let mut last = anyhow::anyhow!("no orchestrator lives");
        for instance in orchestrators {
            match ask(instance.admin) {
                Ok((200, body)) => return serde_json::from_str(&body).with_context(|| body.clone()),
                Ok((status, body)) => last = anyhow::anyhow!("{path}: {status} {body}"),
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

fn here(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, if port == 0 { ports::one() } else { port }))
}

fn command(binary: &Path, config: &Path, settings: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(binary);
    command.arg("--config").arg(config);
    command.envs(settings.iter().map(|(key, value)| (*key, value)));
    command
}
