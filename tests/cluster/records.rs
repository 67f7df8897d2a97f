//! Call detail records in a stream: each call once, whoever dies.

use crate::rig::{PROMPT, Rig, SOON};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use testkit::clock::poll;
use testkit::{gateway, http};

const RECORDS: &str = "\n[records]\nstream = \"CDR\"\n";

/// Asks the API of JetStream, by a client of six lines.
fn jetstream(port: u16, what: &str, asked: &Value) -> Value {
    let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
    server.get_ref().set_read_timeout(Some(SOON)).unwrap();
    let asked = if asked.is_null() { String::new() } else { asked.to_string() };
    let length = asked.len();
    let text = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB $JS.API.{what} answer {length}\r\n{asked}\r\n"
    );
    server.get_mut().write_all(text.as_bytes()).unwrap();
    loop {
        let mut line = String::new();
        assert!(server.read_line(&mut line).unwrap() > 0, "the server has gone");
        if let Some(message) = line.strip_prefix("MSG answer 1 ") {
            let mut octets = vec![0; message.trim().parse().unwrap()];
            server.read_exact(&mut octets).unwrap();
            return serde_json::from_slice(&octets).unwrap();
        }
    }
}

/// Records of a kind, as `tandem records` reads them from the stream.
fn records(rig: &Rig, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(gateway::binary().unwrap());
    command.args(["records", "--json", "--config"]).arg(rig.cluster.config()).args(arguments);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Attempts to write records that failed, at all orchestrators.
fn failed(rig: &mut Rig) -> f64 {
    let orchestrators = rig.cluster.instances().iter().filter(|instance| instance.kind == "orchestrator");
    let pages = orchestrators.filter_map(|instance| http::get(instance.admin, "/metrics").ok());
    let value = |page: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix("tandem_cdrs_failed_total "));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0)
    };
    pages.map(|(_, page)| value(&page)).sum()
}

#[test]
fn every_call_is_in_the_stream_once_over_the_death_of_its_orchestrators() {
    let mut rig = Rig::new(RECORDS);
    let port = rig.cluster.servers().0.port;
    let first = rig.desk_calls();
    // As if JetStream did not take records at the end of the call: the subjects are those of another stream.
    assert_eq!(jetstream(port, "STREAM.DELETE.CDR", &Value::Null)["success"], true);
    let other = json!({ "name": "OTHER", "subjects": ["tandem.cdr.>"] });
    assert!(jetstream(port, "STREAM.CREATE.OTHER", &other)["error"].is_null());
    rig.desk.hang_up().unwrap();
    rig.see("the end at rosa", |rig| rig.rosa.expect("ended", PROMPT).map(drop));
    let tried = poll(SOON, || (failed(&mut rig) > 0.0).then_some(()));
    assert!(tried.is_some(), "{:#}", rig.cluster.failure("was there"));
    rig.cluster.kill("orchestrator-1").unwrap();
    rig.cluster.restart("orchestrator-2").unwrap();
    rig.cluster.ready(SOON).unwrap();
    assert_eq!(jetstream(port, "STREAM.DELETE.OTHER", &Value::Null)["success"], true);
    let there = poll(SOON, || Some(records(&rig, &[])).filter(|calls| !calls.is_empty()));
    let calls = there.unwrap_or_else(|| panic!("{:#}", rig.cluster.failure("was there")));
    assert_eq!((calls.len(), &calls[0]["id"], &calls[0]["outcome"]), (1, &json!(first), &json!("answered")));

    // The usual way: at once, with the figures of the relay.
    let second = rig.rosa_calls();
    rig.rosa.hang_up().unwrap();
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", PROMPT).map(drop));
    let there = poll(SOON, || Some(records(&rig, &[])).filter(|calls| calls.len() > 1));
    let calls = there.unwrap_or_else(|| panic!("{:#}", rig.cluster.failure("was there")));
    assert_eq!((calls.len(), &calls[1]["id"]), (2, &json!(second)));
    let legs = poll(SOON, || Some(records(&rig, &["--legs"])).filter(|legs| legs.len() > 3)).unwrap();
    assert_eq!(legs.len(), 4, "{legs:#?}");
    for leg in legs.iter().filter(|leg| leg["id"] == json!(second)) {
        assert!(leg["media"][0]["packets_in"].as_u64().unwrap() > 0, "{leg:#}");
    }
}
