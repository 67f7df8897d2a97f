//! JetStream, as far as records that must not be lost need it: a stream that is made if it is missing, publishing once by the id of a
//! message, and reading without taking anything.
//!
//! One rule: a message is published when the server has stored it and said so. Published again within the window of duplicates it is
//! there once.

use super::{Nats, link_error};
use crate::{BusError, StreamConfig};
use async_nats::{HeaderMap, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for an answer of JetStream.
const ANSWER: Duration = Duration::from_secs(2);
/// Messages that are fetched at once.
const BATCH: usize = 256;
/// Time after which the server forgets a reader that fetches nothing.
const IDLE: Duration = Duration::from_secs(30);
/// Code of the server for a stream that is not there (JSStreamNotFoundErr).
const NO_STREAM: u64 = 10_059;

/// Stream of the server; clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    nats: Nats,
    config: StreamConfig,
}

impl Stream {
    pub fn new(nats: Nats, config: StreamConfig) -> Stream {
        Stream { nats, config }
    }

    /// Asks whether JetStream is there for us.
    pub async fn check(&self) -> Result<(), BusError> {
        self.api("INFO", &Value::Null).await?;
        Ok(())
    }

    /// Creates the stream if it is missing, else gives it the limits of the configuration.
    pub async fn ensure(&self) -> Result<(), BusError> {
        let name = &self.config.name;
        let known = match self.api(&format!("STREAM.INFO.{name}"), &Value::Null).await {
            Ok(info) => info,
            Err(Refusal { code: NO_STREAM, .. }) => {
                self.api(&format!("STREAM.CREATE.{name}"), &self.wanted()).await?;
                return Ok(());
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let (mut config, wanted) = (known["config"].clone(), self.wanted());
        let mut changed = false;
        for key in ["max_age", "max_bytes", "num_replicas", "duplicate_window"] {
            changed |= config[key] != wanted[key];
            config[key] = wanted[key].clone();
        }
        if changed {
            self.api(&format!("STREAM.UPDATE.{name}"), &config).await?;
        }
        Ok(())
    }

    /// Returns the configuration as the server reads it; times are nanoseconds.
    fn wanted(&self) -> Value {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        json!({
            "name": self.config.name,
            "subjects": [self.config.subjects],
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_age": nanoseconds(self.config.max_age),
            "max_bytes": self.config.max_bytes,
            "num_replicas": self.config.replicas,
            "duplicate_window": nanoseconds(self.config.duplicates),
        })
    }

    pub async fn publish(&self, subject: &str, id: &str, payload: Bytes) -> Result<bool, BusError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        headers.insert("Nats-Expected-Stream", self.config.name.as_str());
        let stored = self.ask(subject, Some(headers), payload).await?;
        Ok(stored["duplicate"].as_bool().unwrap_or(false))
    }

    /// Begins to read what was published to a subject since a time, ms since the Unix epoch, up to what is there now.
    pub async fn read(&self, subject: &str, since: &str) -> Result<Reader, BusError> {
        let name = &self.config.name;
        let idle = u64::try_from(IDLE.as_nanos()).unwrap_or(u64::MAX);
        let asked = json!({
            "stream_name": name,
            "config": {
                "filter_subject": subject,
                "deliver_policy": "by_start_time",
                "opt_start_time": since,
                "ack_policy": "none",
                "replay_policy": "instant",
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": idle,
            },
        });
        let made = self.api(&format!("CONSUMER.CREATE.{name}"), &asked).await?;
        let consumer = made["name"].as_str().unwrap_or_default().to_owned();
        let left = made["num_pending"].as_u64().unwrap_or(0);
        Ok(Reader { stream: self.clone(), consumer, left, fetched: VecDeque::new() })
    }

    /// Asks the server itself; null asks without words.
    async fn api(&self, what: &str, asked: &Value) -> Result<Value, Refusal> {
        let payload = if asked.is_null() { Bytes::new() } else { asked.to_string().into() };
        self.ask(&format!("$JS.API.{what}"), None, payload).await
    }

    /// Asks JetStream, whose answers are not signed as those of our own instances.
    async fn ask(&self, subject: &str, headers: Option<HeaderMap>, payload: Bytes) -> Result<Value, Refusal> {
        self.nats.ensure_connected()?;
        let request = async_nats::Request::new().payload(payload).timeout(None);
        let request = headers.into_iter().fold(request, async_nats::Request::headers);
        let answer = match timeout(ANSWER, self.nats.client.send_request(subject.to_owned(), request)).await {
            Err(_) => return Err(BusError::Timeout.into()),
            Ok(Err(error)) => return Err(super::request_error(error).into()),
            Ok(Ok(answer)) => answer,
        };
        let answer: Value = serde_json::from_slice(&answer.payload)
            .map_err(|_| BusError::Stream("the answer makes no sense".into()))?;
        match &answer["error"] {
            Value::Null => Ok(answer),
            error => Err(Refusal {
                code: error["err_code"].as_u64().unwrap_or(0),
                error: BusError::Stream(error["description"].as_str().unwrap_or("it is refused").into()),
            }),
        }
    }

    /// Asks for messages of a consumer; they come to the subscription that is returned.
    async fn fetch(&self, consumer: &str) -> Result<Subscriber, BusError> {
        self.nats.ensure_connected()?;
        let client = &self.nats.client;
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await.map_err(link_error)?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", self.config.name);
        let asked = json!({ "batch": BATCH, "no_wait": true }).to_string();
        client.publish_with_reply(subject, inbox, asked.into()).await.map_err(link_error)?;
        Ok(messages)
    }
}

/// Refusal of JetStream, with its code; 0 for one that has none.
#[derive(Debug)]
struct Refusal {
    code: u64,
    error: BusError,
}

impl From<BusError> for Refusal {
    fn from(error: BusError) -> Refusal {
        Refusal { code: 0, error }
    }
}

impl From<Refusal> for BusError {
    fn from(refusal: Refusal) -> BusError {
        refusal.error
    }
}

/// Messages of a stream, one after another.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: Stream,
    consumer: String,
    /// Number of messages that the server has still to give.
    left: u64,
    fetched: VecDeque<Bytes>,
}

impl Reader {
    /// Returns the next message; `None`: that was all.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BusError> {
        if self.fetched.is_empty() && self.left > 0 {
            self.fetch().await?;
        }
        Ok(self.fetched.pop_front())
    }

    async fn fetch(&mut self) -> Result<(), BusError> {
        let mut messages = self.stream.fetch(&self.consumer).await?;
        while self.left > 0 && self.fetched.len() < BATCH {
            let message = timeout(ANSWER, messages.next()).await.map_err(|_| BusError::Timeout)?;
            let message = message.ok_or_else(|| BusError::Link("the connection is closed".into()))?;
            if message.status.is_some() {
                // No more than came before it: the rest has grown too old meanwhile.
                if self.fetched.is_empty() {
                    self.left = 0;
                }
                return Ok(());
            }
            self.left -= 1;
            self.fetched.push_back(message.payload);
        }
        Ok(())
    }
}
