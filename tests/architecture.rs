//! The dependency rules (architecture §2.2), checked on `cargo metadata`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Packages of ours that each of our packages may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("tandem-signal", &[]),
    ("tandem-address", &["tandem-signal"]),
    ("tandem-media", &["tandem-signal"]),
    ("tandem-sip", &["tandem-signal", "tandem-address", "tandem-media", "tandem-edge"]),
    ("tandem-session", &["tandem-signal", "tandem-address", "tandem-media"]),
    ("tandem-relay", &["tandem-signal", "tandem-media", "tandem-sound"]),
    ("tandem-sound", &["tandem-signal"]),
    ("tandem-bus", &["tandem-signal", "tandem-proto", "tandem-edge"]),
    ("tandem-store", &[]),
    ("tandem-edge", &["tandem-signal"]),
    ("tandem-xmpp", &["tandem-signal", "tandem-address", "tandem-media", "tandem-edge"]),
    ("tandem-proto", &["tandem-signal"]),
    ("tandem-runtime", &["tandem-address", "tandem-edge", "tandem-signal", "tandem-bus", "tandem-store"]),
    ("tandem-sip-edge", &["tandem-signal", "tandem-sip", "tandem-bus", "tandem-proto", "tandem-runtime"]),
    ("tandem-xmpp-edge", &["tandem-signal", "tandem-xmpp", "tandem-bus", "tandem-proto", "tandem-runtime"]),
    (
        "tandem-rtp-relay",
        &["tandem-signal", "tandem-relay", "tandem-sound", "tandem-bus", "tandem-proto", "tandem-runtime"],
    ),
    (
        "tandem-orchestrator",
        &[
            "tandem-signal",
            "tandem-address",
            "tandem-media",
            "tandem-session",
            "tandem-bus",
            "tandem-store",
            "tandem-proto",
            "tandem-runtime",
        ],
    ),
    (
        "tandem",
        &[
            "tandem-bus",
            "tandem-store",
            "tandem-proto",
            "tandem-runtime",
            "tandem-sip-edge",
            "tandem-xmpp-edge",
            "tandem-orchestrator",
            "tandem-rtp-relay",
        ],
    ),
    ("tandem-testkit", &[]),
    ("tandem-xtask", &["tandem-testkit"]),
    ("tandem-probe", &["tandem-signal", "tandem-relay", "tandem-sound"]),
    ("tandem-load", &["tandem-signal", "tandem-relay", "tandem-proto", "tandem-bus"]),
    (
        "tandem-tests",
        &[
            "tandem-signal",
            "tandem-address",
            "tandem-media",
            "tandem-sip",
            "tandem-xmpp",
            "tandem-session",
            "tandem-store",
            "tandem-orchestrator",
        ],
    ),
];
/// Packages that a pure crate must not stand on.
const IMPURE: &[&str] = &["tokio", "rand", "getrandom", "socket2", "mio", "async-nats", "redis", "tonic"];
/// Licences that deny.toml allows every package.
fn licences(text: &str) -> Vec<String> {
    let list = text.split_once("\nallow = [").unwrap().1.split_once(']').unwrap().0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn metadata() -> Value {
    let out = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn packages() -> Vec<Value> {
    metadata()["packages"].as_array().unwrap().clone()
}

/// A list of `[workspace.metadata.tandem]` in Cargo.toml.
fn listed(name: &str) -> Vec<String> {
    let list = &metadata()["metadata"]["tandem"][name];
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Normal dependencies of our packages.
fn ours() -> BTreeMap<String, Vec<String>> {
    let ours = packages().into_iter().filter(|p| p["source"].is_null());
    ours.map(|p| {
        let normal = p["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null());
        (
            p["name"].as_str().unwrap().to_owned(),
            normal.map(|d| d["name"].as_str().unwrap().to_owned()).collect(),
        )
    })
    .collect()
}

#[test]
fn arrows_point_as_the_architecture_says() {
    for (name, uses) in ours() {
        let allowed = ARROWS
            .iter()
            .find(|(n, _)| *n == name)
            .unwrap_or_else(|| panic!("{name} stands in no rule: add it to ARROWS and docs/architecture.md"))
            .1;
        for used in uses.iter().filter(|u| u.starts_with("tandem")) {
            assert!(allowed.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
}

#[test]
fn pure_crates_stand_on_nothing_impure() {
    let ours = ours();
    let pure = listed("pure");
    assert!(pure.len() >= 9, "{pure:?}");
    for name in pure {
        for used in &ours[&format!("tandem-{name}")] {
            assert!(!IMPURE.contains(&used.as_str()), "{name} is pure and must not use {used}");
        }
    }
}

#[test]
fn tests_that_are_run_as_pure_exist() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    for name in listed("pure-tests") {
        assert!(manifest.contains(&format!("[[test]]\nname = \"{name}\"\n")), "tests/ has no {name}");
    }
}

#[test]
fn licences_are_compatible() {
    let deny = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deny.toml")).unwrap();
    let allowed = licences(&deny);
    assert!(allowed.iter().any(|licence| licence == "MIT"), "{allowed:?}");
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let Some(licence) = package["license"].as_str() else {
            // cargo-deny reads the text of its licence; what that may be is an exception.
            assert!(deny.contains(&format!("{{ crate = \"{name}\", allow = [")), "{name} names no licence");
            continue;
        };
        let parts = licence
            .split(['/', '(', ')', ' '])
            .filter(|w| !w.is_empty() && !["OR", "AND", "WITH", "LLVM-exception"].contains(w));
        let known: Vec<bool> = parts.map(|w| allowed.iter().any(|a| a == w)).collect();
        let enough =
            if licence.contains("AND") { known.iter().all(|k| *k) } else { known.iter().any(|k| *k) };
        assert!(enough, "{name}: {licence}");
    }
}

/// Files stay small, so that a newcomer finds the room for a change.
#[test]
fn no_file_is_over_600_lines() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let listed = Command::new("git").args(["-C", root, "ls-files", "*.rs"]).output().unwrap();
    for file in String::from_utf8(listed.stdout).unwrap().lines() {
        let lines = std::fs::read_to_string(format!("{root}/{file}")).map_or(0, |t| t.lines().count());
        assert!(lines <= 600, "{file} has {lines} lines: is it one thing?");
    }
}

/// Doc comments begin with a third-person verb or a noun: a comment that begins so tells a story in place of a fact.
#[test]
fn doc_comments_begin_with_a_verb_or_a_noun() {
    const STORIES: &[&str] = &["What", "Whatever", "Who", "Whoever", "Whom", "Whether", "It", "That which"];
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let listed = Command::new("git").args(["-C", root, "ls-files", "*.rs"]).output().unwrap();
    let (mut seen, mut stories) = (0, vec![]);
    for file in String::from_utf8(listed.stdout).unwrap().lines() {
        let text = std::fs::read_to_string(format!("{root}/{file}")).unwrap_or_default();
        for (number, line) in text.lines().map(str::trim_start).enumerate() {
            let Some(comment) = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! ")) else {
                continue;
            };
            seen += 1;
            let ends = |rest: &str| !rest.starts_with(char::is_alphanumeric);
            if STORIES.iter().any(|word| comment.strip_prefix(word).is_some_and(ends)) {
                stories.push(format!("{file}:{}: {comment}", number + 1));
            }
        }
    }
    assert!(seen > 3_000, "{seen} lines");
    assert!(stories.is_empty(), "{}", stories.join("\n"));
}
