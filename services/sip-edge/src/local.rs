//! Addresses of ours: the listener that reaches a peer, and the names and addresses that peers know it by.

use runtime::config::{Listener, SipConfig, Transport};
use sip::edge::{Advertised, Flow, Local};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// All listeners, in the order of `[sip] listen`.
#[derive(Clone, Debug)]
pub(crate) struct Locals(Arc<Vec<Local>>);

impl Locals {
    /// Works out the names of listeners: their own `advertise`, else that of `[sip]`, with their own port unless one is given.
    pub(crate) fn new(config: &SipConfig, listeners: &[Listener]) -> Locals {
        let local = |listener: &Listener| {
            let port = listener.address.port();
            let given = listener.advertise.as_deref().or(config.advertise.as_deref());
            let given = given.map(|host| advertised(host, port));
            let is_ipv6 = |one: &Advertised| one.address.is_some_and(|ip| ip.is_ipv6());
            let is_ipv4 = |one: &Advertised| one.address.is_some_and(|ip| ip.is_ipv4());
            let six = config.advertise6.map(|ip| advertised(&ip.to_string(), port));
            let own = listener.advertise.is_some();
            Local {
                transport: listener.transport,
                bound: listener.address,
                advertise: given.clone().filter(|one| !is_ipv6(one)),
                advertise6: six.filter(|_| !own).or(given.filter(|one| !is_ipv4(one))),
            }
        };
        Locals(Arc::new(listeners.iter().map(local).collect()))
    }

    /// Returns what the edge knows of them.
    pub(crate) fn all(&self) -> Vec<Local> {
        self.0.to_vec()
    }

    /// Returns the address and name that say where we are if no peer is asked for.
    pub(crate) fn of_nobody(&self) -> (String, IpAddr) {
        let first = self.0.first();
        let bound = first.map_or(SocketAddr::from(([127, 0, 0, 1], 5060)), |first| first.bound);
        // An address that nobody has (RFC 5737): the default route leads to it.
        let anywhere = SocketAddr::from(([192, 0, 2, 1], 9));
        let own = Some(bound.ip()).filter(|ip| !ip.is_unspecified());
        let ip = own.or_else(|| leaves_by(bound, anywhere)).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let given = first.and_then(|first| first.advertise.as_ref().or(first.advertise6.as_ref()));
        let name =
            given.map_or_else(|| SocketAddr::new(ip, bound.port()).to_string(), |one| one.name.clone());
        (name, given.and_then(|one| one.address).unwrap_or(ip))
    }

    /// Completes the flow of our requests to an address: with the first listener of its transport that reaches the peer, and our address
    /// towards it. A stream may leave without a listener of its transport. `None`: no listener reaches the peer.
    pub(crate) fn outgoing(&self, flow: Flow) -> Option<Flow> {
        let mut alike = self.0.iter().filter(|local| local.transport == flow.transport).enumerate();
        let reached = alike.find(|(_, local)| local.reaches(flow.peer.ip()));
        let any = || self.0.iter().find(|local| local.reaches(flow.peer.ip())).map(|local| (0, local));
        let (place, local) = reached.or_else(|| any().filter(|_| flow.transport != Transport::Udp))?;
        let listen = u8::try_from(place).unwrap_or(0);
        Some(Flow { listen, local: self.towards(local, flow.peer), ..flow })
    }

    /// Returns our address towards the peer of a datagram, if the listener that it came to has none of its own.
    pub(crate) fn towards_udp(&self, place: u8, peer: SocketAddr) -> Option<IpAddr> {
        let mut udp = self.0.iter().filter(|local| local.transport == Transport::Udp);
        self.towards(udp.nth(usize::from(place))?, peer)
    }

    fn towards(&self, local: &Local, peer: SocketAddr) -> Option<IpAddr> {
        let named = local.advertised(peer.ip()).is_some_and(|given| given.address.is_some());
        let asked = local.bound.ip().is_unspecified() && !named;
        asked.then(|| leaves_by(local.bound, peer)).flatten()
    }
}

/// Returns the address of ours that packets to a peer leave by; nothing is sent.
fn leaves_by(bound: SocketAddr, peer: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let ip = Some(bound.ip()).filter(|ip| !ip.is_unspecified()).unwrap_or(any);
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).ok()?;
    socket.connect(peer).ok()?;
    let ip = socket.local_addr().ok()?.ip().to_canonical();
    Some(ip).filter(|ip| !ip.is_unspecified())
}

/// Returns host and port for Via and Contact (IPv6 in brackets, RFC 3261 §25.1), and the address if the host is one.
fn advertised(host: &str, port: u16) -> Advertised {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let (name, address) = match (bare.parse::<IpAddr>(), host.parse::<SocketAddr>()) {
        (Ok(ip), _) => (SocketAddr::new(ip, port).to_string(), Some(ip)),
        (_, Ok(address)) => (address.to_string(), Some(address.ip())),
        _ if host.contains(':') => (host.to_owned(), None),
        _ => (format!("{host}:{port}"), None),
    };
    Advertised { name, address }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let expected =
                Advertised { name: shown.to_owned(), address: address.and_then(|ip| ip.parse().ok()) };
            assert_eq!(advertised(host, 5060), expected, "{host}");
        }
    }

    fn locals(listen: &[&str], advertise: Option<&str>, advertise6: Option<&str>) -> Locals {
        let listeners: Vec<Listener> = listen.iter().filter_map(|text| Listener::parse(text).ok()).collect();
        let config = SipConfig {
            advertise: advertise.map(str::to_owned),
            advertise6: advertise6.and_then(|ip| ip.parse().ok()),
            ..SipConfig::default()
        };
        Locals::new(&config, &listeners)
    }

    /// Returns the name and address that a peer is told, and the index of the listener.
    fn told(locals: &Locals, transport: Transport, peer: &str) -> Option<(String, String, u8)> {
        let flow = locals.outgoing(Flow::new(transport, peer.parse().ok()?))?;
        let (name, address) = locals.of_nobody();
        let config = sip::edge::Config {
            instance: String::new(),
            advertise: name,
            address,
            listeners: locals.all(),
            trunks: vec![],
            max_legs: 1,
            limits: vec![],
        };
        let (name, address) = config.local(&flow);
        Some((name, address.to_string(), flow.listen))
    }

    /// Each peer is told the port of the listener that it reaches, and an address of its family.
    #[test]
    fn b4_each_peer_is_told_the_listener_that_it_reaches() {
        use Transport::{Tcp, Udp};
        let said = |name: &str, address: &str, listen| Some((name.to_owned(), address.to_owned(), listen));
        let plain = locals(&["udp://127.0.0.1:5060", "tcp://127.0.0.1:5070", "udp://[::1]:5080"], None, None);
        assert_eq!(told(&plain, Udp, "127.0.0.1:9"), said("127.0.0.1:5060", "127.0.0.1", 0));
        assert_eq!(told(&plain, Tcp, "127.0.0.1:9"), said("127.0.0.1:5070", "127.0.0.1", 0));
        assert_eq!(told(&plain, Udp, "[::1]:9"), said("[::1]:5080", "::1", 1));
        let wildcard = locals(&["udp://0.0.0.0:5060", "tcp://0.0.0.0:5070"], None, None);
        assert_eq!(told(&wildcard, Udp, "127.0.0.1:9"), said("127.0.0.1:5060", "127.0.0.1", 0));
        assert_eq!(told(&wildcard, Tcp, "127.0.0.1:9"), said("127.0.0.1:5070", "127.0.0.1", 0));
        assert_eq!(told(&wildcard, Udp, "[2001:db8::9]:9"), None, "no listener reaches it");
        let named = locals(&["udp://[::]:5060", "tcp://0.0.0.0:5070"], Some("gw.example"), None);
        assert_eq!(told(&named, Tcp, "127.0.0.1:9"), said("gw.example:5070", "127.0.0.1", 0));
        let both = locals(&["udp://[::]:5060"], Some("203.0.113.7"), Some("2001:db8::7"));
        assert_eq!(told(&both, Udp, "192.0.2.9:9"), said("203.0.113.7:5060", "203.0.113.7", 0));
        assert_eq!(told(&both, Udp, "[2001:db8::9]:9"), said("[2001:db8::7]:5060", "2001:db8::7", 0));
        let each = ["udp://0.0.0.0:5060;advertise=203.0.113.7:5099", "tcp://0.0.0.0:5070"];
        let each = locals(&each, Some("gw.example"), None);
        assert_eq!(told(&each, Udp, "192.0.2.9:9"), said("203.0.113.7:5099", "203.0.113.7", 0));
        assert!(told(&each, Tcp, "192.0.2.9:9").is_some_and(|(name, ..)| name == "gw.example:5070"));
        let (name, address) = wildcard.of_nobody();
        assert!(!address.is_unspecified() && !name.starts_with("0.0.0.0"), "{name}");
    }
}
