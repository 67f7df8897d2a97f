//! Relays as processes on one NATS, asked over gRPC; what must outlive one is kept here, as orchestrators keep it.

use anyhow::{Context, Result, ensure};
use bus::{Bus, NatsConfig};
use prost::Message as _;
use proto::auth::AuthToken;
use proto::v1::relay_client::RelayClient;
use proto::v1::{self, AllocateRequest, LocalEnd, StatisticsRequest, UpdateRequest};
use signal::{Secret, subjects};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use testkit::clock::poll;
use testkit::{Nats, Program, gateway, namespace, ports};
use tokio::runtime::Runtime;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

const SECRET: &str = "a secret of these relays, and of no others";
/// Media ports of one relay.
const PORTS: u16 = 40;

type Client = RelayClient<InterceptedService<Channel, AuthToken>>;

/// Reports of the relays to the orchestrators.
#[derive(Default)]
struct Told {
    /// The newest state of each session.
    states: HashMap<String, Vec<u8>>,
    /// Pictures that are to be asked for by signalling.
    pictures: Vec<v1::RelayEvent>,
}

type Kept = Arc<Mutex<Told>>;

/// Some relays of one cluster.
pub struct Relays {
    relays: Vec<(Program, Client)>,
    told: Kept,
    runtime: Runtime,
    _nats: Nats,
    _directory: TempDir,
}

impl Relays {
    /// Starts so many, with media at [`namespace::ADDRESS`].
    pub fn start(count: usize) -> Result<Relays> {
        let (nats, directory) = (Nats::start()?, TempDir::with_prefix("tandem-relays-")?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let told = Kept::default();
        runtime.block_on(keep(nats.url(), Arc::clone(&told)))?;
        let path = directory.path().join("tandem.toml");
        // A relay has no use for the store, but a cluster must name one.
        let config = format!(
            "[bus]\nurl = \"{}\"\n\n[store]\nurl = \"redis://127.0.0.1:1\"\n\n[cluster]\nsecret = \"{SECRET}\"\n\n[relay]\nlisten = \"{}\"\n",
            nats.url(),
            namespace::ADDRESS
        );
        std::fs::write(&path, config)?;
        let binary = gateway::binary_of("tandem-rtp-relay")?;
        let mut relays = vec![];
        for number in 0..count {
            let (control, first) = (here(), ports::block(PORTS));
            ensure!(first != 0, "no {PORTS} free ports in a row");
            let mut command = Command::new(&binary);
            command.arg("--config").arg(&path).env("TANDEM_INSTANCE", format!("rtp-relay-{number}"));
            command.env("TANDEM_ADMIN__LISTEN", here().to_string());
            command.env("TANDEM_RELAY__CONTROL", control.to_string());
            command.env("TANDEM_RELAY__PORTS", format!("{first}-{}", first + PORTS - 1));
            let mut program = Program::start(&format!("relay {number}"), command)?;
            let client = poll(Duration::from_secs(20), || {
                if !program.running() {
                    return Some(None);
                }
                let endpoint = Endpoint::from_shared(format!("http://{control}")).ok()?;
                runtime.block_on(endpoint.connect()).ok().map(Some)
            });
            let Some(Some(channel)) = client else { return Err(program.failure("does not come up")) };
            let secret = Secret::new(SECRET.as_bytes());
            let pass = AuthToken::new(&secret, &format!("rtp-relay-{number}"), runtime::clock::now_ms);
            relays.push((program, RelayClient::with_interceptor(channel, pass)));
        }
        Ok(Relays { relays, told, runtime, _nats: nats, _directory: directory })
    }

    /// A session of so many contents at one of the relays, or what another left of it.
    pub fn allocate(
        &mut self,
        relay: usize,
        session: &str,
        contents: u32,
        state: Vec<u8>,
    ) -> Result<Vec<LocalEnd>> {
        let request = AllocateRequest { state, ..AllocateRequest::of_two(session, contents) };
        let Relays { relays, runtime, .. } = self;
        Ok(runtime.block_on(relays[relay].1.allocate(request))?.into_inner().ends)
    }

    /// Tells an end who its peer is.
    pub fn connect(&mut self, relay: usize, request: v1::ConnectRequest) -> Result<()> {
        let Relays { relays, runtime, .. } = self;
        runtime.block_on(relays[relay].1.connect(request))?;
        Ok(())
    }

    /// Tells it more.
    pub fn update(&mut self, relay: usize, request: UpdateRequest) -> Result<v1::UpdateReply> {
        let Relays { relays, runtime, .. } = self;
        Ok(runtime.block_on(relays[relay].1.update(request))?.into_inner())
    }

    /// Tells a relay that another one goes on with the session.
    pub fn leaving(&mut self, relay: usize, session: &str) -> Result<()> {
        let request = UpdateRequest { session: session.into(), leaving: true, ..Default::default() };
        self.update(relay, request).map(drop)
    }

    /// Tells a relay that a picture is wanted of an end's peer.
    pub fn picture(&mut self, relay: usize, session: &str, (leg, content): (u32, u32)) -> Result<()> {
        let base = UpdateRequest { session: session.into(), leg, content, ..Default::default() };
        self.update(relay, UpdateRequest { keyframe: true, ..base }).map(drop)
    }

    /// How often a relay wanted a picture to be asked for by signalling.
    pub fn pictures(&self, session: &str, (leg, content): (u32, u32)) -> usize {
        let told = lock(&self.told);
        let of = |event: &&v1::RelayEvent| {
            (event.session.as_str(), event.leg, event.content) == (session, leg, content)
        };
        told.pictures.iter().filter(of).count()
    }

    /// Waits until an end has met its peer.
    pub fn met(&mut self, relay: usize, session: &str, end: (u32, u32)) -> Result<()> {
        let met = poll(Duration::from_secs(5), || {
            self.figures(relay, session, end).ok().filter(|end| !end.peer.is_empty())
        });
        met.map(drop).ok_or_else(|| self.failure("has not met its peer"))
    }

    /// The figures of an end, named by leg and content.
    pub fn figures(
        &mut self,
        relay: usize,
        session: &str,
        (leg, content): (u32, u32),
    ) -> Result<v1::EndStatistics> {
        let Relays { relays, runtime, .. } = self;
        let ask = StatisticsRequest { session: session.into() };
        let reply = runtime.block_on(relays[relay].1.statistics(ask))?.into_inner();
        reply.ends.into_iter().find(|end| (end.leg, end.content) == (leg, content)).context("no such end")
    }

    /// kill -9.
    pub fn kill(&mut self, relay: usize) {
        self.relays[relay].0.kill();
    }

    /// State that must outlive the relay of a session, as it was told last.
    pub fn state(&self, session: &str) -> Option<Vec<u8>> {
        lock(&self.told).states.get(session).cloned()
    }

    /// An error with what the relays said last.
    pub fn failure(&self, what: &str) -> anyhow::Error {
        let all: Vec<String> =
            self.relays.iter().map(|(program, _)| format!("{:#}", program.failure(what))).collect();
        anyhow::anyhow!(all.join("\n"))
    }
}

fn here() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, ports::one()))
}

fn lock(of: &Mutex<Told>) -> MutexGuard<'_, Told> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what the relays tell.
async fn keep(url: String, told: Kept) -> Result<()> {
    let secret = Secret::new(SECRET.as_bytes());
    let config = NatsConfig::new(&url, "keeper", &secret, runtime::clock::now_ms);
    let bus = Bus::nats(&config).await?;
    let mut states = bus.serve(subjects::RELAY_STATE, "orchestrators").await?;
    let mut pictures = bus.subscribe(subjects::RELAY_KEYFRAME).await?;
    bus.flush().await?;
    let too = Arc::clone(&told);
    tokio::spawn(async move {
        while let Some(message) = pictures.next().await {
            if let Ok(event) = v1::RelayEvent::decode(message.payload) {
                lock(&too).pictures.push(event);
            }
        }
    });
    tokio::spawn(async move {
        while let Some(request) = states.next().await {
            if let Ok(state) = v1::RelayState::decode(request.message.payload.clone()) {
                let sealed = state.sessions.into_iter().map(|state| (state.session, state.sealed));
                lock(&told).states.extend(sealed);
            }
            let _ = request.reply(vec![]).await;
        }
        drop(bus);
    });
    Ok(())
}
