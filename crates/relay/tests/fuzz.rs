//! The fuzz targets of `crates/relay/fuzz` over their corpus and some thousand changes of it. `ROUNDS=n` for more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

#[test]
fn every_target_stands_its_corpus_and_changes_of_it() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    testkit::fuzz::run(targets::TARGETS, |name| vec![corpus.join(name)]).unwrap();
}
