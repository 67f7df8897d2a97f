//! Metrics of each service as Prometheus scrapes them: there from the start, described, and counted by trunk and direction.

use crate::rig::{PROMPT, Rig, SOON};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use testkit::clock::poll;
use testkit::http;
use testkit::prosody::COMPONENT;

/// Pages of all instances, by name.
fn pages(rig: &mut Rig) -> BTreeMap<String, String> {
    let page = |instance: &testkit::cluster::Instance| {
        let (status, page) = http::get(instance.admin, "/metrics").unwrap();
        assert_eq!(status, 200);
        (instance.name.clone(), page)
    };
    rig.cluster.instances().iter().map(page).collect()
}

/// Prometheus' own word on a page.
fn promtool(name: &str, page: &str) {
    let mut checking = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is no promtool: run `cargo xtask setup`");
    checking.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let checked = checking.wait_with_output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success() && said.trim().is_empty(), "{name}: {said}");
}

/// Value of a series, whose labels are given as they are written.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {page}")).parse().unwrap()
}

fn line_of(name: &str, more: &str) -> String {
    format!("{name}{{trunk=\"desk\",domain=\"{COMPONENT}\",direction=\"inbound\"{more}}}")
}

#[test]
fn a19_every_service_tells_from_the_start_what_promtool_takes() {
    let mut rig = Rig::with("", 1);
    for (name, page) in pages(&mut rig) {
        promtool(&name, &page);
        let (kind, _) = name.rsplit_once('-').unwrap();
        let build = format!("service=\"{kind}\"");
        assert!(
            page.lines().any(|line| line.starts_with("tandem_build_info{") && line.contains(&build)),
            "{page}"
        );
        assert_eq!(value(&page, "tandem_draining"), 0.0);
        assert!(value(&page, "process_resident_memory_bytes") > 1e6 && page.contains("tandem_ready{part="));
    }
    let at = |rig: &mut Rig, name: &str| pages(rig).remove(name).unwrap();
    let calls = at(&mut rig, "orchestrator-1");
    for name in ["placed_total", "answered_total", "transferred_total", "active"] {
        assert_eq!(value(&calls, &line_of(&format!("tandem_calls_{name}"), "")), 0.0);
    }
    for name in ["refused", "ended"] {
        assert_eq!(value(&calls, &line_of(&format!("tandem_calls_{name}_total"), ",reason=\"Busy\"")), 0.0);
    }
    for name in ["setup", "ring", "talk"] {
        let name = format!("tandem_call_{name}_seconds");
        assert!(calls.contains(&format!("# TYPE {name} histogram")));
        assert_eq!(value(&calls, &line_of(&format!("{name}_bucket"), ",le=\"+Inf\"")), 0.0);
    }
    let relay = at(&mut rig, "rtp-relay-1");
    assert!(relay.contains("# TYPE tandem_relay_jitter_seconds histogram"), "{relay}");
    let link = format!("tandem_xmpp_link_up{{domain=\"{COMPONENT}\"}}");
    assert_eq!(value(&at(&mut rig, "xmpp-edge-1"), &link), 1.0);
    assert!(value(&at(&mut rig, "sip-edge-1"), "tandem_sip_messages_in_total") >= 0.0);

    rig.desk_calls();
    let active = line_of("tandem_calls_active", "");
    let counted = poll(SOON, || (value(&at(&mut rig, "orchestrator-1"), &active) == 1.0).then_some(()));
    assert!(counted.is_some(), "{}", at(&mut rig, "orchestrator-1"));
    rig.rosa.hang_up().unwrap();
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", PROMPT).map(drop));
    let ended = line_of("tandem_calls_ended_total", ",reason=\"Normal\"");
    let over = poll(SOON, || {
        let page = at(&mut rig, "orchestrator-1");
        (value(&page, &ended) == 1.0 && value(&page, &active) == 0.0).then_some(page)
    });
    let page = over.unwrap_or_else(|| panic!("{}", at(&mut rig, "orchestrator-1")));
    assert_eq!(value(&page, &line_of("tandem_calls_placed_total", "")), 1.0);
    assert_eq!(value(&page, &line_of("tandem_calls_answered_total", "")), 1.0);
    for name in ["setup", "ring", "talk"] {
        assert_eq!(value(&page, &line_of(&format!("tandem_call_{name}_seconds_count"), "")), 1.0, "{name}");
    }
    for (name, page) in pages(&mut rig) {
        promtool(&name, &page);
    }
}
