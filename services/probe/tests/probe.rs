//! The probe against real programs: a gateway in one process, Prosody with an account. A verdict is only worth something if it can be no.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use serde_json::Value;
use std::net::SocketAddr;
use std::process::{Command, Output};
use testkit::prosody::DOMAIN;
use testkit::{Cluster, Gateway, Prosody, gateway, ports};

struct Rig<G> {
    server: Prosody,
    gateway: G,
    /// Where the gateway takes SIP.
    sip: SocketAddr,
    phone: SocketAddr,
}

fn parties() -> (Prosody, SocketAddr, gateway::Options) {
    let server = Prosody::start(&["rosa"]).unwrap();
    let phone = SocketAddr::from(([127, 0, 0, 1], ports::block(2)));
    let options = gateway::Options { trunk: Some(phone), ..Default::default() };
    (server, phone, options)
}

impl Rig<Gateway> {
    fn new() -> Rig<Gateway> {
        let (server, phone, options) = parties();
        let gateway = Gateway::start(&server, &options).unwrap();
        Rig { sip: gateway.sip, server, gateway, phone }
    }
}

impl<G> Rig<G> {
    /// Returns the command with further words; a later word replaces an earlier one of the same name.
    fn command(&self, words: &[&str]) -> Command {
        let mut given = vec![
            ("--gateway".to_owned(), self.sip.to_string()),
            ("--listen".to_owned(), self.phone.to_string()),
            ("--jid".to_owned(), format!("rosa@{DOMAIN}")),
            ("--server".to_owned(), format!("127.0.0.1:{}", self.server.port)),
            ("--call-uri".to_owned(), Gateway::uri_of("rosa")),
            ("--call-jid".to_owned(), Gateway::jid_of("2041")),
            ("--talk".to_owned(), "1".to_owned()),
        ];
        for pair in words.chunks(2) {
            let [name, value] = pair else { panic!("{words:?}") };
            given.retain(|(given, _)| given != name);
            given.push(((*name).to_owned(), (*value).to_owned()));
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem-probe"));
        command.args(["--plain", "--json"]).args(given.iter().flat_map(|(name, value)| [name, value]));
        command.env("TANDEM_PROBE_PASSWORD", Prosody::password("rosa"));
        command
    }

    /// Runs the probe: its exit code, its verdict, and all that it said.
    fn probe(&self, words: &[&str]) -> (Option<i32>, Value, String) {
        run(&mut self.command(words))
    }
}

fn run(command: &mut Command) -> (Option<i32>, Value, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code(), serde_json::from_slice(&stdout).unwrap_or_default(), said)
}

/// Steps of a report with what is said of each.
fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("no step {name}: {report:#}"))
}

#[test]
fn calls_both_ways_work_and_are_measured() {
    let rig = Rig::new();
    let (code, json, said) = rig.probe(&[]);
    assert_eq!(code, Some(0), "{said}\n{:#}", rig.gateway.failure("was there"));
    println!("{said}");
    let reports = json["reports"].as_array().unwrap();
    assert_eq!(reports.len(), 3, "{said}");
    for report in &reports[1..] {
        for name in ["called", "rings", "answered", "heard", "talked", "good", "ended"] {
            assert_eq!(step(report, name)["ok"], true, "{report:#}");
        }
        let facts = &step(report, "talked")["facts"];
        for side in ["sip", "xmpp"] {
            assert!(facts[format!("{side}_packets")].as_u64() > Some(30), "{report:#}");
            assert!(facts[format!("{side}_mos")].as_f64() > Some(3.5), "{report:#}");
        }
    }
    // The first codec of the client is Opus, which the phone does not have: it crosses by the phone's.
    assert_eq!(step(&reports[1], "answered")["facts"]["sip_codec"], "PCMU", "{said}");
    assert_eq!(step(&reports[1], "ended")["facts"]["reason"], "success", "{said}");
    assert!(step(&reports[2], "ended")["facts"]["reason"].as_str().unwrap().contains("cause=16"), "{said}");
}

#[test]
fn calls_through_four_services_work_and_not_without_a_relay() {
    let (server, phone, options) = parties();
    let cluster = Cluster::start(&server, &options, 1).unwrap();
    let mut rig = Rig { server, sip: cluster.sip, gateway: cluster, phone };
    let (code, _, said) = rig.probe(&[]);
    assert_eq!(code, Some(0), "{said}\n{:#}", rig.gateway.failure("was there"));
    rig.gateway.kill("rtp-relay-1").unwrap();
    let (code, json, said) = rig.probe(&["--from", "sip"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(json["reports"][1]["worked"] == false, "{said}");
}

#[test]
fn a_session_at_once_and_codecs_that_do_not_meet() {
    let rig = Rig::new();
    let (code, json, said) = rig.probe(&["--from", "xmpp", "--xmpp-codecs", "opus", "--sip-codecs", "PCMA"]);
    assert_eq!(code, Some(0), "{said}\n{:#}", rig.gateway.failure("was there"));
    let facts = &step(&json["reports"][1], "answered")["facts"];
    assert_eq!((&facts["sip_codec"], &facts["xmpp_codec"]), (&"PCMA".into(), &"opus".into()), "{said}");
    let (code, json, said) = run(rig.command(&["--from", "xmpp"]).arg("--direct"));
    assert_eq!(code, Some(0), "{said}\n{:#}", rig.gateway.failure("was there"));
    assert!(json["reports"][1]["title"].as_str().unwrap().contains("at once"), "{said}");
}

#[test]
fn a_call_that_fails_says_at_which_step_and_why() {
    let rig = Rig::new();
    let (code, json, said) = rig.probe(&["--from", "sip", "--call-uri", &Gateway::uri_of("2799")]);
    assert_eq!(code, Some(1), "{said}");
    let called = step(&json["reports"][1], "called");
    assert_eq!(called["ok"], false, "{said}");
    assert!(
        called["cause"].as_str().unwrap().contains("404") && !called["remedy"].as_str().unwrap().is_empty(),
        "{said}"
    );
    // Somebody who would not be known for a caller.
    let (code, json, said) = rig.probe(&["--from", "xmpp", "--call-jid", "2041@nobody.example.net"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(step(&json["reports"][1], "called")["ok"], false, "{said}");
    // And the line is free again.
    let (code, _, said) = rig.probe(&["--from", "sip"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn who_cannot_be_reached_is_told_apart() {
    let rig = Rig::new();
    let nobody = format!("127.0.0.1:{}", ports::one());
    let (code, json, said) = rig.probe(&["--gateway", &nobody]);
    assert_eq!(code, Some(4), "{said}");
    assert!(step(&json["reports"][0], "gateway")["cause"].as_str().unwrap().contains(&nobody), "{said}");
    let (code, _, said) = rig.probe(&["--server", &nobody]);
    assert_eq!(code, Some(4), "{said}");
    let (code, _, said) = rig.probe(&["--sip-codecs", "opus"]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn a_wrong_password_is_no_unreachable_server() {
    let rig = Rig::new();
    let out = rig.command(&[]).env("TANDEM_PROBE_PASSWORD", "wrong").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{said}");
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(step(&json["reports"][0], "registered")["ok"], false, "{said}");
    assert!(!said.contains("wrong\""), "the password is not shown: {said}");
}
