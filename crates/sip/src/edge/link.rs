//! What the edge is told of its surroundings and what it gives back.

use crate::digest::Credentials;
use crate::message::Message;
use bytes::Bytes;
use signal::{Ask, Handover, Said};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where no port is named (RFC 3261 §19.1.2).
pub(super) const PORT: u16 = 5060;

/// Where a message came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// TCP, else UDP.
    pub tcp: bool,
    /// The peer; an IPv4 address never in its IPv6 form.
    pub peer: SocketAddr,
    /// UDP: which of our sockets, in the order of `[sip] listen`; answers leave by the one that was asked. Another instance may
    /// have others: a hint to it.
    pub listen: u8,
}

fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tcp { "tcp" } else { "udp" }, self.peer)?;
        if self.listen > 0 { write!(f, "#{}", self.listen) } else { Ok(()) }
    }
}

impl Flow {
    /// By UDP, from the first socket that reaches it.
    #[must_use]
    pub fn udp(peer: SocketAddr) -> Flow {
        Flow { tcp: false, peer: canonical(peer), listen: 0 }
    }

    /// By TCP.
    #[must_use]
    pub fn tcp(peer: SocketAddr) -> Flow {
        Flow { tcp: true, ..Flow::udp(peer) }
    }

    /// Reads what `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Flow> {
        let (scheme, peer) = text.split_once("://")?;
        let (peer, listen) = peer.split_once('#').unwrap_or((peer, "0"));
        Some(Flow { tcp: scheme == "tcp", peer: peer.parse().ok()?, listen: listen.parse().ok()? })
    }

    /// Where the answers to a request go that came by this flow: back on its connection, on UDP to the source port if the top
    /// Via asks for that (rport, RFC 3581 §4), else to the port of its sent-by (RFC 3261 §18.2.2). Never to another address
    /// than the source's: a forged Via sends nothing to third parties.
    #[must_use]
    pub(super) fn answering(self, request: &Message) -> Flow {
        let via = request.via().filter(|via| !self.tcp && via.param("rport").is_none());
        let port = via.map_or(self.peer.port(), |via| via.port.unwrap_or(PORT));
        Flow { peer: SocketAddr::new(self.peer.ip(), port), ..self }
    }
}

/// A trunk, its host resolved by the shell.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// As [`signal::Opening::link`] names it.
    pub name: String,
    /// Host (and port) of its URI.
    pub host: String,
    /// Where its calls go.
    pub flow: Flow,
    /// Networks whose INVITEs are taken without digest: address and prefix length.
    pub sources: Vec<(IpAddr, u8)>,
    /// Its phones change networks: messages within a call may come from anywhere.
    pub roaming: bool,
    /// What it knows us by, where it challenges our requests.
    pub credentials: Option<Credentials>,
}

/// What the shell knows and the edge needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// This instance.
    pub instance: String,
    /// Host and port for Via and Contact.
    pub advertise: String,
    /// Address for the o= line.
    pub address: IpAddr,
    /// Trunks.
    pub trunks: Vec<Trunk>,
    /// Most legs held; more are answered with 503.
    pub max_legs: usize,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Put octets on the wire.
    Send(Flow, Bytes),
    /// Ask an orchestrator and bring the answer to [`Edge::verdict`]; no answer is `Verdict::Unavailable`.
    Ask(u64, Ask),
    /// The answer to a [`signal::Say`].
    Said(Said),
    /// Give the message to the edge of this instance id, for its [`Edge::take`](super::Edge::take), and bring whether it took it
    /// to [`Edge::handed`](super::Edge::handed): its transaction is there. Nobody there counts as not taken.
    Hand(u64, String, Handover),
}

impl Trunk {
    /// Whether this is an address of the trunk: where its calls go, or where they come from.
    pub(super) fn owns(&self, ip: IpAddr) -> bool {
        self.flow.peer.ip().to_canonical() == ip.to_canonical() || self.sends_from(ip)
    }

    /// Whether its INVITEs may come from there.
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
