//! An end at ports: RTP and RTCP on two, or on one, each latched for itself; in the clear, or under keys that signalling brought.

use super::sdes::Sdes;
use super::types::{EndpointId, Keyed, Refusal, Remote, Socket};
use crate::latch::{Allowed, Latch, Verdict};
use crate::packet::Class;
use signal::media::{Crypto, Suite};
use std::net::{IpAddr, SocketAddr};

#[derive(Debug)]
pub(super) struct Plain {
    rtp: Latch,
    rtcp: Latch,
    mux: bool,
    /// In use while `secure`; kept beyond, since a key of ours must never meet an index twice.
    sdes: Option<Box<Sdes>>,
    secure: bool,
    /// The lock was reported.
    pub announced: bool,
    /// The lock as the shell knows it.
    known: Option<SocketAddr>,
}

impl Plain {
    /// `ours`: keys for what is sent from here; `kept`: how far they got at another relay.
    pub fn new(remote: &Remote, ours: &[Crypto], kept: Option<Keyed>) -> Result<Plain, Refusal> {
        let (rtp, rtcp, allowed) = described(remote);
        let mut plain = Plain {
            rtp: Latch::new(rtp, allowed),
            rtcp: Latch::new(rtcp, allowed),
            mux: remote.mux,
            sdes: kept.map(|kept| Sdes::resume(ours, kept).map(Box::new)).transpose()?,
            secure: false,
            announced: false,
            known: None,
        };
        plain.describe(remote, ours)?;
        Ok(plain)
    }

    pub fn describe(&mut self, remote: &Remote, ours: &[Crypto]) -> Result<(), Refusal> {
        match (&remote.crypto, &mut self.sdes) {
            (Some(theirs), Some(sdes)) => sdes.describe(ours, theirs)?,
            (Some(theirs), None) => self.sdes = Some(Box::new(Sdes::new(ours, theirs)?)),
            // Whether plain RTP will do was decided where it was signalled.
            (None, _) => {}
        }
        self.secure = remote.crypto.is_some();
        let (rtp, rtcp, allowed) = described(remote);
        self.rtp.describe(rtp, allowed);
        self.rtcp.describe(rtcp, allowed);
        self.mux = remote.mux;
        Ok(())
    }

    pub fn suite(&self) -> Option<Suite> {
        self.sdes.as_ref().filter(|_| self.secure).map(|sdes| sdes.suite())
    }

    fn keyed(&mut self) -> Option<&mut Sdes> {
        self.sdes.as_deref_mut().filter(|_| self.secure)
    }

    /// Returns the state of the keys that must outlive a relay, in use or not.
    pub fn state(&self) -> Option<Keyed> {
        self.sdes.as_ref().map(|sdes| sdes.state())
    }

    /// Makes a packet plain in place and gives its length; `None` when it is not the peer's. Nothing is latched by it: that is
    /// [`Plain::admit`]'s, for what was opened (rule 7).
    pub fn open(&mut self, class: Class, from: SocketAddr, packet: &mut [u8]) -> Option<usize> {
        let strange = match class {
            Class::Rtp => !self.rtp.hears(from),
            _ => self.rtp.locked().is_some_and(|rtp| rtp.ip() != from.ip()),
        };
        match self.keyed() {
            None => Some(packet.len()),
            // Strangers cost no cryptography.
            Some(_) if strange => None,
            Some(sdes) => sdes.open(class, packet).ok(),
        }
    }

    /// Makes a plain packet one for the peer, in place, and gives its length.
    pub fn seal(&mut self, class: Class, buffer: &mut [u8], length: usize) -> Option<usize> {
        match self.keyed() {
            None => Some(length),
            Some(sdes) => sdes.seal(class, buffer, length).ok(),
        }
    }

    /// Returns true if a packet of this class may come from there. RTP's payload type was checked before.
    pub fn admit(&mut self, class: Class, from: SocketAddr, now_ms: u64) -> bool {
        match class {
            Class::Rtp => self.rtp.packet(from, now_ms) == Verdict::Accept,
            // Rule 6: apart from RTP, but of the same IP.
            Class::Rtcp if self.rtp.locked().is_some_and(|rtp| rtp.ip() != from.ip()) => false,
            Class::Rtcp if self.mux => self.rtp.hears(from),
            Class::Rtcp if self.rtp.locked() == Some(from) => true,
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
    pub fn way(&self, end: EndpointId, class: Class) -> Option<(Socket, SocketAddr)> {
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

    fn end() -> EndpointId {
        EndpointId { index: 0, generation: 0 }
    }

    #[test]
    fn rtcp_goes_to_the_next_port_the_named_port_or_along_with_rtp() {
        let mut remote = Remote { address: Some(at("192.0.2.1:4000")), ..Remote::default() };
        let way = |remote: &Remote| Plain::new(remote, &[], None).unwrap().way(end(), Class::Rtcp).unwrap();
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
        let mut plain = Plain::new(&remote, &[], None).unwrap();
        (0..5).for_each(|n| assert!(plain.admit(Class::Rtp, at("192.0.2.9:7000"), n)));
        assert!(plain.admit(Class::Rtcp, at("192.0.2.9:7001"), 10));
        assert!(!plain.admit(Class::Rtcp, at("10.0.0.1:4001"), 10));
    }

    #[test]
    fn a_zero_address_is_nowhere() {
        let remote = Remote { address: Some(at("0.0.0.0:4000")), ..Remote::default() };
        assert_eq!(Plain::new(&remote, &[], None).unwrap().way(end(), Class::Rtp), None);
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
