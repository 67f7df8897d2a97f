//! The packet path allocates nothing: counted by an allocator of the test's own.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test says what is wrong by failing")]

use signal::Time;
use signal::media::{Candidate, CandidateKind, Codec, Dtls, Ice, Setup};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Instant;
use tandem_relay::dtls::Certificate;
use tandem_relay::ice::{Config, Credentials};
use tandem_relay::latch::{Allowed, Latch};
use tandem_relay::packet::{self, Payloads, Splice};
use tandem_relay::session::{Arrival, EndId, Host, Limits, Local, Remote, Socket, Worker};
use tandem_relay::srtp::{Context, ROOM, Suite};
use tandem_relay::webrtc::{End, Received};

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
    for suite in [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm] {
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
            packet::rewrite(wire, &splice.map(said, at as u64 * 20));
            outward.protect(wire, plain).unwrap();
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{suite:?}");
    }
}

const START: Time = Time(1_700_000_000_000);

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, side as u8], 4_000))
}

fn credentials(side: usize) -> Credentials {
    Credentials { ufrag: format!("end{side}"), pwd: format!("the-password-of-the-end-{side}") }
}

/// Two ends that have found each other.
#[allow(clippy::disallowed_methods, reason = "a base for the standard clock")]
fn connected() -> [End; 2] {
    let certificates = [0, 1].map(|_| Certificate::generate(START).unwrap());
    let mut ends = [0, 1].map(|side| {
        let config = Config {
            credentials: credentials(side),
            addresses: vec![address(side)],
            controlling: side == 0,
            tie_breaker: side as u64,
            preference: 1,
        };
        End::new(&config, &certificates[side], Instant::now(), START).unwrap()
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

/// A worker with a call of a plain phone and a WebRTC client, and that client.
#[allow(clippy::disallowed_methods, reason = "a base for the standard clock")]
fn call() -> (Worker, EndId, End) {
    let certificate = Certificate::generate(START).unwrap();
    let host = Host { address: address(0), certificate, base: Instant::now(), epoch: START };
    let fingerprint = host.certificate.fingerprint();
    let mut worker = Worker::new(Limits::default(), host);
    let mut ids = vec![];
    let make = |id: EndId| {
        ids.push(id);
        let Credentials { ufrag, pwd } = credentials(10 + id.index as usize);
        let (address, tie_breaker) = (address(0).ip(), 5);
        Ok::<_, ()>(Local { address, rtp_port: 1, rtcp_port: 2, ufrag, pwd, tie_breaker, preference: 1 })
    };
    worker.allocate("call", "", 1, START, make).unwrap();

    let certificate = Certificate::generate(START).unwrap();
    let config = Config {
        credentials: credentials(1),
        addresses: vec![address(1)],
        controlling: true,
        tie_breaker: 1,
        preference: 1,
    };
    let mut client = End::new(&config, &certificate, Instant::now(), START).unwrap();
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
    let plain = Remote { address: Some(address(2)), codecs: codecs.clone(), ..Remote::default() };
    worker.connect("call", 0, 0, &plain, START).unwrap();
    let (ice, dtls) = describe(credentials(1), address(1), certificate.fingerprint(), Setup::Active);
    let web = Remote { ice: Some(ice), dtls: Some(dtls), codecs, ..Remote::default() };
    worker.connect("call", 1, 0, &web, START).unwrap();
    for ms in 0..1_000 {
        while let Some(mut datagram) = worker.poll_transmit() {
            client.receive(&mut datagram.octets, address(0), address(1), START + ms);
        }
        while let Some(mut datagram) = client.poll_transmit() {
            let length = datagram.octets.len();
            let at = Arrival((START.0 + ms) * 1_000);
            worker.receive(Socket::Shared, address(1), at, &mut datagram.octets, length);
        }
        worker.tick(START + ms);
        client.tick(START + ms);
    }
    (worker, ids[0], client)
}

#[test]
fn a_call_between_a_phone_and_a_client_allocates_nothing_per_packet() {
    let (mut worker, phone, mut client) = call();
    for seq in 0..1_000u16 {
        let at = Arrival((START.0 + 2_000 + u64::from(seq) * 20) * 1_000);
        let (mut there, mut back) = (rtp(seq), rtp(seq));
        let (length, _) = client.protect(&mut back, 172).unwrap();
        let before = ALLOCATIONS.get();
        let out = worker.receive(Socket::Rtp(phone), address(2), at, &mut there, 172).unwrap();
        assert_eq!((out.socket, out.to), (Socket::Shared, address(1)));
        let home = worker.receive(Socket::Shared, address(1), at, &mut back, length).unwrap();
        // The fifth packet locks the phone's address; that is told once.
        assert_eq!(ALLOCATIONS.get() - before, usize::from(seq == 4), "packet {seq}");
        assert_eq!((home.socket, home.to, home.length), (Socket::Rtp(phone), address(2), 172));
        let got = client.receive(&mut there[..out.length], address(0), address(1), at.time());
        assert_eq!(got, Received::Rtp(172));
    }
}
