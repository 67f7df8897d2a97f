//! Phones that speak SRTP at ports, under keys that signalling brought (RFC 4568; R-RTP-6).

use super::*;
use crate::srtp::{Context, ROOM};
use signal::media::{Crypto, Suite};

/// Our keys of an end: one a suite.
pub(super) fn ours(end: u8) -> Vec<Crypto> {
    let line = |(tag, suite): (u32, Suite)| key(suite, 0x40 ^ end.wrapping_mul(8).wrapping_add(tag as u8));
    (1..).zip(Suite::ALL).map(line).collect()
}

pub(super) fn key(suite: Suite, octet: u8) -> Crypto {
    let (key, salt) = suite.lengths();
    Crypto { tag: 1, suite, key: vec![octet; key + salt], mki: 0 }
}

fn context(line: &Crypto) -> Context {
    let (key, salt) = line.parts().unwrap();
    Context::new(line.suite, key, salt).unwrap()
}

/// A phone that encrypts.
pub(super) struct Secure {
    line: Crypto,
    outward: Context,
    inward: Context,
}

impl Secure {
    /// Faces the endpoint `at` and has this key.
    pub(super) fn new(at: EndpointId, line: Crypto) -> Secure {
        let theirs = ours(at.index as u8).into_iter().find(|own| own.suite == line.suite).unwrap();
        Secure { outward: context(&line), inward: context(&theirs), line }
    }

    pub(super) fn remote(&self, address: SocketAddr) -> Remote {
        Remote { crypto: Some(self.line.clone()), ..remote(address, &[(0, "PCMU")]) }
    }

    pub(super) fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let rtcp = packet[1] >= 192;
        let mut buffer = [packet, &[0; ROOM]].concat();
        let seal = if rtcp { Context::protect_rtcp } else { Context::protect };
        let length = seal(&mut self.outward, &mut buffer, packet.len()).unwrap();
        buffer.truncate(length);
        buffer
    }

    pub(super) fn open(&mut self, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        let open = if packet[1] >= 192 { Context::unprotect_rtcp } else { Context::unprotect };
        let length = open(&mut self.inward, &mut packet).ok()?;
        packet.truncate(length);
        Some(packet)
    }
}

fn plain() -> Remote {
    remote(other(), &[(0, "PCMU")])
}

/// A phone that encrypts on leg 0, a plain one on leg 1.
pub(super) fn call(worker: &mut Worker, suite: Suite) -> (EndpointId, EndpointId, Secure) {
    let ids = allocate(worker, "call", 1);
    let secure = Secure::new(ids[0], key(suite, 9));
    worker.connect("call", 0, 0, &secure.remote(phone()), Time(0)).unwrap();
    worker.connect("call", 1, 0, &plain(), Time(0)).unwrap();
    (ids[0], ids[1], secure)
}

#[test]
fn every_suite_is_opened_on_one_leg_and_sealed_on_the_other_way_back() {
    for suite in Suite::ALL {
        let mut worker = worker(Limits::default());
        let (a, b, mut secure) = call(&mut worker, suite);
        for seq in 0..10 {
            let (there, back) = (rtp(0, seq, 7), rtp(0, 900 + seq, 9));
            let wire = secure.seal(&there);
            let out = give(&mut worker, Socket::Rtp(a), phone(), u64::from(seq) * 20, &wire);
            assert_eq!(out, Some((Socket::Rtp(b), other(), there)), "{suite:?}");
            let out = give(&mut worker, Socket::Rtp(b), other(), u64::from(seq) * 20, &back);
            let (socket, to, wire) = out.unwrap();
            assert_eq!((socket, to), (Socket::Rtp(a), phone()));
            assert_ne!(wire[12..172], back[12..]);
            assert_eq!(secure.open(wire), Some(back));
        }
        let report = receiver_report(7);
        let wire = secure.seal(&report);
        assert_eq!(give(&mut worker, Socket::Rtcp(a), at("192.0.2.30:16401"), 300, &wire), None);
        // Each leg hears reports of ours, in its own form.
        let mut heard = [0, 0];
        for now in (310..20_000).step_by(10) {
            worker.handle_timeout(Time(now));
            for (socket, to, packet) in departures(&mut worker, now) {
                let (leg, packet) = match to.to_string().as_str() {
                    "192.0.2.30:16401" => (0, secure.open(packet).unwrap()),
                    "198.51.100.7:7001" => (1, packet),
                    other => panic!("a report to {other}"),
                };
                assert_eq!(socket, Socket::Rtcp([a, b][leg]));
                assert!(crate::rtcp::valid(&packet));
                heard[leg] += 1;
            }
        }
        assert!(heard.iter().all(|count| *count >= 3), "{heard:?}");
        let [first, second] = &statistics(&worker)[..] else { panic!() };
        assert_eq!((first.form, first.suite, first.dropped), (Form::Sdes, Some(suite), 0));
        assert_eq!((second.form, second.suite), (Form::Plain, None));
    }
}

#[test]
fn both_legs_may_encrypt_each_in_its_own_suite() {
    for (one, two) in [
        (Suite::AesCm128Sha1_80, Suite::AeadAes256Gcm),
        (Suite::AesCm128Sha1_32, Suite::AesCm128Sha1_80),
        (Suite::AeadAes128Gcm, Suite::AeadAes128Gcm),
    ] {
        let mut worker = worker(Limits::default());
        let ids = allocate(&mut worker, "call", 1);
        let mut near = Secure::new(ids[0], key(one, 1));
        let mut far = Secure::new(ids[1], key(two, 2));
        worker.connect("call", 0, 0, &near.remote(phone()), Time(0)).unwrap();
        worker.connect("call", 1, 0, &far.remote(other()), Time(0)).unwrap();
        for seq in 65_500..65_560u32 {
            let packet = rtp(0, seq as u16, 7);
            let (.., wire) =
                give(&mut worker, Socket::Rtp(ids[0]), phone(), u64::from(seq), &near.seal(&packet)).unwrap();
            assert_eq!(far.open(wire), Some(packet), "{one:?} {two:?} {seq}");
        }
    }
}

/// R-RTP-6, rule 7: whoever has not the key is neither heard nor found, whatever address it writes on its packets.
#[test]
fn only_authentic_packets_latch() {
    for suite in Suite::ALL {
        let mut worker = worker(Limits::default());
        let (a, b, mut secure) = call(&mut worker, suite);
        let mut thief = Secure::new(a, key(suite, 66));
        let near = at("192.0.2.30:40000");
        for seq in 0..50 {
            let wires = [thief.seal(&rtp(0, seq, 7)), rtp(0, seq, 7), thief.seal(&receiver_report(7))];
            for wire in &wires[..2] {
                assert_eq!(give(&mut worker, Socket::Rtp(a), near, u64::from(seq) * 20, wire), None);
            }
            assert_eq!(give(&mut worker, Socket::Rtcp(a), near, u64::from(seq) * 20, &wires[2]), None);
        }
        assert_eq!((statistics(&worker)[0].dropped, statistics(&worker)[0].packets_in), (150, 0));
        assert_eq!(worker.poll_event(), None);
        let (_, to, _) = give(&mut worker, Socket::Rtp(b), other(), 2_000, &rtp(0, 1, 9)).unwrap();
        assert_eq!(to, phone(), "media still goes where signalling said");
        // The phone itself, from another port behind its NAT, is found; what it said before is not heard twice.
        let wires: Vec<_> = (0..6).map(|seq| secure.seal(&rtp(0, seq, 7))).collect();
        for (wire, ms) in wires.iter().zip(3_000..) {
            assert!(give(&mut worker, Socket::Rtp(a), near, ms, wire).is_some(), "{suite:?}");
            assert_eq!(give(&mut worker, Socket::Rtp(a), near, ms, wire), None, "a replay");
        }
        assert_eq!(statistics(&worker)[0].peer, Some(near));
    }
}

/// A wrong key is silence, and silence ends the call.
#[test]
fn a_wrong_key_times_out() {
    let mut worker = worker(Limits { media_timeout_ms: 5_000, ..Limits::default() });
    let (a, ..) = call(&mut worker, Suite::AesCm128Sha1_80);
    let mut wrong = Secure::new(a, key(Suite::AesCm128Sha1_80, 66));
    for seq in 0..300 {
        let ms = u64::from(seq) * 20;
        assert_eq!(give(&mut worker, Socket::Rtp(a), phone(), ms, &wrong.seal(&rtp(0, seq, 7))), None);
        worker.handle_timeout(Time(ms));
    }
    let told: Vec<_> = std::iter::from_fn(|| worker.poll_event()).collect();
    assert!(told.iter().any(|r| r.leg.0 == 0 && r.event == Event::TimedOut), "{told:?}");
}

#[test]
fn the_same_key_again_goes_on_and_a_new_one_begins_anew() {
    for suite in Suite::ALL {
        let mut worker = worker(Limits::default());
        let (a, b, mut secure) = call(&mut worker, suite);
        let mut last = vec![];
        for n in 65_000..66_000u32 {
            let (there, back) = (secure.seal(&rtp(0, n as u16, 7)), rtp(0, n as u16, 9));
            give(&mut worker, Socket::Rtp(a), phone(), u64::from(n), &there).unwrap();
            let (.., wire) = give(&mut worker, Socket::Rtp(b), other(), u64::from(n), &back).unwrap();
            assert_eq!(secure.open(wire), Some(back));
            last = there;
        }
        // Hold and retrieve, the same lines: counters and windows stay.
        worker.connect("call", 0, 0, &secure.remote(phone()), Time(0)).unwrap();
        assert_eq!(give(&mut worker, Socket::Rtp(a), phone(), 66_000, &last), None, "a replay");
        let wire = secure.seal(&rtp(0, 464, 7));
        assert!(give(&mut worker, Socket::Rtp(a), phone(), 66_000, &wire).is_some());
        let (.., wire) = give(&mut worker, Socket::Rtp(b), other(), 66_000, &rtp(0, 464, 9)).unwrap();
        assert!(secure.open(wire).is_some(), "ROC 1");
        // A new key of the phone's: its counter begins at 0, ours goes on.
        let mut fresh = Secure::new(a, key(suite, 10));
        fresh.inward.resume(secure.inward.indices().next().unwrap()).unwrap();
        worker.connect("call", 0, 0, &fresh.remote(phone()), Time(0)).unwrap();
        let old = secure.seal(&rtp(0, 465, 7));
        assert_eq!(give(&mut worker, Socket::Rtp(a), phone(), 66_001, &old), None);
        let wire = fresh.seal(&rtp(0, 466, 7));
        assert!(give(&mut worker, Socket::Rtp(a), phone(), 66_001, &wire).is_some());
        let (.., wire) = give(&mut worker, Socket::Rtp(b), other(), 66_001, &rtp(0, 465, 9)).unwrap();
        assert!(fresh.open(wire).is_some());
    }
}

/// The same index twice under one key would give the plain text away: our keys remember how far they got, whatever was agreed
/// in between.
#[test]
fn a_key_of_ours_that_comes_back_goes_on() {
    let (one, two) = (Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm);
    for between in [Some(two), None] {
        let mut worker = worker(Limits::default());
        let (a, b, mut secure) = call(&mut worker, one);
        let hear = |worker: &mut Worker, from: u32, to: u32, with: &mut Secure| {
            for n in from..to {
                let back = rtp(0, n as u16, 9);
                let (.., wire) = give(worker, Socket::Rtp(b), other(), u64::from(n), &back).unwrap();
                let heard = if with.line.tag == 0 { Some(wire) } else { with.open(wire) };
                assert_eq!(heard, Some(back), "{between:?} {n}");
            }
        };
        hear(&mut worker, 65_500, 65_600, &mut secure);
        let mut other = Secure::new(a, key(between.unwrap_or(one), 11));
        let described = match between {
            Some(_) => other.remote(phone()),
            None => {
                other.line.tag = 0;
                remote(phone(), &[(0, "PCMU")])
            }
        };
        worker.connect("call", 0, 0, &described, Time(0)).unwrap();
        let form = if between.is_some() { Form::Sdes } else { Form::Plain };
        assert_eq!((statistics(&worker)[0].form, statistics(&worker)[0].suite), (form, between));
        hear(&mut worker, 65_600, 65_700, &mut other);
        worker.connect("call", 0, 0, &secure.remote(phone()), Time(0)).unwrap();
        hear(&mut worker, 65_700, 65_800, &mut secure);
    }
}

#[test]
fn a_line_without_a_key_of_ours_is_refused_and_changes_nothing() {
    let mut worker = worker(Limits::default());
    let (a, b, mut secure) = call(&mut worker, Suite::AesCm128Sha1_80);
    worker
        .endpoints
        .get_mut(a.index)
        .unwrap()
        .local
        .crypto
        .retain(|line| line.suite == Suite::AesCm128Sha1_80);
    let unknown = Remote { crypto: Some(key(Suite::AeadAes128Gcm, 1)), ..remote(phone(), &[(0, "PCMU")]) };
    let refusal = worker.connect("call", 0, 0, &unknown, Time(0)).unwrap_err();
    assert_eq!(refusal.to_string(), "crypto: the end has no key for AEAD_AES_128_GCM");
    let mut short = key(Suite::AesCm128Sha1_80, 1);
    short.key.pop();
    let short = Remote { crypto: Some(short), ..remote(phone(), &[(0, "PCMU")]) };
    assert!(matches!(worker.connect("call", 0, 0, &short, Time(0)), Err(Refusal::Crypto(_))));
    let packet = rtp(0, 1, 7);
    let out = give(&mut worker, Socket::Rtp(a), phone(), 0, &secure.seal(&packet));
    assert_eq!(out, Some((Socket::Rtp(b), other(), packet)));
}

/// Gives the snapshot of the call to another worker whose endpoints have other keys of their own.
fn replaced(first: &mut Worker, now: u64) -> (Worker, EndpointId, EndpointId) {
    let taken = first.poll_snapshots(Time(now), 64);
    let (_, snapshot) = taken.iter().find(|(name, _)| name == "call").unwrap();
    let mut second = worker(Limits::default());
    // The ends have other places, and other keys with them.
    allocate(&mut second, "another", 1);
    let ids = allocate(&mut second, "call", 1);
    let fresh = second.endpoints.get(ids[0].index).unwrap().local.crypto.clone();
    let kept = first.endpoints.get(first.find("call", 0, 0).unwrap()).unwrap();
    let ends = second.resume("call", snapshot.clone(), Time(now));
    assert_eq!(ends[0].2.crypto, kept.local.crypto, "the call hears of no other keys");
    assert_ne!(ends[0].2.crypto, fresh);
    (second, ids[0], ids[1])
}

/// How many reports of the next half minute the phone opens; all of them.
fn reported(worker: &mut Worker, phone: &mut Secure, from: u64) -> usize {
    let mut opened = 0;
    for now in (from..from + 30_000).step_by(10) {
        worker.handle_timeout(Time(now));
        for (_, to, packet) in departures(worker, now) {
            if to == at("192.0.2.30:16401") {
                phone.open(packet).expect("not seen before");
                opened += 1;
            }
        }
    }
    opened
}

/// A phone that encrypts hears and is heard by another relay under the same keys: indices ahead outwards, and inwards with the
/// roll-over counter that only the dead one knew (R-RTP-7, R-RTP-16).
#[test]
fn another_relay_goes_on_under_the_keys_of_signalling() {
    for suite in Suite::ALL {
        let mut first = worker(Limits::default());
        let (a, b, mut secure) = call(&mut first, suite);
        let mut last = 0;
        for n in 65_400..65_600u32 {
            let wire = secure.seal(&rtp(0, n as u16, 7));
            give(&mut first, Socket::Rtp(a), phone(), u64::from(n), &wire).unwrap();
            let (.., wire) =
                give(&mut first, Socket::Rtp(b), other(), u64::from(n), &rtp(0, n as u16, 9)).unwrap();
            last = u16::from_be_bytes([wire[2], wire[3]]);
            secure.open(wire).unwrap();
        }
        let report = secure.seal(&receiver_report(7));
        give(&mut first, Socket::Rtcp(a), at("192.0.2.30:16401"), 65_600, &report);
        let now = 70_000;
        let (mut second, a, b) = replaced(&mut first, now);
        // What the dead one has sent since nobody knows.
        let more = reported(&mut first, &mut secure, now);
        assert!(more > 1, "{more}");
        second.connect("call", 0, 0, &secure.remote(phone()), Time(now)).unwrap();
        second.connect("call", 1, 0, &plain(), Time(now)).unwrap();
        let old = give(&mut second, Socket::Rtcp(a), at("192.0.2.30:16401"), now, &report);
        assert_eq!((old, statistics(&second)[0].dropped), (None, 1), "{suite:?}: seen before");
        let packet = rtp(0, 100, 7);
        let (socket, to, heard) =
            give(&mut second, Socket::Rtp(a), phone(), now, &secure.seal(&packet)).expect("opened");
        assert_eq!((socket, to), (Socket::Rtp(b), other()), "{suite:?}");
        assert_eq!(heard[12..], packet[12..], "{suite:?}");
        let back = rtp(0, 5, 77);
        let (.., wire) = give(&mut second, Socket::Rtp(b), other(), now, &back).unwrap();
        let heard = secure.open(wire).expect("the phone has made no new context");
        assert_eq!(
            u16::from_be_bytes([heard[2], heard[3]]),
            last.wrapping_add(crate::packet::LEAP.0),
            "{suite:?}"
        );
        assert_eq!(heard[12..], back[12..]);
        assert!(reported(&mut second, &mut secure, now) > 1, "{suite:?}");
        // It moves once more.
        let (mut third, a, _) = replaced(&mut second, now + 40_000);
        third.connect("call", 0, 0, &secure.remote(phone()), Time(now + 40_000)).unwrap();
        third.connect("call", 1, 0, &plain(), Time(now + 40_000)).unwrap();
        let wire = secure.seal(&rtp(0, 101, 7));
        assert!(give(&mut third, Socket::Rtp(a), phone(), now + 40_000, &wire).is_some());
    }
}

/// The phone makes new keys with the offer that tells it of the move, or has gone to another suite before: nothing of ours is
/// used twice.
#[test]
fn keys_that_change_with_the_move_begin_anew_inwards_alone() {
    let mut first = worker(Limits::default());
    let (a, b, mut secure) = call(&mut first, Suite::AesCm128Sha1_80);
    let mut gcm = Secure::new(a, key(Suite::AeadAes128Gcm, 5));
    let say = |worker: &mut Worker, b: EndpointId, seq: u16, now: u64| {
        give(worker, Socket::Rtp(b), other(), now, &rtp(0, seq, 9)).map(|(.., wire)| wire)
    };
    let first_wire = say(&mut first, b, 1, 0).unwrap();
    secure.open(first_wire).unwrap();
    first.connect("call", 0, 0, &gcm.remote(phone()), Time(10)).unwrap();
    gcm.open(say(&mut first, b, 2, 20).unwrap()).unwrap();
    let (mut second, a, b) = replaced(&mut first, 5_000);
    let renewed = Crypto { key: vec![0x77; 28], ..gcm.line.clone() };
    let ours = second.endpoints.get(a.index).unwrap().local.crypto.clone();
    let mut renewed = Secure {
        outward: context(&renewed),
        inward: context(ours.iter().find(|line| line.suite == renewed.suite).unwrap()),
        line: renewed,
    };
    second.connect("call", 0, 0, &renewed.remote(phone()), Time(5_000)).unwrap();
    second.connect("call", 1, 0, &plain(), Time(5_000)).unwrap();
    let wire = renewed.seal(&rtp(0, 9, 7));
    assert!(give(&mut second, Socket::Rtp(a), phone(), 5_000, &wire).is_some());
    assert!(renewed.open(say(&mut second, b, 3, 5_000).unwrap()).is_some());
    // Back to the suite of the beginning: its key goes on beyond what it has protected.
    second.connect("call", 0, 0, &secure.remote(phone()), Time(5_020)).unwrap();
    assert!(secure.open(say(&mut second, b, 4, 5_020).unwrap()).is_some());
    let Link::Plain(link) = &second.endpoints.get(a.index).unwrap().link else { panic!() };
    let outward = link.state().unwrap().outward;
    assert_eq!(
        outward.iter().map(|(suite, _)| *suite).collect::<Vec<_>>(),
        [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm]
    );
    assert!(
        outward.iter().all(|(_, indices)| indices[0].rtp >= Some(u64::from(crate::packet::LEAP.0))),
        "{outward:?}"
    );
}

/// An offer was made, and its relay dies before the answer; a phone that took none of the keys costs no room.
#[test]
fn keys_that_were_offered_or_never_taken() {
    let mut first = worker(Limits::default());
    let ids = allocate(&mut first, "call", 1);
    let mut secure = Secure::new(ids[0], key(Suite::AeadAes256Gcm, 9));
    let (mut second, a, b) = replaced(&mut first, 1_000);
    second.connect("call", 0, 0, &secure.remote(phone()), Time(1_000)).unwrap();
    second.connect("call", 1, 0, &plain(), Time(1_000)).unwrap();
    let (.., wire) = give(&mut second, Socket::Rtp(b), other(), 1_000, &rtp(0, 1, 9)).unwrap();
    assert!(secure.open(wire).is_some());
    let wire = secure.seal(&rtp(0, 1, 7));
    assert!(give(&mut second, Socket::Rtp(a), phone(), 1_000, &wire).is_some());
    let taken = second.poll_snapshots(Time(4_000), 64);
    let (_, snapshot) = taken.iter().find(|(name, _)| name == "call").unwrap();
    assert!(snapshot.endpoints[1].crypto.is_empty() && snapshot.endpoints[1].keyed.is_none());
}
