//! Symmetric RTP without ICE: who may send here, and where we send (interworking §12.6).
//!
//! One rule: a latch is moved by signalling, by the address that signalling described, and by nothing else while its peer speaks; until
//! it is locked nothing is sent to an address that signalling did not name (no reflector, no RTP bleed).

use crate::network::Network;
use std::net::{IpAddr, SocketAddr};

/// Packets in a row that lock (rule 3).
const PACKETS: u8 = 5;
/// Milliseconds from the first that lock (rule 3).
const LEARNING_MS: u64 = 250;
/// Silence of a locked peer after which another port of its address may take its place, ms (rule 9a).
pub const SILENCE_MS: u64 = 2_000;

/// Where an end is allowed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The address of the description.
    Described,
    /// The description names a private address: the source of the signalling counts too (rule 2).
    Signalled(IpAddr),
    /// Anyone; only on routes that say `latch=any`.
    Anyone,
}

/// The latch of one transport of one end.
#[derive(Clone, Debug)]
pub struct Latch {
    described: Option<SocketAddr>,
    allowed: Allowed,
    /// Further networks that media may come from.
    networks: Vec<Network>,
    state: State,
    /// When media was accepted last, and its SSRC.
    heard: (u64, u32),
    /// Another source that sends while the locked one is silent: address, packets in a row, time of the first.
    rival: Option<(SocketAddr, u8, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Learning(Option<(SocketAddr, u8, u64)>),
    Locked(SocketAddr),
}

/// Verdict on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Relay it.
    Accept,
    /// Drop and count it.
    Drop,
}

impl Latch {
    /// An end as the peer described it; unlocked.
    #[must_use]
    pub fn new(described: Option<SocketAddr>, allowed: Allowed) -> Latch {
        let (networks, state) = (vec![], State::Learning(None));
        Latch { described, allowed, networks, state, heard: (0, 0), rival: None }
    }

    /// Takes media from these networks, too.
    #[must_use]
    pub fn with_networks(self, networks: &[Network]) -> Latch {
        Latch { networks: networks.to_vec(), ..self }
    }

    /// A new description unlocks only where it names another address (rule 4).
    pub fn describe(&mut self, described: Option<SocketAddr>, allowed: Allowed, networks: &[Network]) {
        if (described, allowed) != (self.described, self.allowed) {
            *self = Latch::new(described, allowed);
        }
        if self.networks != networks {
            self.networks = networks.to_vec();
        }
    }

    /// Takes a packet as [`Latch::packet`] does, of media of this SSRC, by which a lock heals (rule 9a): the described address takes it
    /// back at once; another port of the same address once the locked one is silent, by packets of the same stream; any address of
    /// the networks then, by any.
    pub fn media(&mut self, source: SocketAddr, ssrc: u32, now_ms: u64) -> Verdict {
        let verdict = match self.state {
            State::Learning(_) => self.packet(source, now_ms),
            State::Locked(peer) if peer == source => Verdict::Accept,
            State::Locked(_) if self.is_described(source) => self.lock(source),
            State::Locked(peer) if self.is_silent(now_ms) && self.may_follow(peer, source, ssrc) => {
                match self.rival {
                    Some((rival, count, since)) if rival == source => {
                        if count + 1 >= PACKETS || now_ms.saturating_sub(since) >= LEARNING_MS {
                            self.lock(source)
                        } else {
                            self.rival = Some((source, count + 1, since));
                            Verdict::Drop
                        }
                    }
                    _ => {
                        self.rival = Some((source, 1, now_ms));
                        Verdict::Drop
                    }
                }
            }
            State::Locked(_) => Verdict::Drop,
        };
        if verdict == Verdict::Accept {
            self.heard = (now_ms, ssrc);
        }
        verdict
    }

    /// Learns anew: the media beside it has moved.
    pub fn unlock(&mut self) {
        self.state = State::Learning(None);
    }

    fn lock(&mut self, peer: SocketAddr) -> Verdict {
        (self.state, self.rival) = (State::Locked(peer), None);
        Verdict::Accept
    }

    /// Returns true for the described address, unless the NAT rule has set it aside: then it leads to nobody (rule 2).
    fn is_described(&self, source: SocketAddr) -> bool {
        self.allowed == Allowed::Described && self.described == Some(source)
    }

    fn may_follow(&self, peer: SocketAddr, source: SocketAddr, ssrc: u32) -> bool {
        let same = peer.ip() == source.ip() && ssrc == self.heard.1;
        same || self.networks.iter().any(|network| network.contains(source.ip()))
    }

    /// Returns true if the locked peer says nothing: another may take its place.
    #[must_use]
    pub fn is_silent(&self, now_ms: u64) -> bool {
        self.locked().is_some() && now_ms.saturating_sub(self.heard.0) >= SILENCE_MS
    }

    /// Returns the locked peer if no packet of another address can move the lock while that one speaks.
    #[must_use]
    pub fn settled(&self) -> Option<SocketAddr> {
        let aside = self.allowed != Allowed::Described;
        self.locked().filter(|peer| aside || self.described.is_none_or(|described| described == *peer))
    }

    /// Address of the description.
    #[must_use]
    pub fn described(&self) -> Option<SocketAddr> {
        self.described
    }

    /// A packet came that is RTP of an agreed payload type and, with SRTP, authentic (rules 2 and 7).
    pub fn packet(&mut self, source: SocketAddr, now_ms: u64) -> Verdict {
        match self.state {
            State::Locked(peer) => return if peer == source { Verdict::Accept } else { Verdict::Drop },
            State::Learning(_) if !self.may_send(source) => return Verdict::Drop,
            // Rule 5: the described address wins at once over whoever was being learnt.
            State::Learning(Some((candidate, ..)))
                if candidate != source && Some(candidate) == self.described =>
            {
                return Verdict::Drop;
            }
            State::Learning(Some((candidate, count, since))) if candidate == source => {
                let count = count.saturating_add(1);
                self.state = if count >= PACKETS || now_ms.saturating_sub(since) >= LEARNING_MS {
                    State::Locked(source)
                } else {
                    State::Learning(Some((source, count, since)))
                };
            }
            State::Learning(_) => self.state = State::Learning(Some((source, 1, now_ms))),
        }
        Verdict::Accept
    }

    /// A packet from there might be accepted.
    #[must_use]
    pub fn hears(&self, source: SocketAddr) -> bool {
        self.locked().map_or_else(|| self.may_send(source), |peer| peer == source)
    }

    /// A packet of media from there might be accepted, or heal the lock.
    #[must_use]
    pub fn might_hear(&self, source: SocketAddr, now_ms: u64) -> bool {
        self.hears(source) || self.is_described(source) || self.is_silent(now_ms) && self.may_send(source)
    }

    /// Where to send: the locked peer, else the described address (rules 1 and 8).
    #[must_use]
    pub fn target(&self) -> Option<SocketAddr> {
        match self.state {
            State::Locked(peer) => Some(peer),
            State::Learning(_) => self.described,
        }
    }

    /// The IP that RTCP must come from as well (rule 6).
    #[must_use]
    pub fn locked(&self) -> Option<SocketAddr> {
        if let State::Locked(peer) = self.state { Some(peer) } else { None }
    }

    fn may_send(&self, source: SocketAddr) -> bool {
        let described = self.described.is_some_and(|d| d.ip() == source.ip());
        let named = match self.allowed {
            Allowed::Described => described,
            Allowed::Signalled(ip) => described || ip == source.ip(),
            Allowed::Anyone => true,
        };
        named || self.networks.iter().any(|network| network.contains(source.ip()))
    }
}

/// R-RTP-10: each rule with a hostile sender.
#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn phone() -> SocketAddr {
        at("192.0.2.30:16400")
    }

    #[test]
    fn rule_1_media_goes_to_the_described_address_before_anything_came() {
        assert_eq!(Latch::new(Some(phone()), Allowed::Described).target(), Some(phone()));
        assert_eq!(Latch::new(None, Allowed::Described).target(), None);
    }

    #[test]
    fn rules_2_and_8_a_stranger_is_neither_heard_nor_answered() {
        let mut latch = Latch::new(Some(phone()), Allowed::Described);
        for i in 0..1_000 {
            assert_eq!(latch.packet(at("203.0.113.66:9"), i), Verdict::Drop);
        }
        assert_eq!(latch.target(), Some(phone()));
        assert_eq!(
            latch.packet(at("192.0.2.30:40000"), 5),
            Verdict::Accept,
            "another port behind the same NAT"
        );
        assert_eq!(latch.target(), Some(phone()), "not sent there before the lock");
    }

    #[test]
    fn rule_2_a_private_description_is_reached_where_its_signalling_came_from() {
        let mut latch =
            Latch::new(Some(at("10.0.0.5:4000")), Allowed::Signalled("198.51.100.9".parse().unwrap()));
        assert_eq!(latch.packet(at("198.51.100.10:5000"), 0), Verdict::Drop);
        for i in 0..5 {
            assert_eq!(latch.packet(at("198.51.100.9:5000"), i), Verdict::Accept);
        }
        assert_eq!(latch.target(), Some(at("198.51.100.9:5000")));
    }

    #[test]
    fn rule_3_five_packets_or_a_quarter_second_lock() {
        let mut latch = Latch::new(Some(phone()), Allowed::Anyone);
        let nat = at("198.51.100.9:5000");
        for i in 0..4 {
            latch.packet(nat, i);
        }
        assert_eq!(latch.locked(), None);
        latch.packet(nat, 4);
        assert_eq!(latch.locked(), Some(nat));
        assert_eq!(latch.packet(phone(), 5), Verdict::Drop, "locked is locked");
        let mut latch = Latch::new(Some(phone()), Allowed::Anyone);
        latch.packet(nat, 0);
        latch.packet(nat, 250);
        assert_eq!(latch.locked(), Some(nat));
    }

    #[test]
    fn rule_4_media_alone_never_unlocks_and_the_same_description_does_not_either() {
        let mut latch = Latch::new(Some(phone()), Allowed::Described);
        (0..5).for_each(|i| {
            latch.packet(phone(), i);
        });
        for i in 0..1_000 {
            assert_eq!(latch.packet(at("192.0.2.30:6666"), 10_000 + i), Verdict::Drop);
        }
        latch.describe(Some(phone()), Allowed::Described, &[]);
        assert_eq!(latch.locked(), Some(phone()));
        latch.describe(Some(at("192.0.2.31:16400")), Allowed::Described, &[]);
        assert_eq!((latch.locked(), latch.target()), (None, Some(at("192.0.2.31:16400"))));
    }

    #[test]
    fn rule_5_the_described_address_wins_while_learning() {
        let mut latch = Latch::new(Some(phone()), Allowed::Anyone);
        let attacker = at("203.0.113.66:9");
        for i in 0..4 {
            assert_eq!(latch.packet(attacker, i), Verdict::Accept);
        }
        assert_eq!(latch.packet(phone(), 4), Verdict::Accept);
        for i in 5..8 {
            assert_eq!(latch.packet(attacker, i), Verdict::Drop);
            latch.packet(phone(), i);
        }
        latch.packet(phone(), 9);
        assert_eq!(latch.locked(), Some(phone()));
    }

    fn locked_on(source: SocketAddr) -> Latch {
        let mut latch = Latch::new(Some(phone()), Allowed::Described);
        for ms in 0..5 {
            assert_eq!(latch.media(source, 7, ms), Verdict::Accept);
        }
        assert_eq!(latch.locked(), Some(source));
        latch
    }

    #[test]
    fn f9_the_described_address_takes_the_lock_back() {
        let sprayer = at("192.0.2.30:40000");
        let mut latch = locked_on(sprayer);
        assert_eq!(latch.settled(), None, "the socket stays open for the phone");
        assert_eq!(latch.media(phone(), 9, 10), Verdict::Accept);
        assert_eq!((latch.locked(), latch.settled()), (Some(phone()), Some(phone())));
        for ms in 11..3_000 {
            assert_eq!(latch.media(sprayer, 7, ms), Verdict::Drop);
            latch.media(phone(), 9, ms);
        }
    }

    /// Rule 9a: a NAT that gives the phone another port.
    #[test]
    fn d10_another_port_of_a_silent_peer_is_latched_by_the_same_stream() {
        let moved = at("192.0.2.30:50000");
        for (ssrc, from, taken) in [(7, moved, true), (8, moved, false), (7, at("192.0.2.31:50000"), false)] {
            let mut latch = locked_on(phone());
            for ms in (0..SILENCE_MS).step_by(20) {
                assert_eq!(latch.media(from, ssrc, ms), Verdict::Drop, "not while it speaks");
            }
            assert!(latch.is_silent(SILENCE_MS + 4));
            let verdicts: Vec<_> = (0..5).map(|n| latch.media(from, ssrc, 3_000 + n * 20)).collect();
            assert_eq!(verdicts.last() == Some(&Verdict::Accept), taken, "{from} {ssrc}");
            assert_eq!(latch.locked() == Some(from), taken);
        }
    }

    #[test]
    fn d10_media_of_the_networks_is_latched_and_no_other() {
        let networks = ["203.0.113.0/24".parse().unwrap()];
        let node = at("203.0.113.9:6000");
        let mut latch = Latch::new(Some(phone()), Allowed::Described).with_networks(&networks);
        assert_eq!(latch.media(at("198.51.100.1:6000"), 7, 0), Verdict::Drop);
        for ms in 0..5 {
            assert_eq!(latch.media(node, 7, ms), Verdict::Accept);
        }
        assert_eq!(latch.locked(), Some(node));
        // Another node of the carrier goes on with a stream of its own.
        let next = at("203.0.113.10:7000");
        for ms in (3_000..3_300).step_by(20) {
            latch.media(next, 99, ms);
        }
        assert_eq!(latch.locked(), Some(next));
    }
}
