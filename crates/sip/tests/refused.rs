//! Failures of requests of ours within a call (RFC 3261 §12.2.1.2), and requests by method.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;
use tandem_sip::message::Message;
use tandem_sip::validate::ALLOW;

const DIGIT: Signal = Signal::Tone(Tone { digit: '5', duration: 100 });

/// A call that the phone made and that is up, and a request of ours in it.
fn asked(b: &mut Bench, signal: Signal) -> (LegRef, String, Message) {
    let (heard, said, to) = answered(b);
    b.hear(request("ACK", 1, &to, ""));
    b.say(state(heard.leg, 3, said.dialog.unwrap()), 4, signal, None);
    (heard.leg, to, b.sent.pop().unwrap())
}

fn ended(heard: &Heard) -> Option<Reason> {
    match heard.signals.as_slice() {
        [Signal::End(end)] => Some(end.reason),
        _ => None,
    }
}

/// A peer that knows the dialog no more, or that nobody reaches any more, has no call: it ends, and BYE says so in case of doubt.
#[test]
fn c6_a_dialog_that_is_gone_ends_the_call() {
    for (code, reason) in [(481, Reason::General), (408, Reason::Timeout)] {
        for signal in [DIGIT, Signal::Update(media())] {
            let mut b = bench("one");
            let (_, _, ours) = asked(&mut b, signal);
            b.codes();
            b.hear(answer(&ours, code, ""));
            assert_eq!(ended(&b.commit(5)), Some(reason), "{code} {ours:?}");
            let bye = b.sent.pop().unwrap();
            assert_eq!(bye.method().as_deref(), Some("BYE"));
            assert!(bye.cseq().unwrap().number > ours.cseq().unwrap().number);
            // What comes to that BYE means nothing any more.
            b.hear(answer(&bye, code, ""));
            assert!(b.asks.is_empty());
            b.wait(60_000);
            assert_eq!((b.edge.legs(), b.edge.transactions()), (0, 0));
        }
    }
}

#[test]
fn a_request_that_nobody_answers_ends_the_call() {
    let mut b = bench("one");
    asked(&mut b, DIGIT);
    b.codes();
    b.wait(33_000);
    assert_eq!(ended(&b.commit(5)), Some(Reason::Timeout));
    assert_eq!(b.codes().last().map(String::as_str), Some("BYE"));
    b.wait(60_000);
    assert!(b.asks.is_empty(), "that BYE was not answered either");
    assert_eq!((b.edge.legs(), b.edge.transactions()), (0, 0));
}

/// Any other answer is that request's own affair.
#[test]
fn another_failure_leaves_the_call_as_it_is() {
    for code in [200, 302, 400, 403, 415, 486, 500, 503, 603] {
        let mut b = bench("one");
        let (_, to, ours) = asked(&mut b, DIGIT);
        b.hear(answer(&ours, code, ""));
        b.hear(request("INFO", 2, &to, ""));
        assert_eq!(b.codes().last().map(String::as_str), Some("200"), "{code}");
        b.hear(request("BYE", 3, &to, ""));
        assert_eq!(ended(&b.commit(5)), Some(Reason::Normal), "{code}");
    }
}

/// A trunk that cannot be reached for a moment loses a digit, not the call; the answer to a CANCEL names its transaction alone.
#[test]
fn what_could_not_be_sent_or_cancelled_ends_nothing() {
    let mut b = bench("one");
    let (leg, to, _) = asked(&mut b, DIGIT);
    b.edge.unreachable(b.flow, b.now);
    b.drain();
    assert!(b.asks.is_empty());
    b.say(state(leg, 4, vec![]), 6, Signal::Update(media()), None);
    let invite = b.sent.pop().unwrap();
    b.hear(answer(&invite, 180, ""));
    b.wait(33_000);
    assert_eq!(b.commit(6).signals, [Signal::Refused(Reason::Timeout)]);
    let cancel = b.sent.pop().unwrap();
    assert_eq!(cancel.method().as_deref(), Some("CANCEL"));
    b.hear(answer(&cancel, 481, ""));
    assert!(b.asks.is_empty());
    b.hear(request("BYE", 2, &to, ""));
    assert_eq!(ended(&b.commit(7)), Some(Reason::Normal));
}

/// R-SIP-13: whoever is no trunk gets one answer to every method, whatever its request looks like, and costs no state.
#[test]
fn strangers_get_403_whatever_the_method() {
    let mut b = bench("one");
    b.flow.peer = "203.0.113.66:5060".parse().unwrap();
    let mut methods = ALLOW.to_vec();
    methods.extend(["REGISTER", "SUBSCRIBE", "MESSAGE", "X"]);
    for method in methods {
        let plain = request(method, 1, TO, "");
        let tagged = request(method, 2, &format!("{TO};tag=theirs"), "");
        let wrong =
            plain.replace("Contact: <", "Contact: \"<").replace("Max-Forwards", "Require: x\r\nMax-Forwards");
        for text in [plain, tagged, wrong] {
            b.hear(text.clone());
            let answers: &[&str] = if method == "ACK" { &[] } else { &["403"] };
            assert_eq!(b.codes(), answers, "{text}");
        }
    }
    assert_eq!((b.edge.legs(), b.edge.transactions(), b.asks.len()), (0, 0, 0));
}

/// Each method that Allow names has its place; outside a dialog, those that need one are told so.
#[test]
fn every_method_of_allow_is_served() {
    for method in ALLOW {
        let mut b = bench("one");
        let body = if *method == "INVITE" { SDP } else { "" };
        b.hear(request(method, 1, TO, body));
        let codes = b.codes();
        let (answers, asks): (&[&str], usize) = match *method {
            "INVITE" => (&["100"], 1),
            "ACK" => (&[], 0),
            "CANCEL" => (&[], 1),
            "OPTIONS" => (&["200"], 0),
            "REFER" => (&["403"], 0),
            _ => (&["481"], 0),
        };
        assert_eq!(
            (codes.as_slice(), b.asks.len()),
            (answers.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>().as_slice(), asks),
            "{method}"
        );
    }
}

/// R-CODE-4: by default others are tried; a trunk that wants 6xx is told that nobody else is to be. A person reads why, in both.
#[test]
fn g10_a_declined_call_is_refused_as_its_trunk_wants_it() {
    let declined = || Signal::End(Reason::Declined.into());
    for (use_6xx, code, phrase) in [(false, 480, "Call Declined"), (true, 603, "Decline")] {
        let mut b = bench("one");
        let own = trunk(b.flow);
        b.edge.set_trunks(vec![tandem_sip::edge::Trunk { use_6xx, ..own }]);
        b.hear(request("INVITE", 1, TO, SDP));
        let heard = b.commit(1);
        b.codes();
        b.say(state(heard.leg, 1, heard.dialog.clone()), 2, declined(), None);
        let answer = b.sent.remove(0);
        assert!(answer.write().starts_with(format!("SIP/2.0 {code} {phrase}\r\n").as_bytes()), "{answer:?}");
        assert_eq!(answer.text("Reason"), Some("Q.850;cause=21"));
        assert_eq!(answer.text("Warning"), Some("399 tandem \"The call was declined\""));
        // Declined before it became a call, by the settings of its callee.
        let mut b = bench("one");
        let own = trunk(b.flow);
        b.edge.set_trunks(vec![tandem_sip::edge::Trunk { use_6xx, ..own }]);
        b.hear(request("INVITE", 1, TO, SDP));
        b.codes();
        let (ticket, _) = b.heard();
        b.verdict(ticket, Verdict::Refused(Reason::Declined.into()));
        assert_eq!(b.sent.remove(0).code(), Some(code));
        // What is no decline is never 6xx.
        let mut b = bench("one");
        let own = trunk(b.flow);
        b.edge.set_trunks(vec![tandem_sip::edge::Trunk { use_6xx, ..own }]);
        b.hear(request("INVITE", 1, TO, SDP));
        let heard = b.commit(1);
        b.codes();
        b.say(state(heard.leg, 1, heard.dialog.clone()), 2, Signal::End(Reason::Offline.into()), None);
        assert_eq!(b.codes(), ["480"]);
    }
}
