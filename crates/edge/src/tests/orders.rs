//! Down: orders.

use super::toy::{Message, State};
use super::*;

const ALIVE: State = State { count: 3, over: false, rings: false };

#[test]
fn an_order_is_carried_out_on_the_newer_of_two_states() {
    let mut b = bench();
    b.opened(leg(1));
    // Ours is newer than what the orchestrator knew.
    b.order(1, state(leg(1), 0, ALIVE), None);
    assert_eq!((b.said[0].base, b.said[0].dialog.clone()), (1, Some(vec![2, 0, 0])));
    // The record's is newer.
    b.order(2, state(leg(1), 7, State { count: 40, ..ALIVE }), None);
    assert_eq!((b.said[1].base, b.said[1].dialog.clone()), (7, Some(vec![41, 0, 0])));
    b.message(leg(1), Message::Digit(1));
    assert_eq!(b.heard().1.base, 8);
}

#[test]
fn an_order_given_again_is_carried_out_once() {
    let mut b = bench();
    for _ in 0..2 {
        b.order(1, state(leg(1), 3, ALIVE), None);
    }
    assert_eq!(b.sent(), ["order 1"]);
    assert_eq!((b.said[0].base, &b.said[0].dialog), (b.said[1].base, &b.said[1].dialog));
    // Its memory is bounded, and the newest stay in it.
    for number in 2..100 {
        b.order(number, state(leg(1), 0, ALIVE), None);
    }
    b.sent();
    b.order(99, state(leg(1), 0, ALIVE), None);
    assert!(b.sent().is_empty());
    assert_eq!(b.legs.held.0[&leg(1)].seen.len(), 16);
}

#[test]
fn an_order_given_again_while_it_waits_is_carried_out_once() {
    let mut b = bench();
    b.opened(leg(1));
    b.message(leg(1), Message::Digit(1));
    for _ in 0..40 {
        b.order(1, state(leg(1), 1, ALIVE), None);
    }
    let (ticket, _) = b.heard();
    b.verdict(ticket, committed(2));
    assert_eq!(b.sent(), ["took 1", "order 1"]);
    assert_eq!(b.said.len(), 1);
}

#[test]
fn an_order_opens_a_leg_or_says_why_not() {
    let mut b = bench();
    let new = || LegState { dialog: vec![], ..state(leg(1), 0, ALIVE) };
    b.order(1, new(), Some(Opening { link: "nowhere".into(), ..opening() }));
    assert_eq!(b.said[0].failed, Some(Reason::Connectivity.into()));
    assert!(b.is_empty());
    b.legs.protocol.no_room = true;
    b.order(2, new(), Some(opening()));
    assert_eq!(b.said[1].failed, Some(Reason::Unavailable.into()));
    b.legs.protocol.no_room = false;
    let mut b = bench();
    b.order(3, new(), Some(opening()));
    assert_eq!((b.said[0].failed.clone(), b.said[0].base), (None, 0));
    assert_eq!(b.sent(), ["order 3"]);
    // Neither can an order without opening begin anything.
    b.order(4, LegState { leg: leg(2), ..new() }, None);
    assert_eq!(b.said[1].failed, Some(Reason::Unavailable.into()));
    assert!(!b.legs.held().contains(leg(2)));
}

/// Of a rolling upgrade: the call goes on at an edge that reads the state.
#[test]
fn an_order_for_a_state_of_a_newer_version_is_left_to_another_edge() {
    let mut b = bench();
    b.order(1, LegState { dialog: vec![9], ..state(leg(1), 4, ALIVE) }, None);
    assert!(b.said.is_empty() && b.is_empty());
}

#[test]
fn an_order_that_finds_no_room_is_left_to_be_given_again() {
    let mut b = bench();
    b.opened(leg(1));
    b.message(leg(1), Message::Digit(1));
    for number in 0..10 {
        b.order(number, state(leg(1), 1, ALIVE), None);
    }
    assert!(b.said.is_empty());
    let (ticket, _) = b.heard();
    b.verdict(ticket, committed(2));
    assert_eq!(b.said.len(), 4);
    b.order(9, state(leg(1), 1, ALIVE), None);
    assert_eq!(b.said.len(), 5);
}
