//! Requests that come again, by another way or to another edge, and silences in the middle of a change.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod bench;

use bench::*;
use signal::*;

/// A caller that tries again keeps Call-ID and From-tag (RFC 3261 §8.1.3.5): a new call, as soon as the old one is refused.
#[test]
fn an_invite_after_a_refusal_is_a_new_call() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    let (ticket, first) = b.heard();
    b.verdict(ticket, Verdict::Refused(Reason::Busy.into()));
    assert_eq!(b.codes(), ["100", "486"]);
    b.hear(request("INVITE", 2, TO, SDP));
    let second = b.commit(1);
    assert_eq!(b.codes(), ["100"]);
    assert_ne!(first.leg.record, second.leg.record);
    // Its CANCEL means the new one.
    b.hear(request("CANCEL", 2, TO, ""));
    assert_eq!(b.commit(2).leg, second.leg);
    // An answered call that ended does not stand in the way either.
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("BYE", 2, &to, ""));
    b.commit(4);
    b.codes();
    b.hear(request("INVITE", 3, TO, SDP));
    assert_eq!(b.codes(), ["100"]);
}

/// A proxy that forks to two of ours means two calls; the same call by two ways is merged (§8.2.2.2).
#[test]
fn a_fork_to_another_target_is_another_call() {
    let mut b = bench("one");
    b.hear(request("INVITE", 1, TO, SDP));
    let first = b.commit(1).leg;
    let fork = request("INVITE", 1, TO, SDP).replace("z9hG4bKINVITE1", "z9hG4bKother");
    b.hear(fork.replace("INVITE sip:2700@", "INVITE sip:2701@"));
    assert_ne!(b.commit(1).leg, first);
    assert_eq!(b.codes(), ["100", "100"]);
    b.hear(fork.replace("z9hG4bKother", "z9hG4bKthird"));
    assert_eq!(b.codes(), ["482"]);
    assert!(b.asks.is_empty());
}

fn other_edge(leg: LegRef, revision: u32, dialog: &[u8], text: String) -> Bench {
    let mut other = bench("two");
    other.hear(text);
    let (ticket, ask) = other.asks.remove(0);
    assert_eq!(ask, Ask::Recall(leg));
    other.verdict(ticket, Verdict::Leg(state(leg, revision, dialog.to_vec())));
    other
}

/// A retransmission that a load balancer gives to another edge is heard again there; the record takes its event once.
#[test]
fn a_request_is_heard_again_at_another_edge() {
    let mut b = bench("one");
    let (heard, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let digit = request("INFO", 2, &to, "Signal=5\r\n").replace("application/sdp", "application/dtmf-relay");
    b.hear(digit.clone());
    let kept = b.commit(4);
    let mut other = other_edge(heard.leg, 4, &kept.dialog, digit.clone());
    let (ticket, again) = other.heard();
    assert_eq!((again.event, &again.signals), (kept.event, &kept.signals));
    other.verdict(ticket, Verdict::Committed { revision: 4, trace: String::new() });
    assert_eq!(other.codes(), ["200"]);
    // Another request of the same CSeq is none that comes again, and an older one is out of order.
    let foreign = digit.replace("z9hG4bKINFO2", "z9hG4bKother");
    assert_eq!(other_edge(heard.leg, 4, &kept.dialog, foreign).codes(), ["500"]);
    let old = digit.replace("CSeq: 2", "CSeq: 1");
    assert_eq!(other_edge(heard.leg, 4, &kept.dialog, old).codes(), ["500"]);
    // A change that waits for its answer.
    b.hear(request("INVITE", 3, &to, SDP));
    let change = b.commit(5);
    let mut other = other_edge(heard.leg, 5, &change.dialog, request("INVITE", 3, &to, SDP));
    assert_eq!((other.heard().1.event, other.codes()), (change.event, vec!["100".to_owned()]));
    // The end.
    b.hear(request("BYE", 4, &to, ""));
    let bye = b.commit(6);
    let mut other = other_edge(heard.leg, 6, &bye.dialog, request("BYE", 4, &to, ""));
    assert_eq!(other.codes(), ["200"]);
}

/// Interworking appendix B, CHANGING: 32 s after its last sign of life a change counts as refused; the call goes on.
#[test]
fn a_change_that_is_only_tried_ends() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.say(state(heard.leg, 3, said.dialog.unwrap()), 4, Signal::Update(media()), None);
    let invite = b.sent.pop().unwrap();
    b.hear(answer(&invite, 100, ""));
    b.wait(20_000);
    b.hear(answer(&invite, 180, ""));
    b.wait(31_000);
    assert!(b.asks.is_empty() && b.sent.iter().all(|m| m.code().is_some()), "patience");
    b.sent.clear();
    b.wait(2_000);
    assert_eq!(b.commit(5).signals, [Signal::Refused(Reason::Timeout)]);
    let cancel = b.sent.pop().unwrap();
    assert_eq!(cancel.method().as_deref(), Some("CANCEL"));
    assert_eq!(cancel.via().unwrap().branch(), invite.via().unwrap().branch());
    // Too late, but it wants its ACK all the same.
    b.hear(answer(&invite, 200, SDP));
    let ack = b.sent.pop().unwrap();
    assert_eq!(
        (ack.method().as_deref(), ack.cseq().unwrap().number),
        (Some("ACK"), invite.cseq().unwrap().number)
    );
    assert!(b.asks.is_empty());
    b.hear(request("BYE", 2, &to, ""));
    assert!(matches!(b.commit(6).signals.as_slice(), [Signal::End(_)]));
    b.wait(700_000);
    assert_eq!((b.edge.legs(), b.edge.transactions()), (0, 0));
}
