//! Paths that come late, move, fail, or are not the peer's.

use super::*;
use crate::dtls::Engine;
use crate::ice::{LOST, NEVER};

fn describe_both(net: &mut Net) {
    net.describe(1, Setup::ActPass);
    net.describe(0, Setup::Active);
}

#[test]
fn a_wrong_fingerprint_makes_no_keys() {
    for side in [0, 1] {
        let mut net = Net::new([true, false]);
        let mut dtls = net.dtls(1 - side, if side == 0 { Setup::Active } else { Setup::ActPass });
        dtls.fingerprints[0].digest[3] ^= 1;
        net.ends[side].remote(&ice(1 - side), &dtls, START).unwrap();
        net.describe(1 - side, if side == 0 { Setup::ActPass } else { Setup::Active });
        net.run(3_000, |_| false);
        assert_eq!(net.events[side], [TransportEvent::Insecure]);
        assert!(
            net.events[1 - side].ends_with(&[TransportEvent::Closed]),
            "the other is told: {:?}",
            net.events
        );
        assert!(net.ends[side].keys().is_none());
        let mut buffer = rtp(1);
        buffer.resize(172 + ROOM, 0);
        assert_eq!(net.ends[side].protect(&mut buffer, 172), None);
    }
}

#[test]
fn a_wrong_password_never_connects_and_is_told_after_thirty_seconds() {
    let mut net = Net::new([true, false]);
    let dtls = net.dtls(1, Setup::Active);
    let mut wrong = ice(1);
    wrong.pwd = "not-the-password-at-all".into();
    net.ends[0].remote(&wrong, &dtls, START).unwrap();
    net.describe(1, Setup::ActPass);
    net.run(NEVER - 1_000, |_| false);
    assert_eq!(net.events, [vec![], vec![]]);
    net.run(2_000, |_| false);
    assert_eq!(net.events[0], [TransportEvent::Unreachable]);
    // The other side's checks are answered, but never does the first nominate.
    net.run(30_000, |_| false);
    assert_eq!(net.events[1], [TransportEvent::Unreachable]);
    assert!(net.steps < 4_000, "{}", net.steps);
    assert_eq!(net.ends[0].deadline(), None, "nothing is left to do");
}

/// R-RTP-8: both think they control, or neither does.
#[test]
fn a_conflict_of_roles_is_settled() {
    for controlling in [[true, true], [false, false]] {
        let mut net = Net::new(controlling);
        describe_both(&mut net);
        assert!(net.run(3_000, Net::connected), "{controlling:?}: {:?}", net.events);
        net.talk(1);
    }
}

/// A peer starts its checks, and its hello, before its answer arrives here.
#[test]
fn what_comes_before_the_answer_is_not_lost() {
    for controlling in [[true, false], [false, true]] {
        let mut net = Net::new(controlling);
        net.describe(1, Setup::ActPass);
        assert!(!net.run(2_000, Net::connected));
        assert_eq!(net.ends[0].deadline(), None, "nothing to do before the peer is known");
        net.describe(0, Setup::Active);
        let answered = net.now;
        assert!(net.run(2_000, Net::connected), "{:?}", net.events);
        assert!(net.now.since(answered) < 1_000, "{} ms", net.now.since(answered));
        net.talk(1);
    }
}

#[test]
fn a_hello_that_overtakes_the_check_is_kept() {
    let mut net = Net::new([false, true]);
    describe_both(&mut net);
    // Side 0 hears an authentic check and right behind it a hello, before any check of its own is answered.
    let dtls = net.dtls(0, Setup::Passive);
    let mut other = Engine::new(&net.certificates[1], Role::Client, &dtls.fingerprints, START).unwrap();
    let hello = other.poll().unwrap();
    let check = net.ends[1].poll_transmit().unwrap();
    for octets in [hello.clone(), check.octets.clone(), hello] {
        let mut octets = octets;
        net.ends[0].receive(&mut octets, address(1), address(0), START);
    }
    assert_eq!(net.ends[0].early.len(), 1, "a stranger's hello is dropped, that of a known address kept");
    assert_eq!(net.ends[0].dropped().stranger, 1);
    for _ in 0..100 {
        net.ends[0].receive(&mut [22; 100], address(1), address(0), START);
    }
    assert_eq!(net.ends[0].early.len(), EARLY);
}

#[test]
fn candidates_may_come_late_or_from_one_side_alone() {
    for late in [0, 1] {
        for controlling in [[true, false], [false, true]] {
            let mut net = Net::new(controlling);
            for side in [0, 1] {
                let dtls = net.dtls(1 - side, if side == 0 { Setup::Active } else { Setup::ActPass });
                let bare = Ice { candidates: vec![], ..ice(1 - side) };
                net.ends[side].remote(&bare, &dtls, START).unwrap();
            }
            assert!(!net.run(8_000, Net::connected));
            // The other never hears a candidate: it learns the address from the checks.
            let mut second = candidate(address(1 - late));
            second.component = 2;
            net.ends[late].candidate(&second, net.now);
            assert!(!net.run(1_000, Net::connected), "component 2 is another's");
            net.ends[late].candidate(&candidate(address(1 - late)), net.now);
            assert!(net.run(4_000, Net::connected), "{late} {controlling:?} {:?}", net.events);
            net.talk(1);
        }
    }
}

/// A NAT in front of the relay with its outside signalled, and in front of a client that names its inside alone.
#[test]
fn translated_addresses_are_found() {
    let outside = SocketAddr::from(([203, 0, 113, 5], 61_000));
    for signalled in [outside, address(0)] {
        for controlling in [[true, false], [false, true]] {
            let mut net = Net::new(controlling);
            net.nat = Some(outside);
            let dtls = net.dtls(0, Setup::ActPass);
            let described = Ice { candidates: vec![candidate(signalled)], ..ice(0) };
            net.ends[1].remote(&described, &dtls, START).unwrap();
            net.describe(0, Setup::Active);
            assert!(net.run(2_000, Net::connected), "{signalled} {controlling:?}: {:?}", net.events);
            assert!(net.ends[1].knows(outside) && !net.ends[1].knows(address(0)));
            net.talk(1);
        }
    }
}

/// R-RTP-11: no peer can point us at a metadata service, at ourselves, at everybody, or more than a few times at somebody.
#[test]
fn f12_checks_go_nowhere_near_forbidden_addresses() {
    let mut net = Net::new([true, false]);
    let dtls = net.dtls(1, Setup::Active);
    let forbidden = [
        "169.254.169.254:80",
        "127.0.0.1:6379",
        "[::1]:6379",
        "[::ffff:127.0.0.1]:22",
        "[fe80::1]:1",
        "224.0.0.1:5",
        "255.255.255.255:9",
        "0.0.0.0:4222",
        "203.0.113.9:0",
        "192.0.0.192:80",
        "100.100.100.200:80",
        "168.63.129.16:80",
        "240.0.0.1:5",
        "[fd00:ec2::254]:80",
        "[fec0::1]:1",
        "[64:ff9b::a9fe:a9fe]:80",
        "[64:ff9b::7f00:1]:80",
        "[2002:a9fe:a9fe::1]:80",
        "[::169.254.169.254]:80",
    ];
    let mut described = ice(1);
    described.candidates = forbidden.map(|a| candidate(a.parse().unwrap())).to_vec();
    net.ends[0].remote(&described, &dtls, START).unwrap();
    for ms in 0..2_000 {
        net.ends[0].tick(START + ms);
        assert_eq!(net.ends[0].poll_transmit(), None);
    }
    // Their number is limited too.
    let named = |port: u16| candidate(SocketAddr::from(([203, 0, 113, 9], port)));
    for port in 1..1_000 {
        // Named again, one counts once.
        net.ends[0].candidate(&named(port), START);
        net.ends[0].candidate(&named(port), START);
    }
    for port in 1_000..2_000 {
        let kind = CandidateKind::ServerReflexive;
        net.ends[0].candidate(&Candidate { kind, ..named(port) }, START);
    }
    let mut asked = std::collections::HashSet::new();
    for ms in 2_000..12_000 {
        net.ends[0].tick(START + ms);
        while let Some(check) = net.ends[0].poll_transmit() {
            asked.insert(check.pair.remote);
        }
    }
    let (hosts, others): (Vec<_>, Vec<_>) = asked.into_iter().partition(|asked| asked.port() < 1_000);
    assert_eq!((hosts.len(), others.len()), (crate::ice::HOSTS, crate::ice::CANDIDATES - crate::ice::HOSTS));
}

/// RFC 8445 §19.5.1: whoever names a third party makes us send it three checks of each address, and no more.
#[test]
fn f12_an_address_that_never_answers_gets_three_checks() {
    let mut net = Net::new([true, false]);
    let dtls = net.dtls(1, Setup::Active);
    let victims = [at(5_000), at(5_001)];
    let described = Ice { candidates: victims.map(candidate).to_vec(), ..ice(1) };
    net.ends[0].remote(&described, &dtls, START).unwrap();
    let mut checks = std::collections::HashMap::new();
    for ms in 0..NEVER {
        net.ends[0].tick(START + ms);
        while let Some(check) = net.ends[0].poll_transmit() {
            *checks.entry(check.pair.remote).or_insert(0) += 1;
        }
    }
    assert_eq!(checks.len(), 2);
    assert!(checks.values().all(|count| *count == crate::ice::UNANSWERED), "{checks:?}");
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 9], port))
}

/// R-RTP-9, and what follows.
#[test]
fn lost_consent_stops_media_and_comes_back_or_ends() {
    for back in [true, false] {
        let mut net = Net::new([true, false]);
        describe_both(&mut net);
        assert!(net.run(2_000, Net::connected));
        // Minutes of silence on a path that works change nothing.
        assert!(!net.run(120_000, |net| net.events[0].len() > 1));
        net.deaf = [true; 2];
        let cut = net.now;
        assert!(net.run(31_000, |net| net.events[0].contains(&TransportEvent::Disconnected)));
        assert!(net.now.since(cut) > 15_000, "a short break is no loss of consent");
        let mut buffer = rtp(1);
        buffer.resize(172 + ROOM, 0);
        assert_eq!(net.ends[0].protect(&mut buffer, 172), None);
        assert_eq!(net.ends[0].pair(), None);
        net.run(1_000, |_| false);
        if back {
            net.deaf = [false; 2];
            assert!(net.run(LOST, |net| net.events.iter().all(|e| e.contains(&TransportEvent::Restored))));
            net.talk(1);
        } else {
            net.run(LOST, |_| false);
            assert_eq!(net.events[0][1..], [TransportEvent::Disconnected, TransportEvent::Unreachable]);
        }
    }
}

/// R-RTP-8: new credentials on both sides; the association and its keys stay, and media never stops.
#[test]
fn a_restart_keeps_keys_and_media() {
    let mut net = Net::new([true, false]);
    describe_both(&mut net);
    assert!(net.run(2_000, Net::connected));
    net.talk(1);
    let keys = net.ends[0].keys().cloned().unwrap();
    let fresh =
        |side: usize| Credentials { ufrag: format!("{}2", UFRAG[side]), pwd: format!("{}2", PWD[side]) };
    for side in [0, 1] {
        net.ends[side].restart(&fresh(side), net.now).unwrap();
    }
    net.talk(2);
    assert!(!net.run(1_000, |net| net.events[0].len() > 1));
    for side in [0, 1] {
        let dtls = net.dtls(1 - side, Setup::ActPass);
        let (ufrag, pwd) = (fresh(1 - side).ufrag, fresh(1 - side).pwd);
        net.ends[side].remote(&Ice { ufrag, pwd, ..ice(1 - side) }, &dtls, net.now).unwrap();
    }
    assert!(!net.run(60_000, |net| net.events[0].len() > 1), "{:?}", net.events);
    net.talk(3);
    assert_eq!(net.ends[0].keys(), Some(&keys));
    // A restart that leads nowhere ends the path.
    net.ends[0].restart(&credentials(0), net.now).unwrap();
    net.run(NEVER + 1, |_| false);
    assert_eq!(net.events[0][1..], [TransportEvent::Unreachable]);
}

/// R-RTP-16: another relay goes on with the association, under the same names, without a handshake.
#[test]
fn another_relay_goes_on_with_the_keys() {
    let mut net = Net::new([true, false]);
    describe_both(&mut net);
    assert!(net.run(2_000, Net::connected));
    for seq in 1..10 {
        net.talk(seq);
    }
    let association = net.ends[0].association().unwrap();
    let keys = association.keys.clone();
    assert_eq!(
        (association.outward.len(), association.inward.len()),
        (2, 2),
        "a source each of RTP and of RTCP"
    );
    let outward = association.outward.iter().map(|index| index.ahead(1_000, 1_000)).collect();
    let mut successor = Transport::new(&config(0, true), &net.certificates[0], base(), net.now).unwrap();
    successor.resume(Association { outward, ..association }).unwrap();
    let dtls = net.dtls(1, Setup::Active);
    successor.remote(&ice(1), &dtls, net.now).unwrap();
    net.ends[0] = successor;
    net.events[0].clear();
    assert!(net.run(2_000, |net| net.events[0] == [TransportEvent::Connected { suite: keys.suite }]));
    net.talk(2_000);
    assert!(net.ends[0].dtls.is_none());
}

#[test]
fn a_goodbye_is_heard() {
    let mut net = Net::new([true, false]);
    describe_both(&mut net);
    assert!(net.run(2_000, Net::connected));
    net.ends[0].close();
    net.run(1_000, |_| false);
    assert_eq!(net.events[1][1..], [TransportEvent::Closed]);
    assert!(net.ends[1].keys().is_none());
}

/// The association goes once it has been quiet, the keys and the media stay; a peer that sends DTLS is watched for a while, since no
/// key is left that tells a close_notify from anything else.
#[test]
fn an_association_that_was_quiet_is_let_go() {
    let mut net = Net::new([true, false]);
    describe_both(&mut net);
    assert!(net.run(2_000, Net::connected));
    net.run(4 * QUIET, |_| false);
    assert!(
        net.ends.iter().all(|end| end.dtls.is_some()),
        "a peer that says nothing may lack our last flight"
    );
    net.talk(1);
    net.run(QUIET + 1_000, |_| false);
    assert!(net.ends.iter().all(|end| end.dtls.is_none()));
    net.talk(2);
    // Something that looks like DTLS, from an address that is not the peer's, and then from the peer's.
    let (now, mut alert) = (net.now, [&[21, 254, 253, 0, 1][..], &[0; 30]].concat());
    net.ends[1].receive(&mut alert, "192.0.2.66:9".parse().unwrap(), address(1), now);
    assert!(net.ends[1].goodbye.is_none());
    net.ends[1].receive(&mut alert, address(0), address(1), now);
    assert!(net.ends[1].goodbye.is_some());
    // The peer lives, though it says nothing: its checks tell.
    net.run(60_000, |_| false);
    assert_eq!((net.events[1].len(), net.ends[1].goodbye), (1, None));
    net.talk(3);
    // The peer goes.
    net.deaf = [true; 2];
    let now = net.now;
    net.ends[1].receive(&mut alert, address(0), address(1), now);
    assert!(net.run(GOODBYE + 1_000, |net| net.events[1][1..] == [TransportEvent::Closed]));
    assert!(net.ends[1].keys().is_none());
    // And nothing begins anew, though the path has not been given up yet.
    net.run(4_000, |_| false);
    assert!(net.ends[1].dtls.is_none() && net.events[1].len() == 2, "{:?}", net.events[1]);
}

#[test]
fn a_new_certificate_means_a_new_association() {
    let mut net = Net::new([true, false]);
    describe_both(&mut net);
    assert!(net.run(2_000, Net::connected));
    let old = net.ends[1].keys().cloned().unwrap();
    // The peer of side 1 was replaced behind the same addresses and credentials.
    net.certificates[0] = Certificate::generate(START).unwrap();
    net.ends[0] = Transport::new(&config(0, true), &net.certificates[0], base(), net.now).unwrap();
    (net.events, net.real) = ([vec![], vec![]], true);
    describe_both(&mut net);
    assert!(net.run(4_000, Net::connected), "{:?}", net.events);
    net.talk(1);
    assert_ne!(net.ends[1].keys().unwrap(), &old);
}

#[test]
fn impossible_descriptions_are_refused() {
    let certificate = Certificate::generate(START).unwrap();
    for address in ["0.0.0.0:1", "[::]:1", "224.0.0.1:1"] {
        let config = Config { addresses: vec![address.parse().unwrap()], ..config(0, true) };
        let refused = Transport::new(&config, &certificate, base(), START);
        assert!(matches!(refused, Err(TransportError::Ice(IceError::Address(_)))));
    }
    let mut end = Transport::new(&config(0, true), &certificate, base(), START).unwrap();
    for (ufrag, pwd) in [("a", PWD[1]), ("bbbb", "short"), (&*"b".repeat(300), PWD[1])] {
        let wrong = Ice { ufrag: ufrag.into(), pwd: pwd.into(), ..ice(1) };
        let dtls = Dtls { fingerprints: vec![], setup: Setup::Active };
        assert!(matches!(end.remote(&wrong, &dtls, START), Err(TransportError::Ice(IceError::Credentials))));
    }
}
