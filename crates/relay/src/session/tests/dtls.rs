//! Phones that speak DTLS-SRTP at ports, without ICE (RFC 5763): two workers face each other, each the other's phone.

use super::*;
use crate::srtp::ROOM;
use signal::media::{Dtls, Setup};
use std::collections::VecDeque;

/// Two workers, each with a call of a plain party (leg 0) and of the other worker (leg 1).
struct Phones {
    workers: [Worker; 2],
    ends: [[EndpointId; 2]; 2],
    mux: bool,
    now: u64,
    /// Datagrams that came for the plain parties.
    heard: [Vec<Vec<u8>>; 2],
    /// Datagrams between the workers, seen on the wire.
    wire: Vec<Vec<u8>>,
    on_the_way: VecDeque<(usize, Socket, SocketAddr, Vec<u8>)>,
}

fn address(side: usize, port: u16) -> SocketAddr {
    SocketAddr::new(["192.0.2.1", "198.51.100.2"][side].parse().unwrap(), port)
}

impl Phones {
    /// Side 0 offers and says `setups.0`, side 1 answers `setups.1`.
    fn new(mux: bool, setups: (Setup, Setup), lie: bool) -> Phones {
        let mut workers = [worker(Limits::default()), worker(Limits::default())];
        let ends = [0, 1].map(|side: usize| {
            let ids = allocate(&mut workers[side], "call", 1);
            [ids[0], ids[1]]
        });
        let mut phones = Phones {
            workers,
            ends,
            mux,
            now: 0,
            heard: [vec![], vec![]],
            wire: vec![],
            on_the_way: VecDeque::new(),
        };
        for side in [0, 1] {
            let mut facts = phones.facts(side, [setups.1, setups.0][side]);
            if lie && side == 0 {
                facts.dtls.as_mut().unwrap().fingerprints[0].digest[0] ^= 1;
            }
            let worker = &mut phones.workers[side];
            worker.connect("call", 0, 0, &remote(phone(), &[(0, "PCMU")]), Time(0)).unwrap();
            worker.connect("call", 1, 0, &facts, Time(0)).unwrap();
        }
        phones
    }

    /// Description of the other side that side `side` is told.
    fn facts(&self, side: usize, setup: Setup) -> Remote {
        let fingerprints = vec![self.workers[1 - side].host.certificate.fingerprint()];
        let there = address(1 - side, self.port(1 - side, true));
        Remote {
            mux: self.mux,
            dtls: Some(Dtls { fingerprints, setup }),
            ours: side == 0,
            ..remote(there, &[(0, "PCMU")])
        }
    }

    fn port(&self, side: usize, rtp: bool) -> u16 {
        30_000 + 2 * self.ends[side][1].index as u16 + u16::from(!rtp)
    }

    fn leave(&mut self, side: usize, socket: Socket, to: SocketAddr, octets: Vec<u8>) {
        let far = self.ends[side][1];
        let rtp = socket == Socket::Rtp(far);
        if !rtp && socket != Socket::Rtcp(far) {
            self.heard[side].push(octets);
            return;
        }
        let there = 1 - side;
        let socket = [true, false].into_iter().find(|rtp| to == address(there, self.port(there, *rtp)));
        let end = self.ends[there][1];
        let socket = if socket.unwrap() { Socket::Rtp(end) } else { Socket::Rtcp(end) };
        self.wire.push(octets.clone());
        self.on_the_way.push_back((there, socket, address(side, self.port(side, rtp)), octets));
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.now += 10;
            for side in [0, 1] {
                self.workers[side].handle_timeout(Time(self.now));
                for (socket, to, octets) in departures(&mut self.workers[side], self.now) {
                    self.leave(side, socket, to, octets);
                }
            }
            while let Some((side, socket, from, octets)) = self.on_the_way.pop_front() {
                if let Some((socket, to, octets)) =
                    give(&mut self.workers[side], socket, from, self.now, &octets)
                {
                    self.leave(side, socket, to, octets);
                }
                for (socket, to, octets) in departures(&mut self.workers[side], self.now) {
                    self.leave(side, socket, to, octets);
                }
            }
        }
    }

    /// The plain party of a side speaks.
    fn speak(&mut self, side: usize, seq: u16) -> bool {
        let end = self.ends[side][0];
        let sent = give(&mut self.workers[side], Socket::Rtp(end), phone(), self.now, &rtp(0, seq, 7));
        let sent = sent.map(|(socket, to, octets)| self.leave(side, socket, to, octets)).is_some();
        self.run(20);
        sent
    }

    fn events(&mut self, side: usize) -> Vec<(u8, Event)> {
        std::iter::from_fn(|| self.workers[side].poll_event()).map(|r| (r.leg.0, r.event)).collect()
    }
}

#[test]
fn d11_dtls_at_ports_carries_sound_both_ways_in_every_role() {
    for mux in [true, false] {
        for setups in [
            (Setup::ActPass, Setup::Active),
            (Setup::Active, Setup::Passive),
            (Setup::Passive, Setup::Active),
        ] {
            let mut phones = Phones::new(mux, setups, false);
            phones.run(1_000);
            for seq in 0..10 {
                for side in [0, 1] {
                    assert!(phones.speak(side, seq), "{mux} {setups:?} {side}");
                    let heard = phones.heard[1 - side].iter().rfind(|packet| packet[1] == 0).unwrap();
                    assert_eq!(heard[12..], rtp(0, seq, 7)[12..]);
                }
            }
            assert!(phones.wire.iter().any(|packet| packet[0] == 0x80 && packet.len() > 172), "sealed");
            for side in [0, 1] {
                let far = &statistics(&phones.workers[side])[1];
                assert_eq!((far.form, far.suite), (Form::Dtls, Some(crate::srtp::Suite::AeadAes128Gcm)));
                assert_eq!((far.packets_in, far.dropped), (10, 0), "{mux} {setups:?}");
                let mut events = phones.events(side);
                events.sort_by_key(|(leg, _)| *leg);
                assert_eq!(events, [(0, Event::Connected), (1, Event::Connected)]);
            }
            // Reports are protected too, by an association of their own unless muxed.
            phones.run(12_000);
            assert!(statistics(&phones.workers[0])[1].view.is_some(), "{mux} {setups:?}");
        }
    }
}

/// A hold and a session refresh change no association; another address does (RFC 5763 §6.6).
#[test]
fn d11_a_later_description_keeps_the_keys_unless_the_peer_has_moved() {
    let mut phones = Phones::new(true, (Setup::ActPass, Setup::Active), false);
    phones.run(1_000);
    let hellos = |phones: &Phones| phones.wire.iter().filter(|packet| packet[0] == 22).count();
    let before = hellos(&phones);
    assert!(before > 0);
    for side in [0, 1] {
        let again = phones.facts(side, Setup::ActPass);
        let hold = Remote { address: None, direction: Direction::None, ..again.clone() };
        for facts in [hold, again] {
            phones.workers[side].connect("call", 1, 0, &facts, Time(phones.now)).unwrap();
        }
    }
    phones.run(500);
    assert!(phones.speak(0, 1));
    assert_eq!(hellos(&phones), before);
    let there = address(1, 40_000);
    let moved = Remote { address: Some(there), ..phones.facts(0, Setup::Passive) };
    phones.workers[0].connect("call", 1, 0, &moved, Time(phones.now)).unwrap();
    let said = departures(&mut phones.workers[0], phones.now);
    assert!(said.iter().any(|(_, to, octets)| *to == there && octets[0] == 22), "{said:?}");
}

#[test]
fn d11_another_certificate_makes_no_keys() {
    let mut phones = Phones::new(true, (Setup::ActPass, Setup::Active), true);
    phones.run(1_000);
    assert_eq!(phones.events(0), [(1, Event::Insecure)]);
    assert!(!phones.speak(0, 1), "nothing leaves in the clear");
    let mut buffer = [0u8; 172 + ROOM];
    buffer[..172].copy_from_slice(&rtp(0, 1, 7));
    let (end, from) = (phones.ends[0][1], address(1, phones.port(1, true)));
    let taken = phones.workers[0].handle_datagram(
        Socket::Rtp(end),
        from,
        Arrival(phones.now * 1_000),
        &mut buffer,
        172,
    );
    assert_eq!(taken, None, "nothing in the clear is taken");
}

/// Another host begins no association, and is sent nothing.
#[test]
fn d11_dtls_of_a_stranger_is_not_answered() {
    let mut phones = Phones::new(true, (Setup::Active, Setup::Passive), false);
    let said = departures(&mut phones.workers[0], 0).into_iter();
    let hello = said.map(|(.., octets)| octets).find(|octets| octets[0] == 22).unwrap();
    for side in [0, 1] {
        let end = phones.ends[side][1];
        give(&mut phones.workers[side], Socket::Rtp(end), at_stranger(), 5, &hello);
        let said = departures(&mut phones.workers[side], 5);
        assert!(said.iter().all(|(_, to, _)| to.ip() != at_stranger().ip()), "{said:?}");
    }
}
