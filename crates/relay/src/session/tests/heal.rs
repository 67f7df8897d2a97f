//! Latches that heal (interworking §12.6 rule 9a), parties that are not heard, and addresses that nobody may name.

use super::*;

fn events(worker: &mut Worker) -> Vec<(u8, Event)> {
    std::iter::from_fn(|| worker.poll_event()).map(|report| (report.leg.0, report.event)).collect()
}

fn latched(worker: &mut Worker) -> Vec<(EndpointId, Option<SocketAddr>)> {
    std::iter::from_fn(|| worker.poll_latched()).map(|latched| (latched.end, latched.peer)).collect()
}

/// Speaks into an end: five packets, one each 20 ms.
fn speak(worker: &mut Worker, end: EndpointId, from: SocketAddr, ms: u64, seq: u16) -> usize {
    let heard = (0..5).filter(|n| {
        let at = ms + 20 * u64::from(*n);
        give(worker, Socket::Rtp(end), from, at, &rtp(0, seq + n, 7)).is_some()
    });
    heard.count()
}

/// While the phone is silent somebody sprays with its address and another port.
#[test]
fn f9_a_sprayer_loses_the_lock_to_the_described_address() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let sprayer = SocketAddr::new(phone().ip(), 40_000);
    assert_eq!(speak(&mut worker, a, sprayer, 0, 0), 5);
    assert_eq!(statistics(&worker)[0].peer, Some(sprayer));
    assert_eq!(latched(&mut worker), [], "the socket is not closed to the phone");
    assert_eq!(speak(&mut worker, a, phone(), 2_000, 500), 5);
    let out = give(&mut worker, Socket::Rtp(b), other(), 2_100, &rtp(0, 1, 9)).unwrap();
    assert_eq!((statistics(&worker)[0].peer, out.1), (Some(phone()), phone()));
    assert_eq!(speak(&mut worker, a, sprayer, 2_200, 20), 0);
    assert_eq!(events(&mut worker), [(0, Event::Connected)], "told once");
    assert_eq!(latched(&mut worker), [(a, Some(phone()))]);
}

/// A NAT forgets the phone's port and gives it another.
#[test]
fn d10_a_phone_with_another_port_is_heard_again_after_a_silence() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    speak(&mut worker, a, phone(), 0, 0);
    assert_eq!(latched(&mut worker), [(a, Some(phone()))]);
    let moved = SocketAddr::new(phone().ip(), 50_000);
    for ms in (1_000..=3_000).step_by(1_000) {
        worker.handle_timeout(Time(ms));
    }
    assert_eq!(latched(&mut worker), [(a, None)], "the kernel lets others in again");
    let heard: usize = (0..4).map(|n| speak(&mut worker, a, moved, 3_000 + 100 * n, 10 + 5 * n as u16)).sum();
    assert_eq!(heard, 16);
    let out = give(&mut worker, Socket::Rtp(b), other(), 3_500, &rtp(0, 1, 9)).unwrap();
    assert_eq!(out.1, moved);
    // RTCP has moved too: it is learnt anew.
    let report = receiver_report(7);
    let rtcp = SocketAddr::new(phone().ip(), 50_001);
    (0..6).for_each(|n| {
        give(&mut worker, Socket::Rtcp(a), rtcp, 3_600 + n, &report);
    });
    assert_eq!(events(&mut worker), [(0, Event::Connected)]);
}

/// A carrier's node that no description names.
#[test]
fn d10_a_party_that_is_not_heard_is_named_once() {
    let mut worker = worker(Limits::default());
    let (a, _) = call(&mut worker);
    let node = at("192.0.2.99:7000");
    for seq in 0..500 {
        let ms = u64::from(seq) * 20;
        assert_eq!(give(&mut worker, Socket::Rtp(a), node, ms, &rtp(0, seq, 7)), None);
        worker.handle_timeout(Time(ms));
    }
    let deaf = Deaf { from: node, expected: Some(phone()), why: Why::Source };
    assert_eq!(events(&mut worker), [(0, Event::Deaf(deaf))]);
    // A trunk that names the network is heard.
    let networks = vec!["192.0.2.96/28".parse().unwrap()];
    let facts = Remote { networks, ..remote(phone(), &[(0, "PCMU"), (101, "telephone-event")]) };
    worker.connect("call", 0, 0, &facts, Time(11_000)).unwrap();
    assert_eq!(speak(&mut worker, a, node, 11_000, 900), 5);
}

#[test]
fn d10_the_reason_is_told_and_strangers_beside_a_party_that_is_heard_are_no_news() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    for seq in 0..250 {
        let ms = u64::from(seq) * 20;
        give(&mut worker, Socket::Rtp(a), phone(), ms, &rtp(8, seq, 7));
        give(&mut worker, Socket::Rtp(b), other(), ms, &rtp(0, seq, 9));
        give(&mut worker, Socket::Rtp(b), at_stranger(), ms, &rtp(0, seq, 9));
        worker.handle_timeout(Time(ms));
    }
    let deaf = Deaf { from: phone(), expected: Some(phone()), why: Why::PayloadType(8) };
    assert_eq!(events(&mut worker), [(1, Event::Connected), (0, Event::Deaf(deaf))]);
    let mut worker = super::worker(Limits::default());
    let (a, ..) = sdes::call(&mut worker, signal::media::Suite::AesCm128Sha1_80);
    for seq in 0..250 {
        let ms = u64::from(seq) * 20;
        give(&mut worker, Socket::Rtp(a), phone(), ms, &rtp(0, seq, 7));
        worker.handle_timeout(Time(ms));
    }
    let deaf = Deaf { from: phone(), expected: Some(phone()), why: Why::Key };
    assert_eq!(events(&mut worker), [(0, Event::Deaf(deaf))]);
}

#[test]
fn f12_nothing_is_sent_where_no_description_may_lead() {
    for denied in ["127.0.0.1:4000", "169.254.169.254:80", "224.0.0.9:4000", "100.100.100.200:4000"] {
        let mut worker = worker(Limits::default());
        let (_, b) = call(&mut worker);
        worker.connect("call", 0, 0, &remote(at(denied), &[(0, "PCMU")]), Time(0)).unwrap();
        assert_eq!(give(&mut worker, Socket::Rtp(b), other(), 0, &rtp(0, 1, 9)), None, "{denied}");
        let deaf = Deaf { from: at(denied), expected: None, why: Why::Denied };
        assert_eq!(events(&mut worker), [(0, Event::Deaf(deaf))]);
    }
    // The operator's own networks take their place.
    let own = crate::network::Denied::new(vec!["198.51.100.0/24".parse().unwrap()]);
    let mut worker = worker(Limits::default()).with_denied(own);
    let (a, b) = call(&mut worker);
    assert_eq!(give(&mut worker, Socket::Rtp(a), phone(), 0, &rtp(0, 1, 7)), None);
    worker.connect("call", 0, 0, &remote(at("127.0.0.1:4000"), &[(0, "PCMU")]), Time(0)).unwrap();
    worker.connect("call", 1, 0, &remote(at("203.0.113.77:4000"), &[(0, "PCMU")]), Time(0)).unwrap();
    let from = at("203.0.113.77:4000");
    assert_eq!(give(&mut worker, Socket::Rtp(b), from, 0, &rtp(0, 1, 9)).unwrap().1, at("127.0.0.1:4000"));
}

/// A hold without session timers: the phone that was unplugged meanwhile says nothing any more.
#[test]
fn c14_a_leg_without_rtp_and_rtcp_ends_held_or_not() {
    for direction in [Direction::None, Direction::Send, Direction::Both] {
        let limits = Limits { leg_timeout_ms: 300_000, media_timeout_ms: 1_000_000, ..Limits::default() };
        let mut worker = worker(limits);
        let (a, b) = call(&mut worker);
        for (leg, address) in [(0, phone()), (1, other())] {
            let facts = Remote { direction, ..remote(address, &[(0, "PCMU")]) };
            worker.connect("call", leg, 0, &facts, Time(0)).unwrap();
        }
        // The one reports now and then, the other does not.
        let mut told = vec![];
        for ms in (0..700_000).step_by(1_000) {
            if ms % 50_000 == 0 {
                give(
                    &mut worker,
                    Socket::Rtcp(b),
                    SocketAddr::new(other().ip(), 7_001),
                    ms,
                    &receiver_report(9),
                );
            }
            if ms == 100_000 {
                give(
                    &mut worker,
                    Socket::Rtcp(a),
                    SocketAddr::new(phone().ip(), 16_401),
                    ms,
                    &receiver_report(7),
                );
            }
            worker.handle_timeout(Time(ms));
            told.extend(events(&mut worker).into_iter().map(|event| (ms, event)));
        }
        assert_eq!(told, [(400_000, (0, Event::TimedOut))], "{direction:?}");
    }
}
