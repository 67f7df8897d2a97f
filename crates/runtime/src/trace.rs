//! One trace per call through all services: the context rides in envelopes and records as W3C traceparent.

use crate::telemetry::roots;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use std::time::SystemTime;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes `span` a child of the span that `traceparent` names; nonsense leaves it alone.
pub fn adopt(span: &Span, traceparent: &str) {
    if let Some(parent) = parse(traceparent) {
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
}

/// The W3C traceparent of `span`; empty when it is not recorded.
#[must_use]
pub fn parent_of(span: &Span) -> String {
    written(span.context().span().span_context())
}

/// Time within a call: a span that is told once it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// Name of the span.
    pub name: &'static str,
    /// Begin.
    pub from: SystemTime,
    /// End.
    pub to: SystemTime,
    /// Attributes; `service` is the service that tells it.
    pub attributes: Vec<(&'static str, String)>,
    /// Cause, if it came to nothing.
    pub failure: Option<String>,
}

/// Returns the W3C traceparent of the root span of a new trace, which [`tell`] tells at its end.
#[must_use]
pub fn root() -> String {
    written(&roots::root())
}

/// Tells the root span of the trace that `traceparent` names a span of, and the spans of its parts. A failed one is told whatever share of
/// the calls is traced.
pub fn tell(traceparent: &str, root: Period, parts: Vec<Period>) {
    if let Some(context) = parse(traceparent) {
        roots::tell(context.trace_id(), root, parts);
    }
}

fn written(span: &SpanContext) -> String {
    if span.is_valid() {
        format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8())
    } else {
        String::new()
    }
}

/// Marks a span as failed. The span has the fields `otel.status_code` and `otel.status_description`.
pub fn failed(span: &Span, why: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", why);
}

fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}
