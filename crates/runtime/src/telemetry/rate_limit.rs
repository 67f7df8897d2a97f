//! Exporter that warns at a limited rate: once a minute, with the number of spans lost since the last warning.

use crate::clock;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two warnings.
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct RateLimited<E> {
    inner: E,
    endpoint: String,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    lost: usize,
}

impl<E> RateLimited<E> {
    pub(super) fn new(inner: E, endpoint: &str) -> RateLimited<E> {
        RateLimited { inner, endpoint: endpoint.to_owned(), said: Mutex::default() }
    }

    fn failed(&self, spans: usize, error: &impl std::fmt::Display, now: Instant) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.lost += spans;
        if said.last.is_none_or(|last| now.duration_since(last) >= MINUTE) {
            said.last = Some(now);
            let lost = std::mem::take(&mut said.lost);
            tracing::warn!(endpoint = self.endpoint, lost, %error, "[telemetry] otlp: the collector takes no spans");
        }
    }
}

impl<E: SpanExporter> SpanExporter for RateLimited<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let done = self.inner.export(batch).await;
        if let Err(error) = &done {
            self.failed(spans, error, clock::instant());
        }
        done
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::lines;

    #[test]
    fn a_collector_that_is_away_is_told_of_once_a_minute() {
        let limited = RateLimited::new((), "http://c:4317");
        let start = clock::instant();
        let text = lines(|| {
            for second in 0..120 {
                limited.failed(5, &"refused", start + Duration::from_secs(second));
            }
        });
        let said: Vec<&str> = text.lines().collect();
        assert_eq!(said.len(), 2, "{text}");
        assert!(said[0].contains("lost=5 ") && said[0].contains("http://c:4317"), "{text}");
        assert!(said[1].contains("lost=300 "), "{text}");
    }
}
