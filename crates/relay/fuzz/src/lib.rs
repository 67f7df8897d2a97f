//! The packet path against anything: each function takes octets of an attacker's choice and panics where a promise is broken.
//!
//! One rule: a target is a plain function of its octets, so that `tests/fuzz.rs` can run it on stable Rust, too.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a target says what is wrong by failing"
)]

use signal::media::{Candidate, CandidateKind, Codec, Dtls, Ice, Setup};
use signal::{LegId, Time};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;
use tandem_relay::dtls::Certificate;
use tandem_relay::ice::{Config, Credentials};
use tandem_relay::packet::{self, Class};
use tandem_relay::rtcp::{self, Item, Writer};
use tandem_relay::session::{
    Arrival, EndpointId, Host, LegRequest, Limits, Local, MAX_TRANSMIT, Refusal, Remote, Socket, Worker,
};
use tandem_relay::srtp::{Context, ROOM, Suite};
use tandem_relay::webrtc::{Received, Transport};

/// Target that is run with any octets; it panics where something is wrong.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] =
    &[("packet", packet), ("rtcp", rtcp), ("srtp", srtp), ("stun", stun), ("worker", worker)];

/// Classifies a datagram, reads and rewrites the fields of RTP.
pub fn packet(data: &[u8]) {
    let class = packet::classify(data);
    let Some(header) = packet::rtp(data) else { return };
    assert!(header.header <= data.len() && header.pt < 128);
    assert!(matches!(class, Class::Rtp | Class::Rtcp | Class::Other));
    let mut again = data.to_vec();
    packet::rewrite(&mut again, &header);
    assert_eq!(again, data, "what is read is what is written");
    let mut bare = header;
    let length = packet::strip(&mut again, data.len(), &mut bare);
    assert_eq!(packet::rtp(&again[..length]), Some(bare));
    assert_eq!(again[bare.header..length], data[header.header..]);
}

/// Reads RTCP and writes it anew.
pub fn rtcp(data: &[u8]) {
    let mut items = vec![];
    rtcp::read(data, |item| items.push(item));
    assert!(items.len() <= data.len() / 4);
    let _ = rtcp::valid(data);
    let mut buffer = vec![0; 64 + 64 * items.len()];
    let mut writer = Writer::new(&mut buffer);
    writer.report(1, None, None).name(1, [b'x'; 16]);
    let mut written = vec![];
    for item in &items {
        match item {
            Item::Sender(sender) => drop(writer.report(sender.ssrc, Some(sender), None)),
            Item::Block(block) => drop(writer.report(1, None, Some(block))),
            Item::Nack { media, first, mask } => drop(writer.nack(1, *media, &[(*first, *mask)])),
            Item::KeyframeRequest { media } => drop(writer.pli(1, *media)),
            Item::Bye { ssrc } => drop(writer.bye(*ssrc)),
            // Rounded to 18 bits.
            Item::Estimate { .. } => continue,
        }
        written.push(*item);
    }
    let length = writer.finish().unwrap();
    assert!(rtcp::valid(&buffer[..length]));
    let mut again = vec![];
    rtcp::read(&buffer[..length], |item| again.push(item));
    assert_eq!(again, written);
}

/// Packets of others are refused, packets of ours come back.
pub fn srtp(data: &[u8]) {
    let [kind, rest @ ..] = data else { return };
    let suites = [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm];
    let suite = suites[usize::from(*kind) % suites.len()];
    let (key, salt) = suite.lengths();
    let make = || Context::new(suite, &vec![1; key], &vec![2; salt]).unwrap();
    let (mut ours, mut theirs) = (make(), make());
    let (mut media, mut report) = (rest.to_vec(), rest.to_vec());
    assert!(theirs.unprotect(&mut media).is_err(), "nobody guesses a tag");
    assert!(theirs.unprotect_rtcp(&mut report).is_err());
    let mut buffer = rest.to_vec();
    buffer.resize(rest.len() + ROOM, 0);
    if let Ok(length) = ours.protect(&mut buffer, rest.len()) {
        let mut forged = buffer[..length].to_vec();
        forged[usize::from(*kind) % length] ^= 0x10;
        assert_eq!(theirs.unprotect(&mut buffer[..length]), Ok(rest.len()));
        assert_eq!(&buffer[..rest.len()], rest);
        assert!(theirs.unprotect(&mut forged).is_err());
    }
    let mut buffer = rest.to_vec();
    buffer.resize(rest.len() + ROOM, 0);
    if let Ok(length) = ours.protect_rtcp(&mut buffer, rest.len()) {
        assert_eq!(theirs.unprotect_rtcp(&mut buffer[..length]), Ok(rest.len()));
        assert_eq!(&buffer[..rest.len()], rest);
    }
}

const START: Time = Time(1_700_000_000_000);
const PWD: &str = "0123456789012345678901234";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

fn certificate() -> Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| Certificate::generate(START).unwrap()).clone()
}

fn description(address: SocketAddr) -> (Ice, Dtls) {
    let candidate = Candidate {
        foundation: "1".into(),
        component: 1,
        priority: 2_130_706_431,
        address,
        kind: CandidateKind::Host,
        related: None,
        generation: 0,
    };
    let ice = Ice {
        ufrag: "peer".into(),
        pwd: PWD.into(),
        candidates: vec![candidate],
        lite: false,
        trickle: false,
    };
    (ice, Dtls { fingerprints: vec![certificate().fingerprint()], setup: Setup::Active })
}

/// Datagrams as the targets take them: two octets of choice, two of length, and that much.
fn datagrams(mut data: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    std::iter::from_fn(move || {
        let [choice, from, high, low, rest @ ..] = data else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()).min(2_000);
        let (datagram, after) = rest.split_at(length);
        data = after;
        Some((*choice, *from, datagram))
    })
    .take(64)
}

/// A WebRTC end between its description and its first check.
pub fn stun(data: &[u8]) {
    let config = Config {
        credentials: Credentials { ufrag: "ours".into(), pwd: PWD.into() },
        addresses: vec![at("203.0.113.1:30000")],
        controlling: true,
        tie_breaker: 7,
        preference: 1,
    };
    let peer = at("198.51.100.7:7000");
    let mut end = Transport::new(&config, &certificate(), base(), START).unwrap();
    let mut now = START;
    for (choice, from, datagram) in datagrams(data) {
        now = now + u64::from(choice & 0x7f);
        if choice & 0x80 != 0 {
            let (ice, dtls) = description(peer);
            let _ = end.remote(&ice, &dtls, now);
        }
        let from = SocketAddr::from(([198, 51, 100, from % 16], 7_000 + u16::from(from / 16)));
        let mut datagram = datagram.to_vec();
        assert_eq!(end.receive(&mut datagram, from, config.addresses[0], now), Received::Nothing);
        end.tick(now);
        let sent = std::iter::from_fn(|| end.poll_transmit()).take(1_001).count();
        assert!(sent <= 1_000);
    }
    assert!(end.pair().is_none(), "nobody has made a key");
}

/// A whole worker: a call of two phones, one of a phone and a client, and one of three with video, whose bridge changes; datagrams from
/// anywhere to any socket.
pub fn worker(data: &[u8]) {
    let shared = at("203.0.113.1:30000");
    let host = Host { address: shared, certificate: certificate(), base: base(), epoch: START };
    let mut worker = Worker::new(Limits::default(), host);
    let mut ends: Vec<EndpointId> = vec![];
    let parties = [at("192.0.2.30:16400"), at("198.51.100.7:7000")];
    let mut video = Codec::new(96, "VP8", 90_000, 1);
    video.feedback = ["nack", "nack pli", "ccm fir", "goog-remb"].map(String::from).to_vec();
    let sound = vec![Codec::new(0, "PCMU", 8_000, 1), Codec::new(101, "telephone-event", 8_000, 1)];
    for call in ["phones", "client", "video"] {
        let make = |id: EndpointId, _: &LegRequest, _| {
            ends.push(id);
            let ufrag = format!("ufrag{}", id.index);
            Ok::<_, Refusal>(Local {
                address: shared.ip(),
                rtp_port: 1,
                rtcp_port: 2,
                ufrag,
                pwd: PWD.into(),
                generation: 0,
                tie_breaker: u64::from(id.index),
                preference: 1,
                crypto: vec![],
            })
        };
        let three = if call == "video" { 3 } else { 2 };
        let legs = (0..three).map(|leg| LegRequest { leg: LegId(leg), contents: 1, webrtc: false });
        worker.allocate(call, "", &legs.collect::<Vec<_>>(), START, make).unwrap();
        worker.bridge(call, &[(LegId(0), LegId(1))], START).unwrap();
        let third = SocketAddr::new(parties[1].ip(), 7_004);
        for (leg, address) in (0..u32::from(three)).zip([parties[0], parties[1], third]) {
            let codecs = if call == "video" { vec![video.clone()] } else { sound.clone() };
            let mut remote = Remote { address: Some(address), codecs, ..Remote::default() };
            if call == "client" && leg == 1 {
                let (ice, dtls) = description(address);
                remote = Remote { mux: true, ice: Some(ice), dtls: Some(dtls), ours: true, ..remote };
            }
            remote.mux |= call == "video";
            worker.connect(call, leg, 0, &remote, START).unwrap();
        }
    }
    let mut now = START.0 * 1_000;
    let known = |to: SocketAddr| parties.iter().any(|party| party.ip() == to.ip());
    for (choice, from, datagram) in datagrams(data) {
        now += u64::from(from >> 4) * 10_000;
        if choice % 16 == 13 {
            let (one, other) = [(0, 1), (0, 2), (1, 2), (9, 0)][usize::from(from % 4)];
            let changed = worker.bridge("video", &[(LegId(one), LegId(other))], Time(now / 1_000));
            assert_eq!(changed.is_ok(), one != 9);
        }
        let socket = match usize::from(choice % 16) {
            place @ 0..6 => Socket::Rtp(ends[place]),
            place @ 6..12 => Socket::Rtcp(ends[place - 6]),
            12 => Socket::Rtp(EndpointId { index: 77, generation: 3 }),
            14 => Socket::Rtp(ends[6]),
            _ => Socket::Shared,
        };
        let from = match from % 4 {
            0 => parties[0],
            1 => parties[1],
            2 => SocketAddr::new(parties[usize::from(choice >> 7)].ip(), 16_401),
            _ => SocketAddr::from(([203, 0, 113, 66], 9)),
        };
        let mut buffer = datagram.to_vec();
        buffer.resize(datagram.len() + ROOM, 0);
        if let Some(out) = worker.handle_datagram(socket, from, Arrival(now), &mut buffer, datagram.len()) {
            assert!(known(out.to) && out.length <= buffer.len(), "{out:?}");
            assert!(known(from), "a stranger was heard");
        }
        worker.handle_timeout(Time(now / 1_000));
        let mut buffer = [0; MAX_TRANSMIT];
        let mut said = 0;
        while let Some(out) = worker.poll_transmit(Arrival(now), &mut buffer) {
            said += 1;
            assert!(known(out.to) && out.length <= MAX_TRANSMIT && said <= 500, "{out:?}");
        }
        // Whoever knows the password is answered, wherever he is (RFC 8445 §7.3).
        assert!(std::iter::from_fn(|| worker.poll_datagram()).take(1_001).count() <= 1_000);
        while worker.poll_event().is_some() {}
    }
    for call in ["phones", "client", "video"] {
        assert!(worker.release(call).is_some());
    }
    assert_eq!(worker.totals().0, 0);
}
