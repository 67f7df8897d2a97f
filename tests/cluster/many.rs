//! The one relay under 200 calls (40 in a debug build), all with sound, goes. Killed: both parties of each hear each other again within three
//! seconds. Drained: no packet is lost.
//!
//! Relays and orchestrators are processes of their own over real NATS and Redis. The edges are this test: it answers every order as a
//! phone and a client would, and its parties speak RTP, ICE, DTLS and SRTP.

use crate::parties::{Hearing, Order, Parties};
use bus::{Bus, Message, NatsConfig};
use proto::wire::WireFormat;
use signal::media::{Codec, Dtls, Ice, Kind, Setup};
use signal::{
    Ask, EventId, Heard, LegId, LegRef, Media, Opening, Party, Protocol, RecordId, Said, Say, Signal,
    Verdict, subjects,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use testkit::Cluster;
use testkit::clock::poll;
use testkit::cluster::DOMAIN;

/// `CALLS=n` sets another number. Built without optimisation, parties and relay are the bottleneck of more.
const CALLS: usize = if cfg!(debug_assertions) { 40 } else { 200 };
/// Calls placed at once.
const AT_ONCE: usize = 8;
/// Longest silence that the death of a relay may cause.
const SILENCE: Duration = Duration::from_secs(3);

fn name(call: usize) -> RecordId {
    let [a, b] = (call as u16).to_be_bytes();
    RecordId::call([7, a, b, 1, 1, 1, 1, 1, 1, 1])
}

fn number(call: RecordId) -> usize {
    u16::from_be_bytes([call.hash[1], call.hash[2]]).into()
}

/// Knowledge of the edges: where each party is.
struct Edges {
    bus: Bus,
    orders: Sender<Order>,
    phones: Vec<SocketAddr>,
    clients: Vec<(Ice, Dtls)>,
}

impl Edges {
    fn phone(&self, call: usize) -> Media {
        let mut media = Media::undescribed(&[Kind::Audio]);
        media.contents[0].codecs = vec![Codec::new(0, "PCMU", 8_000, 1)];
        media.contents[0].transport.address = Some(self.phones[call]);
        media
    }

    fn client(&self, call: usize) -> Media {
        let mut media = Media::undescribed(&[Kind::Audio]);
        let (ice, dtls) = self.clients[call].clone();
        media.contents[0].codecs = vec![Codec::new(0, "PCMU", 8_000, 1)];
        let transport = &mut media.contents[0].transport;
        (transport.mux, transport.ice, transport.dtls) = (true, Some(ice), Some(dtls));
        media
    }

    /// Brings what a party said; told that it is stale, it says it again.
    async fn hears(&self, call: usize, leg: u8, base: u32, signal: Signal, opening: Option<Opening>) {
        let mut heard = Heard {
            leg: LegRef { record: name(call), leg: LegId(leg) },
            base,
            event: EventId::of(&[&call.to_string(), &leg.to_string(), &base.to_string(), signal.name()]),
            signals: vec![signal],
            dialog: vec![leg],
            edge: String::new(),
            opening,
            wake: None,
            wire_id: None,
        };
        for _ in 0..10 {
            let message = Message { trace: String::new(), payload: Ask::Heard(heard.clone()).encode() };
            let answer = self.bus.request(subjects::ASK, message, Duration::from_secs(5)).await;
            match answer.map(|octets| Verdict::decode(&octets).unwrap()) {
                Ok(Verdict::Committed { .. }) => return,
                Ok(Verdict::Stale(state)) => heard.base = state.revision,
                other => {
                    println!("call {call}: {other:?}");
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            }
        }
        panic!("call {call}: {heard:?} is not taken");
    }

    /// An order to a leg: what its party makes of it.
    async fn told(self: Arc<Edges>, say: Say) {
        let (call, leg) = (number(say.state.leg.record), say.state.leg.leg.0);
        let base = say.state.revision + 1;
        let answer = match (&say.signal, leg) {
            (Signal::Offer(media), 1) => {
                let transport = media.contents[0].transport.clone();
                let (ice, dtls) = (transport.ice.unwrap(), transport.dtls.unwrap());
                self.orders.send(Order::Meet(call, ice, dtls)).unwrap();
                Signal::Answer(self.client(call))
            }
            (Signal::Answer(media), 0) => {
                let address = media.contents[0].transport.address.unwrap();
                return self.orders.send(Order::Phone(call, address)).unwrap();
            }
            (Signal::Update(media), 0) => {
                let address = media.contents[0].transport.address.unwrap();
                self.orders.send(Order::Phone(call, address)).unwrap();
                Signal::Updated(self.phone(call))
            }
            (Signal::Update(media), 1) => {
                let ice = media.contents[0].transport.ice.clone().unwrap();
                self.orders.send(Order::Trickle(call, ice)).unwrap();
                Signal::Updated(self.client(call))
            }
            _ => return,
        };
        self.hears(call, leg, base, answer, None).await;
    }

    /// Serves the orders to all legs of one protocol.
    async fn serve(self: Arc<Edges>, subject: String) {
        let mut inbox = self.bus.serve(&subject, "edges").await.unwrap();
        while let Some(request) = inbox.next().await {
            let say = Say::decode(&request.message.payload).unwrap();
            let said = Said {
                id: say.id,
                base: say.state.revision,
                dialog: Some(vec![9]),
                edge: String::new(),
                failed: None,
                wire_id: None,
                wake: None,
            };
            request.reply(said.encode()).await.unwrap();
            tokio::spawn(self.clone().told(say));
        }
    }
}

async fn place(edges: &Arc<Edges>, count: usize) {
    let mut placing = tokio::task::JoinSet::new();
    for call in 0..count {
        if placing.len() >= AT_ONCE {
            placing.join_next().await.unwrap().unwrap();
        }
        let opening = Opening {
            from: Party::sip("sip:2041@127.0.0.1"),
            to: Party::sip("sip:2700@gw.example"),
            link: "desk".into(),
            hops: 70,
            diverted: None,
            referral: None,
        };
        let (edges, offer) = (edges.clone(), Signal::Offer(edges.phone(call)));
        placing.spawn(async move { edges.hears(call, 0, 0, offer, Some(opening)).await });
    }
    placing.join_all().await;
}

/// Calls with sound at the relay `rtp-relay-1`; another one, `rtp-relay-2`, has come after them.
struct Stage {
    cluster: Cluster,
    parties: Parties,
    count: usize,
    /// The edges run on it.
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new() -> Stage {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let count = std::env::var("CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(CALLS);
        let mut cluster = Cluster::without_edges(2).unwrap();
        let parties = Parties::start(count);
        let url = cluster.servers().0.url();
        let secret = signal::Secret::new(testkit::cluster::SECRET.as_bytes());
        let config = NatsConfig::new(&url, "edges", &secret, runtime::clock::now_ms);
        let edges = runtime.block_on(async {
            let clients = parties
                .clients
                .iter()
                .map(|(ice, print)| {
                    (ice.clone(), Dtls { fingerprints: vec![print.clone()], setup: Setup::Active })
                })
                .collect();
            let bus = Bus::nats(&config).await.unwrap();
            let edges =
                Edges { bus, orders: parties.orders.clone(), phones: parties.phones.clone(), clients };
            let edges = Arc::new(edges);
            for subject in [subjects::say(Protocol::Sip, ""), subjects::say(Protocol::Xmpp, DOMAIN)] {
                tokio::spawn(edges.clone().serve(subject));
            }
            edges.bus.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            edges
        });
        runtime.block_on(place(&edges, count));
        parties.until(Duration::from_secs(60), |heard| heard.iter().all(|h| h.packets > 3));
        // Only now is there another relay: all calls are at this one.
        cluster.add("rtp-relay").unwrap();
        let known = || cluster.ask("/instances").is_ok_and(|cards| cards.to_string().contains("rtp-relay-2"));
        assert!(
            poll(Duration::from_secs(20), || known().then_some(())).is_some(),
            "nobody knows of the second relay"
        );
        parties.begin();
        std::thread::sleep(Duration::from_secs(1));
        Stage { cluster, parties, count, _runtime: runtime }
    }

    /// All calls are at the other relay, and everybody hears; gives each party's hearing, the longest silence last.
    fn moved(&mut self) -> Vec<Hearing> {
        let mut heard = self.parties.heard();
        let deaf = |h: &&Hearing| h.last.elapsed() > Duration::from_secs(1);
        let side = |side: usize| heard.iter().skip(side).step_by(2).filter(deaf).count();
        println!("deaf: {} phones, {} clients", side(0), side(1));
        heard.sort_by_key(|h| h.gap);
        let (middle, worst) = (heard[self.count].gap, heard[2 * self.count - 1].gap);
        println!(
            "longest silence of each of {} parties: half below {middle:?}, all below {worst:?}; packets lost: {}",
            heard.len(),
            heard.iter().map(|h| h.lost).sum::<u64>()
        );
        let deaf = heard.iter().filter(deaf).count();
        let calls = self.cluster.ask("/calls").unwrap();
        let calls = calls["calls"].as_array().unwrap();
        let moved = calls.iter().filter(|c| c["state"] == "active" && c["relay"] == "rtp-relay-2").count();
        assert_eq!((moved, deaf), (self.count, 0), "{:#}", self.cluster.failure("was there"));
        heard
    }
}

#[test]
fn many_calls_outlive_the_death_of_their_relay() {
    let mut stage = Stage::new();
    stage.cluster.kill("rtp-relay-1").unwrap();
    let killed = runtime::clock::instant();
    // Who hears something later than what was on its way.
    let again = |heard: &[Hearing]| heard.iter().all(|h| h.last > killed + Duration::from_millis(300));
    stage.parties.becomes(Duration::from_secs(15), again);
    let worst = stage.moved().pop().unwrap().gap;
    assert!(worst <= SILENCE, "{worst:?}");
}

#[test]
fn many_calls_leave_a_relay_that_drains_and_nothing_is_lost() {
    let mut stage = Stage::new();
    stage.cluster.drain("rtp-relay-1").unwrap();
    stage.cluster.ended("rtp-relay-1", Duration::from_secs(30)).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let lost: u64 = stage.moved().iter().map(|h| h.lost).sum();
    assert_eq!(lost, 0);
}
