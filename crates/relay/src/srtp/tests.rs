use super::*;
use proptest::prelude::*;

const SUITES: [Suite; 3] = [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm];

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

/// A whole packet of AES_CM_128_HMAC_SHA1_80 and one of SRTCP, with the master key of RFC 3711 B.3: published vectors.
#[test]
fn whole_packets_come_out_as_published() {
    let (key, salt) = (hex("e1f97a0d3e018be0d64fa32c06de4139"), hex("0ec675ad498afeebb6960b3aabe6"));
    let mut context = Context::new(Suite::AesCm128Sha1_80, &key, &salt).unwrap();
    let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
    assert_eq!(
        sealed(&mut context, &plain),
        hex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb")
    );
    let plain = hex("81c8000bcafebabeabababababababababababababababab");
    let mut buffer = [&plain[..], &[0; ROOM]].concat();
    let length = context.protect_rtcp(&mut buffer, plain.len()).unwrap();
    assert_eq!(
        buffer[..length],
        hex("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798")
    );
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

/// What the dead relay had taken is not taken again.
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

/// Whoever goes on with sending never uses an index again, over the wrap too.
#[test]
fn a_successor_sends_beyond_what_was_sent() {
    for suite in SUITES {
        let (mut here, mut there) = pair(suite);
        let last = Index { ssrc: 1, rtp: Some(65_000), rtcp: 0x7fff_ffff };
        here.resume(last.ahead(999)).unwrap();
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
    assert!(there.sources.iter().all(Option::is_none), "only authentic packets are remembered");
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

    #[test]
    fn nothing_from_the_network_panics(mut octets in prop::collection::vec(any::<u8>(), 0..120)) {
        for suite in SUITES {
            let (_, mut there) = pair(suite);
            let _ = (there.unprotect(&mut octets.clone()), there.unprotect_rtcp(&mut octets));
        }
    }
}
