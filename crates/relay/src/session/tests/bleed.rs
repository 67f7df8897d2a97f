//! R-RTP-10 through a whole worker: interworking §12.6 rule by rule, each against somebody who sends what he likes (RTP bleed).

use super::webrtc::connected;
use super::*;

const PACKETS: u16 = 10_000;

fn thief() -> SocketAddr {
    at("203.0.113.66:9")
}

/// The stranger's best guess: the right codec, and numbers that go on where the phone's do.
fn forged(seq: u16) -> Vec<u8> {
    rtp(0, seq, 7)
}

/// The other side speaks: where its sound goes.
fn reaches(worker: &mut Worker, b: EndpointId, ms: u64, seq: u16) -> SocketAddr {
    give(worker, Socket::Rtp(b), other(), ms, &rtp(0, seq, 9)).unwrap().1
}

/// Rules 1, 2, 8: before anybody is locked, sound goes where the description says, to nobody else, and nothing is echoed.
#[test]
fn a_spray_before_the_phone_speaks_is_neither_heard_nor_answered() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    for seq in 0..PACKETS {
        let ms = u64::from(seq) / 10;
        assert_eq!(give(&mut worker, Socket::Rtp(a), thief(), ms, &forged(seq)), None);
        assert_eq!(give(&mut worker, Socket::Rtcp(a), thief(), ms, &receiver_report(7)), None);
        worker.handle_timeout(Time(ms));
        assert!(departures(&mut worker, ms).iter().all(|(_, to, _)| to.ip() != thief().ip()));
        if seq % 1_000 == 0 {
            assert_eq!(reaches(&mut worker, b, ms, seq), phone());
        }
    }
    let first = &statistics(&worker)[0];
    assert_eq!((first.packets_in, first.dropped, first.peer), (0, 2 * u64::from(PACKETS), None));
    // The phone speaks at last and is heard from its first packet on.
    for seq in 0..5 {
        give(&mut worker, Socket::Rtp(a), phone(), 2_000, &rtp(0, seq, 7)).unwrap();
    }
    assert_eq!(statistics(&worker)[0].peer, Some(phone()));
}

/// Rule 3, 4: once locked, nothing but signalling moves it, not even packets of the same address by another port.
#[test]
fn a_spray_after_the_lock_changes_nothing() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    for seq in 0..5 {
        give(&mut worker, Socket::Rtp(a), phone(), u64::from(seq) * 20, &rtp(0, seq, 7)).unwrap();
        give(&mut worker, Socket::Rtp(b), other(), u64::from(seq) * 20, &rtp(0, seq, 9)).unwrap();
    }
    let neighbour = SocketAddr::new(phone().ip(), 16_402);
    for seq in 5..PACKETS {
        let ms = u64::from(seq) * 20;
        for from in [thief(), neighbour] {
            assert_eq!(give(&mut worker, Socket::Rtp(a), from, ms, &forged(seq)), None);
        }
        assert_eq!(give(&mut worker, Socket::Rtcp(a), thief(), ms, &receiver_report(7)), None);
        let (_, to, packet) = give(&mut worker, Socket::Rtp(a), phone(), ms, &rtp(0, seq, 7)).unwrap();
        assert_eq!((to, packet), (other(), rtp(0, seq, 7)), "untouched by the forged ones");
        assert_eq!(reaches(&mut worker, b, ms, seq), phone());
    }
    let first = &statistics(&worker)[0];
    assert_eq!((first.packets_in, first.lost, first.jitter_us), (u64::from(PACKETS), 0, 0));
    assert_eq!(first.dropped, 3 * u64::from(PACKETS - 5));
    // Rule 4: the same description again does not let go; one that names another place does.
    worker.connect("call", 0, 0, &remote(phone(), &[(0, "PCMU")]), Time(300_000)).unwrap();
    assert_eq!(give(&mut worker, Socket::Rtp(a), neighbour, 300_000, &forged(1)), None);
    worker.connect("call", 0, 0, &remote(neighbour, &[(0, "PCMU")]), Time(300_000)).unwrap();
    assert_eq!(reaches(&mut worker, b, 300_000, 1), neighbour);
}

/// Rule 5: a neighbour behind the phone's own address is heard first, and yields to the phone.
#[test]
fn who_comes_first_yields_to_the_described_address() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let neighbour = SocketAddr::new(phone().ip(), 40_000);
    for seq in 0..4 {
        give(&mut worker, Socket::Rtp(a), neighbour, u64::from(seq), &forged(seq));
        assert_eq!(
            reaches(&mut worker, b, u64::from(seq), seq),
            phone(),
            "no sound goes there before the lock"
        );
    }
    for seq in 4..10 {
        give(&mut worker, Socket::Rtp(a), phone(), u64::from(seq), &rtp(0, seq, 7)).unwrap();
        assert_eq!(give(&mut worker, Socket::Rtp(a), neighbour, u64::from(seq), &forged(seq)), None);
    }
    assert_eq!((statistics(&worker)[0].peer, reaches(&mut worker, b, 20, 20)), (Some(phone()), phone()));
}

/// Rule 2: payload numbers that were not agreed latch nothing, however many come, from whatever address.
#[test]
fn numbers_that_were_not_agreed_latch_nothing() {
    let mut worker = worker(Limits::default());
    let (a, _) = call(&mut worker);
    let mut dropped = 0;
    for seq in 0..PACKETS {
        let pt = (seq % 128) as u8;
        if pt == 0 || pt == 101 {
            continue;
        }
        // 64 to 95 with the marker are RTCP (RFC 5761 §4), and none that is valid.
        for from in [phone(), SocketAddr::new(phone().ip(), 40_000)] {
            assert_eq!(give(&mut worker, Socket::Rtp(a), from, u64::from(seq), &rtp(pt, seq, 7)), None);
            dropped += 1;
        }
    }
    let first = &statistics(&worker)[0];
    assert_eq!((first.peer, first.packets_in, first.dropped), (None, 0, dropped));
}

/// Rule 6: RTCP is latched apart, and of another IP than the locked one never.
#[test]
fn rtcp_moves_no_sound_and_comes_from_the_same_host() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    for seq in 0..10 {
        give(&mut worker, Socket::Rtp(a), phone(), u64::from(seq), &rtp(0, seq, 7)).unwrap();
    }
    // A phone behind a NAT that gives RTCP another port than RTP + 1.
    let mapped = SocketAddr::new(phone().ip(), 61_000);
    for n in 10..20 {
        give(&mut worker, Socket::Rtcp(a), mapped, n, &receiver_report(7));
    }
    for n in 20..1_000 {
        give(&mut worker, Socket::Rtcp(a), thief(), n, &receiver_report(7));
        give(&mut worker, Socket::Rtcp(a), SocketAddr::new(phone().ip(), 16_401), n, &receiver_report(7));
    }
    assert_eq!(reaches(&mut worker, b, 1_000, 1), phone());
    let mut told = 0;
    for ms in (1_000..11_000).step_by(50) {
        worker.handle_timeout(Time(ms));
        for (socket, to, _) in departures(&mut worker, ms) {
            if socket == Socket::Rtcp(a) {
                assert_eq!(to, mapped);
                told += 1;
            }
        }
    }
    assert!(told > 0);
}

/// A phone behind NAT: only the host that signals may be it (rule 2), and who shares that host cannot take over once it is locked.
#[test]
fn a_stranger_is_not_the_phone_behind_a_nat() {
    let mut worker = worker(Limits::default());
    let (a, b) = call(&mut worker);
    let source = Some("198.51.100.99".parse().unwrap());
    let natted = Remote { source, ..remote(at("192.168.1.5:4000"), &[(0, "PCMU")]) };
    worker.connect("call", 0, 0, &natted, Time(0)).unwrap();
    let public = at("198.51.100.99:61000");
    for seq in 0..PACKETS {
        assert_eq!(give(&mut worker, Socket::Rtp(a), thief(), 0, &forged(seq)), None);
    }
    for seq in 0..5 {
        give(&mut worker, Socket::Rtp(a), public, 0, &rtp(0, seq, 7)).unwrap();
    }
    for seq in 5..PACKETS {
        for from in [thief(), at("198.51.100.99:61002"), at("192.168.1.5:4000")] {
            assert_eq!(give(&mut worker, Socket::Rtp(a), from, 10, &forged(seq)), None);
        }
    }
    assert_eq!(reaches(&mut worker, b, 20, 1), public);
}

/// Rule 7, and rule 8 on the shared port: what is not authentic moves nothing, whether it has the right address or not.
#[test]
fn forged_media_of_a_client_is_dropped_and_moves_nothing() {
    let (mut net, a, _) = connected();
    let client = net.clients[0].address;
    for seq in 0..100u16 {
        net.say(0, &rtp(0, seq, 9), false).unwrap();
    }
    let before = net.worker.statistics("call").unwrap()[1].dropped;
    for seq in 0..PACKETS {
        let mut packet = rtp(0, 100 + seq, 9);
        packet.extend([seq as u8; 16]);
        assert_eq!(net.give(Socket::Shared, client, &packet), None, "the right address, no key");
        assert_eq!(net.give(Socket::Shared, thief(), &packet), None, "no end at all");
        let mut report = receiver_report(9);
        report.extend([0x80, 0, 0, 1, seq as u8]);
        report.extend([0; 15]);
        assert_eq!(net.give(Socket::Shared, client, &report), None);
        assert_eq!(net.give(Socket::Shared, thief(), &report), None);
    }
    let after = &net.worker.statistics("call").unwrap()[1];
    assert_eq!(after.dropped - before, 2 * u64::from(PACKETS));
    assert_eq!((after.packets_in, after.peer), (100, Some(client)));
    assert_eq!(net.say(0, &rtp(0, 100, 9), false).unwrap().1, phone());
    assert_eq!(net.give(Socket::Rtp(a), phone(), &rtp(0, 1, 7)).unwrap().1, client);
    assert!(net.worker.addresses.len() <= 2 && net.departures().iter().all(|(to, _)| *to != thief()));
}

/// A client's own packets, caught and sent again from elsewhere or later, are no new packets.
#[test]
fn packets_that_were_caught_are_of_no_use() {
    let (mut net, ..) = connected();
    let client = net.clients[0].address;
    let mut caught = vec![];
    for seq in 0..50u16 {
        let mut wire = rtp(0, seq, 9);
        wire.resize(172 + crate::srtp::ROOM, 0);
        let (length, _) = net.clients[0].end.protect(&mut wire, 172).unwrap();
        wire.truncate(length);
        assert!(net.give(Socket::Shared, client, &wire).is_some());
        caught.push(wire);
    }
    for wire in caught.iter().cycle().take(usize::from(PACKETS)) {
        assert_eq!(net.give(Socket::Shared, client, wire), None);
        assert_eq!(net.give(Socket::Shared, thief(), wire), None);
    }
    assert_eq!(net.worker.statistics("call").unwrap()[1].packets_in, 50);
}

/// Sprays of noise on every socket, with every first octet: no datagram comes back, and nothing grows.
#[test]
fn noise_is_answered_by_nobody() {
    let (mut net, a, b) = connected();
    let mut noise = 1u64;
    for n in 0..u32::from(PACKETS) {
        let length = 1 + n as usize % 200;
        let octets: Vec<u8> = (0..length)
            .map(|at| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                if at == 0 { n as u8 } else { noise as u8 }
            })
            .collect();
        for socket in [Socket::Shared, Socket::Rtp(a), Socket::Rtcp(a), Socket::Rtp(b)] {
            let from = SocketAddr::from(([203, 0, 113, n as u8], 1 + (n >> 8) as u16));
            assert_eq!(net.give(socket, from, &octets), None);
        }
        assert!(net.worker.datagrams.is_empty());
    }
    assert!(net.worker.addresses.len() <= 2 && net.worker.ufrags.len() == 2);
    assert_eq!(
        net.give(Socket::Rtp(a), phone(), &rtp(0, 1, 7)).map(|out| out.1),
        Some(net.clients[0].address)
    );
}

/// No reflector by STUN either: a check without the password, however well it is addressed, has no answer and binds no address.
#[test]
fn checks_without_the_password_are_answered_by_nobody() {
    let (mut net, a, b) = connected();
    let ufrag = net.worker.endpoints.get(b.index).unwrap().local.ufrag.clone();
    let name = format!("{ufrag}:browser");
    for n in 0..PACKETS {
        // USERNAME, PRIORITY, USE-CANDIDATE, ICE-CONTROLLING, a tag that is a guess.
        let mut attributes = [&[0, 6][..], &(name.len() as u16).to_be_bytes(), name.as_bytes()].concat();
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        attributes.extend([0, 0x24, 0, 4, 0x6e, 0, 0x1e, 0xff, 0, 0x25, 0, 0, 0x80, 0x2a, 0, 8]);
        attributes.extend([0xff; 8]);
        attributes.extend([&[0, 8, 0, 20][..], &[n as u8; 20]].concat());
        let mut check = vec![0, 1];
        check.extend((attributes.len() as u16).to_be_bytes());
        check.extend([0x21, 0x12, 0xa4, 0x42]);
        check.extend([[n as u8; 6], [(n >> 8) as u8; 6]].concat());
        check.extend(attributes);
        assert_eq!(crate::ice::addressee(&check), Some(ufrag.as_str()));
        let from = SocketAddr::from(([203, 0, 113, n as u8], 1 + n));
        for from in [from, net.clients[0].address] {
            assert_eq!(net.give(Socket::Shared, from, &check), None);
        }
        assert!(net.worker.datagrams.is_empty() && net.worker.addresses.len() <= 2);
    }
    assert_eq!(net.worker.statistics("call").unwrap()[1].dropped, 2 * u64::from(PACKETS));
    assert_eq!(
        net.give(Socket::Rtp(a), phone(), &rtp(0, 1, 7)).map(|out| out.1),
        Some(net.clients[0].address)
    );
}
