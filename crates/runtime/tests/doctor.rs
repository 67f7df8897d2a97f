//! Everything that a start would refuse, told at once: key, value, remedy, place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::path::Path;
use tandem_runtime::config::Service;
use tandem_runtime::config::load::{Examined, examine, examine_for};

fn examined(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tandem.toml");
    std::fs::write(&file, text).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let Examined { faults, .. } = examine(Some(&file), environment);
    let here = format!("{}/", directory.path().display());
    faults.iter().map(|fault| fault.line().replace(&here, "")).collect()
}

fn has(faults: &[String], start: &str, place: &str) {
    let found =
        faults.iter().any(|fault| fault.starts_with(start) && fault.ends_with(&format!(" ({place})")));
    assert!(found, "{start} at {place}: {faults:#?}");
}

/// Values of the wrong kind do not hide those of the wrong form.
#[test]
fn a12_every_fault_is_told_at_once_with_its_place() {
    let text = r#"threads = 100000

[telemetry]
log = "verbose"

[sip]
listen = ["udp://127.0.0.1:5060", "5060"]
lissten = []
advertise = "2001:db8::7"
max_legs = 0

[relay]
advertise = "2001:db8::7"
ports = "40000-40003"
threads = "many"

[[xmpp.component]]
domain = "sip.example.net"
server = "127.0.0.1:5347"
secret = "s"
users = "example.net"

[[trunk]]
name = ""
uri = "sip:pbx.example.net"
domain = "sip.example.net"
sources = ["192.0.2.0/24", "192.0.2.0/40"]

[[trunk]]
uri = "sip:other.example.net"
domain = "other.example.net"

[[alias]]
number = "27oo"
jid = "rosa@example.net"

[[alias]]
number = "112"
jid = "nils@example.net"

[call]
ring_s = 0
"#;
    let faults = examined(text, &[("TANDEM_RELAY__MEDIA_TIMEOUT_S", "0")]);
    has(&faults, "threads: 100000;", "tandem.toml:1");
    has(&faults, "[telemetry] log: \"verbose\";", "tandem.toml:4");
    has(&faults, "[sip] listen: \"5060\";", "tandem.toml:7");
    has(&faults, "sip: unknown key `lissten`; did you mean `listen`?", "tandem.toml:8");
    has(&faults, "[sip] advertise: \"2001:db8::7\" is of another family", "tandem.toml:9");
    has(&faults, "[sip] max_legs: 0;", "tandem.toml:10");
    has(
        &faults,
        "[relay] advertise: \"2001:db8::7\" is of another family than listen \"127.0.0.1\"",
        "tandem.toml:13",
    );
    has(&faults, "[relay] ports: \"40000-40003\" is too small", "tandem.toml:14");
    has(&faults, "relay.threads:", "tandem.toml:15");
    has(&faults, "[[trunk]] name: \"\";", "tandem.toml:24");
    has(&faults, "[[trunk]] sources: \"192.0.2.0/40\";", "tandem.toml:27");
    has(&faults, "trunk.1: `name` is absent", "tandem.toml:29");
    has(&faults, "[[alias]] number: \"27oo\";", "tandem.toml:34");
    has(&faults, "[[alias]] number: \"112\" is an emergency number", "tandem.toml:38");
    has(&faults, "[call] ring_s: 0;", "tandem.toml:42");
    has(&faults, "[relay] media_timeout_s: 0;", "TANDEM_RELAY__MEDIA_TIMEOUT_S");
    assert_eq!(faults.len(), 16, "each once, and nothing that is none: {faults:#?}");
}

#[test]
fn a12_no_configuration_at_all_is_a_fault() {
    let Examined { faults, config, .. } = examine(None, [("HOME".to_owned(), "/root".to_owned())]);
    assert!(config.is_none() && faults[0].to_string().starts_with("--config: absent"), "{faults:?}");
    // Variables alone are a configuration.
    let Examined { faults, config, .. } = examine(None, [("TANDEM_INSTANCE".to_owned(), "gw".to_owned())]);
    assert!(config.is_some() && faults.is_empty(), "{faults:?}");
    let Examined { faults, .. } = examine(Some(Path::new("no-such-file.toml")), []);
    assert!(faults[0].to_string().contains("no-such-file.toml"), "{faults:?}");
}

#[test]
fn a12_secrets_that_are_missing_are_told_together() {
    let text = r#"[cluster]
secret_file = "no-such-secret"

[[xmpp.component]]
domain = "a.example.net"
server = "127.0.0.1:5347"
secret = "s"
secret_file = "x"
users = "example.net"

[[xmpp.component]]
domain = "b.example.net"
server = "127.0.0.1:5347"
users = "example.net"

[[admin.user]]
name = "ops"
token = "short"
"#;
    let faults = examined(text, &[]);
    has(&faults, "[cluster] secret_file: no-such-secret cannot be read", "tandem.toml:2");
    has(&faults, "[[xmpp.component]] secret: it is given twice", "tandem.toml:7");
    has(&faults, "[[xmpp.component]] secret: absent for b.example.net", "tandem.toml:11");
    assert!(faults.iter().any(|fault| fault.starts_with("[[admin.user]] token: too short")), "{faults:#?}");
    assert!(faults.iter().all(|fault| !fault.contains("\"short\"")), "{faults:#?}");
}

/// A limit or a time of zero would refuse or end every call.
#[test]
fn a13_limits_and_times_of_zero_are_refused() {
    for (section, key) in [
        ("sip", "max_legs"),
        ("relay", "media_timeout_s"),
        ("relay", "threads"),
        ("relay", "max_load"),
        ("call", "ring_s"),
    ] {
        let faults = examined(&format!("[{section}]\n{key} = 0\n"), &[]);
        has(&faults, &format!("[{section}] {key}: 0; write a number"), "tandem.toml:2");
    }
    let faults = examined("[store]\nurl = \"redis://r\"\ntimeout_ms = 0\n", &[]);
    has(&faults, "[store] timeout_ms: 0;", "tandem.toml:3");
    // Zero has a meaning here: at once.
    assert!(examined("[call]\ndrain_s = 0\n", &[]).is_empty());
    // What is too large would overflow.
    let faults = examined("[relay]\nmedia_timeout_s = 9223372036854775807\n", &[]);
    has(&faults, "[relay] media_timeout_s: 9223372036854775807;", "tandem.toml:2");
}

/// Of a file that all services share each reads what it uses: the secrets of others may be files that it cannot see.
#[test]
fn f11_a_service_neither_reads_nor_misses_the_secrets_of_others() {
    const TEXT: &str = r#"
[bus]
url = "nats://n:4222"

[store]
url = "redis://r:6379"
username = "tandem"
password_file = "/nowhere/store"

[cluster]
secret = "0123456789abcdef0123456789abcdef"

[sip]
listen = ["tls://127.0.0.1:5061"]
tls_key_file = "/nowhere/sip.key"

[[xmpp.component]]
domain = "sip.example.net"
server = "127.0.0.1:5347"
secret_file = "/nowhere/component"
users = "example.net"

[[trunk]]
name = "pbx"
uri = "sip:pbx.example.net"
domain = "sip.example.net"
username = "2000"
password_file = "/nowhere/trunk"
inbound_username = "pbx"
inbound_password_file = "/nowhere/inbound"
"#;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tandem.toml");
    std::fs::write(&file, TEXT).unwrap();
    let keys = |service| {
        let Examined { faults, config, .. } = examine_for(service, Some(&file), []);
        let mut keys: Vec<String> = faults.into_iter().map(|fault| fault.key).collect();
        keys.sort();
        keys.dedup();
        (keys, config.unwrap())
    };
    let of_trunks = [
        "[[trunk]] inbound_password",
        "[[trunk]] inbound_password_file",
        "[[trunk]] password",
        "[[trunk]] password_file",
        "[sip] tls_certificate_file",
    ];
    let of_component = ["[[xmpp.component]] secret", "[[xmpp.component]] secret_file"];
    let of_store = ["[store] password", "[store] password_file"];
    for (service, wanted) in [
        (Service::SipEdge, of_trunks.to_vec()),
        (Service::XmppEdge, of_component.to_vec()),
        (Service::Orchestrator, of_store.to_vec()),
        (Service::RtpRelay, vec![]),
    ] {
        let (keys, config) = keys(service);
        assert_eq!(keys, wanted, "{service:?}");
        assert_eq!(config.store.is_some(), service == Service::Orchestrator);
        assert_eq!(config.trunk[0].username.is_some(), service == Service::SipEdge);
    }
    let mut all = [&of_trunks[..], &of_component, &of_store].concat();
    all.sort_unstable();
    assert_eq!(keys(Service::All).0, all);
    // Who has no store of its own needs none.
    let text = TEXT.replace("[store]", "[telemetry]").replace("url = \"redis://r:6379\"\n", "");
    let text = text.replace("username = \"tandem\"\npassword_file = \"/nowhere/store\"\n", "");
    std::fs::write(&file, text).unwrap();
    assert!(!keys(Service::RtpRelay).0.contains(&"[store] url".to_owned()));
    assert!(keys(Service::Orchestrator).0.contains(&"[store] url".to_owned()));
}
