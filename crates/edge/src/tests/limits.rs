//! Limits of a link.

use super::toy::{Message, State};
use super::*;

fn one_call() -> Bench {
    limited(vec![("trunk".into(), Limits { calls: Some(1), ..Limits::default() })])
}

fn new_leg(id: LegRef) -> LegState {
    LegState { dialog: vec![], ..state(id, 0, State::default()) }
}

#[test]
fn f2_a_call_beyond_the_limit_is_refused_until_another_ends() {
    let mut b = one_call();
    b.opened(leg(1));
    b.open(leg(2));
    assert_eq!(b.sent(), ["no call Call: Congestion"]);
    assert!(b.asks.is_empty() && !b.legs.held().contains(leg(2)));
    b.message(leg(1), Message::Bye);
    let (ticket, _) = b.heard();
    b.open(leg(3));
    assert_eq!(b.sent(), ["no call Call: Congestion"], "its end is not known yet");
    b.verdict(ticket, committed(2));
    b.sent();
    b.opened(leg(4));
}

#[test]
fn f2_a_call_of_ours_beyond_the_limit_is_not_placed() {
    let mut b = one_call();
    b.order(1, new_leg(leg(1)), Some(opening()));
    b.order(1, new_leg(leg(1)), Some(opening()));
    assert_eq!(b.sent(), ["order 1"]);
    b.order(2, new_leg(leg(2)), Some(opening()));
    let failed = b.said.pop().and_then(|said| said.failed).unwrap();
    assert_eq!((failed.reason, failed.text.as_deref()), (Reason::Congestion, Some("All lines are busy")));
    assert!(b.sent().is_empty() && !b.legs.held().contains(leg(2)));
}

#[test]
fn f2_a_call_that_came_to_nothing_counts_no_more() {
    let mut b = one_call();
    // The orchestrator refuses it.
    b.open(leg(1));
    let (ticket, _) = b.heard();
    b.verdict(ticket, Verdict::Refused(Reason::NotFound.into()));
    b.sent();
    // Its link has no way.
    b.legs.set_limits(vec![("nowhere".into(), Limits { calls: Some(1), ..Limits::default() })]);
    for number in 2..4 {
        let nowhere = Opening { link: "nowhere".into(), ..opening() };
        b.order(number, new_leg(leg(number as u8)), Some(nowhere));
        assert_eq!(b.said.pop().unwrap().failed, Some(Reason::Connectivity.into()));
    }
    b.legs.set_limits(vec![("trunk".into(), Limits { calls: Some(1), ..Limits::default() })]);
    b.opened(leg(4));
}
