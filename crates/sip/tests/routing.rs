//! Where messages go: answers by Via, requests by route, Contact, or where the peer spoke from last.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;
use tandem_sip::edge::{ConnectionId, Flow, Target, Transport};

fn from(b: &mut Bench, peer: &str) {
    b.flow.peer = peer.parse().unwrap();
}

/// RFC 3261 §18.2.2, RFC 3581 §4.
#[test]
fn answers_go_to_the_source_port_only_where_rport_asks_for_it() {
    for (via, to) in [
        ("192.0.2.9", "udp://192.0.2.9:5060"),
        ("192.0.2.9:5080", "udp://192.0.2.9:5080"),
        ("pbx.example:5090", "udp://192.0.2.9:5090"),
        ("198.51.100.7:5060", "udp://192.0.2.9:5060"),
        ("192.0.2.9;rport", "udp://192.0.2.9:40000"),
        ("192.0.2.9:5080;rport", "udp://192.0.2.9:40000"),
    ] {
        for method in ["OPTIONS", "INVITE", "X"] {
            let mut b = bench("one");
            from(&mut b, "192.0.2.9:40000");
            b.hear(request(method, 1, TO, "").replace("UDP 192.0.2.9;", &format!("UDP {via};")));
            assert_eq!(b.way(), to, "{method} {via}");
        }
    }
    let mut b = bench("one");
    from(&mut b, "192.0.2.9:40000");
    b.hear(request("OPTIONS", 1, TO, "").replace("Max-Forwards", "no colon"));
    assert_eq!((b.way(), b.codes()), ("udp://192.0.2.9:5060".into(), vec!["400".into()]));
    b.flow.transport = Transport::Tcp;
    b.hear(request("OPTIONS", 2, TO, ""));
    assert_eq!(b.way(), "tcp://192.0.2.9:40000", "a connection takes its answers");
}

/// The way of our BYE in a call whose INVITE was changed by `change` and came from `source`.
fn bye_after(source: &str, change: impl Fn(String) -> String) -> (String, String, Vec<String>) {
    let mut b = bench("one");
    from(&mut b, source);
    b.hear(change(request("INVITE", 1, TO, SDP)));
    let heard = b.commit(1);
    let said = b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Answer(media()), None);
    let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
    b.hear(request("ACK", 1, &to, ""));
    b.sent.clear();
    b.say(state(heard.leg, 2, said.dialog.unwrap()), 3, Signal::End(Reason::Normal.into()), None);
    let bye = b.sent.remove(0);
    let text = String::from_utf8_lossy(&bye.write()).into_owned();
    let uri = text.split(' ').nth(1).unwrap().to_owned();
    let routes = bye.list("Route").into_iter().map(str::to_owned).collect();
    assert!(text.contains(&format!("Via: SIP/2.0/{}", b.way()[..3].to_uppercase())), "{text}");
    (b.way(), uri, routes)
}

/// RFC 3261 §12.2.1.1
#[test]
fn requests_follow_route_set_and_target_within_the_trunk() {
    let contact = |uri: &'static str| move |text: String| text.replace("sip:2041@192.0.2.9>", uri);
    let routed = |route: &'static str| {
        move |text: String| text.replace("Contact:", &format!("Record-Route: {route}\r\nContact:"))
    };
    let way = |change: &dyn Fn(String) -> String| bye_after("192.0.2.9:5060", change).0;
    assert_eq!(way(&contact("sip:2041@192.0.2.9:5071>")), "udp://192.0.2.9:5071");
    assert_eq!(way(&contact("sip:2041@192.0.2.44>")), "udp://192.0.2.44:5060", "another host of the trunk");
    assert_eq!(way(&contact("sip:2041@192.0.2.9:5071;transport=tcp>")), "tcp://192.0.2.9:5071");
    for elsewhere in
        ["sip:2041@10.0.0.4>", "sip:2041@198.51.100.1>", "sip:2041@pbx.example>", "sips:2041@192.0.2.44>"]
    {
        assert_eq!(way(&contact(elsewhere)), "udp://192.0.2.9:5060", "{elsewhere}");
    }
    assert_eq!(way(&routed("<sip:192.0.2.30:5080;lr>")), "udp://192.0.2.30:5080");
    assert_eq!(way(&routed("<sip:proxy.example;lr>")), "udp://192.0.2.9:5060", "names are not looked up");
    assert_eq!(bye_after("192.0.2.9:40000", |text| text).0, "udp://192.0.2.9:5060", "no rport: a dead port");

    // A strict router of RFC 2543: the Request-URI is its own, the target comes last.
    let (way, uri, routes) =
        bye_after("192.0.2.9:5060", routed("<sip:192.0.2.30:5080>, <sip:192.0.2.31;lr>"));
    assert_eq!((way.as_str(), uri.as_str()), ("udp://192.0.2.30:5080", "sip:192.0.2.30:5080"));
    assert_eq!(routes, ["<sip:192.0.2.31;lr>", "<sip:2041@192.0.2.9>"]);
}

#[test]
fn requests_follow_a_peer_that_has_moved() {
    let behind_nat = |text: String| text.replace("sip:2041@192.0.2.9>", "sip:2041@10.0.0.4>");
    let rport = |text: String| behind_nat(text).replace("UDP 192.0.2.9;", "UDP 10.0.0.4;rport;");
    let mut b = bench("one");
    from(&mut b, "192.0.2.9:40000");
    b.hear(rport(request("INVITE", 1, TO, SDP)));
    let heard = b.commit(1);
    let said = b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Answer(media()), None);
    let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
    b.hear(rport(request("ACK", 1, &to, "")));
    // Its NAT gives it another port.
    from(&mut b, "192.0.2.9:41000");
    b.hear(rport(request("OPTIONS", 2, &to, "")));
    b.say(state(heard.leg, 2, said.dialog.unwrap()), 3, Signal::End(Reason::Normal.into()), None);
    assert_eq!(b.sent.last().unwrap().method().as_deref(), Some("BYE"));
    assert_eq!(b.way(), "udp://192.0.2.9:41000");
}

/// §12.2.1.2: the answer to our re-INVITE may name another Contact.
#[test]
fn an_answer_to_a_change_refreshes_the_target() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let said = b.say(state(heard.leg, 3, said.dialog.unwrap()), 4, Signal::Update(media()), None);
    assert!(said.failed.is_none());
    let invite = b.sent.pop().unwrap();
    b.hear(answer(&invite, 200, SDP).replace("sip:2041@192.0.2.9>", "sip:2041@192.0.2.12:5062>"));
    let heard = b.commit(5);
    assert_eq!((b.way(), b.codes().pop()), ("udp://192.0.2.12:5062".into(), Some("ACK".into())));
    b.say(state(heard.leg, 5, heard.dialog), 6, Signal::End(Reason::Normal.into()), None);
    assert_eq!(b.way(), "udp://192.0.2.12:5062");
}

/// Interworking §12.6, rule 2: the relay learns where the media of a phone behind NAT may come from.
#[test]
fn media_behind_nat_is_known_by_where_its_signalling_comes_from() {
    let source = |signals: &[Signal]| match signals {
        [Signal::Offer(media) | Signal::Answer(media) | Signal::Update(media)] => {
            media.contents[0].transport.source.map(|ip| ip.to_string())
        }
        other => panic!("{other:?}"),
    };
    let hidden = SDP.replace("IN IP4 192.0.2.9", "IN IP4 10.0.0.4");
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, &hidden));
    assert_eq!(source(&b.commit(1).signals).as_deref(), Some("192.0.2.9"));
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("INVITE", 2, &to, SDP));
    assert_eq!(source(&b.commit(4).signals), None, "it names its own address");
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 200, &hidden));
    assert_eq!(source(&b.commit(2).signals).as_deref(), Some("192.0.2.9"));
}

/// A flow in the record names transport, peer, and by which socket or connection it came; other instances read it too.
#[test]
fn flows_are_read_as_they_are_written() {
    for text in [
        "udp://192.0.2.9:5060",
        "udp://192.0.2.9:5060#2",
        "tcp://[2001:db8::9]:5060",
        "tcp://192.0.2.9:40000#1f00000001",
        "wss://192.0.2.9:40000#a",
    ] {
        assert_eq!(Flow::parse(text).map(|flow| flow.to_string()).as_deref(), Some(text));
    }
    for text in [
        "",
        "udp://",
        "sctp://192.0.2.9:5060",
        "udp://192.0.2.9",
        "udp://192.0.2.9:5060#900",
        "tcp://192.0.2.9:1#x",
    ] {
        assert_eq!(Flow::parse(text), None, "{text}");
    }
}

/// Nobody connects to a phone behind NAT: our requests leave by the connection that its last request came by, its answers too.
#[test]
fn a_connection_that_a_phone_opened_is_used_both_ways() {
    let mut b = bench("one");
    b.flow = Flow { connection: Some(ConnectionId(7)), ..Flow::tcp("192.0.2.9:40000".parse().unwrap()) };
    let hidden =
        request("INVITE", 1, TO, SDP).replace("sip:2041@192.0.2.9>", "sip:2041@10.0.0.4;transport=tcp>");
    b.hear(hidden);
    assert_eq!(b.way(), "tcp://192.0.2.9:40000#7");
    let heard = b.commit(1);
    let said = b.say(state(heard.leg, 1, heard.dialog), 2, Signal::Answer(media()), None);
    let to = b.sent.last().unwrap().text("To").unwrap().to_owned();
    b.hear(request("ACK", 1, &to, ""));
    // It connects again; the record says so to whichever edge speaks next.
    b.flow = Flow { connection: Some(ConnectionId(8)), ..Flow::tcp("192.0.2.9:41000".parse().unwrap()) };
    let info = request("INFO", 2, &to, "Signal=5\r\n").replace("application/sdp", "application/dtmf-relay");
    b.hear(info);
    let digit = b.commit(3);
    drop(said);
    let mut other = bench("two");
    other.say(state(heard.leg, 3, digit.dialog), 4, Signal::End(Reason::Normal.into()), None);
    assert_eq!(other.way(), "tcp://192.0.2.9:41000#8");
    assert_eq!(other.sent[0].via().unwrap().transport, "TCP");
}

/// A trunk is a group: calls go to its first target, and every target is its own.
#[test]
fn every_target_of_a_trunk_is_of_the_trunk() {
    let mut b = bench("one");
    let second = Flow::udp("198.51.100.9:5062".parse().unwrap());
    let mut group = trunk(b.flow);
    group.targets.push(Target { priority: 1, ..Target::new("b.pbx.example", vec![second]) });
    b.edge.set_trunks(vec![group]);
    called(&mut b);
    let invite = b.sent.remove(0);
    assert_eq!(b.way(), "udp://192.0.2.9:5060");
    b.flow = second;
    b.hear(answer(&invite, 200, SDP).replace("sip:2041@192.0.2.9>", "sip:2041@198.51.100.9:5062>"));
    assert!(matches!(b.commit(2).signals.as_slice(), [Signal::Answer(_)]));
    assert_eq!((b.way(), b.codes()), ("udp://198.51.100.9:5062".into(), vec!["ACK".into()]));
}

/// A flood of them fills no table, whatever its source, and calls beside it are served.
#[test]
fn f5_options_and_refusals_hold_no_state() {
    let mut b = bench("one");
    let own = b.flow;
    for number in 0..20_000 {
        b.flow = if number % 2 == 0 { own } else { Flow::udp("203.0.113.66:5060".parse().unwrap()) };
        let method = if number % 4 < 2 { "OPTIONS" } else { "X" };
        b.hear(request(method, number + 1, TO, ""));
        let code = match (number % 2, method) {
            (1, _) => "403",
            (_, "OPTIONS") => "200",
            _ => "501",
        };
        assert_eq!(b.codes(), [code], "{number}");
    }
    // So does the INVITE of a stranger.
    b.flow = Flow::udp("203.0.113.66:5060".parse().unwrap());
    b.hear(request("INVITE", 1, TO, SDP));
    b.flow = own;
    assert_eq!(b.codes(), ["403"]);
    assert_eq!((b.edge.legs(), b.edge.transactions(), b.edge.deadline()), (0, 0, None));
    assert!(b.asks.is_empty());
    b.hear(request("INVITE", 3, TO, SDP));
    assert_eq!(b.codes(), ["100"]);
}
