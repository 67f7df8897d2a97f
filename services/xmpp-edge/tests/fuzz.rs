//! The fuzz targets of `services/xmpp-edge/fuzz` over their corpus and some thousand changes of it. `ROUNDS=n` for more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

#[test]
fn every_target_stands_its_corpus_and_changes_of_it() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    testkit::fuzz::run(targets::TARGETS, |name| {
        let mut folders = vec![here.join("fuzz/corpus").join(name)];
        // Descriptions captured from real clients.
        folders.extend((name == "jingle").then(|| here.join("../../crates/xmpp/tests/fixtures")));
        folders
    })
    .unwrap();
}
