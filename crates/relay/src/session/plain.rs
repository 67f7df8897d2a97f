//! An end at ports: RTP and RTCP on two, or on one, each latched for itself; in the clear, or under keys that signalling brought or DTLS
//! agrees on.

use super::associations::{Associations, Change};
use super::sdes::Sdes;
use super::types::{EndpointId, Form, Keyed, Refusal, Remote, Socket, Why};
use crate::dtls::Certificate;
use crate::latch::{Allowed, Latch, Verdict};
use crate::network::is_private;
use crate::packet::Class;
use crate::webrtc::Association;
use signal::Time;
use signal::media::{Crypto, Dtls, Suite};
use std::net::SocketAddr;

#[derive(Debug)]
pub(super) struct Plain {
    rtp: Latch,
    rtcp: Latch,
    mux: bool,
    protection: Protection,
    /// Kept beyond its use, since a key of ours must never meet an index twice.
    sdes: Option<Box<Sdes>>,
    dtls: Option<Box<Associations>>,
    /// When the peer closed its association.
    pub closed: Option<Time>,
    /// The next step of an association among the timers of the worker.
    pub timer: Option<Time>,
    /// The lock was reported.
    pub announced: bool,
    /// The lock as the shell knows it.
    known: Option<SocketAddr>,
    /// The locked peer is silent: the socket is open for whoever may take its place.
    silent: bool,
}

/// Protection of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    None,
    Sdes,
    Dtls,
}

impl Plain {
    /// `ours`: keys for what is sent from here; `kept`: how far they got at another relay.
    pub fn new(remote: &Remote, ours: &[Crypto], kept: Option<Keyed>) -> Result<Plain, Refusal> {
        let (rtp, rtcp, allowed) = described(remote);
        let mut plain = Plain {
            rtp: Latch::new(rtp, allowed),
            rtcp: Latch::new(rtcp, allowed),
            mux: remote.mux,
            protection: Protection::None,
            sdes: kept.map(|kept| Sdes::resume(ours, kept).map(Box::new)).transpose()?,
            dtls: None,
            closed: None,
            timer: None,
            announced: false,
            known: None,
            silent: false,
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
        self.protection = match (&remote.dtls, &remote.crypto) {
            (Some(_), _) => Protection::Dtls,
            (None, Some(_)) => Protection::Sdes,
            (None, None) => Protection::None,
        };
        let (rtp, rtcp, allowed) = described(remote);
        self.rtp.describe(rtp, allowed, &remote.networks);
        self.rtcp.describe(rtcp, allowed, &remote.networks);
        self.mux = remote.mux;
        Ok(())
    }

    /// Takes the peer's DTLS; `kept`: the association of another relay. `before`: the described address until now.
    pub fn associate(
        &mut self,
        certificate: &Certificate,
        dtls: &Dtls,
        (kept, before): (Option<Association>, Option<SocketAddr>),
        now: Time,
    ) -> Result<(), Refusal> {
        match &mut self.dtls {
            Some(associations) => {
                // A hold by 0.0.0.0 names no other address.
                let moved = before.zip(self.rtp.described()).is_some_and(|(before, now)| before != now);
                associations.describe(dtls, moved);
            }
            None => self.dtls = Some(Box::new(Associations::new(certificate, dtls, kept)?)),
        }
        if let (Some(associations), Some(_)) = (&mut self.dtls, self.rtp.target()) {
            associations.begin(self.mux, now);
        }
        Ok(())
    }

    pub fn suite(&self) -> Option<Suite> {
        match self.protection {
            Protection::None => None,
            Protection::Sdes => self.sdes.as_ref().map(|sdes| sdes.suite()),
            Protection::Dtls => self.dtls.as_ref().and_then(|dtls| dtls.suite()),
        }
    }

    pub fn form(&self) -> Form {
        match self.protection {
            Protection::None => Form::Plain,
            Protection::Sdes => Form::Sdes,
            Protection::Dtls => Form::Dtls,
        }
    }

    /// Returns the state of the keys that must outlive a relay, in use or not.
    pub fn state(&self) -> Option<Keyed> {
        self.sdes.as_ref().map(|sdes| sdes.state())
    }

    /// Returns the association that must outlive a relay.
    pub fn association(&self) -> Option<Association> {
        self.dtls.as_ref().and_then(|dtls| dtls.state())
    }

    /// Takes DTLS that came to the port of RTP or RTCP.
    pub fn handshake(&mut self, rtp: bool, from: SocketAddr, datagram: &[u8], now: Time) -> Option<Change> {
        let strange =
            self.is_foreign(from) || !if rtp { self.rtp.hears(from) } else { self.rtcp.hears(from) };
        self.dtls.as_mut().filter(|_| !strange)?.receive(rtp, from, datagram, now)
    }

    /// Returns true if DTLS has been described.
    pub fn is_associated(&self) -> bool {
        self.dtls.is_some()
    }

    /// Lets time pass for the associations.
    pub fn tick(&mut self, now: Time) -> Option<Change> {
        self.dtls.as_mut()?.tick(now)
    }

    /// Returns the time of the next [`Plain::tick`].
    pub fn deadline(&self) -> Option<Time> {
        self.dtls.as_ref()?.deadline()
    }

    /// Returns the next datagram of DTLS: which socket it leaves by, and where to.
    pub fn poll_handshake(&mut self, end: EndpointId) -> Option<(Socket, SocketAddr, Vec<u8>)> {
        loop {
            let (rtp, reply, octets) = self.dtls.as_mut()?.poll()?;
            let (socket, latch) =
                if rtp { (Socket::Rtp(end), &self.rtp) } else { (Socket::Rtcp(end), &self.rtcp) };
            if let Some(to) = reply.or(latch.target()) {
                return Some((socket, to, octets));
            }
        }
    }

    /// Returns true if the address is of another host than the one that RTP is locked on.
    fn is_foreign(&self, from: SocketAddr) -> bool {
        self.rtp.locked().is_some_and(|rtp| rtp.ip() != from.ip())
    }

    /// Makes a packet plain in place and gives its length. Nothing is latched by it: that is [`Plain::admit`]'s, for what was opened
    /// (rule 7).
    ///
    /// # Errors
    /// The reason why it is not the peer's.
    pub fn open(
        &mut self,
        class: Class,
        from: SocketAddr,
        now_ms: u64,
        packet: &mut [u8],
    ) -> Result<usize, Why> {
        let strange = match class {
            Class::Rtp => !self.rtp.might_hear(from, now_ms),
            _ => self.is_foreign(from),
        };
        let (sdes, dtls) = (self.sdes.as_mut(), self.dtls.as_mut());
        match self.protection {
            Protection::None => Ok(packet.len()),
            // Strangers cost no cryptography.
            _ if strange => Err(Why::Source),
            Protection::Sdes => sdes.and_then(|sdes| sdes.open(class, packet).ok()).ok_or(Why::Key),
            Protection::Dtls => dtls.and_then(|dtls| dtls.open(class, self.mux, packet)).ok_or(Why::Key),
        }
    }

    /// Makes a plain packet one for the peer, in place, and gives its length.
    pub fn seal(&mut self, class: Class, buffer: &mut [u8], length: usize) -> Option<usize> {
        match self.protection {
            Protection::None => Some(length),
            Protection::Sdes => self.sdes.as_mut()?.seal(class, buffer, length).ok(),
            Protection::Dtls => self.dtls.as_mut()?.seal(class, self.mux, buffer, length),
        }
    }

    /// Returns true if RTP of this SSRC may come from there. Its payload type was checked before.
    pub fn admit(&mut self, from: SocketAddr, ssrc: u32, now_ms: u64) -> bool {
        let before = self.rtp.locked();
        let accepted = self.rtp.media(from, ssrc, now_ms) == Verdict::Accept;
        if accepted {
            self.silent = false;
            if before.is_some() && before != self.rtp.locked() {
                // It has moved, and its RTCP with it.
                self.rtcp.unlock();
            }
        }
        accepted
    }

    /// Returns true if RTCP may come from there.
    pub fn admit_rtcp(&mut self, from: SocketAddr, now_ms: u64) -> bool {
        // Rule 6: apart from RTP, but of the same IP.
        if self.is_foreign(from) {
            return false;
        }
        if self.mux {
            return self.rtp.hears(from);
        }
        self.rtp.locked() == Some(from) || self.rtcp.packet(from, now_ms) == Verdict::Accept
    }

    pub fn locked(&self) -> Option<SocketAddr> {
        self.rtp.locked()
    }

    /// Returns the address of the description.
    pub fn described(&self) -> Option<SocketAddr> {
        self.rtp.described()
    }

    /// Address that media is expected from.
    pub fn expected(&self) -> Option<SocketAddr> {
        self.rtp.target()
    }

    /// Returns true if media may come from this host, whatever it is.
    pub fn hears(&self, from: SocketAddr) -> bool {
        self.rtp.hears(from)
    }

    /// Looks whether the locked peer has fallen silent.
    pub fn look(&mut self, now: Time) {
        self.silent = self.rtp.is_silent(now.0);
    }

    /// Returns the only address that is to be heard, if it is another than when this was last asked: while the peer speaks, the locked
    /// one, unless the described one may take the lock back.
    pub fn relocked(&mut self) -> Option<Option<SocketAddr>> {
        let only = self.rtp.settled().filter(|_| !self.silent);
        (only != self.known).then(|| {
            self.known = only;
            only
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
        Some(source) if rtp.is_none_or(|rtp| is_private(rtp.ip())) => Allowed::Signalled(source),
        _ => Allowed::Described,
    };
    (rtp, rtcp, allowed)
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
        (0..5).for_each(|n| assert!(plain.admit(at("192.0.2.9:7000"), 7, n)));
        assert!(plain.admit_rtcp(at("192.0.2.9:7001"), 10));
        assert!(!plain.admit_rtcp(at("10.0.0.1:4001"), 10));
    }

    #[test]
    fn a_zero_address_is_nowhere() {
        let remote = Remote { address: Some(at("0.0.0.0:4000")), ..Remote::default() };
        assert_eq!(Plain::new(&remote, &[], None).unwrap().way(end(), Class::Rtp), None);
    }
}
