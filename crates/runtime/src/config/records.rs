//! Call detail records.

use super::load::Fault;
use super::{Config, form};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Call detail records (docs/call-records.md); none without `file` or `stream`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordsConfig {
    /// File that a gateway in one process appends them to, one line a record; one that is moved away is made anew
    #[schemars(example = "/var/lib/tandem/calls.jsonl", length(min = 1))]
    pub file: Option<String>,
    /// Stream of JetStream that they are published to, over `[bus]`; it is made if it is missing
    #[schemars(example = "TANDEM-CDR", regex(pattern = form::STREAM))]
    pub stream: Option<String>,
    /// Days for which the stream keeps them
    #[schemars(range(min = 1, max = 3_650))]
    pub keep_days: u64,
    /// Megabytes of the stream; the oldest records make room
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_mb: u64,
    /// Servers of NATS that keep the stream
    #[schemars(range(min = 1, max = 5))]
    pub replicas: u8,
}

impl Default for RecordsConfig {
    fn default() -> RecordsConfig {
        RecordsConfig { file: None, stream: None, keep_days: 30, max_mb: 1_000, replicas: 1 }
    }
}

impl Config {
    /// Faults of keys that do not go together.
    pub(super) fn check_records(&self) -> Option<Fault> {
        match (&self.records.file, &self.records.stream, &self.bus) {
            (Some(file), _, Some(_)) => Some(Fault::new(
                "[records] file",
                format!("\"{file}\", while [bus] is there: each orchestrator would write a part"),
                "name a stream in its place",
            )),
            (_, Some(stream), None) => Some(Fault::new(
                "[records] stream",
                format!("\"{stream}\", while [bus] is absent: there is no NATS that keeps it"),
                "name a file in its place",
            )),
            _ => None,
        }
    }
}
