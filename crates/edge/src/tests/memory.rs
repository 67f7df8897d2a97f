//! Bounds: queues, legs, lifetimes.

use super::toy::{Event, Message, State, Timer};
use super::*;
use crate::Protocol;

const ALIVE: State = State { count: 3, over: false, rings: false };

#[test]
fn a_full_queue_refuses_messages_and_takes_events() {
    let mut b = bench();
    b.opened(leg(1));
    b.message(leg(1), Message::Digit(0));
    // One of many finds no room when half of it is gone.
    b.message(leg(1), Message::Progress);
    b.message(leg(1), Message::Progress);
    b.message(leg(1), Message::Progress);
    assert_eq!(b.sent(), ["no Progress: Unavailable"]);
    for n in 1..5 {
        b.message(leg(1), Message::Digit(n));
    }
    assert_eq!(b.sent(), ["no Digit(3): Unavailable", "no Digit(4): Unavailable"]);
    for _ in 0..100 {
        b.legs.handle_event(leg(1), Event::Silence, b.now);
    }
    assert_eq!(b.legs.held.0[&leg(1)].waiting.len(), 4 * Toy::MAX_WAITING);
    for revision in 2..5 {
        let (ticket, _) = b.heard();
        b.verdict(ticket, committed(revision));
    }
    assert_eq!(b.sent()[..5], ["took 0", "noted", "noted", "took 1", "took 2"]);
    assert_eq!(b.heard().1.signals, [Signal::End(Reason::Timeout.into())]);
}

#[test]
fn legs_are_held_up_to_a_limit() {
    let mut b = bench();
    for n in 0..MAX_LEGS as u8 {
        assert!(b.legs.has_room());
        b.open(leg(n));
    }
    assert!(!b.legs.has_room(), "no other call");
    // Legs of the record find room twice as long.
    for n in MAX_LEGS as u8..40 {
        b.message(leg(n), Message::Digit(1));
    }
    assert_eq!(b.legs.held().len(), 2 * MAX_LEGS);
    assert_eq!(b.sent().len(), 40 - 2 * MAX_LEGS);
    // An order that opens a leg says so; any other is given again, elsewhere perhaps.
    let new = LegState { dialog: vec![], ..state(leg(50), 0, ALIVE) };
    b.order(1, new, Some(opening()));
    assert_eq!(b.said[0].failed, Some(Reason::Unavailable.into()));
    b.order(2, state(leg(51), 3, ALIVE), None);
    assert_eq!((b.said.len(), b.legs.held().len()), (1, 2 * MAX_LEGS));
    // What is held is served.
    b.message(leg(0), Message::Digit(1));
    assert!(b.sent().is_empty());
}

/// A recall that failed leaves nothing: strangers could fill the memory otherwise.
#[test]
fn nothing_is_kept_of_a_leg_that_nothing_is_known_of() {
    for verdict in [Verdict::Unavailable, Verdict::Gone, Verdict::Refused(Reason::Busy.into())] {
        let mut b = bench();
        b.message(leg(1), Message::Digit(1));
        let ticket = b.recalled();
        b.verdict(ticket, verdict);
        assert!(b.is_empty());
        assert_eq!(b.sent().len(), 1);
    }
    let mut b = bench();
    b.message(leg(1), Message::Bye);
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Unavailable);
    assert_eq!(b.sent(), ["will do Bye"]);
    b.wait(500);
    let ticket = b.recalled();
    b.verdict(ticket, Verdict::Gone);
    assert!(b.is_empty() && b.sent().is_empty());
}

#[test]
fn a_leg_leaves_after_its_lifetime_and_no_timer_keeps_it() {
    let mut b = bench();
    b.opened(leg(1));
    let timers = |b: &mut Bench, at| b.legs.held.0.get_mut(&leg(1)).unwrap().timers.set(Timer::Repeat, at);
    timers(&mut b, Time(1_000_100));
    b.legs.reschedule(leg(1), false, b.now);
    for _ in 0..5_000 {
        b.wait(100);
    }
    assert_eq!(b.sent().len(), 5_000);
    // A sign of life.
    b.message(leg(1), Message::Note);
    b.wait(599_999);
    assert_eq!(b.legs.held().len(), 1);
    b.wait(1);
    assert!(b.is_empty());
    // An ended one leaves sooner.
    b.sent();
    b.opened(leg(2));
    b.message(leg(2), Message::Bye);
    let (ticket, _) = b.heard();
    b.verdict(ticket, committed(2));
    b.wait(32_000);
    assert!(b.is_empty());
}

#[test]
fn a_timer_that_is_due_again_at_once_holds_nothing_up() {
    let mut b = bench();
    b.opened(leg(1));
    b.legs.protocol.eager = true;
    b.legs.held.0.get_mut(&leg(1)).unwrap().timers.set(Timer::Repeat, b.now);
    b.legs.reschedule(leg(1), false, b.now);
    b.wait(10);
    assert_eq!(b.sent(), ["repeated"]);
    assert_eq!(b.legs.poll_timeout(), Some(b.now + 1));
}

#[test]
fn a_leg_at_work_does_not_leave() {
    let mut b = bench();
    b.opened(leg(1));
    // Asks follow one another for longer than its lifetime.
    for _ in 0..100 {
        b.legs.handle_event(leg(1), Event::Silence, b.now);
        b.drain();
        let (ticket, _) = b.heard();
        b.wait(8_000);
        b.verdict(ticket, Verdict::Unavailable);
        b.legs.held.0.get_mut(&leg(1)).unwrap().retrying.clear();
    }
    assert_eq!(b.legs.held().len(), 1);
}

#[test]
fn a_protocol_decides_about_a_leg_whose_lifetime_is_over() {
    let mut b = bench();
    b.opened(leg(1));
    b.legs.protocol.keeps = true;
    b.wait(700_000);
    assert_eq!(b.legs.held().len(), 1);
    b.legs.protocol.keeps = false;
    b.wait(600_000);
    assert!(b.is_empty());
    b.order(1, state(leg(2), 3, State { rings: true, ..ALIVE }), None);
    b.wait(600_000);
    let (ticket, heard) = b.heard();
    assert_eq!(heard.signals, [Signal::End(Reason::Timeout.into())]);
    b.verdict(ticket, committed(5));
    b.wait(32_000);
    assert!(b.is_empty());
}

#[test]
fn timers_of_a_leg_are_bounded_and_move() {
    let mut timers = crate::Timers::default();
    for n in 0..100_u64 {
        timers.set(n, Time(n));
    }
    assert_eq!(timers.next(), Some(Time(68)));
    timers.set(99, Time(1));
    assert_eq!((timers.next(), timers.take_due(Time(70))), (Some(Time(1)), vec![68, 69, 70, 99]));
    timers.clear(&71);
    assert_eq!(timers.next(), Some(Time(72)));
}
