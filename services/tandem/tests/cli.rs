//! The command line as operators and scripts use it, against the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use serde_json::Value;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use testkit::clock::poll;
use testkit::{Gateway, Prosody, gateway, ports};

fn tandem(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tandem")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Lines of `check` that tell of faults.
fn faults(output: &Output) -> Vec<String> {
    let told = |line: &&str| !line.starts_with("warning: ") && !line.starts_with("not tested: ");
    text(output).lines().filter(told).map(str::to_owned).collect()
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

#[test]
fn every_binary_goes_by_its_own_name() {
    for name in ["tandem", "tandem-sip-edge", "tandem-xmpp-edge", "tandem-orchestrator", "tandem-rtp-relay"] {
        let output = Command::new(gateway::binary_of(name).unwrap()).arg("--version").output().unwrap();
        assert_eq!(text(&output).trim(), format!("{name} {}", env!("CARGO_PKG_VERSION")));
    }
}

/// A reader that goes away, as `head -1` does, is no fault of anybody.
#[test]
fn a14_a_reader_that_goes_is_no_panic() {
    let config = file("[sip]\nlisten = [\"ws://127.0.0.1:5061\"]\n");
    let path = config.path().to_str().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["check", "--config", path])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(1), "the fault is told by the exit code");
}

#[test]
fn check_names_every_fault_in_one_line() {
    let faulty = file("[sip]\nlisten = [\"5060\"]\n[relay]\nports = \"9\"\n");
    let output = tandem(&["check", "--config", faulty.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<String> =
        faults(&output).into_iter().filter(|line| !line.starts_with("[admin] listen: ")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("[sip] listen: ") && lines[1].starts_with("[relay] ports: "), "{lines:?}");
    assert!(lines[0].ends_with(":2)") && lines[1].ends_with(":4)"), "file and line: {lines:?}");

    let unknown = file("[sip]\nlissten = []\n");
    let output = tandem(&["check", "--config", unknown.path().to_str().unwrap()]);
    assert!(text(&output).contains("did you mean `listen`?"), "{}", text(&output));
}

/// Nothing that asks for a secure transport is spoken to in clear: `check` names it, and no service starts with it.
#[test]
fn a1_a_transport_that_is_not_built_is_refused_by_check_and_at_the_start() {
    let trunk = "[[xmpp.component]]\ndomain = \"d\"\nserver = \"127.0.0.1:9\"\nsecret = \"s\"\nusers = \"u\"\n\
                 [[trunk]]\nname = \"t\"\ndomain = \"d\"\nuri = ";
    for (config, said) in [
        (
            "[sip]\nlisten = [\"ws://127.0.0.1:0\"]\n".to_owned(),
            "[sip] listen: \"ws://127.0.0.1:0\": ws is not supported yet; write ",
        ),
        (
            format!("{trunk}\"sip:127.0.0.1;transport=wss\"\n"),
            "[[trunk]] uri: \"sip:127.0.0.1;transport=wss\": wss is not supported yet; write ",
        ),
        (
            format!("{trunk}\"sip:127.0.0.1;transport=sctp\"\n"),
            "[[trunk]] uri: \"sip:127.0.0.1;transport=sctp\": sctp is no transport; write ",
        ),
        (
            format!("{trunk}\"sips:127.0.0.1;transport=udp\"\n"),
            "[[trunk]] uri: \"sips:127.0.0.1;transport=udp\": sips: is spoken by TLS alone; write ",
        ),
    ] {
        let config = file(&config);
        for command in ["check", "serve"] {
            let output = tandem(&[command, "--config", config.path().to_str().unwrap()]);
            assert_eq!(output.status.code(), Some(1), "{command}");
            assert!(text(&output).contains(said), "{command}: {}", text(&output));
        }
    }
}

#[test]
fn check_tries_ports_and_the_xmpp_server() {
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let content = format!(
        "[sip]\nlisten = [\"udp://{}\"]\n[admin]\nlisten = \"{}\"\n[[xmpp.component]]\ndomain = \"sip.example.net\"\n\
         server = \"127.0.0.1:{}\"\nsecret = \"s\"\nusers = \"example.net\"\n[[trunk]]\nname = \"t\"\nuri = \"sip:no-such-host.invalid\"\n\
         domain = \"sip.example.net\"\n",
        udp.local_addr().unwrap(),
        tcp.local_addr().unwrap(),
        ports::one()
    );
    let config = file(&content);
    let output = tandem(&["check", "--config", config.path().to_str().unwrap()]);
    let said = text(&output);
    assert_eq!((output.status.code(), faults(&output).len()), (Some(1), 4), "{said}");
    for key in ["[sip] listen", "[admin] listen", "[[trunk]] uri", "[[xmpp.component]] server"] {
        assert!(said.lines().any(|line| line.starts_with(key)), "{key} in {said}");
    }
}

#[test]
fn serve_refuses_to_start_with_one_line() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = UdpSocket::bind(held).unwrap();
    let config = file(&format!(
        "[sip]\nlisten = [\"udp://{held}\"]\n[admin]\nlisten = \"127.0.0.1:{}\"\n[relay]\nports = \"{}\"\n",
        ports::one(),
        media()
    ));
    let output = tandem(&["serve", "--config", config.path().to_str().unwrap()]);
    drop(socket);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    let line = said.lines().last().unwrap();
    assert!(line.contains(&format!("[sip] listen: udp://{held} cannot be bound; free it")), "{said}");
}

fn media() -> String {
    let first = ports::block(40);
    format!("{first}-{}", first + 39)
}

#[test]
fn a_service_of_a_cluster_without_a_bus_names_the_remedy() {
    for package in ["tandem-sip-edge", "tandem-xmpp-edge", "tandem-orchestrator", "tandem-rtp-relay"] {
        let config = file(&format!("[admin]\nlisten = \"127.0.0.1:{}\"\n", ports::one()));
        let binary = gateway::binary_of(package).unwrap();
        let output = Command::new(binary).arg("--config").arg(config.path()).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("[bus] url: absent") && said.contains("tandem serve"), "{package}: {said}");
    }
}

#[test]
fn operators_see_what_runs_and_scripts_get_json() {
    let server = Prosody::start(&["rosa"]).unwrap();
    let options = gateway::Options {
        trunk: Some(([127, 0, 0, 1], ports::one()).into()),
        aliases: vec![("2700".into(), "rosa".into())],
        ..Default::default()
    };
    let mut gateway = Gateway::start(&server, &options).unwrap();
    let admin = format!("http://{}", gateway.admin);
    let ask = |arguments: &[&str]| {
        let output = tandem(&[arguments, &["--admin", &admin]].concat());
        (output.status.code(), text(&output))
    };
    assert_eq!(ask(&["calls"]), (Some(0), "none\n".into()));
    let (_, shown) = ask(&["trunks"]);
    assert!(shown.contains("desk") && shown.contains("sip.example.net"), "{shown}");
    // The directory is complete after one beat.
    let all = ["sip-edge", "xmpp-edge", "orchestrator", "rtp-relay"];
    let listed = || all.iter().all(|kind| ask(&["instances"]).1.contains(kind)).then_some(());
    poll(Duration::from_secs(5), listed).expect("an instance is not listed");
    let json: Value = serde_json::from_str(&ask(&["instances", "--json"]).1).unwrap();
    assert_eq!(json["instances"].as_array().unwrap().len(), 4);
    let (code, said) = ask(&["call", "nobody"]);
    assert_eq!((code, said.as_str()), (Some(3), "tandem: not a call id: see `tandem calls`\n"));
    settings_of_users(&admin);
    user_command(&ask);
    let (code, said) = ask(&["transfer", "nobody", "0", "sip:2702@gw.example"]);
    assert!(code == Some(3) && said.contains("not a call id"), "{said}");
    let unknown = "a4dqobyha4dqobyh";
    let (code, said) = ask(&["transfer", unknown, "0", "sip:2702@gw.example"]);
    assert!(code == Some(3) && said.contains("no such call"), "{said}");
    let (code, said) = ask(&["transfer", unknown, "0", "a b"]);
    assert!(code == Some(1) && said.contains("no address"), "{said}");
    let (code, said) = ask(&["drain", "nobody"]);
    assert_eq!((code, said.as_str()), (Some(3), "tandem: no such instance: see `tandem instances`\n"));
    let relay =
        json["instances"].as_array().unwrap().iter().find(|card| card["kind"] == "rtp-relay").unwrap();
    // It goes, as it was told, and it alone.
    assert_eq!(ask(&["drain", relay["instance"].as_str().unwrap()]).0, Some(0));
    let gone = poll(Duration::from_secs(10), || {
        let (_, shown) = ask(&["instances"]);
        (!shown.contains("rtp-relay")).then_some(shown)
    });
    let shown = gone.expect("the relay does not drain");
    for kind in ["sip-edge", "xmpp-edge", "orchestrator"] {
        assert!(shown.contains(kind), "{shown}");
    }
    assert!(gateway.program().running());
    let nowhere = tandem(&["calls", "--admin", "http://127.0.0.1:1"]);
    assert!(text(&nowhere).contains("name the admin port of an orchestrator with --admin"));
    assert_eq!(nowhere.status.code(), Some(4));
    let checked = tandem(&["check", "--config", gateway.config().to_str().unwrap()]);
    assert!(text(&checked).contains("Address already in use"), "{}", text(&checked));
    // Nobody else decides here: with the orchestrator the process goes, in good order.
    let decides = json["instances"].as_array().unwrap().iter().find(|card| card["kind"] == "orchestrator");
    assert_eq!(ask(&["drain", decides.unwrap()["instance"].as_str().unwrap()]).0, Some(0));
    let status = gateway.program().finish(Duration::from_secs(15)).unwrap();
    assert!(status.success(), "{status}");
}

/// The tool shows its token; a look is no change, and neither is one without it.
#[test]
fn f7_the_tool_shows_its_token() {
    let server = Prosody::start(&["rosa"]).unwrap();
    let (eye, hand) = (file("eye-0123456789abcdef\n"), file("hand-0123456789abcdef\n"));
    let user = |name: &str, role: &str, token: &tempfile::NamedTempFile| {
        format!("\n[[admin.user]]\nname = \"{name}\"\nrole = \"{role}\"\ntoken_file = {:?}\n", token.path())
    };
    let more = user("eye", "view", &eye) + &user("hand", "operate", &hand);
    let gateway = Gateway::start(&server, &gateway::Options { more, ..Default::default() }).unwrap();
    let admin = format!("http://{}", gateway.admin);
    let ask = |arguments: &[&str]| {
        let output = tandem(&[arguments, &["--admin", &admin]].concat());
        (output.status.code(), text(&output))
    };
    let (code, said) = ask(&["calls"]);
    assert!(code == Some(1) && said.contains("--token-file"), "{code:?} {said}");
    let path = |token: &tempfile::NamedTempFile| token.path().to_str().unwrap().to_owned();
    assert_eq!(ask(&["calls", "--token-file", &path(&eye)]), (Some(0), "none\n".into()));
    let json: Value =
        serde_json::from_str(&ask(&["instances", "--json", "--token-file", &path(&eye)]).1).unwrap();
    let relay =
        json["instances"].as_array().unwrap().iter().find(|card| card["kind"] == "rtp-relay").unwrap();
    let relay = relay["instance"].as_str().unwrap();
    let (code, said) = ask(&["drain", relay, "--token-file", &path(&eye)]);
    assert!(code == Some(1) && said.contains("role = \"operate\""), "{code:?} {said}");
    assert_eq!(ask(&["drain", relay, "--token-file", &path(&hand)]).0, Some(0));
    let (code, said) = ask(&["calls", "--token-file", "no-such-token"]);
    assert!(code == Some(2) && said.contains("no-such-token"), "{code:?} {said}");
}

/// Settings are written, read back, and refused by key, over the admin port.
/// Settings of a user on the command line.
fn user_command(ask: &impl Fn(&[&str]) -> (Option<i32>, String)) {
    let user = |task: &str, more: &[&str]| ask(&[&["user", task, "rosa@example.net"][..], more].concat());
    let (code, shown) = user("set", &["dnd=on", "forward.busy=2042", "forward.callers.2041=voicemail"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.starts_with("dnd=on\n") && shown.contains("\nforward.callers.2041=voicemail\n"), "{shown}");
    assert_eq!(user("set", &["dnd=off"]).0, Some(0));
    let json: Value = serde_json::from_str(&user("show", &["--json"]).1).unwrap();
    assert_eq!((&json["do_not_disturb"], &json["forward"]["busy"]), (&false.into(), &"2042".into()));
    let (code, refused) = user("set", &["forward.no_answer_s=1"]);
    assert!(code == Some(1) && refused.contains("give 5 to 300 s"), "{refused}");
    let (code, refused) = user("set", &["forward.sometimes=1"]);
    assert!(code == Some(2) && refused.contains("forward.always"), "{refused}");
    let (code, refused) = ask(&["user", "show", "nobody"]);
    assert!(code == Some(1) && refused.contains("not a bare JID"), "{refused}");
    let (code, cleared) = user("clear", &[]);
    assert!(code == Some(0) && cleared.contains("\nforward.busy=\n"), "{cleared}");
}

fn settings_of_users(admin: &str) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{admin}/users/Rosa@example.net");
    let put = |body: &str| {
        let request = agent.put(&url).header("content-type", "application/json");
        let mut response = request.send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    };
    let get = || agent.get(&url).call().unwrap().body_mut().read_to_string().unwrap();
    let (code, set) = put(r#"{"do_not_disturb":true,"forward":{"busy":"2042"},"blocked":["2041"]}"#);
    assert_eq!((code, &set), (200, &get()));
    let json: Value = serde_json::from_str(&set).unwrap();
    assert_eq!((&json["do_not_disturb"], &json["forward"]["busy"]), (&true.into(), &"2042".into()));
    let rule = r#"{"forward":{"callers":[{"callers":["2041"],"target":"nils@example.net"}]},"reject_anonymous":true,"voicemail":"*97"}"#;
    let (code, set) = put(rule);
    let json: Value = serde_json::from_str(&set).unwrap();
    assert_eq!((code, &set, &json["voicemail"]), (200, &get(), &"*97".into()));
    assert_eq!(json["forward"]["callers"][0]["target"], "nils@example.net");
    let (code, refused) = put(r#"{"forward":{"callers":[{"callers":[],"target":"2050"}]}}"#);
    assert!(code == 400 && refused.contains("forward.callers.callers"), "{code} {refused}");
    let (code, refused) = put(r#"{"forward":{"no_answer_s":1}}"#);
    assert!(code == 400 && refused.contains("forward.no_answer_s"), "{code} {refused}");
    assert_eq!(put(r#"{"dnd":true}"#).0, 422, "an unknown key is no setting");
    assert_eq!(agent.delete(&url).call().unwrap().status().as_u16(), 200);
    assert!(!get().contains("true"), "{}", get());
}
