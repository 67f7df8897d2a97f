//! How instances talk: NATS, or channels within a single process.
//!
//! One rule: a request is answered by one member of a queue group, or fails within its deadline; when nobody serves the
//! subject, or there is no link, that is told at once. What nobody waits for any more is not served. Every queue is bounded. Both implementations pass the same contract suite
//! (`tests/contract.rs`). Knows nothing of what the octets mean. Start at [`Bus`].

pub mod directory;
pub mod edge;
mod local;
mod nats;

pub use nats::NatsConfig;

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Messages that may wait for one server or subscriber; further ones are refused or dropped.
pub const QUEUE: usize = 4_096;
/// Largest payload, octets.
pub const MAX_PAYLOAD: usize = 512 * 1024;

/// Octets with the trace that they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// W3C traceparent; may be empty.
    pub trace: String,
    /// Opaque.
    pub payload: Bytes,
}

/// Why a message did not get through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Nobody serves the subject.
    #[error("nobody serves the subject")]
    NoResponder,
    /// No answer within the deadline; whether it was served is unknown.
    #[error("no answer in time")]
    Timeout,
    /// The server's queue is full.
    #[error("the queue is full")]
    Full,
    /// Over [`MAX_PAYLOAD`].
    #[error("message too large")]
    TooLarge,
    /// No connection.
    #[error("no link to the bus: {0}")]
    Link(String),
}

/// A request to be answered. Dropped unanswered, its asker runs into the deadline.
#[derive(Debug)]
pub struct Request {
    /// What was asked.
    pub message: Message,
    reply: Reply,
}

#[derive(Debug)]
enum Reply {
    Local(tokio::sync::oneshot::Sender<Bytes>),
    Nats(nats::Responder),
}

/// What comes in on a subject; dropping it ends the subscription.
#[derive(Debug)]
pub struct Inbox<T> {
    receiver: tokio::sync::mpsc::Receiver<T>,
    guard: Guard,
}

/// Undoes the subscription.
#[derive(Debug)]
enum Guard {
    Local(local::Subscription),
    Nats(nats::Forwarder),
}

impl Drop for Guard {
    fn drop(&mut self) {
        match self {
            Guard::Local(subscription) => subscription.cancel(),
            Guard::Nats(forwarder) => forwarder.abort(),
        }
    }
}

/// A handle to the bus; clones share it.
#[derive(Clone, Debug)]
pub struct Bus(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Local(Arc<local::Local>),
    Nats(nats::Nats),
}

impl Bus {
    /// Within this process.
    #[must_use]
    pub fn in_process() -> Bus {
        Bus(Inner::Local(Arc::default()))
    }

    /// On NATS.
    ///
    /// # Errors
    /// [`BusError::Link`] when no server of the list can be reached.
    pub async fn nats(config: &NatsConfig) -> Result<Bus, BusError> {
        Ok(Bus(Inner::Nats(nats::Nats::connect(config).await?)))
    }

    /// Asks one member of the group that serves `subject` and waits for its answer.
    ///
    /// # Errors
    /// [`BusError`]; `NoResponder` at once when nobody serves it.
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
            Inner::Local(local) => Ok(local.serve(subject, group)),
            Inner::Nats(nats) => nats.serve(subject, group).await,
        }
    }

    /// Tells everybody who subscribes; nobody is fine too.
    ///
    /// # Errors
    /// [`BusError`] when it cannot be handed over.
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

    /// Everything published on subjects that match: `*` stands for one token, `>` at the end for the rest.
    ///
    /// # Errors
    /// [`BusError::Link`] without connection.
    pub async fn subscribe(&self, pattern: &str) -> Result<Inbox<Message>, BusError> {
        match &self.0 {
            Inner::Local(local) => Ok(local.subscribe(pattern)),
            Inner::Nats(nats) => nats.subscribe(pattern).await,
        }
    }

    /// Waits until what was handed over has left, and subscriptions stand at the server.
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
    /// Takes nothing new from now on; what has come already is still there, then the inbox ends. What is on its way in this
    /// moment may run into its asker's deadline.
    pub fn close(&mut self) {
        match &mut self.guard {
            Guard::Local(subscription) => subscription.cancel(),
            Guard::Nats(forwarder) => forwarder.close(),
        }
    }
}

impl Inbox<Message> {
    /// The next one; `None` when the bus is gone or the inbox was closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Message> {
        self.receiver.recv().await
    }
}

impl Inbox<Request> {
    /// The next one that somebody still waits for; `None` when the bus is gone or the inbox was closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Request> {
        loop {
            let request = self.receiver.recv().await?;
            if !request.has_expired() {
                return Some(request);
            }
        }
    }
}

impl Request {
    /// Its asker has given up: serving it would do what nobody waits for.
    fn has_expired(&self) -> bool {
        match &self.reply {
            Reply::Local(sender) => sender.is_closed(),
            Reply::Nats(responder) => responder.has_expired(),
        }
    }

    /// Answers it.
    ///
    /// # Errors
    /// [`BusError`] when the answer cannot be handed over; the asker has perhaps given up.
    pub async fn reply(self, payload: impl Into<Bytes>) -> Result<(), BusError> {
        let payload = payload.into();
        check_size(&payload)?;
        match self.reply {
            Reply::Local(sender) => sender.send(payload).map_err(|_| BusError::Timeout),
            Reply::Nats(responder) => responder.reply(payload).await,
        }
    }
}
