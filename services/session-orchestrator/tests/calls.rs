//! The orchestrator among edges and relays that do as they are told by the test: what is committed, performed, performed again,
//! and refused. Decisions themselves are tested in `crates/session` and `tests/sim.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use bus::directory::{Announcer, Card, announce};
use bus::{Bus, Message};
use proto::pipe::{Dialer, pipe};
use proto::v1::relay_server::{Relay, RelayServer};
use proto::v1::{
    AllocateReply, AllocateRequest, ConnectReply, ConnectRequest, Fingerprint, Ice, LocalEnd, RelayEvent,
    ReleaseReply, ReleaseRequest, StatisticsReply, StatisticsRequest, UpdateReply, UpdateRequest,
    relay_event,
};
use proto::wire::Wire;
use runtime::config::{AliasConfig, ComponentConfig, TrunkConfig};
use runtime::{Config, Drain};
use signal::media::{Codec, Kind};
use signal::{
    Ask, CallId, End, EventId, Heard, LegId, LegRef, Media, Opening, Party, Protocol, Reason, Said, Say,
    Signal, Verdict, subjects,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;
use tandem_orchestrator::{Dial, run};
use tonic::{Request, Response, Status};

/// A relay that keeps books, and refuses when told to.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<Vec<String>>>, Arc<Mutex<Option<Status>>>);

impl Books {
    fn note(&self, line: String) -> Result<(), Status> {
        self.0.lock().unwrap().push(line);
        self.1.lock().unwrap().clone().map_or(Ok(()), Err)
    }
    fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.starts_with(what)).count()
    }
}

#[tonic::async_trait]
impl Relay for Books {
    async fn allocate(&self, request: Request<AllocateRequest>) -> Result<Response<AllocateReply>, Status> {
        let request = request.into_inner();
        self.note(format!("allocate {}", request.session))?;
        let end = |leg: u32, content: u32| LocalEnd {
            leg,
            content,
            address: "203.0.113.1".into(),
            rtp_port: 30_000 + 4 * leg + 2 * content,
            rtcp_port: 30_001 + 4 * leg + 2 * content,
            ice: Some(Ice { ufrag: "abcd".into(), pwd: "0123456789012345678901".into(), ..Ice::default() }),
            fingerprint: Some(Fingerprint { hash: "sha-256".into(), digest: vec![7; 32] }),
        };
        let ends =
            (0..request.legs).flat_map(|leg| (0..request.contents).map(move |c| end(leg, c))).collect();
        Ok(Response::new(AllocateReply { ends }))
    }
    async fn connect(&self, request: Request<ConnectRequest>) -> Result<Response<ConnectReply>, Status> {
        let request = request.into_inner();
        self.note(format!("connect {} {}", request.leg, request.address))?;
        Ok(Response::new(ConnectReply {}))
    }
    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateReply>, Status> {
        self.note("update".into())?;
        Ok(Response::new(UpdateReply {}))
    }
    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseReply>, Status> {
        self.note(format!("release {}", request.into_inner().session))?;
        Ok(Response::new(ReleaseReply { ends: vec![] }))
    }
    async fn statistics(&self, _: Request<StatisticsRequest>) -> Result<Response<StatisticsReply>, Status> {
        Ok(Response::new(StatisticsReply::default()))
    }
}

struct World {
    bus: Bus,
    store: Store,
    dialer: Dialer,
    books: Books,
    said: Arc<Mutex<Vec<Say>>>,
    _here: Announcer,
}

fn config() -> Config {
    Config {
        trunk: vec![TrunkConfig {
            name: "pbx".into(),
            uri: "sip:192.0.2.9:5060".into(),
            domain: "sip.example.net".into(),
            sources: vec![],
            ..TrunkConfig::default()
        }],
        alias: vec![AliasConfig { number: "2700".into(), jid: "rosa@example.net".into() }],
        xmpp: runtime::config::XmppConfig {
            component: vec![ComponentConfig {
                domain: "sip.example.net".into(),
                server: "127.0.0.1:1".into(),
                secret: None,
                secret_file: None,
                users: Some("example.net".into()),
            }],
        },
        ..Config::default()
    }
}

impl World {
    async fn new() -> World {
        let (dialer, mut listener) = pipe();
        let books = Books::default();
        let service = RelayServer::new(books.clone());
        tokio::spawn(async move {
            while let Some(connection) = listener.accept().await {
                let incoming = futures::stream::iter([Ok::<_, std::io::Error>(connection)]);
                let incoming = futures::StreamExt::chain(incoming, futures::stream::pending());
                let service = service.clone();
                tokio::spawn(
                    tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
                );
            }
        });
        let bus = Bus::in_process();
        let card =
            Card { kind: "rtp-relay".into(), instance: "relay-1".into(), capacity: 100, ..Card::default() };
        let here = announce(&bus, card);
        World { bus, store: Store::in_memory(), dialer, books, said: Arc::default(), _here: here }
    }

    /// An orchestrator; dropping the handle kills it.
    async fn orchestrator(&self) -> Killed {
        let (bus, store, dial) = (self.bus.clone(), self.store.clone(), Dial::Pipe(self.dialer.clone()));
        let task = tokio::spawn(async move { run(config(), bus, store, dial, Drain::default()).await });
        // It serves once it is asked with an answer, and it knows the relays after a heartbeat.
        for _ in 0..100 {
            let unknown = LegRef { call: CallId([9; 10]), leg: LegId(0) };
            if self.ask(Ask::Recall(unknown)).await == Some(Verdict::Gone) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        Killed(task)
    }

    /// Edges of both kinds that say whatever they are told, one after the other.
    async fn edges(&self) -> Vec<Killed> {
        let subjects = [subjects::say(Protocol::Sip, ""), subjects::say(Protocol::Xmpp, "sip.example.net")];
        let mut edges = vec![];
        for subject in subjects {
            let (mut inbox, said) = (self.bus.serve(&subject, "edges").await.unwrap(), self.said.clone());
            edges.push(Killed(tokio::spawn(async move {
                while let Some(request) = inbox.next().await {
                    let say = Say::decode(&request.message.payload).unwrap();
                    let base = say.state.revision;
                    let answer = Said {
                        id: say.id,
                        base,
                        dialog: Some(format!("{} {}", say.signal.name(), base).into_bytes()),
                        edge: String::new(),
                        failed: None,
                    };
                    said.lock().unwrap().push(say);
                    request.reply(answer.encode()).await.unwrap();
                }
                Ok(())
            })));
        }
        edges
    }

    async fn ask(&self, ask: Ask) -> Option<Verdict> {
        let message = Message { trace: String::new(), payload: ask.encode() };
        let octets = self.bus.request(subjects::ASK, message, Duration::from_secs(5)).await.ok()?;
        Some(Verdict::decode(&octets).unwrap())
    }

    fn said(&self) -> Vec<(u8, &'static str)> {
        self.said.lock().unwrap().iter().map(|say| (say.state.leg.leg.0, say.signal.name())).collect()
    }

    async fn until(&self, what: impl Fn(&World) -> bool) {
        for _ in 0..400 {
            if what(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it never came to be; said {:?}, relay {:?}", self.said(), self.books.0.lock().unwrap());
    }
}

struct Killed(tokio::task::JoinHandle<anyhow::Result<()>>);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const CALL: CallId = CallId([1; 10]);

fn heard(leg: u8, base: u32, event: u64, signals: Vec<Signal>) -> Heard {
    Heard {
        leg: LegRef { call: CALL, leg: LegId(leg) },
        base,
        event: EventId(event),
        signals,
        dialog: format!("dialog {event}").into_bytes(),
        edge: String::new(),
        opening: None,
    }
}

fn described() -> Media {
    let mut media = Media::undescribed(&[Kind::Audio]);
    media.contents[0].codecs = vec![Codec::new(8, "PCMA", 8000, 1)];
    media.contents[0].transport.address = "192.0.2.9:4000".parse().ok();
    media
}

/// 2041 calls rosa.
fn invite(to: &str) -> Heard {
    let opening = Opening {
        from: Party::sip("sip:2041@pbx.example"),
        to: Party::sip(to),
        link: "pbx".into(),
        hops: 70,
    };
    Heard { opening: Some(opening), ..heard(0, 0, 1, vec![Signal::Offer(described())]) }
}

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

#[tokio::test]
async fn a_relay_that_hears_nothing_more_ends_the_call() {
    let world = World::new().await;
    let _edges = world.edges().await;
    let _one = world.orchestrator().await;
    world.ask(Ask::Heard(invite("sip:2700@gw.example"))).await;
    world.ask(Ask::Heard(heard(1, 1, 2, vec![Signal::Answer(described())]))).await;
    world.until(|w| w.said().contains(&(0, "answer"))).await;
    let silence = RelayEvent {
        session: CALL.to_string(),
        leg: 1,
        content: 0,
        event: relay_event::Event::TimedOut.into(),
        instance: "relay-1".into(),
    };
    let message = Message { trace: String::new(), payload: prost::Message::encode_to_vec(&silence).into() };
    world.bus.request(subjects::RELAY_EVENT, message, Duration::from_secs(2)).await.unwrap();
    world.until(|w| w.said().iter().filter(|(_, what)| *what == "end").count() == 2).await;
    world.until(|w| w.books.count("release") == 1).await;
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
        let said = Said { id: say.id, base, dialog: Some(vec![1]), edge: "named".into(), failed: None };
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
