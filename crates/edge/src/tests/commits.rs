//! Up: commits, verdicts, recalls, retries.

use super::toy::{Event, Message, State, Timer};
use super::*;
use signal::VERDICT_MS;

const ALIVE: State = State { count: 3, over: false, rings: false };

#[test]
fn a_message_is_answered_after_its_commit_and_others_wait_behind_it() {
    let mut b = bench();
    b.opened(leg(1));
    b.message(leg(1), Message::Digit(1));
    b.message(leg(1), Message::Digit(2));
    b.message(leg(1), Message::Note);
    let (ticket, heard) = b.heard();
    assert_eq!((heard.base, heard.edge.as_str(), heard.opening), (1, "one", None));
    assert!(b.asks.is_empty() && b.sent().is_empty());
    b.verdict(ticket, committed(2));
    assert_eq!(b.sent(), ["took 1"]);
    let (ticket, heard) = b.heard();
    assert_eq!(heard.base, 2);
    b.verdict(ticket, committed(3));
    assert_eq!(b.sent(), ["took 2", "noted"]);
}

/// Another edge has changed the leg: the message is heard again against the newer state, with the same id.
#[test]
fn a_stale_message_is_heard_again_and_not_for_ever() {
    let mut b = bench();
    b.opened(leg(1));
    b.message(leg(1), Message::Receipt(1));
    assert_eq!(b.sent(), ["received 1"]);
    let (ticket, first) = b.heard();
    b.verdict(ticket, Verdict::Stale(state(leg(1), 7, State { rings: true, ..ALIVE })));
    // Sent at once: only what the first hearing had not sent.
    assert_eq!(b.sent(), ["still ringing"]);
    let (mut ticket, again) = b.heard();
    assert_eq!((again.base, again.event, &again.signals), (7, first.event, &first.signals));
    for revision in [8, 9] {
        b.verdict(ticket, Verdict::Stale(state(leg(1), revision, ALIVE)));
        ticket = b.heard().0;
    }
    b.verdict(ticket, Verdict::Stale(state(leg(1), 10, ALIVE)));
    assert_eq!(b.sent(), ["no Receipt(1): Unavailable"]);
    assert!(b.asks.is_empty());
    // The state of the record stays.
    b.message(leg(1), Message::Digit(2));
    assert_eq!(b.heard().1.base, 9);
}

/// Fault E7: the record had the commit before, and the leg has moved on since. Our copy would be an old state under a new revision.
#[test]
fn e7_a_commit_of_long_ago_leaves_no_old_state_behind() {
    let mut b = bench();
    b.opened(leg(1));
    b.legs.held.0.get_mut(&leg(1)).unwrap().timers.set(Timer::Silence, b.now + 5_000);
    b.message(leg(1), Message::Digit(1));
    let (ticket, _) = b.heard();
    b.verdict(ticket, committed(9));
    assert_eq!(b.sent(), ["took 1"], "the answer is due all the same");
    assert_eq!(b.legs.held().state(leg(1)), None);
    b.message(leg(1), Message::Note);
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Leg(state(leg(1), 9, ALIVE)));
    assert_eq!(b.sent(), ["noted"]);
    assert_eq!(b.legs.held().state(leg(1)), Some(&State { count: 4, ..ALIVE }));
    // A timer of it was not lost.
    b.wait(5_000);
    assert_eq!(b.heard().1.base, 9);
}

/// The same message once more: the record took it the first time, and nothing has changed since.
#[test]
fn a_commit_that_was_made_before_changes_nothing() {
    let mut b = bench();
    b.opened(leg(1));
    for _ in 0..2 {
        b.message(leg(1), Message::Digit(1));
        let (ticket, _) = b.heard();
        b.verdict(ticket, committed(2));
        assert_eq!(b.sent(), ["took 1"]);
        assert_eq!(b.legs.held().state(leg(1)), Some(&State { count: 2, ..State::default() }));
    }
    b.message(leg(1), Message::Digit(2));
    assert_eq!(b.heard().1.base, 2);
}

/// A timer may fire while the record knows better.
#[test]
fn an_event_of_a_leg_that_is_not_held_recalls_it() {
    let mut b = bench();
    b.opened(leg(1));
    b.message(leg(1), Message::Digit(1));
    let (ticket, _) = b.heard();
    b.verdict(ticket, committed(9));
    b.sent();
    b.legs.handle_event(leg(1), Event::Silence, b.now);
    b.drain();
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Leg(state(leg(1), 9, ALIVE)));
    let (_, heard) = b.heard();
    assert_eq!((heard.base, heard.signals), (9, vec![Signal::End(Reason::Timeout.into())]));
}

#[test]
fn a_verdict_that_is_lost_is_none() {
    let mut b = bench();
    b.opened(leg(1));
    b.message(leg(1), Message::Digit(1));
    let (ticket, _) = b.heard();
    b.wait(VERDICT_MS + 2_999);
    assert!(b.sent().is_empty());
    assert_eq!(b.legs.poll_timeout(), Some(b.now + 1));
    b.wait(1);
    assert_eq!(b.sent(), ["no Digit(1): Unavailable"]);
    assert_eq!(b.legs.asks(), 0);
    b.verdict(ticket, committed(2));
    assert!(b.sent().is_empty(), "too late");
    b.message(leg(1), Message::Digit(2));
    assert_eq!(b.heard().1.base, 1);
}

/// Nobody hangs up twice: the sender is answered, the record hears of it in the end.
#[test]
fn a_message_that_cannot_be_refused_is_committed_in_the_end() {
    let mut b = bench();
    b.opened(leg(1));
    b.message(leg(1), Message::Bye);
    let mut pauses = vec![];
    for _ in 0..20 {
        let (ticket, heard) = b.heard();
        assert_eq!(heard.base, 1);
        b.verdict(ticket, Verdict::Unavailable);
        assert!(b.asks.is_empty());
        let next = b.legs.poll_timeout().unwrap();
        pauses.push(next.since(b.now));
        b.wait(next.since(b.now));
    }
    assert_eq!(b.sent(), ["will do Bye"]);
    assert_eq!(pauses[..6], [500, 1_000, 2_000, 4_000, 8_000, 8_000]);
    // Other work of the leg goes on meanwhile, and while a retry waits it is not overtaken by forgetting.
    let (ticket, _) = b.heard();
    b.verdict(ticket, committed(2));
    assert!(b.sent().is_empty(), "answered before");
    b.wait(31_999);
    assert_eq!(b.legs.held().len(), 1);
    // Legs leave at whole seconds.
    b.wait(1_000);
    assert!(b.is_empty());
    // In the end it is lost, and only then.
    b.opened(leg(1));
    b.message(leg(1), Message::Bye);
    for _ in 0..21 {
        let (ticket, _) = b.heard();
        b.verdict(ticket, Verdict::Unavailable);
        b.wait(8_000);
    }
    assert!(b.asks.is_empty());
}

/// Each attempt may meet a stale record as often as the first; the number of commits that wait for one is bounded.
#[test]
fn a_retry_is_a_new_attempt_and_retries_are_bounded() {
    let mut b = bench();
    b.opened(leg(1));
    b.message(leg(1), Message::Bye);
    for round in 0..2 {
        for revision in 1..4 {
            let (ticket, _) = b.heard();
            b.verdict(ticket, Verdict::Stale(state(leg(1), 10 * round + revision, ALIVE)));
        }
        let (ticket, heard) = b.heard();
        assert_eq!(heard.base, 10 * round + 3);
        b.verdict(ticket, Verdict::Unavailable);
        b.wait(1_000);
    }
    let mut b = bench();
    b.opened(leg(1));
    for _ in 0..6 {
        b.message(leg(1), Message::Bye);
        let (ticket, _) = b.heard();
        b.verdict(ticket, Verdict::Unavailable);
    }
    let expected = [["will do Bye"; 4].as_slice(), &["no Bye: Unavailable"; 2]].concat();
    assert_eq!(b.sent(), expected);
}

/// A retry has no other chance: it finds room in a full queue.
#[test]
fn a_retry_waits_for_its_turn() {
    let mut b = bench();
    b.opened(leg(1));
    b.message(leg(1), Message::Bye);
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Unavailable);
    for n in 0..6 {
        b.message(leg(1), Message::Digit(n));
    }
    assert_eq!(b.sent(), ["will do Bye", "no Digit(5): Unavailable"]);
    b.wait(500);
    let mut signals = vec![];
    for revision in 2..8 {
        let (ticket, heard) = b.heard();
        signals.extend(heard.signals);
        b.verdict(ticket, committed(revision));
    }
    assert_eq!(signals.last(), Some(&Signal::End(Reason::Normal.into())));
}

/// A timer is spent: without any verdict it is told later, and what it sends leaves now and once.
#[test]
fn an_event_is_committed_in_the_end_and_has_its_effect_here_without_any_record() {
    let mut b = bench();
    b.opened(leg(1));
    b.legs.handle_event(leg(1), Event::Silence, b.now);
    b.drain();
    for _ in 0..3 {
        let (ticket, _) = b.heard();
        b.verdict(ticket, Verdict::Unavailable);
        b.wait(8_000);
    }
    assert_eq!(b.sent(), ["are you there?", "too late"]);
    let (ticket, _) = b.heard();
    b.verdict(ticket, committed(2));
    assert!(b.sent().is_empty() && b.legs.held().state(leg(1)).unwrap().over);
    // Nobody ever answers.
    b.opened(leg(3));
    b.legs.handle_event(leg(3), Event::Silence, b.now);
    b.drain();
    for _ in 0..21 {
        assert!(!b.legs.held().state(leg(3)).unwrap().over);
        let (ticket, _) = b.heard();
        b.verdict(ticket, Verdict::Unavailable);
        b.wait(8_000);
    }
    assert!(b.asks.is_empty() && b.legs.held().state(leg(3)).unwrap().over);
    b.sent();
    // The record has no such call.
    b.opened(leg(2));
    b.legs.handle_event(leg(2), Event::Silence, b.now);
    b.drain();
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Gone);
    assert_eq!(b.sent(), ["are you there?", "too late"]);
    assert!(b.legs.held().state(leg(2)).unwrap().over);
}

#[test]
fn a_call_that_is_refused_leaves_nothing() {
    let mut b = bench();
    b.open(leg(1));
    b.message(leg(1), Message::Digit(1));
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Refused(Reason::Busy.into()));
    assert_eq!(b.sent(), ["no call Call: Busy", "no Digit(1): NotFound"]);
    assert!(b.is_empty());
    // Refused before it was one.
    b.legs.open(leg(1), State { over: true, ..State::default() }, Message::Call, b.now);
    b.drain();
    assert_eq!(b.sent(), ["over"]);
    assert!(b.is_empty());
}

#[test]
fn a_leg_that_is_not_held_is_recalled() {
    let mut b = bench();
    b.message(leg(1), Message::Digit(1));
    b.message(leg(1), Message::Digit(2));
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Leg(state(leg(1), 4, ALIVE)));
    let (ticket, heard) = b.heard();
    assert_eq!(heard.base, 4);
    b.verdict(ticket, committed(5));
    assert_eq!(b.sent(), ["took 1"]);
    let (ticket, _) = b.heard();
    b.verdict(ticket, committed(6));
    // A state of a newer version is another edge's to read; that does not make the leg unknown.
    b.sent();
    b.message(leg(2), Message::Digit(1));
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Leg(LegState { dialog: vec![9], ..state(leg(2), 4, ALIVE) }));
    assert_eq!((b.sent(), b.legs.held().contains(leg(2))), (vec!["no Digit(1): Unavailable".into()], false));
}

#[test]
fn a_leg_that_no_record_knows_is_refused_with_all_that_waits() {
    let mut b = bench();
    b.message(leg(1), Message::Digit(1));
    b.message(leg(1), Message::Bye);
    b.order(1, state(leg(1), 3, ALIVE), None);
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Gone);
    // The order brings a leg along, and what came before it does not meet that.
    assert_eq!(b.sent(), ["no Digit(1): NotFound", "no Bye: NotFound", "order 1"]);
    assert_eq!(b.said.len(), 1);
    // A leg that we hold is over.
    b.message(leg(1), Message::Digit(2));
    let (ticket, _) = b.heard();
    b.message(leg(1), Message::Digit(3));
    b.verdict(ticket, Verdict::Gone);
    assert_eq!(b.sent(), ["no Digit(2): NotFound", "over"]);
    b.wait(32_000);
    assert!(b.is_empty());
}

#[test]
fn a_message_may_open_a_call_that_no_record_knows() {
    let mut b = bench();
    b.legs.protocol.reopens = true;
    b.message(leg(1), Message::Call);
    b.message(leg(1), Message::Digit(1));
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Gone);
    let (ticket, heard) = b.heard();
    assert!(heard.opening.is_some());
    b.verdict(ticket, committed(1));
    assert_eq!(b.sent(), ["welcome"]);
    assert_eq!(b.heard().1.base, 1);
}

#[test]
fn a_message_goes_to_the_edge_that_it_belongs_to() {
    let mut b = bench();
    let away = LegState { edge: "two".into(), ..state(leg(1), 4, ALIVE) };
    for taken in [true, false] {
        b.message(leg(1), Message::Elsewhere);
        let ticket = b.recalled();
        b.verdict(ticket, Verdict::Leg(away.clone()));
        let (ticket, edge, _) = b.forwarded.remove(0);
        assert_eq!(edge, "two");
        b.verdict(ticket, committed(5));
        assert!(b.sent().is_empty(), "a verdict is no answer to that");
        b.legs.handle_forwarded(ticket, taken, b.now);
        let heard = usize::from(!taken);
        assert_eq!((b.sent().len(), b.legs.held().len()), (heard, heard));
    }
    // It is offered once, however often it is heard.
    let mut b = bench();
    b.message(leg(1), Message::Digit(9));
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Leg(away.clone()));
    let (ticket, _, _) = b.forwarded.remove(0);
    b.legs.handle_forwarded(ticket, false, b.now);
    b.drain();
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Stale(LegState { revision: 7, ..away.clone() }));
    assert!(b.forwarded.is_empty());
    assert_eq!(b.heard().1.base, 7);
    // An answer that never comes is a no.
    let mut b = bench();
    b.message(leg(1), Message::Elsewhere);
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Leg(away));
    b.wait(VERDICT_MS + 3_000);
    assert_eq!(b.sent(), ["noted"]);
}

/// A leg's name alone makes nobody its peer: the message changes nothing. What only the record may know is looked up there, once.
#[test]
fn a_message_that_is_not_of_its_leg_changes_nothing() {
    let mut b = bench();
    b.opened(leg(1));
    let before = *b.legs.held().state(leg(1)).unwrap();
    b.message(leg(1), Message::Foreign);
    assert_eq!(b.sent(), ["Foreign is not of this leg"]);
    assert_eq!((b.legs.held().state(leg(1)), b.asks.len()), (Some(&before), 0));
    b.message(leg(1), Message::Joined);
    let ticket = b.recalled();
    // The record is no newer than what we have, and an older state never comes back.
    b.verdict(ticket, Verdict::Leg(state(leg(1), 1, ALIVE)));
    assert_eq!(b.sent(), ["Joined is not of this leg"]);
    assert_eq!((b.legs.held().state(leg(1)), b.asks.len()), (Some(&before), 0));
    b.message(leg(1), Message::Joined);
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Leg(state(leg(1), 6, State { rings: true, ..ALIVE })));
    assert_eq!(b.heard().1.base, 6);
}
