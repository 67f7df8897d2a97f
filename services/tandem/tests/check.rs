//! `tandem check` among real servers: it logs in as the services do, and tells everything at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use serde_json::Value;
use std::net::{TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;
use testkit::clock::poll;
use testkit::prosody::SECRET;
use testkit::{Authority, Program, Prosody, ports};

fn check(config: &str, more: &[&str]) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config).unwrap();
    let path = file.path().to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args([&["check", "--config", path], more].concat()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A server of this command, once it listens.
fn server(name: &str, command: &mut Command, port: u16) -> Program {
    let command = std::mem::replace(command, Command::new("true"));
    let program = Program::start(name, command).unwrap();
    let up = poll(Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).ok());
    assert!(up.is_some(), "{:#}", program.failure("does not listen"));
    program
}

fn redis(password: &str) -> (Program, u16) {
    let port = ports::one();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--requirepass", password]);
    (server("redis", &mut command, port), port)
}

/// A NATS server, for this user and password or for everybody.
fn nats(credentials: &[&str]) -> (Program, u16) {
    let port = ports::one();
    let known = "/usr/sbin/nats-server";
    let mut command = Command::new(if std::path::Path::new(known).exists() { known } else { "nats-server" });
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]).args(credentials);
    (server("nats", &mut command, port), port)
}

/// A SIP peer that answers OPTIONS with 404, or is silent.
fn peer(answers: bool) -> (UdpSocket, std::thread::JoinHandle<usize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let serving = socket.try_clone().unwrap();
    serving.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let task = std::thread::spawn(move || {
        let (mut buffer, mut heard) = ([0; 4_096], 0);
        while let Ok((length, from)) = serving.recv_from(&mut buffer) {
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(request.starts_with("OPTIONS sip:"), "{request}");
            heard += 1;
            if answers {
                let (_, headers) = request.split_once("\r\n").unwrap();
                serving.send_to(format!("SIP/2.0 404 Not Found\r\n{headers}").as_bytes(), from).unwrap();
                break;
            }
        }
        heard
    });
    (socket, task)
}

struct Given<'a> {
    nats: String,
    redis: String,
    xmpp: String,
    secret: &'a str,
    trunk: String,
}

fn config(given: &Given<'_>) -> String {
    let first = ports::block(40);
    let (sip, admin) = (ports::one(), ports::one());
    format!(
        "[bus]\nurl = \"{}\"\n[store]\nurl = \"{}\"\n[cluster]\nsecret = \"0123456789abcdef0123456789abcdef\"\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n[sip]\nlisten = [\"udp://127.0.0.1:{sip}\"]\n\
         [relay]\nports = \"{first}-{}\"\n[[xmpp.component]]\ndomain = \"sip.example.net\"\nserver = \"{}\"\n\
         secret = \"{}\"\nusers = \"example.net\"\n[[trunk]]\nname = \"pbx\"\nuri = \"sip:{}\"\n\
         domain = \"sip.example.net\"\n",
        given.nats,
        given.redis,
        first + 39,
        given.xmpp,
        given.secret,
        given.trunk
    )
}

/// Lines that tell of faults.
fn faults(said: &str) -> Vec<&str> {
    said.lines().filter(|line| !line.starts_with("not tested: ") && !line.starts_with("warning: ")).collect()
}

#[test]
fn a12_check_logs_in_where_the_services_will() {
    let prosody = Prosody::start(&["rosa"]).unwrap();
    let ((_redis, redis), (_open, open)) = (redis("redis-word"), nats(&[]));
    let (_closed, closed) = nats(&["--user", "tandem", "--pass", "nats-word"]);
    let (socket, answering) = peer(true);
    let right = Given {
        nats: format!("nats://127.0.0.1:{open}"),
        redis: format!("redis://:redis-word@127.0.0.1:{redis}"),
        xmpp: format!("127.0.0.1:{}", prosody.component_port),
        secret: SECRET,
        trunk: socket.local_addr().unwrap().to_string(),
    };
    let output = check(&config(&right), &[]);
    let said = text(&output);
    assert_eq!((output.status.code(), faults(&said)), (Some(0), vec!["nothing would go wrong"]), "{said}");
    assert_eq!(answering.join().unwrap(), 1, "the trunk was asked");
    assert!(said.contains("not tested: media: UDP"), "{said}");

    // The same with wrong credentials everywhere, and a trunk that says nothing.
    let (silent, asked) = peer(false);
    let wrong = Given {
        nats: format!("nats://tandem:other-word@127.0.0.1:{closed}"),
        redis: format!("redis://:other-word@127.0.0.1:{redis}"),
        secret: "other-word",
        trunk: silent.local_addr().unwrap().to_string(),
        ..right
    };
    let output = check(&config(&wrong), &[]);
    let said = text(&output);
    let told = faults(&said);
    assert_eq!((output.status.code(), told.len()), (Some(1), 4), "{said}");
    for (key, line) in
        [("[bus]", 1), ("[store]", 3), ("[[xmpp.component]] secret", 16), ("[[trunk]] uri", 20)]
    {
        let found = told.iter().any(|fault| fault.starts_with(key) && fault.ends_with(&format!(":{line})")));
        assert!(found, "{key} at line {line}: {said}");
    }
    assert!(!said.contains("other-word") && !said.contains("redis-word"), "a password is shown: {said}");
    assert!(asked.join().unwrap() >= 2, "OPTIONS is repeated over UDP");
}

#[test]
fn a12_who_does_not_answer_is_told_by_another_exit_code() {
    let closed = || format!("127.0.0.1:{}", ports::one());
    let given = Given {
        nats: format!("nats://{}", closed()),
        redis: format!("redis://{}", closed()),
        xmpp: closed(),
        secret: "s",
        trunk: closed(),
    };
    let output = check(&config(&given), &["--json"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["code"], json["faults"].as_array().unwrap().len()), (&4.into(), 0), "{json:#}");
    let unreachable = json["unreachable"].as_array().unwrap();
    let mut keys: Vec<&str> = unreachable.iter().map(|fault| fault["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["[[trunk]] uri", "[[xmpp.component]] server", "[bus] url", "[store] url"], "{json:#}");
    for fault in unreachable {
        let place = fault["place"].as_str().unwrap();
        assert!(place.contains(':') && !fault["remedy"].as_str().unwrap().is_empty(), "{fault}");
    }
    assert!(
        json["untested"].as_array().unwrap().iter().any(|what| what.as_str().unwrap().starts_with("clocks"))
    );
}

/// Files that a relay would refuse, and dates.
#[test]
fn a12_files_and_dates_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "3", "-subj", "/CN=tandem", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let pem = folder.path().join("dtls.pem");
    std::fs::write(&pem, read("cert.pem") + &read("key.pem")).unwrap();
    let first = ports::block(40);
    let config = |pem: &std::path::Path, sounds: &std::path::Path| {
        format!(
            "[admin]\nlisten = \"127.0.0.1:{}\"\n[sip]\nlisten = [\"udp://127.0.0.1:{}\"]\n[cluster]\n\
             dtls_certificate_file = {pem:?}\n[relay]\nports = \"{first}-{}\"\nsounds = {sounds:?}\n[call]\nhold_music = \"hold.wav\"\n",
            ports::one(),
            ports::one(),
            first + 39
        )
    };
    std::fs::write(folder.path().join("hold.wav"), "").unwrap();
    let output = check(&config(&pem, folder.path()), &[]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("warning: [cluster] dtls_certificate_file: ") && said.contains("expires in 2 days"),
        "{said}"
    );

    std::fs::write(&pem, read("cert.pem")).unwrap();
    let output = check(&config(&pem, &folder.path().join("none")), &[]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for key in ["[cluster] dtls_certificate_file: ", "[relay] sounds: ", "[call] hold_music: "] {
        assert!(faults(&said).iter().any(|fault| fault.starts_with(key)), "{key} in {said}");
    }
}

/// Certificates between orchestrators and relays: what a start refuses, and dates.
#[test]
fn a12_certificates_of_the_cluster_are_looked_at() {
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let expired = ours.sign_for("expired", &["rtp-relay"], (2020, 2021)).unwrap();
    let (own, other) = (ours.sign("own", &["rtp-relay"]).unwrap(), theirs.sign("other", &["x"]).unwrap());
    let first = ports::block(40);
    let said = |certificate: &std::path::Path, key: &std::path::Path| {
        let file = format!(
            "[admin]\nlisten = \"127.0.0.1:{}\"\n[sip]\nlisten = [\"udp://127.0.0.1:{}\"]\n[cluster]\n\
             ca_file = {:?}\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n[relay]\nports = \"{first}-{}\"\n",
            ports::one(),
            ports::one(),
            ours.certificate(),
            first + 39
        );
        let output = check(&file, &[]);
        (output.status.code(), text(&output))
    };
    let (code, fine) = said(&own.certificate, &own.key);
    assert!(code == Some(0) && !fine.contains("[cluster]"), "{fine}");
    let (code, old) = said(&expired.certificate, &expired.key);
    assert!(
        code == Some(1) && old.contains("[cluster] certificate_file: ") && old.contains("expired"),
        "{old}"
    );
    let (code, mixed) = said(&own.certificate, &other.key);
    let wanted = format!("[cluster] key_file: {} is not the key of the certificate", other.key.display());
    assert!(code == Some(1) && faults(&mixed).iter().any(|fault| fault.starts_with(&wanted)), "{mixed}");
}

/// A collector over TLS: who signed its certificate is looked at.
#[test]
fn a12_a_collector_with_another_certificate_is_told_of() {
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let own = ours.sign("collector", &["localhost"]).unwrap();
    let (port, first) = (ports::one(), ports::block(40));
    let mut openssl = Command::new("openssl");
    openssl.args(["s_server", "-accept", &port.to_string(), "-alpn", "h2", "-www"]);
    openssl.arg("-cert").arg(&own.certificate).arg("-key").arg(&own.key);
    let _server = server("openssl", &mut openssl, port);
    let said = |authority: &Authority, host: &str| {
        let file = format!(
            "[admin]\nlisten = \"127.0.0.1:{}\"\n[sip]\nlisten = [\"udp://127.0.0.1:{}\"]\n[telemetry]\n\
             otlp = \"https://{host}:{port}\"\notlp_ca_file = {:?}\n[relay]\nports = \"{first}-{}\"\n",
            ports::one(),
            ports::one(),
            authority.certificate(),
            first + 39
        );
        let output = check(&file, &[]);
        (output.status.code(), text(&output))
    };
    let (code, fine) = said(&ours, "localhost");
    assert!(code == Some(0) && !fine.contains("[telemetry]"), "{fine}");
    for (authority, host) in [(&theirs, "localhost"), (&ours, "127.0.0.1")] {
        let (code, refused) = said(authority, host);
        let wanted = format!("[telemetry] otlp_ca_file: no TLS with {host}:{port}: invalid peer certificate");
        assert!(
            code == Some(1) && faults(&refused).iter().any(|fault| fault.starts_with(&wanted)),
            "{refused}"
        );
    }
}

#[test]
fn a12_check_without_a_configuration_is_a_fault() {
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .arg("check")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("--config: absent"), "{said}");
}
