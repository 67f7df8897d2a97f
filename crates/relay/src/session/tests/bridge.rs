//! Sessions of three legs whose bridge changes while packets flow: whoever is heard, each hearer's stream goes on.

use super::rtcp::{ALL, items, video};
use super::sdes::{Secure, key};
use super::sound::{Rig, opus, tone, track};
use super::webrtc::{Client, Net, host};
use super::*;
use crate::packet;
use crate::rtcp::{Item, Sender};
use ::sound::codec::Kind;
use signal::media::{Setup, Suite};
use std::collections::BTreeSet;

const NAMES: [&str; 3] = ["alice", "bobby", "carol"];

fn address(party: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10 + party as u8], 4_000))
}

/// Legs of these numbers hear each other.
fn bridge(worker: &mut Worker, pair: Option<(u8, u8)>, now: Time) {
    let pairs: Vec<_> = pair.into_iter().map(|(one, other)| (LegId(one), LegId(other))).collect();
    worker.bridge("call", &pairs, now).unwrap();
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Plain,
    Sdes(Suite),
    WebRtc,
}

/// A party, and the stream that it hears: when each packet came, and its header.
struct Party {
    how: How,
    id: EndpointId,
    secure: Option<Secure>,
    /// Beyond the wrap, too.
    seq: u32,
    heard: Vec<(u64, packet::Rtp)>,
}

struct World {
    net: Net,
    parties: Vec<Party>,
}

impl World {
    /// Three legs, connected; nobody hears anybody.
    fn new(how: [How; 3]) -> World {
        let mut worker = worker(Limits::default());
        let ids = allocate_legs(&mut worker, "call", legs([0, 1, 2], 1));
        let mut net = Net { now: Time(0), worker, address: shared(), clients: vec![] };
        let mut parties = vec![];
        for (at, (how, id)) in how.into_iter().zip(ids).enumerate() {
            let secure = if let How::Sdes(suite) = how { Some(Secure::new(id, key(suite, 9))) } else { None };
            if how == How::WebRtc {
                let mut client = Client::new(NAMES[at], &address(at).to_string(), false);
                client.meets(&net.worker, id, Setup::Passive, Time(0));
                net.clients.push(client);
            }
            parties.push(Party { how, id, secure, seq: 65_500 + at as u32, heard: vec![] });
        }
        let mut world = World { net, parties };
        world.connect();
        world.net.run(500);
        world
    }

    fn client(&self, party: usize) -> usize {
        self.net.clients.iter().position(|client| client.address == address(party)).unwrap()
    }

    fn connect(&mut self) {
        for party in 0..3 {
            let facts = match &self.parties[party] {
                Party { how: How::WebRtc, .. } => self.net.clients[self.client(party)].remote(&[(0, "PCMU")]),
                Party { secure: Some(secure), .. } => secure.remote(address(party)),
                _ => remote(address(party), &[(0, "PCMU")]),
            };
            self.net.worker.connect("call", party as u32, 0, &facts, self.net.now).unwrap();
        }
    }

    /// A party says its next packet; gives who hears it.
    fn speak(&mut self, party: usize) -> Option<usize> {
        let client = self.net.clients.iter().position(|client| client.address == address(party));
        let Party { id, secure, seq, .. } = &mut self.parties[party];
        let mut packet = rtp(0, *seq as u16, 100 + party as u32);
        packet[4..8].copy_from_slice(&(*seq * 160).to_be_bytes());
        *seq += 1;
        let wire = secure.as_mut().map_or_else(|| packet.clone(), |secure| secure.seal(&packet));
        let out = match client {
            Some(client) => self.net.say(client, &packet, false),
            None => self.net.give(Socket::Rtp(*id), address(party), &wire),
        };
        let (_, to, wire) = out?;
        let hearer = (0..3).find(|party| address(*party) == to).unwrap();
        let client = self.net.clients.iter_mut().find(|client| client.address == to);
        let heard = match (&mut self.parties[hearer].secure, client) {
            (Some(secure), _) => secure.open(wire).expect("under its key, once"),
            (None, Some(client)) => client.heard.pop().expect("under its key, once").1,
            (None, None) => wire,
        };
        assert_eq!(heard[12..], packet[12..]);
        self.parties[hearer].heard.push((self.net.now.0, packet::rtp(&heard).unwrap()));
        Some(hearer)
    }

    /// All three speak for so many packets; gives who was heard by whom.
    fn talk(&mut self, packets: u16) -> BTreeSet<(usize, usize)> {
        let mut all = BTreeSet::new();
        for _ in 0..packets {
            self.net.run(20);
            for party in 0..3 {
                all.extend(self.speak(party).map(|hearer| (party, hearer)));
            }
        }
        all
    }

    /// To every hearer it was one stream: one SSRC, no number left out or used twice, and a clock that goes on.
    fn assert_continuous(&self) {
        for party in &self.parties {
            for pair in party.heard.windows(2) {
                let [(before, first), (after, second)] = pair else { panic!() };
                assert_eq!(second.ssrc, first.ssrc, "{:?}", party.how);
                assert_eq!(second.seq, first.seq.wrapping_add(1), "{:?}", party.how);
                let ticks = u64::from(second.timestamp.wrapping_sub(first.timestamp));
                assert_eq!(ticks, (after - before) * 8, "{:?}: {first:?} {second:?}", party.how);
            }
        }
    }
}

const MIXES: [[How; 3]; 4] = [
    [How::Plain; 3],
    [How::Sdes(Suite::AesCm128Sha1_80), How::Sdes(Suite::AeadAes128Gcm), How::Plain],
    [How::WebRtc; 3],
    [How::Plain, How::WebRtc, How::Sdes(Suite::AesCm128Sha1_32)],
];

/// Three ends, the bridge moves from a–b to a–c to b–c: no restart of streams, SSRC and sequence continuous for each hearer.
#[test]
fn the_bridge_moves_and_each_hearer_has_one_stream() {
    for how in MIXES {
        let mut world = World::new(how);
        assert_eq!(world.talk(20), BTreeSet::new(), "{how:?}: bridged with nobody, heard by nobody");
        for (one, other) in [(0, 1), (0, 2), (1, 2), (2, 0), (1, 0)] {
            bridge(&mut world.net.worker, Some((one, other)), world.net.now);
            let (one, other) = (usize::from(one), usize::from(other));
            let both = BTreeSet::from([(one, other), (other, one)]);
            assert_eq!(world.talk(50), both, "{how:?}");
            // Asked again, it changes nothing.
            bridge(&mut world.net.worker, Some((one as u8, other as u8)), world.net.now);
            assert_eq!(world.talk(2), both);
        }
        world.assert_continuous();
        let marks = |party: &Party| party.heard.iter().filter(|(_, header)| header.marker).count();
        // Each had another source three times; the first is the stream's own beginning.
        assert_eq!(world.parties.iter().map(marks).collect::<Vec<_>>(), [3, 2, 2], "{how:?}");
        let counted = world.net.worker.statistics("call").unwrap();
        for (party, end) in world.parties.iter().zip(&counted) {
            assert_eq!((end.packets_in, end.lost, end.dropped, end.jitter_us), (280, 0, 0, 0), "{how:?}");
            assert_eq!(end.packets_out, party.heard.len() as u64);
            assert_eq!(end.peer, Some(address(usize::from(end.leg.0))));
        }
        bridge(&mut world.net.worker, None, world.net.now);
        assert_eq!(world.talk(10), BTreeSet::new());
    }
}

/// Latches, and what was told of them, are no matter of the bridge.
#[test]
fn a_change_of_the_bridge_unlocks_nobody() {
    let mut world = World::new([How::Plain; 3]);
    bridge(&mut world.net.worker, Some((0, 1)), Time(0));
    world.talk(10);
    let locked: BTreeSet<_> = std::iter::from_fn(|| world.net.worker.poll_latched()).map(|l| l.end).collect();
    assert_eq!(locked.len(), 3, "the third has locked as well");
    assert_eq!(world.net.events().len(), 3);
    for pair in [(0, 2), (1, 2), (0, 1)] {
        bridge(&mut world.net.worker, Some(pair), world.net.now);
        world.talk(10);
        let stranger = at("203.0.113.66:9");
        let id = world.parties[usize::from(pair.0)].id;
        assert_eq!(
            give(&mut world.net.worker, Socket::Rtp(id), stranger, world.net.now.0, &rtp(0, 1, 1)),
            None
        );
    }
    assert_eq!((world.net.worker.poll_latched(), world.net.events()), (None, vec![]));
}

/// A wish for a third leg in a running call: its endpoint is made, the others do not notice.
#[test]
fn a_third_leg_is_opened_and_released_in_a_running_call() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let talk = |worker: &mut Worker, seq: u16, hears: bool| {
        let out = give(worker, Socket::Rtp(a), phone(), u64::from(seq) * 20, &rtp(0, seq, 7));
        assert_eq!(out.map(|(socket, to, _)| (socket, to)), hears.then_some((Socket::Rtp(b), other())));
    };
    (0..10).for_each(|seq| talk(&mut worker, seq, true));
    let [third] = allocate_legs(&mut worker, "call", legs([2], 1))[..] else { panic!() };
    let there = at("192.0.2.77:5000");
    worker.connect("call", 2, 0, &remote(there, &[(0, "PCMU")]), Time(200)).unwrap();
    (10..20).for_each(|seq| talk(&mut worker, seq, true));
    assert_eq!(give(&mut worker, Socket::Rtp(third), there, 400, &rtp(0, 1, 5)), None);
    worker.bridge("call", &[(LegId(2), LegId(0))], Time(400)).unwrap();
    (20..25).for_each(|seq| {
        let (_, to, _) =
            give(&mut worker, Socket::Rtp(a), phone(), u64::from(seq) * 20, &rtp(0, seq, 7)).unwrap();
        assert_eq!(to, there);
    });
    // The transferor goes: its sockets close, its names are free, nobody else is disturbed.
    let last = worker.release_leg("call", LegId(1), Time(500)).unwrap();
    assert_eq!((last.len(), last[0].packets_out), (1, 20));
    assert_eq!((worker.poll_closed(), worker.poll_closed()), (Some(b), None));
    assert_eq!(worker.ufrags.len(), 2);
    assert_eq!(worker.release_leg("call", LegId(1), Time(500)), Some(vec![]), "asked again");
    assert_eq!(worker.release_leg("no call", LegId(1), Time(500)), None);
    assert_eq!(give(&mut worker, Socket::Rtp(b), other(), 500, &rtp(0, 1, 9)), None);
    let (_, to, _) = give(&mut worker, Socket::Rtp(third), there, 500, &rtp(0, 2, 5)).unwrap();
    assert_eq!(to, phone());
    // One that is bridged goes: the other hears nobody.
    worker.release_leg("call", LegId(0), Time(520)).unwrap();
    assert_eq!(give(&mut worker, Socket::Rtp(third), there, 520, &rtp(0, 3, 5)), None);
    assert_eq!(worker.statistics("call").unwrap().len(), 1);
    // And the last leg takes the session with it.
    worker.release_leg("call", LegId(2), Time(540)).unwrap();
    assert_eq!((worker.totals().0, worker.poll_ended().as_deref()), (0, Some("call")));
    assert!(worker.ufrags.is_empty());
}

#[test]
fn a_bridge_that_makes_no_sense_is_refused_and_changes_nothing() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let pair = |one, other| (LegId(one), LegId(other));
    for (pairs, why) in [
        (vec![pair(0, 2)], "pairs: leg 2 is not known"),
        (vec![pair(1, 1)], "pairs: leg 1 is in two places"),
        (vec![pair(0, 1), pair(2, 0)], "pairs: leg 0 is in two places"),
    ] {
        assert_eq!(worker.bridge("call", &pairs, Time(0)).unwrap_err().to_string(), why);
    }
    assert_eq!(worker.bridge("none", &[], Time(0)), Err(Refusal::UnknownSession("none".into())));
    let out = give(&mut worker, Socket::Rtp(a), phone(), 0, &rtp(0, 0, 7));
    assert_eq!(out.map(|out| out.0), Some(Socket::Rtp(b)));
}

/// Four legs, two pairs: they do not hear across.
#[test]
fn two_pairs_of_one_session_are_apart() {
    let mut worker = worker(Limits::default());
    let ids = allocate_legs(&mut worker, "call", legs([0, 1, 2, 3], 1));
    for leg in 0..4 {
        let there = SocketAddr::from(([192, 0, 2, 50 + leg], 6_000));
        worker.connect("call", leg.into(), 0, &remote(there, &[(0, "PCMU")]), Time(0)).unwrap();
    }
    worker.bridge("call", &[(LegId(0), LegId(3)), (LegId(2), LegId(1))], Time(0)).unwrap();
    for (from, to) in [(0, 3), (3, 0), (1, 2), (2, 1)] {
        let there = |leg: usize| SocketAddr::from(([192, 0, 2, 50 + leg as u8], 6_000));
        let out = give(&mut worker, Socket::Rtp(ids[from]), there(from), 0, &rtp(0, 1, from as u32));
        assert_eq!(out.map(|(socket, to, _)| (socket, to)), Some((Socket::Rtp(ids[to]), there(to))));
    }
}

/// The reports that a hearer gets are of the one stream that it hears, whoever its source was; those on itself go on.
#[test]
fn reports_of_each_leg_stay_right() {
    let mut world = World::new([How::Plain, How::Plain, How::WebRtc]);
    let mut reports = [0; 3];
    for (pair, speaks) in [((0, 1), true), ((0, 2), false), ((1, 2), true), ((0, 2), true)] {
        bridge(&mut world.net.worker, Some(pair), world.net.now);
        for n in 0..600u64 {
            world.talk(1);
            if speaks && n == 100 {
                // Carol's source says of itself what only it can know.
                let newest = world.parties[0].seq - 1;
                let sender =
                    Sender { ssrc: 100, ntp: 9_000 << 32, timestamp: newest * 160, packets: 1, octets: 1 };
                let report = compound(|w| {
                    w.report(100, Some(&sender), None);
                });
                let rtcp = SocketAddr::new(address(0).ip(), address(0).port() + 1);
                world.net.give(Socket::Rtcp(world.parties[0].id), rtcp, &report);
            }
            for (to, packet) in world.net.departures() {
                let party = (0..3).find(|party| address(*party).ip() == to.ip()).unwrap();
                reports[party] += 1;
                let heard = &world.parties[party].heard;
                for item in items(&packet) {
                    match item {
                        Item::Sender(sender) => {
                            let (came, last) = heard.last().unwrap();
                            assert_eq!((sender.ssrc, sender.packets), (last.ssrc, heard.len() as u32));
                            let passed = (world.net.now.0 - came) * 8;
                            assert_eq!(u64::from(sender.timestamp.wrapping_sub(last.timestamp)), passed);
                        }
                        Item::Block(block) => {
                            let said = (world.parties[party].seq - 1) as u16;
                            assert_eq!((block.ssrc, block.highest as u16), (100 + party as u32, said));
                            assert_eq!((block.lost, block.fraction, block.jitter), (0, 0, 0));
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }
    assert!(reports.iter().all(|count| *count >= 8), "bridged or not: {reports:?}");
    world.assert_continuous();
}

/// A video session of three plain legs; gives who is asked for what.
struct Cinema {
    worker: Worker,
    ids: Vec<EndpointId>,
}

impl Cinema {
    fn new(feedback: &[&str]) -> Cinema {
        let mut worker = worker(Limits::default());
        let ids = allocate_legs(&mut worker, "call", legs([0, 1, 2], 1));
        for leg in 0..3 {
            let facts =
                Remote { codecs: vec![video(96, feedback)], mux: true, ..remote(address(leg as usize), &[]) };
            worker.connect("call", leg, 0, &facts, Time(0)).unwrap();
        }
        Cinema { worker, ids }
    }

    /// A frame of one party, whose SSRC is 100 and its number.
    fn show(&mut self, party: usize, ms: u64, seq: u16) -> Option<(SocketAddr, packet::Rtp)> {
        let socket = Socket::Rtp(self.ids[party]);
        let out = give(&mut self.worker, socket, address(party), ms, &rtp(96, seq, 100 + party as u32))?;
        Some((out.1, packet::rtp(&out.2).unwrap()))
    }

    fn ask(&mut self, party: usize, ms: u64, write: impl FnOnce(&mut crate::rtcp::Writer<'_>)) {
        let packet = compound(write);
        assert_eq!(give(&mut self.worker, Socket::Rtp(self.ids[party]), address(party), ms, &packet), None);
    }

    /// Requests that leave now, by whom they are for, and packets that are sent again.
    fn asked(&mut self, ms: u64) -> Vec<(usize, Item)> {
        let mut asked = vec![];
        for (_, to, packet) in departures(&mut self.worker, ms) {
            let party = (0..3).find(|party| address(*party) == to).unwrap();
            if packet[1] & 0x7f == 96 {
                asked.push((party, Item::Bye { ssrc: packet::rtp(&packet).unwrap().seq.into() }));
                continue;
            }
            let of = |item: &Item| matches!(item, Item::Nack { .. } | Item::KeyframeRequest { .. });
            asked.extend(items(&packet).into_iter().filter(of).map(|item| (party, item)));
        }
        asked
    }
}

/// NACK and PLI go to the source that is heard now; what was lost of another one is nobody's matter any more.
#[test]
fn feedback_goes_to_the_source_that_is_heard_now() {
    let mut cinema = Cinema::new(ALL);
    bridge(&mut cinema.worker, Some((0, 1)), Time(0));
    // Bob shows; 5 is lost on its way to us. Carol shows all the while, to nobody.
    for seq in (0..10).filter(|seq| *seq != 5) {
        assert_eq!(cinema.show(1, 10, seq).unwrap().0, address(0));
        assert_eq!(cinema.show(2, 10, 700 + seq), None);
    }
    assert_eq!(cinema.asked(10), []);
    bridge(&mut cinema.worker, Some((0, 2)), Time(20));
    let (to, first) = cinema.show(2, 20, 710).unwrap();
    assert_eq!((to, first.ssrc, first.seq), (address(0), 101, 10), "goes on where Bob's stream was");
    let key = |party: usize| (party, Item::KeyframeRequest { media: 100 + party as u32 });
    assert_eq!(cinema.asked(20), [key(2)], "a keyframe is requested from the new source, once");
    for seq in (711..720).filter(|seq| *seq != 715) {
        cinema.show(2, 30, seq).unwrap();
    }
    assert_eq!(cinema.asked(30), []);
    // Alice misses a packet of Bob's that was sent, one that never came, and one of Carol's that never came.
    cinema.ask(0, 40, |w| {
        w.report(100, None, None).nack(100, 101, &[(4, 0), (5, 0), (15, 0)]);
    });
    let again = (0, Item::Bye { ssrc: 4 });
    assert_eq!(cinema.asked(40), [again, (2, Item::Nack { media: 102, first: 715, mask: 0 })]);
    cinema.ask(0, 1_100, |w| {
        w.report(100, None, None).pli(100, 101);
    });
    assert_eq!(cinema.asked(1_100), [key(2)]);
    // Nobody hears Bob: what he asks for is asked of nobody.
    cinema.ask(1, 1_100, |w| {
        w.report(101, None, None).pli(101, 100).nack(101, 100, &[(1, 0)]);
    });
    assert_eq!(cinema.asked(1_100), []);
    // Back to Bob, whose frames of meanwhile Alice does not have.
    bridge(&mut cinema.worker, Some((1, 0)), Time(1_200));
    assert_eq!(cinema.show(1, 1_200, 40).unwrap().1.seq, 20);
    assert_eq!(cinema.asked(1_200), [key(1)]);
}

/// Where RTCP does not serve, the new source is asked by signalling (RFC 5168).
#[test]
fn a_new_source_without_feedback_is_asked_by_signalling() {
    let mut cinema = Cinema::new(&[]);
    bridge(&mut cinema.worker, Some((0, 1)), Time(0));
    (0..5).for_each(|seq| assert!(cinema.show(1, 0, seq).is_some() && cinema.show(2, 0, seq).is_none()));
    bridge(&mut cinema.worker, Some((0, 2)), Time(20));
    cinema.show(2, 20, 9).unwrap();
    assert_eq!(cinema.asked(20), []);
    let told = std::iter::from_fn(|| cinema.worker.poll_event());
    let told: Vec<u8> = told.filter(|e| e.event == Event::KeyframeWanted).map(|e| e.leg.0).collect();
    assert_eq!(told, [2]);
}

/// A-law, Opus and A-law again: who is transcoded follows the pair that is bridged, and each hearer has one stream.
#[test]
fn transcoding_follows_the_bridge() {
    let mut rig = Rig::new();
    let ids = allocate_legs(&mut rig.worker, "call", legs([0, 1, 2], 1));
    let alaw = |party| remote(address(party), &[(8, "PCMA")]);
    for (leg, facts) in [(0, alaw(0)), (1, opus(address(1))), (2, alaw(2))] {
        rig.worker.connect("call", leg, 0, &facts, Time(0)).unwrap();
    }
    assert_eq!(rig.worker.transcoded(), (0, 0));
    let mut says = [(Kind::Pcma, 8), (Kind::Opus, 111), (Kind::Pcma, 8)]
        .into_iter()
        .zip(100..)
        .map(|((kind, pt), ssrc)| tone(kind, pt, ssrc))
        .collect::<Vec<_>>();
    let mut heard: [Vec<(u64, packet::Rtp)>; 3] = Default::default();
    for (pair, streams) in [((0, 1), 2), ((0, 2), 0), ((1, 2), 2), ((0, 1), 2)] {
        let now = rig.now();
        bridge(&mut rig.worker, Some(pair), now);
        assert_eq!(rig.worker.transcoded().0, streams, "{pair:?}");
        for _ in 0..50 {
            let mut senders: Vec<(Socket, SocketAddr, &mut dyn Iterator<Item = Vec<u8>>)> = vec![];
            for (party, packets) in says.iter_mut().enumerate() {
                senders.push((Socket::Rtp(ids[party]), address(party), packets));
            }
            rig.run_all(20, &mut senders);
            let now = rig.us / 1_000;
            for (to, packet) in rig.left.drain(..) {
                let party = (0..3).find(|party| address(*party) == to).unwrap();
                assert!([pair.0, pair.1].contains(&(party as u8)), "{pair:?}: {party} hears");
                let header = packet::rtp(&packet).unwrap();
                assert_eq!(header.pt, if party == 1 { 111 } else { 8 });
                heard[party].push((now, header));
            }
        }
    }
    for (party, packets) in heard.iter().enumerate() {
        assert!(packets.len() > [140, 90, 90][party], "{party}: {}", packets.len());
        let khz = if party == 1 { 48 } else { 8 };
        for pair in packets.windows(2) {
            let [(before, first), (after, second)] = pair else { panic!() };
            assert_eq!((second.ssrc, second.seq), (first.ssrc, first.seq.wrapping_add(1)), "{party}");
            let ticks = u64::from(second.timestamp.wrapping_sub(first.timestamp));
            assert!((1..=(after - before + 20) * khz).contains(&ticks), "{party}: {first:?} {second:?}");
        }
    }
    rig.worker.release("call").unwrap();
    assert_eq!(rig.worker.transcoded(), (0, 0));
}

/// Without room to transcode the bridge stands, says so, and does it when it is asked again.
#[test]
fn a_bridge_without_room_to_transcode_says_so() {
    let mut rig = Rig::new();
    allocate_legs(&mut rig.worker, "call", legs([0, 1], 1));
    rig.worker.connect("call", 0, 0, &remote(address(0), &[(8, "PCMA")]), Time(0)).unwrap();
    rig.worker.connect("call", 1, 0, &opus(address(1)), Time(0)).unwrap();
    rig.load.busy.store(999, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(rig.worker.bridge("call", &PAIR, Time(0)), Err(Refusal::Full));
    assert_eq!(rig.worker.transcoded(), (0, 0));
    rig.load.busy.store(0, std::sync::atomic::Ordering::Relaxed);
    rig.worker.bridge("call", &PAIR, Time(0)).unwrap();
    assert_eq!(rig.worker.transcoded(), (2, 0));
}

/// A leg in no pair hears nobody, but may hear music; it goes on in one stream when it is bridged.
#[test]
fn a_leg_in_no_pair_hears_what_is_played_to_it() {
    let mut rig = Rig::new();
    let ids = allocate_legs(&mut rig.worker, "call", legs([0, 1, 2], 1));
    for leg in 0..3 {
        let facts = remote(address(leg as usize), &[(8, "PCMA")]);
        rig.worker.connect("call", leg, 0, &facts, Time(0)).unwrap();
    }
    rig.worker.play("call", 2, 0, Some((track(Kind::Pcma, 1), 8)), (true, true), rig.now()).unwrap();
    let now = rig.now();
    bridge(&mut rig.worker, Some((0, 1)), now);
    let mut says = tone(Kind::Pcma, 8, 100);
    rig.run_all(1_000, &mut [(Socket::Rtp(ids[0]), address(0), &mut says)]);
    let count = |rig: &Rig, party| rig.left.iter().filter(|(to, _)| *to == address(party)).count();
    assert!(count(&rig, 1) == 50 && count(&rig, 2) >= 48 && count(&rig, 0) == 0);
    let now = rig.now();
    bridge(&mut rig.worker, Some((0, 2)), now);
    assert!(rig.worker.is_playing("call", 2, 0), "until somebody speaks");
    rig.run_all(1_000, &mut [(Socket::Rtp(ids[0]), address(0), &mut says)]);
    assert!(!rig.worker.is_playing("call", 2, 0));
    let heard: Vec<_> =
        rig.left.iter().filter(|(to, _)| *to == address(2)).map(|(_, packet)| packet).collect();
    let heard: Vec<_> = heard.into_iter().map(|packet| packet::rtp(packet).unwrap()).collect();
    assert!(heard.len() >= 97);
    for pair in heard.windows(2) {
        assert_eq!((pair[1].ssrc, pair[1].seq), (pair[0].ssrc, pair[0].seq.wrapping_add(1)));
    }
    assert_eq!(count(&rig, 1), 50);
}

/// Media is missed of those that are bridged, from the moment that they are.
#[test]
fn only_bridged_legs_are_missed() {
    let mut world = World::new([How::Plain; 3]);
    world.net.worker.limits.media_timeout_ms = 5_000;
    bridge(&mut world.net.worker, Some((0, 1)), world.net.now);
    world.talk(10);
    world.net.events();
    bridge(&mut world.net.worker, Some((0, 2)), world.net.now);
    let mut silent = |ms| {
        world.net.run(ms);
        world.net.events()
    };
    assert_eq!(silent(4_000), []);
    assert_eq!(silent(3_000), [(0, Event::TimedOut), (2, Event::TimedOut)]);
    bridge(&mut world.net.worker, None, world.net.now);
    world.net.run(20_000);
    assert_eq!(world.net.events(), []);
}

/// Another relay goes on with three legs and their bridge, and the bridge moves on there (R-RTP-7, R-RTP-16).
#[test]
fn a_session_of_three_legs_moves_to_another_relay_with_its_bridge() {
    for how in MIXES {
        let mut world = World::new(how);
        for pair in [(0, 1), (0, 2)] {
            bridge(&mut world.net.worker, Some(pair), world.net.now);
            world.talk(100);
        }
        let before: Vec<_> = world.parties.iter().map(|party| *party.heard.last().unwrap()).collect();
        let taken = world.net.worker.poll_snapshots(world.net.now + 2_000, 64);
        let there = at("203.0.113.2:30000");
        let certificate = world.net.worker.host.certificate.clone();
        let mut next = Worker::new(Limits::default(), Host { certificate, ..base(there) });
        // The endpoints have other places there.
        allocate(&mut next, "another", 1);
        let ids = allocate_legs(&mut next, "call", legs([0, 1, 2], 1));
        next.resume("call", taken[0].1.clone(), world.net.now);
        (world.net.worker, world.net.address) = (next, there);
        for (party, id) in world.parties.iter_mut().zip(ids) {
            (party.id, party.heard) = (id, vec![]);
        }
        world.connect();
        for client in &mut world.net.clients {
            let priority = crate::ice::priority(crate::ice::PREFERENCE + 1);
            client.end.candidate(&signal::media::Candidate { priority, ..host(there) }, world.net.now);
        }
        world.net.run(1_000);
        assert_eq!(world.talk(20), BTreeSet::from([(0, 2), (2, 0)]), "{how:?}");
        bridge(&mut world.net.worker, Some((1, 2)), world.net.now);
        assert_eq!(world.talk(20), BTreeSet::from([(1, 2), (2, 1)]), "{how:?}");
        world.assert_continuous();
        for (place, (party, (_, last))) in world.parties.iter().zip(before).enumerate() {
            let first = party.heard[0].1;
            // In the clear the same source keeps its numbers; the second party hears another one than before.
            let same = party.how == How::Plain && place != 1;
            let leap = if same { 1 } else { crate::packet::LEAP.0 };
            assert_eq!((first.ssrc, first.seq), (last.ssrc, last.seq.wrapping_add(leap)), "{how:?}");
        }
    }
}
