//! The configuration: every key, every fault in one line that names key, value and remedy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::io::Write;
use tandem_runtime::Config;
use tandem_runtime::config::Srtp;
use tandem_runtime::config::load::{load, read};

const SAMPLE: &str = include_str!("../../../docs/tandem.toml");

fn with(text: &str) -> Result<Config, String> {
    read(text, []).map_err(|fault| fault.to_string())
}

fn faults(text: &str) -> Vec<String> {
    with(text).unwrap().check().iter().map(ToString::to_string).collect()
}

#[test]
fn the_sample_has_no_fault_and_its_comments_are_keys() {
    assert_eq!(faults(SAMPLE), [""; 0]);
    // Every key that stands in a comment is known too.
    let sections = |line: &str| {
        ["# [bus]", "# [store]", "# [[telemetry.otlp_header]]", "# [[admin.user]]"]
            .iter()
            .any(|section| line.starts_with(section))
    };
    let uncommented: String = SAMPLE
        .lines()
        .skip(3)
        .map(|line| {
            let bare = line.trim_start_matches("# ");
            let key = bare.split_once(" = ").is_some_and(|(key, _)| {
                key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            });
            format!("{}\n", if sections(line) || key { bare } else { line })
        })
        .collect();
    let config = with(&uncommented).unwrap();
    assert!(config.bus.is_some() && config.store.is_some() && config.relay.control.is_some());
    assert_eq!(config.telemetry.otlp.as_deref(), Some("http://127.0.0.1:4317"));
}

#[test]
fn an_unknown_key_gets_the_nearest_known_name() {
    assert_eq!(
        with("[sip]\nlissten = []").unwrap_err(),
        "sip: unknown key `lissten`; did you mean `listen`?"
    );
    assert!(with("[sipp]").unwrap_err().contains("did you mean `sip`?"));
    assert!(with("[[trunk]]\nnaem = \"x\"").unwrap_err().contains("did you mean `name`?"));
    assert!(with("[sip]\nfrobnicate = 1").unwrap_err().contains("known here: listen, advertise"));
    assert!(with("[sip\n").unwrap_err().starts_with("line 1"));
    let srtp = |word| with(&format!("[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\n{word}"));
    let fault = srtp("srtp = \"must\"").unwrap_err();
    assert!(
        fault.starts_with("trunk.0.srtp") && fault.contains("must") && fault.contains("`required`"),
        "{fault}"
    );
    assert_eq!(srtp("srtp = \"required\"").unwrap().trunk[0].srtp, Srtp::Required);
    assert_eq!(srtp("").unwrap().trunk[0].srtp, Srtp::Off);
    assert!(with("[relay]\nlisten = 7").unwrap_err().contains("relay.listen"));
}

#[test]
fn the_environment_overrides_every_kind_of_key() {
    let set = |pairs: &[(&str, &str)]| {
        read(SAMPLE, pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).map_err(|f| f.to_string())
    };
    let config = set(&[
        ("TANDEM_SIP__LISTEN", "udp://192.0.2.1:5060, tcp://192.0.2.1:5060"),
        ("TANDEM_SIP__REUSE_PORT", "true"),
        ("TANDEM_ADMIN__LISTEN", "127.0.0.1:9999"),
        ("TANDEM_RELAY__LISTEN", "192.0.2.1"),
        ("TANDEM_RELAY__THREADS", "3"),
        ("TANDEM_TRUNK__0__URI", "sip:192.0.2.9"),
        ("TANDEM_TRUNK__0__SOURCES", "192.0.2.0/24"),
        ("TANDEM_XMPP__COMPONENT__0__SECRET", "12345"),
        ("TANDEM_BUS__URL", "nats://n:4222"),
        ("HOME", "/root"),
    ])
    .unwrap();
    assert_eq!(config.sip.listen, ["udp://192.0.2.1:5060", "tcp://192.0.2.1:5060"]);
    assert!(config.sip.reuse_port);
    assert_eq!((config.relay.threads, config.admin.listen.port()), (3, 9999));
    assert_eq!(config.trunk[0].networks().unwrap(), [("192.0.2.0".parse().unwrap(), 24)]);
    assert_eq!(config.bus.unwrap().url, "nats://n:4222");
    assert!(set(&[("TANDEM_SIP__LISTN", "x")]).unwrap_err().contains("did you mean `listen`?"));
    assert!(set(&[("TANDEM_TRUNK__7__URI", "x")]).unwrap_err().contains("TANDEM_TRUNK__7__URI"));
}

/// Every key of the sample, said by the environment alone, gives what the file gives.
#[test]
fn what_the_file_says_the_environment_can_say() {
    fn walk(value: &toml::Value, path: &str, said: &mut Vec<(String, String)>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    walk(value, &format!("{path}__{}", key.to_uppercase()), said);
                }
            }
            toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
                for (place, value) in list.iter().enumerate() {
                    walk(value, &format!("{path}__{place}"), said);
                }
            }
            toml::Value::String(text) => said.push((path.to_owned(), text.clone())),
            toml::Value::Array(list) => {
                let parts: Vec<&str> = list.iter().map(|v| v.as_str().unwrap()).collect();
                said.push((path.to_owned(), parts.join(", ")));
            }
            toml::Value::Integer(number) => said.push((path.to_owned(), number.to_string())),
            toml::Value::Float(number) => said.push((path.to_owned(), number.to_string())),
            toml::Value::Boolean(truth) => said.push((path.to_owned(), truth.to_string())),
            other => panic!("{other:?}"),
        }
    }
    let text =
        format!("{}\n[store]\nurl = \"redis://r\"\ntimeout_ms = 7", SAMPLE.replace("# sample", "sample"));
    let table: toml::Table = toml::from_str(&text).unwrap();
    let mut said = vec![];
    walk(&toml::Value::Table(table), "", &mut said);
    let said: Vec<_> =
        said.into_iter().map(|(path, text)| (path.replacen("__", "TANDEM_", 1), text)).collect();
    assert!(said.len() > 20, "{said:?}");
    let (file, environment) = (read(&text, []).unwrap(), read("", said).unwrap());
    assert_eq!(format!("{file:?}"), format!("{environment:?}"));
}

#[test]
fn variables_of_others_are_left_alone_and_slips_are_told() {
    let set = |name: &str, value: &str| {
        read(SAMPLE, [(name.to_owned(), value.to_owned())]).map_err(|f| f.to_string())
    };
    for (name, value) in [
        ("TANDEM_CONFIG", "tandem.toml"),
        ("TANDEM_ADMIN", "http://127.0.0.1:8080"),
        ("TANDEM_SIP_EDGE_SERVICE_HOST", "10.0.0.1"),
        ("TANDEM_SIP_EDGE_SERVICE_PORT_SIP", "5060"),
        ("TANDEM_PORT", "tcp://10.0.0.1:80"),
        ("TANDEM_ADMIN_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("TANDEMX_SIP__LISTEN", "x"),
    ] {
        assert!(set(name, value).is_ok(), "{name}");
    }
    assert_eq!(set("TANDEM_INSTANCE", "gw-7").unwrap().instance("sip-edge"), "gw-7");
    assert!(set("TANDEM_SIP_LISTEN", "x").unwrap_err().contains("sip_listen"));
    assert!(
        set("TANDEM_RELAY__THREADS", "many").unwrap_err().starts_with("relay.threads: \"many\" is no number")
    );
    assert!(set("TANDEM_SIP__REUSE_PORT", "yes").unwrap_err().starts_with("sip.reuse_port"));
    assert!(set("TANDEM_TRUNK__1__NAME", "x").unwrap_err().starts_with("trunk.1: `uri` is absent"));
    let lists = set("TANDEM_SIP__DOMAINS", "[\"a.example\", \"b.example\"]").unwrap();
    assert_eq!(lists.sip.domains, ["a.example", "b.example"]);
    assert!(set("TANDEM_SIP__DOMAINS", "").unwrap().sip.domains.is_empty());
    let trunks = set("TANDEM_TRUNK", "[{ name = \"a\", uri = \"sip:a\", domain = \"d\" }]").unwrap();
    assert_eq!((trunks.trunk.len(), &trunks.trunk[0].name[..]), (1, "a"));
}

#[test]
fn a_secret_that_cannot_be_read_is_not_shown() {
    for text in [
        "[cluster]\nsecret = 4711",
        "[[trunk]]\nname = \"pbx\"\nuri = \"sip:192.0.2.9\"\ndomain = \"sip.example.net\"\npassword = 4711",
        "[[xmpp.component]]\ndomain = \"sip.example.net\"\nserver = \"127.0.0.1:5347\"\nsecret = 4711",
        "[bus]\nurl = 4711",
        "[store]\nurl = [\"redis://:4711@127.0.0.1\"]",
    ] {
        let fault = read(text, []).unwrap_err().to_string();
        assert!(!fault.contains("4711") && fault.contains("quotes"), "{fault}");
    }
    // Other values are shown: whoever reads the line sees the slip.
    assert!(read("[relay]\nports = 4711", []).unwrap_err().to_string().contains("4711"));
}

#[test]
fn secrets_come_from_files_and_only_once() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "from the file, long enough").unwrap();
    let config = |more: &str| {
        let mut config = tempfile::NamedTempFile::new().unwrap();
        write!(config, "[cluster]\nsecret_file = {:?}\n{more}", file.path()).unwrap();
        load(Some(config.path()), [])
    };
    assert_eq!(config("").unwrap().secret(), b"from the file, long enough");
    assert!(config("secret = \"again\"").unwrap_err().to_string().contains("given twice"));
    let gone = load(Some(std::path::Path::new("no-such-file.toml")), []).unwrap_err().to_string();
    assert!(gone.contains("no-such-file.toml") && gone.contains("docs/tandem.toml"), "{gone}");
}

#[test]
fn what_cannot_work_is_named_with_its_remedy() {
    let cases = [
        ("[bus]\nurl = \"nats://x\"", "[store] url"),
        ("[store]\nurl = \"redis://x\"", "[bus] url"),
        ("[bus]\nurl = \"x\"\n[store]\nurl = \"y\"", "[cluster] secret: absent"),
        ("[cluster]\nsecret = \"short\"", "[cluster] secret: too short"),
        ("[sip]\nlisten = [\"5060\"]", "[sip] listen: \"5060\""),
        ("[sip]\nlisten = []", "[sip] listen: empty"),
        (
            "[sip]\nlisten = [\"udp://127.0.0.1:5060\", \"ws://127.0.0.1:5061\"]",
            "[sip] listen: \"ws://127.0.0.1:5061\": ws is not supported yet; write udp://address:port",
        ),
        (
            "[sip]\nlisten = [\"udp://127.0.0.1:5060;advertise=\"]",
            "[sip] listen: \"udp://127.0.0.1:5060;advertise=\"; write udp://",
        ),
        (
            "[sip]\nlisten = [\"tls://127.0.0.1:5061\"]",
            "[sip] tls_certificate_file: absent, while listen has \"tls://127.0.0.1:5061\"; name the PEM file",
        ),
        ("[sip]\ntls_certificate_file = \"a.crt\"", "[sip] tls_key_file: absent, while"),
        ("[sip]\ntls_key_file = \"a.key\"", "[sip] tls_certificate_file: absent, while"),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\ntls_client_name = \"c.example\"",
            "[[trunk]] tls_client_name: \"c.example\" of t, while [sip] listen has no tls://",
        ),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\nnetworks = [\"1.2.3.4/40\"]",
            "[[trunk]] networks: \"1.2.3.4/40\"",
        ),
        (
            "[sip]\nlisten = [\"sctp://127.0.0.1:5060\"]",
            "[sip] listen: \"sctp://127.0.0.1:5060\": sctp is no transport; write udp://",
        ),
        ("[telemetry]\notlp = \"ftp://c:4317\"", "[telemetry] otlp: \"ftp://c:4317\""),
        (
            "[telemetry]\notlp = \"http://c:4317\"\notlp_ca_file = \"ca\"",
            "[telemetry] otlp: it is not over TLS, while certificates are given; write https://",
        ),
        (
            "[telemetry]\notlp = \"https://c\"\notlp_key_file = \"k\"",
            "[telemetry] otlp_certificate_file: absent, while [telemetry] otlp_key_file is there",
        ),
        (
            "[[telemetry.otlp_header]]\nname = \"authorization\"",
            "[[telemetry.otlp_header]] value: absent for authorization; write what the collector wants",
        ),
        (
            "[[telemetry.otlp_header]]\nname = \"Key\"\nvalue = \"v\"",
            "[[telemetry.otlp_header]] name: \"Key\"; write it as \"authorization\"",
        ),
        (
            "[[telemetry.otlp_header]]\nname = \"x-bin\"\nvalue = \"v\"",
            "[[telemetry.otlp_header]] name: \"x-bin\" is a name of gRPC's own",
        ),
        (
            "[cluster]\ncertificate_file = \"c\"\nkey_file = \"k\"",
            "[cluster] ca_file: absent, while a certificate or key is there; name the PEM file of the authority",
        ),
        (
            "[cluster]\nca_file = \"ca\"",
            "[cluster] certificate_file: absent, while [cluster] ca_file is there; name",
        ),
        (
            "[cluster]\nca_file = \"ca\"\ncertificate_file = \"c\"",
            "[cluster] key_file: absent, while [cluster] certificate_file is there",
        ),
        ("[telemetry]\nsample = 1.5", "[telemetry] sample: 1.5"),
        ("[relay]\nports = \"9-1\"", "[relay] ports: \"9-1\""),
        ("[relay]\ntranscode_complexity = 11", "[relay] transcode_complexity: 11"),
        ("[relay]\nthreads = 0", "[relay] threads: 0; write a number from 1 to 256: Media threads"),
        ("[relay]\nmax_load = 101", "[relay] max_load: 101; write a number from 1 to 100: Percent of a core"),
        ("[relay]\nbatch_us = 10001", "[relay] batch_us: 10001"),
        ("[relay]\nlabels = [\"\"]", "[relay] labels: \"\""),
        ("[sip]\nmax_legs = 0", "[sip] max_legs: 0"),
        ("[call]\nring_s = 0", "[call] ring_s: 0"),
        (
            "[[xmpp.component]]\ndomain = \"a\"\nserver = \"x:70000\"\nsecret = \"s\"",
            "[[xmpp.component]] server: \"x:70000\"; write it as \"127.0.0.1:5347\": Component port",
        ),
        (
            "[[xmpp.component]]\ndomain = \"a\"\nserver = \"ssl://x:1\"\nsecret = \"s\"",
            "[[xmpp.component]] server: \"ssl://x:1\"; write it as",
        ),
        (
            "[[xmpp.component]]\ndomain = \"a\"\nserver = \"x:1\"\nsecret = \"s\"\nca_file = \"ca\"",
            "[[xmpp.component]] server: \"x:1\" is not over TLS, while certificates or tls_name are given; write tls://",
        ),
        (
            "[[xmpp.component]]\ndomain = \"a\"\nserver = \"tls://x:1\"\nsecret = \"s\"\ncertificate_file = \"c\"",
            "[[xmpp.component]] key_file: absent, while [[xmpp.component]] certificate_file is there",
        ),
        ("[call]\nhold_music = \"../x\"", "[call] hold_music: \"../x\""),
        ("[call]\nvoicemail = \"the box\"", "[call] voicemail: \"the box\""),
        ("[call]\nhold_music = \"x.wav\"", "[relay] sounds: absent, while [call] hold_music is \"x.wav\""),
        (
            "[relay]\nadvertise6 = \"2001:db8::7\"",
            "[relay] advertise6: \"2001:db8::7\" beside listen \"127.0.0.1\"",
        ),
        ("[relay]\nlisten = \"::\"\nadvertise6 = \"2001:db8::7\"", "[relay] advertise6"),
        (
            "[[xmpp.component]]\ndomain = \"a b\"\nserver = \"x:1\"\nsecret = \"s\"",
            "[[xmpp.component]] domain",
        ),
        ("[[xmpp.component]]\ndomain = \"a\"\nserver = \"x\"\nsecret = \"s\"", "[[xmpp.component]] server"),
        ("[[xmpp.component]]\ndomain = \"a\"\nserver = \"x:1\"", "[[xmpp.component]] secret"),
        ("[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"nowhere\"", "[[trunk]] domain"),
        ("[[trunk]]\nname = \"t\"\nuri = \"http://x\"\ndomain = \"nowhere\"", "[[trunk]] uri"),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:x;transport=ws\"\ndomain = \"d\"",
            "[[trunk]] uri: \"sip:x;transport=ws\": ws is not supported yet; write sip:host:port;transport=udp",
        ),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:x;lr;Transport=WSS\"\ndomain = \"d\"",
            "[[trunk]] uri: \"sip:x;lr;Transport=WSS\": wss is not supported yet; write sip:",
        ),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sips:x;transport=udp\"\ndomain = \"d\"",
            "[[trunk]] uri: \"sips:x;transport=udp\": sips: is spoken by TLS alone; write sip:",
        ),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:x;transport=sctp\"\ndomain = \"d\"",
            "[[trunk]] uri: \"sip:x;transport=sctp\": sctp is no transport; write sip:",
        ),
        ("[[trunk]]\nname = \"t\"\nuri = \"sip:\"\ndomain = \"d\"", "[[trunk]] uri: \"sip:\"; write sip:"),
        ("[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\nusername = \"u\"", "[[trunk]] password"),
        ("[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\npassword = \"u\"", "[[trunk]] username"),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\nsources = [\"1.2.3.4/40\"]",
            "[[trunk]] sources",
        ),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\n[[xmpp.component]]\ndomain = \"d\"\nserver = \"x:1\"",
            "[[trunk]] callers: absent for t, whose component has no users",
        ),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\ncallers = [\"rosa@example.net/phone\"]",
            "[[trunk]] callers: \"rosa@example.net/phone\"",
        ),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\ncallers = [\"@\"]",
            "[[trunk]] callers: \"@\"",
        ),
        ("[[group]]\nname = \"s\"\nmembers = [\"@other\"]", "[[group]] members: \"@other\"; write it as"),
        ("[[group]]\nname = \"s\"\nmembers = [\"*\"]", "[[group]] members: \"*\""),
        ("[[group]]\nname = \"s t\"\nmembers = []", "[[group]] name: \"s t\""),
        (
            "[[group]]\nname = \"s\"\nmembers = []\n[[group]]\nname = \"s\"\nmembers = []",
            "[[group]] name: \"s\" stands twice; name each",
        ),
        ("[[alias]]\nnumber = \"1\"\njid = \"rosa\"", "[[alias]] jid"),
        ("[[alias]]\nnumber = \"1\"\njid = \"@a\"", "[[alias]] jid"),
        ("[[alias]]\nnumber = \"\"\njid = \"r@a\"", "[[alias]] number"),
        (
            "[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\n[[trunk]]\nname = \"u\"\nuri = \"sip:x\"\ndomain = \"d\"",
            "[[trunk]] domain: \"d\" is served by two trunks",
        ),
        (
            "[[alias]]\nnumber = \"27\"\njid = \"r@a\"\n[[alias]]\nnumber = \"27\"\njid = \"s@a\"",
            "[[alias]] number: \"27\" stands twice",
        ),
        ("[bus]\nurl = \"127.0.0.1:4222\"", "[bus] url: \"127.0.0.1:4222\""),
        ("[store]\nurl = \"127.0.0.1:6379\"", "[store] url: \"127.0.0.1:6379\""),
        ("[store]\nurl = \"redis://r\"\ntimeout_ms = 0", "[store] timeout_ms: 0"),
        ("[sip]\ndomains = [\"im.example\", \"IM.example\"]", "[sip] domains: \"IM.example\" stands twice"),
        ("[sip]\ndomains = [\"im example\"]", "[sip] domains: \"im example\""),
        (
            "[sip]\nlisten = [\"udp://127.0.0.1:5060\", \"udp://127.0.0.1:5060\"]",
            "[sip] listen: \"udp://127.0.0.1:5060\" stands twice",
        ),
    ];
    for (text, start) in cases {
        let found = faults(text);
        assert!(found.iter().any(|fault| fault.starts_with(start)), "{text}: {found:?}");
        assert!(found.iter().all(|fault| fault.contains("; ") && !fault.contains('\n')), "{found:?}");
    }
    let guarded = faults("[bus]\nurl = \"tandem:hunter2@n:4222\"").join("\n");
    assert!(guarded.contains("[bus] url") && !guarded.contains("hunter2"), "{guarded}");
    let shown = format!("{:?}", faults("[cluster]\nsecret = \"short\""));
    assert!(!shown.contains("\"short\""), "no secret in a fault");
}

/// Secrets that go through a network in the clear are no faults.
#[test]
fn secrets_in_the_clear_are_warned_of() {
    let warnings = |text: &str| -> Vec<String> {
        with(text).unwrap().warnings().iter().map(ToString::to_string).collect()
    };
    let header = "[[telemetry.otlp_header]]\nname = \"a\"\nvalue = \"v\"\n";
    let control = "[bus]\nurl = \"nats://n:4222\"\n[relay]\ncontrol = \"10.0.0.7:9090\"\n";
    for (text, begins) in [
        (
            format!("[telemetry]\notlp = \"http://c:4317\"\n{header}"),
            "[telemetry] otlp: \"http://c:4317\" is in the clear",
        ),
        (
            "[admin]\nlisten = \"10.0.0.7:8080\"".to_owned(),
            "[admin] certificate_file: absent, while others reach listen \"10.0.0.7:8080\": tokens",
        ),
        (
            control.to_owned(),
            "[cluster] ca_file: absent: orders to [relay] control \"10.0.0.7:9090\" go in the clear",
        ),
    ] {
        let told = warnings(&text);
        assert!(told.len() == 1 && told[0].starts_with(begins), "{text}: {told:?}");
    }
    for text in [
        format!("[telemetry]\notlp = \"https://c:4317\"\n{header}"),
        format!("[telemetry]\notlp = \"http://[::1]:4317\"\n{header}"),
        "[telemetry]\notlp = \"http://c:4317\"".to_owned(),
        "[admin]\nlisten = \"10.0.0.7:8080\"\ncertificate_file = \"c\"".to_owned(),
        format!("[cluster]\nca_file = \"ca\"\n{control}"),
        "[relay]\ncontrol = \"10.0.0.7:9090\"\n".to_owned(),
    ] {
        assert_eq!(warnings(&text), [""; 0], "{text}");
    }
}

#[test]
fn f11_a_cluster_secret_that_can_be_guessed_is_refused() {
    for (secret, trouble) in [
        ("0123456789abcdef", "too short"),
        ("abababababababababababababababababab", "easy to guess"),
        ("CHANGEME-CHANGEME-CHANGEME-0123456789", "easy to guess"),
    ] {
        let found = faults(&format!("[cluster]\nsecret = \"{secret}\""));
        assert!(
            found[0].starts_with(&format!("[cluster] secret: {trouble}; write at least 32")),
            "{found:?}"
        );
        assert!(!found[0].contains(secret), "no secret in a fault");
    }
    assert!(faults("[cluster]\nsecret = \"one secret for the whole cluster\"").is_empty());
}

/// A configuration with these lines in `[bus]` and `[store]`.
fn linked(bus: &str, store: &str) -> String {
    format!(
        "[bus]\nurl = \"nats://n\"\n{bus}\n[store]\nurl = \"redis://r\"\n{store}\n[cluster]\nsecret = \"0123456789abcdef0123456789abcdef\"\n"
    )
}

#[test]
fn a2_a3_credentials_come_from_files_and_are_of_one_kind() {
    use tandem_runtime::links::{nats, redis};
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (password, seed) = (file("password", "s3cret\n"), file("seed", "SUSEED\n"));
    let load = |text: &str| load(Some(std::path::Path::new(&file("tandem.toml", text))), []).unwrap();
    let text = linked(
        &format!("username = \"rosa\"\npassword_file = {password:?}\nca_file = \"/ca\""),
        &format!("username = \"rosa\"\npassword_file = {password:?}\nsentinel_password_file = {password:?}"),
    );
    let config = load(&text);
    assert_eq!(config.check(), []);
    let bus = nats(&config, "sip-edge").unwrap();
    assert!(bus.login == bus::Login::Password("rosa".into(), "s3cret".into()));
    assert_eq!(bus.tls.ca.as_deref(), Some(std::path::Path::new("/ca")));
    let store = redis(&config).unwrap();
    let user = store::Login { user: Some("rosa".into()), password: Some("s3cret".into()) };
    assert!(store.login == user && store.sentinel_login.password.as_deref() == Some("s3cret"));
    let config = load(&linked(&format!("nkey_file = {seed:?}"), ""));
    assert!(nats(&config, "sip-edge").unwrap().login == bus::Login::Nkey("SUSEED\n".into()));
    let config = load(&linked("nkey_file = \"/nowhere\"", ""));
    let gone = nats(&config, "sip-edge").unwrap_err().to_string();
    assert!(gone.starts_with("[bus] nkey_file: /nowhere cannot be read"), "{gone}");

    for (bus, store, start) in [
        (
            "token = \"t\"\ncredentials_file = \"/c\"",
            "",
            "[bus] token: credentials are in credentials_file too",
        ),
        ("username = \"u\"", "", "[bus] password: absent, while [bus] username is there"),
        ("certificate_file = \"/c\"", "", "[bus] key_file: absent"),
        ("", "username = \"u\"", "[store] password: absent, while [store] username is there"),
        ("", "sentinel_username = \"u\"", "[store] sentinel_password: absent"),
        ("", "key_file = \"/k\"", "[store] certificate_file: absent"),
        ("", "ca_file = \"/c\"", "[store] url: it is not over TLS"),
    ] {
        let found = faults(&linked(bus, store));
        assert!(matches!(&found[..], [fault] if fault.starts_with(start)), "{bus} {store}: {found:?}");
    }
    for url in ["rediss://r", "redis+sentinel://a:1,b:2/m/0", "rediss+cluster://a,b"] {
        let found = faults(&linked("", "").replace("redis://r", url));
        assert!(found.is_empty(), "{url}: {found:?}");
    }
    for url in ["redis://a,b", "redis+ring://a", "valkey://a"] {
        let found = faults(&linked("", "").replace("redis://r", url));
        assert!(found[0].starts_with("[store] url"), "{url}: {found:?}");
    }
}

#[test]
fn a_secret_is_made_where_none_is_needed() {
    let (mut one, mut two) = (Config::default(), Config::default());
    one.generate_secret().unwrap();
    two.generate_secret().unwrap();
    assert!(one.secret().len() >= 64 && one.secret() != two.secret());
}

/// A configuration with one trunk, which has these lines.
fn one_trunk(lines: &str, more: &str) -> Config {
    let component =
        "[[xmpp.component]]\ndomain = \"d\"\nserver = \"x:1\"\nsecret = \"s\"\nusers = \"example.net\"\n";
    with(&format!("{component}[[trunk]]\nname = \"t\"\nuri = \"sip:x\"\ndomain = \"d\"\n{lines}\n{more}"))
        .unwrap()
}

fn told(config: &Config) -> Vec<String> {
    config.check().iter().map(ToString::to_string).collect()
}

#[test]
fn f8_callers_are_users_domains_and_groups() {
    const GROUPS: &str = "[[group]]\nname = \"sales\"\nmembers = [\"rosa@example.net\", \"partner.example\"]\n[[group]]\nname = \"empty\"\nmembers = []\n";
    let callers = |lines: &str| {
        let config = one_trunk(lines, GROUPS);
        assert_eq!(told(&config), [""; 0], "{lines}");
        config.callers(&config.trunk[0])
    };
    assert_eq!(callers(""), None);
    assert_eq!(callers("callers = [\"@empty\"]"), Some(vec![]), "nobody, not everybody");
    let all = callers("callers = [\"ann@example.org\", \"@sales\", \"example.com\"]").unwrap();
    assert_eq!(all, ["ann@example.org", "rosa@example.net", "partner.example", "example.com"]);
    let missing = told(&one_trunk("callers = [\"@sale\"]", GROUPS));
    assert_eq!(
        missing,
        [
            "[[trunk]] callers: \"@sale\" of t: there is no such group; write a [[group]] with name = \"sale\" and its members, or name one \
             that is there"
        ]
    );
}

#[test]
fn c13_emergency_numbers_follow_from_the_country_or_are_written() {
    let alias = |number: &str| format!("[[alias]]\nnumber = \"{number}\"\njid = \"r@a\"");
    for (lines, emergency, plain) in [
        ("", "911", "111"),
        ("country = \"DE\"", "110", "911"),
        ("country = \"NZ\"", "111", "112"),
        ("country = \"DE\"\nemergency = [\"0112\"]", "0112", "110"),
    ] {
        let refused = told(&one_trunk(lines, &alias(emergency)));
        let fault =
            format!("[[alias]] number: \"{emergency}\" is an emergency number; give the user another number");
        assert_eq!(refused, [fault], "{lines}");
        assert_eq!(told(&one_trunk(lines, &alias(plain))), [""; 0], "{lines}");
    }
    assert_eq!(told(&one_trunk("emergency = []", &alias("112"))), [""; 0]);
    for (lines, fault) in [
        (
            "country = \"XX\"",
            "[[trunk]] country: \"XX\" of t: its emergency numbers are not known; write two capital letters of ISO 3166, as \"DE\", or the \
             numbers themselves in emergency, as [\"112\"]",
        ),
        ("country = \"de\"", "[[trunk]] country: \"de\" of t: its emergency"),
        ("emergency = [\"112;x\"]", "[[trunk]] emergency: \"112;x\"; write it as"),
    ] {
        let found = told(&one_trunk(lines, ""));
        assert!(matches!(&found[..], [one] if one.starts_with(fault)), "{found:?}");
    }
}

/// RFC 4028 §5
#[test]
fn r_call_24_a_session_interval_is_90_seconds_or_more() {
    for (lines, interval) in [
        ("", 1_800),
        ("session_expires_s = 90", 90),
        ("session_expires_s = 0", 0),
        ("session_expires_s = 7200", 7_200),
    ] {
        let config = one_trunk(lines, "");
        assert_eq!(
            (told(&config), config.trunk[0].session_interval().unwrap()),
            (vec![], interval),
            "{lines}"
        );
    }
    assert_eq!(
        told(&one_trunk("session_expires_s = 89", "")),
        [
            "[[trunk]] session_expires_s: 89 of t: RFC 4028 allows no less than 90; write at least 90, 0 for none, or leave it out for 1800"
        ]
    );
}
