//! Trunks, limits and secrets that change while calls go on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;
use tandem_sip::digest::Credentials;
use tandem_sip::edge::{Flow, Limits, Transport, Trunk, TrunkId};

fn other() -> Trunk {
    let flow = Flow::udp("198.51.100.5:5060".parse().unwrap());
    Trunk { name: "carrier".into(), sources: vec![(flow.peer.ip(), 32)], ..trunk(flow) }
}

fn invite(call: &str) -> String {
    let text = request("INVITE", 1, TO, SDP).replace("Call-ID: c1", &format!("Call-ID: {call}"));
    text.replace("z9hG4bKINVITE1", &format!("z9hG4bK{call}"))
}

#[test]
fn a14_a_trunk_that_is_gone_serves_its_calls_and_takes_no_other() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(invite("early"));
    assert_eq!(b.codes(), ["100"]);
    let early = b.commit(1);
    b.edge.set_trunks(vec![other()]);

    // No call in, none out.
    b.hear(invite("late"));
    assert_eq!(b.codes(), ["403"]);
    let (_, refused) = called(&mut b);
    assert!(refused.failed.is_some(), "{refused:?}");
    b.hear(request("OPTIONS", 9, TO, ""));
    assert_eq!(b.codes(), ["403"]);
    // What belongs to its calls is heard, from its addresses alone.
    let cancel = request("CANCEL", 1, TO, "").replace("Call-ID: c1", "Call-ID: early");
    b.hear(cancel.replace("z9hG4bKINVITE1", "z9hG4bKearly"));
    assert_eq!((b.asks.len(), b.codes()), (1, vec!["200".to_owned()]));
    let cancelled = b.commit(2);
    assert!(matches!(cancelled.signals[..], [Signal::End(_)]) && cancelled.leg == early.leg);
    b.codes();
    let own = b.flow;
    b.flow = Flow::udp("203.0.113.66:5060".parse().unwrap());
    b.hear(request("BYE", 2, &to, ""));
    assert_eq!(b.codes(), ["481"]);
    // Ours go where they went.
    let state = state(heard.leg, 3, said.dialog.unwrap());
    b.say(state, 4, Signal::Update(media()), None);
    assert_eq!((b.codes(), b.way()), (vec!["INVITE".to_owned()], "udp://192.0.2.9:5060".to_owned()));
    b.flow = own;
    b.hear(request("BYE", 2, &to, ""));
    let ended = b.commit(4);
    assert!(matches!(ended.signals[..], [Signal::End(_)]) && ended.leg == heard.leg);

    // It is back.
    b.edge.set_trunks(vec![trunk(own), other()]);
    b.codes();
    b.hear(invite("again"));
    assert_eq!(b.codes(), ["100"]);
}

#[test]
fn a14_a_trunk_may_get_the_addresses_of_one_that_is_gone() {
    let mut b = bench("one");
    b.edge.set_trunks(vec![Trunk { name: "successor".into(), ..trunk(b.flow) }]);
    b.hear(invite("late"));
    assert_eq!(b.codes(), ["100"]);
    assert_eq!(b.heard().1.opening.unwrap().link, "successor");
}

/// Places move as trunks come and go; a connection belongs to the trunk whose certificate its peer has shown.
#[test]
fn a14_a_certificate_is_of_its_trunk_wherever_that_stands() {
    let (peer, mut b) = ("198.51.100.9:40000".parse().unwrap(), bench("one"));
    let by = |name: &str| Flow { trunk: Some(TrunkId::of(name)), ..Flow::new(Transport::Tls, peer) };
    let secure =
        |name: &str| Trunk { name: name.into(), certified: true, sources: vec![], ..trunk(by(name)) };
    for (call, names) in [("c2", &["first", "second"][..]), ("c3", &["second", "third", "first"])] {
        b.edge.set_trunks(names.iter().map(|name| secure(name)).collect());
        b.flow = by("second");
        b.hear(invite(call).replace("SIP/2.0/UDP", "SIP/2.0/TLS"));
        assert_eq!(b.heard().1.opening.unwrap().link, "second", "{call}");
        b.codes();
    }
    b.edge.set_trunks(vec![secure("first")]);
    b.hear(invite("c4").replace("SIP/2.0/UDP", "SIP/2.0/TLS"));
    assert_eq!(b.codes(), ["403"]);
    assert_eq!(Flow::parse(&by("second").to_string()), Some(by("second")));
}

#[test]
fn a14_calls_are_counted_on_as_trunks_and_limits_change() {
    let mut b = bench("one");
    let limit = |calls| vec![("pbx".into(), Limits { calls: Some(calls), ..Limits::default() })];
    b.edge.set_limits(limit(2));
    b.hear(invite("c1"));
    b.hear(invite("c2"));
    b.edge.set_trunks(vec![Trunk { inbound: None, roaming: true, ..trunk(b.flow) }, other()]);
    b.edge.set_limits(limit(2));
    b.hear(invite("c3"));
    assert_eq!((b.asks.len(), b.sent.last().unwrap().code()), (2, Some(480)));
    b.edge.set_limits(limit(3));
    b.hear(invite("c4"));
    assert_eq!((b.asks.len(), b.sent.last().unwrap().code()), (3, Some(100)));
    b.edge.set_max_legs(3);
    b.edge.set_limits(vec![]);
    b.hear(invite("c5"));
    assert_eq!((b.asks.len(), b.sent.last().unwrap().code()), (3, Some(503)));
}

/// A challenge is answered with the password that counts by then.
#[test]
fn a14_a_password_counts_from_the_next_challenge_on() {
    let response = |first: &str, second: &str| {
        let mut b = bench("one");
        let with = |b: &mut Bench, password: &str| {
            let credentials = Some(Credentials { username: "2000".into(), password: password.into() });
            b.edge.set_trunks(vec![Trunk { credentials, ..trunk(b.flow) }]);
        };
        with(&mut b, first);
        called(&mut b);
        let invite = b.sent.remove(0);
        with(&mut b, second);
        let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\"\r\nContent-Length";
        b.hear(answer(&invite, 401, "").replace("Content-Length", challenge));
        b.commit(2);
        b.sent.pop().unwrap().text("Authorization").unwrap().to_owned()
    };
    let right = response("second", "second");
    assert_eq!(response("first", "second"), right);
    assert_ne!(response("second", "first"), right);
    assert!(!right.contains("second"));
}
