//! Configuration and outputs of the edge.

use crate::digest::Credentials;
use crate::message::Message;
use bytes::Bytes;
use signal::{Ask, Handover, Said};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Default port (RFC 3261 §19.1.2).
pub(super) const PORT: u16 = 5060;

/// Transport and address that a message came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// True for TCP, false for UDP.
    pub tcp: bool,
    /// Address of the peer; an IPv4 address never in its IPv6 form.
    pub peer: SocketAddr,
    /// UDP: index of our socket, in the order of `[sip] listen`; answers leave by the socket that the request came to. A hint
    /// only: another instance may have other sockets.
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
    /// Makes a flow by UDP, from the first socket that reaches the peer.
    #[must_use]
    pub fn udp(peer: SocketAddr) -> Flow {
        Flow { tcp: false, peer: canonical(peer), listen: 0 }
    }

    /// Makes a flow by TCP.
    #[must_use]
    pub fn tcp(peer: SocketAddr) -> Flow {
        Flow { tcp: true, ..Flow::udp(peer) }
    }

    /// Reads the text that `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Flow> {
        let (scheme, peer) = text.split_once("://")?;
        let (peer, listen) = peer.split_once('#').unwrap_or((peer, "0"));
        Some(Flow { tcp: scheme == "tcp", peer: peer.parse().ok()?, listen: listen.parse().ok()? })
    }

    /// Returns the flow of the answers to a request that came by this flow: its connection, on UDP the source port if the top
    /// Via asks for that (rport, RFC 3581 §4), else the port of its sent-by (RFC 3261 §18.2.2). Never another address than
    /// the source's: a forged Via sends nothing to third parties.
    #[must_use]
    pub(super) fn answering(self, request: &Message) -> Flow {
        let via = request.via().filter(|via| !self.tcp && via.param("rport").is_none());
        let port = via.map_or(self.peer.port(), |via| via.port.unwrap_or(PORT));
        Flow { peer: SocketAddr::new(self.peer.ip(), port), ..self }
    }
}

/// Trunk, its host resolved by the shell.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Name, as in [`signal::Opening::link`].
    pub name: String,
    /// Host (and port) of its URI.
    pub host: String,
    /// Flow of our calls to it.
    pub flow: Flow,
    /// Networks whose INVITEs are accepted without digest: address and prefix length.
    pub sources: Vec<(IpAddr, u8)>,
    /// Messages within a call may come from any address: its phones change networks.
    pub roaming: bool,
    /// Credentials for the requests of ours that it challenges.
    pub credentials: Option<Credentials>,
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
}

impl Trunk {
    /// Returns true for an address of the trunk: one that our calls go to, or that its calls come from.
    pub(super) fn owns(&self, ip: IpAddr) -> bool {
        self.flow.peer.ip().to_canonical() == ip.to_canonical() || self.sends_from(ip)
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
