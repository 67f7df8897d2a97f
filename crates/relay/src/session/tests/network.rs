//! A phone and a client over networks that lose, delay, overtake and repeat, and a NAT that gives another port: on virtual time,
//! by a seed (`SEED=n` replays one). What the relay tells of its streams is held against what the network did.

use super::webrtc::{Client, connected};
use super::*;
use crate::rtcp::{Block, Item, Sender, middle, read};
use crate::webrtc::Received;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Says which seed it was.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SEED={}", self.0);
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}

/// One way of one side.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Of a thousand.
    loss: u64,
    twice: u64,
    base_ms: u64,
    jitter_ms: u64,
}

const CLEAR: Way = Way { loss: 0, twice: 0, base_ms: 10, jitter_ms: 0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Phone,
    PhoneRtcp,
    Client,
    /// Its RTP and RTCP ports towards the phone, and the shared one.
    Relay(u8),
}

/// A party as it knows itself.
struct Party {
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    /// The relay's last report on itself, and when it came.
    report: Option<(Sender, u64)>,
    /// Packets heard: payload by sequence number, and how often in all.
    heard: BTreeMap<u32, u32>,
    names: BTreeSet<u32>,
}

impl Party {
    fn new(random: &mut Random) -> Party {
        Party {
            ssrc: 1 + random.below(u64::from(u32::MAX)) as u32,
            // Close to the wrap, for some.
            seq: (65_300 + random.below(400)) as u16,
            timestamp: random.below(u64::from(u32::MAX)) as u32,
            report: None,
            heard: BTreeMap::new(),
            names: BTreeSet::new(),
        }
    }

    fn speak(&mut self, number: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend(self.seq.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(number.to_be_bytes());
        packet.extend([number as u8; 156]);
        (self.seq, self.timestamp) = (self.seq.wrapping_add(1), self.timestamp.wrapping_add(160));
        packet
    }

    fn hear(&mut self, packet: &[u8]) {
        let rtp = crate::packet::rtp(packet).unwrap();
        let number = u32::from_be_bytes(packet[12..16].try_into().unwrap());
        assert_eq!((packet.len(), rtp.pt, &packet[16..]), (172, 0, &[number as u8; 156][..]));
        *self.heard.entry(number).or_default() += 1;
        self.names.insert(rtp.ssrc);
    }

    fn hear_report(&mut self, packet: &[u8], now: u64) {
        read(packet, |item| {
            if let Item::Sender(sender) = item {
                self.report = Some((sender, now));
            }
        });
    }

    /// Its own report: RR about the relay's last SR.
    fn report(&self, now: u64) -> Vec<u8> {
        let block = self.report.map(|(sender, came)| Block {
            ssrc: sender.ssrc,
            last_report: middle(sender.ntp),
            delay: ((now - came) * 65_536 / 1_000) as u32,
            ..Block::default()
        });
        compound(|w| {
            w.report(self.ssrc, None, block.as_ref()).name(self.ssrc, *b"a simulated peer");
        })
    }
}

/// Packets of one stream that reached the relay.
#[derive(Default)]
struct Came {
    sent: u64,
    lost: u64,
    /// Extended sequence numbers, each as often as it came.
    numbers: Vec<u32>,
}

impl Came {
    /// RFC 3550 A.3 over what the network delivered; `once`: what comes twice is refused.
    fn lost(&self, once: bool) -> (u64, u64) {
        let (first, highest) = (self.numbers[0], *self.numbers.iter().max().unwrap());
        let expected = u64::from(highest - first) + 1;
        let distinct: BTreeSet<_> = self.numbers.iter().collect();
        let received = if once { distinct.len() } else { self.numbers.len() } as u64;
        (expected, expected.saturating_sub(received))
    }
}

/// When it arrives, in which order, where, from where, what, and for media its number.
type Flight = (u64, u64, Place, SocketAddr, Vec<u8>, Option<u32>);

struct World {
    now: u64,
    random: Random,
    worker: Worker,
    client: Client,
    end: EndpointId,
    ways: [[Way; 2]; 2],
    flying: BinaryHeap<Reverse<Flight>>,
    order: u64,
    /// Where the relay sees the parties: phone and client.
    seen: [SocketAddr; 2],
    parties: [Party; 2],
    came: [Came; 2],
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (mut net, end, _) = connected();
        let client = net.clients.remove(0);
        let parties = [Party::new(&mut random), Party::new(&mut random)];
        let seen = [phone(), client.address];
        let (now, worker) = (net.now.0, net.worker);
        let ways = [[CLEAR; 2]; 2];
        let (flying, came) = (BinaryHeap::new(), [Came::default(), Came::default()]);
        World { now, random, worker, client, end, ways, flying, order: 0, seen, parties, came }
    }

    /// Something leaves; `number` for media to the relay.
    fn send(
        &mut self,
        side: usize,
        inward: bool,
        to: Place,
        from: SocketAddr,
        octets: Vec<u8>,
        number: Option<u32>,
    ) {
        let way = self.ways[side][usize::from(inward)];
        let counted = number.is_some() && inward;
        self.came[side].sent += u64::from(counted);
        if self.random.below(1_000) < way.loss {
            self.came[side].lost += u64::from(counted);
            return;
        }
        for _ in 0..1 + u64::from(self.random.below(1_000) < way.twice) {
            let at = self.now + way.base_ms + self.random.below(way.jitter_ms + 1);
            self.order += 1;
            self.flying.push(Reverse((at, self.order, to, from, octets.clone(), number)));
        }
    }

    /// The relay sends; what is for nobody any more is lost.
    fn leave(&mut self, to: SocketAddr, octets: Vec<u8>) {
        let rtcp = SocketAddr::new(self.seen[0].ip(), self.seen[0].port() + 1);
        let (side, place) = match to {
            to if to == self.seen[0] => (0, Place::Phone),
            to if to == rtcp => (0, Place::PhoneRtcp),
            to if to == self.seen[1] => (1, Place::Client),
            _ => return,
        };
        self.send(side, false, place, shared(), octets, None);
    }

    fn arrive(&mut self, place: Place, from: SocketAddr, mut octets: Vec<u8>, number: Option<u32>) {
        let at = Arrival(self.now * 1_000);
        let length = octets.len();
        match place {
            Place::Phone => self.parties[0].hear(&octets),
            Place::PhoneRtcp => self.parties[0].hear_report(&octets, self.now),
            Place::Client => {
                match self.client.end.receive(&mut octets, from, self.client.address, at.time()) {
                    Received::Rtp(length) => self.parties[1].hear(&octets[..length]),
                    Received::Rtcp(length) => self.parties[1].hear_report(&octets[..length], self.now),
                    Received::Nothing => {}
                }
            }
            Place::Relay(socket) => {
                let side = usize::from(socket == 2);
                if let Some(number) = number {
                    self.came[side].numbers.push(number);
                }
                let socket =
                    [Socket::Rtp(self.end), Socket::Rtcp(self.end), Socket::Shared][usize::from(socket)];
                octets.resize(length + crate::srtp::ROOM, 0);
                if let Some(out) = self.worker.handle_datagram(socket, from, at, &mut octets, length) {
                    octets.truncate(out.length);
                    self.leave(out.to, octets);
                }
            }
        }
    }

    /// So many milliseconds, in which both parties speak or do not.
    fn run(&mut self, ms: u64, speak: bool) {
        for _ in 0..ms / 5 {
            self.now += 5;
            let now = Time(self.now);
            while self.flying.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Some(Reverse((_, _, place, from, octets, number))) = self.flying.pop() else { break };
                self.arrive(place, from, octets, number);
            }
            if self.worker.poll_timeout().is_some_and(|at| at <= now) {
                self.worker.handle_timeout(now);
            }
            if self.client.end.deadline().is_some_and(|at| at <= now) {
                self.client.end.tick(now);
            }
            for (_, to, octets) in departures(&mut self.worker, self.now) {
                self.leave(to, octets);
            }
            while let Some(datagram) = self.worker.poll_datagram() {
                self.leave(datagram.pair.remote, datagram.octets);
            }
            while let Some(datagram) = self.client.end.poll_transmit() {
                self.send(1, true, Place::Relay(2), self.seen[1], datagram.octets, None);
            }
            if speak && self.now.is_multiple_of(20) {
                for side in [0, 1] {
                    let number = self.came[side].sent as u32;
                    let packet = self.parties[side].speak(number);
                    self.say(side, packet, Some(number));
                }
            }
            if self.now.is_multiple_of(1_000) {
                for side in [0, 1] {
                    let report = self.parties[side].report(self.now);
                    self.say(side, report, None);
                }
            }
            assert!(self.worker.rtcp_queue.is_empty() && self.worker.datagrams.is_empty());
            assert!(self.worker.addresses.len() <= 4 && self.worker.timers.len() <= 1);
        }
    }

    fn say(&mut self, side: usize, mut packet: Vec<u8>, number: Option<u32>) {
        if side == 0 {
            let rtcp = number.is_none();
            let from = SocketAddr::new(self.seen[0].ip(), self.seen[0].port() + u16::from(rtcp));
            return self.send(0, true, Place::Relay(u8::from(rtcp)), from, packet, number);
        }
        let length = packet.len();
        packet.resize(length + crate::srtp::ROOM, 0);
        let sealed = match number {
            Some(_) => self.client.end.protect(&mut packet, length),
            None => self.client.end.protect_rtcp(&mut packet, length),
        };
        // Without consent a client does not send.
        let Some((length, _)) = sealed else { return };
        packet.truncate(length);
        self.send(1, true, Place::Relay(2), self.seen[1], packet, number);
    }

    fn statistics(&self) -> Vec<Statistics> {
        self.worker.statistics("call").unwrap()
    }
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let one = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    one.map_or(0..count, |seed: u64| seed..seed + 1)
}

#[test]
fn figures_tell_what_the_network_did_and_every_packet_that_can_arrive_does() {
    let (mut heard, mut trips, mut ran) = (0, 0, 0);
    for seed in seeds(200) {
        ran += 1;
        let told = Told(seed);
        let mut world = World::new(seed);
        let mut way = |calm: bool| {
            let mut below = |bound| if calm { 0 } else { world.random.below(bound) };
            let base_ms = 1 + below(80);
            Way { loss: below(150), twice: below(30), base_ms, jitter_ms: below(45) }
        };
        world.ways = [[way(seed % 7 == 0), way(false)], [way(false), way(seed % 5 == 0)]];
        world.run(6_000, true);
        // What is still on its way arrives; nobody speaks any more.
        world.run(500, false);
        let statistics = world.statistics();
        for side in [0, 1] {
            let (statistics, came, way) = (&statistics[side], &world.came[side], world.ways[side]);
            // SRTP refuses what comes twice; in the clear it counts as received (RFC 3550 A.3).
            let (expected, lost) = came.lost(side == 1);
            assert_eq!((statistics.expected, statistics.lost), (expected, lost), "{side} {way:?}");
            assert!(expected + 20 >= came.sent && statistics.lost <= came.lost);
            // The world goes by steps of 5 ms.
            assert!(
                u64::from(statistics.jitter_us) <= 1_000 * (way[1].jitter_ms + 5),
                "{statistics:?} {way:?}"
            );
            if way[1].jitter_ms >= 20 {
                assert!(statistics.jitter_us > 1_000 * way[1].jitter_ms as u32 / 8, "{statistics:?} {way:?}");
            }
            let least = way[0].base_ms + way[1].base_ms;
            let most = least + way[0].jitter_ms + way[1].jitter_ms + 12;
            let trip = statistics.round_trip_us.map(|trip| u64::from(trip) / 1_000);
            // Reports are few and lost like anything else.
            assert!(trip.is_none_or(|trip| trip + 1 >= least && trip <= most), "{trip:?}, {least} to {most}");
            trips += usize::from(trip.is_some());
            assert!(statistics.mos_mean.is_some());

            // The other party: each packet that came to the relay and was not lost behind it, once by the relay.
            let (there, back) = (&world.parties[1 - side], world.ways[1 - side][0]);
            let distinct: BTreeSet<u32> = came.numbers.iter().copied().collect();
            assert!(there.heard.keys().all(|number| distinct.contains(number)));
            assert_eq!(there.names.len(), 1, "one source, whatever the network does");
            if back.loss == 0 {
                assert_eq!(there.heard.len(), distinct.len());
            }
            let least = distinct.len() as u64 * (1_000 - back.loss) / 1_000;
            assert!(there.heard.len() as u64 + 40 >= least, "{} of {least}", there.heard.len());
            heard += there.heard.len();
        }
        drop(told);
    }
    println!("{heard} packets were heard, {trips} round trips known");
    assert!(ran == 1 || trips > ran * 2 * 9 / 10);
}

/// A NAT gives the client another port. It is found by its checks, and sound comes back both ways without signalling; the old
/// address then gets nothing.
#[test]
fn a_client_whose_nat_forgets_it_is_found_again() {
    let mut worst = 0;
    for seed in seeds(20) {
        let told = Told(seed);
        let mut world = World::new(seed);
        world.ways = [[Way { loss: 20, jitter_ms: 10, ..CLEAR }; 2]; 2];
        world.run(2_000, true);
        let old = world.seen[1];
        world.seen[1] = SocketAddr::new(old.ip(), old.port() + 1 + world.random.below(1_000) as u16);
        let moved = world.now;
        let mut back = None;
        while world.now < moved + 45_000 {
            let heard = world.parties.each_ref().map(|party| party.heard.len());
            world.run(200, true);
            let now = world.parties.each_ref().map(|party| party.heard.len());
            if now[0] >= heard[0] + 5 && now[1] >= heard[1] + 5 {
                back = Some(world.now - moved);
                break;
            }
        }
        let back = back.expect("no sound came back");
        worst = worst.max(back);
        assert_eq!(world.statistics()[1].peer, Some(world.seen[1]));
        let reports = std::iter::from_fn(|| world.worker.poll_event());
        assert!(reports.into_iter().all(|r| r.event == Event::Connected));
        drop(told);
    }
    println!("{worst} ms at worst");
}

/// A phone's NAT does the same: it is heard again once the old port was silent for 2 s (§12.6 rule 9a), and at once when it signals.
#[test]
fn d10_a_phone_whose_nat_forgets_it_is_heard_again() {
    for seed in seeds(20) {
        let told = Told(seed);
        let mut world = World::new(seed);
        world.run(1_000, true);
        world.seen[0] = SocketAddr::new(world.seen[0].ip(), 20_000 + world.random.below(1_000) as u16);
        world.run(200, true);
        let (heard, dropped) = (world.parties[1].heard.len(), world.statistics()[0].dropped);
        world.run(1_700, true);
        assert_eq!(world.parties[1].heard.len(), heard);
        assert!(world.statistics()[0].dropped >= dropped + 80);
        world.run(1_300, true);
        assert!(world.parties[1].heard.len() >= heard + 45);
        assert_eq!(world.statistics()[0].peer, Some(world.seen[0]));
        world.seen[0] = SocketAddr::new(world.seen[0].ip(), 30_000 + world.random.below(1_000) as u16);
        let codecs = [(0, "PCMU"), (101, "telephone-event")];
        world.worker.connect("call", 0, 0, &remote(world.seen[0], &codecs), Time(world.now)).unwrap();
        let before = world.parties.each_ref().map(|party| party.heard.len());
        world.run(1_000, true);
        for (party, before) in world.parties.iter().zip(before) {
            assert!(party.heard.len() >= before + 45);
        }
        drop(told);
    }
}
