use super::*;
use proptest::prelude::*;

const SUITES: [Suite; 6] = Suite::ALL;

fn pair(suite: Suite) -> (Context, Context) {
    let (key, salt) = suite.lengths();
    let (key, salt) = (vec![0x42; key], vec![0x17; salt]);
    (Context::new(suite, &key, &salt).unwrap(), Context::new(suite, &key, &salt).unwrap())
}

fn packet(seq: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(seq.to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xab; 160]);
    packet
}

fn sealed(context: &mut Context, packet: &[u8]) -> Vec<u8> {
    let mut buffer = [packet, &[0; ROOM]].concat();
    let length = context.protect(&mut buffer, packet.len()).unwrap();
    buffer.truncate(length);
    buffer
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap())
        .collect()
}

/// A whole packet of RTP and one of RTCP under the master keys of RFC 3711 B.3 and RFC 6188 §7.4: published vectors, cut to
/// each suite's tag.
#[test]
fn whole_packets_come_out_as_published() {
    let short = ("e1f97a0d3e018be0d64fa32c06de4139", "0ec675ad498afeebb6960b3aabe6");
    let long =
        ("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6", "3b04803de51ee7c96423ab5b78d2");
    let (rtp, rtcp) = (
        "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
        "81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798",
    );
    let (rtp_long, rtcp_long) = (
        "800f1234decafbadcafebabef1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b",
        "81c8000bcafebabeb4d0e7a917d24b9faab9d3b6127b3ba680000001e04ac0ec2846f71bd31c",
    );
    for (suite, (key, salt), rtp, rtcp, tag) in [
        (Suite::AesCm128Sha1_80, short, rtp, rtcp, 10),
        (Suite::AesCm128Sha1_32, short, rtp, rtcp, 4),
        (Suite::AesCm256Sha1_80, long, rtp_long, rtcp_long, 10),
        (Suite::AesCm256Sha1_32, long, rtp_long, rtcp_long, 4),
    ] {
        let mut context = Context::new(suite, &hex(key), &hex(salt)).unwrap();
        let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
        assert_eq!(sealed(&mut context, &plain), hex(rtp)[..28 + tag], "{suite:?}");
        let plain = hex("81c8000bcafebabeabababababababababababababababab");
        let mut buffer = [&plain[..], &[0; ROOM]].concat();
        let length = context.protect_rtcp(&mut buffer, plain.len()).unwrap();
        assert_eq!(buffer[..length], hex(rtcp), "{suite:?}: SRTCP keeps the long tag");
    }
}

#[test]
fn every_suite_opens_what_it_sealed_and_nothing_else() {
    for suite in SUITES {
        let (mut here, mut there) = pair(suite);
        let plain = packet(7, 1);
        let wire = sealed(&mut here, &plain);
        assert_ne!(wire[12..40], plain[12..40]);
        for at in 0..wire.len() {
            let mut forged = wire.clone();
            forged[at] ^= 1;
            assert!(there.unprotect(&mut forged).is_err(), "{suite:?} octet {at}");
        }
        let mut opened = wire.clone();
        let length = there.unprotect(&mut opened).unwrap();
        assert_eq!(opened[..length], plain[..]);
        assert_eq!(there.unprotect(&mut wire.clone()), Err(SrtpError::Replayed));
    }
}

#[test]
fn rtcp_is_protected_and_replays_are_refused() {
    for suite in SUITES {
        let (mut here, mut there) = pair(suite);
        let plain = [&[0x81, 200, 0, 6, 0, 0, 0, 9][..], &[5; 20]].concat();
        let mut buffer = [&plain[..], &[0; ROOM]].concat();
        let length = here.protect_rtcp(&mut buffer, plain.len()).unwrap();
        let mut wire = buffer[..length].to_vec();
        let mut forged = wire.clone();
        forged[10] ^= 1;
        assert_eq!(there.unprotect_rtcp(&mut forged), Err(SrtpError::Forged));
        let again = wire.clone();
        let length = there.unprotect_rtcp(&mut wire).unwrap();
        assert_eq!(wire[..length], plain[..]);
        assert_eq!(there.unprotect_rtcp(&mut again.clone()), Err(SrtpError::Replayed));
    }
}

/// The roll-over counter follows the sequence number round, in order or not, and is handed over (R-RTP-7).
#[test]
fn sequence_numbers_may_go_round() {
    for suite in SUITES {
        let (mut here, mut there) = pair(suite);
        let mut wires: Vec<Vec<u8>> =
            (0..200u32).map(|i| sealed(&mut here, &packet((65_436 + i) as u16, 3))).collect();
        wires.swap(98, 103);
        for wire in &mut wires {
            there.unprotect(wire).unwrap();
        }
        let at = there.indices().find(|i| i.ssrc == 3).unwrap();
        assert_eq!(at.rtp, Some(1 << 16 | 99));
        // Another relay goes on where this one stopped; without the index it could not.
        let (mut successor, mut ignorant) = (pair(suite).1, pair(suite).1);
        successor.resume(at).unwrap();
        let wire = sealed(&mut here, &packet(104, 3));
        assert_eq!(ignorant.unprotect(&mut wire.clone()), Err(SrtpError::Forged));
        successor.unprotect(&mut wire.clone()).unwrap();
    }
}

/// R-RTP-7: the counter is handed over, and where the source has sent on for longer than sequence numbers tell, the tag does.
#[test]
fn a_successor_opens_what_comes_long_after_the_last_index_known() {
    for suite in SUITES {
        for (known, next) in [(10u64, 65_540u64), (65_530, 65_540), (10, 40_000), (70_000, 70_001 + 65_536)] {
            let (mut here, mut there) = pair(suite);
            there.resume(Index { ssrc: 1, rtp: Some(known), rtcp: 0 }).unwrap();
            here.resume(Index { ssrc: 1, rtp: Some(next - 1), rtcp: 0 }).unwrap();
            for index in [next, next + 1, next + 3] {
                let wire = sealed(&mut here, &packet(index as u16, 1));
                let mut forged = wire.clone();
                forged[30] ^= 1;
                assert_eq!(there.unprotect(&mut forged), Err(SrtpError::Forged));
                assert_eq!(there.unprotect(&mut wire.clone()), Ok(172), "{suite:?} {known} {index}");
                assert_eq!(there.unprotect(&mut wire.clone()), Err(SrtpError::Replayed));
            }
            assert_eq!(there.indices().next().unwrap().rtp, Some(next + 3));
        }
    }
}

/// Packets that the dead relay had accepted are refused as replays.
#[test]
fn a_successor_takes_nothing_twice() {
    for suite in SUITES {
        let (mut here, mut there) = pair(suite);
        let wires: Vec<Vec<u8>> = (0..200).map(|seq| sealed(&mut here, &packet(seq, 1))).collect();
        there.resume(Index { ssrc: 1, rtp: Some(150), rtcp: 0 }).unwrap();
        for (seq, wire) in wires.iter().enumerate().take(151) {
            assert_eq!(there.unprotect(&mut wire.clone()), Err(SrtpError::Replayed), "{seq}");
        }
        assert_eq!(there.unprotect(&mut wires[151].clone()), Ok(172));
    }
}

/// A sender that resumes never uses an index again, over the wrap too.
#[test]
fn a_successor_sends_beyond_what_was_sent() {
    for suite in SUITES {
        let (mut here, mut there) = pair(suite);
        let last = Index { ssrc: 1, rtp: Some(65_000), rtcp: 0x7fff_ffff };
        here.resume(last.ahead(999, 999)).unwrap();
        there.resume(last).unwrap();
        assert_eq!(here.indices().next().unwrap(), Index { ssrc: 1, rtp: Some(65_999), rtcp: 998 });
        let mut again = packet(65_000u16.wrapping_add(999), 1);
        again.resize(172 + ROOM, 0);
        assert_eq!(here.protect(&mut again, 172), Err(SrtpError::Replayed));
        let mut wire = sealed(&mut here, &packet(65_000u16.wrapping_add(1_000), 1));
        assert_eq!(there.unprotect(&mut wire), Ok(172), "the counter was raised: {suite:?}");
        assert_eq!(there.indices().next().unwrap().rtp, Some(66_000));
    }
}

#[test]
fn hostile_sources_take_no_room_and_short_packets_no_harm() {
    let (mut here, mut there) = pair(Suite::AesCm128Sha1_80);
    for ssrc in 0..10_000 {
        assert_eq!(there.unprotect(&mut packet(1, ssrc)), Err(SrtpError::Forged));
    }
    assert!(there.sources.is_empty(), "only authentic packets are remembered");
    for ssrc in 0..SOURCES as u32 {
        there.unprotect(&mut sealed(&mut here, &packet(1, ssrc))).unwrap();
    }
    assert_eq!(there.unprotect(&mut packet(1, 999)), Err(SrtpError::TooManySources));
    assert_eq!(here.protect(&mut packet(2, 1), 172), Err(SrtpError::NoRoom));
    assert!(Context::new(Suite::AeadAes128Gcm, &[0; 16], &[0; 14]).is_err());
}

/// The same index twice would be the same keystream twice.
#[test]
fn no_index_is_used_twice() {
    for suite in [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm] {
        let (mut here, _) = pair(suite);
        let mut again = packet(5, 1);
        again.resize(172 + ROOM, 0);
        let mut other = again.clone();
        other[20] ^= 1;
        here.protect(&mut again, 172).unwrap();
        assert_eq!(here.protect(&mut other, 172), Err(SrtpError::Replayed));
        let mut late = packet(4, 1);
        late.resize(172 + ROOM, 0);
        assert!(here.protect(&mut late, 172).is_ok());
    }
}

/// RFC 3711 §3.1, RFC 7714 §17: a key identifier is passed over, wherever it stands.
#[test]
fn key_identifiers_are_passed_over() {
    for suite in SUITES {
        let (mut here, there) = pair(suite);
        let mut there = there.with_mki(4);
        let plain = packet(7, 1);
        let named = |wire: Vec<u8>, tag: usize| {
            let at = wire.len() - if cipher::is_gcm(suite) { 0 } else { tag };
            [&wire[..at], &[0, 0, 0, 1], &wire[at..]].concat()
        };
        let mut wire = named(sealed(&mut here, &plain), cipher::tag_length(suite));
        let length = there.unprotect(&mut wire).unwrap();
        assert_eq!(wire[..length], plain[..], "{suite:?}");
        let report = [&[0x81, 200, 0, 6, 0, 0, 0, 9][..], &[5; 20]].concat();
        let mut buffer = [&report[..], &[0; ROOM]].concat();
        let length = here.protect_rtcp(&mut buffer, report.len()).unwrap();
        let mut wire = named(buffer[..length].to_vec(), cipher::rtcp_tag_length(suite));
        let length = there.unprotect_rtcp(&mut wire).unwrap();
        assert_eq!(wire[..length], report[..], "{suite:?}");
        for length in 0..40 {
            assert!(there.unprotect(&mut plain[..length].to_vec()).is_err());
            assert!(there.unprotect_rtcp(&mut plain[..length].to_vec()).is_err());
        }
    }
}

/// Any RTP packet: CSRCs, a header extension, any payload, none.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::collection::vec(any::<[u8; 4]>(), 0..4);
    let payload = prop::collection::vec(any::<u8>(), 0..1_200);
    (any::<u8>(), 0u8..64, any::<u16>(), any::<u32>(), words, prop::option::of(0u8..4), payload).prop_map(
        |(marker, pt, seq, ssrc, csrcs, extension, payload)| {
            let extended = if extension.is_some() { 0x10 } else { 0 };
            let mut packet = vec![0x80 | extended | csrcs.len() as u8, marker & 0x80 | pt];
            packet.extend(seq.to_be_bytes());
            packet.extend([1, 2, 3, 4]);
            packet.extend(ssrc.to_be_bytes());
            packet.extend(csrcs.concat());
            if let Some(words) = extension {
                packet.extend([0xbe, 0xde, 0, words]);
                packet.extend(vec![0x10; 4 * usize::from(words)]);
            }
            packet.extend(payload);
            packet
        },
    )
}

fn any_suite() -> impl Strategy<Value = Suite> {
    (0..SUITES.len()).prop_map(|at| SUITES[at])
}

proptest! {
    #[test]
    fn late_packets_inside_the_window_open_once(order in Just((0u16..120).collect::<Vec<_>>()).prop_shuffle(), start: u16) {
        let (mut here, mut there) = pair(Suite::AeadAes128Gcm);
        let wires: Vec<Vec<u8>> = (0..120u16).map(|i| sealed(&mut here, &packet(start.wrapping_add(i), 1))).collect();
        // The first packet of a source fixes its counter, so a start before the turn must come first.
        there.unprotect(&mut wires[0].clone()).unwrap();
        for at in order.into_iter().filter(|at| *at != 0) {
            prop_assert!(there.unprotect(&mut wires[usize::from(at)].clone()).is_ok());
            prop_assert_eq!(there.unprotect(&mut wires[usize::from(at)].clone()), Err(SrtpError::Replayed));
        }
    }

    /// Opened once it is what it was; cut short, changed, or under another key it is nothing.
    #[test]
    fn any_packet_comes_back_and_no_other(suite in any_suite(), plain in any_packet(), cut in 1usize..20, at: prop::sample::Index) {
        let (mut here, mut there) = pair(suite);
        let wire = sealed(&mut here, &plain);
        prop_assert_eq!(wire.len(), plain.len() + cipher::tag_length(suite));
        let mut short = wire[..wire.len().saturating_sub(cut)].to_vec();
        prop_assert!(there.unprotect(&mut short).is_err());
        let mut changed = wire.clone();
        let at = at.index(changed.len());
        changed[at] ^= 0x40;
        prop_assert!(there.unprotect(&mut changed).is_err());
        let (key, salt) = suite.lengths();
        let mut stranger = Context::new(suite, &vec![0x43; key], &vec![0x17; salt]).unwrap();
        prop_assert_eq!(stranger.unprotect(&mut wire.clone()), Err(SrtpError::Forged));
        let mut opened = wire.clone();
        let length = there.unprotect(&mut opened).unwrap();
        prop_assert_eq!(&opened[..length], &plain[..]);
        prop_assert_eq!(there.unprotect(&mut wire.clone()), Err(SrtpError::Replayed));
    }

    /// The roll-over counter is guessed right forwards and backwards, however packets are mixed around the turn.
    #[test]
    fn the_turn_may_be_crossed_both_ways(suite in any_suite(), mixed in prop::collection::vec(0u64..100, 1..200), roc in 0u64..3) {
        let (mut here, mut there) = pair(suite);
        let first = (roc << 16) + 0xffff - 50;
        let start = Index { ssrc: 1, rtp: Some(first), rtcp: 0 };
        here.resume(start).unwrap();
        there.resume(start).unwrap();
        let wires: Vec<Vec<u8>> = (1..101).map(|n| sealed(&mut here, &packet((first + n) as u16, 1))).collect();
        prop_assert_eq!(here.indices().next().unwrap().rtp, Some(first + 100));
        let mut seen = std::collections::HashSet::new();
        for at in mixed {
            let opened = there.unprotect(&mut wires[at as usize].clone());
            prop_assert_eq!(opened.is_ok(), seen.insert(at), "packet {}", at);
        }
        let highest = first + 1 + seen.iter().max().unwrap();
        prop_assert_eq!(there.indices().next().unwrap().rtp, Some(highest));
    }

    /// Packets older than the window are refused, seen or not (RFC 3711 §3.3.2).
    #[test]
    fn the_window_is_128_wide(suite in any_suite(), back in 1u16..300) {
        let (mut here, mut there) = pair(suite);
        let late = sealed(&mut here, &packet(10_000 - back, 1));
        there.unprotect(&mut sealed(&mut here, &packet(10_000, 1))).unwrap();
        prop_assert_eq!(there.unprotect(&mut late.clone()).is_ok(), back < 128);
    }

    #[test]
    fn nothing_from_the_network_panics(mut octets in prop::collection::vec(any::<u8>(), 0..120)) {
        for suite in SUITES {
            let (_, mut there) = pair(suite);
            let _ = (there.unprotect(&mut octets.clone()), there.unprotect_rtcp(&mut octets));
        }
    }
}
