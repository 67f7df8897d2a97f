//! Client of an edge: which asks are retried, and that every ask gets one verdict.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use proto::wire::WireFormat;
use signal::{
    AnySignal, Ask, EffectId, End, EventId, Heard, LegId, LegRef, LegState, MessageSignal, Opening, Order,
    Party, PresenceSignal, Reason, RecordId, RecordKind, Said, Say, Signal, Verdict, Wake, subjects,
};
use std::time::Duration;
use tandem_bus::edge::{EdgeClient, Inbound, Name, Tracing};
use tandem_bus::{Bus, Message};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(5);
const LEG: LegRef = LegRef { record: RecordId::call([7; 10]), leg: LegId(0) };

fn client(bus: &Bus) -> EdgeClient {
    EdgeClient::open(
        bus.clone(),
        Tracing { adopt: |_, _| {}, parent_of: |_| String::new(), root: String::new, service: "edge" },
    )
}

fn heard(signal: Signal, opening: Option<Opening>) -> Ask {
    Ask::Heard(Heard {
        leg: LEG,
        base: 3,
        event: EventId::of(&["event"]),
        signals: vec![signal],
        dialog: vec![],
        edge: "edge".into(),
        opening,
        wake: None,
        wire_id: None,
    })
}

fn hang_up() -> Ask {
    heard(Signal::End(End::from(Reason::Normal)), None)
}

fn opening() -> Ask {
    let (from, to) = (Party::sip("sip:a@b"), Party::sip("sip:c@d"));
    let opening = Opening { from, to, link: "pbx".into(), hops: 70, diverted: None, referral: None };
    heard(Signal::Ringing, Some(opening))
}

fn committed() -> Verdict {
    Verdict::Committed { revision: 4, trace: String::new() }
}

async fn verdict(client: &mut EdgeClient) -> (u64, Verdict) {
    match client.next().await {
        Inbound::Verdict(ticket, verdict) => (ticket, verdict),
        Inbound::Order(order) => panic!("{order:?}"),
    }
}

/// First no orchestrator, then one whose store does not answer, then a working one: the hang-up is committed.
#[tokio::test]
async fn what_happened_in_a_call_is_asked_until_it_is_in_the_record() {
    let bus = Bus::in_process();
    let mut client = client(&bus);
    client.ask(1, hang_up(), Name::CallId("")).unwrap();
    client.ask(2, Ask::Recall(LEG), Name::CallId("")).unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut asks = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
    for verdict in [Verdict::Unavailable, Verdict::Unavailable, committed(), committed()] {
        timeout(SOON, asks.next()).await.unwrap().unwrap().reply(verdict.encode()).await.unwrap();
    }
    let mut tickets = vec![];
    for _ in 0..2 {
        let (ticket, verdict) = timeout(SOON, verdict(&mut client)).await.unwrap();
        assert_eq!(verdict, committed());
        tickets.push(ticket);
    }
    tickets.sort_unstable();
    assert_eq!(tickets, [1, 2]);
}

#[tokio::test]
async fn an_opening_fails_fast() {
    let bus = Bus::in_process();
    let mut client = client(&bus);
    let began = Instant::now();
    client.ask(1, opening(), Name::CallId("")).unwrap();
    assert_eq!(timeout(SOON, verdict(&mut client)).await.unwrap(), (1, Verdict::Unavailable));
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    let mut asks = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
    client.ask(2, opening(), Name::CallId("")).unwrap();
    let request = timeout(SOON, asks.next()).await.unwrap().unwrap();
    request.reply(Verdict::Unavailable.encode()).await.unwrap();
    assert_eq!(timeout(SOON, verdict(&mut client)).await.unwrap(), (2, Verdict::Unavailable));
}

#[tokio::test]
async fn asking_has_a_deadline() {
    let bus = Bus::in_process();
    let mut client = client(&bus);
    let began = Instant::now();
    // An orchestrator that takes requests and does not answer.
    let _silent = bus.serve(subjects::ASK, "orchestrators").await.unwrap();
    client.ask(1, hang_up(), Name::CallId("")).unwrap();
    assert_eq!(verdict(&mut client).await, (1, Verdict::Unavailable));
    let took = began.elapsed();
    let deadline = Duration::from_millis(signal::VERDICT_MS);
    assert!((deadline - SOON..deadline + Duration::from_secs(1)).contains(&took), "{took:?}");
}

/// Sends more asks than there is room for: each gets one verdict, returned or received.
#[tokio::test]
async fn no_verdict_is_lost_under_load() {
    const ASKS: u64 = 10_000;
    let bus = Bus::in_process();
    let mut client = client(&bus);
    let mut answered = std::collections::BTreeSet::new();
    for ticket in 0..ASKS / 2 {
        if client.ask(ticket, opening(), Name::CallId("")).is_err() {
            answered.insert(ticket);
        }
    }
    assert!(!answered.is_empty(), "there is a limit");
    // The channel is full of verdicts when further asks are sent.
    tokio::time::sleep(Duration::from_millis(200)).await;
    for ticket in ASKS / 2..ASKS {
        if client.ask(ticket, opening(), Name::CallId("")).is_err() {
            answered.insert(ticket);
        }
    }
    while answered.len() < ASKS as usize {
        let (ticket, verdict) = timeout(SOON, verdict(&mut client)).await.expect("a verdict is lost");
        assert_eq!(verdict, Verdict::Unavailable);
        assert!(answered.insert(ticket), "{ticket} is answered twice");
    }
}

/// An order that the edge lost is issued again when it is repeated; one that it is executing is not.
#[tokio::test]
async fn an_order_that_got_lost_is_given_again() {
    let bus = Bus::in_process();
    let mut client = client(&bus);
    let _served = client.serve("t.edge", "edge").await.unwrap();
    let state =
        LegState { leg: LEG, revision: 3, dialog: vec![1], edge: String::new(), trace: String::new() };
    let id = EffectId { record: LEG.record, version: 9, index: 0 };
    let order = Say { id, state, count: 1, signal: Signal::Ringing, opening: None };
    let message = Message { trace: String::new(), payload: order.encode() };
    let give = || {
        let (bus, message) = (bus.clone(), message.clone());
        tokio::spawn(async move { bus.request("t.edge", message, Duration::from_secs(2)).await })
    };
    let first = give();
    assert!(matches!(timeout(SOON, client.next()).await, Ok(Inbound::Order(_))));
    let second = give();
    assert!(timeout(Duration::from_millis(500), client.next()).await.is_err(), "it is being said");
    assert!(first.await.unwrap().is_err() && second.await.unwrap().is_err());
    let third = give();
    assert!(matches!(timeout(SOON, client.next()).await, Ok(Inbound::Order(_))), "it was swallowed");
    client.said(&Said {
        id,
        base: 3,
        dialog: Some(vec![2]),
        wake: None,
        edge: "edge".into(),
        failed: None,
        wire_id: None,
    });
    assert!(third.await.unwrap().is_ok());
}

/// An order in a vocabulary that no edge serves, or about another record than a call, is answered; the edge is left in peace.
#[tokio::test]
async fn what_no_edge_serves_is_not_implemented() {
    let bus = Bus::in_process();
    let mut client = client(&bus);
    let _served = client.serve("t.edge", "edge").await.unwrap();
    let order = |kind: RecordKind, signal: AnySignal| {
        let record = RecordId { kind, hash: [7; 10] };
        let leg = LegRef { record, ..LEG };
        let (edge, trace) = (String::new(), String::new());
        let state = LegState { leg, revision: 3, dialog: vec![1], edge, trace };
        let id = EffectId { record, version: 9, index: 0 };
        Order::Say(Say { id, state, count: 0, signal, opening: None })
    };
    let call = AnySignal::Call(Signal::Ringing);
    for refused in [
        order(RecordKind::Message, AnySignal::Message(MessageSignal::Accepted)),
        order(RecordKind::Subscription, AnySignal::Presence(PresenceSignal::Subscribe)),
        order(RecordKind::Call, AnySignal::Message(MessageSignal::Accepted)),
        order(RecordKind::Registration, call.clone()),
        Order::Wake(Wake {
            id: order(RecordKind::Chat, call.clone()).id(),
            state: order(RecordKind::Chat, call.clone()).state().clone(),
        }),
    ] {
        let message = Message { trace: String::new(), payload: refused.encode() };
        let said = Said::decode(&bus.request("t.edge", message, SOON).await.unwrap()).unwrap();
        let not_implemented = Some(End::from(Reason::NotImplemented));
        assert_eq!((said.id, said.base, said.dialog, said.failed), (refused.id(), 3, None, not_implemented));
    }
    assert!(client.try_next().is_none());
    let message = Message { trace: String::new(), payload: order(RecordKind::Call, call).encode() };
    let _given = tokio::spawn(async move { bus.request("t.edge", message, SOON).await });
    assert!(matches!(timeout(SOON, client.next()).await, Ok(Inbound::Order(Order::Say(_)))));
}
