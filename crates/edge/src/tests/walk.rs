//! Random walk: any inputs and verdicts in any order. Every message has one answer, and nothing is kept in the end.

use super::toy::{Event, Message, State};
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Open(u8),
    Message(u8, Message),
    Event(u8),
    Order(u8, u64),
    Verdict(usize, u8),
    Forwarded(bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let message = prop_oneof![
        Just(Message::Call),
        (0..9_u8).prop_map(Message::Digit),
        Just(Message::Note),
        Just(Message::Bye),
        Just(Message::Progress),
        Just(Message::Elsewhere),
        Just(Message::Joined),
        Just(Message::Foreign),
    ];
    let leg = 0..4_u8;
    prop_oneof![
        2 => leg.clone().prop_map(Step::Open),
        6 => (leg.clone(), message).prop_map(|(leg, message)| Step::Message(leg, message)),
        1 => leg.clone().prop_map(Step::Event),
        3 => (leg, 0..6_u64).prop_map(|(leg, number)| Step::Order(leg, number)),
        9 => (0..3_usize, 0..8_u8).prop_map(|(which, what)| Step::Verdict(which, what)),
        2 => any::<bool>().prop_map(Step::Forwarded),
        1 => prop_oneof![Just(1_u64), Just(1_000), Just(20_000), Just(700_000)].prop_map(Step::Wait),
    ]
}

fn decide(b: &mut Bench, which: usize, what: u8) {
    if b.asks.is_empty() {
        return;
    }
    let (ticket, ask) = b.asks.remove(which % b.asks.len());
    let (id, base) = match &ask {
        Ask::Heard(heard) => (heard.leg, heard.base),
        Ask::Recall(id) => (*id, 4),
    };
    let known = LegState { edge: "two".into(), ..state(id, base + 2, State::default()) };
    let verdict = match (what, ask) {
        (0, _) => Verdict::Unavailable,
        (1, _) => Verdict::Gone,
        (2, _) => Verdict::Stale(known),
        (3, _) => Verdict::Refused(Reason::Busy.into()),
        (4, Ask::Heard(_)) => committed(base + 5),
        (_, Ask::Heard(_)) => committed(base + 1),
        (_, Ask::Recall(_)) => Verdict::Leg(known),
    };
    b.verdict(ticket, verdict);
}

fn answers(sent: &[String]) -> usize {
    let others = ["are you there?", "too late", "repeated"];
    sent.iter().filter(|text| !others.contains(&text.as_str()) && !text.starts_with("order")).count()
}

fn play(steps: &[Step]) {
    let mut b = bench();
    b.legs.protocol.reopens = true;
    let (mut messages, mut events) = (0, 0);
    for step in steps {
        match *step {
            Step::Open(n) if b.legs.has_room() && !b.legs.held().contains(leg(n)) => {
                messages += 1;
                b.open(leg(n));
            }
            Step::Open(_) => {}
            Step::Message(n, message) => {
                messages += 1;
                b.message(leg(n), message);
            }
            Step::Event(n) => {
                events += 1;
                b.legs.handle_event(leg(n), Event::Silence, b.now);
                b.drain();
            }
            Step::Order(n, number) => b.order(number, state(leg(n), 2, State::default()), None),
            Step::Verdict(which, what) => decide(&mut b, which, what),
            Step::Forwarded(taken) if !b.forwarded.is_empty() => {
                let (ticket, _, _) = b.forwarded.remove(0);
                // The other edge answers it.
                messages -= usize::from(taken && b.legs.pending.contains_key(&ticket));
                b.legs.handle_forwarded(ticket, taken, b.now);
                b.drain();
            }
            Step::Forwarded(_) => {}
            Step::Wait(ms) => b.wait(ms),
        }
    }
    for _ in 0..200 {
        b.wait(20_000);
        while !b.asks.is_empty() {
            decide(&mut b, 0, 7);
        }
    }
    assert!(b.is_empty(), "{:?}", b.legs);
    let answered = answers(&b.sent());
    // An event that meets an ended leg says so too.
    assert!((messages..=messages + events).contains(&answered), "{messages} messages, {answered} answers");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_message_has_one_answer_and_nothing_is_kept(steps in vec(step(), 1..60)) {
        play(&steps);
    }
}
