//! Every file in `tests/flows` is played; see `tests/src/play/flow.rs` for their form. `BLESS=1` rewrites what follows from the given side.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use tandem_tests::play::files::{files, folder, played, starting_points};
use tandem_tests::play::flow::{Flow, difference};
use tandem_tests::play::world::Played;

#[test]
fn every_flow_is_played_as_it_is_written() {
    let bless = std::env::var_os("BLESS").is_some();
    let only = std::env::var("FLOW").ok();
    let mut wrong = vec![];
    for (name, text) in starting_points().unwrap().into_iter().chain(files().unwrap()) {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        match played(&name, &text) {
            Err(fault) => wrong.push(fault.0),
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
    let files = files().unwrap();
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

/// R-CALL-32, R-CODE-5
#[test]
fn a_blocked_caller_hears_what_one_hears_whose_callee_is_off_line() {
    let files = files().unwrap();
    let last = |name: &str| {
        let (_, played) = played(name, &files[name]).unwrap();
        let messages = played.messages.iter().filter_map(|octets| sip::message::read(octets).ok());
        let refusal =
            messages.filter(|message| message.code().is_some_and(|code| code >= 300)).last().unwrap();
        (refusal.start.clone(), refusal.text("Reason").map(str::to_owned))
    };
    assert_eq!(last("sip-blocked"), last("sip-device-offline"));
}

/// A flow of which nothing follows would pass for ever.
#[test]
fn every_flow_shows_something() {
    for (name, text) in files().unwrap() {
        let lines = text.lines().filter(|l| l.starts_with("gw > ")).count();
        assert!(lines > 0, "{name} shows nothing that we say");
    }
    assert!(files().unwrap().len() >= 20);
}

#[test]
fn every_starting_point_is_where_some_flow_begins() {
    let (files, starting_points) = (files().unwrap(), starting_points().unwrap());
    let begun: Vec<String> = files
        .values()
        .chain(starting_points.values())
        .filter_map(|text| Flow::parse(text).unwrap().setting("from").map(|from| format!("from/{from}")))
        .collect();
    for name in starting_points.keys() {
        assert!(begun.contains(name), "no flow begins from {name}");
    }
}
