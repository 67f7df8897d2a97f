//! Root span of a call. Its id follows from the id of the trace, so that the first span of a call can stand below it, and it is told by the
//! service that sees the call end.
//!
//! One rule: whether a call is traced follows from its trace id alone, so that all services agree without a word.

use super::tracers::Tracers;
use crate::trace::Period;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, SamplingResult, ShouldSample,
};
use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use tracing::dispatcher::WeakDispatch;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::Layer;

/// Span of a refusal, which is always sampled: see `refusals.rs`.
const REFUSED: &str = "refused";

thread_local! {
    /// Ids of the span that is being made; `None` = random ones.
    static GIVEN: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
    /// True while spans are made that are sampled whatever the share.
    static KEPT: Cell<bool> = const { Cell::new(false) };
}

/// Returns the id of the root span of a trace.
fn root_of(trace: TraceId) -> SpanId {
    let mut id = [0; 8];
    id.copy_from_slice(&trace.to_bytes()[8..]);
    SpanId::from_bytes(id)
}

/// Returns the context of the root span of a new trace.
pub(crate) fn root() -> SpanContext {
    let trace = RandomIdGenerator::default().new_trace_id();
    SpanContext::new(trace, root_of(trace), TraceFlags::SAMPLED, true, TraceState::default())
}

/// Ids of spans: random but for root spans.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        GIVEN.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        GIVEN.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// Sampler of a share of the calls: below a root span the trace id decides, elsewhere the parent.
#[derive(Clone, Debug)]
pub(super) struct Share(Sampler);

impl Share {
    pub(super) fn new(share: f64) -> Share {
        Share(Sampler::TraceIdRatioBased(share))
    }
}

impl ShouldSample for Share {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[opentelemetry::trace::Link],
    ) -> SamplingResult {
        let parent = parent.map(|parent| parent.span().span_context().clone());
        let parent = parent.filter(|parent| parent.is_valid() && parent.span_id() != root_of(trace));
        let sampled = match parent {
            _ if KEPT.get() => true,
            Some(parent) => parent.is_sampled(),
            None if name == REFUSED => true,
            None => {
                let by_id = self.0.should_sample(None, trace, name, kind, attributes, links);
                by_id.decision == SamplingDecision::RecordAndSample
            }
        };
        SamplingResult {
            decision: if sampled { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: vec![],
            trace_state: TraceState::default(),
        }
    }
}

/// Layer that hears no span and no event: [`tell`] finds the tracers by it, and log lines their dispatcher.
#[derive(Clone, Debug)]
pub(super) struct Roots {
    tracers: Tracers,
    dispatch: Arc<OnceLock<WeakDispatch>>,
}

impl Roots {
    pub(super) fn new(tracers: Tracers) -> Roots {
        Roots { tracers, dispatch: Arc::default() }
    }

    /// Returns the cell that has the dispatcher once there is one.
    pub(super) fn dispatch(&self) -> Arc<OnceLock<WeakDispatch>> {
        self.dispatch.clone()
    }

    fn tell(&self, trace: TraceId, root: Period, parts: Vec<Period>) {
        KEPT.set(root.failure.is_some());
        GIVEN.set(Some((trace, root_of(trace))));
        let mut span = self.tracers.build_with_context(builder(&root), &Context::new());
        GIVEN.set(None);
        let below = Context::new().with_remote_span_context(span.span_context().clone());
        end(&mut span, root);
        for part in parts {
            let mut span = self.tracers.build_with_context(builder(&part), &below);
            end(&mut span, part);
        }
        KEPT.set(false);
    }
}

impl<S: Subscriber> Layer<S> for Roots {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _ = self.dispatch.set(dispatch.downgrade());
    }
}

fn builder(period: &Period) -> SpanBuilder {
    let attributes = period.attributes.iter().map(|(key, value)| KeyValue::new(*key, value.clone()));
    SpanBuilder::from_name(period.name)
        .with_kind(SpanKind::Internal)
        .with_start_time(period.from)
        .with_attributes(attributes.collect::<Vec<_>>())
}

fn end(span: &mut opentelemetry_sdk::trace::Span, period: Period) {
    if let Some(why) = period.failure {
        span.set_status(Status::error(why));
    }
    span.end_with_timestamp(period.to);
}

/// Tells the root span of a trace and those below it, if this process tells traces.
pub(crate) fn tell(trace: TraceId, root: Period, parts: Vec<Period>) {
    let roots = tracing::dispatcher::get_default(|dispatch| dispatch.downcast_ref::<Roots>().cloned());
    if let Some(roots) = roots {
        roots.tell(trace, root, parts);
    }
}
