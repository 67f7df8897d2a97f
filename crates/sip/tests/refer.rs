//! REFER and its subscription (RFC 3515, RFC 6665), and dialogs that take the place of others (RFC 3891), message by message.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;
use tandem_sip::message::Message;
use tandem_sip::signal::Replaces;

fn refer(cseq: u32, to: &str, headers: &str) -> String {
    request("REFER", cseq, to, "").replace("Contact:", &format!("{headers}\r\nContact:"))
}

/// A call that the phone made, with a REFER in it whose target is called.
fn referred(b: &mut Bench) -> (LegRef, String, Said) {
    let (heard, said, to) = answered(b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(refer(2, &to, "Refer-To: <sip:2050@pbx.example>"));
    assert!(b.codes().is_empty(), "it is answered once the route is known");
    let asked = b.commit(4);
    assert_eq!(said.dialog.as_ref().map(Vec::is_empty), Some(false));
    let target = "sip:2050@pbx.example".to_owned();
    assert_eq!(asked.signals, [Signal::Refer { target, replaces: None }]);
    let trying = Signal::Referred(ReferStatus::Trying);
    let said = b.say(state(heard.leg, 4, asked.dialog), 4, trying, None);
    (heard.leg, to, said)
}

fn status(message: &Message) -> (String, String) {
    let body = String::from_utf8_lossy(&message.body).trim().to_owned();
    (message.text("Subscription-State").unwrap_or_default().to_owned(), body)
}

/// R-CALL-25: 202, 100 at once, 180, 200; each NOTIFY is one transaction and repeated until it is answered.
#[test]
fn a_subscription_tells_how_the_transfer_goes() {
    let mut b = bench("one");
    let (leg, _, said) = referred(&mut b);
    let trying = b.sent.pop().unwrap();
    assert_eq!(status(&trying), ("active;expires=180".into(), "SIP/2.0 100 Trying".into()));
    assert_eq!(trying.text("Event"), Some("refer"));
    assert_eq!(trying.text("Content-Type"), Some("message/sipfrag;version=2.0"));
    assert_eq!(b.codes(), ["202"]);
    b.wait(1_600);
    assert_eq!(b.codes(), ["NOTIFY", "NOTIFY"], "after T1 and 2·T1 (RFC 3261 §17.1.2)");
    b.hear(answer(&trying, 200, ""));
    b.wait(4_000);
    assert!(b.codes().is_empty());
    let ringing = Signal::Referred(ReferStatus::Ringing);
    let said = b.say(state(leg, 5, said.dialog.unwrap()), 5, ringing, None);
    let notify = b.sent.pop().unwrap();
    assert_eq!(status(&notify), ("active;expires=180".into(), "SIP/2.0 180 Ringing".into()));
    b.hear(answer(&notify, 200, ""));
    let accepted = Signal::Referred(ReferStatus::Accepted);
    let said = b.say(state(leg, 6, said.dialog.unwrap()), 6, accepted, None);
    let notify = b.sent.pop().unwrap();
    assert_eq!(status(&notify), ("terminated;reason=noresource".into(), "SIP/2.0 200 OK".into()));
    b.hear(answer(&notify, 200, ""));
    // Nothing is left to tell of.
    b.say(state(leg, 7, said.dialog.unwrap()), 7, Signal::Referred(ReferStatus::Ringing), None);
    assert!(b.sent.is_empty());
}

/// RFC 6665 §4.2.2, RFC 5057 §5.1: the subscription ends, and the call goes on.
#[test]
fn a_notify_that_is_refused_or_lost_ends_its_subscription_alone() {
    for code in [Some(481), Some(489), None] {
        let mut b = bench("one");
        let (leg, to, said) = referred(&mut b);
        let notify = b.sent.pop().unwrap();
        b.codes();
        match code {
            Some(code) => b.hear(answer(&notify, code, "")),
            None => b.wait(33_000),
        }
        b.codes();
        assert!(b.asks.is_empty(), "the call ends with {code:?}");
        b.say(state(leg, 5, said.dialog.unwrap()), 5, Signal::Referred(ReferStatus::Ringing), None);
        assert!(b.sent.is_empty(), "{code:?} has ended it");
        // The next one is another subscription.
        b.hear(refer(3, &to, "Refer-To: <sip:2051@pbx.example>"));
        assert!(matches!(b.commit(7).signals.as_slice(), [Signal::Refer { .. }]));
    }
}

#[test]
fn a_refer_that_meets_another_one_or_a_ringing_phone_is_refused() {
    let mut b = bench("one");
    let (_, to, _) = referred(&mut b);
    b.codes();
    b.hear(refer(3, &to, "Refer-To: <sip:2051@pbx.example>"));
    assert_eq!(b.codes(), ["491"]);
    assert!(b.asks.is_empty());
    // The phone that we call has not answered.
    let mut b = bench("one");
    let (_, _) = called(&mut b);
    let invite = b.sent.pop().unwrap();
    b.hear(answer(&invite, 180, ""));
    b.commit(2);
    let own = invite.from().unwrap().to_string();
    let early = refer(1, &own, "Refer-To: <sip:2051@pbx.example>").replace("Call-ID: c1", "Call-ID: x");
    let early = early.replace("Call-ID: x", &format!("Call-ID: {}", invite.call_id().unwrap()));
    b.hear(early.replace("<sip:2041@pbx.example>;tag=a", "<sip:2041@pbx.example>;tag=b"));
    assert_eq!(b.codes(), ["491"]);
}

/// A target that may not be called gets no subscription: the REFER itself is refused.
#[test]
fn a_refer_is_refused_as_the_call_says() {
    for (reason, code) in
        [(Reason::Forbidden, "403"), (Reason::NotFound, "404"), (Reason::Glare, "491"), (Reason::Loop, "482")]
    {
        let mut b = bench("one");
        let (heard, _, to) = answered(&mut b);
        b.hear(request("ACK", 1, &to, ""));
        b.hear(refer(2, &to, "Refer-To: <sip:2050@pbx.example>"));
        let asked = b.commit(4);
        let failed = Signal::Referred(ReferStatus::Failed(reason.into()));
        b.say(state(heard.leg, 4, asked.dialog), 4, failed, None);
        assert_eq!(b.codes(), [code]);
    }
}

/// The edge that took the REFER has died: a retransmission is answered as it was, by the record.
#[test]
fn a_refer_that_comes_again_elsewhere_is_answered_again() {
    let mut b = bench("one");
    let (leg, to, said) = referred(&mut b);
    let mut other = bench("two");
    other.hear(refer(2, &to, "Refer-To: <sip:2050@pbx.example>"));
    let (ticket, ask) = other.asks.remove(0);
    assert_eq!(ask, Ask::Recall(leg));
    other.verdict(ticket, Verdict::Leg(state(leg, 5, said.dialog.unwrap())));
    assert_eq!((other.codes(), other.asks.len()), (vec!["202".to_owned()], 0));
}

/// Two calls of this gateway are two records: neither is told of the other's party.
#[test]
fn a_refer_that_replaces_a_call_of_ours_is_refused() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let tag = to.rsplit_once(";tag=").unwrap().1;
    let target = format!("Refer-To: <sip:2701@gw.example?Replaces=c2%3Bto-tag%3D{tag}%3Bfrom-tag%3Dx>");
    b.hear(refer(2, &to, &target));
    assert_eq!((b.codes(), b.asks.len()), (vec!["501".to_owned()], 0));
}

fn taking(number: u32, replaces: &str) -> String {
    let invite = request("INVITE", 1, TO, SDP).replace("Call-ID: c1", &format!("Call-ID: k{number}"));
    let invite = invite.replace("z9hG4bKINVITE1", &format!("z9hG4bKtaking{number}"));
    invite.replace(";tag=a", ";tag=karl").replace("Contact:", &format!("{replaces}\r\nContact:"))
}

/// R-CALL-26: exactly one Replaces; the call decides, and refuses while something else is open.
#[test]
fn an_invite_with_replaces_names_one_dialog_that_is_free() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let tag = to.rsplit_once(";tag=").unwrap().1.to_owned();
    let own = format!("Replaces: c1;to-tag={tag};from-tag=a");
    b.hear(taking(1, &format!("{own}\r\n{own}")));
    b.hear(taking(2, "Replaces: c1;to-tag=x;to-tag=y;from-tag=a"));
    b.hear(taking(3, &own.replace("c1;", "c2;")));
    assert_eq!((b.codes(), b.asks.len()), (["400", "400", "481"].map(str::to_owned).to_vec(), 0));
    // An offer of ours is open.
    let said = b.say(state(heard.leg, 3, said.dialog.unwrap()), 4, Signal::Update(media()), None);
    let reinvite = b.sent.pop().unwrap();
    b.hear(taking(4, &own));
    assert_eq!(b.codes(), ["491"]);
    b.hear(answer(&reinvite, 200, SDP));
    b.commit(5);
    b.codes();
    drop(said);
    b.hear(taking(5, &own));
    assert_eq!(b.codes(), ["100"]);
    let asked = b.commit(6);
    assert!(matches!(asked.signals.as_slice(), [Signal::Update(_)]), "{asked:?}");
    // Nobody else while it waits.
    b.hear(taking(6, &own));
    assert_eq!(b.codes(), ["491"]);
    // Another edge says the answer, and hangs up on the first phone.
    let mut other = bench("two");
    let said = other.say(state(heard.leg, 6, asked.dialog), 6, Signal::Updated(media()), None);
    let (accepted, bye) = (other.sent.remove(0), other.sent.remove(0));
    assert_eq!((accepted.code(), accepted.call_id()), (Some(200), Some("k5")));
    assert_eq!((bye.method().as_deref(), bye.call_id()), (Some("BYE"), Some("c1")));
    assert_ne!(accepted.to().unwrap().tag(), Some(tag.as_str()), "each dialog has a tag of its own");
    // What comes to that BYE is nothing to the call.
    other.hear(answer(&bye, 481, ""));
    assert!(other.asks.is_empty());
    let own = accepted.to().unwrap().to_string();
    let hang_up =
        request("BYE", 2, &own, "").replace("Call-ID: c1", "Call-ID: k5").replace("=a\r\n", "=karl\r\n");
    other.hear(hang_up);
    let (_, heard) = other.heard();
    assert!(matches!(heard.signals.as_slice(), [Signal::End(_)]));
    assert_eq!(heard.base, said.base + 1);
}

/// An INVITE without an offer takes a place, too: its answer comes with the ACK.
#[test]
fn an_invite_with_replaces_may_ask_for_our_offer() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let tag = to.rsplit_once(";tag=").unwrap().1.to_owned();
    let invite = taking(1, &format!("Replaces: c1;to-tag={tag};from-tag=a"));
    let (head, _) = invite.split_once("Content-Type").unwrap();
    b.hear(format!("{head}Content-Length: 0\r\n\r\n"));
    assert!(b.codes().is_empty());
    let asked = b.commit(4);
    assert!(asked.signals.is_empty());
    let accepted = b.sent.remove(0);
    assert!(accepted.code() == Some(200) && !accepted.body.is_empty());
    assert_eq!(b.codes(), ["BYE"]);
    let own = accepted.to().unwrap().to_string();
    let ack =
        request("ACK", 1, &own, SDP).replace("Call-ID: c1", "Call-ID: k1").replace("=a\r\n", "=karl\r\n");
    b.hear(ack);
    assert!(matches!(b.commit(5).signals.as_slice(), [Signal::Update(_)]));
}

#[test]
fn replaces_is_read_as_rfc_3891_writes_it() {
    let parsed = |text: &str| Replaces::parse(text).map(|r| (r.call_id, r.to_tag, r.from_tag, r.early_only));
    let some = |early| Some(("a@b".to_owned(), "1".to_owned(), "2".to_owned(), early));
    for (text, want) in [
        ("a@b;to-tag=1;from-tag=2", some(false)),
        ("a@b; from-tag=2 ;to-tag=1;early-only", some(true)),
        ("a@b;TO-TAG=1;From-Tag=2;x=y", some(false)),
        ("a@b;to-tag=1", None),
        ("a@b;to-tag=1;from-tag=", None),
        ("a@b;to-tag=1;to-tag=3;from-tag=2", None),
        (";to-tag=1;from-tag=2", None),
        ("", None),
    ] {
        assert_eq!(parsed(text), want, "{text}");
    }
}
