//! Call detail records: one of each call and one of each of its legs, kept where the configuration says (decision 118).
//!
//! One rule: a record is written once. It follows from the call's own record when that has ended, is an effect in the outbox until it
//! is stored, and carries an id by which JetStream knows it again. Start at [`Cdrs`].

mod file;
pub mod record;
pub mod time;

use crate::counters::{CDRS_FAILED, CDRS_WRITTEN, Lines};
use bus::{Bus, BusError, Stream, StreamConfig};
use record::{CallRecord, LegRecord, Refusal};
use runtime::Config;
use runtime::config::{Fault, RecordsConfig};
use serde::Serialize;
use session::call::Call;
use signal::subjects;
use std::sync::LazyLock;
use std::time::Duration;
use tracing::error;

/// Time within which a record that is published again is there once: what is in an outbox is published no later.
pub const DUPLICATES: Duration = Duration::from_secs(3_600);
/// Longest wait for a record to be stored, before it is tried again.
const STORE: Duration = Duration::from_secs(3);

/// Way to where the records are kept; clones share it.
#[derive(Clone, Debug)]
pub struct Cdrs(Option<Sink>);

#[derive(Clone, Debug)]
enum Sink {
    File(file::Writer),
    Stream(Stream),
}

/// One record, ready to be written.
struct Line {
    subject: &'static str,
    /// Id by which it is known again.
    id: String,
    json: String,
}

impl Line {
    fn new(subject: &'static str, id: String, record: &impl Serialize) -> Line {
        Line { subject, id, json: serde_json::to_string(record).unwrap_or_default() }
    }
}

/// Returns the stream of a configuration.
#[must_use]
pub fn stream(config: &RecordsConfig) -> Option<StreamConfig> {
    Some(StreamConfig {
        name: config.stream.clone()?,
        subjects: subjects::CDRS.to_owned(),
        max_age: Duration::from_secs(config.keep_days.saturating_mul(86_400)),
        max_bytes: config.max_mb.saturating_mul(1_000_000),
        replicas: config.replicas,
        duplicates: DUPLICATES,
    })
}

impl Cdrs {
    /// Opens the file of the configuration, or makes its stream; a stream that cannot be made now is made later.
    ///
    /// # Errors
    /// A fault of the configuration, with key, value and remedy.
    pub async fn open(config: &Config, bus: &Bus) -> Result<Cdrs, Fault> {
        for counter in [&CDRS_WRITTEN, &CDRS_FAILED] {
            LazyLock::force(counter);
        }
        if let Some(path) = &config.records.file {
            let unusable = |error: std::io::Error| {
                let remedy = "name a file in a directory that this service may write to";
                Fault::new("[records] file", format!("{path}: {error}"), remedy)
            };
            return Ok(Cdrs(Some(Sink::File(file::Writer::open(path.into()).map_err(unusable)?))));
        }
        let Some(stream) = stream(&config.records).and_then(|config| bus.stream(config)) else {
            return Ok(Cdrs(None));
        };
        if let Err(error) = stream.ensure().await {
            error!(%error, "[records] stream: it cannot be made, and is tried again with each record; is JetStream on?");
        }
        Ok(Cdrs(Some(Sink::Stream(stream))))
    }

    /// Returns true if records are wanted.
    #[must_use]
    pub fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Writes the records of a call that has ended. False: they are to be written again.
    pub(crate) async fn write_ended(&self, call: &Call, lines: &Lines) -> bool {
        let line = lines.of_call(call);
        // A caller may use its Call-ID for another call, after one that was not taken.
        let id = format!("{}.{}", call.id, call.placed.0);
        let record = CallRecord::of(call, (&line.of, line.direction));
        let mut records = vec![Line::new(subjects::CDR_CALL, id.clone(), &record)];
        for leg in &call.legs {
            let id = format!("{id}.{}", leg.id.0);
            records.push(Line::new(subjects::CDR_LEG, id, &LegRecord::of(call, leg)));
        }
        self.write(records).await
    }

    /// Writes the records of a call that was not taken.
    pub(crate) async fn write_refused(&self, refusal: &Refusal<'_>, lines: &Lines) {
        let line = lines.of(refusal.opening);
        // The edge asks again with the same event if the verdict was lost.
        let id = format!("{}.refused.{}", refusal.id, refusal.heard.event.0);
        let (call, leg) =
            (CallRecord::refused(refusal, (&line.of, line.direction)), LegRecord::refused(refusal));
        let leg = Line::new(subjects::CDR_LEG, format!("{id}.0"), &leg);
        self.write(vec![Line::new(subjects::CDR_CALL, id, &call), leg]).await;
    }

    async fn write(&self, lines: Vec<Line>) -> bool {
        let count = lines.len() as u64;
        let stored = match &self.0 {
            None => return true,
            Some(Sink::File(writer)) => {
                let text = lines.iter().flat_map(|line| [line.json.as_str(), "\n"]).collect();
                writer.append(text).await
            }
            Some(Sink::Stream(stream)) => publish(stream, lines).await.map_err(|error| error.to_string()),
        };
        match &stored {
            Ok(()) => CDRS_WRITTEN.increment(count),
            Err(cause) => {
                CDRS_FAILED.increment(1);
                error!(cause, "[records]: the records of a call are not written");
            }
        }
        stored.is_ok()
    }
}

/// Publishes records side by side; the stream is made if it is missing.
async fn publish(stream: &Stream, lines: Vec<Line>) -> Result<(), BusError> {
    let each = |line: Line| async move {
        let json = bytes::Bytes::from(line.json);
        match stream.publish(line.subject, &line.id, json.clone()).await {
            Err(BusError::NoResponder) => {
                stream.ensure().await?;
                stream.publish(line.subject, &line.id, json).await
            }
            stored => stored,
        }
    };
    let all = futures::future::try_join_all(lines.into_iter().map(each));
    tokio::time::timeout(STORE, all).await.map_err(|_| BusError::Timeout)?.map(drop)
}
