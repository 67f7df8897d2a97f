//! What the edge is told of its surroundings and what it gives back.

use crate::digest::Credentials;
use bytes::Bytes;
use signal::{Ask, Handover, Said};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a message came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// TCP, else UDP.
    pub tcp: bool,
    /// The peer.
    pub peer: SocketAddr,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tcp { "tcp" } else { "udp" }, self.peer)
    }
}

impl Flow {
    /// Reads what `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Flow> {
        let (scheme, peer) = text.split_once("://")?;
        Some(Flow { tcp: scheme == "tcp", peer: peer.parse().ok()? })
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

pub(super) fn within(ip: IpAddr, (net, prefix): (IpAddr, u8)) -> bool {
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
