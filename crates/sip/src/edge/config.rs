//! Configuration and outputs of the edge.

use crate::digest::Credentials;
use crate::message::Via;
use ::edge::{Limits, Refusal};
use address::Rewrites;
use address::transport::{self, Transport};
use bytes::Bytes;
use signal::mailbox::Notice;
use signal::{Ask, EventId, Handover, Said};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Connection of the shell's: TCP, later TLS or WebSocket. Other instances have other ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Id of a trunk, which follows from its name: the same at every instance, wherever the trunk stands in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrunkId(u64);

impl TrunkId {
    /// Returns the id of the trunk of this name.
    #[must_use]
    pub fn of(name: &str) -> TrunkId {
        TrunkId(EventId::of(&["trunk", name]).0)
    }
}

/// Transport and address that a message came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Transport.
    pub transport: Transport,
    /// Address of the peer; an IPv4 address never in its IPv6 form.
    pub peer: SocketAddr,
    /// Index among our listeners of this transport, in the order of `[sip] listen`. UDP: answers leave by the socket that the request
    /// came to. A hint only: another instance may have other listeners.
    pub listen: u8,
    /// Address of ours that the peer reaches, where the listener has none of its own (a wildcard). Never written down.
    pub local: Option<IpAddr>,
    /// TLS: trunk whose name the peer has proved by its certificate, or must prove.
    pub trunk: Option<TrunkId>,
    /// Connection that the message came by: answers, and requests to a peer that nobody can connect to, leave by it. A hint
    /// only: it may be closed, or another instance's.
    pub connection: Option<ConnectionId>,
}

/// Writes `udp://192.0.2.9:5060`, with `#` and the index of the socket or the id of the connection, and `!` and the id of the trunk,
/// if any.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport, self.peer)?;
        match self.connection {
            Some(ConnectionId(id)) => write!(f, "#{id:x}")?,
            None if self.listen > 0 && !self.transport.is_reliable() => write!(f, "#{}", self.listen)?,
            None => {}
        }
        self.trunk.iter().try_for_each(|TrunkId(id)| write!(f, "!{id:x}"))
    }
}

impl Flow {
    /// Makes a flow, from the first socket or by any connection that reaches the peer.
    #[must_use]
    pub fn new(transport: Transport, peer: SocketAddr) -> Flow {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Flow { transport, peer, listen: 0, local: None, trunk: None, connection: None }
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
        let (text, trunk) = text.split_once('!').map_or((text, None), |(text, trunk)| (text, Some(trunk)));
        let (transport, rest) = transport::split(text)?;
        let (peer, hint) = rest.split_once('#').map_or((rest, None), |(peer, hint)| (peer, Some(hint)));
        let trunk = match trunk {
            Some(id) => Some(TrunkId(u64::from_str_radix(id, 16).ok()?)),
            None => None,
        };
        let flow = Flow { trunk, ..Flow::new(transport, peer.parse().ok()?) };
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

/// Target of a trunk: a host, or a service of its name (RFC 3263), resolved by the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host (and port) of the trunk's URI.
    pub host: String,
    /// Priority of the service, 0 without one: lower is tried first (RFC 2782).
    pub priority: u16,
    /// Weight among the targets of one priority.
    pub weight: u16,
    /// Flows to its addresses, in the order in which calls try them; what belongs to a call may come from each.
    pub flows: Vec<Flow>,
}

impl Target {
    /// Makes the target of a host.
    #[must_use]
    pub fn new(host: impl Into<String>, flows: Vec<Flow>) -> Target {
        Target { host: host.into(), priority: 0, weight: 0, flows }
    }
}

/// Trunk: a group of targets by one name.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Name, as in [`signal::Opening::link`].
    pub name: String,
    /// Targets: our calls try them by priority and weight. None while the name of the trunk is unknown: it still calls in then.
    pub targets: Vec<Target>,
    /// Networks whose INVITEs are accepted without digest: address and prefix length.
    pub sources: Vec<(IpAddr, u8)>,
    /// Networks of its further nodes: what belongs to a call may come from them and go to them, but no call comes from there.
    pub networks: Vec<(IpAddr, u8)>,
    /// Its calls come by connections whose certificate names it ([`Flow::trunk`]), and from nowhere else.
    pub certified: bool,
    /// Messages within a call may come from any address: its phones change networks.
    pub roaming: bool,
    /// Credentials for the requests of ours that it challenges.
    pub credentials: Option<Credentials>,
    /// Credentials that its calls must show; without `sources` they may come from any address.
    pub inbound: Option<Credentials>,
    /// Form of its numbers: what comes from it is rewritten here.
    pub rewrites: Rewrites,
    /// Its network is trusted: the identities that it asserts are believed (RFC 3325).
    pub trusted: bool,
    /// A call that its callee declines is refused with 603, not with 480.
    pub use_6xx: bool,
    /// Session interval that its calls ask for, s (RFC 4028); 0 = none.
    pub session_expires: u32,
}

/// Configuration of the edge, from the shell.
#[derive(Clone, Debug)]
pub struct Config {
    /// Id of this instance.
    pub instance: String,
    /// Host and port for Via and Contact where no listener says its own.
    pub advertise: String,
    /// Address for the o= line where no listener says its own.
    pub address: IpAddr,
    /// Our listeners, in the order of `[sip] listen`.
    pub listeners: Vec<Local>,
    /// Trunks.
    pub trunks: Vec<Trunk>,
    /// Most legs held; further calls get 503.
    pub max_legs: usize,
    /// Limits of calls, by trunk.
    pub limits: Vec<(String, Limits)>,
}

/// Listener as peers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Transport.
    pub transport: Transport,
    /// Address that it is bound to.
    pub bound: SocketAddr,
    /// Name that peers of IPv4 know it by, if that is not its address.
    pub advertise: Option<Advertised>,
    /// The same for peers of IPv6.
    pub advertise6: Option<Advertised>,
}

/// Name that a listener is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Host and port for Via and Contact.
    pub name: String,
    /// Address for the o= line, if the host is one.
    pub address: Option<IpAddr>,
}

impl Local {
    /// Returns true if peers of this family reach it: the wildcard of IPv6 serves both.
    #[must_use]
    pub fn reaches(&self, peer: IpAddr) -> bool {
        let wildcard = self.bound.is_ipv6() && self.bound.ip().is_unspecified();
        wildcard || self.bound.is_ipv4() == peer.to_canonical().is_ipv4()
    }

    /// Returns what this peer knows it by, if that is not its address.
    #[must_use]
    pub fn advertised(&self, peer: IpAddr) -> Option<&Advertised> {
        if peer.to_canonical().is_ipv4() { self.advertise.as_ref() } else { self.advertise6.as_ref() }
    }
}

impl Config {
    /// Returns host and port for Via and Contact towards the peer of a flow, and our address for the o= line: those of the listener
    /// that the flow names, else of the first that reaches the peer by its transport, else of any that reaches it.
    #[must_use]
    pub fn local(&self, flow: &Flow) -> (String, IpAddr) {
        let reaching = || self.listeners.iter().filter(|local| local.reaches(flow.peer.ip()));
        let alike = || self.listeners.iter().filter(|local| local.transport == flow.transport);
        let named = alike().nth(usize::from(flow.listen)).filter(|local| local.reaches(flow.peer.ip()));
        let first = || reaching().find(|local| local.transport == flow.transport);
        let Some(local) = named.or_else(first).or_else(|| reaching().next()) else {
            return (self.advertise.clone(), self.address);
        };
        let bound = local.bound.ip().to_canonical();
        let own = Some(bound).filter(|ip| !ip.is_unspecified()).or(flow.local);
        let shown = own.map(|ip| SocketAddr::new(ip, local.bound.port()).to_string());
        let given = local.advertised(flow.peer.ip());
        let name = given.map(|given| given.name.clone()).or(shown).unwrap_or_else(|| self.advertise.clone());
        (name, given.and_then(|given| given.address).or(own).unwrap_or(self.address))
    }
}

/// Action for the shell.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Put octets on the wire.
    Send(Flow, Bytes),
    /// Ask an orchestrator and bring the answer to [`Edge::verdict`]; no answer is `Verdict::Unavailable`.
    Ask(u64, Ask),
    /// Tell an orchestrator what a voicemail server says and bring the answer to [`Edge::noted`](super::Edge::noted); no answer is
    /// `Noted::Unavailable`.
    Mailbox(u64, Notice),
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
    /// Log that a call of the trunk of this name (the first) names a next hop (the second) that is not the trunk's: our requests go to
    /// where the peer spoke from last instead.
    ForeignHop(String, String),
}

impl Trunk {
    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> TrunkId {
        TrunkId::of(&self.name)
    }

    /// Returns true for an address of the trunk: one of a target's host, or one that its calls come from.
    #[must_use]
    pub fn owns(&self, ip: IpAddr) -> bool {
        self.flows().any(|flow| flow.peer.ip() == ip.to_canonical())
            || self.sends_from(ip)
            || self.leads_to(ip)
    }

    /// Iterates over the flows to its addresses.
    pub(super) fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.targets.iter().flat_map(|target| &target.flows)
    }

    /// Returns true for an address of a further node of the trunk's.
    fn leads_to(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| within(ip, *network))
    }

    /// Returns true for a trunk whose calls may come from any address, and show credentials.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inbound.is_some() && self.sources.is_empty() && !self.certified
    }

    /// Returns true if its calls come from there.
    pub(super) fn calls_by(&self, flow: &Flow) -> bool {
        match self.certified {
            true => flow.trunk == Some(self.id()),
            false => self.sends_from(flow.peer.ip()),
        }
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
