//! F6: what is said on NATS without the cluster's secret changes nothing, and is counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use async_nats::HeaderMap;
use futures::StreamExt;
use signal::Secret;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tandem_bus::directory::{Directory, InstanceInfo, announce, ask_to_drain, asked_to_drain};
use tandem_bus::{Bus, BusError, Message, NatsConfig};
use testkit::{Nats, ports};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(2);
const SECRET: &[u8] = b"the secret of these tests";

#[allow(clippy::disallowed_methods, reason = "real servers know no other clock")]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

fn config(server: &Nats, secret: &[u8]) -> NatsConfig {
    NatsConfig::new(&server.url(), "test", &Secret::new(secret), now_ms)
}

/// Server, an instance of the cluster, and a plain client of NATS.
async fn world() -> (Nats, Bus, async_nats::Client) {
    let server = Nats::start().unwrap();
    let bus = Bus::nats(&config(&server, SECRET)).await.unwrap();
    let stranger = async_nats::connect(server.url()).await.unwrap();
    (server, bus, stranger)
}

async fn refused(bus: &Bus, count: u64) {
    let counted = async {
        while bus.refused() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, counted).await.unwrap_or_else(|_| panic!("{} refused, not {count}", bus.refused()));
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_a_forged_card_and_a_forged_drain_change_nothing() {
    let (server, bus, stranger) = world().await;
    let relays = Directory::watch(&bus, "rtp-relay").await.unwrap();
    let card =
        InstanceInfo { kind: "rtp-relay".into(), instance: "forged".into(), ..InstanceInfo::default() };
    let octets = serde_json::to_vec(&card).unwrap();
    stranger.publish("tandem.here.rtp-relay", octets.into()).await.unwrap();
    let draining = tokio::spawn({
        let bus = bus.clone();
        async move { asked_to_drain(&bus, "edge-1").await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    stranger.publish("tandem.drain.edge-1", "".into()).await.unwrap();
    refused(&bus, 2).await;
    assert!(relays.list().is_empty() && !draining.is_finished());

    // With another secret, too.
    let other = Bus::nats(&config(&server, b"another secret of these tests")).await.unwrap();
    let _announced = announce(&other, card.clone());
    ask_to_drain(&other, "edge-1").await.unwrap();
    refused(&bus, 4).await;
    assert!(relays.list().is_empty() && !draining.is_finished());

    // An instance of the cluster is believed.
    let _announced = announce(&bus, InstanceInfo { instance: "true".into(), ..card });
    ask_to_drain(&bus, "edge-1").await.unwrap();
    assert_eq!(timeout(SOON, draining).await.unwrap().unwrap(), Ok(()));
    while relays.find("true").is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_a_forged_ask_is_not_answered_and_a_forged_answer_is_not_believed() {
    let (server, bus, stranger) = world().await;
    let mut asks = bus.serve("tandem.ask", "orchestrators").await.unwrap();
    let asked = stranger.request("tandem.ask", "call somebody in another's name".into());
    let patience = Duration::from_millis(700);
    let (answer, heard) = tokio::join!(timeout(patience, asked), timeout(patience, asks.next()));
    assert!(answer.is_err() && heard.is_err(), "{answer:?} {heard:?}");
    assert_eq!(bus.refused(), 1);

    let edge = Bus::nats(&config(&server, SECRET)).await.unwrap();
    let mut stolen = stranger.queue_subscribe("tandem.edge.one", "edge".into()).await.unwrap();
    stranger.flush().await.unwrap();
    let asking = tokio::spawn({
        let edge = edge.clone();
        async move { edge.request("tandem.edge.one", Message::default(), SOON).await }
    });
    let message = timeout(SOON, stolen.next()).await.unwrap().unwrap();
    stranger.publish(message.reply.unwrap(), "said".into()).await.unwrap();
    assert_eq!(asking.await.unwrap(), Err(BusError::Unauthentic));
    assert_eq!(edge.refused(), 1);
}

static CLOCK: AtomicU64 = AtomicU64::new(0);
static SENT: Mutex<Option<HeaderMap>> = Mutex::new(None);

/// A recorded message is of no use on another subject, with another payload, or later.
#[tokio::test(flavor = "multi_thread")]
async fn f6_a_recorded_message_is_of_no_use_elsewhere_or_later() {
    let server = Nats::with(ports::one(), "").unwrap();
    let stranger = async_nats::connect(server.url()).await.unwrap();
    CLOCK.store(now_ms(), Ordering::Relaxed);
    let skewed = NatsConfig { now: || CLOCK.load(Ordering::Relaxed), ..config(&server, SECRET) };
    let bus = Bus::nats(&skewed).await.unwrap();
    let mut heard = bus.subscribe("tandem.here.*").await.unwrap();
    let mut spied = stranger.subscribe("tandem.here.relay").await.unwrap();
    stranger.flush().await.unwrap();
    let message = Message { trace: String::new(), payload: "card".into() };
    bus.publish("tandem.here.relay", message).await.unwrap();
    assert!(timeout(SOON, heard.next()).await.is_ok());
    *SENT.lock().unwrap() = timeout(SOON, spied.next()).await.unwrap().unwrap().headers;
    let again = async |subject: &'static str, payload: &'static str| {
        let headers = SENT.lock().unwrap().clone().unwrap();
        stranger.publish_with_headers(subject, headers, payload.into()).await.unwrap();
        stranger.flush().await.unwrap();
    };
    again("tandem.here.relay", "card").await;
    assert!(timeout(SOON, heard.next()).await.is_ok(), "the same again within a minute");
    let mut dropped = async |count: u64| {
        let heard = timeout(Duration::from_millis(500), heard.next()).await;
        assert!(heard.is_err() && bus.refused() == count, "{heard:?}, {} refused", bus.refused());
    };
    again("tandem.here.edge", "card").await;
    again("tandem.here.relay", "another").await;
    dropped(2).await;
    CLOCK.fetch_add(61_000, Ordering::Relaxed);
    again("tandem.here.relay", "card").await;
    dropped(3).await;
}
