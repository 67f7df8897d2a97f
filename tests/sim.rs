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

#[test]
fn a_hundred_thousand_walks() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|s| s.parse().ok()) {
        walk(seed, true);
        return;
    }
    let seeds = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SEEDS);
    let both = |one: (u64, u64), other: (u64, u64)| (one.0 + other.0, one.1 + other.1);
    let share = move |part: u64| (part..seeds).step_by(2).map(|seed| walk(seed, false)).fold((0, 0), both);
    let workers = [0, 1].map(|part| std::thread::spawn(move || share(part)));
    let counts = workers.map(|worker| worker.join().expect("a walk failed; its seed stands above"));
    let (bridges, diversions) = counts.into_iter().fold((0, 0), both);
    // A walk that never gives a leg another peer would prove nothing of it.
    assert!(bridges > seeds / 10, "{bridges} bridges have changed");
    assert!(diversions > seeds / 10, "calls were diverted {diversions} times");
}

/// Walks by this seed; returns how often a bridge changed, and how often the call was diverted.
fn walk(seed: u64, talk: bool) -> (u64, u64) {
    let mut walk = Walk::new(seed, talk);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..STEPS {
            walk.step();
        }
        walk.finish();
    }));
    if outcome.is_err() {
        panic!("seed {seed} fails; SEED={seed} replays it with its steps");
    }
    walk.counts()
}
