//! The plain form of an end: RTP and RTCP on two ports, or on one, each latched for itself.

use super::facts::{EndId, Remote, Socket};
use crate::latch::{Allowed, Latch, Verdict};
use crate::packet::Class;
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Debug)]
pub(super) struct Plain {
    rtp: Latch,
    rtcp: Latch,
    mux: bool,
    /// The lock was reported.
    pub announced: bool,
    /// The lock as the shell knows it.
    known: Option<SocketAddr>,
}

impl Plain {
    pub fn new(remote: &Remote) -> Plain {
        let (rtp, rtcp, allowed) = described(remote);
        Plain {
            rtp: Latch::new(rtp, allowed),
            rtcp: Latch::new(rtcp, allowed),
            mux: remote.mux,
            announced: false,
            known: None,
        }
    }

    pub fn describe(&mut self, remote: &Remote) {
        let (rtp, rtcp, allowed) = described(remote);
        self.rtp.describe(rtp, allowed);
        self.rtcp.describe(rtcp, allowed);
        self.mux = remote.mux;
    }

    /// Whether a packet of this class may come from there. RTP's payload number was checked before.
    pub fn admit(&mut self, class: Class, from: SocketAddr, now_ms: u64) -> bool {
        match class {
            Class::Rtp => self.rtp.packet(from, now_ms) == Verdict::Accept,
            // Rule 6: apart from RTP, but of the same IP.
            Class::Rtcp if self.rtp.locked().is_some_and(|rtp| rtp.ip() != from.ip()) => false,
            Class::Rtcp if self.mux || self.rtp.locked() == Some(from) => true,
            Class::Rtcp => self.rtcp.packet(from, now_ms) == Verdict::Accept,
            _ => false,
        }
    }

    pub fn locked(&self) -> Option<SocketAddr> {
        self.rtp.locked()
    }

    /// The lock, if it is another than it was when this was last asked.
    pub fn relocked(&mut self) -> Option<Option<SocketAddr>> {
        let locked = self.rtp.locked();
        (locked != self.known).then(|| {
            self.known = locked;
            locked
        })
    }

    /// Which socket a packet of this class leaves by, and where to.
    pub fn way(&self, end: EndId, class: Class) -> Option<(Socket, SocketAddr)> {
        match class {
            Class::Rtcp if self.mux => Some((Socket::Rtp(end), self.rtp.target()?)),
            Class::Rtcp => Some((Socket::Rtcp(end), self.rtcp.target()?)),
            _ => Some((Socket::Rtp(end), self.rtp.target()?)),
        }
    }
}

/// Addresses of RTP and RTCP, and who else may send. A zero address is the hold of old phones: nowhere.
fn described(remote: &Remote) -> (Option<SocketAddr>, Option<SocketAddr>, Allowed) {
    let rtp = remote.address.filter(|a| !a.ip().is_unspecified() && a.port() != 0);
    let rtcp = rtp.and_then(|rtp| {
        let port = remote.rtcp_port.or_else(|| rtp.port().checked_add(1))?;
        Some(SocketAddr::new(rtp.ip(), port))
    });
    let allowed = match remote.source {
        Some(source) if rtp.is_none_or(|rtp| private(rtp.ip())) => Allowed::Signalled(source),
        _ => Allowed::Described,
    };
    (rtp, rtcp, allowed)
}

/// An address that means something only in the peer's own network (RFC 1918, 6598, 3927, 4193).
fn private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || a == 100 && b & 0xc0 == 64
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.segments()[0] & 0xfe00 == 0xfc00 || ip.segments()[0] & 0xffc0 == 0xfe80
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn end() -> EndId {
        EndId { index: 0, generation: 0 }
    }

    #[test]
    fn rtcp_goes_to_the_next_port_the_named_port_or_along_with_rtp() {
        let mut remote = Remote { address: Some(at("192.0.2.1:4000")), ..Remote::default() };
        let way = |remote: &Remote| Plain::new(remote).way(end(), Class::Rtcp).unwrap();
        assert_eq!(way(&remote), (Socket::Rtcp(end()), at("192.0.2.1:4001")));
        remote.rtcp_port = Some(5005);
        assert_eq!(way(&remote), (Socket::Rtcp(end()), at("192.0.2.1:5005")));
        remote.mux = true;
        assert_eq!(way(&remote), (Socket::Rtp(end()), at("192.0.2.1:4000")));
    }

    #[test]
    fn rtcp_of_another_ip_than_the_locked_one_is_refused() {
        let source = Some("192.0.2.9".parse().unwrap());
        let remote = Remote { address: Some(at("10.0.0.1:4000")), source, ..Remote::default() };
        let mut plain = Plain::new(&remote);
        (0..5).for_each(|n| assert!(plain.admit(Class::Rtp, at("192.0.2.9:7000"), n)));
        assert!(plain.admit(Class::Rtcp, at("192.0.2.9:7001"), 10));
        assert!(!plain.admit(Class::Rtcp, at("10.0.0.1:4001"), 10));
    }

    #[test]
    fn a_zero_address_is_nowhere() {
        let remote = Remote { address: Some(at("0.0.0.0:4000")), ..Remote::default() };
        assert_eq!(Plain::new(&remote).way(end(), Class::Rtp), None);
    }

    #[test]
    fn private_ranges() {
        for ip in ["10.1.2.3", "172.31.0.1", "192.168.9.9", "100.64.0.1", "127.0.0.1", "fd00::1", "fe80::1"] {
            assert!(private(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["192.0.2.1", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(!private(ip.parse().unwrap()), "{ip}");
        }
    }
}
