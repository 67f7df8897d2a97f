//! The packet path allocates nothing: counted by an allocator of the test's own.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test says what is wrong by failing")]

use signal::media::{Candidate, CandidateKind, Codec, Crypto, Dtls, Ice, Setup};
use signal::{LegId, Time};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Instant;
use tandem_relay::dtls::Certificate;
use tandem_relay::ice::{Config, Credentials};
use tandem_relay::latch::{Allowed, Latch};
use tandem_relay::packet::{self, Payloads, Splice};
use tandem_relay::rtcp::Writer;
use tandem_relay::session::{
    Arrival, EndpointId, Host, LegRequest, Limits, Local, MAX_TRANSMIT, Refusal, Remote, Socket, SoundHandle,
    Worker,
};
use tandem_relay::srtp::{Context, ROOM, Suite};
use tandem_relay::webrtc::{Received, Transport};

struct Counting;

thread_local! {
    /// Of this thread: tests run beside each other.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn forwarding_a_protected_packet_allocates_nothing() {
    for suite in Suite::ALL {
        let (key, salt) = suite.lengths();
        let (key, salt) = (vec![1; key], vec![2; salt]);
        let mut peer = Context::new(suite, &key, &salt).unwrap();
        let (mut inward, mut outward) =
            (Context::new(suite, &key, &salt).unwrap(), Context::new(suite, &key, &salt).unwrap());
        let source = "192.0.2.30:16400".parse().unwrap();
        let mut latch = Latch::new(Some(source), Allowed::Described);
        let (map, mut splice) = (Payloads::new([(0, 0)]), Splice::new(7, 8000));
        let mut wires = vec![];
        for seq in 0..1_000u16 {
            let mut wire = vec![0u8; 172 + ROOM];
            wire[0] = 0x80;
            wire[2..4].copy_from_slice(&seq.to_be_bytes());
            let length = peer.protect(&mut wire, 172).unwrap();
            wires.push((wire, length));
        }
        let before = ALLOCATIONS.get();
        for (at, (wire, length)) in wires.iter_mut().enumerate() {
            assert_eq!(packet::classify(&wire[..*length]), packet::Class::Rtp);
            let plain = inward.unprotect(&mut wire[..*length]).unwrap();
            let header = packet::rtp(&wire[..plain]).unwrap();
            latch.packet(source, at as u64);
            let said = packet::Rtp { pt: map.get(header.pt).unwrap(), ..header };
            packet::rewrite(wire, &splice.map(said, 8_000, at as u64 * 20).unwrap());
            outward.protect(wire, plain).unwrap();
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{suite:?}");
    }
}

const START: Time = Time(1_700_000_000_000);

/// Two legs that hear each other.
fn allocate(
    worker: &mut Worker,
    contents: u32,
    make: impl FnMut(EndpointId, &LegRequest, u16) -> Result<Local, Refusal>,
) {
    let legs = [0, 1].map(|leg| LegRequest { leg: LegId(leg), contents, webrtc: false });
    worker.allocate("call", "", &legs, START, make).unwrap();
    worker.bridge("call", &[(LegId(0), LegId(1))], START).unwrap();
}

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, side as u8], 4_000))
}

fn credentials(side: usize) -> Credentials {
    Credentials { ufrag: format!("end{side}"), pwd: format!("the-password-of-the-end-{side}") }
}

/// Two ends that have found each other.
#[allow(clippy::disallowed_methods, reason = "a base for the standard clock")]
fn connected() -> [Transport; 2] {
    let certificates = [0, 1].map(|_| Certificate::generate(START).unwrap());
    let mut ends = [0, 1].map(|side| {
        let config = Config {
            credentials: credentials(side),
            addresses: vec![address(side)],
            controlling: side == 0,
            tie_breaker: side as u64,
            preference: 1,
        };
        Transport::new(&config, &certificates[side], Instant::now(), START).unwrap()
    });
    for (side, end) in ends.iter_mut().enumerate() {
        let Credentials { ufrag, pwd } = credentials(1 - side);
        let candidate = Candidate {
            foundation: "1".into(),
            component: 1,
            priority: 1,
            address: address(1 - side),
            kind: CandidateKind::Host,
            related: None,
            generation: 0,
        };
        let ice = Ice { ufrag, pwd, candidates: vec![candidate], lite: false, trickle: false };
        let setup = if side == 0 { Setup::Active } else { Setup::ActPass };
        let dtls = Dtls { fingerprints: vec![certificates[1 - side].fingerprint()], setup };
        end.remote(&ice, &dtls, START).unwrap();
    }
    for ms in 0..1_000 {
        for side in [0, 1] {
            while let Some(mut datagram) = ends[side].poll_transmit() {
                ends[1 - side].receive(&mut datagram.octets, address(side), address(1 - side), START + ms);
            }
            ends[side].tick(START + ms);
        }
    }
    assert!(ends.iter().all(|end| end.pair().is_some()));
    ends
}

#[test]
fn media_through_a_webrtc_end_allocates_nothing() {
    let [mut here, mut there] = connected();
    let mut wire = [0u8; 172 + ROOM];
    for seq in 0..1_000u16 {
        wire[..2].copy_from_slice(&[0x80, 0]);
        wire[2..4].copy_from_slice(&seq.to_be_bytes());
        let before = ALLOCATIONS.get();
        let (length, _) = here.protect(&mut wire, 172).unwrap();
        let got = there.receive(&mut wire[..length], address(0), address(1), START + 2_000);
        assert_eq!(ALLOCATIONS.get() - before, 0);
        assert_eq!(got, Received::Rtp(172));
    }
}

fn rtp(seq: u16) -> Vec<u8> {
    let mut packet = vec![0u8; 172 + ROOM];
    packet[0] = 0x80;
    packet[2..4].copy_from_slice(&seq.to_be_bytes());
    packet[7] = 160;
    packet[11] = 9;
    packet
}

fn line(suite: Suite, octet: u8) -> Crypto {
    let (key, salt) = suite.lengths();
    Crypto { tag: 1, suite, key: vec![octet; key + salt], mki: 0 }
}

fn contexts(theirs: &Crypto, ours: &Crypto) -> (Context, Context) {
    let context = |line: &Crypto| {
        let (key, salt) = line.parts().unwrap();
        Context::new(line.suite, key, salt).unwrap()
    };
    (context(theirs), context(ours))
}

/// A worker with a call of a phone, whose key it is given if it has one, and a WebRTC client, and that client.
#[allow(clippy::disallowed_methods, reason = "a base for the standard clock")]
fn call(crypto: Option<Crypto>) -> (Worker, EndpointId, Transport) {
    let certificate = Certificate::generate(START).unwrap();
    let host = Host { address: address(0), certificate, base: Instant::now(), epoch: START };
    let fingerprint = host.certificate.fingerprint();
    let mut worker = Worker::new(Limits::default(), host);
    let mut ids = vec![];
    let make = |id: EndpointId, _: &LegRequest, _| {
        ids.push(id);
        let Credentials { ufrag, pwd } = credentials(10 + id.index as usize);
        let (address, tie_breaker) = (address(0).ip(), 5);
        let crypto = vec![line(Suite::AesCm128Sha1_80, id.index as u8), line(Suite::AeadAes128Gcm, 9)];
        Ok::<_, Refusal>(Local {
            address,
            rtp_port: 1,
            rtcp_port: 2,
            ufrag,
            pwd,
            generation: 0,
            tie_breaker,
            preference: 1,
            crypto,
        })
    };
    allocate(&mut worker, 1, make);

    let certificate = Certificate::generate(START).unwrap();
    let config = Config {
        credentials: credentials(1),
        addresses: vec![address(1)],
        controlling: true,
        tie_breaker: 1,
        preference: 1,
    };
    let mut client = Transport::new(&config, &certificate, Instant::now(), START).unwrap();
    let describe = |credentials: Credentials, at: SocketAddr, fingerprint, setup| {
        let candidate = Candidate {
            foundation: "1".into(),
            component: 1,
            priority: 1,
            address: at,
            kind: CandidateKind::Host,
            related: None,
            generation: 0,
        };
        let Credentials { ufrag, pwd } = credentials;
        let ice = Ice { ufrag, pwd, candidates: vec![candidate], lite: false, trickle: false };
        (ice, Dtls { fingerprints: vec![fingerprint], setup })
    };
    let ours = credentials(10 + ids[1].index as usize);
    let (ice, dtls) = describe(ours, address(0), fingerprint, Setup::Passive);
    client.remote(&ice, &dtls, START).unwrap();
    let codecs = vec![Codec::new(0, "PCMU", 8_000, 1)];
    let plain = Remote { address: Some(address(2)), codecs: codecs.clone(), crypto, ..Remote::default() };
    worker.connect("call", 0, 0, &plain, START).unwrap();
    let (ice, dtls) = describe(credentials(1), address(1), certificate.fingerprint(), Setup::Active);
    let web = Remote { ice: Some(ice), dtls: Some(dtls), codecs, ..Remote::default() };
    worker.connect("call", 1, 0, &web, START).unwrap();
    for ms in 0..1_000 {
        while let Some(mut datagram) = worker.poll_datagram() {
            client.receive(&mut datagram.octets, address(0), address(1), START + ms);
        }
        while let Some(mut datagram) = client.poll_transmit() {
            let length = datagram.octets.len();
            let at = Arrival((START.0 + ms) * 1_000);
            worker.handle_datagram(Socket::Shared, address(1), at, &mut datagram.octets, length);
        }
        worker.handle_timeout(START + ms);
        client.tick(START + ms);
    }
    (worker, ids[0], client)
}

#[test]
fn a_call_between_a_phone_and_a_client_allocates_nothing_per_packet() {
    let (mut worker, phone, mut client) = call(None);
    for seq in 0..1_000u16 {
        let at = Arrival((START.0 + 2_000 + u64::from(seq) * 20) * 1_000);
        let (mut there, mut back) = (rtp(seq), rtp(seq));
        let (length, _) = client.protect(&mut back, 172).unwrap();
        let before = ALLOCATIONS.get();
        let out = worker.handle_datagram(Socket::Rtp(phone), address(2), at, &mut there, 172).unwrap();
        assert_eq!((out.socket, out.to), (Socket::Shared, address(1)));
        let home = worker.handle_datagram(Socket::Shared, address(1), at, &mut back, length).unwrap();
        // The fifth packet locks the phone's address; that is told once.
        assert_eq!(ALLOCATIONS.get() - before, usize::from(seq == 4), "packet {seq}");
        assert_eq!((home.socket, home.to, home.length), (Socket::Rtp(phone), address(2), 172));
        let got = client.receive(&mut there[..out.length], address(0), address(1), at.time());
        assert_eq!(got, Received::Rtp(172));
    }
}

/// The client's second content is bundled with its first.
#[test]
fn a_bundled_content_allocates_nothing_per_packet() {
    let (mut worker, _, mut client) = call(None);
    let mut ids = vec![];
    let make = |id: EndpointId, _: &LegRequest, _| {
        ids.push(id);
        let Credentials { ufrag, pwd } = credentials(10 + id.index as usize);
        let (tie_breaker, preference, crypto) = (7, 1, vec![]);
        let address = address(0).ip();
        Ok::<_, Refusal>(Local {
            address,
            rtp_port: 3,
            rtcp_port: 4,
            ufrag,
            pwd,
            generation: 0,
            tie_breaker,
            preference,
            crypto,
        })
    };
    allocate(&mut worker, 2, make);
    let codecs = vec![Codec::new(96, "VP8", 90_000, 1)];
    let plain = Remote { address: Some(address(3)), codecs: codecs.clone(), ..Remote::default() };
    worker.connect("call", 0, 1, &plain, START).unwrap();
    let bundled = Remote { bundled: Some(0), codecs, ..Remote::default() };
    worker.connect("call", 1, 1, &bundled, START).unwrap();
    for seq in 0..1_000u16 {
        let at = Arrival((START.0 + 2_000 + u64::from(seq) * 20) * 1_000);
        let (mut there, mut back) = (rtp(seq), rtp(seq));
        (there[1], back[1]) = (96, 96);
        let (length, _) = client.protect(&mut back, 172).unwrap();
        let before = ALLOCATIONS.get();
        let out = worker.handle_datagram(Socket::Rtp(ids[0]), address(3), at, &mut there, 172).unwrap();
        let home = worker.handle_datagram(Socket::Shared, address(1), at, &mut back, length).unwrap();
        // The fifth packet locks the phone's address; the first of a source makes room for its keys' index.
        let told = ALLOCATIONS.get() - before;
        assert!(told == 0 || seq == 4 && told == 1 || seq == 0, "packet {seq}: {told}");
        assert_eq!((out.to, home.socket, home.to), (address(1), Socket::Rtp(ids[0]), address(3)));
        let got = client.receive(&mut there[..out.length], address(0), address(1), at.time());
        assert_eq!(got, Received::Rtp(172));
    }
}

#[test]
fn a_call_between_an_encrypting_phone_and_a_client_allocates_nothing_per_packet() {
    let theirs = line(Suite::AesCm128Sha1_80, 5);
    let (mut worker, phone, mut client) = call(Some(theirs.clone()));
    let (mut outward, mut inward) = contexts(&theirs, &line(Suite::AesCm128Sha1_80, phone.index as u8));
    for seq in 0..1_000u16 {
        let at = Arrival((START.0 + 2_000 + u64::from(seq) * 20) * 1_000);
        let (mut there, mut back) = (rtp(seq), rtp(seq));
        let sealed = outward.protect(&mut there, 172).unwrap();
        let (length, _) = client.protect(&mut back, 172).unwrap();
        let before = ALLOCATIONS.get();
        let out = worker.handle_datagram(Socket::Rtp(phone), address(2), at, &mut there, sealed).unwrap();
        let home = worker.handle_datagram(Socket::Shared, address(1), at, &mut back, length).unwrap();
        assert_eq!(ALLOCATIONS.get() - before, usize::from(seq == 4), "packet {seq}");
        assert_eq!((out.socket, home.socket), (Socket::Shared, Socket::Rtp(phone)));
        let got = client.receive(&mut there[..out.length], address(0), address(1), at.time());
        assert_eq!(got, Received::Rtp(172));
        assert_eq!(inward.unprotect(&mut back[..home.length]), Ok(172));
    }
}

/// Plain and SDES, SDES and SDES.
#[test]
#[allow(clippy::disallowed_methods, reason = "a base for the standard clock")]
fn calls_between_phones_allocate_nothing_per_packet() {
    for (near, far) in [
        (Some(Suite::AesCm128Sha1_80), None),
        (None, Some(Suite::AeadAes128Gcm)),
        (Some(Suite::AeadAes128Gcm), Some(Suite::AesCm128Sha1_80)),
    ] {
        let certificate = Certificate::generate(START).unwrap();
        let host = Host { address: address(0), certificate, base: Instant::now(), epoch: START };
        let mut worker = Worker::new(Limits::default(), host);
        let mut ids = vec![];
        let own = |suite| line(suite, 77);
        let make = |id: EndpointId, _: &LegRequest, _| {
            ids.push(id);
            let Credentials { ufrag, pwd } = credentials(10 + id.index as usize);
            let crypto = vec![own(Suite::AesCm128Sha1_80), own(Suite::AeadAes128Gcm)];
            let address = address(0).ip();
            Ok::<_, Refusal>(Local {
                address,
                rtp_port: 1,
                rtcp_port: 2,
                ufrag,
                pwd,
                generation: 0,
                tie_breaker: 5,
                preference: 1,
                crypto,
            })
        };
        allocate(&mut worker, 1, make);
        let mut keys = [near, far].map(|suite| suite.map(|s| contexts(&line(s, 5), &own(s))));
        for (leg, suite) in [near, far].into_iter().enumerate() {
            let codecs = vec![Codec::new(0, "PCMU", 8_000, 1)];
            let crypto = suite.map(|suite| line(suite, 5));
            let phone = Remote { address: Some(address(1 + leg)), codecs, crypto, ..Remote::default() };
            worker.connect("call", leg as u32, 0, &phone, START).unwrap();
        }
        for seq in 0..1_000u16 {
            let at = Arrival((START.0 + u64::from(seq) * 20) * 1_000);
            for leg in [0, 1] {
                let mut wire = rtp(seq);
                let sent = keys[leg].as_mut().map_or(172, |(out, _)| out.protect(&mut wire, 172).unwrap());
                let before = ALLOCATIONS.get();
                let out =
                    worker.handle_datagram(Socket::Rtp(ids[leg]), address(1 + leg), at, &mut wire, sent);
                // The fifth packet's lock is told once; the first report makes room for others.
                let told = if seq == 4 { 2 - leg } else { 0 };
                assert_eq!(ALLOCATIONS.get() - before, told, "packet {seq} of leg {leg}");
                let length = out.unwrap().length;
                let heard = keys[1 - leg]
                    .as_mut()
                    .map_or(Ok(length), |(_, r#in)| r#in.unprotect(&mut wire[..length]));
                assert_eq!(heard, Ok(172));
            }
        }
    }
}

/// The bridge moves between a phone, a client and another phone: packets before and after it cost no allocation.
#[test]
fn packets_of_a_bridge_that_moves_allocate_nothing() {
    let (mut worker, phone, mut client) = call(None);
    let mut third = None;
    let make = |id: EndpointId, _: &LegRequest, _| {
        third = Some(id);
        let Credentials { ufrag, pwd } = credentials(10 + id.index as usize);
        let (tie_breaker, preference, crypto) = (7, 1, vec![]);
        let (address, rtp_port, rtcp_port, generation) = (address(0).ip(), 3, 4, 0);
        Ok::<_, Refusal>(Local {
            address,
            rtp_port,
            rtcp_port,
            ufrag,
            pwd,
            generation,
            tie_breaker,
            preference,
            crypto,
        })
    };
    let leg = LegRequest { leg: LegId(2), contents: 1, webrtc: false };
    worker.allocate("call", "", &[leg], START, make).unwrap();
    let codecs = vec![Codec::new(0, "PCMU", 8_000, 1)];
    let plain = Remote { address: Some(address(3)), codecs, ..Remote::default() };
    worker.connect("call", 2, 0, &plain, START).unwrap();
    let sockets = [(Socket::Rtp(phone), address(2)), (Socket::Rtp(third.unwrap()), address(3))];
    for seq in 0..1_000u16 {
        let at = Arrival((START.0 + 2_000 + u64::from(seq) * 20) * 1_000);
        let pair = [(0, 1), (0, 2), (2, 1)][usize::from(seq / 20 % 3)];
        worker.bridge("call", &[(LegId(pair.0), LegId(pair.1))], at.time()).unwrap();
        let mut from_client = rtp(seq);
        let (length, _) = client.protect(&mut from_client, 172).unwrap();
        let mut plain = [rtp(seq), rtp(seq)];
        let before = ALLOCATIONS.get();
        let home = worker.handle_datagram(Socket::Shared, address(1), at, &mut from_client, length);
        let mut left = usize::from(home.is_some());
        for (packet, (socket, from)) in plain.iter_mut().zip(sockets) {
            let out = worker.handle_datagram(socket, from, at, packet, 172);
            left += usize::from(out.is_some());
            if let Some(out) = out.filter(|out| out.to == address(1)) {
                let got = client.receive(&mut packet[..out.length], address(0), address(1), at.time());
                assert_eq!(got, Received::Rtp(172));
            }
        }
        // The fifth packet of each phone locks its address; the first event of them makes room for others.
        assert_eq!(ALLOCATIONS.get() - before, if seq == 4 { 2 } else { 0 }, "packet {seq}");
        assert_eq!(left, 2, "packet {seq}");
    }
}

/// Reports that come, reports that are due, and feedback of video: what is asked for again, what is merged.
#[test]
fn rtcp_allocates_nothing() {
    let certificate = Certificate::generate(START).unwrap();
    #[allow(clippy::disallowed_methods, reason = "a base for the standard clock")]
    let host = Host { address: address(0), certificate, base: Instant::now(), epoch: START };
    let mut worker = Worker::new(Limits::default(), host);
    let mut ids = vec![];
    let make = |id: EndpointId, _: &LegRequest, _| {
        ids.push(id);
        let Credentials { ufrag, pwd } = credentials(10 + id.index as usize);
        Ok::<_, Refusal>(Local {
            address: address(0).ip(),
            rtp_port: 1,
            rtcp_port: 2,
            ufrag,
            pwd,
            generation: 0,
            tie_breaker: 5,
            preference: 1,
            crypto: vec![],
        })
    };
    allocate(&mut worker, 1, make);
    let mut codec = Codec::new(0, "VP8", 90_000, 1);
    codec.feedback = ["nack", "nack pli", "ccm fir", "goog-remb"].map(String::from).to_vec();
    for leg in 0..2u32 {
        let at = address(1 + leg as usize);
        let remote =
            Remote { address: Some(at), mux: true, codecs: vec![codec.clone()], ..Remote::default() };
        worker.connect("call", leg, 0, &remote, START).unwrap();
    }
    let (mut said, mut buffer) = (0, [0; MAX_TRANSMIT]);
    for seq in 0..2_000u16 {
        let at = Arrival((START.0 + u64::from(seq) * 20) * 1_000);
        let mut media = rtp(seq);
        let mut feedback = [0; 256];
        let mut writer = Writer::new(&mut feedback);
        writer.report(7, None, None).name(7, [b'x'; 16]).nack(7, 9, &[(seq, 1), (seq + 50, 0)]);
        writer.pli(7, 9).estimate(7, 9, 1_000_000);
        let length = writer.finish().unwrap();
        worker.handle_timeout(at.time());
        let before = ALLOCATIONS.get();
        let sent = worker.handle_datagram(Socket::Rtp(ids[0]), address(1), at, &mut media, 172).is_some();
        worker.handle_datagram(Socket::Rtp(ids[1]), address(2), at, &mut feedback, length);
        while worker.poll_transmit(at, &mut buffer).is_some() {
            said += 1;
        }
        // Who locks is told once: a name, and the first room of the list that it is put on.
        assert_eq!(ALLOCATIONS.get() - before, 2 * usize::from(seq == 4), "packet {seq}");
        assert!(sent);
    }
    // Each packet was sent once more, and each round asked the sender for something.
    assert!(said >= 4_000, "{said}");
}

/// Payloads go to the threads that make sound, and finished packets come back, without one; what those threads do is theirs.
#[test]
#[allow(clippy::disallowed_methods, reason = "a base for the standard clock")]
fn a_transcoded_call_allocates_nothing_on_the_media_thread() {
    let certificate = Certificate::generate(START).unwrap();
    let host = Host { address: address(0), certificate, base: Instant::now(), epoch: START };
    let mut worker = Worker::new(Limits::default(), host);
    let (orders, told) = std::sync::mpsc::channel();
    let (packets, coming) = std::sync::mpsc::sync_channel(64);
    let load = std::sync::Arc::new(sound::scheduler::Load::default());
    let mut scheduler = sound::scheduler::Scheduler::new(5, load.clone());
    worker.set_sound_threads(0, vec![SoundHandle { orders, packets, load }]);
    let mut ids = vec![];
    let make = |id: EndpointId, _: &LegRequest, _| {
        ids.push(id);
        let Credentials { ufrag, pwd } = credentials(10 + id.index as usize);
        let (address, tie_breaker) = (address(0).ip(), 5);
        Ok::<_, Refusal>(Local {
            address,
            rtp_port: 1,
            rtcp_port: 2,
            ufrag,
            pwd,
            generation: 0,
            tie_breaker,
            preference: 1,
            crypto: vec![],
        })
    };
    allocate(&mut worker, 1, make);
    let plain =
        |side, codec| Remote { address: Some(address(side)), codecs: vec![codec], ..Remote::default() };
    worker.connect("call", 0, 0, &plain(2, Codec::new(0, "PCMU", 8_000, 1)), START).unwrap();
    worker.connect("call", 1, 0, &plain(3, Codec::new(111, "opus", 48_000, 2)), START).unwrap();
    told.try_iter().for_each(|order| scheduler.order(order, 0));
    let (mut left, mut buffer, mut finished) = (0, vec![0u8; 1_500], vec![]);
    for seq in 0..500u16 {
        let at = Arrival((START.0 + u64::from(seq) * 20) * 1_000);
        let mut packet = rtp(seq);
        packet[4..8].copy_from_slice(&(u32::from(seq) * 160).to_be_bytes());
        let before = ALLOCATIONS.get();
        assert_eq!(worker.handle_datagram(Socket::Rtp(ids[0]), address(2), at, &mut packet, 172), None);
        // The fifth packet locks the address; the report and the queue for it are made then.
        assert_eq!(ALLOCATIONS.get() - before, 2 * usize::from(seq == 4), "packet {seq}");
        coming.try_iter().for_each(|frame| scheduler.packet(&frame, |_| {}));
        scheduler.tick(u64::from(seq) * 20_000, |frame| finished.push(frame.clone()));
        let before = ALLOCATIONS.get();
        for frame in &finished {
            let out = worker.handle_sound_frame(frame, at, &mut buffer).unwrap();
            assert_eq!((out.to, buffer[1] & 0x7f), (address(3), 111));
            left += 1;
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "packet {seq} on its way back");
        finished.clear();
    }
    assert!(left > 480, "{left} came through");
}
