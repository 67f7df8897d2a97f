//! Messages as peers write them: names without quotes or in another encoding, numbers with parameters, old and newer SIP.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test says what is wrong by failing")]

mod bench;

use bench::*;
use bytes::Bytes;
use signal::*;
use tandem_sip::edge::{Flow, Target};
use tandem_sip::message::{MAX_LINE, Message};

/// Display names that stand before `<` in the field, and what is shown of them.
const NAMES: &[(&[u8], Option<&str>)] = &[
    (b"Anna ", Some("Anna")),
    ("Zo\u{eb} M\u{fc}ller ".as_bytes(), Some("Zo\u{eb} M\u{fc}ller")),
    (b"Bell, Alexander ", Some("Bell, Alexander")),
    (b"Bell (office) ", Some("Bell (office)")),
    (b"M\xfcller ", None),
    (b"\"M\xfcller\" ", None),
    (b"\"Anna ", None),
    (b"Anna \"the one\" Bell ", None),
    (b"\"Anna\" Bell ", None),
];

/// Puts a name before the address of a header.
fn named(octets: &[u8], header: &str, name: &[u8]) -> Vec<u8> {
    let place = format!("\r\n{header}: ");
    let at = octets.windows(place.len()).position(|w| w == place.as_bytes()).unwrap() + place.len();
    [&octets[..at], name, &octets[at..]].concat()
}

fn everywhere(text: &str, name: &[u8]) -> Bytes {
    let headers = ["From", "To", "Contact"];
    headers.iter().fold(text.as_bytes().to_vec(), |octets, header| named(&octets, header, name)).into()
}

fn hear(b: &mut Bench, octets: &Bytes) {
    b.edge.receive(octets, b.flow, b.now);
    b.drain();
}

fn commit(b: &mut Bench) -> Heard {
    let (ticket, heard) = b.heard();
    b.verdict(ticket, Verdict::Committed { revision: heard.base + 1, trace: String::new() });
    heard
}

#[test]
fn c1_a_call_goes_on_whatever_the_name_of_its_caller() {
    for (name, shown) in NAMES {
        let mut b = bench("one");
        hear(&mut b, &everywhere(&request("INVITE", 1, TO, SDP), name));
        assert_eq!(b.codes(), ["100"], "{name:?}");
        let heard = commit(&mut b);
        let from = heard.opening.unwrap().from;
        assert_eq!((from.address.as_str(), from.display.as_deref()), ("sip:2041@pbx.example", *shown));
        b.say(state(heard.leg, 1, heard.dialog), 3, Signal::Answer(media()), None);
        let answer = b.sent.pop().unwrap();
        let raw = answer.write();
        assert_eq!(raw.windows(5).filter(|w| *w == b";tag=").count(), 2, "one of each side: {name:?}");
        let to = format!("{TO};tag={}", answer.to().unwrap().tag().unwrap());
        hear(&mut b, &everywhere(&request("ACK", 1, &to, ""), name));
        b.wait(10_000);
        assert!(b.codes().is_empty(), "acknowledged: {name:?}");
        // Our requests go where the Contact said.
        b.say(state(heard.leg, 0, vec![]), 4, Signal::Update(media()), None);
        let ours = b.sent.pop().unwrap();
        assert!(ours.write().starts_with(b"INVITE sip:2041@192.0.2.9 SIP/2.0\r\n"), "{name:?}");
        assert_eq!(ours.to().unwrap().tag(), Some("a"));
        hear(&mut b, &everywhere(&request("BYE", 2, &to, ""), name));
        assert!(matches!(commit(&mut b).signals.as_slice(), [Signal::End(_)]), "{name:?}");
        assert_eq!(b.codes(), ["200"], "{name:?}");
    }
}

#[test]
fn c1_a_200_is_acknowledged_with_its_tag_whatever_its_name() {
    for (name, _) in NAMES {
        let mut b = bench("one");
        let (leg, _) = called(&mut b);
        let invite = b.sent.remove(0);
        let ringing = answer(&invite, 180, "");
        hear(&mut b, &named(ringing.as_bytes(), "To", name).into());
        assert_eq!(commit(&mut b).signals, [Signal::Ringing]);
        let accepted = answer(&invite, 200, SDP);
        let accepted = named(&named(accepted.as_bytes(), "To", name), "Contact", name);
        hear(&mut b, &accepted.into());
        assert!(matches!(commit(&mut b).signals.as_slice(), [Signal::Answer(_)]), "{name:?}");
        let ack = b.sent.pop().unwrap();
        assert!(ack.write().starts_with(b"ACK sip:2041@192.0.2.9 SIP/2.0\r\n"), "{name:?}");
        assert_eq!(ack.to().unwrap().tag(), Some("b"), "{name:?}");
        b.say(state(leg, 0, vec![]), 5, Signal::End(Reason::Normal.into()), None);
        assert_eq!(b.sent[0].to().unwrap().tag(), Some("b"), "{name:?}");
    }
}

#[test]
fn c1_an_identity_is_read_whatever_its_name() {
    for (name, shown) in NAMES {
        let text = request("INVITE", 1, TO, SDP).replace(
            "Max-Forwards",
            "P-Asserted-Identity: <sip:+4930111@pbx.example>, <tel:+4930111>\r\nMax-Forwards",
        );
        let mut b = bench("one");
        hear(&mut b, &named(text.as_bytes(), "P-Asserted-Identity", name).into());
        let from = commit(&mut b).opening.unwrap().from;
        assert_eq!(from.address, "sip:+4930111@pbx.example", "{name:?}");
        // In a list a name may not be told from what stands before a comma.
        let shown = shown.filter(|shown| !shown.contains(','));
        assert_eq!(from.display.as_deref(), shown, "{name:?}");
    }
}

#[test]
fn f13_a_name_is_shown_in_part_and_without_tricks() {
    let mut b = bench("one");
    let long = "\u{202e}".to_owned() + &"x".repeat(5_000);
    hear(
        &mut b,
        &named(request("INVITE", 1, TO, SDP).as_bytes(), "From", format!("\"{long}\" ").as_bytes()).into(),
    );
    assert_eq!(commit(&mut b).opening.unwrap().from.display, Some("x".repeat(128)));
    let mut b = bench("one");
    let invite = call(&mut b, "sip:2041@pbx.example", Some("\u{202e}a\"n\u{85}na\\\r\n"));
    assert_eq!(invite.from().unwrap().display.as_deref(), Some("an na"));
}

/// Lets the edge call somebody. Returns the INVITE.
fn call(b: &mut Bench, to: &str, display: Option<&str>) -> Message {
    let leg = LegRef { record: Secret::new(b"test").call_of_jingle("rosa@x/1", "s"), leg: LegId(1) };
    let from = Party { display: display.map(str::to_owned), ..Party::sip("sip:rosa@im.example") };
    let opening =
        Opening { from, to: Party::sip(to), link: "pbx".into(), hops: 69, diverted: None, referral: None };
    b.say(state(leg, 0, vec![]), 1, Signal::Offer(media()), Some(opening));
    b.sent.remove(0)
}

/// R-ADDR-11, interworking §1.3.
#[test]
fn c13_an_invite_says_whom_it_calls_and_who_calls() {
    for (to, uri, aor) in [
        ("sip:2041@pbx.example", "sip:2041@192.0.2.9:5070", "sip:2041@192.0.2.9"),
        ("sip:+4930123@x", "sip:+4930123@192.0.2.9:5070;user=phone", "sip:+4930123@192.0.2.9;user=phone"),
        (
            "sip:+4930123;cpc=x@y",
            "sip:+4930123@192.0.2.9:5070;user=phone",
            "sip:+4930123@192.0.2.9;user=phone",
        ),
        ("tel:2041;phone-context=+49", "sip:2041@192.0.2.9:5070", "sip:2041@192.0.2.9"),
        ("sip:*21%23@x", "sip:*21%23@192.0.2.9:5070", "sip:*21%23@192.0.2.9"),
        ("sip:hugo%40b@x", "sip:hugo%40b@192.0.2.9:5070", "sip:hugo%40b@192.0.2.9"),
    ] {
        let mut b = bench("one");
        let flow = Flow::udp("192.0.2.9:5070".parse().unwrap());
        let mut own = trunk(flow);
        own.targets = vec![Target::new("192.0.2.9:5070", vec![flow])];
        b.edge.set_trunks(vec![own]);
        let invite = call(&mut b, to, None);
        assert!(invite.write().starts_with(format!("INVITE {uri} SIP/2.0\r\n").as_bytes()), "{to}");
        assert_eq!(invite.text("To"), Some(format!("<{aor}>").as_str()), "{to}");
        assert_eq!(invite.text("Contact"), Some("<sip:rosa@192.0.2.1:5060>"));
        assert_eq!(invite.text("User-Agent"), Some("Tandem"));
        assert_eq!(invite.text("Supported"), Some("100rel, timer, norefersub, replaces"), "RFC 3261 §20.37");
        b.hear(answer(&invite, 200, SDP));
        commit(&mut b);
        let ack = b.sent.pop().unwrap();
        assert_eq!((ack.method().as_deref(), ack.text("Contact")), (Some("ACK"), invite.text("Contact")));
    }
}

/// RFC 3261 §13.2.1, §14.1, §20.41: the requests of a call from its INVITE to its BYE.
#[test]
fn g11_requests_of_ours_say_whose_they_are_and_what_we_can() {
    let mut b = bench("one");
    let invite = call(&mut b, "sip:2041@pbx.example", None);
    b.hear(answer(&invite, 200, SDP));
    let heard = commit(&mut b);
    b.sent.clear();
    let mut requests = vec![invite];
    let tone = Signal::Tone(Tone { digit: '5', duration: 100 });
    for (index, signal) in [(2, Signal::Update(media())), (3, tone), (4, Signal::End(Reason::Normal.into()))]
    {
        b.say(state(heard.leg, 0, vec![]), index, signal, None);
        requests.push(b.sent.pop().unwrap());
    }
    let methods: Vec<String> = requests.iter().map(|request| request.method().unwrap()).collect();
    assert_eq!(methods, ["INVITE", "INVITE", "INFO", "BYE"]);
    for request in &requests {
        assert_eq!(request.text("User-Agent"), Some("Tandem"), "{request:?}");
        assert_eq!(request.text("Contact"), Some("<sip:rosa@192.0.2.1:5060>"), "{request:?}");
        let invites = request.method().as_deref() == Some("INVITE");
        assert_eq!(request.text("Supported").is_some(), invites, "{request:?}");
        assert_eq!(
            request.text("Allow").is_some_and(|allow| allow.contains("UPDATE")),
            invites,
            "{request:?}"
        );
    }
}

#[test]
fn b1_c13_a_called_number_is_our_contact_without_its_parameters() {
    for (uri, contact) in [
        ("sip:2700;npdi;rn=15550100@192.0.2.1;user=phone", "<sip:2700@192.0.2.1:5060>"),
        ("tel:27-00;phone-context=+1", "<sip:2700@192.0.2.1:5060>"),
        ("sip:rosa;day=tue@192.0.2.1", "<sip:rosa;day=tue@192.0.2.1:5060>"),
        ("sip:192.0.2.1", "<sip:192.0.2.1:5060>"),
    ] {
        let mut b = bench("one");
        b.hear(
            request("INVITE", 1, TO, SDP).replace("INVITE sip:2700@192.0.2.1 ", &format!("INVITE {uri} ")),
        );
        assert_eq!(b.codes(), ["100"], "{uri}");
        let heard = commit(&mut b);
        b.say(state(heard.leg, 0, vec![]), 2, Signal::Ringing, None);
        assert_eq!(b.sent[0].text("Contact"), Some(contact), "{uri}");
    }
}

fn torture(name: &str) -> Bytes {
    std::fs::read(format!("{}/tests/torture/{name}.dat", env!("CARGO_MANIFEST_DIR"))).unwrap().into()
}

/// A peer of another SIP writes that into its Via too, and is told all the same.
#[test]
fn f16_another_version_is_answered_505_on_the_wire() {
    let mut b = bench("one");
    hear(&mut b, &torture("badvers"));
    let answer = b.sent.remove(0);
    assert_eq!((answer.code(), b.way().as_str()), (Some(505), "udp://192.0.2.9:5060"));
    assert!(answer.text("Via").unwrap().starts_with("SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw"));
    assert_eq!((answer.call_id(), b.edge.transactions()), (Some("badvers.31417@c.example.com"), 0));
}

/// An INVITE of RFC 2543 has neither cookie nor From-tag nor Contact; its caller is reached by From.
#[test]
fn f16_a_caller_of_rfc_2543_is_served_to_the_end() {
    let mut b = bench("one");
    hear(&mut b, &torture("inv2543"));
    assert_eq!(b.codes(), ["100"]);
    let heard = commit(&mut b);
    let opening = heard.opening.unwrap();
    assert_eq!(
        (opening.from.address.as_str(), opening.to.address.as_str()),
        ("sip:+13035551111@ift.client.example.net", "sip:UserB@example.com")
    );
    b.say(state(heard.leg, 0, vec![]), 3, Signal::Answer(media()), None);
    let answer = b.sent.pop().unwrap();
    assert_eq!((answer.code(), b.way().as_str()), (Some(200), "udp://192.0.2.9:5060"));
    let ack = format!(
        "ACK sip:UserB@example.com SIP/2.0\r\nVia: SIP/2.0/UDP iftgw.example.com\r\n\
         From: <sip:+13035551111@ift.client.example.net;user=phone>\r\nTo: {}\r\n\
         Call-ID: inv2543.1717@ift.client.example.com\r\nCSeq: 56 ACK\r\n\r\n",
        answer.text("To").unwrap()
    );
    b.hear(ack);
    b.wait(10_000);
    assert!(b.codes().is_empty(), "acknowledged");
    b.say(state(heard.leg, 0, vec![]), 4, Signal::End(Reason::Normal.into()), None);
    // Its proxy is a strict router (§12.2.1.1): the target comes last.
    let bye = b.sent.pop().unwrap();
    assert!(bye.write().starts_with(b"BYE sip:UserB@example.com;maddr=ss1.example.com SIP/2.0\r\n"));
    assert_eq!(bye.list("Route"), ["<sip:+13035551111@ift.client.example.net;user=phone>"]);
    // A caller that knows RFC 3261 gives its Contact (§8.1.1.8).
    let without = request("INVITE", 1, TO, SDP).replace("Contact: <sip:2041@192.0.2.9>\r\n", "");
    b.hear(without);
    assert_eq!(b.codes(), ["400"]);
}

#[test]
fn f3_what_is_too_long_is_refused_and_costs_no_state() {
    let plain = request("OPTIONS", 1, TO, "");
    let many = |count: usize| ";a".repeat(count);
    let line = |length: usize| format!("Subject: {}\r\nMax-Forwards", "x".repeat(length));
    for (what, text, trunk, stranger) in [
        ("a Via of 65 parameters", plain.replace(";branch", &(many(64) + ";branch")), Some(400), Some(403)),
        ("a Via of 64 parameters", plain.replace(";branch", &(many(63) + ";branch")), Some(200), Some(403)),
        ("a Via of 31 KB", plain.replace(";branch", &(many(15_000) + ";branch")), None, None),
        (
            "From with 65 parameters",
            plain.replace(">;tag=a", &format!(">{};tag=a", many(64))),
            Some(400),
            Some(403),
        ),
        (
            "a URI of 65 parameters",
            plain.replace("example>", &format!("example{}>", many(65))),
            Some(400),
            Some(403),
        ),
        ("a long line", plain.replace("Max-Forwards", &line(MAX_LINE)), Some(513), Some(513)),
        ("a line", plain.replace("Max-Forwards", &line(MAX_LINE - 9)), Some(200), Some(403)),
        (
            "a long line in pieces",
            plain.replace(
                "Max-Forwards",
                &line(5_000).replace("\r\n", &format!("\r\n {}\r\n", "y".repeat(4_000))),
            ),
            Some(513),
            Some(513),
        ),
    ] {
        for (peer, code) in [("192.0.2.9:5060", trunk), ("203.0.113.66:5060", stranger)] {
            let mut b = bench("one");
            b.flow.peer = peer.parse().unwrap();
            b.hear(text.clone());
            let codes: Vec<u16> = b.sent.iter().filter_map(Message::code).collect();
            assert_eq!(codes, Vec::from_iter(code), "{what} of {peer}");
            assert_eq!((b.edge.legs(), b.edge.transactions()), (0, 0), "{what} of {peer}");
        }
    }
}

/// Lines of the proxies on the way are copied, not judged.
#[test]
fn f3_only_the_top_via_is_read() {
    let lower = "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKOPTIONS1, nonsense;;\r\nVia: SIP/9";
    let plain = request("OPTIONS", 1, TO, "");
    let mut b = bench("one");
    b.hear(plain.replace("SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKOPTIONS1", lower));
    assert_eq!(b.sent[0].all("Via").count(), 2);
    assert_eq!(b.sent[0].text("Via").map(|via| via.ends_with(", nonsense;;")), Some(true));
    assert_eq!(b.codes(), ["200"]);
}
