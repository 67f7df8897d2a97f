//! Networks of IP addresses, and those that no peer may make the relay send to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no address and no network")]
pub struct NoNetwork;

impl FromStr for Network {
    type Err = NoNetwork;

    /// Reads an address, or an address and the number of bits that count: `192.0.2.0/24`.
    fn from_str(text: &str) -> Result<Network, NoNetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(most), |prefix| prefix.parse().ok());
        let prefix = prefix.filter(|prefix| *prefix <= most).ok_or(NoNetwork)?;
        Ok(Network { address, prefix })
    }
}

impl Network {
    /// Returns the network of an address by its first bits, `prefix` of them.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Network {
        Network { address, prefix: prefix.min(if address.is_ipv4() { 32 } else { 128 }) }
    }

    /// Returns true if the address is one of the network.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, false),
            IpAddr::V6(ip) => (ip.to_bits(), true),
        };
        let ((ours, ours6), (theirs, theirs6)) = (bits(self.address), bits(ip.to_canonical()));
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        ours6 == theirs6 && (ours ^ theirs) & mask == 0
    }
}

/// Networks that no description may name: what is sent there is meant for somebody else (R-RTP-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(Vec<Network>);

/// This network, loopback, link-local, IETF protocol assignments, multicast and reserved (RFC 6890 §2.2), site-local as it was (RFC 3879),
/// and metadata services of clouds outside link-local.
const DEFAULT: [&str; 13] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "224.0.0.0/3",
    "100.100.100.200",
    "168.63.129.16",
    "::",
    "::1",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "fd00:ec2::254",
];

impl Default for Denied {
    fn default() -> Denied {
        Denied(DEFAULT.iter().filter_map(|network| network.parse().ok()).collect())
    }
}

impl Denied {
    /// Denies these in place of the default ones.
    #[must_use]
    pub fn new(networks: Vec<Network>) -> Denied {
        Denied(networks)
    }

    /// Returns true if nothing may be sent there. Loopback is open to a relay that has a loopback address itself: tests, trials of one
    /// process. Where nobody can be is never open.
    #[must_use]
    pub fn refuses(&self, to: SocketAddr, ours: &[SocketAddr]) -> bool {
        let ip = inner(to.ip().to_canonical());
        if ip.is_multicast() || ip.is_unspecified() || to.port() == 0 {
            return true;
        }
        let trial = ip.is_loopback() && ours.iter().any(|address| address.ip().to_canonical().is_loopback());
        !trial && self.0.iter().any(|network| network.contains(ip))
    }
}

/// The address that a translator makes of this one: NAT64 (RFC 6052), 6to4 (RFC 3056), IPv4-compatible.
fn inner(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::from([a, b, c, d])
    };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => ip,
    }
}

/// An address that means something only in the peer's own network (RFC 1918, 6598, 3927, 4193).
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || a == 100 && b & 0xc0 == 64
        }
        IpAddr::V6(ip) => is_private6(ip),
    }
}

fn is_private6(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.segments()[0] & 0xfe00 == 0xfc00 || ip.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_what_begins_with_their_bits() {
        let holds = |network: &str, address: &str| network.parse::<Network>().unwrap().contains(ip(address));
        assert!(holds("192.0.2.0/24", "192.0.2.255") && !holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("192.0.2.1", "192.0.2.1") && !holds("192.0.2.1", "192.0.2.2"));
        assert!(holds("192.0.2.1", "::ffff:192.0.2.1"), "as a dual-stack socket tells it");
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:9::1") && !holds("2001:db8::/32", "2001:db9::1"));
        for wrong in ["", "192.0.2.0/33", "2001:db8::/129", "example.net", "192.0.2.0/", "192.0.2.0/-1"] {
            assert_eq!(wrong.parse::<Network>(), Err(NoNetwork), "{wrong}");
        }
    }

    #[test]
    fn f12_what_is_denied_by_default_can_be_replaced_and_nobody_is_nowhere() {
        let default = Denied::default();
        assert_eq!(default.0.len(), DEFAULT.len(), "each is a network");
        let refuses = |denied: &Denied, to: &str| denied.refuses(to.parse().unwrap(), &[]);
        for to in [
            "127.0.0.1:4000",
            "169.254.169.254:80",
            "224.0.0.1:4000",
            "0.0.0.0:4000",
            "255.255.255.255:9",
            "[::1]:4000",
            "[fe80::1]:4000",
            "[::ffff:127.0.0.1]:4000",
            "[64:ff9b::7f00:1]:4000",
            "192.0.2.1:0",
        ] {
            assert!(refuses(&default, to), "{to}");
        }
        assert!(!refuses(&default, "192.0.2.1:4000") && !refuses(&default, "10.0.0.1:4000"));
        let own = Denied::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(refuses(&own, "10.0.0.1:4000") && !refuses(&own, "127.0.0.1:4000"));
        assert!(refuses(&own, "224.0.0.1:4000") && refuses(&own, "0.0.0.0:4000"));
        let trial = "127.0.0.1:30000".parse().unwrap();
        assert!(!default.refuses("127.0.0.1:4000".parse().unwrap(), &[trial]));
    }

    #[test]
    fn private_ranges() {
        for text in ["10.1.2.3", "172.31.0.1", "192.168.9.9", "100.64.0.1", "127.0.0.1", "fd00::1", "fe80::1"]
        {
            assert!(is_private(ip(text)), "{text}");
        }
        for text in ["192.0.2.1", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(!is_private(ip(text)), "{text}");
        }
    }
}
