//! Our INVITE tries the addresses of its trunk one after another, and says in each attempt where we are reached by it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;
use tandem_sip::edge::{Advertised, Flow, Local, Target, Transport};
use tandem_sip::message::Message;

fn udp(peer: &str) -> Flow {
    Flow::udp(peer.parse().unwrap())
}

const FIRST: &str = "192.0.2.9:5060";
const SECOND: &str = "198.51.100.9:5062";

/// An edge whose trunk has two addresses.
fn two(name: &str) -> Bench {
    let mut b = bench(name);
    let mut own = trunk(b.flow);
    own.targets = vec![Target::new("pbx.example", vec![udp(FIRST), udp(SECOND)])];
    b.edge.set_trunks(vec![own]);
    b
}

fn from(b: &mut Bench, peer: &str) {
    b.flow.peer = peer.parse().unwrap();
}

fn branch(message: &Message) -> String {
    message.via().unwrap().branch().unwrap().to_owned()
}

/// A failed attempt is committed, and only then the next one leaves.
fn next_attempt(b: &mut Bench) -> Message {
    assert!(b.sent.is_empty(), "{:?}", b.codes());
    let heard = b.commit(2);
    assert_eq!(heard.signals, [], "the caller is told nothing");
    b.sent.pop().unwrap()
}

/// RFC 3263 §4.3: the same request but for its branch (R-SIP-6).
#[test]
fn b3_every_address_of_a_host_is_tried() {
    let mut b = two("one");
    called(&mut b);
    let first = b.sent.remove(0);
    assert_eq!(b.way(), "udp://192.0.2.9:5060");
    b.edge.unreachable(udp(FIRST), b.now);
    b.drain();
    let second = next_attempt(&mut b);
    assert_eq!(b.way(), "udp://198.51.100.9:5062");
    assert_ne!(branch(&first), branch(&second));
    let rest = |message: &Message| {
        let text = String::from_utf8_lossy(&message.write()).into_owned();
        text.replace(&branch(message), "branch")
    };
    assert_eq!(rest(&first), rest(&second));
    from(&mut b, SECOND);
    b.hear(answer(&second, 180, ""));
    assert_eq!(b.commit(3).signals, [Signal::Ringing]);
    b.hear(answer(&second, 200, SDP));
    assert!(matches!(b.commit(4).signals.as_slice(), [Signal::Answer(_)]));
    assert_eq!(b.codes(), ["ACK"]);
}

/// A failure at the last address is told; the next call begins with the one that works (R-SIP-6, R-CODE-6).
#[test]
fn b3_b5_the_last_failure_is_told_and_minded() {
    let mut b = two("one");
    let (leg, _) = called(&mut b);
    b.codes();
    for (revision, peer) in [(2, FIRST), (3, SECOND)] {
        b.edge.unreachable(udp(peer), b.now);
        b.drain();
        let heard = b.commit(revision);
        b.codes();
        let told =
            matches!(heard.signals.as_slice(), [Signal::End(end)] if end.reason == Reason::Connectivity);
        assert_eq!(told, peer == SECOND, "{:?}", heard.signals);
    }
    b.wait(5_000);
    let later = |b: &mut Bench, sid: &str| {
        let leg = LegRef { record: Secret::new(b"test").call_of_jingle("rosa@x/1", sid), leg: leg.leg };
        let opening = Opening {
            from: Party::sip("sip:rosa@im.example"),
            to: Party::sip("sip:2041@pbx.example"),
            link: "pbx".into(),
            hops: 69,
            diverted: None,
            referral: None,
        };
        b.say(state(leg, 0, vec![]), 1, Signal::Offer(media()), Some(opening));
        (b.way(), b.sent.pop().unwrap())
    };
    let busy = |b: &mut Bench, invite: &Message, revision| {
        b.hear(answer(invite, 486, ""));
        let heard = b.commit(revision);
        assert!(matches!(heard.signals.as_slice(), [Signal::End(end)] if end.reason == Reason::Busy));
        b.codes();
    };
    let (way, invite) = later(&mut b, "second");
    assert_eq!(way, "udp://192.0.2.9:5060", "both failed");
    b.hear(answer(&invite, 503, "").replace("Contact:", "Retry-After: 120\r\nContact:"));
    b.codes();
    let invite = next_attempt(&mut b);
    from(&mut b, SECOND);
    busy(&mut b, &invite, 3);
    b.wait(60_000);
    let (way, invite) = later(&mut b, "third");
    assert_eq!(way, "udp://198.51.100.9:5062", "the first said when to come again");
    busy(&mut b, &invite, 2);
    b.wait(60_000);
    assert_eq!(later(&mut b, "fourth").0, "udp://192.0.2.9:5060");
}

/// A 503 is acknowledged and passed over; any other refusal is the callee's.
#[test]
fn b3_a_503_moves_on_and_other_failures_do_not() {
    for (code, moves) in [(503, true), (486, false), (500, false), (404, false)] {
        let mut b = two("one");
        called(&mut b);
        let first = b.sent.remove(0);
        b.hear(answer(&first, 100, ""));
        b.hear(answer(&first, code, ""));
        assert_eq!(b.codes(), ["ACK"], "{code}");
        let heard = b.commit(2);
        assert_eq!(heard.signals.is_empty(), moves, "{code}: {:?}", heard.signals);
        assert_eq!(b.codes(), if moves { vec!["INVITE"] } else { vec![] }, "{code}");
    }
    // Not once the caller was told of ringing.
    let mut b = two("one");
    called(&mut b);
    let first = b.sent.remove(0);
    b.hear(answer(&first, 180, ""));
    b.commit(2);
    b.hear(answer(&first, 503, ""));
    assert!(
        matches!(b.commit(3).signals.as_slice(), [Signal::End(end)] if end.reason == Reason::Connectivity)
    );
}

/// A host that is down says nothing: four seconds are enough if there is another one. What it says later changes nothing, unless
/// it is the answer.
#[test]
fn b3_a_silent_address_is_passed_over() {
    let mut b = two("one");
    called(&mut b);
    let first = b.sent[0].clone();
    b.wait(3_900);
    assert_eq!(b.codes(), ["INVITE"; 4]);
    b.wait(200);
    let second = next_attempt(&mut b);
    from(&mut b, SECOND);
    b.hear(answer(&second, 100, ""));
    from(&mut b, FIRST);
    for code in [100, 180, 486] {
        b.hear(answer(&first, code, ""));
    }
    assert!(b.asks.is_empty());
    assert_eq!(b.codes(), ["ACK"], "the late refusal is acknowledged");
    assert_eq!(b.way(), "udp://192.0.2.9:5060");
    b.hear(answer(&first, 200, SDP));
    assert!(matches!(b.commit(3).signals.as_slice(), [Signal::Answer(_)]));
    let codes = b.codes();
    assert!(
        codes.contains(&"ACK".into()) && codes.contains(&"CANCEL".into()),
        "the other one is let go: {codes:?}"
    );
    // With nowhere else to go it is Timer B.
    let mut b = bench("one");
    called(&mut b);
    b.wait(31_900);
    assert!(b.asks.is_empty());
    b.wait(200);
    assert!(matches!(b.commit(2).signals.as_slice(), [Signal::End(end)] if end.reason == Reason::Timeout));
}

/// The edge that tried dies; another one knows the last attempt from the record, cancels it and hears its answers.
#[test]
fn b3_an_attempt_is_in_the_record() {
    let mut b = two("one");
    let (leg, _) = called(&mut b);
    b.codes();
    b.edge.unreachable(udp(FIRST), b.now);
    b.drain();
    let heard = b.commit(2);
    let second = b.sent.pop().unwrap();
    let mut other = two("two");
    from(&mut other, SECOND);
    other.hear(answer(&second, 180, ""));
    let (ticket, _) = other.asks.remove(0);
    other.verdict(ticket, Verdict::Leg(state(leg, 2, heard.dialog)));
    let heard = other.commit(3);
    assert_eq!(heard.signals, [Signal::Ringing]);
    other.say(state(leg, 3, heard.dialog), 9, Signal::End(Reason::Cancelled.into()), None);
    let cancel = other.sent.pop().unwrap();
    assert_eq!((cancel.method().as_deref(), branch(&cancel)), (Some("CANCEL"), branch(&second)));
    assert_eq!(other.way(), "udp://198.51.100.9:5062");
}

/// Services of one priority share the calls by weight, and every edge tries the same order for one call.
#[test]
fn b3_calls_are_shared_by_weight() {
    let service = |priority, weight, peer: &str| Target {
        priority,
        weight,
        ..Target::new("pbx.example", vec![udp(peer)])
    };
    let mut targets = vec![
        service(20, 100, "192.0.2.30:5060"),
        service(10, 10, "192.0.2.10:5060"),
        service(10, 30, "192.0.2.20:5060"),
    ];
    let mut firsts = std::collections::BTreeMap::new();
    for call in 0..400 {
        let mut ways = vec![];
        for name in ["one", "two"] {
            let mut b = bench(name);
            let mut own = trunk(b.flow);
            targets.rotate_left(1);
            own.targets = targets.clone();
            b.edge.set_trunks(vec![own]);
            let record = Secret::new(b"test").call_of_jingle("rosa@x/1", &call.to_string());
            let opening = Opening {
                from: Party::sip("sip:rosa@im.example"),
                to: Party::sip("sip:2041@pbx.example"),
                link: "pbx".into(),
                hops: 69,
                diverted: None,
                referral: None,
            };
            let leg = LegRef { record, leg: LegId(1) };
            b.say(state(leg, 0, vec![]), 1, Signal::Offer(media()), Some(opening));
            ways.push(b.way());
        }
        assert_eq!(ways[0], ways[1]);
        *firsts.entry(ways.remove(0)).or_insert(0) += 1;
    }
    assert_eq!(firsts.len(), 2, "{firsts:?}");
    assert!((250..350).contains(&firsts["udp://192.0.2.20:5060"]), "{firsts:?}");
}

fn local(transport: Transport, bound: &str, advertise: Option<&str>) -> Local {
    let advertise = advertise.map(|name| Advertised { name: name.to_owned(), address: None });
    Local { transport, bound: bound.parse().unwrap(), advertise6: advertise.clone(), advertise }
}

/// An edge with these listeners whose trunk has these flows.
fn listening(listeners: &[Local], flows: Vec<Flow>) -> Bench {
    let mut b = bench("one");
    let trunk = tandem_sip::edge::Trunk { targets: vec![Target::new("pbx.example", flows)], ..trunk(b.flow) };
    let config = tandem_sip::edge::Config {
        instance: "one".into(),
        advertise: "192.0.2.1:5060".into(),
        address: "192.0.2.1".parse().unwrap(),
        listeners: listeners.to_vec(),
        trunks: vec![trunk],
        max_legs: 100,
        limits: vec![],
    };
    b.edge = tandem_sip::edge::Edge::new(config, Secret::new(b"test"));
    b
}

/// Via, Contact and o= name the listener that the peer reaches.
#[test]
fn b4_the_address_that_is_said_is_that_of_the_flow() {
    use Transport::{Tcp, Udp};
    let listeners = [
        local(Udp, "192.0.2.1:5060", None),
        local(Udp, "[2001:db8::1]:5080", None),
        local(Tcp, "0.0.0.0:5070", None),
        local(Udp, "192.0.2.2:5090", Some("gw.example:5099")),
    ];
    let at = |flow: Flow, listen, local: Option<&str>| Flow {
        listen,
        local: local.map(|ip| ip.parse().unwrap()),
        ..flow
    };
    let tcp = |peer: &str| Flow::tcp(peer.parse().unwrap());
    for (flow, said, origin) in [
        (at(udp(FIRST), 0, None), "192.0.2.1:5060", "192.0.2.1"),
        (at(udp("[2001:db8::9]:5060"), 1, None), "[2001:db8::1]:5080", "2001:db8::1"),
        // Nobody has said which: the first that reaches the peer.
        (at(udp("[2001:db8::9]:5060"), 0, None), "[2001:db8::1]:5080", "2001:db8::1"),
        (at(tcp(FIRST), 0, Some("203.0.113.5")), "203.0.113.5:5070", "203.0.113.5"),
        (at(tcp(FIRST), 0, None), "192.0.2.1:5060", "192.0.2.1"),
        (at(udp(FIRST), 2, None), "gw.example:5099", "192.0.2.2"),
    ] {
        let mut b = listening(&listeners, vec![flow]);
        called(&mut b);
        let invite = b.sent.remove(0);
        let via = invite.text("Via").unwrap();
        assert!(via.starts_with(&format!("SIP/2.0/{} {said};", flow.transport.via_name())), "{via}");
        let uri = invite.contact().unwrap().uri.to_string();
        assert!(uri.starts_with(&format!("sip:rosa@{said}")), "{uri}");
        let sdp = String::from_utf8_lossy(&invite.sdp().unwrap()).into_owned();
        assert!(sdp.lines().nth(1).unwrap().ends_with(&format!(" {origin}")), "{sdp}");
        // And the answer to a call that came by it.
        let mut b = listening(&listeners, vec![]);
        b.flow = Flow { peer: if flow.peer.is_ipv6() { flow.peer } else { b.flow.peer }, ..flow };
        if flow.peer.is_ipv4() {
            b.hear(request("INVITE", 1, TO, SDP));
            let heard = b.commit(1);
            b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Answer(media()), None);
            let uri = b.sent.last().unwrap().contact().unwrap().uri.to_string();
            assert!(uri.starts_with(&format!("sip:2700@{said}")), "{uri}");
        }
    }
    // The second attempt is by another listener.
    let mut b = listening(&listeners, vec![at(udp("[2001:db8::9]:5060"), 1, None), at(udp(FIRST), 0, None)]);
    called(&mut b);
    b.codes();
    b.edge.unreachable(udp("[2001:db8::9]:5060"), b.now);
    b.drain();
    let invite = next_attempt(&mut b);
    assert!(invite.text("Via").unwrap().starts_with("SIP/2.0/UDP 192.0.2.1:5060;"));
    assert_eq!(invite.text("Contact"), Some("<sip:rosa@192.0.2.1:5060>"));
}

/// A description that makes its INVITE too large for one datagram.
fn large() -> Media {
    let mut media = media();
    let codec = |pt: u8| signal::media::Codec::new(pt, &format!("X-CODEC-OF-A-LONG-NAME-{pt}"), 8000, 1);
    media.contents[0].codecs.extend((96..126).map(codec));
    media
}

fn call_large(b: &mut Bench) -> LegRef {
    let leg = LegRef { record: Secret::new(b"test").call_of_jingle("rosa@x/1", "large"), leg: LegId(1) };
    let opening = Opening {
        from: Party::sip("sip:rosa@im.example"),
        to: Party::sip("sip:2041@pbx.example"),
        link: "pbx".into(),
        hops: 69,
        diverted: None,
        referral: None,
    };
    b.say(state(leg, 0, vec![]), 1, Signal::Offer(large()), Some(opening));
    leg
}

/// RFC 3261 §18.1.1
#[test]
fn b8_a_large_request_goes_by_tcp() {
    let listeners =
        [local(Transport::Udp, "192.0.2.1:5060", None), local(Transport::Tcp, "192.0.2.1:5070", None)];
    let mut b = listening(&listeners, vec![udp(FIRST)]);
    call_large(&mut b);
    let invite = b.sent.remove(0);
    assert!(invite.write().len() > 1_300);
    assert_eq!(b.way(), "tcp://192.0.2.9:5060");
    assert!(invite.text("Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.1:5070;"));
    b.wait(2_000);
    assert!(b.codes().is_empty(), "nothing is repeated on a stream");
    b.flow = Flow::tcp(FIRST.parse().unwrap());
    b.hear(answer(&invite, 100, ""));
    let leg = LegRef { record: Secret::new(b"test").call_of_jingle("rosa@x/1", "large"), leg: LegId(1) };
    let said = b.edge.legs();
    assert_eq!(said, 1);
    b.hear(answer(&invite, 180, ""));
    let heard = b.commit(2);
    b.say(state(leg, 2, heard.dialog), 9, Signal::End(Reason::Cancelled.into()), None);
    let cancel = b.sent.pop().unwrap();
    assert_eq!((cancel.text("Via"), b.way().as_str()), (invite.text("Via"), "tcp://192.0.2.9:5060"), "§9.1");
}

#[test]
fn b8_a_peer_without_tcp_gets_it_by_udp() {
    let mut b = listening(&[], vec![udp(FIRST)]);
    call_large(&mut b);
    let first = b.sent.remove(0);
    b.edge.unreachable(Flow::tcp(FIRST.parse().unwrap()), b.now);
    b.drain();
    let again = b.sent.remove(0);
    assert_eq!((b.way().as_str(), branch(&again)), ("udp://192.0.2.9:5060", branch(&first)));
    assert!(again.text("Via").unwrap().starts_with("SIP/2.0/UDP 192.0.2.1:5060;"));
    assert!(b.asks.is_empty());
    b.wait(600);
    assert_eq!(b.codes(), ["INVITE"], "it is repeated now");
    b.hear(answer(&again, 200, SDP));
    let heard = b.commit(2);
    b.codes();
    // The next one does not try TCP again.
    let leg = LegRef { record: Secret::new(b"test").call_of_jingle("rosa@x/1", "large"), leg: LegId(1) };
    b.say(state(leg, 2, heard.dialog), 9, Signal::Update(large()), None);
    assert_eq!(b.way(), "udp://192.0.2.9:5060");
}

/// A Contact or Record-Route beyond the trunk is never followed, and told once a call; `networks` names further nodes.
#[test]
fn b7_a_foreign_hop_is_told_once_a_call() {
    let contact = |host: &str| {
        request("INVITE", 1, TO, SDP).replace("sip:2041@192.0.2.9>", &format!("sip:2041@{host}>"))
    };
    for (host, told) in [
        ("192.0.2.9", false),
        ("192.0.2.44", false),
        ("pbx.example", false),
        ("198.51.100.1", true),
        ("edge7.carrier.example", true),
    ] {
        let mut b = listening(&[], vec![udp(FIRST)]);
        b.hear(contact(host));
        b.commit(1);
        let expected = if told { vec![("pbx".to_owned(), host.to_owned())] } else { vec![] };
        assert_eq!(b.foreign, expected);
        b.hear(contact(host));
        assert_eq!(b.foreign, expected, "a repeated INVITE");
    }
    let mut b = listening(&[], vec![udp(FIRST)]);
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 180, "").replace("@192.0.2.9>", "@198.51.100.1>"));
    b.commit(2);
    b.hear(answer(&invite, 200, SDP).replace("@192.0.2.9>", "@198.51.100.1>"));
    b.commit(3);
    assert_eq!((b.foreign.len(), b.way().as_str()), (1, "udp://192.0.2.9:5060"));

    // A node that the operator has named is reached, but no call comes from it.
    let mut b = bench("one");
    let own =
        tandem_sip::edge::Trunk { networks: vec![("198.51.100.0".parse().unwrap(), 24)], ..trunk(b.flow) };
    b.edge.set_trunks(vec![own]);
    b.hear(contact("198.51.100.1:5070"));
    let heard = b.commit(1);
    assert_eq!(b.foreign, []);
    b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Answer(media()), None);
    let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
    b.codes();
    b.flow = udp("198.51.100.1:5070");
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("BYE", 2, &to, ""));
    assert!(matches!(b.commit(3).signals.as_slice(), [Signal::End(_)]));
    b.codes();
    b.hear(request("INVITE", 1, TO, SDP).replace("c1", "c2"));
    assert_eq!(b.codes(), ["403"]);
}
