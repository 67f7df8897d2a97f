//! Calls that come to nothing, told to each side in its own words (interworking §4).

use crate::rig::{PROMPT, Rig, SOON};
use std::net::SocketAddr;
use testkit::{Gateway, Phone, Prosody, Sipp, baresip, gateway, phone, ports};

struct Ends {
    rosa: Phone,
    gateway: Gateway,
    trunk: SocketAddr,
    _server: Prosody,
}

fn ends(ring_s: u32) -> Ends {
    let server = Prosody::start(&["rosa"]).unwrap();
    let trunk = SocketAddr::from(([127, 0, 0, 1], ports::block(2)));
    let options = gateway::Options { trunk: Some(trunk), ring_s, ..Default::default() };
    let gateway = Gateway::start(&server, &options).unwrap();
    let rosa = Phone::start(&server, "rosa", &phone::Options::default()).unwrap();
    Ends { rosa, gateway, trunk, _server: server }
}

/// A phone's refusal as the SIP caller is told it.
fn refused_by_rosa(reason: &str, code: &str, cause: &str) {
    let mut ends = ends(0);
    let words = [("code", code), ("cause", cause)];
    let sipp = Sipp::start("uac_refused", &words, ends.gateway.sip, &["-m", "1", "-s", "rosa"]).unwrap();
    ends.rosa.expect("propose", SOON).unwrap();
    ends.rosa.reject(reason).unwrap();
    sipp.finish(SOON).unwrap_or_else(|e| panic!("{reason}: {e:#}\n{:#}", ends.gateway.failure("was there")));
}

/// A SIP phone's refusal as rosa's client is told it.
fn refused_by_the_desk(code: &str, reason: &str, jmi: bool) {
    let mut ends = ends(0);
    let sipp = Sipp::server(
        ends.trunk.port(),
        "uas_refuse",
        &[("code", code), ("header", "Server: desk")],
        &["-m", "1"],
    )
    .unwrap();
    ends.rosa.call(&Gateway::jid_of("2041"), jmi).unwrap();
    let ended = ends.rosa.expect("ended", SOON);
    let ended = ended.unwrap_or_else(|e| panic!("{code}: {e:#}\n{:#}", ends.gateway.failure("was there")));
    assert!(ended.text("reason") == reason, "{code}: {ended:?}");
    assert_eq!(ended.text("by"), "peer");
    sipp.finish(SOON).unwrap();
}

#[test]
fn rosa_is_busy() {
    refused_by_rosa("busy", "486", "17");
}

/// Not 603: a 6xx would end the search of a PABX's ring group (R-CODE-4).
#[test]
fn rosa_declines() {
    refused_by_rosa("decline", "480", "21");
}

#[test]
fn nobody_of_that_name() {
    let ends = ends(0);
    let words = [("code", "480"), ("cause", ".*")];
    let sipp = Sipp::start("uac_refused", &words, ends.gateway.sip, &["-m", "1", "-s", "nobody"]).unwrap();
    sipp.finish(SOON).unwrap_or_else(|e| panic!("{e:#}\n{:#}", ends.gateway.failure("was there")));
}

#[test]
fn the_caller_gives_up() {
    let mut ends = ends(0);
    let sipp = Sipp::start("uac_cancel", &[], ends.gateway.sip, &["-m", "1", "-s", "rosa"]).unwrap();
    ends.rosa.expect("propose", SOON).unwrap();
    let ended = ends.rosa.expect("ended", SOON).unwrap();
    assert_eq!((ended.text("reason"), ended.text("by")), ("cancel", "peer"));
    sipp.finish(PROMPT).unwrap();
}

#[test]
fn rosa_does_not_answer() {
    let mut ends = ends(3);
    let words = [("code", "480"), ("cause", "19")];
    let sipp = Sipp::start("uac_refused", &words, ends.gateway.sip, &["-m", "1", "-s", "rosa"]).unwrap();
    ends.rosa.expect("propose", SOON).unwrap();
    let ended = ends.rosa.expect("ended", SOON).unwrap();
    assert_eq!(ended.text("by"), "peer", "{ended:?}");
    sipp.finish(SOON).unwrap();
}

#[test]
fn the_desk_is_busy() {
    refused_by_the_desk("486", "busy", true);
    refused_by_the_desk("486", "busy", false);
}

#[test]
fn the_desk_declines() {
    refused_by_the_desk("603", "decline", true);
}

#[test]
fn the_desk_knows_no_such_number() {
    refused_by_the_desk("404", "gone", true);
}

#[test]
fn the_desk_is_away() {
    refused_by_the_desk("480", "timeout", true);
}

#[test]
fn rosa_gives_up() {
    let mut ends = ends(0);
    let sipp = Sipp::server(ends.trunk.port(), "uas_cancelled", &[], &["-m", "1"]).unwrap();
    ends.rosa.call(&Gateway::jid_of("2041"), true).unwrap();
    ends.rosa.expect("ringing", SOON).unwrap();
    ends.rosa.hang_up().unwrap();
    sipp.finish(SOON).unwrap_or_else(|e| panic!("{e:#}\n{:#}", ends.gateway.failure("was there")));
}

/// A call that stands when the time of a drain is over is ended on both sides, and the process says so.
#[test]
fn a4_a_call_that_stands_at_the_end_of_a_drain_is_ended_on_both_sides() {
    let options = gateway::Options { more: "\n[call]\ndrain_s = 2\n".into(), ..Default::default() };
    let mut rig = Rig::with(baresip::Options::default(), phone::Options::default(), options);
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.sound();
    rig.gateway.program().signal(15);
    rig.see("the end at rosa", |rig| {
        let ended = rig.rosa.expect("ended", SOON)?;
        anyhow::ensure!(
            ended.text("by") == "peer" && ended.text("reason") == "connectivity-error",
            "{ended:?}"
        );
        Ok(())
    });
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", SOON).map(drop));
    rig.see("the end of the gateway", |rig| {
        let status = rig.gateway.program().finish(SOON)?;
        anyhow::ensure!(status.success(), "{status:?}");
        let told = rig.gateway.failure("has ended").to_string();
        anyhow::ensure!(told.contains("calls that still stood at the end of the drain were ended"), "{told}");
        Ok(())
    });
}

/// A caller who is refused is seen by those who run the gateway: in the log with source and cause, and in a counter.
#[test]
fn a9_a_refused_call_is_logged_and_counted() {
    let ends = ends(0);
    let words = [("code", "404"), ("cause", "1")];
    let sipp = Sipp::start("uac_refused", &words, ends.gateway.sip, &["-m", "1", "-s", "9999"]).unwrap();
    sipp.finish(SOON).unwrap_or_else(|e| panic!("{e:#}\n{:#}", ends.gateway.failure("was there")));
    let log = ends.gateway.failure("was there").to_string();
    let line = log.lines().find(|line| line.contains("a peer was refused"));
    let line = line.unwrap_or_else(|| panic!("no line: {log}"));
    for word in ["INVITE", "404", "127.0.0.1"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    let (_, metrics) = testkit::http::get(ends.gateway.admin, "/metrics").unwrap();
    let counted = |line: &&str| line.starts_with("tandem_refused_total{") && line.contains("status=\"404\"");
    let counted = metrics.lines().find(counted).unwrap_or_else(|| panic!("{metrics}"));
    assert!(counted.contains("protocol=\"sip\"") && counted.ends_with(" 1"), "{counted}");
}

/// `debug` shows messages and stanzas as they go, without keys, and nothing of the libraries; JSON lines name service and instance.
#[test]
fn a20_debug_shows_messages_and_stanzas_without_secrets() {
    let more = "\n[telemetry]\nlog = \"debug\"\njson = true\n".to_owned();
    let options = gateway::Options { more, srtp: "optional".into(), ..Default::default() };
    let desk = baresip::Options { codecs: "pcmu".into(), ..Default::default() };
    let mut rig = Rig::with(desk, phone::Options::default(), options);
    rig.rosa_calls(true);
    rig.talk("PCMU");
    rig.rosa_hangs_up();
    let log = rig.gateway.program().log().clone();
    let lines: Vec<serde_json::Value> =
        log.since(0).iter().filter_map(|line| serde_json::from_str(&line.text).ok()).collect();
    let shown = |service: &str, field: &str, text: &str| {
        lines.iter().any(|line| {
            let told = line["fields"][field].as_str().is_some_and(|message| message.contains(text));
            told && line["service"] == service
                && line["instance"].as_str().is_some_and(|name| !name.is_empty())
        })
    };
    for (service, field, text) in [
        ("sip-edge", "sip", "INVITE sip:"),
        ("sip-edge", "sip", "SIP/2.0 200 OK"),
        ("sip-edge", "sip", "inline:…"),
        ("xmpp-edge", "stanza", "urn:xmpp:jingle-message:0"),
        ("xmpp-edge", "stanza", "pwd='…'"),
    ] {
        assert!(shown(service, field, text), "{service} {text}: {:#}", rig.gateway.failure("was there"));
    }
    let text: String = lines.iter().map(serde_json::Value::to_string).collect();
    for secret in ["inline:", "pwd='", "ice-pwd:"] {
        assert!(text.split(secret).skip(1).all(|rest| rest.starts_with('…')), "{secret}");
    }
}
