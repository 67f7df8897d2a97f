//! The media relay: sockets and threads around `relay::session`.
//!
//! One rule: media threads are plain threads with epoll that own their sessions and sockets whole; tokio serves control
//! only, and both meet at a bounded queue. Start at [`run`], then [`thread`] (the packet path) and its [`poll_interval`], then
//! [`control`] (the API) and [`load`] (what orchestrators are told).

mod check;
pub mod command;
pub mod control;
pub mod convert;
mod counters;
mod cpu;
pub mod library;
pub mod load;
mod local;
mod play;
mod poll;
pub mod poll_interval;
pub mod ports;
mod random;
mod report;
pub mod sound;
pub mod state;
pub mod thread;
mod udp;

use anyhow::{Context, bail};
use bus::directory::{Announcer, InstanceInfo, announce_every, asked_to_drain};
pub use check::check;
use command::worker_handle;
use control::{Member, Service};
use futures::Stream;
use proto::auth::AuthToken;
use proto::v1::relay_server::RelayServer;
use relay::dtls::Certificate;
use relay::network::{Denied, Network};
use relay::session::Limits;
use runtime::config::RelayConfig;
use runtime::drain::Stage;
use runtime::places::{Place, Places};
use runtime::seal::{Content, Sealer};
use runtime::tls::{Greeted, greet};
use runtime::{Config, Drain, Live};
use signal::Secret;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::server::TlsStream;
use tonic::Request;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Reports that may wait for the bus.
const REPORTS: usize = 1_024;
/// States of sessions that may wait to be sealed; others wait in their sessions, where they take no room.
const STATES: usize = 256;
/// Control calls of one connection at a time.
const CALLS: usize = 256;
/// Most handshakes of the control API at a time, of all addresses and of one: whoever stalls them keeps no orchestrator out.
const HANDSHAKES: usize = 256;
const HANDSHAKES_OF_ONE: usize = 16;
/// How often the state of the relay is looked at and told.
const BEAT: Duration = Duration::from_secs(1);
/// A transcoded call costs as much as so many that are passed on.
const TRANSCODED: u64 = 6;

/// How often it says that it is here: its calls wait to be moved once it does not.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// Where control comes from.
#[derive(Debug)]
pub enum Control {
    /// `[relay] control`.
    Tcp,
    /// From within the process, as gRPC.
    Pipe(proto::pipe::Listener),
    /// From within the process, without encoding.
    Local(proto::local::LocalServer),
}

/// Serves until it is told to stop, or drains and no session is left. Another configuration takes effect on how much is taken, and on
/// when silence is reported.
///
/// # Errors
/// The operator's faults in one line each; a media thread that died.
pub async fn run(
    config: impl Into<Live>,
    bus: bus::Bus,
    control: Control,
    drain: Drain,
) -> anyhow::Result<()> {
    let config: Live = config.into();
    let instance = config.instance("rtp-relay");
    let advertise = advertised(&config.relay)?;
    // ICE names its side of a pair; the kernel picks it where `listen` does not.
    let local = if config.relay.listen.is_unspecified() { advertise } else { config.relay.listen };
    let threads = config.relay.threads.max(1);
    let secret = Secret::new(&config.secret());
    let certificate = certificate(config.cluster.dtls_certificate_file.as_deref(), &secret)?;
    let limits = limits(&config);
    let denied = config.relay.denied()?.map_or_else(Denied::default, |networks| {
        Denied::new(networks.into_iter().map(|(address, prefix)| Network::new(address, prefix)).collect())
    });
    let (reports, told) = mpsc::channel(REPORTS);
    let (states, stated) = mpsc::channel(STATES);
    // With the bus and the store within the process, whatever resumes a session ends with it.
    let alone = matches!(control, Control::Local(_)) && config.bus.is_none() && config.store.is_none();
    let (dead, mut death) = mpsc::channel::<()>(1);
    let (mut members, mut running, mut ways) = (vec![], vec![], vec![]);
    let shares = ports::divide(&config.relay)?;
    for _ in &shares {
        ways.push((worker_handle()?, sound::finished()));
    }
    let media: Vec<_> = ways
        .iter()
        .map(|((_, _, waker), (queue, _))| sound::FrameQueue { queue: queue.clone(), waker: waker.clone() })
        .collect();
    let sounds = sound::start(config.relay.transcode_threads(), config.relay.transcode_complexity, &media)?;
    let mut capacity = 0;
    let cores = cores(&config.relay)?;
    for (number, ((shared, ports), ((handle, commands, waker), (_, finished)))) in
        shares.into_iter().zip(ways).enumerate()
    {
        // A call takes a pair for each leg.
        capacity += ports.len() as u64 / 2;
        let address = SocketAddr::new(advertise, shared.local_addr()?.port());
        let other = config.relay.advertise6.map(|other| SocketAddr::new(other.into(), address.port()));
        members.push(Member { handle: handle.clone(), shared: address, other });
        let parts = thread::Parts {
            limits,
            denied: denied.clone(),
            certificate: certificate.clone(),
            address: SocketAddr::new(local, address.port()),
            other,
            shared,
            ports,
            advertise,
            commands,
            waker,
            reports: reports.clone(),
            sounds: (u16::try_from(number)?, sounds.clone()),
            finished,
            states: (!alone).then(|| states.clone()),
            gauges: handle.gauges.clone(),
            core: cores.get(number).copied(),
            batch_us: config.relay.batch_us,
        };
        let (dead, done) = (dead.clone(), oneshot::channel::<()>());
        let work = move || {
            let _ends = (DeathNotice(dead), done.0);
            if let Err(error) = thread::run(parts) {
                tracing::error!(%error, "a media thread could not begin");
            }
        };
        std::thread::Builder::new().name(format!("media-{number}")).spawn(work)?;
        running.push((handle, done.1));
    }
    drop((reports, states, dead));

    let (closing, open) = watch::channel(());
    let max_busy = Arc::new(AtomicU32::new(max_busy_of(&config)));
    let service = Service {
        members: members.into(),
        fingerprint: Arc::new(certificate.fingerprint()),
        sealer: Arc::new(
            Sealer::start(&secret, Content::RelayState).context("no random octets of the kernel")?,
        ),
        secret: Arc::new(secret.clone()),
        drain: drain.clone(),
        max_busy: max_busy.clone(),
        open,
        sounds: sounds.into(),
        library: Arc::new(library::Library::new(config.relay.sounds.as_deref())?),
    };
    let sealer = Sealer::start(&secret, Content::RelayState).context("no random octets of the kernel")?;
    let keeper = tokio::spawn(state::run(bus.clone(), instance.clone(), sealer, stated));
    let reporter = tokio::spawn(report::run(bus.clone(), instance.clone(), told));
    let (quit, quitting) = oneshot::channel::<()>();
    let members = service.members.clone();
    let reloading = tokio::spawn(reload(config.clone(), members.clone(), max_busy.clone()));
    let (serving, address) = serve(&config, control, service, quitting)?;
    tracing::info!(instance, control = %address, threads, capacity, "relay is up");
    let card = InstanceInfo {
        kind: "rtp-relay".into(),
        instance,
        address,
        capacity,
        started_ms: runtime::clock::now_ms(),
        region: config.relay.region.clone(),
        labels: config.relay.labels.clone(),
        ..InstanceInfo::default()
    };
    let asked = tokio::spawn({
        let (bus, instance, drain) = (bus.clone(), card.instance.clone(), drain.clone());
        async move {
            if asked_to_drain(&bus, &instance).await.is_ok() {
                drain.drain();
            }
        }
    });
    let announcer = announce_every(HEARTBEAT, &bus, card);
    runtime::admin::ready("rtp-relay", None);

    let ended = tokio::select! {
        () = drain.stopping() => Ok(()),
        () = report_load(&drain, &members, &announcer, &max_busy) => Ok(()),
        _ = death.recv() => Err(anyhow::anyhow!("a media thread has died")),
    };
    asked.abort();
    reloading.abort();
    runtime::admin::forget("rtp-relay");
    announcer.leave().await;
    drop(closing);
    let _ = quit.send(());
    for (handle, done) in running {
        handle.stop();
        let _ = tokio::time::timeout(BEAT, done).await;
    }
    let _ = tokio::time::timeout(BEAT, serving).await;
    let _ = tokio::time::timeout(BEAT, reporter).await;
    let _ = tokio::time::timeout(BEAT, keeper).await;
    ended
}

/// Returns the times of the core.
fn limits(config: &Config) -> Limits {
    Limits {
        media_timeout_ms: config.relay.media_timeout_s.max(1).saturating_mul(1_000),
        leg_timeout_ms: config.relay.hold_timeout_s.max(1).saturating_mul(1_000),
        // A call may ring for long; its session must outlast that.
        unconnected_ms: Limits::default().unconnected_ms.max((config.call.ring_s + 60) * 1_000),
        ..Limits::default()
    }
}

/// Returns the share of its core from which a thread takes nothing new, thousandths.
fn max_busy_of(config: &Config) -> u32 {
    config.relay.max_load.saturating_mul(10)
}

/// Has each further configuration obeyed.
async fn reload(mut live: Live, members: Arc<[Member]>, max_busy: Arc<AtomicU32>) {
    loop {
        let config = live.changed().await;
        max_busy.store(max_busy_of(&config), Ordering::Relaxed);
        for member in members.iter() {
            if let Err(error) = member.handle.set_limits(limits(&config)) {
                tracing::warn!(%error, "a media thread keeps its time-outs");
            }
        }
    }
}

/// Tells that a thread has ended, in whatever way.
struct DeathNotice(mpsc::Sender<()>);

impl Drop for DeathNotice {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

/// Tells how the relay stands, until it drains and no session is left.
async fn report_load(drain: &Drain, members: &[Member], announcer: &Announcer, max_busy: &AtomicU32) {
    let mut empty = 0;
    let mut load = load::Load::default();
    let counters = counters::Counters::new();
    loop {
        let each = members.iter().map(|member| {
            let (sessions, forwarded, dropped) = member.handle.gauges.read();
            load::Counted { sessions, forwarded, dropped, busy: member.handle.gauges.busy() }
        });
        load.take(each, runtime::clock::now_ms());
        let transcoded: u64 = members.iter().map(|member| member.handle.gauges.transcoded()).sum();
        counters.update(&load, transcoded, members);
        let draining = drain.stage() > Stage::Running;
        let sessions = load.sum.sessions;
        announcer.update(|card| {
            // What a transcoded call costs beyond a relayed one; it has two streams.
            (card.load, card.draining) = (sessions + transcoded * (TRANSCODED - 1) / 2, draining);
            (card.packets, card.busy) = (load.packets, load.sum.busy);
            card.max_busy = max_busy.load(Ordering::Relaxed);
        });
        if draining {
            // Looked at twice: a session may have been asked for in the moment before.
            empty = if sessions == 0 { empty + 1 } else { 0 };
            if empty == 2 {
                return;
            }
            tokio::time::sleep(BEAT).await;
        } else {
            // A drain is told at once.
            let _ = tokio::time::timeout(BEAT, drain.draining()).await;
        }
    }
}

/// The core of each thread, where they are to stay on one.
fn cores(config: &RelayConfig) -> anyhow::Result<Vec<usize>> {
    if !config.pin {
        return Ok(vec![]);
    }
    let (cores, threads) = (cpu::cores(), config.threads.max(1));
    if cores.len() < threads {
        bail!(
            "[relay] pin: true, and threads = {threads} on {} core(s) that this process may use; lower threads, give it more cores, or set pin to false",
            cores.len()
        );
    }
    Ok(cores)
}

type Serving = tokio::task::JoinHandle<()>;

/// Starts the control API.
fn serve(
    config: &Config,
    control: Control,
    service: Service,
    quit: oneshot::Receiver<()>,
) -> anyhow::Result<(Serving, String)> {
    // Within the process nobody else can ask.
    let (pass, pipe) = match control {
        Control::Local(server) => {
            return Ok((tokio::spawn(local::serve(service, server, quit)), "local".into()));
        }
        Control::Pipe(listener) => (None, Some(listener)),
        Control::Tcp => {
            let (secret, instance) = (Secret::new(&config.secret()), config.instance("rtp-relay"));
            (Some(AuthToken::new(&secret, &instance, runtime::clock::now_ms)), None)
        }
    };
    let check = move |request: Request<()>| match &pass {
        Some(pass) => pass.check(request),
        None => Ok(request),
    };
    let router = Server::builder()
        .concurrency_limit_per_connection(CALLS)
        .timeout(Duration::from_secs(5))
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .add_service(RelayServer::with_interceptor(service, check));
    let quit = async {
        let _ = quit.await;
    };
    Ok(match pipe {
        None => {
            let tls = runtime::tls::control_listener(config)?;
            let config = &config.relay;
            let listen = config.control.unwrap_or(SocketAddr::new(config.listen, 0));
            let listener = bound(listen).with_context(|| {
                format!("[relay] control: \"{listen}\" cannot be bound; set it to a free address:port of this host")
            })?;
            let mut address = listener.local_addr()?;
            if address.ip().is_unspecified() {
                address.set_ip(if config.listen.is_unspecified() {
                    advertised(config)?
                } else {
                    config.listen
                });
            }
            let serving = match tls {
                None => {
                    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                    tokio::spawn(end_of(router.serve_with_incoming_shutdown(incoming, quit)))
                }
                Some(tls) => {
                    let places = Places::new(HANDSHAKES, HANDSHAKES_OF_ONE);
                    let greeted = greet(listener, tls, "[relay] control", move |peer| places.take(peer.ip()));
                    tokio::spawn(end_of(router.serve_with_incoming_shutdown(secured(greeted), quit)))
                }
            };
            (serving, address.to_string())
        }
        Some(listener) => {
            let serving = router.serve_with_incoming_shutdown(connections(listener), quit);
            (tokio::spawn(end_of(serving)), "pipe".into())
        }
    })
}

fn bound(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn end_of(serving: impl Future<Output = Result<(), tonic::transport::Error>>) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "the control API ended");
    }
}

fn connections(listener: proto::pipe::Listener) -> impl Stream<Item = std::io::Result<proto::pipe::Pipe>> {
    futures::stream::unfold(listener, |mut listener| async move {
        listener.accept().await.map(|pipe| (Ok(pipe), listener))
    })
}

/// Connections over TLS; each gives its place back, which only its handshake needs.
fn secured(
    greeted: mpsc::Receiver<Greeted<Place>>,
) -> impl Stream<Item = std::io::Result<proto::pipe::Pipe<TlsStream<TcpStream>>>> {
    futures::stream::unfold(greeted, |mut greeted| async move {
        let Greeted { stream, .. } = greeted.recv().await?;
        Some((Ok(proto::pipe::Pipe(stream)), greeted))
    })
}

/// The address that peers are told.
fn advertised(config: &RelayConfig) -> anyhow::Result<IpAddr> {
    match config.advertise {
        Some(address) => Ok(address),
        None if config.listen.is_unspecified() => bail!(
            "[relay] advertise: absent, and peers cannot be told [relay] listen \"{}\"; set it to the address that they reach",
            config.listen
        ),
        None => Ok(config.listen),
    }
}

/// The certificate of all ends, the same at every relay of the cluster, or calls could not go on at another: the operator's, or
/// one that follows from the cluster's secret.
fn certificate(file: Option<&str>, secret: &Secret) -> anyhow::Result<Certificate> {
    match file {
        None => Certificate::derived(&secret.derive("dtls certificate", &[])).context("a DTLS certificate"),
        Some(file) => {
            let fault = || {
                format!(
                    "[cluster] dtls_certificate_file: {file:?}; give a readable PEM file with a P-256 certificate and its key"
                )
            };
            let pem = std::fs::read(file).with_context(fault)?;
            Certificate::from_pem(&pem).with_context(fault)
        }
    }
}
