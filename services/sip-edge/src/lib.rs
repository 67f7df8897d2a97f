//! The SIP edge's shell: sockets, clock and bus around `sip::edge::Edge`.
//!
//! One rule: one task owns the edge; sockets and the bus reach it by bounded channels. The meaning of messages is decided in
//! `crates/sip`. Start at [`run`].

mod counters;
mod dns;
mod forwarding;
mod icmp;
mod local;
mod mailbox;
mod screen;
mod serving;
mod tcp;
mod tls;
mod trunks;
mod udp;

use anyhow::{Context, Result};
use bus::Bus;
use bus::directory::InstanceInfo;
use bus::edge::{EdgeClient, Tracing};
use bus::member::Member;
use bytes::Bytes;
use dns::Names;
use forwarding::{Event, Forwarding};
use local::Locals;
use mailbox::Mailboxes;
use runtime::alarm::Alarm;
use runtime::config::TrunkConfig;
use runtime::drain::Stage;
use runtime::refusals::Refusals;
use runtime::{Config, Drain, Live, Masked};
use serving::Serving;
use signal::{Protocol, Secret, Time, subjects};
use sip::edge::{ConnectionId, Edge, Flow, Limits, Output, Refusal, Target, Transport, TrunkId};
use sip::message::ReadError;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
pub use tls::Tls;
use tracing::{debug, error, info, warn};
use trunks::Trunks;

/// Most inputs of each kind handled at once.
const BURST: usize = 256;
/// Interval of heartbeat and drain checks.
const BEAT: Duration = Duration::from_secs(1);
const TRACING: Tracing = Tracing {
    adopt: runtime::trace::adopt,
    parent_of: runtime::trace::parent_of,
    root: runtime::trace::root,
    service: "sip-edge",
};

/// Input from sockets and the resolver.
#[derive(Debug)]
enum Input {
    /// A datagram, or one message of a stream.
    Message(Flow, Bytes),
    /// Octets of a message that cannot be framed; its connection closes once it had time for the answer.
    Broken(Flow, ReadError, Bytes),
    /// A peer opened a connection.
    Opened(tcp::Connection),
    /// A connection is gone.
    Closed(ConnectionId),
    /// The peer of a connection has proved by its certificate to be a trunk.
    Proved(ConnectionId, TrunkId),
    /// A connection of ours could not be made.
    Unreachable(ConnectionId, Flow),
    /// A datagram of ours met nobody (ICMP).
    Lost(Flow),
    /// The host of this trunk's URI has been looked up.
    Targets(String, String, Vec<Target>),
    /// Another configuration is in force.
    Config(Arc<Config>),
}

/// Runs one SIP edge until the drain says stop, or it drains and nothing is left that needs it. Another configuration takes effect on
/// what begins then, and on trunks; calls go on.
///
/// # Errors
/// A listen address that is not served or cannot be bound: names the key and the remedy. No link to the bus.
pub async fn run(config: impl Into<Live>, bus: Bus, drain: Drain) -> Result<()> {
    let config: Live = config.into();
    let instance = config.instance("sip-edge");
    counters::begin();
    let (ways, mut arrivals) = screen::ways();
    let listeners = config.sip.listeners()?;
    let locals = Locals::new(&config.sip, &listeners);
    let tls = Tls::new(&config)?;
    config.check_by(Tls::check);
    let reloading = tokio::spawn(reload(config.clone(), tls.clone(), ways.clone()));
    let udp = udp::Sockets::bind(&listeners, config.sip.reuse_port, &ways, &locals)?;
    let mut tcp =
        tcp::Connections::bind(&listeners, config.sip.reuse_port, &instance, ways.clone(), Some(tls))?;
    let names = Names::new(config.sip.nameservers.as_deref().unwrap_or_default())?;
    let (advertise, address) = locals.of_nobody();
    let listeners = locals.all();
    let (mut trunks, all) = Trunks::start(&config, names, locals, ways)?;
    trunks.first().await;
    let edge = sip::edge::Config {
        instance: instance.clone(),
        advertise: advertise.clone(),
        address,
        listeners,
        trunks: all,
        max_legs: config.sip.max_legs,
        limits: config.trunk.iter().map(limits).collect(),
    };
    let mut edge = Edge::new(edge, Secret::new(&config.secret()));
    let mut refusals = Refusals::new("sip");

    let mut client = EdgeClient::open(bus.clone(), TRACING);
    let _own =
        client.serve(&subjects::edge(&instance), "edge").await.context("cannot serve the orchestrators")?;
    let _any = client
        .serve(&subjects::say(Protocol::Sip, ""), "edges")
        .await
        .context("cannot serve the orchestrators")?;
    let mut mailboxes = Mailboxes::new(bus.clone());
    let mut forwarding = Forwarding::open(&bus, &instance).await.context("cannot serve the other edges")?;
    let info = InstanceInfo {
        kind: "sip-edge".into(),
        instance: instance.clone(),
        address: advertise,
        capacity: config.sip.max_legs as u64,
        started_ms: runtime::clock::now_ms(),
        ..InstanceInfo::default()
    };
    let ordered = drain.clone();
    let member = Member::join(&bus, info, move || ordered.drain()).await;
    let member = member.context("cannot see the other edges")?;
    runtime::admin::ready("sip", None);
    info!(instance, listen = ?config.sip.listen, "the SIP edge listens");

    let serving = Serving::watch(&bus).await.context("cannot see the other services")?;
    let (mut beat, mut timer) = (tokio::time::interval(BEAT), Alarm::default());
    loop {
        if let Some(at) = edge.deadline() {
            timer.set(Duration::from_millis(at.since(now())));
        }
        tokio::select! {
            () = drain.stopping() => break,
            () = timer.ring() => edge.tick(now()),
            input = arrivals.next() => handle_input(&mut edge, &mut tcp, &mut trunks, input),
            inbound = client.next() => EdgeClient::deliver(inbound, &mut edge, now()),
            (ticket, noted) = mailboxes.next() => edge.noted(ticket, noted, now()),
            event = forwarding.next() => match event {
                Event::Message(handover) => edge.receive_forwarded(&handover, now()),
                Event::Result(ticket, taken) => edge.forward_result(ticket, taken, now()),
            },
            _ = beat.tick() => {
                let legs = edge.legs();
                counters::LEGS.set(legs as f64);
                edge.set_serving(serving.now());
                let draining = drain.stage() > Stage::Running;
                member.update(legs as u64, draining);
                if draining {
                    edge.drain();
                    // Another edge serves established calls; without one they are seen through here.
                    let left = if member.has_successor() { edge.open() } else { edge.live() };
                    if left == 0 {
                        break;
                    }
                }
            }
        }
        // Everything that waits already is handled too, so that a busy edge sleeps less often.
        for _ in 0..BURST {
            match arrivals.try_next() {
                Some(input) => handle_input(&mut edge, &mut tcp, &mut trunks, input),
                None => break,
            }
        }
        client.deliver_arrived(&mut edge, now());
        while let Some(output) = edge.poll() {
            match output {
                Output::Send(flow, octets) => {
                    debug!(peer = %flow.peer, transport = ?flow.transport, sip = %Masked(&octets), "sent");
                    match flow.transport {
                        Transport::Udp => {
                            for peer in udp.send(flow, &octets) {
                                edge.unreachable(Flow::udp(peer), now());
                            }
                        }
                        Transport::Tcp | Transport::Tls => {
                            if !tcp.send(flow, octets) {
                                edge.unreachable(flow, now());
                            }
                        }
                        // No listener and no trunk has such a flow; another instance's may.
                        Transport::Ws | Transport::Wss => edge.unreachable(flow, now()),
                    }
                }
                Output::Ask(ticket, ask) => client.ask_for(&mut edge, ticket, ask, now()),
                Output::Mailbox(ticket, notice) => mailboxes.tell(ticket, &notice),
                Output::Said(said) => client.said(&said),
                Output::Forward(ticket, to, handover) => forwarding.forward(ticket, &to, &handover),
                Output::Refused(refusal) => refusals.tell(&refusal, now().0),
                Output::RefusedSource(trunk, source) => {
                    refusals.tell(&refused_source(trunk, source), now().0)
                }
                Output::ForeignHop(trunk, host) => warn!(
                    trunk,
                    host,
                    "a call of this trunk names a next hop that is not the trunk's, and its requests go to where the peer spoke from \
                     instead: if the trunk has a node there, add it to [[trunk]] networks"
                ),
            }
        }
    }
    reloading.abort();
    member.leave().await;
    info!(instance, "the SIP edge leaves");
    Ok(())
}

/// Returns the refusal of a request that its source alone makes a stranger's.
fn refused_source(trunk: String, source: IpAddr) -> Refusal {
    Refusal {
        link: trunk,
        peer: source.to_string(),
        message: "request within a call".to_owned(),
        status: "source".to_owned(),
        cause: "it came from an address that is not the trunk's: if the trunk sends from there, add it to [[trunk]] sources; if its \
                phones change networks, set [[trunk]] roaming"
            .to_owned(),
    }
}

/// Returns the limits of a trunk.
fn limits(trunk: &TrunkConfig) -> (String, Limits) {
    let limits = Limits {
        calls: trunk.max_calls,
        calls_per_caller: trunk.max_calls_per_caller,
        setups_per_second: trunk.max_setup_rate,
    };
    (trunk.name.clone(), limits)
}

/// Hands each further configuration to the edge, once its certificates and trunks count for TLS.
async fn reload(mut live: Live, tls: Tls, ways: screen::Ways) {
    loop {
        let config = live.changed().await;
        let (read, tls) = (config.clone(), tls.clone());
        // Reading files takes its time.
        let replaced = tokio::task::spawn_blocking(move || tls.replace(&read)).await;
        if let Ok(Err(fault)) = replaced {
            error!(%fault, "TLS stays as it was");
        }
        if !ways.tell(Input::Config(config)).await {
            return;
        }
    }
}

fn handle_input(edge: &mut Edge, tcp: &mut tcp::Connections, trunks: &mut Trunks, input: Input) {
    match input {
        Input::Message(flow, octets) => {
            counters::MESSAGES_IN.increment(1);
            debug!(peer = %flow.peer, transport = ?flow.transport, sip = %Masked(&octets), "received");
            edge.receive(&octets, flow, now());
        }
        Input::Broken(flow, error, octets) => {
            counters::MESSAGES_IN.increment(1);
            debug!(peer = %flow.peer, transport = ?flow.transport, sip = %Masked(&octets), "received, spoiled");
            edge.receive_broken(error, &octets, flow, now());
        }
        Input::Opened(connection) => tcp.opened(connection),
        Input::Closed(id) => tcp.closed(id),
        Input::Proved(id, trunk) => tcp.proved(id, trunk),
        Input::Unreachable(id, flow) => {
            tcp.closed(id);
            edge.unreachable(flow, now());
        }
        Input::Lost(flow) => edge.unreachable(flow, now()),
        Input::Targets(trunk, uri, targets) => trunks.found(&trunk, &uri, targets, edge),
        Input::Config(config) => {
            if let Err(error) = trunks.replace(&config, edge) {
                error!(%error, "the trunks stay as they were");
            }
            edge.set_limits(config.trunk.iter().map(limits).collect());
            edge.set_max_legs(config.sip.max_legs);
        }
    }
}

/// Looks a trunk's host up, as an edge does: its addresses in the order in which they are tried.
///
/// # Errors
/// The host is not known, or the name servers are none.
pub async fn locate(config: &Config, trunk: &TrunkConfig) -> Result<Vec<(Transport, SocketAddr)>> {
    let names = Names::new(config.sip.nameservers.as_deref().unwrap_or_default())?;
    let found = names.locate(&trunk.next_hop()?).await?;
    let of = |service: &dns::Reached| {
        let transport = service.transport;
        service.addresses.iter().map(|address| (transport, *address)).collect::<Vec<_>>()
    };
    Ok(found.services.iter().flat_map(of).collect())
}

fn now() -> Time {
    Time(runtime::clock::steady_ms())
}
