//! Legs that are woken: timers that outlive the edge that set them.

use super::toy::{Message, State};
use super::*;

const RINGS: State = State { count: 3, over: false, rings: true };

/// The record learns with each state when its leg is to be woken.
#[test]
fn what_is_heard_and_said_tells_when_to_wake() {
    let mut b = bench();
    b.order(1, state(leg(1), 4, RINGS), None);
    assert_eq!(b.said[0].wake, Some(Time(1_004)));
    b.message(leg(1), Message::Digit(1));
    let (ticket, heard) = b.heard();
    assert_eq!(heard.wake, Some(Time(1_005)));
    b.verdict(ticket, committed(6));
    b.message(leg(1), Message::Bye);
    assert_eq!(b.heard().1.wake, None, "it is over");
}

/// An edge that never saw the leg wakes it all the same, once, and what comes of it is committed against the record's state.
#[test]
fn a_leg_that_is_not_held_is_woken_once() {
    let mut b = bench();
    for _ in 0..2 {
        b.wake(1, state(leg(1), 4, RINGS));
    }
    let (ticket, heard) = b.heard();
    assert_eq!((heard.base, heard.signals.as_slice()), (4, &[Signal::End(Reason::Timeout.into())][..]));
    assert_eq!(b.sent(), ["are you there?"]);
    b.verdict(ticket, committed(5));
    assert_eq!(b.sent(), ["too late"]);
    b.wake(1, state(leg(1), 4, RINGS));
    assert!(b.asks.is_empty() && b.sent().is_empty());
    let answers: Vec<_> = b.said.iter().map(|said| (said.base, &said.dialog, &said.failed)).collect();
    assert_eq!(
        answers,
        [(4, &None, &None), (5, &None, &None), (5, &None, &None)],
        "the leg changes by what is heard"
    );
}

/// Two edges that are both told come to the same event, which commits once.
#[test]
fn two_edges_wake_a_leg_by_one_event() {
    let heard = [(); 2].map(|()| {
        let mut b = bench();
        b.wake(1, state(leg(1), 4, RINGS));
        b.heard().1
    });
    assert_eq!(heard[0].event, heard[1].event);
}

#[test]
fn a_leg_that_has_changed_is_not_woken() {
    let mut b = bench();
    b.order(1, state(leg(1), 4, RINGS), None);
    b.sent();
    b.wake(2, state(leg(1), 4, RINGS));
    assert!(b.asks.is_empty() && b.sent().is_empty());
    assert_eq!(b.said[1].base, 5);
    // A change that is on its way comes first.
    let mut b = bench();
    b.order(1, state(leg(1), 4, RINGS), None);
    b.message(leg(1), Message::Digit(1));
    b.wake(2, state(leg(1), 5, RINGS));
    let (ticket, _) = b.heard();
    assert_eq!(b.said.len(), 1, "it waits");
    b.verdict(ticket, committed(6));
    assert!(b.asks.is_empty());
    assert_eq!(b.said[1].base, 6);
    // The record's newer state is woken, and not the one that is held.
    b.wake(3, state(leg(1), 9, RINGS));
    assert_eq!(b.heard().1.base, 9);
}

#[test]
fn a_leg_that_sees_to_its_timers_is_left_alone() {
    let mut b = bench();
    b.legs.protocol.awake = true;
    b.wake(1, state(leg(1), 4, RINGS));
    assert!(b.asks.is_empty() && b.sent().is_empty());
    assert_eq!(b.said.len(), 1);
}

/// Of a rolling upgrade: another edge reads the state.
#[test]
fn a_state_of_a_newer_version_is_woken_elsewhere() {
    let mut b = bench();
    b.wake(1, LegState { dialog: vec![9], ..state(leg(1), 4, RINGS) });
    assert!(b.said.is_empty() && b.is_empty());
}
