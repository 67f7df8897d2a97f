//! A call that goes on while everything else that comes in is spoiled.

use crate::rig::{Rig, SOON};
use serde_json::json;
use std::fmt::Write as _;
use std::net::UdpSocket;
use std::time::Duration;
use testkit::clock::now_ms;
use testkit::fuzz::Random;
use testkit::{Gateway, Phone, baresip, phone, root};

/// Most KiB that the gateway may have resident at the end; the chart gives it twice as much.
const MEMORY_KIB: u64 = 256 * 1024;

fn rig() -> Rig {
    let mut rig =
        Rig::new(baresip::Options { codecs: "pcmu".into(), ..Default::default() }, phone::Options::default());
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig
}

/// The call still has sound, none of its packets is lost, the gateway is small, and the next call goes through.
fn goes_on(mut rig: Rig) {
    rig.see("the gateway", |rig| {
        let pid = rig.gateway.program().pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident: u64 =
            resident.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(u64::MAX);
        println!("{resident} KiB");
        anyhow::ensure!(resident < MEMORY_KIB, "{resident} KiB");
        let log = rig.gateway.failure("said").to_string();
        anyhow::ensure!(!log.contains("panicked"), "{log}");
        Ok(())
    });
    rig.sound();
    rig.desk_hangs_up();
    rig.rosa_calls(true);
    rig.talk("PCMU");
    rig.rosa_hangs_up();
}

/// Strangers, who are read as far as their budget goes, and the trunk's own address, which is read first, send messages of the torture tests
/// with octets changed.
#[test]
fn f17_changed_sip_messages_disturb_no_call() {
    const MESSAGES: [(&str, usize, usize); 2] = [("127.0.0.66", 150_000, 20), ("127.0.0.1", 50_000, 5)];
    let rig = rig();
    let mut corpus = vec![];
    for folder in ["crates/sip/tests/torture", "crates/sip/fuzz/corpus/stream"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            corpus.push(std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
    assert!(corpus.len() > 40);
    let mut random = Random::new(17);
    for (source, messages, at_once) in MESSAGES {
        let socket = UdpSocket::bind((source, 0)).unwrap();
        let begun = now_ms();
        for sent in 0..messages {
            socket.send_to(&random.change(&corpus), rig.gateway.sip).unwrap();
            if sent % at_once == 0 {
                let ahead = (begun + (sent / at_once) as u64).saturating_sub(now_ms());
                std::thread::sleep(Duration::from_millis(ahead));
            }
        }
        println!("{source}: {messages} in {} ms", now_ms() - begun);
    }
    goes_on(rig);
}

/// Names of elements with their namespaces.
const ELEMENTS: &[(&str, &str)] = &[
    ("jingle", "urn:xmpp:jingle:1"),
    ("content", "urn:xmpp:jingle:1"),
    ("reason", "urn:xmpp:jingle:1"),
    ("success", "urn:xmpp:jingle:1"),
    ("description", "urn:xmpp:jingle:apps:rtp:1"),
    ("payload-type", "urn:xmpp:jingle:apps:rtp:1"),
    ("parameter", "urn:xmpp:jingle:apps:rtp:1"),
    ("encryption", "urn:xmpp:jingle:apps:rtp:1"),
    ("crypto", "urn:xmpp:jingle:apps:rtp:1"),
    ("rtcp-mux", "urn:xmpp:jingle:apps:rtp:1"),
    ("hold", "urn:xmpp:jingle:apps:rtp:info:1"),
    ("transport", "urn:xmpp:jingle:transports:ice-udp:1"),
    ("candidate", "urn:xmpp:jingle:transports:ice-udp:1"),
    ("fingerprint", "urn:xmpp:jingle:apps:dtls:0"),
    ("group", "urn:xmpp:jingle:apps:grouping:0"),
    ("propose", "urn:xmpp:jingle-message:0"),
    ("proceed", "urn:xmpp:jingle-message:0"),
    ("ringing", "urn:xmpp:jingle-message:0"),
    ("retract", "urn:xmpp:jingle-message:0"),
    ("finish", "urn:xmpp:jingle-message:0"),
    ("query", "http://jabber.org/protocol/disco#info"),
    ("ping", "urn:xmpp:ping"),
    ("error", "jabber:client"),
    ("body", "jabber:client"),
    ("item-not-found", "urn:ietf:params:xml:ns:xmpp-stanzas"),
];
const ATTRIBUTES: &[&str] = &[
    "action",
    "sid",
    "initiator",
    "responder",
    "name",
    "creator",
    "senders",
    "media",
    "id",
    "clockrate",
    "channels",
    "ufrag",
    "pwd",
    "ip",
    "port",
    "priority",
    "protocol",
    "component",
    "foundation",
    "generation",
    "network",
    "type",
    "hash",
    "setup",
    "semantics",
    "value",
    "ssrc",
    "code",
    "node",
    "to",
    "from",
];
const VALUES: &[&str] = &[
    "",
    " ",
    "0",
    "-1",
    "1",
    "8",
    "65536",
    "4294967296",
    "1e9",
    "audio",
    "video",
    "both",
    "none",
    "initiator",
    "responder",
    "session-initiate",
    "session-accept",
    "session-terminate",
    "session-info",
    "transport-info",
    "transport-replace",
    "content-add",
    "content-remove",
    "content-modify",
    "description-info",
    "security-info",
    "host",
    "srflx",
    "udp",
    "tcp",
    "127.0.0.1",
    "::1",
    "a.example",
    "sha-256",
    "actpass",
    "active",
    "BUNDLE",
    "PCMU",
    "opus",
    "telephone-event",
    "rosa@example.net",
    "rosa@example.net/phone",
    "2999@sip.example.net",
    "&#x202e;",
    "&lt;&amp;&quot;",
    "\u{1f4de}",
    "AB:CD",
    "ZZ:ZZ",
    "5d1f7a0e-21b8-4a5c-9f0f-1c2d3e4f5a6b",
];

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())]
}

/// Writes an element with attributes and children, no deeper than `depth`.
fn element(random: &mut Random, depth: usize, out: &mut String) {
    let (name, namespace) = pick(random, ELEMENTS);
    write!(out, "<{name} xmlns='{namespace}'").unwrap();
    let from = random.below(ATTRIBUTES.len());
    for attribute in ATTRIBUTES.iter().cycle().skip(from).step_by(5).take(random.below(6)) {
        let value = pick(random, VALUES).repeat(if random.below(200) == 0 { 300 } else { 1 });
        write!(out, " {attribute}='{value}'").unwrap();
    }
    out.push('>');
    for _ in 0..if depth == 0 { 0 } else { random.below(4) } {
        element(random, depth - 1, out);
    }
    if random.below(3) == 0 {
        out.push_str(pick(random, VALUES));
    }
    write!(out, "</{name}>").unwrap();
}

fn stanza(random: &mut Random, number: usize) -> String {
    const KINDS: &[(&str, &str)] = &[
        ("iq", "set"),
        ("iq", "get"),
        ("iq", "result"),
        ("iq", "error"),
        ("message", "chat"),
        ("message", "error"),
        ("message", "groupchat"),
        ("presence", "unavailable"),
        ("presence", "subscribe"),
    ];
    const TO: &[&str] = &[
        "2999@sip.example.net",
        "sip.example.net",
        "2999@sip.example.net/5d1f7a0e-21b8-4a5c-9f0f-1c2d3e4f5a6b",
        "*21*2999\\23@sip.example.net",
    ];
    let (name, kind) = pick(random, KINDS);
    let to = pick(random, TO);
    let mut out = format!("<{name} type='{kind}' to='{to}' id='m{number}'>");
    for _ in 0..1 + random.below(2) {
        element(random, 5, &mut out);
    }
    write!(out, "</{name}>").unwrap();
    out
}

/// A user of the same server sends elements of Jingle in any order, with any attributes.
#[test]
fn f17_changed_stanzas_disturb_no_call() {
    const STANZAS: usize = 20_000;
    let mut rig = rig();
    let mut mallory = Phone::start(&rig.server, "mallory", &phone::Options::default()).unwrap();
    let mut random = Random::new(17);
    for number in 0..STANZAS {
        mallory.order(&json!({ "do": "raw", "xml": stanza(&mut random, number) })).unwrap();
        if number % 500 == 499 {
            mallory.order(&json!({ "do": "ping", "to": "sip.example.net" })).unwrap();
            rig.see("an answer", |_| mallory.expect("pong", SOON * 2).map(drop));
        }
    }
    goes_on(rig);
}
