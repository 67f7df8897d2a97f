//! Bus on NATS: core request/reply and publish; JetStream for what must not be lost ([`stream`]).
//!
//! One rule: nothing is sent late. A client without connection would queue messages and send them after it has reconnected; so it is
//! given none then, and each request carries its time of expiry. Every message is signed ([`authentic`]).

mod authentic;
mod connect;
mod link;
mod stream;

pub use connect::{Cause, ConnectError, Login, NatsConfig, Tls};
pub(crate) use stream::{Reader, Stream};

use crate::{BusError, Message, Reply, Request};
use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Subject};
use authentic::{Authenticator, expires_ms};
use bytes::Bytes;
use connect::Logins;
use futures::StreamExt;
use link::Link;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const TRACEPARENT: &str = "traceparent";
/// Tolerance for the time of expiry, ms: the clocks of two hosts differ by less.
pub const SKEW_MS: u64 = 2_000;
/// Time after which handing a message to the client fails: a connected client takes it sooner.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Subject that is never served.
const UNSERVED: &str = "tandem.nobody";

#[derive(Clone, Debug)]
pub(crate) struct Nats {
    client: Client,
    now: fn() -> u64,
    link: Arc<Link>,
    logins: Logins,
    authenticator: Arc<Authenticator>,
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
        let mut headers = HeaderMap::new();
        self.nats.authenticator.sign(&mut headers, &self.subject, None, &payload);
        self.nats.send(self.nats.client.publish_with_headers(self.subject, headers, payload)).await
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
            let expires_ms = expires_ms(&message);
            // A message without reply subject is no request.
            let Some(subject) = message.reply.clone() else { continue };
            let responder = Responder { nats: self.nats.clone(), subject, expires_ms };
            return Some(Request { message: read(message), reply: Reply::Nats(responder) });
        }
    }

    /// Returns the next message of this cluster.
    async fn next(&mut self) -> Option<async_nats::Message> {
        loop {
            if self.closing {
                // What has arrived before is still returned; a request on the wire at this moment may run into its deadline.
                // A client that does not take the command is told again next time.
                self.closing = !matches!(timeout(SEND_TIMEOUT, self.stream.drain()).await, Ok(Ok(())));
                // Sends the UNSUB now, not with the next message.
                let client = self.nats.client.clone();
                tokio::spawn(async move { client.flush().await });
            }
            let message = self.stream.next().await?;
            if self.nats.authenticator.admits(&message) {
                return Some(message);
            }
        }
    }
}

impl Nats {
    pub async fn connect(config: &NatsConfig) -> Result<Nats, ConnectError> {
        let link = Arc::new(Link::new(connect::without_login(&config.url), config.report));
        let (client, logins) = connect::connect(config, link.clone()).await?;
        let authenticator = Arc::new(Authenticator::new(&config.secret, config.now));
        let nats = Nats { client, now: config.now, link, logins, authenticator };
        // A server that takes a client of TLS 1.3 without its certificate says so only now.
        match nats.flush().await {
            Ok(()) => Ok(nats),
            Err(error) => {
                let cause = Cause::Other(nats.trouble().unwrap_or_else(|| error.to_string()));
                Err(ConnectError { servers: connect::without_login(&config.url), cause })
            }
        }
    }

    /// Replaces the credentials of later connections.
    pub fn set_login(&self, login: Login) {
        self.logins.set(login);
    }

    /// Returns the cause for which there is no connection.
    pub fn trouble(&self) -> Option<String> {
        match self.client.connection_state() {
            State::Connected => None,
            State::Pending | State::Disconnected => {
                Some(self.link.trouble().unwrap_or_else(|| "the server is away".into()))
            }
        }
    }

    /// Returns the number of messages that were dropped because they are not of this cluster and moment.
    pub fn refused(&self) -> u64 {
        self.authenticator.refused()
    }

    fn ensure_connected(&self) -> Result<(), BusError> {
        self.trouble().map_or(Ok(()), |cause| Err(BusError::Link(cause)))
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
        let answer = self.ask(subject, message, limit).await?;
        if self.authenticator.admits(&answer) { Ok(answer.payload) } else { Err(BusError::Unauthentic) }
    }

    async fn ask(
        &self,
        subject: &str,
        message: Message,
        limit: Duration,
    ) -> Result<async_nats::Message, BusError> {
        self.ensure_connected()?;
        let mut headers = headers(&message.trace);
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = (self.now)().saturating_add(limit_ms);
        self.authenticator.sign(&mut headers, subject, Some(expires_ms), &message.payload);
        let request = async_nats::Request::new().payload(message.payload).headers(headers).timeout(None);
        match timeout(limit, self.client.send_request(subject.to_owned(), request)).await {
            Err(_) => Err(BusError::Timeout),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(request_error(error)),
        }
    }

    pub async fn serve(&self, subject: &str, group: &str) -> Result<Subscription, BusError> {
        let stream = self.send(self.client.queue_subscribe(subject.to_owned(), group.to_owned())).await?;
        self.subscription(stream).await
    }

    pub async fn publish(&self, subject: &str, message: Message) -> Result<(), BusError> {
        let mut headers = headers(&message.trace);
        self.authenticator.sign(&mut headers, subject, None, &message.payload);
        self.send(self.client.publish_with_headers(subject.to_owned(), headers, message.payload)).await
    }

    pub async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        let stream = self.send(self.client.subscribe(pattern.to_owned())).await?;
        self.subscription(stream).await
    }

    /// Waits until the server has processed everything before. The client's own flush only empties its buffer; the server answers a
    /// request to a subject without server, and processes a connection in order, subscriptions included.
    pub async fn flush(&self) -> Result<(), BusError> {
        match self.ask(UNSERVED, Message::default(), Duration::from_secs(2)).await {
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

fn request_error(error: async_nats::client::RequestError) -> BusError {
    match error.kind() {
        RequestErrorKind::NoResponders => BusError::NoResponder,
        RequestErrorKind::TimedOut => BusError::Timeout,
        _ => link_error(error),
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

fn read(message: async_nats::Message) -> Message {
    let trace = message.headers.as_ref().and_then(|headers| headers.get(TRACEPARENT));
    Message { trace: trace.map(ToString::to_string).unwrap_or_default(), payload: message.payload }
}
