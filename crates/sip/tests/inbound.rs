//! Credentials of the calls that come in (RFC 3261 §22, RFC 8760).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use tandem_sip::digest::{Credentials, challenges};
use tandem_sip::edge::{Flow, Trunk};
use tandem_sip::message::Message;

const NOWHERE: &str = "198.51.100.7:5060";
const URI: &str = "sip:2700@192.0.2.1";

fn who(password: &str) -> Credentials {
    Credentials { username: "pbx".into(), password: password.into() }
}

/// An edge whose trunk must show credentials; `sources`: and call from its addresses.
fn guarded(name: &str, sources: bool) -> Bench {
    let mut b = bench(name);
    let known = trunk(b.flow);
    let sources = if sources { known.sources.clone() } else { vec![] };
    b.edge.set_trunks(vec![Trunk { inbound: Some(who("a long password")), sources, ..known }]);
    b
}

fn from(b: &mut Bench, peer: &str) {
    b.flow = Flow::udp(peer.parse().unwrap());
}

fn challenge(b: &mut Bench) -> Message {
    b.hear(request("INVITE", 1, TO, SDP));
    let response = b.sent.pop().unwrap();
    assert_eq!(response.code(), Some(401));
    response
}

/// The same INVITE with credentials for one of these challenges.
fn shown(response: &Message, place: usize, password: &str) -> String {
    let only = response.all("WWW-Authenticate").nth(place).unwrap().to_vec();
    let one = Message::request("X", "sip:x").with("WWW-Authenticate", String::from_utf8(only).unwrap());
    let answer = challenges(&one).remove(0).answer(&who(password), "INVITE", URI, "c0ffee", 1);
    let again = request("INVITE", 2, TO, SDP);
    again.replace("Max-Forwards: 70\r\n", &format!("Max-Forwards: 70\r\nAuthorization: {answer}\r\n"))
}

#[test]
fn f8_a_trunk_without_sources_calls_from_anywhere_with_its_password() {
    for place in 0..3 {
        let mut b = guarded("one", false);
        from(&mut b, NOWHERE);
        let response = challenge(&mut b);
        assert_eq!(b.edge.transactions(), 0, "a challenge holds nothing");
        // Another instance of the cluster knows the nonce as well.
        let mut b = guarded("two", false);
        from(&mut b, NOWHERE);
        b.hear(shown(&response, place, "a long password"));
        assert_eq!(b.codes(), ["100"], "{place}");
        let heard = b.commit(1);
        assert_eq!(heard.opening.unwrap().link, "pbx");
    }
}

#[test]
fn f8_a_wrong_password_opens_nothing_and_is_told() {
    let mut b = guarded("one", false);
    from(&mut b, NOWHERE);
    let response = challenge(&mut b);
    assert!(b.refusals.is_empty(), "a challenge is no refusal");
    b.hear(shown(&response, 1, "a wrong password"));
    assert_eq!(b.codes(), ["403"]);
    assert_eq!(b.refusals.pop().unwrap().cause, "Wrong Credentials");
    b.hear(shown(&response, 1, "a long password").replace("username=\"pbx\"", "username=\"otto\""));
    assert_eq!(b.codes(), ["403"]);
    assert!(b.asks.is_empty());
}

#[test]
fn f8_a_source_may_have_to_show_credentials_too() {
    let mut b = guarded("one", true);
    let response = challenge(&mut b);
    // The right credentials from another address.
    let own = b.flow;
    from(&mut b, NOWHERE);
    b.hear(shown(&response, 1, "a long password"));
    assert_eq!(b.codes(), ["403"]);
    b.flow = own;
    b.hear(shown(&response, 1, "a long password"));
    assert_eq!(b.codes(), ["100"]);
}

#[test]
fn f8_overheard_credentials_open_no_other_call_and_no_later_one() {
    let mut b = guarded("one", false);
    from(&mut b, NOWHERE);
    let overheard = shown(&challenge(&mut b), 1, "a long password");
    b.hear(overheard.replace("Call-ID: c1", "Call-ID: other"));
    let again = b.sent.pop().unwrap();
    assert_eq!(again.code(), Some(401));
    assert!(again.text("WWW-Authenticate").unwrap().contains("stale=true"));
    b.hear(overheard.replace("INVITE sip:2700@", "INVITE sip:0190@"));
    assert_eq!(b.codes(), ["403"]);
    b.wait(61_000);
    b.hear(overheard);
    assert_eq!(b.codes(), ["401"]);
    assert!(b.asks.is_empty());
}
