//! The orchestrator among edges and relays that do as they are told by the test: what is committed, performed, performed again,
//! and refused. Decisions themselves are tested in `crates/session` and `tests/sim.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use bus::Message;
use common::{World, described, heard, invite};
use proto::wire::WireFormat;
use signal::media::{Codec, Dtls, Fingerprint, Ice, Setup};
use signal::{
    AnySignal, Ask, End, Heard, LegId, LegRef, MessageSignal, PresenceSignal, Protocol, Reason, RecordId,
    RecordKind, Said, Say, Signal, Time, Verdict, subjects,
};
use std::time::Duration;
use tonic::Status;

#[tokio::test]
async fn a_call_is_committed_performed_answered_and_ended() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    let committed = |verdict| matches!(verdict, Some(Verdict::Committed { revision: 1, .. }));
    assert!(committed(world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await));
    world.until(|w| w.said() == [(1, "offer")]).await;
    // The same event again: the same verdict, nothing is said twice.
    assert!(committed(world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await));
    let opening = world.said.lock().unwrap()[0].opening.clone().unwrap();
    assert_eq!((&*opening.from.address, &*opening.to.address), ("2041@sip.example.net", "rosa@example.net"));

    let answer = heard(1, 1, 2, vec![Signal::Ringing, Signal::Answer(described())]);
    assert!(matches!(world.ask(Ask::Heard(answer)).await, Some(Verdict::Committed { revision: 2, .. })));
    world.until(|w| w.said() == [(1, "offer"), (0, "ringing"), (0, "answer")]).await;
    world.until(|w| w.books.count("connect") == 2).await;

    // Heard against a dialog that has moved on: the edge gets the leg and must look again.
    let Some(Verdict::Leg(leg)) = world.ask(Ask::Recall(heard(0, 0, 0, vec![]).leg)).await else { panic!() };
    assert_eq!(leg.revision, 3);
    let bye = |base, event| heard(0, base, event, vec![Signal::End(Reason::Normal.into())]);
    assert_eq!(world.ask(Ask::Heard(bye(1, 3))).await, Some(Verdict::Stale(leg)));
    assert!(matches!(world.ask(Ask::Heard(bye(3, 3))).await, Some(Verdict::Committed { revision: 4, .. })));
    world.until(|w| w.said().last() == Some(&(1, "end")) && w.books.count("release") == 1).await;
    assert_eq!((world.said().len(), world.books.count("allocate")), (4, 1));
}

#[tokio::test]
async fn what_is_not_served_is_refused_and_leaves_nothing_behind() {
    let world = World::new().await;
    let _one = world.orchestrator().await;
    let refused = |verdict: Option<Verdict>| match verdict {
        Some(Verdict::Refused(End { reason, .. })) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(world.ask(Ask::Heard(invite("sip:9999@gw.example"))).await), Reason::NotFound);
    assert_eq!(refused(world.ask(Ask::Heard(invite("sip:112@gw.example"))).await), Reason::Forbidden);
    let mut alien = invite("sip:2700@gw.example");
    if let Signal::Offer(media) = &mut alien.signals[0] {
        media.contents[0].codecs = vec![Codec::new(18, "G729", 8000, 1)];
    }
    assert_eq!(refused(world.ask(Ask::Heard(alien)).await), Reason::IncompatibleMedia);
    assert_eq!((world.books.count("allocate"), world.books.count("release")), (1, 1));
    *world.books.1.lock().unwrap() = Some(Status::resource_exhausted("full"));
    assert_eq!(refused(world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await), Reason::Unavailable);
    // R-CODE-8: what is wrong with this call, or with one relay, says nothing about the next call.
    *world.books.1.lock().unwrap() = Some(Status::invalid_argument("no"));
    assert_eq!(refused(world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await), Reason::Connectivity);
    assert_eq!(world.ask(Ask::Heard(heard(1, 1, 2, vec![]))).await, Some(Verdict::Gone));
    assert!(world.store.list("call", 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_dead_orchestrator_left_undone_is_done_by_another_within_seconds() {
    let world = World::new().await;
    let one = world.orchestrator().await;
    // Nobody can say anything yet: the offer stays in the record, and its orchestrator dies.
    assert!(matches!(
        world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await,
        Some(Verdict::Committed { .. })
    ));
    drop(one);
    let _edges = world.edges().await;
    assert!(world.said().is_empty());
    let _two = world.orchestrator().await;
    world.until(|w| !w.said().is_empty()).await;
    assert_eq!(world.said()[0], (1, "offer"));
}

#[tokio::test]
async fn a_leg_that_no_edge_can_open_ends_the_call() {
    let world = World::new().await;
    let _one = world.orchestrator().await;
    let mut sip = world.bus.serve(&subjects::say(Protocol::Sip, ""), "edges").await.unwrap();
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    let request = tokio::time::timeout(Duration::from_secs(15), sip.next()).await.unwrap().unwrap();
    let say = Say::decode(&request.message.payload).unwrap();
    assert_eq!((say.state.leg.leg, say.signal), (LegId(0), Signal::End(Reason::Connectivity.into())));
    // An edge that was only slow may have opened the leg: it is told to go, and who answers there finds nobody.
    let subject = subjects::say(Protocol::Xmpp, "sip.example.net");
    let mut xmpp = world.bus.serve(&subject, "edges").await.unwrap();
    let request = tokio::time::timeout(Duration::from_secs(15), xmpp.next()).await.unwrap().unwrap();
    let say = Say::decode(&request.message.payload).unwrap();
    assert_eq!((say.state.leg.leg, say.signal), (LegId(1), Signal::End(Reason::Connectivity.into())));
    let answer = heard(1, 0, 2, vec![Signal::Ringing, Signal::Answer(described())]);
    assert_eq!(world.ask(Ask::Heard(answer)).await, Some(Verdict::Gone));
    let late = world.ask(Ask::Heard(heard(1, 0, 3, vec![Signal::Ringing]))).await;
    assert!(matches!(late, Some(Verdict::Committed { .. })), "what promises nothing is taken: {late:?}");
}

/// The edge of a SIP leg is gone by the time at which the leg is to be woken: another gets the order, with the leg as recorded.
#[tokio::test]
async fn a_leg_is_woken_at_an_edge_that_lives() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    let at = Time(runtime::clock::now_ms()) + 500;
    let asks = Heard { wake: Some(at), edge: "gone".into(), ..invite("sip:2700@gw.example") };
    assert!(matches!(world.ask(Ask::Heard(asks)).await, Some(Verdict::Committed { .. })));
    world.until(|w| !w.woken.lock().unwrap().is_empty()).await;
    assert!(Time(runtime::clock::now_ms()) >= at);
    let woken = world.woken.lock().unwrap().remove(0);
    assert_eq!((woken.leg.leg, woken.revision, woken.dialog.as_slice()), (LegId(0), 1, &b"dialog 1"[..]));
    assert_eq!(world.said(), [(1, "offer")], "nobody is told of it");
}

/// An ask in a vocabulary that is not served, or about another record than a call, has an answer, and changes nothing.
#[tokio::test]
async fn what_is_no_call_is_not_implemented() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    let Verdict::Committed { .. } = world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await.unwrap()
    else {
        panic!("a call is placed")
    };
    let any = |kind: RecordKind, signals: Vec<AnySignal>| {
        let Heard { leg, base, event, signals: _, dialog, edge, opening, wake, wire_id } =
            heard(0, 1, 7, vec![]);
        let leg = LegRef { record: RecordId { kind, ..leg.record }, ..leg };
        Ask::Heard(Heard { leg, base, event, signals, dialog, edge, opening, wake, wire_id })
    };
    let message = AnySignal::Message(MessageSignal::Accepted);
    let of_call = |kind: RecordKind| LegRef { record: RecordId { kind, hash: [1; 10] }, leg: LegId(0) };
    for ask in [
        any(RecordKind::Message, vec![message.clone()]),
        any(RecordKind::Subscription, vec![AnySignal::Presence(PresenceSignal::Subscribe)]),
        any(RecordKind::Call, vec![AnySignal::Call(Signal::Ringing), message]),
        any(RecordKind::Room, vec![AnySignal::Call(Signal::Ringing)]),
        any(RecordKind::Binding, vec![]),
        Ask::Recall(of_call(RecordKind::Chat)),
    ] {
        let request = Message { trace: String::new(), payload: ask.encode() };
        let answer = world.bus.request(subjects::ASK, request, Duration::from_secs(5)).await.unwrap();
        assert_eq!(Verdict::decode(&answer), Ok(Verdict::Refused(Reason::NotImplemented.into())), "{ask:?}");
    }
    let Some(Verdict::Leg(leg)) = world.ask(Ask::Recall(of_call(RecordKind::Call))).await else {
        panic!("the call is there")
    };
    assert_eq!(leg.revision, 1);
}

#[tokio::test]
async fn a_relay_that_lost_the_session_ends_the_call() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    world.until(|w| w.said().len() == 1).await;
    *world.books.1.lock().unwrap() = Some(Status::not_found("no such session"));
    world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Answer(described())]))).await;
    world.until(|w| w.said().iter().filter(|(_, what)| *what == "end").count() == 2).await;
}

/// R-RTP-17: a client's restart is answered with what the relay answers it with, once, whoever dies on the way.
#[tokio::test]
async fn a_restart_is_answered_with_the_credentials_of_the_relay() {
    let restarted = |ufrag: &str| {
        let mut media = described();
        let transport = &mut media.contents[0].transport;
        (transport.address, transport.mux) = (None, true);
        transport.ice = Some(Ice { ufrag: ufrag.into(), pwd: "p".repeat(22), ..Ice::default() });
        let fingerprints = vec![Fingerprint { hash: "sha-256".into(), digest: vec![3; 32] }];
        transport.dtls = Some(Dtls { fingerprints, setup: Setup::Active });
        media
    };
    let world = World::new().await;
    let _edges = world.edges().await;
    let one = world.orchestrator().await;
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    world.until(|w| w.said().len() == 1).await;
    world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Answer(restarted("hers"))]))).await;
    world.until(|w| w.books.count("connect") == 2).await;
    let update = |base, event, ufrag| {
        world.ask(Ask::Heard(heard(1, base, event, vec![Signal::Update(restarted(ufrag))])))
    };
    let answers = |w: &World| -> Vec<(String, usize, u32)> {
        let said = w.said.lock().unwrap();
        let answers = said.iter().filter_map(|say| match &say.signal {
            Signal::Updated(media) if say.state.leg.leg == LegId(1) => {
                media.contents[0].transport.ice.as_ref()
            }
            _ => None,
        });
        answers.map(|ice| (ice.ufrag.clone(), ice.candidates.len(), ice.generation())).collect()
    };
    assert!(matches!(update(2, 3, "again").await, Some(Verdict::Committed { .. })));
    world.until(|w| answers(w) == [("ours1".into(), 1, 1)]).await;
    // The relay takes the next one, and its reply is lost with the orchestrator.
    *world.books.1.lock().unwrap() = Some(Status::unavailable("the reply is lost"));
    let Some(Verdict::Leg(leg)) = world.ask(Ask::Recall(heard(1, 0, 0, vec![]).leg)).await else { panic!() };
    assert!(matches!(update(leg.revision, 4, "once more").await, Some(Verdict::Committed { .. })));
    world.until(|w| w.books.4.lock().unwrap().get(&1) == Some(&("once more".into(), 2))).await;
    drop(one);
    *world.books.1.lock().unwrap() = None;
    let _two = world.orchestrator().await;
    world.until(|w| answers(w).len() > 1).await;
    assert_eq!(answers(&world)[1], ("ours2".into(), 1, 2), "asked again, the same answer");
}

/// An edge that has come to hold a link learns whose calls stand there: those alone that are up, and of that domain.
#[tokio::test]
async fn e3_the_legs_of_a_domain_are_named_to_the_edge_that_takes_over() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    let legs = async |domain: &str| {
        let payload = serde_json::json!({ "domain": domain }).to_string().into();
        let message = Message { trace: String::new(), payload };
        let answer = world.bus.request(subjects::LEGS, message, Duration::from_secs(5)).await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&answer).unwrap()
    };
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    world.until(|w| w.said().len() == 1).await;
    assert_eq!(legs("sip.example.net").await, serde_json::json!([]), "it only rings");
    world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Answer(described())]))).await;
    world.until(|w| w.said().contains(&(0, "answer"))).await;
    let record = heard(1, 0, 0, vec![]).leg.record.to_string();
    let named = serde_json::json!([[record, 1, "2041@sip.example.net", "rosa@example.net"]]);
    assert_eq!(legs("SIP.example.net").await, named);
    assert_eq!(legs("other.example.net").await, serde_json::json!([]));
    world.ask(Ask::Heard(heard(1, 2, 3, vec![Signal::End(Reason::Normal.into())]))).await;
    world.until(|w| w.said().contains(&(0, "end"))).await;
    assert_eq!(legs("sip.example.net").await, serde_json::json!([]), "it is over");
}

/// R-RTP-14: whichever side falls silent, both hear that the call is over, and why.
#[tokio::test]
async fn a_relay_that_hears_nothing_more_ends_the_call() {
    for leg in [0, 1] {
        let world = World::new().await;
        let _edges = world.edges().await;
        let _one = world.orchestrator().await;
        world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
        world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Answer(described())]))).await;
        world.until(|w| w.said().contains(&(0, "answer"))).await;
        assert!(world.silence(leg).await);
        world.until(|w| w.said().iter().filter(|(_, what)| *what == "end").count() == 2).await;
        let over = Signal::End(Reason::Connectivity.into());
        let told = world.said.lock().unwrap().iter().filter(|say| say.signal == over).count();
        assert_eq!(told, 2, "leg {leg}");
        world.until(|w| w.books.count("release") == 1).await;
    }
}

/// The last media figures are told once, when the relay gives the session back.
#[tokio::test]
async fn the_last_figures_of_a_call_are_a_fact() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    let mut facts = world.bus.subscribe(subjects::FACTS).await.unwrap();
    let seen = proto::v1::RemoteReport { lost: -1, loss_ppm: 2_000, jitter_us: 3_000, mos: 430 };
    *world.books.3.lock().unwrap() = vec![proto::v1::EndStatistics {
        leg: 1,
        packets_in: 500,
        lost: 7,
        codec: "PCMU".into(),
        form: "webrtc".into(),
        mos_mean: 425,
        round_trip_us: 40_000,
        seen: Some(seen),
        ..Default::default()
    }];
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    world.until(|w| w.said() == [(1, "offer")]).await;
    world.ask(Ask::Heard(heard(0, 1, 2, vec![Signal::End(Reason::Cancelled.into())]))).await;
    let mut told = vec![];
    while !told.iter().any(|fact: &serde_json::Value| fact["fact"] == "media") {
        let fact = tokio::time::timeout(Duration::from_secs(5), facts.next()).await.unwrap().unwrap();
        told.push(serde_json::from_slice(&fact.payload).unwrap());
    }
    let media = told.pop().unwrap();
    let placed = told.iter().find(|fact| fact["fact"] == "placed").unwrap();
    assert_eq!(media["call"], placed["call"]);
    let end = &media["ends"][0];
    assert_eq!((&end["leg"], &end["codec"], &end["heard"]["lost"]), (&1.into(), &"PCMU".into(), &7.into()));
    assert_eq!((&end["heard"]["mos_mean"], &end["heard"]["mos"]), (&425.into(), &serde_json::Value::Null));
    assert_eq!((&end["round_trip_us"], &end["seen"]["lost"]), (&40_000.into(), &(-1).into()));
}

#[tokio::test]
async fn a_lease_has_one_holder() {
    let world = World::new().await;
    let _one = world.orchestrator().await;
    let claim = async |holder: &str, release: bool| {
        let json = serde_json::json!({ "name": "sip.example.net", "holder": holder, "ttl_ms": 400, "release": release });
        let message = Message { trace: String::new(), payload: json.to_string().into() };
        let octets = world.bus.request(subjects::CLAIM, message, Duration::from_secs(2)).await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&octets).unwrap()["granted"].as_bool().unwrap()
    };
    assert!(claim("a", false).await);
    assert!(!claim("b", false).await);
    assert!(claim("a", true).await);
    assert!(claim("b", false).await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(claim("a", false).await, "a lease runs out");
}

/// The edge that an XMPP leg names may have lost the link: what it takes would lie there (architecture §4).
#[tokio::test]
async fn an_xmpp_leg_is_told_by_whoever_holds_the_link_and_a_sip_leg_by_its_own_edge() {
    let world = World::new().await;
    let mut edges = world.edges().await;
    let _one = world.orchestrator().await;
    let mut named = world.bus.serve(&subjects::edge("named"), "edge").await.unwrap();
    let at_named = |heard: Heard| Ask::Heard(Heard { edge: "named".into(), ..heard });
    let mut next = async || {
        let request = tokio::time::timeout(Duration::from_secs(5), named.next()).await.unwrap().unwrap();
        let say = Say::decode(&request.message.payload).unwrap();
        let base = say.state.revision;
        let (dialog, edge) = (Some(vec![1]), "named".into());
        let said = Said { id: say.id, base, dialog, wake: None, edge, failed: None, wire_id: None };
        request.reply(said.encode()).await.unwrap();
        (say.state.leg.leg.0, say.signal.name())
    };
    world.ask(at_named(invite("sip:2700@gw.example"))).await;
    world.until(|w| w.said() == [(1, "offer")]).await;
    world.ask(at_named(heard(1, 1, 2, vec![Signal::Ringing]))).await;
    assert_eq!(next().await, (0, "ringing"));
    world.ask(at_named(heard(1, 2, 3, vec![Signal::Answer(described())]))).await;
    assert_eq!(next().await, (0, "answer"));
    let tone = Signal::Tone(signal::Tone { digit: '1', duration: 160 });
    world.ask(at_named(heard(0, 3, 4, vec![tone.clone()]))).await;
    world.until(|w| w.said() == [(1, "offer"), (1, "tone")]).await;
    // Nobody holds the link: whoever knew the leg keeps the stanza until there is one.
    world.ask(at_named(heard(1, 4, 5, vec![tone.clone()]))).await;
    assert_eq!(next().await, (0, "tone"));
    edges.truncate(1);
    world.ask(at_named(heard(0, 5, 6, vec![tone]))).await;
    assert_eq!(next().await, (1, "tone"));
}

/// Digits of a client towards a trunk that has agreed on telephone-event are the relay's to say, those of one that has not the edge's.
#[tokio::test]
async fn e8_keys_go_into_the_media_where_that_was_agreed() {
    for agreed in [true, false] {
        let world = World::new().await;
        let _edges = world.edges().await;
        let _one = world.orchestrator().await;
        let mut media = described();
        if agreed {
            media.contents[0].codecs.push(Codec::new(101, "telephone-event", 8_000, 1));
        }
        let offer = vec![Signal::Offer(media.clone())];
        world.ask(Ask::Heard(Heard { signals: offer, ..invite("sip:2700@gw.example") })).await;
        world.until(|w| w.said() == [(1, "offer")]).await;
        world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Answer(media)]))).await;
        world.until(|w| w.books.count("connect") == 2).await;
        let keys = "15#A".chars().map(|digit| Signal::Tone(signal::Tone { digit, duration: 160 }));
        world.ask(Ask::Heard(heard(1, 2, 3, keys.collect()))).await;
        let tones = |w: &World| w.said().iter().filter(|said| **said == (0, "tone")).count();
        world.until(|w| w.books.count("press") + tones(w) == 4).await;
        assert_eq!(tones(&world), if agreed { 0 } else { 4 });
        if agreed {
            let books = world.books.0.lock().unwrap();
            let said: Vec<_> = books.iter().filter(|line| line.starts_with("press")).collect();
            assert_eq!(said, ["press 0 1", "press 0 5", "press 0 #", "press 0 A"]);
        }
    }
}
