//! Symmetric RTP without ICE: who may send here, and where we send (interworking §12.6).
//!
//! One rule: media never unlocks a latch, only signalling does; until it is locked nothing is sent to an address that
//! signalling did not name (no reflector, no RTP bleed).

use std::net::{IpAddr, SocketAddr};

/// Packets in a row that lock (rule 3).
const PACKETS: u8 = 5;
/// Milliseconds from the first that lock (rule 3).
const LEARNING_MS: u64 = 250;

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
    state: State,
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
        Latch { described, allowed, state: State::Learning(None) }
    }

    /// A new description unlocks only where it names another address (rule 4).
    pub fn describe(&mut self, described: Option<SocketAddr>, allowed: Allowed) {
        if (described, allowed) != (self.described, self.allowed) {
            *self = Latch::new(described, allowed);
        }
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
        match self.allowed {
            Allowed::Described => described,
            Allowed::Signalled(ip) => described || ip == source.ip(),
            Allowed::Anyone => true,
        }
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
        latch.describe(Some(phone()), Allowed::Described);
        assert_eq!(latch.locked(), Some(phone()));
        latch.describe(Some(at("192.0.2.31:16400")), Allowed::Described);
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
}
