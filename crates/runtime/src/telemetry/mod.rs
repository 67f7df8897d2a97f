//! Logs to standard error, traces to an OTLP collector: bounded, and never waited for.
//!
//! One rule: telemetry never harms the service. A collector that is away costs spans and one warning a minute, no call.
//! Each service is named by itself in traces, also when all four share a process. Start at [`start`].

mod collector;
mod filter;
mod json;
#[cfg(test)]
mod lines;
mod rate_limit;
pub(crate) mod roots;
mod tracers;

pub use collector::{Collector, Unreached};
#[cfg(test)]
pub(crate) use lines::lines;

use crate::Config;
use crate::config::{Fault, TelemetryConfig};
use anyhow::{Context, Result};
use filter::filter;
use json::JsonLine;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanLimits};
use rate_limit::RateLimited;
use roots::{Ids, Roots, Share};
use std::time::Duration;
use tracers::Tracers;
use tracing::Dispatch;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

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
    let (filter, handle) = reload::Layer::new(filter(settings)?);
    let tracers = Collector::new(settings)?.map(|collector| {
        Tracers::new(kind, |service| provider(settings, &collector, service, &config.instance(service)))
    });
    let (tracers, providers) = tracers.transpose()?.unzip();
    let roots = tracers.clone().map(Roots::new);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if settings.json {
        let dispatch = roots.as_ref().map(Roots::dispatch).unwrap_or_default();
        let line = JsonLine::new(config, kind, dispatch);
        lines.fmt_fields(JsonFields::new()).event_format(line).boxed()
    } else {
        lines.with_target(false).with_ansi(false).boxed()
    };
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
    // It hears nothing, and so must not make anything worth telling.
    let roots = roots.map(|roots| roots.with_filter(LevelFilter::OFF));
    let dispatch =
        tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces).with(roots).into();
    Ok((dispatch, Telemetry { providers: providers.unwrap_or_default(), log: LogFilter(handle) }))
}

fn provider(
    settings: &TelemetryConfig,
    collector: &Collector,
    service: &str,
    instance: &str,
) -> Result<SdkTracerProvider> {
    let exporter = RateLimited::new(collector.exporter()?, collector.url());
    let resource = Resource::builder()
        .with_service_name(format!("tandem-{service}"))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let batches =
        BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_scheduled_delay(DELAY).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_id_generator(Ids::default())
        .with_sampler(Share::new(settings.sample.unwrap_or(1.0)))
        .with_span_limits(SpanLimits { max_attributes_per_span: 32, ..SpanLimits::default() })
        .with_span_processor(processor)
        .build())
}
