//! `cargo xtask bench relay --quick`: the command works from end to end at a tiny load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::path::Path;
use std::process::Command;

/// Where this build's binaries lie.
fn binaries() -> &'static Path {
    let directory = Path::new(env!("CARGO_BIN_EXE_tandem-xtask")).parent().unwrap();
    for name in ["tandem-rtp-relay", "tandem-load"] {
        assert!(directory.join(name).exists(), "{name} is not built: cargo build --workspace --bins");
    }
    directory
}

#[test]
fn a_quick_round_measures_every_line_and_loses_nothing() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_tandem-xtask"));
    bench.args(["bench", "relay", "--quick", "--rounds", "1", "--json", "--binaries"]).arg(binaries());
    let out = bench.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    if Command::new("rtpengine").arg("--version").output().is_err() {
        assert!(!out.status.success() && said.contains("apt-get install rtpengine-daemon"), "{said}");
        return;
    }
    assert!(out.status.success(), "{said}");
    let figures: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    for goal in figures["goals"].as_array().unwrap() {
        let name = goal["name"].as_str().unwrap();
        // Kernel memory is shown to root alone.
        let may_miss =
            figures["missing"].as_object().unwrap().keys().any(|line| name.contains(line.as_str()))
                || name.contains("SDES")
                || name.starts_with("memory");
        // A difference of two costs may be below nought where both are tiny.
        let measured = |value: f64| value > 0.0 || name.contains("over our own plain");
        assert!(may_miss || measured(goal["tandem"].as_f64().unwrap()), "{goal}");
    }
    for line in figures["runs"].as_array().unwrap() {
        for run in line["runs"].as_array().unwrap().iter().filter(|run| run["received"].is_u64()) {
            let sent = run["sent"].as_u64().unwrap();
            assert!(sent > 100, "{line}");
            assert_eq!(run["received"].as_u64().unwrap(), sent, "{line}");
            for fault in ["reordered", "wrong", "forged"] {
                assert_eq!(run[fault], 0, "{line}");
            }
        }
    }
}
