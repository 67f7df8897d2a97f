//! Log lines as JSON that name service and instance, and the trace that they belong to.

use super::tracers::{SERVICES, service_of};
use crate::Config;
use opentelemetry::trace::TraceContextExt;
use std::fmt;
use std::sync::{Arc, OnceLock};
use tracing::dispatcher::WeakDispatch;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Format of a line: that of `tracing_subscriber`, with `service`, `instance`, and `trace_id` and `span_id` within a call.
pub(super) struct JsonLine {
    format: Format<Json>,
    /// Names of services and their instances; the first is the process's own.
    names: Vec<(String, String)>,
    dispatch: Arc<OnceLock<WeakDispatch>>,
}

impl JsonLine {
    /// Creates the format for a process of this kind; `dispatch` will have its dispatcher if it tells traces.
    pub(super) fn new(config: &Config, kind: &str, dispatch: Arc<OnceLock<WeakDispatch>>) -> JsonLine {
        let alone = SERVICES.iter().any(|(_, service)| *service == kind);
        let others = SERVICES.iter().map(|(_, service)| *service).filter(|_| !alone);
        let name = |kind: &str| (kind.to_owned(), config.instance(kind));
        let names = std::iter::once(kind).chain(others).map(name).collect();
        JsonLine { format: Format::default().json().with_target(false), names, dispatch }
    }

    /// Returns service and instance of a module.
    fn name(&self, target: &str) -> Option<&(String, String)> {
        let service = service_of(target);
        self.names.iter().find(|(name, _)| Some(name.as_str()) == service).or(self.names.first())
    }

    /// Returns the ids of trace and span of the span that the event is in.
    fn ids(&self, span: Option<tracing::Id>) -> Option<(String, String)> {
        let dispatch = self.dispatch.get()?.upgrade()?;
        let context = tracing_opentelemetry::get_otel_context(&span?, &dispatch)?;
        let context = context.span().span_context().clone();
        context.is_valid().then(|| (context.trace_id().to_string(), context.span_id().to_string()))
    }
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        let mut head = serde_json::Map::new();
        if let Some((service, instance)) = self.name(event.metadata().target()) {
            head.insert("service".into(), service.as_str().into());
            head.insert("instance".into(), instance.as_str().into());
        }
        if let Some((trace, span)) = self.ids(context.lookup_current().map(|span| span.id())) {
            head.insert("trace_id".into(), trace.into());
            head.insert("span_id".into(), span.into());
        }
        let head = serde_json::Value::Object(head).to_string();
        // Two objects become one: `{"a":1}` and `{"b":2}` make `{"a":1,"b":2}`.
        match (head.strip_suffix('}'), line.strip_prefix('{')) {
            (Some(head), Some(line)) if head.len() > 1 => write!(writer, "{head},{line}"),
            _ => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::lines::Lines;
    use crate::telemetry::roots::Roots;
    use crate::telemetry::tracers::Tracers;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a20_a_json_line_names_its_service_and_trace() {
        let (tracers, providers) =
            Tracers::new("serve", |_| Ok(SdkTracerProvider::builder().build())).unwrap();
        let roots = Roots::new(tracers.clone());
        let config = Config { instance: Some("one".into()), ..Config::default() };
        let written = Lines::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(JsonLine::new(&config, "serve", roots.dispatch()));
        let traces = tracing_opentelemetry::layer().with_tracer(tracers);
        let subscriber = tracing_subscriber::registry().with(lines).with(traces).with(roots);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "tandem_sip_edge::udp", "outside");
            let span = tracing::info_span!(target: "tandem_orchestrator", "hear", call.id = "c1").entered();
            tracing::warn!(target: "tandem_orchestrator::calls", number = 7, "a \"quoted\" word");
            drop(span);
            tracing::info!(target: "h2", "of no service");
        });
        drop(providers);
        let text = written.text();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        let services: Vec<&str> = lines.iter().map(|line| line["service"].as_str().unwrap()).collect();
        assert_eq!(services, ["sip-edge", "orchestrator", "serve"]);
        assert!(lines.iter().all(|line| line["instance"] == "one"));
        assert!(lines[0]["trace_id"].is_null(), "{text}");
        assert_eq!(lines[1]["trace_id"].as_str().map(str::len), Some(32), "{text}");
        assert_eq!(lines[1]["span_id"].as_str().map(str::len), Some(16));
        assert_eq!((&lines[1]["fields"]["number"], &lines[1]["span"]["call.id"]), (&7.into(), &"c1".into()));
        assert_eq!(lines[1]["level"], "WARN");
    }
}
