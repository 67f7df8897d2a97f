//! Edges and relays that do as they are told by the test.
#![allow(dead_code, reason = "each test file uses its part")]

use bus::directory::{Announcer, InstanceInfo, announce};
use bus::{Bus, Message};
use futures::{Stream, StreamExt};
use proto::pipe::{Dialer, pipe};
use proto::v1::relay_server::{Relay, RelayServer};
use proto::v1::{
    AllocateReply, AllocateRequest, BridgeReply, BridgeRequest, Candidate, ConnectReply, ConnectRequest,
    EndStatistics, Fingerprint, Ice, LocalEnd, Orders, PlayReply, PlayRequest, Refused, RelayEvent,
    ReleaseReply, ReleaseRequest, Replies, Reply, StatisticsReply, StatisticsRequest, UpdateReply,
    UpdateRequest, order, relay_event, reply,
};
use proto::wire::WireFormat;
use runtime::config::{AliasConfig, ComponentConfig, TrunkConfig};
use runtime::{Config, Drain};
use signal::media::{Codec, Kind};
use signal::{
    Ask, EventId, Heard, LegId, LegRef, LegState, Media, Opening, Order, Party, Protocol, RecordId, Said,
    Say, Signal, Verdict, subjects,
};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;
use tandem_orchestrator::{Dial, run};
use tonic::{Request, Response, Status, Streaming};

/// A relay that keeps books, refuses when told to, allocates as slowly as it is told to, and has these figures; of each leg it
/// knows the peer's ufrag and how often that has changed.
#[derive(Clone, Default)]
pub struct Books(
    pub Arc<Mutex<Vec<String>>>,
    pub Arc<Mutex<Option<Status>>>,
    pub Arc<Mutex<Duration>>,
    pub Arc<Mutex<Vec<EndStatistics>>>,
    pub Arc<Mutex<BTreeMap<u32, (String, u32)>>>,
);

impl Books {
    fn note(&self, line: String) -> Result<(), Status> {
        self.0.lock().unwrap().push(line);
        self.1.lock().unwrap().clone().map_or(Ok(()), Err)
    }
    /// Returns the credentials of an end whose peer has this ufrag.
    fn renew(&self, leg: u32, ufrag: String) -> Option<Ice> {
        let mut known = self.4.lock().unwrap();
        let (theirs, generation) = known.entry(leg).or_insert_with(|| (ufrag.clone(), 0));
        if *theirs != ufrag {
            (*theirs, *generation) = (ufrag, *generation + 1);
        }
        let candidate = Candidate {
            foundation: "1".into(),
            component: 1,
            address: "203.0.113.1:30100".into(),
            generation: *generation,
            ..Candidate::default()
        };
        let ufrag = format!("ours{generation}");
        let pwd = "0123456789012345678901".into();
        (*generation > 0).then(|| Ice { ufrag, pwd, candidates: vec![candidate], ..Ice::default() })
    }
    pub fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.starts_with(what)).count()
    }
}

impl Books {
    async fn perform_one(&self, order: proto::v1::Order) -> Reply {
        use order::Order;
        let answer = match order.order.unwrap() {
            Order::Allocate(a) => {
                self.allocate(Request::new(a)).await.map(|r| reply::Reply::Allocate(r.into_inner()))
            }
            Order::Connect(c) => {
                self.connect(Request::new(c)).await.map(|r| reply::Reply::Connect(r.into_inner()))
            }
            Order::Bridge(b) => {
                self.bridge(Request::new(b)).await.map(|r| reply::Reply::Bridge(r.into_inner()))
            }
            Order::Update(u) => {
                self.update(Request::new(u)).await.map(|r| reply::Reply::Update(r.into_inner()))
            }
            Order::Release(r) => {
                self.release(Request::new(r)).await.map(|r| reply::Reply::Release(r.into_inner()))
            }
            Order::Statistics(s) => {
                self.statistics(Request::new(s)).await.map(|r| reply::Reply::Statistics(r.into_inner()))
            }
        };
        let answer = answer.unwrap_or_else(|status| {
            let refused = Refused { code: status.code() as u32, message: status.message().to_owned() };
            reply::Reply::Refused(refused)
        });
        Reply { id: order.id, reply: Some(answer) }
    }
}

#[tonic::async_trait]
impl Relay for Books {
    type PerformStream = Pin<Box<dyn Stream<Item = Result<Replies, Status>> + Send>>;

    async fn perform(
        &self,
        request: Request<Streaming<Orders>>,
    ) -> Result<Response<Self::PerformStream>, Status> {
        let books = self.clone();
        let orders = request.into_inner().flat_map(|message| futures::stream::iter(message.unwrap().orders));
        let one = move |order| {
            let books = books.clone();
            async move { Ok(Replies { replies: vec![books.perform_one(order).await] }) }
        };
        Ok(Response::new(Box::pin(orders.map(one).buffer_unordered(64))))
    }

    async fn allocate(&self, request: Request<AllocateRequest>) -> Result<Response<AllocateReply>, Status> {
        let request = request.into_inner();
        self.note(format!("allocate {}", request.session))?;
        let slow = *self.2.lock().unwrap();
        tokio::time::sleep(slow).await;
        let end = |leg: u32, content: u32| LocalEnd {
            leg,
            content,
            address: "203.0.113.1".into(),
            rtp_port: 30_000 + 4 * leg + 2 * content,
            rtcp_port: 30_001 + 4 * leg + 2 * content,
            ice: Some(Ice { ufrag: "abcd".into(), pwd: "0123456789012345678901".into(), ..Ice::default() }),
            fingerprint: Some(Fingerprint { hash: "sha-256".into(), digest: vec![7; 32] }),
            crypto: vec![],
            other_address: String::new(),
        };
        let ends =
            request.legs.iter().flat_map(|leg| (0..leg.contents).map(move |c| end(leg.leg, c))).collect();
        Ok(Response::new(AllocateReply { ends, ..AllocateReply::default() }))
    }
    async fn bridge(&self, request: Request<BridgeRequest>) -> Result<Response<BridgeReply>, Status> {
        let pairs = request
            .into_inner()
            .pairs
            .iter()
            .map(|pair| format!("{}-{}", pair.one, pair.other))
            .collect::<Vec<_>>();
        self.note(format!("bridge {}", pairs.join(" ")))?;
        Ok(Response::new(BridgeReply {}))
    }
    async fn connect(&self, request: Request<ConnectRequest>) -> Result<Response<ConnectReply>, Status> {
        let request = request.into_inner();
        // It takes the order even where its reply is lost.
        let ice = request.ice.and_then(|ice| self.renew(request.leg, ice.ufrag));
        self.note(format!("connect {} {}", request.leg, request.address))?;
        Ok(Response::new(ConnectReply { ice }))
    }
    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<UpdateReply>, Status> {
        let request = request.into_inner();
        self.note(match request.key {
            Some(key) => format!("press {} {}", request.leg, key.digit),
            None => "update".into(),
        })?;
        Ok(Response::new(UpdateReply::default()))
    }
    async fn play(&self, request: Request<PlayRequest>) -> Result<Response<PlayReply>, Status> {
        let request = request.into_inner();
        self.note(format!("play {} {}", request.leg, request.sound))?;
        Ok(Response::new(PlayReply {}))
    }
    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseReply>, Status> {
        self.note(format!("release {}", request.into_inner().session))?;
        Ok(Response::new(ReleaseReply { ends: self.3.lock().unwrap().clone() }))
    }
    async fn statistics(&self, _: Request<StatisticsRequest>) -> Result<Response<StatisticsReply>, Status> {
        let ends = self.3.lock().unwrap().clone();
        Ok(Response::new(StatisticsReply { ends, ..StatisticsReply::default() }))
    }
}

pub struct World {
    pub bus: Bus,
    pub store: Store,
    pub dialer: Dialer,
    pub books: Books,
    pub said: Arc<Mutex<Vec<Say>>>,
    pub woken: Arc<Mutex<Vec<LegState>>>,
    pub _here: Announcer,
}

pub fn config() -> Config {
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
                ..ComponentConfig::default()
            }],
        },
        ..Config::default()
    }
}

impl World {
    pub async fn new() -> World {
        World::on(Store::in_memory()).await
    }

    pub async fn on(store: Store) -> World {
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
        let card = InstanceInfo {
            kind: "rtp-relay".into(),
            instance: "relay-1".into(),
            capacity: 100,
            ..InstanceInfo::default()
        };
        let here = announce(&bus, card);
        World { bus, store, dialer, books, said: Arc::default(), woken: Arc::default(), _here: here }
    }

    /// An orchestrator; dropping the handle kills it.
    pub async fn orchestrator(&self) -> Orchestrator {
        let (bus, store, dial) = (self.bus.clone(), self.store.clone(), Dial::Pipe(self.dialer.clone()));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move { run(config(), bus, store, dial, Drain::default()).await });
        // It serves once it is asked with an answer, and it knows the relays after a heartbeat.
        for _ in 0..100 {
            let unknown = LegRef { record: RecordId::call([9; 10]), leg: LegId(0) };
            if self.ask(Ask::Recall(unknown)).await == Some(Verdict::Gone) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        Orchestrator(Some(runtime))
    }

    /// Edges of both kinds that say whatever they are told, one after the other.
    pub async fn edges(&self) -> Vec<Killed> {
        let subjects = [subjects::say(Protocol::Sip, ""), subjects::say(Protocol::Xmpp, "sip.example.net")];
        let mut edges = vec![];
        for subject in subjects {
            let mut inbox = self.bus.serve(&subject, "edges").await.unwrap();
            let (said, woken) = (self.said.clone(), self.woken.clone());
            edges.push(Killed(tokio::spawn(async move {
                while let Some(request) = inbox.next().await {
                    let order = <Order>::decode(&request.message.payload).unwrap();
                    let (id, base) = (order.id(), order.state().revision);
                    let (edge, failed, wake) = (String::new(), None, None);
                    let mut answer = Said { id, base, dialog: None, wake, edge, failed, wire_id: None };
                    match order {
                        Order::Say(say) => {
                            answer.dialog = Some(format!("{} {base}", say.signal.name()).into_bytes());
                            said.lock().unwrap().push(say);
                        }
                        Order::Wake(wake) => woken.lock().unwrap().push(wake.state),
                    }
                    request.reply(answer.encode()).await.unwrap();
                }
                Ok(())
            })));
        }
        edges
    }

    pub async fn ask(&self, ask: Ask) -> Option<Verdict> {
        let message = Message { trace: String::new(), payload: ask.encode() };
        let octets = self.bus.request(subjects::ASK, message, Duration::from_secs(5)).await.ok()?;
        Some(Verdict::decode(&octets).unwrap())
    }

    /// The relay hears nothing more of a leg; true: that is committed.
    pub async fn silence(&self, leg: u32) -> bool {
        let silence = RelayEvent {
            session: CALL.to_string(),
            leg,
            content: 0,
            event: relay_event::Event::TimedOut.into(),
            instance: "relay-1".into(),
        };
        let payload = prost::Message::encode_to_vec(&silence).into();
        let message = Message { trace: String::new(), payload };
        self.bus.request(subjects::RELAY_EVENT, message, Duration::from_secs(2)).await.is_ok()
    }

    pub fn said(&self) -> Vec<(u8, &'static str)> {
        self.said.lock().unwrap().iter().map(|say| (say.state.leg.leg.0, say.signal.name())).collect()
    }

    pub async fn until(&self, what: impl Fn(&World) -> bool) {
        for _ in 0..400 {
            if what(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it never came to be; said {:?}, relay {:?}", self.said(), self.books.0.lock().unwrap());
    }
}

pub struct Killed(tokio::task::JoinHandle<anyhow::Result<()>>);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An orchestrator on a runtime of its own: it dies with all that it had begun.
pub struct Orchestrator(Option<tokio::runtime::Runtime>);

impl Drop for Orchestrator {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

pub const CALL: RecordId = RecordId::call([1; 10]);

pub fn heard(leg: u8, base: u32, event: u64, signals: Vec<Signal>) -> Heard {
    Heard {
        leg: LegRef { record: CALL, leg: LegId(leg) },
        base,
        event: EventId(event),
        signals,
        dialog: format!("dialog {event}").into_bytes(),
        edge: String::new(),
        opening: None,
        wake: None,
        wire_id: None,
    }
}

pub fn described() -> Media {
    let mut media = Media::undescribed(&[Kind::Audio]);
    media.contents[0].codecs = vec![Codec::new(8, "PCMA", 8000, 1)];
    media.contents[0].transport.address = "192.0.2.9:4000".parse().ok();
    media
}

/// 2041 calls rosa.
pub fn invite(to: &str) -> Heard {
    let opening = Opening {
        from: Party::sip("sip:2041@pbx.example"),
        to: Party::sip(to),
        link: "pbx".into(),
        hops: 70,
        diverted: None,
        referral: None,
    };
    Heard { opening: Some(opening), ..heard(0, 0, 1, vec![Signal::Offer(described())]) }
}
