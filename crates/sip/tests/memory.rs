//! Memory that a held call takes in a SIP edge.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod bench;

use bench::*;
use signal::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator; counts the octets that are allocated and not freed.
struct Counting;

thread_local! {
    static OCTETS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        OCTETS.set(OCTETS.get().wrapping_add(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        OCTETS.set(OCTETS.get().wrapping_sub(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A phone calls, hears ringing, is answered and says ACK.
fn call(b: &mut Bench, number: u8) {
    let own = |text: String| {
        let named = text.replace("Call-ID: c1", &format!("Call-ID: 7a1f0c2e-call-{number}@192.0.2.9"));
        named.replace("z9hG4bK", &format!("z9hG4bK-{number}-"))
    };
    b.hear(own(request("INVITE", 1, TO, SDP)));
    let heard = b.commit(1);
    let rings = b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Ringing, None);
    b.say(state(heard.leg, 2, rings.dialog.unwrap()), 3, Signal::Answer(media()), None);
    let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
    b.hear(own(request("ACK", 1, &to, "")));
    assert_eq!(b.codes(), ["100", "180", "200"]);
    (b.sent, b.ways) = Default::default();
}

/// While its INVITE transaction is kept (RFC 6026 §7.1: 64*T1), and after it.
#[test]
fn a_held_call_takes_little_memory() {
    const CALLS: u8 = 32;
    let mut b = bench("one");
    // As many as a table of twice the size takes, so that none grows at the end of the count.
    (0..CALLS).for_each(|number| call(&mut b, number));
    b.wait(40_000);
    let before = OCTETS.get();
    (CALLS..2 * CALLS).for_each(|number| call(&mut b, number));
    let each = |octets: usize| octets.wrapping_sub(before) / usize::from(CALLS);
    let young = each(OCTETS.get());
    b.wait(40_000);
    let held = each(OCTETS.get());
    println!("{young} octets a call that has just begun, {held} octets a held call");
    assert!(young < 4_000 && held < 3_000, "{young}, {held} octets a call");
}
