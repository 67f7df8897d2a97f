//! A seeded random walk over the call machine: late, doubled and lost signals, orchestrators that die between save and perform or
//! lose a compare-and-set, edges that open a leg after it was given up, on virtual time and the stored form of the record. A failing
//! seed is printed; `SEED=n cargo test -p tandem-tests --test sim` replays it; `SEEDS=n` walks so many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

#[path = "sim/check.rs"]
mod check;
#[path = "sim/decisions.rs"]
mod decisions;
#[path = "sim/parts.rs"]
mod parts;
#[path = "sim/random.rs"]
mod random;
#[path = "sim/restarts.rs"]
mod restarts;
#[path = "sim/side.rs"]
mod side;
#[path = "sim/walk.rs"]
mod walk;

use walk::Walk;

const SEEDS: u64 = 100_000;
const STEPS: usize = 60;
/// Steps of every fourth walk: a transfer that somebody asks for needs a call that stands.
const MORE_STEPS: usize = 160;

#[test]
fn a_hundred_thousand_walks() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|s| s.parse().ok()) {
        walk(seed, true);
        return;
    }
    let seeds = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SEEDS);
    let add = |[a, b, c]: [u64; 3], [d, e, f]: [u64; 3]| [a + d, b + e, c + f];
    let share = move |part| (part..seeds).step_by(2).map(|seed| walk(seed, false)).fold([0; 3], add);
    let workers = [0, 1].map(|part| std::thread::spawn(move || share(part)));
    let counts = workers.map(|worker| worker.join().expect("a walk failed; its seed stands above"));
    let [bridges, referred, diversions] = counts.into_iter().fold([0; 3], add);
    // A walk that never gives a leg another peer would prove nothing of it.
    assert!(bridges > seeds / 10, "{bridges} bridges have changed");
    assert!(referred > seeds / 500, "{referred} legs were replaced at their own wish");
    assert!(diversions > seeds / 10, "calls were diverted {diversions} times");
}

/// Walks by this seed; returns how often a bridge changed, how many legs were replaced at their own wish, and how often the call was
/// diverted.
fn walk(seed: u64, talk: bool) -> [u64; 3] {
    let mut walk = Walk::new(seed, talk);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..if seed.is_multiple_of(4) { MORE_STEPS } else { STEPS } {
            walk.step();
        }
        walk.finish();
    }));
    if outcome.is_err() {
        panic!("seed {seed} fails; SEED={seed} replays it with its steps");
    }
    walk.counts()
}
