//! Message bus between instances: NATS, or channels within a single process.
//!
//! One rule: a request is answered by one member of a queue group, or fails within its deadline; it fails at once when the subject
//! has no server or the bus no connection. Expired requests are dropped. Every queue is bounded. Both implementations pass the same
//! contract suite (`tests/contract.rs`). Payloads are opaque octets. Start at [`Bus`].

pub mod directory;
pub mod edge;
mod local;
pub mod member;
mod nats;
mod stream;
pub mod trace;

pub use nats::{Cause, ConnectError, Login, NatsConfig, Tls};
pub use stream::{Reader, Stream, StreamConfig};

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Number of messages that wait for one server or subscriber; further requests are refused, further messages dropped.
pub const QUEUE: usize = 4_096;
/// Largest payload in octets.
pub const MAX_PAYLOAD: usize = 512 * 1024;

/// Payload with its trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// W3C traceparent; may be empty.
    pub trace: String,
    /// Opaque octets.
    pub payload: Bytes,
}

/// Failure of a bus operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// No instance serves the subject.
    #[error("nobody serves the subject")]
    NoResponder,
    /// No answer within the deadline; the request may or may not have been served.
    #[error("no answer in time")]
    Timeout,
    /// Queue of the server is full.
    #[error("the queue is full")]
    Full,
    /// Payload over [`MAX_PAYLOAD`].
    #[error("message too large")]
    TooLarge,
    /// No connection to the bus.
    #[error("no link to the bus: {0}")]
    Link(String),
    /// JetStream refuses what was asked.
    #[error("JetStream: {0}")]
    Stream(String),
    /// The answer is not signed with the cluster's secret; the request may or may not have been served.
    #[error("the answer is not of this cluster")]
    Unauthentic,
}

/// Request to be answered. The requester of one that is dropped gets [`BusError::Timeout`].
#[derive(Debug)]
pub struct Request {
    /// Message of the requester.
    pub message: Message,
    reply: Reply,
}

#[derive(Debug)]
enum Reply {
    Local(tokio::sync::oneshot::Sender<Bytes>),
    Nats(nats::Responder),
}

/// Queue of what arrives on a subject; dropping it ends the subscription.
#[derive(Debug)]
pub struct Inbox<T>(Source<T>);

#[derive(Debug)]
enum Source<T> {
    Local(local::Subscription<T>),
    Nats(nats::Subscription),
}

/// Handle to the bus; clones share it.
#[derive(Clone, Debug)]
pub struct Bus(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Local(Arc<local::Local>),
    Nats(nats::Nats),
}

impl Bus {
    /// Makes a bus within this process.
    #[must_use]
    pub fn in_process() -> Bus {
        Bus(Inner::Local(Arc::default()))
    }

    /// Connects to NATS and authenticates. The connection is made again by itself when it is lost later.
    ///
    /// # Errors
    /// [`ConnectError`] with the cause when no server of the list takes us.
    pub async fn nats(config: &NatsConfig) -> Result<Bus, ConnectError> {
        Ok(Bus(Inner::Nats(nats::Nats::connect(config).await?)))
    }

    /// Replaces a user's password or a token by another one for the connections to come. Any other kind of credentials stays as it was.
    pub fn set_login(&self, login: Login) {
        match &self.0 {
            Inner::Local(_) => {}
            Inner::Nats(nats) => nats.set_login(login),
        }
    }

    /// Returns the cause for which there is no connection; `None` = there is one.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &self.0 {
            Inner::Local(_) => None,
            Inner::Nats(nats) => nats.trouble(),
        }
    }

    /// Returns the number of messages and answers that were dropped because they are not signed with the cluster's secret, or are old.
    /// Within a process nothing is signed.
    #[must_use]
    pub fn refused(&self) -> u64 {
        match &self.0 {
            Inner::Local(_) => 0,
            Inner::Nats(nats) => nats.refused(),
        }
    }

    /// Sends a request to one member of the group that serves `subject` and waits for its answer.
    ///
    /// # Errors
    /// [`BusError`]; `NoResponder` comes at once.
    pub async fn request(
        &self,
        subject: &str,
        message: Message,
        timeout: Duration,
    ) -> Result<Bytes, BusError> {
        check_size(&message.payload)?;
        match &self.0 {
            Inner::Local(local) => local.request(subject, message, timeout).await,
            Inner::Nats(nats) => nats.request(subject, message, timeout).await,
        }
    }

    /// Serves `subject` in a queue group: each request goes to one of its members.
    ///
    /// # Errors
    /// [`BusError::Link`] without connection.
    pub async fn serve(&self, subject: &str, group: &str) -> Result<Inbox<Request>, BusError> {
        match &self.0 {
            Inner::Local(local) => Ok(Inbox(Source::Local(local.serve(subject, group)))),
            Inner::Nats(nats) => Ok(Inbox(Source::Nats(nats.serve(subject, group).await?))),
        }
    }

    /// Publishes a message to all subscribers of `subject`, if there are any.
    ///
    /// # Errors
    /// [`BusError`] when the message cannot be handed over.
    pub async fn publish(&self, subject: &str, message: Message) -> Result<(), BusError> {
        check_size(&message.payload)?;
        match &self.0 {
            Inner::Local(local) => {
                local.publish(subject, &message);
                Ok(())
            }
            Inner::Nats(nats) => nats.publish(subject, message).await,
        }
    }

    /// Subscribes to all subjects that match: `*` stands for one token, `>` at the end for one or more.
    ///
    /// # Errors
    /// [`BusError::Link`] without connection.
    pub async fn subscribe(&self, pattern: &str) -> Result<Inbox<Message>, BusError> {
        match &self.0 {
            Inner::Local(local) => Ok(Inbox(Source::Local(local.subscribe(pattern)))),
            Inner::Nats(nats) => Ok(Inbox(Source::Nats(nats.subscribe(pattern).await?))),
        }
    }

    /// Waits until the server has all messages that were handed over before, and all subscriptions.
    ///
    /// # Errors
    /// [`BusError::Link`] without connection.
    pub async fn flush(&self) -> Result<(), BusError> {
        match &self.0 {
            Inner::Local(_) => Ok(()),
            Inner::Nats(nats) => nats.flush().await,
        }
    }
}

fn check_size(payload: &Bytes) -> Result<(), BusError> {
    if payload.len() > MAX_PAYLOAD { Err(BusError::TooLarge) } else { Ok(()) }
}

impl<T> Inbox<T> {
    /// Ends the subscription. What has arrived before is still returned, then the inbox ends. A request on its way at this moment may
    /// run into its deadline.
    pub fn close(&mut self) {
        match &mut self.0 {
            Source::Local(subscription) => subscription.cancel(),
            Source::Nats(subscription) => subscription.close(),
        }
    }
}

impl Inbox<Message> {
    /// Returns the next message; `None` when the bus is gone or the inbox is closed and empty. Cancel-safe.
    pub async fn next(&mut self) -> Option<Message> {
        match &mut self.0 {
            Source::Local(subscription) => subscription.next().await,
            Source::Nats(subscription) => subscription.message().await,
        }
    }
}

impl Inbox<Request> {
    /// Returns the next request that has not expired; `None` when the bus is gone or the inbox is closed and empty. Cancel-safe.
    pub async fn next(&mut self) -> Option<Request> {
        loop {
            let request = match &mut self.0 {
                Source::Local(subscription) => subscription.next().await?,
                Source::Nats(subscription) => subscription.request().await?,
            };
            if !request.has_expired() {
                return Some(request);
            }
        }
    }
}

impl Request {
    /// Returns true if the requester no longer waits for the answer.
    fn has_expired(&self) -> bool {
        match &self.reply {
            Reply::Local(sender) => sender.is_closed(),
            Reply::Nats(responder) => responder.has_expired(),
        }
    }

    /// Answers the request.
    ///
    /// # Errors
    /// [`BusError`] when the answer cannot be handed over, for instance because the requester no longer waits.
    pub async fn reply(self, payload: impl Into<Bytes>) -> Result<(), BusError> {
        let payload = payload.into();
        check_size(&payload)?;
        match self.reply {
            Reply::Local(sender) => sender.send(payload).map_err(|_| BusError::Timeout),
            Reply::Nats(responder) => responder.reply(payload).await,
        }
    }
}
