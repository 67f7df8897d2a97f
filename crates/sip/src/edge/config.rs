//! Configuration and outputs of the edge.

use crate::digest::Credentials;
use crate::message::Via;
use ::edge::{Limits, Refusal};
use address::transport::{self, Transport};
use bytes::Bytes;
use signal::{Ask, Handover, Said};
use std::fmt;
use std::iter;
use std::net::{IpAddr, SocketAddr};

/// Connection of the shell's: TCP, later TLS or WebSocket. Other instances have other ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Transport and address that a message came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Transport.
    pub transport: Transport,
    /// Address of the peer; an IPv4 address never in its IPv6 form.
    pub peer: SocketAddr,
    /// UDP: index of our socket, in the order of `[sip] listen`; answers leave by the socket that the request came to. A hint
    /// only: another instance may have other sockets.
    pub listen: u8,
    /// Connection that the message came by: answers, and requests to a peer that nobody can connect to, leave by it. A hint
    /// only: it may be closed, or another instance's.
    pub connection: Option<ConnectionId>,
}

/// Writes `udp://192.0.2.9:5060`, with `#` and the index of the socket or the id of the connection, if any.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport, self.peer)?;
        match self.connection {
            Some(ConnectionId(id)) => write!(f, "#{id:x}"),
            None if self.listen > 0 => write!(f, "#{}", self.listen),
            None => Ok(()),
        }
    }
}

impl Flow {
    /// Makes a flow, from the first socket or by any connection that reaches the peer.
    #[must_use]
    pub fn new(transport: Transport, peer: SocketAddr) -> Flow {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Flow { transport, peer, listen: 0, connection: None }
    }

    /// Makes a flow by UDP.
    #[must_use]
    pub fn udp(peer: SocketAddr) -> Flow {
        Flow::new(Transport::Udp, peer)
    }

    /// Makes a flow by TCP.
    #[must_use]
    pub fn tcp(peer: SocketAddr) -> Flow {
        Flow::new(Transport::Tcp, peer)
    }

    /// Reads the text that `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Flow> {
        let (transport, rest) = transport::split(text)?;
        let (peer, hint) = rest.split_once('#').map_or((rest, None), |(peer, hint)| (peer, Some(hint)));
        let flow = Flow::new(transport, peer.parse().ok()?);
        Some(match hint {
            None => flow,
            Some(socket) if transport == Transport::Udp => Flow { listen: socket.parse().ok()?, ..flow },
            Some(id) => Flow { connection: Some(ConnectionId(u64::from_str_radix(id, 16).ok()?)), ..flow },
        })
    }

    /// Returns true for the same transport and peer, by whichever socket or connection.
    #[must_use]
    pub fn reaches(&self, other: &Flow) -> bool {
        (self.transport, self.peer) == (other.transport, other.peer)
    }

    /// Returns the flow of the answers to a request that came by this flow: its connection, on UDP the source port if the top
    /// Via asks for that (rport, RFC 3581 §4), else the port of its sent-by (RFC 3261 §18.2.2). Never another address than
    /// the source's: a forged Via sends nothing to third parties.
    #[must_use]
    pub(super) fn answering(self, top: Option<&Via>) -> Flow {
        let datagram = !self.transport.is_reliable();
        let via = top.filter(|via| datagram && via.param("rport").is_none());
        let port = via.map_or(self.peer.port(), |via| via.port.unwrap_or(self.transport.default_port()));
        Flow { peer: SocketAddr::new(self.peer.ip(), port), ..self }
    }
}

/// Target of a trunk, its host resolved by the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host (and port) of its URI.
    pub host: String,
    /// Flow of our calls to it.
    pub flow: Flow,
    /// Further addresses of its host: what belongs to a call may come from them and go to them.
    pub addresses: Vec<IpAddr>,
}

impl Target {
    /// Iterates over the flows to the addresses of its host, that of our calls first.
    pub(super) fn flows(&self) -> impl Iterator<Item = Flow> {
        let at = |ip: &IpAddr| Flow {
            peer: SocketAddr::new(ip.to_canonical(), self.flow.peer.port()),
            ..self.flow
        };
        iter::once(self.flow).chain(self.addresses.iter().map(at))
    }
}

/// Trunk: a group of targets by one name.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Name, as in [`signal::Opening::link`].
    pub name: String,
    /// Targets, the preferred first: our calls go to that one.
    pub targets: Vec<Target>,
    /// Networks whose INVITEs are accepted without digest: address and prefix length.
    pub sources: Vec<(IpAddr, u8)>,
    /// Messages within a call may come from any address: its phones change networks.
    pub roaming: bool,
    /// Credentials for the requests of ours that it challenges.
    pub credentials: Option<Credentials>,
    /// Credentials that its calls must show; without `sources` they may come from any address.
    pub inbound: Option<Credentials>,
}

/// Configuration of the edge, from the shell.
#[derive(Clone, Debug)]
pub struct Config {
    /// Id of this instance.
    pub instance: String,
    /// Host and port for Via and Contact.
    pub advertise: String,
    /// Address for the o= line.
    pub address: IpAddr,
    /// Trunks.
    pub trunks: Vec<Trunk>,
    /// Most legs held; further calls get 503.
    pub max_legs: usize,
    /// Limits of calls, by trunk.
    pub limits: Vec<(String, Limits)>,
}

/// Action for the shell.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Put octets on the wire.
    Send(Flow, Bytes),
    /// Ask an orchestrator and bring the answer to [`Edge::verdict`]; no answer is `Verdict::Unavailable`.
    Ask(u64, Ask),
    /// The answer to a [`signal::Say`].
    Said(Said),
    /// Give the message to the edge of this instance id, which holds its transaction, for its
    /// [`Edge::receive_forwarded`](super::Edge::receive_forwarded), and bring its answer to
    /// [`Edge::forward_result`](super::Edge::forward_result). No edge there counts as not taken.
    Forward(u64, String, Handover),
    /// Count a refusal, and log it at a bounded rate.
    Refused(Refusal),
    /// Log, at a bounded rate, that a request with the Call-ID and tags of a call was refused (481; an ACK is dropped): the trunk
    /// of this name has no such address.
    RefusedSource(String, IpAddr),
}

impl Trunk {
    /// Returns true for an address of the trunk: one of a target's host, or one that its calls come from.
    #[must_use]
    pub fn owns(&self, ip: IpAddr) -> bool {
        let mut targets = self.targets.iter().flat_map(Target::flows);
        targets.any(|flow| flow.peer.ip() == ip.to_canonical()) || self.sends_from(ip)
    }

    /// Returns true for a trunk whose calls may come from any address, and show credentials.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inbound.is_some() && self.sources.is_empty()
    }

    /// Returns true for an address that its INVITEs may come from.
    pub(super) fn sends_from(&self, ip: IpAddr) -> bool {
        self.sources.iter().any(|source| within(ip, *source))
    }
}

fn within(ip: IpAddr, (net, prefix): (IpAddr, u8)) -> bool {
    let same = |a: u128, b: u128, bits: u32| {
        let cut = bits.saturating_sub(u32::from(prefix));
        cut >= 128 || a >> cut == b >> cut
    };
    match (ip.to_canonical(), net.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}
