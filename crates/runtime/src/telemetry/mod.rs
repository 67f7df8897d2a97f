//! Logs to standard error, traces to an OTLP collector: bounded, and never waited for.
//!
//! One rule: telemetry never harms the service. A collector that is away costs spans and one warning a minute, no call.
//! Each service is named by itself in traces, also when all four share a process. Start at [`start`].

#[cfg(test)]
mod lines;
mod rate_limit;
mod tracers;

#[cfg(test)]
pub(crate) use lines::lines;

use crate::Config;
use crate::config::{Fault, TelemetryConfig};
use anyhow::{Context, Result};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanLimits,
};
use rate_limit::RateLimited;
use std::time::Duration;
use tracers::Tracers;
use tracing::Dispatch;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// Spans that may wait for the collector, for each service; further ones are dropped.
const QUEUE: usize = 8_192;
/// Spans wait this long for company before they are sent.
const DELAY: Duration = Duration::from_secs(1);
/// Deadline of one export, and of the flush at the end.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Flushes what is left when it is dropped: at most two seconds. It blocks: not on a thread of a runtime.
#[derive(Debug)]
pub struct Telemetry {
    providers: Vec<SdkTracerProvider>,
    log: LogFilter,
}

/// Filter of the log, which can be replaced at run time; clones share it.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Replaces the filter by that of a configuration.
    ///
    /// # Errors
    /// A filter that cannot be read: names key and remedy.
    pub fn set(&self, config: &Config) -> Result<(), Fault> {
        let gone = |_| Fault::new("[telemetry] log", "it cannot be replaced", "start anew");
        self.0.reload(filter(&config.telemetry)?).map_err(gone)
    }
}

impl Telemetry {
    /// Returns the filter of the log.
    #[must_use]
    pub fn log(&self) -> LogFilter {
        self.log.clone()
    }
}

/// Looks at what telemetry reads of a configuration.
///
/// # Errors
/// A filter that cannot be read: names key and remedy.
pub fn check(config: &Config) -> Result<(), Fault> {
    filter(&config.telemetry).map(drop)
}

fn filter(settings: &TelemetryConfig) -> Result<EnvFilter, Fault> {
    let filter = settings.log.as_deref().unwrap_or("info");
    EnvFilter::try_new(filter).map_err(|error| {
        let trouble = format!("\"{filter}\" is no filter ({error})");
        Fault::new("[telemetry] log", trouble, "write info, or debug,tandem_sip_edge=trace")
    })
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // At the same time, so that a collector that is away keeps us for one deadline only.
        std::thread::scope(|scope| {
            for provider in &self.providers {
                scope.spawn(move || provider.shutdown_with_timeout(TIMEOUT));
            }
        });
    }
}

/// Starts logs and traces for this process. Within a tokio runtime; once.
///
/// `kind` is the service (`sip-edge`, …), or another word for a process that holds all four.
///
/// # Errors
/// A filter or endpoint that cannot be read: names key and remedy.
pub fn start(config: &Config, kind: &str) -> Result<Telemetry> {
    let (dispatch, telemetry) = build(config, kind)?;
    tracing::dispatcher::set_global_default(dispatch).context("telemetry is started twice")?;
    Ok(telemetry)
}

/// [`start`] without making it the process's own.
///
/// # Errors
/// As [`start`].
pub fn build(config: &Config, kind: &str) -> Result<(Dispatch, Telemetry)> {
    let settings = &config.telemetry;
    let (logs, handle) = reload::Layer::new(filter(settings)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = if settings.json { lines.json().boxed() } else { lines.with_ansi(false).boxed() };
    let tracers = settings.otlp.as_deref().map(|endpoint| {
        Tracers::new(kind, |service| provider(settings, endpoint, service, &config.instance(service)))
    });
    let (tracers, providers) = tracers.transpose()?.unzip();
    // Spans of ours are traced; the libraries' own (HTTP/2 frames and the like) are nobody's call.
    let ours =
        tracing_subscriber::filter::filter_fn(|meta| meta.is_span() && meta.target().starts_with("tandem"));
    let traces = tracers.map(|tracers| {
        tracing_opentelemetry::layer()
            .with_tracer(tracers)
            .with_location(false)
            .with_threads(false)
            .with_filter(ours)
    });
    let dispatch = tracing_subscriber::registry().with(lines.with_filter(logs)).with(traces).into();
    Ok((dispatch, Telemetry { providers: providers.unwrap_or_default(), log: LogFilter(handle) }))
}

fn provider(
    settings: &TelemetryConfig,
    endpoint: &str,
    service: &str,
    instance: &str,
) -> Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(TIMEOUT).build();
    let exporter = exporter.with_context(|| {
        format!("[telemetry] otlp: \"{endpoint}\" is no endpoint; write http://host:4317")
    })?;
    let resource = Resource::builder()
        .with_service_name(format!("tandem-{service}"))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let batches =
        BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_scheduled_delay(DELAY).build();
    let processor =
        BatchSpanProcessor::builder(RateLimited::new(exporter, endpoint)).with_batch_config(batches).build();
    let share = Sampler::TraceIdRatioBased(settings.sample.unwrap_or(1.0));
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        // Whoever opened the call decides for all services.
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_span_limits(SpanLimits { max_attributes_per_span: 32, ..SpanLimits::default() })
        .with_span_processor(processor)
        .build())
}
