//! The SIP edge's shell: sockets, clock and bus around `sip::edge::Edge`.
//!
//! One rule: one task owns the edge; sockets and the bus reach it by bounded channels. The meaning of messages is decided in
//! `crates/sip`. Start at [`run`].

mod counters;
mod forwarding;
mod refused;
mod screen;
mod tcp;
mod trunks;
mod udp;

use anyhow::{Context, Result};
use bus::Bus;
use bus::directory::InstanceInfo;
use bus::edge::{EdgeClient, Tracing};
use bus::member::Member;
use bytes::Bytes;
use forwarding::{Event, Forwarding};
use refused::RefusedSources;
use runtime::config::Listener;
use runtime::drain::Stage;
use runtime::{Config, Drain};
use signal::{Protocol, Secret, Time, subjects};
use sip::edge::{ConnectionId, Edge, Flow, Output, Transport};
use sip::message::ReadError;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tracing::info;

/// Most inputs of each kind handled at once.
const BURST: usize = 256;
/// Interval of heartbeat and drain checks.
const BEAT: Duration = Duration::from_secs(1);
const TRACING: Tracing =
    Tracing { adopt: runtime::trace::adopt, parent_of: runtime::trace::parent_of, service: "sip-edge" };

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
    /// A connection of ours could not be made.
    Unreachable(ConnectionId, SocketAddr),
    /// The hosts of the trunks have been resolved again.
    Trunks(Vec<sip::edge::Trunk>),
}

/// Runs one SIP edge until the drain says stop, or it drains and nothing is left that needs it.
///
/// # Errors
/// A listen address that is not served or cannot be bound: names the key and the remedy. No link to the bus.
pub async fn run(config: Config, bus: Bus, drain: Drain) -> Result<()> {
    let instance = config.instance("sip-edge");
    counters::begin();
    let (ways, mut arrivals) = screen::ways();
    let listeners = config.sip.listeners()?;
    let udp = udp::Sockets::bind(&listeners, config.sip.reuse_port, &ways)?;
    let mut tcp = tcp::Connections::bind(&listeners, config.sip.reuse_port, &instance, ways.clone())?;
    let resolved = trunks::resolve(&config.trunk).await;
    ways.set_trunks(&resolved);
    let address = reachable_address(&listeners, &resolved);
    let port = listeners.first().map_or(5060, |listener| listener.address.port());
    let (advertise, named) = match &config.sip.advertise {
        Some(host) => advertised(host, port),
        None => (SocketAddr::new(address, port).to_string(), None),
    };
    let looking = tokio::spawn(trunks::keep_resolving(config.trunk.clone(), ways));
    let edge = sip::edge::Config {
        instance: instance.clone(),
        advertise: advertise.clone(),
        address: named.unwrap_or(address),
        trunks: resolved,
        max_legs: config.sip.max_legs,
    };
    let mut edge = Edge::new(edge, Secret::new(&config.secret()));
    let mut refused = RefusedSources::default();

    let mut client = EdgeClient::open(bus.clone(), TRACING);
    let _own =
        client.serve(&subjects::edge(&instance), "edge").await.context("cannot serve the orchestrators")?;
    let _any = client
        .serve(&subjects::say(Protocol::Sip, ""), "edges")
        .await
        .context("cannot serve the orchestrators")?;
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

    let mut beat = tokio::time::interval(BEAT);
    loop {
        let wait = edge.deadline().map_or(BEAT, |at| Duration::from_millis(at.since(now())));
        tokio::select! {
            () = drain.stopping() => break,
            () = tokio::time::sleep(wait) => edge.tick(now()),
            input = arrivals.next() => handle_input(&mut edge, &mut tcp, input),
            inbound = client.next() => EdgeClient::deliver(inbound, &mut edge, now()),
            event = forwarding.next() => match event {
                Event::Message(handover) => edge.receive_forwarded(&handover, now()),
                Event::Result(ticket, taken) => edge.forward_result(ticket, taken, now()),
            },
            _ = beat.tick() => {
                let legs = edge.legs();
                counters::LEGS.set(legs as f64);
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
                Some(input) => handle_input(&mut edge, &mut tcp, input),
                None => break,
            }
        }
        client.deliver_arrived(&mut edge, now());
        while let Some(output) = edge.poll() {
            match output {
                Output::Send(flow, octets) => match flow.transport {
                    Transport::Udp => udp.send(flow, &octets),
                    Transport::Tcp => {
                        if !tcp.send(flow, octets) {
                            edge.unreachable(flow, now());
                        }
                    }
                    // No listener and no trunk has such a flow; another instance's may.
                    Transport::Tls | Transport::Ws | Transport::Wss => edge.unreachable(flow, now()),
                },
                Output::Ask(ticket, ask) => client.ask_for(&mut edge, ticket, ask, now()),
                Output::Said(said) => client.said(&said),
                Output::Forward(ticket, to, handover) => forwarding.forward(ticket, &to, &handover),
                Output::RefusedSource(trunk, source) => refused.tell(&trunk, source, now()),
            }
        }
    }
    looking.abort();
    member.leave().await;
    info!(instance, "the SIP edge leaves");
    Ok(())
}

fn handle_input(edge: &mut Edge, tcp: &mut tcp::Connections, input: Input) {
    match input {
        Input::Message(flow, octets) => {
            counters::MESSAGES_IN.increment(1);
            edge.receive(&octets, flow, now());
        }
        Input::Broken(flow, error, octets) => {
            counters::MESSAGES_IN.increment(1);
            edge.receive_broken(error, &octets, flow, now());
        }
        Input::Opened(connection) => tcp.opened(connection),
        Input::Closed(id) => tcp.closed(id),
        Input::Unreachable(id, peer) => {
            tcp.closed(id);
            edge.unreachable(Flow::tcp(peer), now());
        }
        Input::Trunks(trunks) => edge.set_trunks(trunks),
    }
}

/// Returns host and port for Via and Contact (IPv6 in brackets, RFC 3261 §25.1), and the address if the host is one.
fn advertised(host: &str, port: u16) -> (String, Option<IpAddr>) {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return (SocketAddr::new(ip, port).to_string(), Some(ip));
    }
    match host.parse::<SocketAddr>() {
        Ok(address) => (address.to_string(), Some(address.ip())),
        Err(_) if host.contains(':') => (host.to_owned(), None),
        Err(_) => (format!("{host}:{port}"), None),
    }
}

/// Returns the address that peers reach us at: the listen address, or the source address of packets to the first trunk.
fn reachable_address(listeners: &[Listener], trunks: &[sip::edge::Trunk]) -> IpAddr {
    let listen = listeners.first().map_or(IpAddr::from([127, 0, 0, 1]), |first| first.address.ip());
    if !listen.is_unspecified() {
        return listen;
    }
    let towards = trunks.first().and_then(|trunk| trunk.targets.first()).map(|target| target.flow.peer);
    let leaves = |to: SocketAddr| {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(listen, 0)).ok()?;
        socket.connect(to).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    towards.and_then(leaves).unwrap_or(listen)
}

fn now() -> Time {
    Time(runtime::clock::now_ms())
}

#[cfg(test)]
mod tests {
    use super::advertised;

    #[test]
    fn hosts_are_advertised_as_uris_want_them() {
        for (host, shown, address) in [
            ("gw.example.net", "gw.example.net:5060", None),
            ("gw.example.net:5080", "gw.example.net:5080", None),
            ("203.0.113.7", "203.0.113.7:5060", Some("203.0.113.7")),
            ("203.0.113.7:5080", "203.0.113.7:5080", Some("203.0.113.7")),
            ("2001:db8::7", "[2001:db8::7]:5060", Some("2001:db8::7")),
            ("[2001:db8::7]", "[2001:db8::7]:5060", Some("2001:db8::7")),
            ("[2001:db8::7]:5080", "[2001:db8::7]:5080", Some("2001:db8::7")),
        ] {
            let ip = address.and_then(|ip| ip.parse().ok());
            assert_eq!(advertised(host, 5060), (shown.to_owned(), ip), "{host}");
        }
    }
}
