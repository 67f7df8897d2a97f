//! Bus on NATS: core request/reply and publish, no JetStream.
//!
//! One rule: nothing is sent late. A client without connection would queue messages and send them after it has reconnected; so it is
//! given none then, and each request carries its time of expiry.

use crate::{BusError, Message, QUEUE, Reply, Request};
use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Subject};
use bytes::Bytes;
use futures::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

const TRACEPARENT: &str = "traceparent";
/// Header with a request's time of expiry, ms since the Unix epoch.
const EXPIRES: &str = "tandem-until";
/// Tolerance for the time of expiry, ms: the clocks of two hosts differ by less.
pub const SKEW_MS: u64 = 2_000;
/// Time after which handing a message to the client fails: a connected client takes it sooner.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Subject that is never served.
const UNSERVED: &str = "tandem.nobody";

/// Address of NATS and name of this client.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// URLs, `nats://a:4222,nats://b:4222`: the client connects to the next one when a connection is lost.
    pub url: String,
    /// Name of the connection in the server's monitoring.
    pub name: String,
    /// Clock, ms since the Unix epoch.
    pub now: fn() -> u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Nats {
    client: Client,
    now: fn() -> u64,
}

/// Reply subject of a request, with its time of expiry.
#[derive(Debug)]
pub(crate) struct Responder {
    nats: Nats,
    subject: Subject,
    expires_ms: Option<u64>,
}

impl Responder {
    pub fn has_expired(&self) -> bool {
        let late = self.expires_ms.map_or(0, |expires| (self.nats.now)().saturating_sub(expires));
        if late > SKEW_MS {
            tracing::warn!(late_ms = late, "a request came late; do the clocks of the hosts differ?");
        }
        late > SKEW_MS
    }

    pub async fn reply(self, payload: Bytes) -> Result<(), BusError> {
        self.nats.send(self.nats.client.publish(self.subject, payload)).await
    }
}

/// Subscription at the server; ends when dropped. The client bounds its queue.
#[derive(Debug)]
pub(crate) struct Subscription {
    nats: Nats,
    stream: async_nats::Subscriber,
    /// True if the subscription is to be ended, after what has arrived.
    closing: bool,
}

impl Subscription {
    pub fn close(&mut self) {
        self.closing = true;
    }

    pub async fn message(&mut self) -> Option<Message> {
        self.next().await.map(read)
    }

    pub async fn request(&mut self) -> Option<Request> {
        loop {
            let message = self.next().await?;
            let expires_ms = header(&message, EXPIRES).and_then(|text| text.parse().ok());
            // A message without reply subject is no request.
            let Some(subject) = message.reply.clone() else { continue };
            let responder = Responder { nats: self.nats.clone(), subject, expires_ms };
            return Some(Request { message: read(message), reply: Reply::Nats(responder) });
        }
    }

    async fn next(&mut self) -> Option<async_nats::Message> {
        if self.closing {
            // What has arrived before is still returned; a request on the wire at this moment may run into its deadline.
            // A client that does not take the command is told again next time.
            self.closing = !matches!(timeout(SEND_TIMEOUT, self.stream.drain()).await, Ok(Ok(())));
            // Sends the UNSUB now, not with the next message.
            let client = self.nats.client.clone();
            tokio::spawn(async move { client.flush().await });
        }
        self.stream.next().await
    }
}

impl Nats {
    pub async fn connect(config: &NatsConfig) -> Result<Nats, BusError> {
        let servers: Vec<String> = config.url.split(',').map(|s| s.trim().to_owned()).collect();
        let options = ConnectOptions::new()
            .name(&config.name)
            .subscription_capacity(QUEUE)
            .event_callback(|event| async move {
                if let Event::SlowConsumer(_) = event {
                    tracing::warn!("an inbox is full; a message is dropped");
                }
            })
            .connection_timeout(Duration::from_secs(2))
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(|attempt| Duration::from_millis((attempt as u64 * 50).min(500)));
        let client = options.connect(servers).await.map_err(link_error)?;
        Ok(Nats { client, now: config.now })
    }

    fn ensure_connected(&self) -> Result<(), BusError> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => Err(BusError::Link("the server is away".into())),
        }
    }

    /// Hands a message to the client; fails if there is no connection.
    async fn send<T, E: std::fmt::Display>(
        &self,
        sending: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BusError> {
        self.ensure_connected()?;
        let late = |_| BusError::Link("the client takes nothing".into());
        timeout(SEND_TIMEOUT, sending).await.map_err(late)?.map_err(link_error)
    }

    pub async fn request(&self, subject: &str, message: Message, limit: Duration) -> Result<Bytes, BusError> {
        self.ensure_connected()?;
        let mut headers = headers(&message.trace);
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        headers.insert(EXPIRES, (self.now)().saturating_add(limit_ms).to_string());
        let request = async_nats::Request::new().payload(message.payload).headers(headers).timeout(None);
        match timeout(limit, self.client.send_request(subject.to_owned(), request)).await {
            Err(_) => Err(BusError::Timeout),
            Ok(Ok(answer)) => Ok(answer.payload),
            Ok(Err(error)) => Err(match error.kind() {
                RequestErrorKind::NoResponders => BusError::NoResponder,
                RequestErrorKind::TimedOut => BusError::Timeout,
                _ => link_error(error),
            }),
        }
    }

    pub async fn serve(&self, subject: &str, group: &str) -> Result<Subscription, BusError> {
        let stream = self.send(self.client.queue_subscribe(subject.to_owned(), group.to_owned())).await?;
        self.subscription(stream).await
    }

    pub async fn publish(&self, subject: &str, message: Message) -> Result<(), BusError> {
        let subject = subject.to_owned();
        if message.trace.is_empty() {
            self.send(self.client.publish(subject, message.payload)).await
        } else {
            let headers = headers(&message.trace);
            self.send(self.client.publish_with_headers(subject, headers, message.payload)).await
        }
    }

    pub async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        let stream = self.send(self.client.subscribe(pattern.to_owned())).await?;
        self.subscription(stream).await
    }

    /// Waits until the server has processed everything before. The client's own flush only empties its buffer; the server answers a
    /// request to a subject without server, and processes a connection in order, subscriptions included.
    pub async fn flush(&self) -> Result<(), BusError> {
        match self.request(UNSERVED, Message::default(), Duration::from_secs(2)).await {
            Ok(_) | Err(BusError::NoResponder) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns a subscription once the server has it: an instance that hears of it can send requests at once.
    async fn subscription(&self, stream: async_nats::Subscriber) -> Result<Subscription, BusError> {
        self.flush().await?;
        Ok(Subscription { nats: self.clone(), stream, closing: false })
    }
}

fn link_error(error: impl std::fmt::Display) -> BusError {
    BusError::Link(error.to_string())
}

fn headers(trace: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !trace.is_empty() {
        headers.insert(TRACEPARENT, trace);
    }
    headers
}

fn header(message: &async_nats::Message, name: &str) -> Option<String> {
    message.headers.as_ref()?.get(name).map(ToString::to_string)
}

fn read(message: async_nats::Message) -> Message {
    Message { trace: header(&message, TRACEPARENT).unwrap_or_default(), payload: message.payload }
}
