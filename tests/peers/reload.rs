//! The configuration is loaded again while the gateway runs: on SIGHUP, and when one of its files changes.

use crate::rig::{DESK_TONE, ROSA_TONE, Rig, SECOND, SOON};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use sip::digest::{Credentials, challenges};
use sip::message::{Message, read};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use testkit::clock::poll;
use testkit::prosody::SECRET;
use testkit::{Authority, Gateway, Phone, Program, Prosody, baresip, gateway, http, phone, ports};

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// Phone of text at an address of its own.
struct Carrier {
    socket: UdpSocket,
    gateway: SocketAddr,
    calls: u32,
}

impl Carrier {
    fn new(host: &str, gateway: SocketAddr) -> Carrier {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        Carrier { socket, gateway, calls: 0 }
    }

    /// Text of a request of the present call.
    fn request(&self, method: &str, uri: &str, cseq: u32, more: &str, body: &str) -> String {
        let (own, call) = (self.socket.local_addr().unwrap(), self.calls);
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{call}-{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:1@{own}>;tag=a{call}\r\nTo: <{uri}>\r\nCall-ID: c{call}@{own}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:1@{own}>\r\n{more}{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.gateway).unwrap();
    }

    /// The next message of the present call.
    fn hear(&self) -> Option<Message> {
        let (mut buffer, id) = ([0; 65_535], format!("c{}@", self.calls));
        loop {
            let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
            let message = read(&Bytes::copy_from_slice(&buffer[..length])).ok()?;
            if message.call_id().is_some_and(|call| call.starts_with(&id)) {
                return Some(message);
            }
        }
    }

    /// Calls, with these credentials if it is challenged. Returns the first code that tells if the call is taken.
    fn call(&mut self, uri: &str, password: &str) -> u16 {
        self.calls += 1;
        self.send(&self.request("INVITE", uri, 1, "", SDP));
        let Some(answer) = self.hear() else { return 0 };
        if answer.code() != Some(401) {
            return answer.code().unwrap_or(0);
        }
        let who = Credentials { username: "carrier".into(), password: password.into() };
        let shown = challenges(&answer).remove(0).answer(&who, "INVITE", uri, "c0ffee", 1);
        self.send(&self.request("INVITE", uri, 2, &format!("Authorization: {shown}\r\n"), SDP));
        // What answers the first one again is passed over.
        std::iter::from_fn(|| self.hear()).filter_map(|m| m.code()).find(|code| *code != 401).unwrap_or(0)
    }

    /// Waits for this code of the present call.
    fn expect(&self, code: u16) -> Result<Message> {
        let mut heard = vec![];
        poll(SOON, || {
            let message = self.hear()?;
            heard.extend(message.code());
            (message.code() == Some(code)).then_some(message)
        })
        .with_context(|| format!("{code} never came, but {heard:?}"))
    }
}

/// Waits until a metric has this value.
fn metric(admin: SocketAddr, series: &str, value: &str) -> Result<()> {
    let mut last = String::new();
    let found = poll(SOON, || {
        last = http::get(admin, "/metrics").ok()?.1;
        last.lines().any(|line| line == format!("{series} {value}")).then_some(())
    });
    let told: Vec<&str> = last.lines().filter(|line| line.starts_with(series)).collect();
    found.with_context(|| format!("{series} is not {value}: {told:?}"))
}

#[test]
fn a14_a_trunk_is_added_and_another_removed_while_a_call_goes_on() {
    let options = baresip::Options { codecs: "pcmu".into(), ..Default::default() };
    let mut rig = Rig::new(options, phone::Options::default());
    let mut nils = Phone::start(&rig.server, "nils", &phone::Options::default()).unwrap();
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    let mut carrier = Carrier::new("127.0.0.2", rig.gateway.sip);
    assert_eq!(carrier.call(&Gateway::uri_of("nils"), ""), 403, "nobody knows it");

    let file = rig.gateway.config();
    let old = std::fs::read_to_string(&file).unwrap();
    let (before, trunk) = old.split_once("[[trunk]]\nname = \"desk\"").unwrap();
    let (_, after) = trunk.split_once("\n\n").unwrap();
    let new = format!(
        "{before}[[xmpp.component]]\ndomain = \"{SECOND}\"\nserver = \"127.0.0.1:{}\"\nsecret = \"{SECRET}\"\n\
         users = \"example.net\"\n[[trunk]]\nname = \"carrier\"\nuri = \"sip:127.0.0.2:9\"\ndomain = \"{SECOND}\"\n\
         sources = [\"127.0.0.2/32\"]\n\n{after}",
        rig.server.component_port
    );
    std::fs::write(&file, new).unwrap();
    rig.gateway.program().reload();
    rig.see("the reload", |rig| {
        let line = rig.gateway.program().expect(0, "SIGHUP: the configuration was loaded again", SOON)?;
        let told = "is in force: trunk carrier, trunk desk, xmpp.component sip2.example.net";
        ensure!(line.text.contains(told), "{}", line.text);
        metric(rig.gateway.admin, &format!("tandem_xmpp_link_up{{domain=\"{SECOND}\"}}"), "1")
    });
    // The trunk that is new is served, to the end of its call.
    assert_eq!(carrier.call(&Gateway::uri_of("nils"), ""), 100);
    rig.see("ringing at nils", |_| nils.expect("propose", SOON).map(drop));
    carrier.expect(180).unwrap();
    carrier.send(&carrier.request("CANCEL", &Gateway::uri_of("nils"), 1, "", ""));
    carrier.expect(487).unwrap();
    // That which is gone has its call, and no other.
    rig.sound();
    let mut desk = Carrier::new("127.0.0.1", rig.gateway.sip);
    assert_eq!(desk.call(&Gateway::uri_of("nils"), ""), 403);
    rig.desk_hangs_up();

    // And it comes back.
    std::fs::write(&file, old).unwrap();
    rig.gateway.program().reload();
    rig.see("the second reload", |rig| {
        metric(rig.gateway.admin, "tandem_config_reloads_total{outcome=\"applied\"}", "2")?;
        let needed = format!("needs a restart: xmpp.component {SECOND}");
        rig.gateway.program().expect(0, &needed, SOON).map(drop)
    });
    rig.rosa_calls(true);
    rig.see("sound", |rig| {
        rig.rosa.hears(DESK_TONE, 1.0, SOON)?;
        rig.desk.hears(ROSA_TONE, 1.0, SOON).map(drop)
    });
}

/// A gateway without an XMPP server: its SIP side is all that is needed.
struct Alone {
    program: Program,
    directory: TempDir,
    sip: SocketAddr,
    admin: SocketAddr,
}

impl Alone {
    fn start(config: impl FnOnce(&Path) -> String) -> Alone {
        let directory = TempDir::new().unwrap();
        let here = || SocketAddr::from(([127, 0, 0, 1], ports::one()));
        let (sip, admin, media) = (here(), here(), ports::block(64));
        let text = format!(
            "[admin]\nlisten = \"{admin}\"\n[relay]\nports = \"{media}-{}\"\n[[xmpp.component]]\n\
             domain = \"sip.example.net\"\nserver = \"127.0.0.1:9\"\nsecret = \"{SECRET}\"\nusers = \"example.net\"\n{}",
            media + 63,
            config(directory.path()).replace("{sip}", &sip.to_string())
        );
        std::fs::write(directory.path().join("tandem.toml"), text).unwrap();
        let mut command = Command::new(gateway::binary().unwrap());
        command.arg("serve").arg("--config").arg(directory.path().join("tandem.toml"));
        let program = Program::start("tandem", command).unwrap();
        program.expect(0, "the SIP edge listens", SOON).unwrap();
        Alone { program, directory, sip, admin }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Changes the configuration file.
    fn edit(&self, from: &str, to: &str) {
        let file = self.file("tandem.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        std::fs::write(file, text.replace(from, to)).unwrap();
    }

    fn said(&self, text: &str) -> String {
        self.program.expect(0, text, SOON).unwrap().text
    }
}

const CARRIER: &str = "[sip]\nlisten = [\"udp://{sip}\"]\ndomains = [\"im.example.net\"]\nmax_legs = 50\n[[trunk]]\nname = \"carrier\"\n\
                       uri = \"sip:127.0.0.2:9\"\ndomain = \"sip.example.net\"\ninbound_username = \"carrier\"\n";

#[test]
fn a14_a_changed_password_counts_without_a_signal_and_a_fault_changes_nothing() {
    let mut gateway = Alone::start(|here| {
        let file = here.join("password");
        std::fs::write(&file, "the first password\n").unwrap();
        format!("{CARRIER}inbound_password_file = {file:?}\n")
    });
    let mut carrier = Carrier::new("127.0.0.2", gateway.sip);
    let uri = "sip:nobody@im.example.net";
    assert_eq!(carrier.call(uri, "the first password"), 100);
    assert_eq!(carrier.call(uri, "the other password"), 403);
    // As a Secret is replaced: another file by the same name.
    std::fs::write(gateway.file("next"), "the other password\n").unwrap();
    std::fs::rename(gateway.file("next"), gateway.file("password")).unwrap();
    let line = gateway.said("a file has changed: the configuration was loaded again");
    assert!(line.contains("INFO") && line.contains("is in force: trunk carrier"), "{line}");
    let taken = poll(SOON, || (carrier.call(uri, "the other password") == 100).then_some(()));
    taken.with_context(|| gateway.program.failure("takes no new password")).unwrap();
    assert_eq!(carrier.call(uri, "the first password"), 403);

    // Every fault is told in one line, and nothing has changed.
    gateway.edit("max_legs = 50", "max_legs = 0\nadvertize = \"x\"");
    gateway.program.reload();
    let line = gateway.said("the configuration has faults, and the one before stays in force");
    assert!(line.contains("ERROR") && line.contains("SIGHUP: "), "{line}");
    for part in ["unknown key `advertize`; did you mean `advertise`?", "[sip] max_legs: 0", "tandem.toml:"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let refused = "tandem_config_reloads_total{outcome=\"refused\"}";
    metric(gateway.admin, refused, "1").unwrap();
    assert_eq!(carrier.call(uri, "the other password"), 100);
    std::fs::remove_file(gateway.file("password")).unwrap();
    let line = gateway.said("[[trunk]] inbound_password_file: ");
    assert!(line.contains("a file has changed: the configuration has faults"), "{line}");
    assert_eq!(carrier.call(uri, "the other password"), 100);
    let output = gateway.program.log().tail(1_000);
    assert!(!output.contains("other password") && !output.contains("first password"), "{output}");
}

#[test]
fn a14_the_log_changes_and_what_needs_a_restart_is_named() {
    let mut gateway = Alone::start(|_| format!("{CARRIER}inbound_password = \"the only password\"\n"));
    metric(gateway.admin, "tandem_config_reloads_total{outcome=\"applied\"}", "0").unwrap();
    let mut carrier = Carrier::new("127.0.0.2", gateway.sip);
    let uri = "sip:nobody@elsewhere.example.net";
    assert_eq!(carrier.call(uri, "the only password"), 100);
    carrier.expect(404).unwrap();
    let told = "the call is not taken";
    assert!(!gateway.program.log().tail(1_000).contains(told));

    let other = SocketAddr::from(([127, 0, 0, 1], ports::one()));
    gateway.edit(&format!("udp://{}", gateway.sip), &format!("udp://{other}"));
    gateway.edit("[admin]\n", "[telemetry]\nlog = \"info,tandem_orchestrator=debug\"\n[admin]\n");
    gateway.edit("max_legs = 50", "max_legs = 60");
    gateway.program.reload();
    let line = gateway.said("needs a restart: ");
    assert!(line.contains("WARN") && line.ends_with("needs a restart: sip.listen"), "{line}");
    let line = gateway.said("is in force: ");
    assert!(line.ends_with("is in force: sip.max_legs, telemetry.log"), "{line}");
    metric(gateway.admin, "tandem_config_reloads_total{outcome=\"applied\"}", "1").unwrap();
    assert_eq!(carrier.call(uri, "the only password"), 100, "at the address that it had");
    gateway.said(told);
    // What is as it was is no news.
    gateway.program.reload();
    gateway.said("none of its values has changed");
}

#[test]
fn a14_a_component_logs_in_with_the_secret_and_to_the_server_of_that_moment() {
    let server = Prosody::start(&["rosa"]).unwrap();
    let mut gateway = Alone::start(|_| format!("{CARRIER}inbound_password = \"the only password\"\n"));
    let up = "tandem_xmpp_link_up{domain=\"sip.example.net\"}";
    metric(gateway.admin, up, "0").unwrap();
    let nobody = format!("server = \"127.0.0.1:9\"\nsecret = \"{SECRET}\"");
    let there = format!("server = \"127.0.0.1:{}\"\nsecret = \"another\"", server.component_port);
    gateway.edit(&nobody, &there);
    gateway.program.reload();
    gateway.said("[[xmpp.component]] secret: the XMPP server knows another one");
    gateway.edit("\"another\"", &format!("\"{SECRET}\""));
    gateway.program.reload();
    metric(gateway.admin, up, "1").unwrap();
}

/// Fingerprint of the certificate that is shown.
fn fingerprint(port: u16) -> Option<String> {
    let mut shown = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let read =
        Command::new("openssl").args(["x509", "-noout", "-fingerprint"]).stdin(shown.stdout.take()?).output();
    let _ = shown.wait();
    let text = String::from_utf8(read.ok()?.stdout).ok()?;
    (!text.is_empty()).then_some(text)
}

#[test]
fn a14_a_changed_certificate_is_shown_without_a_signal() {
    let authority = Authority::new().unwrap();
    let (first, second) =
        (authority.sign("first", &["localhost"]).unwrap(), authority.sign("second", &["localhost"]).unwrap());
    let port = ports::one();
    let gateway = Alone::start(|here| {
        let (certificate, key) = (here.join("crt"), here.join("key"));
        std::fs::copy(&first.certificate, &certificate).unwrap();
        std::fs::copy(&first.key, &key).unwrap();
        format!(
            "[sip]\nlisten = [\"udp://{{sip}}\", \"tls://127.0.0.1:{port}\"]\ntls_certificate_file = {certificate:?}\n\
             tls_key_file = {key:?}\n"
        )
    });
    let shown = fingerprint(port).unwrap();
    std::fs::copy(&second.certificate, gateway.file("crt")).unwrap();
    // The key is of another certificate until it is written, too.
    let line = gateway.said("[sip] tls_key_file: ");
    assert!(line.contains("ERROR") && line.contains("is not the key of the certificate"), "{line}");
    assert_eq!(fingerprint(port).unwrap(), shown);
    std::fs::copy(&second.key, gateway.file("key")).unwrap();
    let other = poll(SOON, || fingerprint(port).filter(|now| *now != shown));
    other.with_context(|| gateway.program.failure("shows the old one")).unwrap();
}
