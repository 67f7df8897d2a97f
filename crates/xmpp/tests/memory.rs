//! Memory that a held call takes in an XMPP edge.
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

/// A user is called and answers with the description of a real client.
fn call(b: &mut Bench, number: u8) {
    let (user, leg) = (
        format!("user-{number}@example.net"),
        LegRef { record: RecordId::call([number; 10]), leg: LegId(1) },
    );
    b.order(fresh(leg), Signal::Offer(media()), Some(opening(&user)));
    let sid = b.last("propose").children().next().unwrap().attr("id").unwrap().to_owned();
    let device = format!("{user}/phone");
    b.jmi(&device, NUMBER, "proceed", &sid, "");
    b.commit();
    let initiate = b.last("session-initiate");
    b.reply(&initiate, None);
    let us = initiate.attr("from").unwrap().to_owned();
    b.jingle(&device, &us, &fixture("chromium-accept", &sid).replace("\"audio\" senders", "\"0\" senders"));
    assert!(matches!(b.commit().signals.as_slice(), [Signal::Answer(_)]));
    (b.sent, b.questions) = Default::default();
}

/// The descriptions of both sides are most of it; they are kept as octets ([`Packed`]).
#[test]
fn a_held_call_takes_little_memory() {
    const CALLS: u8 = 32;
    let mut b = bench();
    // As many as a table of twice the size takes, so that none grows at the end of the count.
    (0..CALLS).for_each(|number| call(&mut b, number));
    let before = OCTETS.get();
    (CALLS..2 * CALLS).for_each(|number| call(&mut b, number));
    let each = (OCTETS.get() - before) / usize::from(CALLS);
    println!("{each} octets a call");
    assert!(each < 2_200, "{each} octets a call");
}
