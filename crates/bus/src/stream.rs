//! Streams: messages that are kept until they are taken, on JetStream alone.

use crate::{Bus, BusError, Inner, MAX_PAYLOAD, nats};
use bytes::Bytes;
use std::time::Duration;

/// Stream of messages that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Name of the stream.
    pub name: String,
    /// Subjects that it keeps, as [`Bus::subscribe`] has them.
    pub subjects: String,
    /// Age after which a message is forgotten.
    pub max_age: Duration,
    /// Octets of all messages; the oldest are forgotten first.
    pub max_bytes: u64,
    /// Number of servers that keep it.
    pub replicas: u8,
    /// Time within which a message that is published again is there once.
    pub duplicates: Duration,
}

/// Handle to a stream; clones share it.
#[derive(Clone, Debug)]
pub struct Stream(nats::Stream);

/// Messages of a stream, oldest first.
#[derive(Debug)]
pub struct Reader(nats::Reader);

impl Bus {
    /// Returns the stream of a configuration; `None` within a process, where nothing is kept.
    #[must_use]
    pub fn stream(&self, config: StreamConfig) -> Option<Stream> {
        match &self.0 {
            Inner::Local(_) => None,
            Inner::Nats(nats) => Some(Stream(nats::Stream::new(nats.clone(), config))),
        }
    }
}

impl Stream {
    /// Asks whether JetStream is there for us; changes nothing.
    ///
    /// # Errors
    /// [`BusError`]: there is no JetStream, or it refuses.
    pub async fn check(&self) -> Result<(), BusError> {
        self.0.check().await
    }

    /// Creates the stream if it is missing, and gives it the limits of the configuration.
    ///
    /// # Errors
    /// [`BusError`]: there is no JetStream, or it refuses.
    pub async fn ensure(&self) -> Result<(), BusError> {
        self.0.ensure().await
    }

    /// Publishes a message; returns once it is stored, true if it was before. The same `id` is stored once.
    ///
    /// # Errors
    /// [`BusError`]; `NoResponder`: there is no such stream. The message may have been stored all the same.
    pub async fn publish(&self, subject: &str, id: &str, payload: Bytes) -> Result<bool, BusError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(BusError::TooLarge);
        }
        self.0.publish(subject, id, payload).await
    }

    /// Reads the messages of a subject that were stored since a time (RFC 3339), and takes none.
    ///
    /// # Errors
    /// [`BusError`]
    pub async fn read(&self, subject: &str, since: &str) -> Result<Reader, BusError> {
        Ok(Reader(self.0.read(subject, since).await?))
    }
}

impl Reader {
    /// Returns the next message; `None`: that was all that was there.
    ///
    /// # Errors
    /// [`BusError`]
    pub async fn next(&mut self) -> Result<Option<Bytes>, BusError> {
        self.0.next().await
    }
}
