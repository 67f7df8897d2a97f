//! Two ends against each other over a wire that delays, loses, repeats and reorders.

use super::*;
use crate::srtp::ROOM;
use signal::media::{CandidateKind, Setup};
use std::time::Duration;

mod paths;
mod wire;

const START: Time = Time(1_700_000_000_000);
const UFRAG: [&str; 2] = ["aaaa", "bbbb"];
const PWD: [&str; 2] = ["0123456789abcdef012345", "fedcba9876543210fedcba"];

fn address(side: usize) -> SocketAddr {
    [SocketAddr::from(([192, 0, 2, 1], 1000)), SocketAddr::from(([198, 51, 100, 2], 2000))][side]
}

fn config(side: usize, controlling: bool) -> Config {
    Config {
        credentials: credentials(side),
        addresses: vec![address(side)],
        controlling,
        tie_breaker: 7 + side as u64,
        preference: crate::ice::PREFERENCE,
    }
}

fn credentials(side: usize) -> Credentials {
    Credentials { ufrag: UFRAG[side].into(), pwd: PWD[side].into() }
}

fn candidate(address: SocketAddr) -> Candidate {
    Candidate {
        foundation: "1".into(),
        component: 1,
        priority: 2_130_706_431,
        address,
        kind: CandidateKind::Host,
        related: None,
        generation: 0,
    }
}

fn ice(side: usize) -> Ice {
    Ice {
        ufrag: UFRAG[side].into(),
        pwd: PWD[side].into(),
        candidates: vec![candidate(address(side))],
        lite: false,
        trickle: false,
    }
}

#[allow(clippy::disallowed_methods, reason = "a base for the standard clock; it is not looked at again")]
fn base() -> Instant {
    Instant::now()
}

fn rtp(seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 160, 0, 0, 0, 7];
    packet[2..4].copy_from_slice(&seq.to_be_bytes());
    packet.extend([0xd5; 160]);
    packet
}

/// Two ends and the wire between them.
struct Net {
    now: Time,
    /// Real time goes by as the wire's does (flights are repeated by it).
    real: bool,
    ends: [Transport; 2],
    certificates: [Certificate; 2],
    events: [Vec<TransportEvent>; 2],
    media: [Vec<Received>; 2],
    flying: Vec<(Time, usize, Vec<u8>)>,
    /// Percent lost, repeated and delayed.
    faults: (u64, u64, u64),
    /// Side 0 is behind a NAT: it is seen to send from here, and what is sent here reaches it.
    nat: Option<SocketAddr>,
    /// Nothing gets through to this side.
    deaf: [bool; 2],
    seed: u64,
    steps: u64,
}

impl Net {
    fn new(controlling: [bool; 2]) -> Net {
        let certificates = [0, 1].map(|_| Certificate::generate(START).unwrap());
        Net::with(controlling, certificates)
    }
    fn with(controlling: [bool; 2], certificates: [Certificate; 2]) -> Net {
        let end = |side: usize| {
            Transport::new(&config(side, controlling[side]), &certificates[side], base(), START).unwrap()
        };
        Net {
            now: START,
            real: false,
            ends: [end(0), end(1)],
            certificates,
            events: [vec![], vec![]],
            media: [vec![], vec![]],
            flying: vec![],
            faults: (0, 0, 0),
            nat: None,
            deaf: [false; 2],
            seed: 1,
            steps: 0,
        }
    }
    /// Description of `side`.
    fn dtls(&self, side: usize, setup: Setup) -> Dtls {
        Dtls { fingerprints: vec![self.certificates[side].fingerprint()], setup }
    }
    /// Where the other side sees this one.
    fn seen(&self, side: usize) -> SocketAddr {
        self.nat.filter(|_| side == 0).unwrap_or(address(side))
    }
    /// `side` hears what its peer says of itself.
    fn describe(&mut self, side: usize, setup: Setup) {
        let dtls = self.dtls(1 - side, setup);
        self.ends[side].remote(&ice(1 - side), &dtls, self.now).unwrap();
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % 100 < percent
    }
    fn drain(&mut self) {
        for side in [0, 1] {
            while let Some(datagram) = self.ends[side].poll_transmit() {
                assert_eq!(datagram.pair.local, address(side));
                assert!(datagram.octets.len() <= 1200);
                let to = 1 - side;
                if datagram.pair.remote != self.seen(to) || self.deaf[to] || self.chance(self.faults.0) {
                    continue;
                }
                let copies = if self.chance(self.faults.1) { 2 } else { 1 };
                for _ in 0..copies {
                    let delay = if self.chance(self.faults.2) { 25 } else { 10 };
                    self.flying.push((self.now + delay, to, datagram.octets.clone()));
                }
            }
            while let Some(event) = self.ends[side].poll_event() {
                self.events[side].push(event);
            }
        }
    }
    /// Until `done` or for `ms`; tells whether it was done.
    fn run(&mut self, ms: u64, done: impl Fn(&Net) -> bool) -> bool {
        let until = self.now + ms;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let flying = self.flying.iter().map(|(at, ..)| *at);
            let next = self.ends.iter_mut().filter_map(Transport::deadline);
            let next = flying.chain(next).min().unwrap_or(until).max(self.now);
            if next >= until {
                self.now = until;
                return false;
            }
            self.steps += 1;
            if self.real {
                std::thread::sleep(Duration::from_millis(next.since(self.now)));
            }
            // A deadline that stays in the past would spin: time goes on by a millisecond at each step at least.
            self.now = next.max(self.now + u64::from(self.steps.is_multiple_of(8)));
            let now = self.now;
            let (due, later) = std::mem::take(&mut self.flying).into_iter().partition(|(at, ..)| *at <= now);
            self.flying = later;
            let due: Vec<_> = due;
            for (_, side, mut octets) in due {
                let from = self.seen(1 - side);
                let got = self.ends[side].receive(&mut octets, from, address(side), now);
                if got != Received::Nothing {
                    self.media[side].push(got);
                }
                self.drain();
            }
            for end in &mut self.ends {
                if end.deadline().is_some_and(|at| at <= now) {
                    end.tick(now);
                }
            }
        }
    }
    fn connected(&self) -> bool {
        self.events.iter().all(|e| e.iter().any(|e| matches!(e, TransportEvent::Connected { .. })))
    }
    /// One RTP and one RTCP packet each way, decrypted at the other side.
    fn talk(&mut self, seq: u16) {
        for side in [0, 1] {
            let mut buffer = rtp(seq);
            let plain = buffer.clone();
            buffer.resize(plain.len() + ROOM, 0);
            let (length, pair) = self.ends[side].protect(&mut buffer, plain.len()).unwrap();
            assert_eq!(pair, Pair { local: address(side), remote: self.seen(1 - side) });
            assert_ne!(buffer[12..plain.len()], plain[12..], "it is encrypted");
            let got = self.ends[1 - side].receive(
                &mut buffer[..length],
                address(side),
                address(1 - side),
                self.now,
            );
            assert_eq!(got, Received::Rtp(plain.len()));
            assert_eq!(buffer[..plain.len()], plain);
            let plain = [0x80, 201, 0, 1, 0, 0, 0, 9];
            let mut buffer = plain.to_vec();
            buffer.resize(plain.len() + ROOM, 0);
            let (length, _) = self.ends[side].protect_rtcp(&mut buffer, plain.len()).unwrap();
            let got = self.ends[1 - side].receive(
                &mut buffer[..length],
                address(side),
                address(1 - side),
                self.now,
            );
            assert_eq!(got, Received::Rtcp(plain.len()));
        }
    }
}

fn is_send<T: Send>() {}

#[test]
fn both_orders_of_ice_and_dtls_roles_connect_and_carry_media() {
    is_send::<Transport>();
    for controlling in [[true, false], [false, true]] {
        // What side 1 hears of side 0, and side 0 of side 1: offer actpass, answer active or passive.
        for setups in [
            [Setup::ActPass, Setup::Active],
            [Setup::Active, Setup::Passive],
            [Setup::Passive, Setup::Active],
        ] {
            let mut net = Net::new(controlling);
            net.describe(1, setups[0]);
            net.describe(0, setups[1]);
            assert!(net.run(2_000, Net::connected), "{controlling:?} {setups:?} {:?}", net.events);
            assert!(net.now.since(START) < 500, "{}", net.now.since(START));
            assert_eq!(net.events[0], [TransportEvent::Connected { suite: Suite::AeadAes128Gcm }]);
            net.talk(1);
            assert!(net.steps < 200, "no deadline spins: {}", net.steps);
        }
    }
}
