//! `cargo xtask bench floods` at a few seconds: the command works from end to end, and the trunk's calls beside strangers' floods do, too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::process::Command;
use testkit::gateway::binary;

#[test]
fn f3_calls_of_a_trunk_succeed_beside_strangers_vias() {
    let gateway = binary().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_tandem-xtask"));
    bench.args([
        "bench",
        "floods",
        "--only",
        "Via",
        "--seconds",
        "3",
        "--settle",
        "1",
        "--rate",
        "10",
        "--json",
    ]);
    let out = bench.arg("--binaries").arg(gateway.parent().unwrap()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let floods = figures["floods"].as_array().unwrap();
    assert_eq!(floods.len(), 2, "{figures:#}");
    for flood in floods {
        assert_eq!((&flood["calls"], &flood["succeeded"]), (&20.into(), &20.into()), "{figures:#}");
        assert!(
            flood["sent"].as_u64() > Some(1_000) && flood["mib_at_end"].as_f64() > Some(1.0),
            "{figures:#}"
        );
    }
}

#[test]
fn a_flood_of_another_name_is_refused() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_tandem-xtask"));
    let out = bench.args(["bench", "floods", "--only", "locusts", "--binaries", "."]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("locusts"), "{said}");
}
