//! No orchestrator or no store for a while: a request that can be tried again is refused, anything else reaches the record in the end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;

/// Nobody hangs up twice.
#[test]
fn c11_a_bye_is_answered_and_ends_the_call_in_the_end() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("BYE", 2, &to, ""));
    for _ in 0..3 {
        let (ticket, heard) = b.heard();
        assert!(matches!(heard.signals.as_slice(), [Signal::End(_)]));
        b.verdict(ticket, Verdict::Unavailable);
        b.wait(8_000);
    }
    assert_eq!(b.codes(), ["200"]);
    assert_eq!(b.edge.open(), 1, "a drain waits for it");
    b.commit(4);
    assert!(b.codes().is_empty());
    b.wait(40_000);
    assert_eq!((b.edge.legs(), b.edge.deadline()), (0, None));
    // An edge that must recall the leg first does the same.
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    let mut other = bench("two");
    other.hear(request("BYE", 2, &to, ""));
    let (ticket, _) = other.asks.remove(0);
    other.verdict(ticket, Verdict::Unavailable);
    assert_eq!(other.codes(), ["200"]);
    other.wait(500);
    let (ticket, ask) = other.asks.remove(0);
    assert_eq!(ask, Ask::Recall(heard.leg));
    other.verdict(ticket, Verdict::Leg(state(heard.leg, 3, said.dialog.unwrap())));
    assert!(matches!(other.commit(4).signals.as_slice(), [Signal::End(_)]));
    assert!(other.codes().is_empty());
}

/// To the phone the INVITE is over; a final response that its transaction has acknowledged does not come again.
#[test]
fn a_failure_of_our_invite_reaches_the_call_in_the_end() {
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 486, ""));
    assert_eq!(b.codes(), ["ACK"]);
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Unavailable);
    b.wait(1_000);
    let heard = b.commit(2);
    assert!(matches!(heard.signals.as_slice(), [Signal::End(end)] if end.reason == Reason::Busy));
    assert!(b.codes().is_empty());
}

#[test]
fn a_caller_who_gives_up_is_heard_in_the_end() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    b.commit(1);
    b.codes();
    b.hear(request("CANCEL", 1, TO, ""));
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Unavailable);
    assert_eq!(b.codes(), ["200"]);
    b.wait(1_000);
    let heard = b.commit(2);
    assert!(matches!(heard.signals.as_slice(), [Signal::End(end)] if end.reason == Reason::Cancelled));
    assert_eq!(b.codes(), ["487"]);
}

/// A verdict that is lost on its way holds nothing up.
#[test]
fn a_verdict_that_never_comes_is_none() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let digit = request("INFO", 2, &to, "Signal=5\r\n").replace("application/sdp", "application/dtmf-relay");
    b.hear(digit);
    let (ticket, _) = b.heard();
    b.wait(VERDICT_MS + 2_999);
    assert!(b.codes().is_empty());
    b.wait(1);
    assert_eq!(b.codes(), ["503"]);
    b.verdict(ticket, Verdict::Committed { revision: 4, trace: String::new() });
    assert!(b.codes().is_empty(), "too late");
    b.hear(request("BYE", 3, &to, ""));
    assert_eq!(b.commit(4).base, 3);
    assert_eq!(b.codes(), ["200"]);
}

/// Nothing is kept of a leg that could not be recalled.
#[test]
fn a_recall_that_fails_leaves_nothing() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    let mut other = bench("two");
    other.hear(request("INFO", 2, &to, ""));
    let (ticket, _) = other.asks.remove(0);
    other.verdict(ticket, Verdict::Unavailable);
    assert_eq!((other.codes(), other.edge.legs()), (vec!["503".to_owned()], 0));
}
