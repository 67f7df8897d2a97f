//! Sessions on virtual time, plain ends.

use super::endpoint::Link;
use super::*;
use crate::dtls::Certificate;
use signal::media::{Codec, Direction, Ssrc};
use signal::{LegId, Time};
use std::net::SocketAddr;
use std::time::Instant;

mod bleed;
mod bridge;
mod bundle;
mod dtls;
mod heal;
mod keys;
mod moved;
mod network;
mod restart;
mod rtcp;
mod sdes;
mod sound;
mod webrtc;

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn phone() -> SocketAddr {
    at("192.0.2.30:16400")
}

fn other() -> SocketAddr {
    at("198.51.100.7:7000")
}

/// The ICE port of the workers.
pub(super) fn shared() -> SocketAddr {
    at("203.0.113.1:30000")
}

pub(super) fn worker(limits: Limits) -> Worker {
    Worker::new(limits, base(shared()))
}

#[allow(clippy::disallowed_methods, reason = "a base for the standard clock; it is not looked at again")]
pub(super) fn base(address: SocketAddr) -> Host {
    let certificate = Certificate::generate(Time(0)).unwrap();
    Host { address, certificate, base: Instant::now(), epoch: Time(0) }
}

/// Legs of so many contents.
fn legs<const N: usize>(legs: [u8; N], contents: u32) -> [LegRequest; N] {
    legs.map(|leg| LegRequest { leg: LegId(leg), contents, webrtc: false })
}

const PAIR: [(LegId, LegId); 1] = [(LegId(0), LegId(1))];

/// Two legs that hear each other; their endpoints by content, then by leg.
pub(super) fn allocate(worker: &mut Worker, name: &str, contents: u32) -> Vec<EndpointId> {
    let ids = allocate_legs(worker, name, legs([0, 1], contents));
    worker.bridge(name, &PAIR, Time(0)).unwrap();
    ids
}

/// Legs that hear nobody yet; their new endpoints by content, then by leg.
pub(super) fn allocate_legs<const N: usize>(
    worker: &mut Worker,
    name: &str,
    legs: [LegRequest; N],
) -> Vec<EndpointId> {
    let mut ids = vec![];
    let made = worker.allocate(name, "", &legs, Time(0), |id, leg, content| {
        ids.push((content, leg.leg, id));
        Ok::<_, Refusal>(Local {
            address: "203.0.113.1".parse().unwrap(),
            rtp_port: 30_000 + 2 * id.index as u16,
            rtcp_port: 30_001 + 2 * id.index as u16,
            ufrag: format!("ufrag{}", id.index),
            pwd: "p".repeat(24),
            generation: 0,
            tie_breaker: 7,
            preference: crate::ice::PREFERENCE,
            crypto: sdes::ours(id.index as u8),
        })
    });
    assert_eq!(made.unwrap().len(), legs.iter().map(|leg| leg.contents as usize).sum::<usize>());
    ids.sort_unstable();
    ids.into_iter().map(|(.., id)| id).collect()
}

pub(super) fn remote(address: SocketAddr, codecs: &[(u8, &str)]) -> Remote {
    let codecs = codecs.iter().map(|(pt, name)| Codec::new(*pt, name, 8_000, 1)).collect();
    Remote { address: Some(address), codecs, ..Remote::default() }
}

/// A call of two phones whose keypad numbers differ.
fn call(worker: &mut Worker) -> (EndpointId, EndpointId) {
    let ids = allocate(worker, "call", 1);
    worker
        .connect("call", 0, 0, &remote(phone(), &[(0, "PCMU"), (101, "telephone-event")]), Time(0))
        .unwrap();
    worker.connect("call", 1, 0, &remote(other(), &[(0, "PCMU"), (96, "telephone-event")]), Time(0)).unwrap();
    (ids[0], ids[1])
}

pub(super) fn rtp(pt: u8, seq: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, pt];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..160).map(|n| n as u8 ^ seq as u8));
    packet
}

pub(super) fn receiver_report(ssrc: u32) -> Vec<u8> {
    compound(|w| {
        w.report(ssrc, None, None);
    })
}

/// An RTCP packet.
fn compound(write: impl FnOnce(&mut crate::rtcp::Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut writer = crate::rtcp::Writer::new(&mut buffer);
    write(&mut writer);
    let length = writer.finish().unwrap();
    buffer[..length].to_vec()
}

/// Packets that the endpoints send by themselves.
fn departures(worker: &mut Worker, ms: u64) -> Vec<(Socket, SocketAddr, Vec<u8>)> {
    let mut buffer = [0; MAX_TRANSMIT];
    std::iter::from_fn(|| {
        let out = worker.poll_transmit(Arrival(ms * 1_000), &mut buffer)?;
        Some((out.socket, out.to, buffer[..out.length].to_vec()))
    })
    .collect()
}

/// Gives the worker a packet; returns the one that leaves for it.
fn give(
    worker: &mut Worker,
    socket: Socket,
    from: SocketAddr,
    ms: u64,
    packet: &[u8],
) -> Option<(Socket, SocketAddr, Vec<u8>)> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + crate::srtp::ROOM, 0);
    let out = worker.handle_datagram(socket, from, Arrival(ms * 1_000), &mut buffer, packet.len())?;
    buffer.truncate(out.length);
    Some((out.socket, out.to, buffer))
}

fn statistics(worker: &Worker) -> Vec<Statistics> {
    worker.statistics("call").unwrap()
}

#[test]
fn what_comes_in_at_one_leg_goes_out_at_the_other_octet_by_octet() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    for seq in 0..10 {
        let packet = rtp(0, seq, 7);
        let out = give(&mut worker, Socket::Rtp(a), phone(), u64::from(seq) * 20, &packet);
        assert_eq!(out, Some((Socket::Rtp(b), other(), packet)));
        let packet = rtp(0, 500 + seq, 9);
        let out = give(&mut worker, Socket::Rtp(b), other(), u64::from(seq) * 20, &packet);
        assert_eq!(out, Some((Socket::Rtp(a), phone(), packet)));
    }
    let reports: Vec<_> = std::iter::from_fn(|| worker.poll_event()).collect();
    assert_eq!(reports.len(), 2);
    assert!(reports.iter().all(|r| r.event == Event::Connected && r.session == "call"));
    let [first, second] = &statistics(&worker)[..] else { panic!() };
    assert_eq!(
        (first.packets_in, first.octets_in, first.packets_out, first.octets_out),
        (10, 1720, 10, 1720)
    );
    assert_eq!((second.peer, second.form, second.lost, second.dropped), (Some(other()), Form::Plain, 0, 0));
    assert_eq!(worker.totals(), (1, 20, 0));
}

#[test]
fn payload_numbers_are_those_of_each_leg_and_others_are_dropped() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let out = give(&mut worker, Socket::Rtp(a), phone(), 0, &rtp(101 | 0x80, 1, 7)).unwrap();
    assert_eq!(out.2[1], 96 | 0x80, "the marker stays");
    let out = give(&mut worker, Socket::Rtp(b), other(), 0, &rtp(96, 1, 9)).unwrap();
    assert_eq!(out.2[1], 101);
    assert_eq!(give(&mut worker, Socket::Rtp(a), phone(), 0, &rtp(8, 2, 7)), None);
    assert_eq!(statistics(&worker)[0].dropped, 1);
}

#[test]
fn before_both_sides_are_connected_nothing_crosses() {
    let mut worker = worker(Limits::default());
    let ids = allocate(&mut worker, "call", 1);
    assert_eq!(give(&mut worker, Socket::Rtp(ids[0]), phone(), 0, &rtp(0, 1, 7)), None);
    worker.connect("call", 0, 0, &remote(phone(), &[(0, "PCMU")]), Time(0)).unwrap();
    assert_eq!(give(&mut worker, Socket::Rtp(ids[0]), phone(), 20, &rtp(0, 2, 7)), None);
    worker.connect("call", 1, 0, &remote(other(), &[(0, "PCMU")]), Time(0)).unwrap();
    assert!(give(&mut worker, Socket::Rtp(ids[0]), phone(), 40, &rtp(0, 3, 7)).is_some());
    assert_eq!(statistics(&worker)[0].dropped, 0);
}

/// R-RTP-10: the whole of §12.6 from the attacker's side.
#[test]
fn a_stranger_is_neither_heard_nor_sent_anything() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let stranger = at("203.0.113.66:9");
    for seq in 0..200u16 {
        let ms = u64::from(seq) * 20;
        assert_eq!(give(&mut worker, Socket::Rtp(a), stranger, ms, &rtp(0, seq, 666)), None);
        assert_eq!(give(&mut worker, Socket::Rtcp(a), stranger, ms, &receiver_report(666)), None);
        let (_, to, _) = give(&mut worker, Socket::Rtp(b), other(), ms, &rtp(0, seq, 9)).unwrap();
        assert_eq!(to, phone());
        assert!(give(&mut worker, Socket::Rtp(a), phone(), ms, &rtp(0, seq, 7)).is_some());
    }
    let [first, second] = &statistics(&worker)[..] else { panic!() };
    assert_eq!((first.dropped, first.packets_in, first.lost), (400, 200, 0));
    assert_eq!((second.dropped, second.packets_in), (0, 200));
    assert_eq!(worker.totals().2, 400);
}

#[test]
fn a_phone_behind_nat_is_found_where_its_signalling_comes_from() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let source = Some("198.51.100.99".parse().unwrap());
    let natted = Remote { source, ..remote(at("192.168.1.5:4000"), &[(0, "PCMU")]) };
    worker.connect("call", 0, 0, &natted, Time(0)).unwrap();
    let public = at("198.51.100.99:61000");
    for seq in 0..5 {
        assert!(give(&mut worker, Socket::Rtp(a), public, 0, &rtp(0, seq, 7)).is_some());
    }
    assert_eq!(give(&mut worker, Socket::Rtp(b), other(), 0, &rtp(0, 0, 9)).unwrap().1, public);
}

#[test]
fn g3_a_peer_hears_the_source_that_its_description_names() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let named = Remote { ssrc: Some(Ssrc { id: 51, cname: 3 }), ..remote(phone(), &[(0, "PCMU")]) };
    worker.connect("call", 0, 0, &named, Time(0)).unwrap();
    for seq in 0..3 {
        let ms = u64::from(seq) * 20;
        let (_, to, packet) = give(&mut worker, Socket::Rtp(b), other(), ms, &rtp(0, seq, 9)).unwrap();
        assert_eq!((to, crate::packet::rtp(&packet).unwrap().ssrc), (phone(), 51));
        let (.., packet) = give(&mut worker, Socket::Rtp(a), phone(), ms, &rtp(0, seq, 7)).unwrap();
        assert_eq!(crate::packet::rtp(&packet).unwrap().ssrc, 7, "the other was told none");
    }
}

/// R-RTP-2: held media does not cross, and goes on without a gap.
#[test]
fn hold_stops_one_direction_and_resuming_leaves_no_gap() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    for seq in 0..10 {
        give(&mut worker, Socket::Rtp(b), other(), u64::from(seq) * 20, &rtp(0, seq, 9)).unwrap();
    }
    let facts = |direction| Remote { direction, ..remote(phone(), &[(0, "PCMU")]) };
    worker.connect("call", 0, 0, &facts(Direction::Send), Time(200)).unwrap();
    for seq in 10..40_000u16 {
        let ms = u64::from(seq) * 20;
        assert_eq!(give(&mut worker, Socket::Rtp(b), other(), ms, &rtp(0, seq, 9)), None);
    }
    assert!(give(&mut worker, Socket::Rtp(a), phone(), 800_000, &rtp(0, 1, 7)).is_some(), "music on hold");
    worker.connect("call", 0, 0, &facts(Direction::Both), Time(800_000)).unwrap();
    let (_, _, packet) = give(&mut worker, Socket::Rtp(b), other(), 800_000, &rtp(0, 40_000, 9)).unwrap();
    let header = crate::packet::rtp(&packet).unwrap();
    assert_eq!((header.seq, header.marker, header.ssrc), (10, true, 9));
    assert_eq!(statistics(&worker)[1].lost, 0);
}

#[test]
fn silence_is_reported_once_and_only_while_something_is_due() {
    let limits = Limits { media_timeout_ms: 5_000, ..Limits::default() };
    let mut worker = worker(limits);
    let (a, b) = call(&mut worker);
    let mut now = 0;
    let mut run = |worker: &mut Worker, until: u64, rtcp_queue: &[(EndpointId, SocketAddr)]| {
        let mut reports = vec![];
        while now < until {
            now += 1_000;
            for (end, from) in rtcp_queue {
                give(worker, Socket::Rtp(*end), *from, now, &rtp(0, (now / 20) as u16, 5));
            }
            assert!(worker.poll_timeout().is_some());
            worker.handle_timeout(Time(now));
            reports.extend(std::iter::from_fn(|| worker.poll_event()));
        }
        reports.retain(|r| r.event == Event::TimedOut);
        reports.into_iter().map(|r| r.leg.0).collect::<Vec<_>>()
    };
    assert_eq!(run(&mut worker, 4_000, &[(a, phone()), (b, other())]), [0; 0]);
    assert_eq!(run(&mut worker, 20_000, &[(a, phone())]), [1], "leg 1 fell silent, said once");
    assert_eq!(run(&mut worker, 22_000, &[(a, phone()), (b, other())]), [0; 0]);
    let held = |direction| Remote { direction, ..remote(phone(), &[(0, "PCMU")]) };
    worker.connect("call", 0, 0, &held(Direction::None), Time(22_000)).unwrap();
    assert_eq!(run(&mut worker, 40_000, &[]), [0; 0], "inactive");
    worker.connect("call", 0, 0, &held(Direction::Send), Time(40_000)).unwrap();
    assert_eq!(run(&mut worker, 60_000, &[]), [0; 0], "held without music");
    worker.connect("call", 0, 0, &remote(phone(), &[(0, "PCMU")]), Time(60_000)).unwrap();
    assert_eq!(run(&mut worker, 64_000, &[]), [0; 0], "counted from the resumption");
    assert_eq!(run(&mut worker, 70_000, &[]), [0, 1]);
}

#[test]
fn a14_another_time_out_counts_for_sessions_that_are_there() {
    let mut worker = worker(Limits { media_timeout_ms: 5_000, ..Limits::default() });
    call(&mut worker);
    worker.set_limits(Limits { media_timeout_ms: 20_000, ..Limits::default() });
    let mut reports = vec![];
    for second in 1..=30 {
        worker.handle_timeout(Time(second * 1_000));
        reports.extend(std::iter::from_fn(|| worker.poll_event()).map(|report| (second, report.event)));
    }
    reports.retain(|(_, event)| *event == Event::TimedOut);
    assert!(reports.first().is_some_and(|(second, _)| *second >= 20), "{reports:?}");
}

#[test]
fn asked_again_gives_the_same_ends_and_grows() {
    let mut worker = worker(Limits::default());
    allocate(&mut worker, "call", 1);
    let names = |made: &[(LegId, u16, Local)]| -> Vec<(u8, u16)> {
        made.iter().map(|(leg, content, _)| (leg.0, *content)).collect()
    };
    let twice = |_: EndpointId, _: &LegRequest, _| panic!("made a second time");
    let again = worker.allocate::<Refusal>("call", "", &legs([0, 1], 1), Time(5), twice).unwrap();
    assert_eq!(names(&again), [(0, 0), (1, 0)]);
    let one = worker.allocate::<Refusal>("call", "", &legs([1], 1), Time(5), twice).unwrap();
    assert_eq!(one, again[1..]);
    let mut ports = 0;
    let failed = worker.allocate("call", "", &legs([0, 1], 2), Time(5), |_, _, _| {
        ports += 1;
        if ports == 1 { Ok(again[0].2.clone()) } else { Err(Refusal::Full) }
    });
    assert_eq!(failed, Err(Refusal::Full));
    assert!(worker.poll_closed().is_some() && worker.poll_closed().is_none(), "what was begun is undone");
    assert_eq!(worker.statistics("call").unwrap().len(), 2, "what was there stays");
    let make = |_: EndpointId, _: &LegRequest, _| Ok::<_, Refusal>(again[0].2.clone());
    let grown = worker.allocate("call", "", &legs([0, 1], 2), Time(5), make).unwrap();
    assert_eq!(names(&grown), [(0, 0), (0, 1), (1, 0), (1, 1)]);
    // A third leg, and as many as there may be.
    let third = worker.allocate("call", "", &legs([7], 1), Time(5), make).unwrap();
    assert_eq!(names(&third), [(7, 0)]);
    let many = worker.allocate("call", "", &legs([2, 3, 4, 5, 6, 8], 1), Time(5), make);
    assert_eq!(many, Err(Refusal::TooManyLegs));
    assert_eq!(worker.statistics("call").unwrap().len(), 5);
    worker.allocate("call", "", &legs([2, 3, 4, 5, 6], 1), Time(5), make).unwrap();
    assert_eq!(worker.statistics("call").unwrap().len(), 10);
}

#[test]
fn release_frees_everything_and_late_packets_meet_nobody() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    give(&mut worker, Socket::Rtp(a), phone(), 0, &rtp(0, 0, 7)).unwrap();
    let last = worker.release("call").unwrap();
    assert_eq!((last[0].packets_in, last[1].packets_out), (1, 1));
    assert_eq!(worker.release("call"), None);
    let mut closed: Vec<_> = std::iter::from_fn(|| worker.poll_closed()).collect();
    closed.sort();
    assert_eq!(closed, [a, b]);
    let next = allocate(&mut worker, "next", 1);
    assert_eq!(worker.endpoints.len(), 2, "places are used again");
    for (leg, peer) in [(0, phone()), (1, other())] {
        worker.connect("next", leg, 0, &remote(peer, &[(0, "PCMU")]), Time(0)).unwrap();
    }
    assert_eq!(give(&mut worker, Socket::Rtp(a), phone(), 0, &rtp(0, 0, 7)), None);
    let first = next.iter().find(|id| worker.endpoints.get(id.index).unwrap().leg.0 == 0).unwrap();
    assert!(give(&mut worker, Socket::Rtp(*first), phone(), 0, &rtp(0, 0, 7)).is_some());
}

#[test]
fn sessions_that_nobody_needs_are_released() {
    let mut worker = worker(Limits { silent_ms: 600_000, ..Limits::default() });
    allocate(&mut worker, "never connected", 1);
    call(&mut worker);
    worker.handle_timeout(Time(299_000));
    assert_eq!(worker.totals().0, 2);
    worker.handle_timeout(Time(300_000));
    assert_eq!(worker.totals().0, 1);
    worker.handle_timeout(Time(600_000));
    assert_eq!(worker.totals().0, 0);
    assert_eq!(std::iter::from_fn(|| worker.poll_closed()).count(), 4);
    worker.handle_timeout(Time(700_000));
    assert_eq!(worker.poll_timeout(), None, "nothing to look after");
}

#[test]
fn control_is_told_what_is_wrong() {
    let mut worker = worker(Limits::default());
    let facts = remote(phone(), &[(0, "PCMU")]);
    let unknown = worker.connect("call", 0, 0, &facts, Time(0)).unwrap_err();
    assert_eq!(unknown, Refusal::UnknownSession("call".into()));
    allocate(&mut worker, "call", 1);
    assert_eq!(worker.connect("call", 2, 0, &facts, Time(0)), Err(Refusal::UnknownEndpoint(2, 0)));
    assert_eq!(worker.connect("call", 0, 1, &facts, Time(0)), Err(Refusal::UnknownEndpoint(0, 1)));
}

proptest::proptest! {
    /// Nothing from the network panics, and nothing of a stranger leaves.
    #[test]
    fn hostile_datagrams_do_no_harm(
        datagrams in proptest::collection::vec((0u8..5, proptest::collection::vec(proptest::num::u8::ANY, 0..100)), 1..50)
    ) {
        let mut worker = worker(Limits::default());
        let (a, b) = call(&mut worker);
        for (at, (socket, mut datagram)) in datagrams.into_iter().enumerate() {
            let ms = at as u64 * 20;
            let socket = match socket {
                0 => Socket::Rtp(a),
                1 => Socket::Rtcp(b),
                2 => {
                    // STUN for an end that is not WebRTC.
                    let mut stun = vec![0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
                    stun.extend([0; 12]);
                    stun.extend([0, 6, 0, 8]);
                    stun.extend(b"ufrag0:x");
                    stun.extend(&datagram);
                    datagram = stun;
                    Socket::Shared
                }
                3 => Socket::Rtp(EndpointId { index: 99, generation: 0 }),
                _ => {
                    datagram.splice(0..0, rtp(0, at as u16, 7));
                    Socket::Rtp(b)
                }
            };
            proptest::prop_assert_eq!(give(&mut worker, socket, at_stranger(), ms, &datagram), None);
            // From the right address noise is at least no harm.
            give(&mut worker, socket, phone(), ms, &datagram);
            worker.handle_timeout(Time(ms));
        }
    }
}

fn at_stranger() -> SocketAddr {
    at("203.0.113.66:9")
}
