//! Wires that lose, and wires that lie.

use super::*;
use boring::pkey::PKey;
use boring::rsa::Rsa;
use boring::x509::X509;
use is::DefaultSha1HmacProvider;
use is::Sha1HmacProvider;
use is::stun::{StunMessage, TransId};
use proptest::prelude::*;

/// A certificate as GStreamer and baresip make them.
pub(super) fn rsa(bits: u32) -> Certificate {
    let key = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&boring::asn1::Asn1Time::from_unix(0).unwrap()).unwrap();
    builder.set_not_after(&boring::asn1::Asn1Time::from_unix(4_000_000_000).unwrap()).unwrap();
    builder.sign(&key, boring::hash::MessageDigest::sha256()).unwrap();
    Certificate::of(builder.build(), key).unwrap()
}

#[test]
fn a_peer_with_an_rsa_certificate_connects_in_either_role() {
    for setups in [[Setup::Active, Setup::Passive], [Setup::Passive, Setup::Active]] {
        let mut net = Net::with([true, false], [Certificate::generate(START).unwrap(), rsa(2048)]);
        net.describe(1, setups[0]);
        net.describe(0, setups[1]);
        assert!(net.run(2_000, Net::connected), "{setups:?} {:?}", net.events);
        net.talk(1);
    }
}

/// A tenth is lost each way, a tenth overtaken, a twentieth repeated. Runs in real time, side by side.
#[test]
fn handshakes_survive_loss_reordering_and_repetition() {
    let certificates = [Certificate::generate(START).unwrap(), rsa(2048)];
    let mut took: Vec<u64> = std::thread::scope(|scope| {
        let runs: Vec<_> = (1..=24u64)
            .map(|seed| {
                let certificates = certificates.clone();
                scope.spawn(move || {
                    let mut net = Net::with([seed % 2 == 0, seed % 2 == 1], certificates);
                    (net.seed, net.faults, net.real) =
                        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), (10, 5, 10), true);
                    net.describe(1, if seed % 3 == 0 { Setup::Passive } else { Setup::Active });
                    net.describe(0, if seed % 3 == 0 { Setup::Active } else { Setup::Passive });
                    assert!(net.run(20_000, Net::connected), "seed {seed}: {:?}", net.events);
                    let took = net.now.since(START);
                    net.faults = (0, 0, 0);
                    net.talk(1);
                    took
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    took.sort_unstable();
    println!("ms to connected: p50 {} p90 {} max {}", took[12], took[21], took[23]);
    assert!(took[12] < 1_500, "half of them at once: {took:?}");
}

/// The last flight is lost, of which only who sent it knows that it is done: the client, with DTLS 1.3, repeats it.
#[test]
fn a_lost_last_flight_is_sent_again() {
    let mut net = Net::new([true, false]);
    net.real = true;
    net.describe(1, Setup::Passive);
    net.describe(0, Setup::Active);
    assert!(net.run(2_000, |net| !net.events[0].is_empty() || !net.events[1].is_empty()));
    net.flying.clear();
    assert!(net.events[0].is_empty(), "side 1 is the client");
    assert!(net.run(3_000, Net::connected), "{:?}", net.events);
    net.talk(1);
}

#[test]
fn what_strangers_send_changes_nothing() {
    let mut net = Net::new([true, false]);
    net.describe(1, Setup::Passive);
    net.describe(0, Setup::Active);
    assert!(net.run(2_000, Net::connected));
    let stranger = SocketAddr::from(([203, 0, 113, 66], 666));
    let mut sealed = rtp(9);
    sealed.resize(172 + ROOM, 0);
    let (length, _) = net.ends[1].protect(&mut sealed, 172).unwrap();
    for (from, counted) in [(stranger, 1), (address(1), 2)] {
        // A hello, an alert, a change of ciphers, a record under a wrong key; forged media; a check without the password.
        for first in [22u8, 21, 20, 23] {
            let mut record = vec![first, 254, 253, 0, 1, 0, 0, 0, 0, 0, 1, 0, 40];
            record.resize(53, 7);
            assert_eq!(net.ends[0].receive(&mut record, from, address(0), net.now), Received::Nothing);
        }
        let mut forged = sealed[..length].to_vec();
        forged[20] ^= 1;
        assert_eq!(net.ends[0].receive(&mut forged, from, address(0), net.now), Received::Nothing);
        assert_eq!(net.ends[0].dropped().forged, counted);
    }
    assert_eq!(net.ends[0].dropped().stranger, 4);
    let mut again = sealed[..length].to_vec();
    assert_eq!(net.ends[0].receive(&mut again, address(1), address(0), net.now), Received::Rtp(172));
    let mut again = sealed[..length].to_vec();
    assert_eq!(net.ends[0].receive(&mut again, address(1), address(0), net.now), Received::Nothing);
    assert_eq!(net.ends[0].dropped().replayed, 1);
    net.run(1_000, |_| false);
    net.talk(10);
    assert_eq!(net.events[0].len(), 1);
}

/// A STUN message as whoever knows the passwords could make it.
fn stun(message: StunMessage<'_>, pwd: &str) -> Vec<u8> {
    let mut octets = vec![0; 2_000];
    let length = message
        .to_bytes(Some(pwd.as_bytes()), &mut octets, |key, parts| {
            DefaultSha1HmacProvider.sha1_hmac(key, parts)
        })
        .unwrap();
    octets.truncate(length);
    octets
}

/// A peer that is who it says, and hostile: its checks come from everywhere and its answers name absurd addresses.
#[test]
fn an_authentic_peer_cannot_make_an_end_grow() {
    let mut net = Net::new([true, false]);
    net.describe(0, Setup::Active);
    let name = format!("{}:{}", UFRAG[0], UFRAG[1]);
    let mut answered = 0;
    for n in 0..5_000u32 {
        let from = SocketAddr::from(([203, 0, (n >> 8) as u8, n as u8], 1_000 + (n % 7) as u16));
        let check = StunMessage::binding_request(
            &name,
            TransId::new(),
            n % 2 == 0,
            u64::from(n),
            u32::MAX - n,
            n % 3 == 0,
        );
        net.ends[0].receive(&mut stun(check, PWD[0]), from, address(0), START + u64::from(n));
        net.ends[0].tick(START + u64::from(n));
        while let Some(said) = net.ends[0].poll_transmit() {
            answered += 1;
            let sent = StunMessage::parse(&said.octets).unwrap();
            if sent.is_binding_request() {
                let mapped = ["224.0.0.1:1", "[::]:0", "255.255.255.255:65535"][n as usize % 3];
                let reply = StunMessage::binding_reply(sent.trans_id(), mapped.parse().unwrap());
                net.ends[0].receive(
                    &mut stun(reply, PWD[1]),
                    said.pair.remote,
                    address(0),
                    START + u64::from(n),
                );
            }
        }
    }
    assert!(answered < 2_000, "{answered}: the addresses beyond the limit are not served");
}

/// Ends behind one socket are told apart by the ufrag in the check; keep-alives of libnice are no fault.
#[test]
fn a_check_names_its_end_and_an_indication_nobody() {
    let mut net = Net::new([true, false]);
    net.describe(0, Setup::Active);
    let check = net.ends[0].poll_transmit().unwrap().octets;
    assert_eq!(crate::ice::addressee(&check), Some(UFRAG[1]));
    let reply = stun(StunMessage::binding_reply(TransId::new(), address(0)), PWD[1]);
    assert_eq!(crate::ice::addressee(&reply), None);
    assert_eq!(crate::ice::addressee(&check[..30]), None);
    let mut indication = [&[0, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[9; 12]].concat();
    net.ends[0].receive(&mut indication, address(1), address(0), START);
    assert_eq!(net.ends[0].dropped(), Dropped::default());
    net.ends[0].receive(&mut check.clone(), address(1), address(0), START);
    assert_eq!(net.ends[0].dropped().stranger, 1, "a check for another");
}

/// RFC 8445 §6.1.1: facing a lite peer we control, even where it offered.
#[test]
fn a_lite_peer_is_controlled() {
    let mut net = Net::new([false, false]);
    let dtls = net.dtls(1, Setup::ActPass);
    net.ends[0].remote(&Ice { lite: true, ..ice(1) }, &dtls, START).unwrap();
    let (mut nominated, mut greeted) = (false, false);
    for ms in 0..1_000 {
        while let Some(said) = net.ends[0].poll_transmit() {
            if packet::classify(&said.octets) == Class::Dtls {
                greeted = true;
                continue;
            }
            let sent = StunMessage::parse(&said.octets).unwrap();
            assert!(sent.ice_controlling().is_some());
            nominated |= sent.use_candidate();
            let reply = StunMessage::binding_reply(sent.trans_id(), address(0));
            net.ends[0].receive(&mut stun(reply, PWD[1]), address(1), address(0), START + ms);
        }
        if nominated && greeted {
            return;
        }
        net.ends[0].tick(START + ms);
    }
    panic!("nominated: {nominated}, hello: {greeted}");
}

/// R-RTP-8: a peer that nominates with every check (RFC 5245 §8.1.1.2) is followed to the best of the pairs that work.
#[test]
fn a_peer_that_nominates_every_pair_gets_the_best_one() {
    let mut net = Net::new([false, true]);
    let peers = [2, 3].map(|host| SocketAddr::from(([198, 51, 100, host], 2000)));
    let dtls = net.dtls(1, Setup::Passive);
    let candidates = peers.iter().zip([2_000_000_000, 2_130_706_431]);
    let candidates = candidates.map(|(at, priority)| Candidate { priority, ..candidate(*at) }).collect();
    net.ends[0].remote(&Ice { candidates, ..ice(1) }, &dtls, START).unwrap();
    let name = format!("{}:{}", UFRAG[0], UFRAG[1]);
    for ms in 0..3_000u64 {
        // The better path works later.
        let works = |at: SocketAddr| at == peers[0] || ms >= 500;
        for from in peers.into_iter().filter(|at| ms % 50 == 0 && works(*at)) {
            let check = StunMessage::binding_request(&name, TransId::new(), true, 1, 1_900_000_000, true);
            net.ends[0].receive(&mut stun(check, PWD[0]), from, address(0), START + ms);
        }
        while let Some(said) = net.ends[0].poll_transmit() {
            let Ok(sent) = StunMessage::parse(&said.octets) else { continue };
            if sent.is_binding_request() && works(said.pair.remote) {
                let reply = StunMessage::binding_reply(sent.trans_id(), address(0));
                net.ends[0].receive(&mut stun(reply, PWD[1]), said.pair.remote, address(0), START + ms);
            }
        }
        net.ends[0].tick(START + ms);
        if ms == 490 {
            assert_eq!(net.ends[0].ice.pair().map(|pair| pair.remote), Some(peers[0]));
        }
    }
    assert_eq!(net.ends[0].ice.pair().map(|pair| pair.remote), Some(peers[1]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Nothing that comes from the network panics, before and after the peer is known: STUN with broken attributes, records, media.
    #[test]
    fn nothing_from_the_network_panics(
        spots in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..80),
        kind in 0..4usize,
        known: bool,
    ) {
        let mut net = Net::new([true, false]);
        if known {
            net.describe(0, Setup::Passive);
            net.drain();
        }
        let name = format!("{}:{}", UFRAG[0], UFRAG[1]);
        let check = StunMessage::binding_request(&name, TransId::new(), false, 1, 1, true);
        let mut octets = match kind {
            0 => stun(check, PWD[0]),
            1 => stun(StunMessage::binding_reply(TransId::new(), address(0)), PWD[1]),
            2 => [&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44][..], &[1; 44]].concat(),
            _ => rtp(1),
        };
        let keep = cut.index(octets.len() + 1);
        if keep > 20 || !tail.is_empty() {
            octets.truncate(keep.max(1));
        }
        octets.extend(&tail);
        for (at, octet) in spots {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if kind < 2 && octets.len() >= 20 {
            // With a length that fits, the attributes are looked at.
            octets.resize(octets.len().next_multiple_of(4), 0);
            let length = (octets.len() - 20) as u16;
            octets[2..4].copy_from_slice(&length.to_be_bytes());
        }
        let mut again = octets.clone();
        net.ends[0].receive(&mut octets, address(1), address(0), START);
        net.ends[0].receive(&mut again, address(1), address(0), START + 1);
        net.ends[0].tick(START + 50);
        net.drain();
    }
}
