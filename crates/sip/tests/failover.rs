//! Edges together: stale caches, recall, handover, effects said again, queues, drain.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod bench;

use bench::*;
use signal::*;
use tandem_sip::message::Message;

fn at(mut leg: LegState, edge: &str) -> LegState {
    leg.edge = edge.into();
    leg
}

/// Another edge has changed the leg: what was heard against the old state is heard again against the new one.
#[test]
fn what_is_stale_is_heard_again() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("BYE", 2, &to, ""));
    let (ticket, first) = b.heard();
    assert_eq!(first.base, 3);
    b.verdict(ticket, Verdict::Stale(state(heard.leg, 7, said.dialog.clone().unwrap())));
    let (ticket, again) = b.heard();
    assert_eq!((again.base, again.event), (7, first.event));
    assert!(b.codes().is_empty());
    // For ever stale is no answer.
    let mut next = ticket;
    for revision in 8..10 {
        b.verdict(next, Verdict::Stale(state(heard.leg, revision, said.dialog.clone().unwrap())));
        next = b.heard().0;
    }
    b.verdict(next, Verdict::Stale(state(heard.leg, 10, said.dialog.unwrap())));
    assert_eq!(b.codes(), ["503"]);
    assert!(b.asks.is_empty());
}

/// An event that was committed before gets its answer, and the edge does not take its own old copy for the newest.
#[test]
fn a_commit_of_long_ago_leaves_no_old_copy_behind() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    b.hear(request("BYE", 2, &to, ""));
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Committed { revision: 9, trace: String::new() });
    assert_eq!(b.codes(), ["200"]);
    b.hear(request("INFO", 3, &to, ""));
    assert_eq!(b.asks.remove(0).1, Ask::Recall(heard.leg), "the record knows better");
    drop(said);
}

#[test]
fn an_effect_said_again_is_one_transaction_and_the_same_octets() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    let (_, again) = called(&mut b);
    assert!(b.sent.is_empty(), "this edge has said it");
    assert_eq!((again.base, again.dialog), (said.base, said.dialog.clone()));
    // Another edge cannot know; to the phone it is a retransmission (R-SIP-14).
    let mut other = bench("two");
    called(&mut other);
    assert_eq!(other.sent.remove(0).write(), invite.write());
    // The same within the dialog: hold, said by two edges.
    b.hear(answer(&invite, 200, SDP));
    let heard = b.commit(2);
    b.codes();
    let mut hold = media();
    hold.contents[0].direction = signal::media::Direction::Send;
    let mut octets = vec![];
    for name in ["three", "four"] {
        let mut edge = bench(name);
        edge.say(state(leg, 2, heard.dialog.clone()), 5, Signal::Update(hold.clone()), None);
        edge.say(state(leg, 2, heard.dialog.clone()), 5, Signal::Update(hold.clone()), None);
        assert_eq!(edge.sent.len(), 1);
        octets.push(edge.sent.remove(0).write());
    }
    assert_eq!(octets[0], octets[1]);
}

/// BYE from either side by an edge that never saw the call is in `edge.rs`; here what comes before and after it.
#[test]
fn a_fresh_edge_acknowledges_what_it_never_asked() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    // The edge dies; the phone's 180 and 200 come to another, which asks the record and finds the dead one named there.
    let mut other = bench("two");
    other.hear(answer(&invite, 180, ""));
    let (ticket, ask) = other.asks.remove(0);
    assert_eq!(ask, Ask::Recall(leg));
    other.verdict(ticket, Verdict::Leg(at(state(leg, 1, said.dialog.unwrap()), "one")));
    let (ticket, edge, handover) = other.hands.remove(0);
    assert_eq!((edge.as_str(), handover.source.as_str()), ("one", "udp://192.0.2.9:5060"));
    other.edge.forward_result(ticket, false, other.now);
    other.drain();
    let heard = other.commit(2);
    assert_eq!(heard.signals, [Signal::Ringing]);
    other.hear(answer(&invite, 200, SDP));
    assert!(matches!(other.commit(3).signals.as_slice(), [Signal::Answer(_)]));
    assert_eq!(other.codes(), ["ACK"]);
    other.hear(answer(&invite, 200, SDP));
    assert_eq!(other.codes(), ["ACK"], "once more, and no event");
    assert!(other.asks.is_empty());
}

#[test]
fn an_edge_that_lives_gets_the_answer_to_its_invite() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    let mut other = bench("two");
    other.hear(answer(&invite, 486, ""));
    let (ticket, _) = other.asks.remove(0);
    other.verdict(ticket, Verdict::Leg(at(state(leg, 1, said.dialog.unwrap()), "one")));
    let (ticket, _, handover) = other.hands.remove(0);
    b.edge.receive_forwarded(&handover, b.now);
    b.drain();
    other.edge.forward_result(ticket, true, other.now);
    other.drain();
    assert_eq!((other.sent.len(), other.edge.legs()), (0, 0));
    assert_eq!(b.codes(), ["ACK"]);
    assert!(matches!(b.commit(2).signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Busy));
}

/// Nobody else holds the transaction: a failure is acknowledged with the INVITE's own branch, each time it comes.
#[test]
fn a_failure_of_a_dead_edges_invite_is_acknowledged() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    let mut other = bench("two");
    other.hear(answer(&invite, 486, ""));
    let (ticket, _) = other.asks.remove(0);
    other.verdict(ticket, Verdict::Leg(state(leg, 1, said.dialog.unwrap())));
    assert_eq!(other.sent[0].via().unwrap().branch(), invite.via().unwrap().branch());
    assert_eq!(other.codes(), ["ACK"]);
    other.commit(2);
    other.hear(answer(&invite, 486, ""));
    assert_eq!(other.codes(), ["ACK"]);
    assert!(other.asks.is_empty());
}

/// The ACK comes to an edge that is not saying the 2xx: it finds the one that is.
#[test]
fn an_ack_finds_the_edge_that_waits_for_it() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    let mut other = bench("two");
    other.hear(request("ACK", 1, &to, ""));
    let (ticket, ask) = other.asks.remove(0);
    assert_eq!(ask, Ask::Recall(heard.leg));
    other.verdict(ticket, Verdict::Leg(at(state(heard.leg, 3, said.dialog.unwrap()), "one")));
    let (ticket, _, handover) = other.hands.remove(0);
    b.edge.receive_forwarded(&handover, b.now);
    other.edge.forward_result(ticket, true, other.now);
    assert_eq!(other.edge.legs(), 0);
    b.wait(60_000);
    assert!(b.codes().is_empty(), "neither 200 again nor BYE");
}

/// A provisional response changes the dialog without a commit; an edge that has only the record learns it again.
#[test]
fn what_a_provisional_response_taught_may_be_lost() {
    let mut b = bench("one");
    let (leg, said) = called(&mut b);
    let invite = b.sent.remove(0);
    b.hear(answer(&invite, 180, ""));
    b.commit(2);
    let mut other = bench("two");
    let trying = answer(&invite, 181, "").replace("sip:2041@192.0.2.9>", "sip:else@192.0.2.10>");
    b.hear(trying);
    assert!(b.asks.is_empty());
    other.hear(answer(&invite, 200, SDP));
    let (ticket, _) = other.asks.remove(0);
    other.verdict(ticket, Verdict::Leg(state(leg, 1, said.dialog.unwrap())));
    let heard = other.commit(2);
    assert!(matches!(heard.signals.as_slice(), [Signal::Answer(_)]));
    other.codes();
    other.say(state(leg, 2, heard.dialog), 8, Signal::End(Reason::Normal.into()), None);
    let bye = other.sent.remove(0);
    assert!(bye.write().starts_with(b"BYE sip:2041@192.0.2.9 "));
    assert_eq!(bye.to().unwrap().tag(), Some("b"));
}

/// No record knows the call any more, but the phone has answered it: it is told at once.
#[test]
fn an_answer_to_a_call_that_nobody_knows_is_ended() {
    let mut b = bench("one");
    called(&mut b);
    let invite = b.sent.remove(0);
    let mut other = bench("two");
    other.hear(answer(&invite, 200, SDP));
    let (ticket, _) = other.asks.remove(0);
    other.verdict(ticket, Verdict::Gone);
    assert_eq!(other.codes(), ["ACK", "BYE"]);
    assert_eq!(other.edge.legs(), 0);
}

#[test]
fn a_leg_whose_queue_is_full_says_so() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let digit = |n: u32| {
        let info = request("INFO", n, &to, "Signal=5\r\n");
        info.replace("application/sdp", "application/dtmf-relay")
    };
    // The first is on its way to the record, which does not answer.
    for n in 2..40 {
        b.hear(digit(n));
    }
    let codes = b.codes();
    assert_eq!(codes.len(), 21);
    assert!(codes.iter().all(|c| c == "503"), "{codes:?}");
    assert_eq!(b.asks.len(), 1);
    let mut heard = 0;
    for revision in 4.. {
        if b.asks.is_empty() {
            break;
        }
        assert!(matches!(b.commit(revision).signals.as_slice(), [Signal::Tone(t)] if t.digit == '5'));
        heard += 1;
    }
    assert_eq!(heard, 17);
}

/// R-SIP-12
#[test]
fn a_draining_edge_serves_what_lives_and_takes_nothing_new() {
    let mut b = bench("one");
    let (_, _, to) = answered(&mut b);
    assert_eq!(b.edge.open(), 1, "the 200 waits for its ACK");
    b.edge.drain();
    b.hear(request("INVITE", 9, TO, SDP).replace("c1", "c2").replace("tag=a", "tag=z"));
    assert!(b.sent[0].text("Retry-After").is_some());
    b.hear(request("OPTIONS", 10, TO, "").replace("c1", "c3"));
    assert_eq!(b.codes(), ["503", "503"]);
    b.hear(request("ACK", 1, &to, ""));
    assert_eq!(b.edge.open(), 0, "any edge can serve it now");
    assert_eq!(b.edge.live(), 1, "where there is another");
    b.hear(request("BYE", 2, &to, ""));
    b.commit(4);
    assert_eq!(b.codes(), ["200"]);
    assert_eq!((b.edge.live(), b.edge.legs()), (0, 1), "what is kept for late messages keeps nobody here");
}

#[test]
fn an_order_that_comes_again_while_it_waits_is_said_once() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let info = request("INFO", 2, &to, "Signal=5\r\n");
    b.hear(info.replace("application/sdp", "application/dtmf-relay"));
    assert_eq!(b.asks.len(), 1, "something is on its way to the record");
    let (leg, state) = (heard.leg, state(heard.leg, 3, said.dialog.unwrap()));
    let id = EffectId { record: leg.record, version: 77, index: 0 };
    let order = Say { id, state, count: 0, signal: Signal::End(Reason::Normal.into()), opening: None };
    for _ in 0..40 {
        b.edge.order(order.clone(), b.now);
    }
    b.drain();
    b.commit(4);
    assert_eq!(b.said.len(), 1);
    assert_eq!(b.codes(), ["200", "BYE"]);
}

#[test]
fn an_edge_holds_no_more_legs_than_it_may() {
    let mut b = bench("one");
    let invite = |n: u32| request("INVITE", n, TO, SDP).replace("c1", &format!("c{n}"));
    for n in 0..100 {
        b.hear(invite(n));
    }
    assert!(b.codes().iter().all(|c| c == "100"));
    b.hear(invite(100));
    assert_eq!(b.codes(), ["503"]);
    // What was refused leaves at once, so that the phone may try again with the same dialog-to-be.
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Refused(Reason::NotFound.into()));
    assert_eq!(b.sent[0].text("Reason"), Some("Q.850;cause=1"));
    assert_eq!(b.codes(), ["404"]);
    assert_eq!(b.edge.legs(), 99);
}

/// A trunk that cannot be connected to fails its calls at once, not after Timer B.
#[test]
fn a_trunk_out_of_reach_ends_the_call_at_once() {
    let mut b = bench("one");
    called(&mut b);
    b.codes();
    b.edge.unreachable(b.flow, b.now);
    b.drain();
    let heard = b.commit(2);
    assert!(matches!(heard.signals.as_slice(), [Signal::End(e)] if e.reason == Reason::Connectivity));
    b.wait(60_000);
    assert!(b.codes().is_empty());
    assert_eq!(b.edge.legs(), 0);
}

/// A phone that called over TCP is reached at its Contact, not at the port that its connection happened to have.
#[test]
fn requests_go_to_where_a_tcp_caller_listens() {
    let mut b = bench("one");
    b.flow = tandem_sip::edge::Flow::tcp("192.0.2.9:49152".parse().unwrap());
    let (heard, said, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let order = state(heard.leg, 3, said.dialog.unwrap());
    let mut id = effect(heard.leg);
    id.version = 9;
    let end = Signal::End(Reason::Normal.into());
    b.edge.order(Say { id, state: order, count: 0, signal: end, opening: None }, b.now);
    let sent = std::iter::from_fn(|| b.edge.poll()).find_map(|output| match output {
        tandem_sip::edge::Output::Send(flow, octets) => Some((flow.to_string(), octets)),
        _ => None,
    });
    let (flow, octets) = sent.expect("a BYE");
    assert_eq!(flow, "tcp://192.0.2.9:5060");
    let bye: Message = tandem_sip::message::read(&octets).unwrap();
    assert_eq!(bye.via().unwrap().transport, "TCP");
}

/// A re-INVITE of ours that was said by an edge which died before its answer came; the record, and our re-INVITE.
fn orphaned() -> (LegState, Time, Message, String) {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let ours = b.say(state(heard.leg, 3, said.dialog.unwrap()), 4, Signal::Update(media()), None);
    let recorded = at(state(heard.leg, 4, ours.dialog.unwrap()), "one");
    (recorded, ours.wake.expect("it wants to be woken"), b.sent.remove(0), to)
}

fn wake(b: &mut Bench, state: &LegState) -> Said {
    let mut id = effect(state.leg);
    id.version = 50;
    b.edge.order(Wake { id, state: state.clone() }, b.now);
    b.drain();
    b.said.remove(0)
}

/// Timer B of an edge that is gone: at any other, the open offer is given up, and the peer's is taken again (R-SIP-18).
#[test]
fn an_offer_of_a_dead_edge_is_closed() {
    let (recorded, due, _, to) = orphaned();
    let mut b = bench("two");
    assert_eq!(due.since(b.now), 33_000);
    let recall = |b: &mut Bench| {
        let (ticket, _) = b.asks.remove(0);
        b.verdict(ticket, Verdict::Leg(recorded.clone()));
    };
    let theirs = SDP.replace("4000", "4002");
    b.hear(request("INVITE", 2, &to, &theirs));
    recall(&mut b);
    assert_eq!(b.codes(), ["491"], "our offer is open");
    b.hear(request("ACK", 2, &to, "").replace("z9hG4bKack", "z9hG4bKINVITE2"));
    b.now = due;
    let said = wake(&mut b, &recorded);
    assert_eq!((said.base, said.dialog, said.failed), (4, None, None));
    let (ticket, heard) = b.heard();
    assert_eq!((heard.base, heard.signals.as_slice()), (4, &[Signal::Refused(Reason::Timeout)][..]));
    assert_eq!(heard.wake, None);
    b.verdict(ticket, Verdict::Committed { revision: 5, trace: String::new() });
    assert!(b.codes().is_empty(), "the peer is told nothing");
    b.hear(request("INVITE", 3, &to, &theirs));
    assert!(matches!(b.commit(6).signals.as_slice(), [Signal::Update(_)]));
    assert_eq!(b.codes(), ["100"]);
}

/// The same edge still waits for the answer: its own timers decide, whatever the orchestrator thinks.
#[test]
fn an_offer_of_a_living_edge_is_its_own() {
    let mut b = bench("one");
    let (heard, said, to) = answered(&mut b);
    b.hear(request("ACK", 1, &to, ""));
    let ours = b.say(state(heard.leg, 3, said.dialog.unwrap()), 4, Signal::Update(media()), None);
    let invite = b.sent.remove(0);
    let recorded = state(heard.leg, 4, ours.dialog.unwrap());
    b.wait(20_000);
    b.hear(answer(&invite, 100, ""));
    b.wait(13_000);
    b.codes();
    wake(&mut b, &recorded);
    assert!(b.asks.is_empty() && b.codes().is_empty());
    b.hear(answer(&invite, 200, SDP));
    let answered = b.commit(5);
    assert!(matches!(answered.signals.as_slice(), [Signal::Updated(_)]));
    assert_eq!((answered.wake, b.codes()), (None, vec!["ACK".into()]));
}

/// The answer came to another edge before the time was over: nothing is left to wake.
#[test]
fn an_offer_that_was_answered_elsewhere_is_not_closed() {
    let (recorded, _, invite, _) = orphaned();
    let mut b = bench("two");
    b.hear(answer(&invite, 200, SDP));
    let (ticket, _) = b.asks.remove(0);
    b.verdict(ticket, Verdict::Leg(LegState { edge: String::new(), ..recorded.clone() }));
    let heard = b.commit(5);
    assert!(matches!(heard.signals.as_slice(), [Signal::Updated(_)]));
    assert_eq!((heard.wake, b.codes()), (None, vec!["ACK".into()]));
    wake(&mut b, &recorded);
    wake(&mut b, &state(recorded.leg, 5, heard.dialog));
    assert!(b.asks.is_empty() && b.codes().is_empty());
}
