//! A relay dies and another goes on with its sessions (R-RTP-7, R-RTP-16), on virtual time.

use super::webrtc::{Client, Net};
use super::*;
use signal::media::{Candidate, Setup};

/// A phone (leg 0) and a client (leg 1) talk over a relay that is about to die.
fn talking(controlling: bool) -> (Net, Certificate) {
    let certificate = Certificate::generate(Time(0)).unwrap();
    let mut worker =
        Worker::new(Limits::default(), Host { certificate: certificate.clone(), ..base(shared()) });
    let ids = allocate(&mut worker, "call", 1);
    let mut client = Client::new("browser", "198.51.100.7:7000", controlling);
    client.meets(&worker, ids[1], Setup::Passive, Time(0));
    let mut net = Net { now: Time(0), worker, address: shared(), clients: vec![client] };
    connect(&mut net, controlling);
    net.run(500);
    assert_eq!(net.events(), [(1, Event::Connected)]);
    for seq in 65_400..65_500u32 {
        net.now = net.now + 20;
        net.give(Socket::Rtp(ids[0]), phone(), &rtp(0, seq as u16, 7)).unwrap();
        net.say(0, &rtp(0, seq as u16, 9), false).unwrap();
    }
    net.clients[0].heard.clear();
    (net, certificate)
}

fn connect(net: &mut Net, controlling: bool) {
    net.worker.connect("call", 0, 0, &remote(phone(), &[(0, "PCMU")]), net.now).unwrap();
    let facts = Remote { ours: !controlling, ..net.clients[0].remote(&[(0, "PCMU")]) };
    net.worker.connect("call", 1, 0, &facts, net.now).unwrap();
}

/// Takes over from the worker of `net`, at another address.
fn replace(net: &mut Net, certificate: Certificate, address: SocketAddr) -> Vec<EndpointId> {
    let taken = net.worker.poll_snapshots(net.now + 2_000, 64);
    let [(name, snapshot)] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!(name, "call");
    let mut worker = Worker::new(Limits::default(), Host { certificate, ..base(address) });
    let ids = allocate(&mut worker, "call", 1);
    let old: Vec<String> = snapshot.endpoints.iter().map(|end| end.ufrag.clone()).collect();
    let ends = worker.resume("call", snapshot.clone(), net.now);
    assert_eq!(ends.iter().map(|(_, _, local)| local.ufrag.clone()).collect::<Vec<_>>(), old);
    (net.worker, net.address) = (worker, address);
    ids
}

#[test]
fn another_relay_goes_on_with_a_call_whichever_side_controls() {
    for controlling in [false, true] {
        let (mut net, certificate) = talking(controlling);
        net.now = net.now + 1_000;
        let there = at("203.0.113.2:30000");
        let ids = replace(&mut net, certificate, there);
        connect(&mut net, controlling);
        let preference = net.worker.endpoints.get(ids[1].index).unwrap().local.preference;
        let priority = crate::ice::priority(preference);
        net.clients[0].end.candidate(&Candidate { priority, ..super::webrtc::host(there) }, net.now);
        net.run(1_000);
        assert_eq!(net.events(), [(1, Event::Resumed)], "{controlling}");
        assert_eq!(net.clients[0].end.pair().map(|pair| pair.remote), Some(there), "the client has moved");
        // Both directions go on, and nobody made new keys: the counter has wrapped meanwhile.
        let (_, to, _) = net.give(Socket::Rtp(ids[0]), phone(), &rtp(0, 65_520, 7)).unwrap();
        assert_eq!(to, at("198.51.100.7:7000"));
        let (_, heard) = net.clients[0].heard.pop().expect("decrypted by the client");
        let sent = crate::packet::rtp(&heard).unwrap();
        assert_eq!(
            (sent.ssrc, sent.seq, sent.marker),
            (7, 65_499u16.wrapping_add(crate::packet::LEAP.0), true)
        );
        assert_eq!(heard[12..], rtp(0, 65_520, 7)[12..]);
        assert!(net.say(0, &rtp(0, 100, 9), false).is_some(), "opened with the counter raised");
        assert_eq!(net.clients[0].events.len(), 1, "no handshake: {:?}", net.clients[0].events);
        assert!(net.worker.statistics("call").unwrap()[1].suite.is_some());
    }
}

/// The wall clock goes on: a receiver's clock is not turned back.
#[test]
fn timestamps_follow_the_wall_clock() {
    let (mut net, certificate) = talking(false);
    let ids = replace(&mut net, certificate, at("203.0.113.2:30000"));
    connect(&mut net, false);
    net.run(1_000);
    let before = net.now;
    net.give(Socket::Rtp(ids[0]), phone(), &rtp(0, 3, 77)).unwrap();
    let (_, heard) = net.clients[0].heard.pop().unwrap();
    let sent = crate::packet::rtp(&heard).unwrap();
    // The last one before was sent at 2,500 ms with timestamp 65,499 * 160.
    let elapsed = (before.0 - 2_500) as u32 * 8;
    assert_eq!((sent.ssrc, sent.timestamp), (7, 65_499 * 160 + elapsed), "another source even");
}

#[test]
fn a_session_is_taken_when_it_changes_and_each_second_while_packets_move_it() {
    let mut worker = worker(Limits::default());
    let (a, _) = call(&mut worker);
    let due = worker.poll_timeout().unwrap();
    assert!(due <= Time(20), "{due:?}");
    assert_eq!(worker.poll_snapshots(Time(10), 64), []);
    assert_eq!(worker.poll_snapshots(Time(20), 64).len(), 1);
    let mut times = vec![];
    for ms in (40..6_000).step_by(20) {
        if ms < 3_000 {
            give(&mut worker, Socket::Rtp(a), phone(), ms, &rtp(0, ms as u16, 7));
        }
        worker.handle_timeout(Time(ms));
        times.extend(worker.poll_snapshots(Time(ms), 64).into_iter().map(|_| ms));
    }
    assert_eq!(times.len(), 3, "{times:?}");
    worker.release("call").unwrap();
    assert_eq!((worker.poll_ended().as_deref(), worker.poll_ended()), (Some("call"), None));
    assert_eq!(worker.poll_snapshots(Time(9_000), 64), []);
}

#[test]
fn many_sessions_are_taken_in_slices() {
    let mut worker = worker(Limits::default());
    for n in 0..400 {
        allocate(&mut worker, &format!("call {n}"), 1);
    }
    let mut most = 0;
    let mut names = std::collections::BTreeSet::new();
    for ms in (20..2_000).step_by(5) {
        let taken = worker.poll_snapshots(Time(ms), 16);
        most = most.max(taken.len());
        names.extend(taken.into_iter().map(|(name, _)| name));
    }
    assert_eq!((names.len(), most), (400, 16));
}

/// Gives a phone's packets to the relay; the sequence numbers under which the client hears them.
fn heard(net: &mut Net, end: EndpointId, seqs: std::ops::Range<u32>) -> Vec<u16> {
    for seq in seqs {
        net.now = net.now + 20;
        net.give(Socket::Rtp(end), phone(), &rtp(0, seq as u16, 7)).unwrap();
    }
    let heard = std::mem::take(&mut net.clients[0].heard);
    heard.iter().map(|(_, packet)| crate::packet::rtp(packet).unwrap().seq).collect()
}

/// The old relay forwards until the phone has moved; every number is used, and none twice.
#[test]
fn a11_a_planned_move_leaves_no_gap_in_sequence_numbers() {
    let (mut net, certificate) = talking(false);
    let phones = EndpointId { index: 0, generation: 0 };
    let snapshot = net.worker.freeze("call", net.now).unwrap();
    let mut seqs = heard(&mut net, phones, 65_500..65_520);
    // Whatever else comes to the old one would be numbered otherwise by the new one.
    assert_eq!(net.give(Socket::Rtp(phones), phone(), &rtp(0, 900, 77)), None);
    let there = at("203.0.113.2:30000");
    let mut worker = Worker::new(Limits::default(), Host { certificate, ..base(there) });
    let ids = allocate(&mut worker, "call", 1);
    worker.resume("call", snapshot, net.now);
    net.worker.hand_over("call").unwrap();
    seqs.extend(heard(&mut net, phones, 65_520..65_530));
    (net.worker, net.address) = (worker, there);
    connect(&mut net, false);
    let priority = crate::ice::priority(crate::ice::PREFERENCE + 1);
    net.clients[0].end.candidate(&Candidate { priority, ..super::webrtc::host(there) }, net.now);
    net.run(1_000);
    // The numbers wrap meanwhile.
    seqs.extend(heard(&mut net, ids[0], 65_530..65_560));
    assert_eq!(seqs, (65_500..65_560).map(|seq: u32| seq as u16).collect::<Vec<_>>());
    // Another source begins beyond what the old one can have sent.
    net.give(Socket::Rtp(ids[0]), phone(), &rtp(0, 900, 77)).unwrap();
    let (_, packet) = net.clients[0].heard.pop().unwrap();
    assert_eq!(crate::packet::rtp(&packet).unwrap().seq, 24);
}

#[test]
fn a11_a_session_that_was_not_handed_over_goes_on_as_before() {
    let mut worker = worker(Limits::default());
    let (a, _) = call(&mut worker);
    for seq in 0..5 {
        give(&mut worker, Socket::Rtp(a), phone(), 0, &rtp(0, seq, 7)).unwrap();
    }
    assert!(worker.freeze("call", Time(0)).unwrap().exact);
    assert_eq!(give(&mut worker, Socket::Rtp(a), phone(), 20, &rtp(0, 0, 8)), None);
    worker.handle_timeout(Time(6_000));
    assert!(give(&mut worker, Socket::Rtp(a), phone(), 6_000, &rtp(0, 1, 8)).is_some());
    assert_eq!(worker.freeze("another", Time(0)), Err(Refusal::UnknownSession("another".into())));
}

/// In the clear a number may be used twice: the receiver sees as many lost as were. Under a key it leaps.
#[test]
fn a11_an_unplanned_move_leaves_a_small_gap() {
    let mut first = worker(Limits::default());
    let (a, _) = call(&mut first);
    for seq in 0..100 {
        give(&mut first, Socket::Rtp(a), phone(), u64::from(seq) * 20, &rtp(0, seq, 7)).unwrap();
    }
    let taken = first.poll_snapshots(Time(2_000), 64);
    let mut second = worker(Limits::default());
    let ids = allocate(&mut second, "call", 1);
    second.resume("call", taken[0].1.clone(), Time(3_000));
    for (leg, address) in [(0, phone()), (1, other())] {
        second.connect("call", leg, 0, &remote(address, &[(0, "PCMU")]), Time(3_000)).unwrap();
    }
    let out = give(&mut second, Socket::Rtp(ids[0]), phone(), 3_000, &rtp(0, 150, 7)).unwrap();
    assert_eq!(out.2, rtp(0, 150, 7), "as it would have been from the first");
    use crate::packet::leap;
    assert_eq!([leap(8_000, 0), leap(48_000, 2_200), leap(8_000, 600_000)], [128, 245, 16_000]);
    assert!(leap(90_000, 0) == 1_000 && leap(90_000, 2_000) == 2_250);
}
