//! The peers among themselves: what they prove of the gateway is worth no more than this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::time::Duration;
use tandem_testkit::{Baresip, Phone, Prosody, Sipp, baresip, phone, ports, prosody};

const SOON: Duration = Duration::from_secs(15);

fn phones(caller: phone::Options, callee: phone::Options) -> (Prosody, Phone, Phone) {
    let server = Prosody::start(&["rosa", "juliet"]).unwrap();
    let rosa = Phone::start(&server, "rosa", &phone::Options { tone: 440.0, ..caller }).unwrap();
    let juliet = Phone::start(&server, "juliet", &phone::Options { tone: 600.0, ..callee }).unwrap();
    (server, rosa, juliet)
}

/// Both hear the other's tone; the caller hangs up; both agree on the end.
fn talk(rosa: &mut Phone, juliet: &mut Phone, codec: &str) {
    assert_eq!(rosa.expect("connected", SOON).unwrap().text("codec"), codec);
    assert_eq!(juliet.expect("connected", SOON).unwrap().text("codec"), codec);
    rosa.hears(600.0, 1.0, SOON).unwrap();
    juliet.hears(440.0, 1.0, SOON).unwrap();
    rosa.press("12#").unwrap();
    let digits: String =
        (0..3).map(|_| juliet.expect("dtmf", SOON).unwrap().text("digit").to_owned()).collect();
    assert_eq!(digits, "12#");
    rosa.hang_up().unwrap();
    for phone in [rosa, juliet] {
        assert_eq!(phone.expect("ended", SOON).unwrap().text("reason"), "success");
        let stats = phone.expect("stats", SOON).unwrap();
        assert!(stats.number("packets") > 50.0 && stats.number("lost") == 0.0, "{stats:?}");
    }
}

#[test]
fn jingle_phones_by_message_initiation_with_opus() {
    let (_server, mut rosa, mut juliet) = phones(phone::Options::default(), phone::Options::default());
    rosa.call("juliet@example.net", true).unwrap();
    juliet.expect("propose", SOON).unwrap();
    rosa.expect("ringing", SOON).unwrap();
    juliet.accept().unwrap();
    rosa.expect("proceed", SOON).unwrap();
    juliet.expect("initiate", SOON).unwrap();
    rosa.expect("accepted", SOON).unwrap();
    talk(&mut rosa, &mut juliet, "opus");
}

#[test]
fn jingle_phones_at_once_with_g711_trickled_and_the_other_dtls_role() {
    let caller =
        phone::Options { codecs: "PCMA".into(), switches: vec!["--trickle".into()], ..Default::default() };
    let callee =
        phone::Options { switches: vec!["--passive".into(), "--trickle".into()], ..Default::default() };
    let (_server, mut rosa, mut juliet) = phones(caller, callee);
    rosa.call("juliet@example.net/phone", false).unwrap();
    juliet.expect("initiate", SOON).unwrap();
    rosa.expect("ringing", SOON).unwrap();
    juliet.accept().unwrap();
    talk(&mut rosa, &mut juliet, "PCMA");
}

#[test]
fn jingle_phones_decline_and_cancel() {
    let (_server, mut rosa, mut juliet) = phones(phone::Options::default(), phone::Options::default());
    rosa.call("juliet@example.net", true).unwrap();
    juliet.expect("propose", SOON).unwrap();
    juliet.reject("busy").unwrap();
    assert_eq!(rosa.expect("ended", SOON).unwrap().text("reason"), "busy");
    rosa.call("juliet@example.net", true).unwrap();
    juliet.expect("propose", SOON).unwrap();
    rosa.hang_up().unwrap();
    let ended = juliet.expect_where("ended", SOON, |e| e.text("by") == "peer").unwrap();
    assert_eq!(ended.text("reason"), "cancel");
    rosa.call("juliet@example.net/phone", false).unwrap();
    juliet.expect("initiate", SOON).unwrap();
    juliet.reject("decline").unwrap();
    let ended = rosa.expect_where("ended", SOON, |e| e.text("reason") == "decline").unwrap();
    assert_eq!(ended.text("by"), "peer");
}

#[test]
fn the_sip_phone_both_ways_in_g711_and_opus() {
    for (codecs, rate) in [("pcmu", 8000), ("opus/48000/2", 48000)] {
        let both = baresip::Options { codecs: codecs.into(), ..Default::default() };
        let callee = baresip::Options { tone: 600, auto: true, ..both.clone() };
        let mut called = Baresip::start("2041", &callee).unwrap();
        let mut caller = Baresip::start("2700", &baresip::Options { tone: 500, ..both }).unwrap();
        caller.dial(&called.uri()).unwrap();
        caller.expect("CALL_ESTABLISHED", SOON).unwrap();
        caller.hears(600.0, 1.0, SOON).unwrap();
        called.hears(500.0, 1.0, SOON).unwrap();
        let wav = tandem_testkit::tone::Wav::read(&caller.recording().unwrap()).unwrap();
        assert_eq!(wav.rate, rate);
        called.hang_up().unwrap();
        caller.expect("CALL_CLOSED", SOON).unwrap();
        let packets = caller.packets(SOON).unwrap();
        assert!(packets.received > 50 && packets.lost.unwrap_or(0) == 0, "{packets:?}");
    }
}

#[test]
fn the_xmpp_server_comes_back_after_a_crash() {
    let mut server = Prosody::start(&["rosa"]).unwrap();
    server.restart().unwrap();
    Phone::start(&server, "rosa", &phone::Options::default()).unwrap();
}

/// Every scenario against its counterpart: what they expect of each other is what they expect of the gateway.
#[test]
fn the_scenarios_of_sipp_fit_together() {
    let pairs = [("uac_refused", "uas_refuse"), ("uac_cancel", "uas_cancelled"), ("uac_call", "uas_call")];
    let words = [("code", "486"), ("cause", "17"), ("header", "Reason: Q.850;cause=17"), ("talk", "300")];
    for (caller, callee) in pairs {
        let port = ports::block(2);
        let server = Sipp::server(port, callee, &words, &["-m", "5"]).unwrap();
        let client =
            Sipp::start(caller, &words, server.address, &["-m", "5", "-r", "20", "-s", "rosa"]).unwrap();
        client.finish(SOON).unwrap_or_else(|e| panic!("{caller}: {e:#}"));
        server.finish(SOON).unwrap_or_else(|e| panic!("{callee}: {e:#}"));
    }
    // Another refusal than the expected one, or another cause, must not pass.
    for (code, header) in
        [("603", "Reason: Q.850;cause=17"), ("486", "Reason: Q.850;cause=21"), ("486", "X: y")]
    {
        let said = [("code", code), ("header", header)];
        let server = Sipp::server(ports::block(2), "uas_refuse", &said, &["-m", "1"]).unwrap();
        let client = Sipp::start("uac_refused", &words, server.address, &["-m", "1"]).unwrap();
        assert!(client.finish(SOON).is_err(), "{code} {header}");
    }
}

/// For people's own clients in the demo, which refuse to log in without TLS.
#[test]
fn the_xmpp_server_offers_tls_when_told_to() {
    use std::io::{Read, Write};
    let (users, components) = (vec!["rosa".to_owned()], vec![prosody::COMPONENT.to_owned()]);
    let server =
        Prosody::with(&prosody::Options { users, components, tls: true, ..Default::default() }).unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let hello = "<stream:stream to='example.net' version='1.0' xmlns='jabber:client' \
                 xmlns:stream='http://etherx.jabber.org/streams'>";
    stream.write_all(hello.as_bytes()).unwrap();
    let (mut said, mut chunk) = (String::new(), [0; 4096]);
    while !said.contains("</stream:features>") {
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "{said}");
        said += &String::from_utf8_lossy(&chunk[..count]);
    }
    assert!(said.contains("<starttls"), "{said}");
    Phone::start(&server, "rosa", &phone::Options::default()).unwrap();
}
