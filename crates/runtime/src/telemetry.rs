//! Logs to standard error, traces to an OTLP collector: bounded, and never waited for.

use crate::config::TelemetryConfig;
use anyhow::{Context, Result};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Flushes what is left when it is dropped.
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.0 {
            // A collector that is away must not keep us.
            let _ = provider.shutdown_with_timeout(Duration::from_secs(2));
        }
    }
}

/// Starts logs and traces for this process. Within a tokio runtime; once.
///
/// # Errors
/// A filter or endpoint that cannot be read: names key and remedy.
pub fn start(config: &TelemetryConfig, kind: &str, instance: &str) -> Result<Telemetry> {
    let filter = config.log.as_deref().unwrap_or("info");
    let logs = EnvFilter::try_new(filter).with_context(|| {
        format!("[telemetry] log: \"{filter}\" is no filter; write info, or debug,tandem_sip_edge=trace")
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = if config.json { lines.json().boxed() } else { lines.with_ansi(false).boxed() };
    let provider =
        config.otlp.as_deref().map(|endpoint| provider(config, endpoint, kind, instance)).transpose()?;
    // Spans of ours are traced; the libraries' own (HTTP/2 frames and the like) are nobody's call.
    let ours =
        tracing_subscriber::filter::filter_fn(|meta| meta.is_span() && meta.target().starts_with("tandem"));
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("tandem")).with_filter(ours)
    });
    tracing_subscriber::registry().with(lines.with_filter(logs)).with(traces).init();
    Ok(Telemetry(provider))
}

fn provider(
    config: &TelemetryConfig,
    endpoint: &str,
    kind: &str,
    instance: &str,
) -> Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(3))
        .build()
        .with_context(|| {
            format!("[telemetry] otlp: \"{endpoint}\" is no endpoint; write http://host:4317")
        })?;
    let resource = Resource::builder()
        .with_service_name(format!("tandem-{kind}"))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let share = Sampler::TraceIdRatioBased(config.sample.unwrap_or(1.0));
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_batch_exporter(exporter)
        .build())
}
