//! Every file in `tests/flows` is played; see `tests/src/play/flow.rs` for their form. `BLESS=1` rewrites what follows from the given side.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tandem_tests::play::flow::{Flow, difference};
use tandem_tests::play::world::{Played, World};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/flows"))
}

/// A file of the flows; parts may also be descriptions captured from real clients, without the element around the contents.
fn file(name: &str) -> Option<String> {
    std::fs::read_to_string(folder().join(name)).ok().or_else(|| {
        let captured = folder().join("../../crates/xmpp/tests/fixtures").join(name.strip_prefix("parts/")?);
        let text = std::fs::read_to_string(captured).ok()?;
        let (_, contents) = text.split_once('>')?;
        // An accept names the content as our offer did.
        let named = if name.contains("-accept") {
            contents.replace("name=\"audio\"", "name=\"0\"")
        } else {
            contents.into()
        };
        Some(named.trim().strip_suffix("</jingle>")?.to_owned())
    })
}

/// Names of the flows of a folder and their text.
fn flows(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let flows = entries.filter(|path| path.extension().is_some_and(|e| e == "flow"));
    flows
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn files() -> BTreeMap<String, String> {
    flows(&folder())
}

fn starting_points() -> BTreeMap<String, String> {
    flows(&folder().join("from")).into_iter().map(|(name, text)| (format!("from/{name}"), text)).collect()
}

fn played(name: &str, text: &str) -> Result<(Flow, Played), String> {
    let flow = Flow::parse(text).map_err(|f| format!("tests/flows/{name}.flow: {f}"))?;
    let start = name.starts_with("from/");
    let played = if start { World::play_start(&flow, file) } else { World::play(&flow, file) };
    Ok((flow, played.map_err(|f| format!("tests/flows/{name}.flow: {f}"))?))
}

#[test]
fn every_flow_is_played_as_it_is_written() {
    let bless = std::env::var_os("BLESS").is_some();
    let only = std::env::var("FLOW").ok();
    let mut wrong = vec![];
    for (name, text) in starting_points().into_iter().chain(files()) {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        match played(&name, &text) {
            Err(fault) => wrong.push(fault),
            Ok((_, played)) if bless && played.text != text => {
                std::fs::write(folder().join(format!("{name}.flow")), played.text).unwrap();
            }
            Ok((_, played)) => {
                if let Some((line, file, ours)) = difference(&text, &played.text) {
                    wrong.push(format!(
                        "tests/flows/{name}.flow:{line}\n    file:   {file}\n    played: {ours}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n(BLESS=1 rewrites the files)", wrong.join("\n"));
}

/// The two directions are one code path: with the protocols exchanged, a call hears and does the same. A proposal does not
/// describe its media, an INVITE does: that difference of the protocols is set aside.
#[test]
fn mirrored_flows_decide_the_same() {
    let files = files();
    let mut pairs = 0;
    for (name, text) in &files {
        let (flow, here) = played(name, text).unwrap();
        let Some(other) = flow.setting("mirror") else { continue };
        let text =
            files.get(other).unwrap_or_else(|| panic!("{name} is mirrored by {other}, which is not there"));
        let (_, there) = played(other, text).unwrap();
        let plain = |played: &Played| -> Vec<String> {
            played.decisions.iter().map(|d| d.replace("(undescribed)", "")).collect()
        };
        assert_eq!(plain(&here), plain(&there), "{name} and {other}");
        pairs += 1;
    }
    assert!(pairs >= 8, "only {pairs} flows name a mirror");
}

/// A flow of which nothing follows would pass for ever.
#[test]
fn every_flow_shows_something() {
    for (name, text) in files() {
        let lines = text.lines().filter(|l| l.starts_with("gw > ")).count();
        assert!(lines > 0, "{name} shows nothing that we say");
    }
    assert!(files().len() >= 20);
}

#[test]
fn every_starting_point_is_where_some_flow_begins() {
    let begun: Vec<String> = files()
        .values()
        .chain(starting_points().values())
        .filter_map(|text| Flow::parse(text).unwrap().setting("from").map(|from| format!("from/{from}")))
        .collect();
    for name in starting_points().keys() {
        assert!(begun.contains(name), "no flow begins from {name}");
    }
}
