//! The media thread itself, sockets and all, allocates nothing for a packet: counted for that thread alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{Phone, config, hear, plain, rtp, rtp_port, start};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Allocations by thread; numbers of threads of one process are near each other.
static COUNTS: [AtomicUsize; 4_096] = [const { AtomicUsize::new(0) }; 4_096];

struct Counting;

fn count() {
    // SAFETY: takes nothing and cannot fail.
    let thread = unsafe { libc::gettid() } as usize;
    COUNTS[thread % COUNTS.len()].fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Number of allocations of the media thread so far.
fn allocated() -> usize {
    let mut tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let named = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "media-0")
    };
    let thread: usize = tasks.find(named).unwrap().file_name().to_str().unwrap().parse().unwrap();
    COUNTS[thread % COUNTS.len()].load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_packets_allocate_nothing_on_the_media_thread() {
    let mut relay = start(config("23900-23919"));
    let ends = relay.allocate("call").await;
    let (a, b) = (Phone::new(), Phone::new());
    relay.client.connect(plain("call", 0, a.address())).await.unwrap();
    relay.client.connect(plain("call", 1, b.address())).await.unwrap();
    assert!(allocated() > 0, "its orders did");
    let speak = |from: u16| {
        for seq in from..from + 500 {
            a.rtp.send_to(&rtp(0, seq, 1), rtp_port(&ends[0])).unwrap();
            assert_eq!(hear(&b.rtp).0, rtp(0, seq, 1));
            b.rtp.send_to(&rtp(0, seq, 2), rtp_port(&ends[1])).unwrap();
            assert_eq!(hear(&a.rtp).0, rtp(0, seq, 2));
        }
    };
    // Both peers are learnt, ports are bound ahead.
    speak(0);
    // Once a second it looks for silence, which may allocate: that falls into some of these runs, not into all.
    let runs: Vec<usize> = (1..=6)
        .map(|run| {
            let before = allocated();
            speak(run * 500);
            allocated() - before
        })
        .collect();
    assert!(runs.contains(&0), "allocations in runs of a thousand packets: {runs:?}");
    relay.stop().await;
}
