//! Call detail records of real calls: an answered one and one that was refused (docs/call-records.md).

use crate::rig::{Rig, SOON};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use testkit::clock::{now_ms, poll};
use testkit::{Gateway, baresip, gateway, phone};

/// Records of a kind in the file.
fn of_kind(file: &Path, kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["kind"] == kind).collect()
}

/// Output of `tandem records` for these arguments.
fn told(gateway: &Gateway, arguments: &[&str]) -> String {
    let mut command = Command::new(gateway::binary().unwrap());
    command.arg("records").arg("--config").arg(gateway.config()).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_answered_and_a_refused_call_leave_their_records() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.jsonl");
    let options = gateway::Options { more: format!("\n[records]\nfile = {file:?}\n"), ..Default::default() };
    let desk = baresip::Options { codecs: "pcmu".into(), ..Default::default() };
    let mut rig = Rig::with(desk, phone::Options::default(), options);
    let placed = now_ms();
    rig.desk_calls(&Gateway::uri_of("2700"));
    let answered = now_ms();
    rig.sound();
    let hung_up = now_ms();
    rig.desk_hangs_up();
    let calls = poll(SOON, || Some(of_kind(&file, "call")).filter(|calls| !calls.is_empty()));
    let calls = calls.unwrap_or_else(|| panic!("{:#}", rig.gateway.failure("was there")));
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    assert_eq!(call["outcome"], "answered", "{call:#}");
    assert_eq!(
        (&call["trunk"], &call["direction"], &call["reason"]),
        (&"desk".into(), &"inbound".into(), &"Normal".into())
    );
    assert!(call["dialled"].as_str().unwrap().starts_with("sip:2700@"), "{call:#}");
    assert!(call["to"].as_str().unwrap().starts_with("rosa@"), "{call:#}");
    assert_eq!((&call["v"], &call["legs"], &call["ended_by"]), (&1.into(), &2.into(), &0.into()));
    let (talk, total) = (call["talk_ms"].as_u64().unwrap(), call["total_ms"].as_u64().unwrap());
    assert!(talk >= hung_up - answered && talk <= total && total <= now_ms() - placed, "{talk} {total}");
    let legs = of_kind(&file, "leg");
    let [sip, xmpp] = &legs[..] else { panic!("{legs:#?}") };
    assert_eq!((&sip["protocol"], &sip["codecs"]), (&"sip".into(), &serde_json::json!(["PCMU/8000"])));
    assert!(sip["call_id"].is_string() && sip["sid"].is_null() && xmpp["sid"].is_string(), "{sip:#}{xmpp:#}");
    assert_eq!((&sip["ended_by"], &xmpp["ended_by"]), (&"peer".into(), &"gateway".into()));
    assert_eq!((&sip["profile"], &xmpp["profile"]), (&"plain".into(), &"webrtc".into()));
    for leg in &legs {
        let media = &leg["media"][0];
        assert!(
            media["packets_in"].as_u64().unwrap() > 40 && media["mos"].as_f64().unwrap() > 3.0,
            "{leg:#}"
        );
    }

    // Premium rates are denied by default: the call is never placed.
    rig.rosa.call(&Gateway::jid_of("0900123"), true).unwrap();
    rig.see("the refusal", |rig| rig.rosa.expect("ended", SOON).map(drop));
    let calls = poll(SOON, || Some(of_kind(&file, "call")).filter(|calls| calls.len() == 2));
    let refused = &calls.unwrap_or_else(|| panic!("{:#}", rig.gateway.failure("was there")))[1];
    assert_eq!((&refused["outcome"], &refused["reason"]), (&"refused".into(), &"Forbidden".into()));
    assert_eq!((&refused["direction"], &refused["talk_ms"]), (&"outbound".into(), &Value::Null));
    let legs = of_kind(&file, "leg");
    assert!(legs.len() == 3 && legs[2]["sid"].is_string() && legs[2]["id"] == refused["id"], "{legs:#?}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("ufrag") && !text.contains("inline:"), "no keys");

    let table = told(&rig.gateway, &["--since", "1h"]);
    assert!(table.starts_with("PLACED ") && table.lines().count() == 3, "{table}");
    assert!(table.lines().nth(2).unwrap().contains("refused") && table.contains("Forbidden"), "{table}");
    let csv = told(&rig.gateway, &["--csv", "--legs"]);
    assert!(csv.starts_with("v,kind,id,leg,") && csv.lines().count() == 4, "{csv}");
    let json = told(&rig.gateway, &["--json"]);
    assert_eq!(serde_json::from_str::<Value>(json.lines().next().unwrap()).unwrap(), *call);
    assert_eq!(told(&rig.gateway, &["--until", "1h"]).trim(), "none");
}
