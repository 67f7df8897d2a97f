//! The bus on NATS: core request/reply and publish; nothing here waits on JetStream.

use crate::{BusError, Guard, Inbox, Message, QUEUE, Reply, Request};
use async_nats::client::RequestErrorKind;
use async_nats::{Client, ConnectOptions, HeaderMap};
use bytes::Bytes;
use futures::StreamExt;
use std::time::Duration;
use tokio::sync::mpsc;

const TRACEPARENT: &str = "traceparent";
/// A subject that is never served.
const NOBODY: &str = "tandem.nobody";

/// Where NATS is.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// `nats://a:4222,nats://b:4222`: the client goes on to the next when one is lost.
    pub url: String,
    /// Shown by the server's monitoring.
    pub name: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Nats(Client);

impl Nats {
    pub async fn connect(config: &NatsConfig) -> Result<Nats, BusError> {
        let servers: Vec<String> = config.url.split(',').map(|s| s.trim().to_owned()).collect();
        let options = ConnectOptions::new()
            .name(&config.name)
            .subscription_capacity(QUEUE)
            .connection_timeout(Duration::from_secs(2))
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(|attempt| Duration::from_millis((attempt as u64 * 50).min(500)));
        options.connect(servers).await.map(Nats).map_err(|e| BusError::Link(e.to_string()))
    }

    pub async fn request(
        &self,
        subject: &str,
        message: Message,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        let mut request = async_nats::Request::new().payload(message.payload).timeout(Some(timeout));
        if !message.trace.is_empty() {
            request = request.headers(headers(&message.trace));
        }
        match self.0.send_request(subject.to_owned(), request).await {
            Ok(answer) => Ok(answer.payload),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => BusError::NoResponder,
                RequestErrorKind::TimedOut => BusError::Timeout,
                _ => BusError::Link(error.to_string()),
            }),
        }
    }

    pub async fn serve(&self, subject: &str, group: &str) -> Result<Inbox<Request>, BusError> {
        let stream = self
            .0
            .queue_subscribe(subject.to_owned(), group.to_owned())
            .await
            .map_err(|e| BusError::Link(e.to_string()))?;
        let client = self.0.clone();
        self.inbox(stream, move |message| {
            let reply = Reply::Nats(client.clone(), message.reply.clone()?);
            Some(Request { message: read(message), reply })
        })
        .await
    }

    pub async fn publish(&self, subject: &str, message: Message) -> Result<(), BusError> {
        let sent = if message.trace.is_empty() {
            self.0.publish(subject.to_owned(), message.payload).await
        } else {
            self.0.publish_with_headers(subject.to_owned(), headers(&message.trace), message.payload).await
        };
        sent.map_err(|e| BusError::Link(e.to_string()))
    }

    pub async fn subscribe(&self, pattern: &str) -> Result<Inbox<Message>, BusError> {
        let stream = self.0.subscribe(pattern.to_owned()).await.map_err(|e| BusError::Link(e.to_string()))?;
        self.inbox(stream, |message| Some(read(message))).await
    }

    /// The client's own flush only empties its buffer. The server works through a connection in order, so its word that nobody
    /// serves this subject means that it has seen everything before it, subscriptions included.
    pub async fn flush(&self) -> Result<(), BusError> {
        match self.request(NOBODY, Message::default(), Duration::from_secs(2)).await {
            Ok(_) | Err(BusError::NoResponder) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Moves messages into a bounded inbox; the subscription ends with it.
    async fn inbox<T: Send + 'static>(
        &self,
        mut stream: async_nats::Subscriber,
        read: impl Fn(async_nats::Message) -> Option<T> + Send + 'static,
    ) -> Result<Inbox<T>, BusError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let task = tokio::spawn(async move {
            while let Some(message) = stream.next().await {
                let Some(item) = read(message) else { continue };
                match sender.try_send(item) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        tracing::warn!("an inbox is full; a message is dropped")
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => break,
                }
            }
        });
        // The server knows the subscription when this returns: who is told to ask us next will find us.
        self.flush().await?;
        Ok(Inbox { receiver, _guard: Guard::Nats(task) })
    }
}

fn headers(trace: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, trace);
    headers
}

fn read(message: async_nats::Message) -> Message {
    let trace = message
        .headers
        .as_ref()
        .and_then(|h| h.get(TRACEPARENT))
        .map(ToString::to_string)
        .unwrap_or_default();
    Message { trace, payload: message.payload }
}
