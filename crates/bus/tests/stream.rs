//! Streams on a real NATS server with JetStream.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use bytes::Bytes;
use std::time::Duration;
use tandem_bus::{Bus, BusError, NatsConfig, Stream, StreamConfig};
use testkit::{Nats, ports};

const SUBJECT: &str = "tandem.cdr.call";
const EPOCH: &str = "1970-01-01T00:00:00Z";

async fn bus(server: &Nats) -> Bus {
    let secret = signal::Secret::new(b"stream");
    Bus::nats(&NatsConfig::new(&server.url(), "stream", &secret, testkit::clock::now_ms)).await.unwrap()
}

fn config() -> StreamConfig {
    StreamConfig {
        name: "CDR".into(),
        subjects: "tandem.cdr.>".into(),
        max_age: Duration::from_secs(86_400),
        max_bytes: 10_000_000,
        replicas: 1,
        duplicates: Duration::from_secs(3_600),
    }
}

async fn read(stream: &Stream, subject: &str) -> Vec<Bytes> {
    let (mut reader, mut messages) = (stream.read(subject, EPOCH).await.unwrap(), vec![]);
    while let Some(message) = reader.next().await.unwrap() {
        messages.push(message);
    }
    messages
}

#[tokio::test]
async fn a_message_is_there_once_and_stays_when_it_is_read() {
    let server = Nats::start().unwrap();
    let bus = bus(&server).await;
    let stream = bus.stream(config()).unwrap();
    stream.check().await.unwrap();
    let early = stream.publish(SUBJECT, "1", "early".into()).await;
    assert_eq!(early, Err(BusError::NoResponder), "nobody keeps it yet");
    stream.ensure().await.unwrap();
    stream.ensure().await.unwrap();
    assert!(read(&stream, SUBJECT).await.is_empty());
    // More than are fetched at once.
    for number in 0..600 {
        let id = number.to_string();
        assert_eq!(stream.publish(SUBJECT, &id, id.clone().into()).await, Ok(false));
    }
    assert_eq!(stream.publish(SUBJECT, "7", "7".into()).await, Ok(true), "it was there before");
    stream.publish("tandem.cdr.leg", "7.0", "leg".into()).await.unwrap();
    for _ in 0..2 {
        let messages = read(&stream, SUBJECT).await;
        let numbers: Vec<usize> =
            messages.iter().map(|text| std::str::from_utf8(text).unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..600).collect::<Vec<_>>());
    }
    assert_eq!(read(&stream, "tandem.cdr.*").await.len(), 601);
    // Other limits are taken over, and the oldest make room.
    let small = bus.stream(StreamConfig { max_bytes: 10_000, ..config() }).unwrap();
    small.ensure().await.unwrap();
    let kept = read(&stream, "tandem.cdr.*").await;
    assert!(!kept.is_empty() && kept.len() < 200, "{}", kept.len());
    assert_eq!(kept.last().unwrap(), "leg");
}

#[tokio::test]
async fn a_stream_of_another_name_does_not_take_what_is_ours() {
    let server = Nats::start().unwrap();
    let bus = bus(&server).await;
    bus.stream(StreamConfig { name: "OTHER".into(), ..config() }).unwrap().ensure().await.unwrap();
    let ours = bus.stream(config()).unwrap();
    assert!(matches!(ours.ensure().await, Err(BusError::Stream(_))));
    assert!(matches!(ours.publish(SUBJECT, "1", "1".into()).await, Err(BusError::Stream(_))));
}

#[tokio::test]
async fn a_server_without_jetstream_is_told() {
    let server = Nats::with(ports::one(), "").unwrap();
    let stream = bus(&server).await.stream(config()).unwrap();
    let told = stream.check().await.unwrap_err();
    assert!(matches!(told, BusError::NoResponder | BusError::Stream(_)), "{told:?}");
    assert!(Bus::in_process().stream(config()).is_none());
}
