//! The packet path allocates nothing: counted by an allocator of the test's own.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test says what is wrong by failing")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use tandem_relay::latch::{Allowed, Latch};
use tandem_relay::packet::{self, Payloads, Splice};
use tandem_relay::srtp::{Context, ROOM, Suite};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for (at, (wire, length)) in wires.iter_mut().enumerate() {
            assert_eq!(packet::classify(&wire[..*length]), packet::Class::Rtp);
            let plain = inward.unprotect(&mut wire[..*length]).unwrap();
            let header = packet::rtp(&wire[..plain]).unwrap();
            latch.packet(source, at as u64);
            let said = packet::Rtp { pt: map.get(header.pt).unwrap(), ..header };
            packet::rewrite(wire, &splice.map(said, at as u64 * 20));
            outward.protect(wire, plain).unwrap();
        }
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "{suite:?}");
    }
}
