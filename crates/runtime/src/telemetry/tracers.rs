//! One tracer for each service, chosen by the span's attribute `service`, or by the module that it comes from.

use anyhow::Result;
use opentelemetry::Context;
use opentelemetry::trace::{SpanBuilder, Tracer, TracerProvider};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};

/// The services by the name of their crate's root module.
const SERVICES: &[(&str, &str)] = &[
    ("tandem_sip_edge", "sip-edge"),
    ("tandem_xmpp_edge", "xmpp-edge"),
    ("tandem_orchestrator", "orchestrator"),
    ("tandem_rtp_relay", "rtp-relay"),
];

/// Gives every span the tracer of its service.
#[derive(Debug)]
pub(super) struct Tracers {
    services: Vec<(&'static str, SdkTracer)>,
    other: SdkTracer,
}

impl Tracers {
    /// For a service alone: its own tracer. For any other process: one for each service, and one for what belongs to none.
    pub(super) fn new(
        kind: &str,
        provider: impl Fn(&str) -> Result<SdkTracerProvider>,
    ) -> Result<(Tracers, Vec<SdkTracerProvider>)> {
        let mut providers = vec![provider(kind)?];
        let mut services = vec![];
        let alone = SERVICES.iter().any(|(_, service)| *service == kind);
        for (root, service) in SERVICES.iter().filter(|_| !alone) {
            let provider = provider(service)?;
            services.push((*root, provider.tracer("tandem")));
            providers.push(provider);
        }
        Ok((Tracers { services, other: providers[0].tracer("tandem") }, providers))
    }

    fn of(&self, builder: &SpanBuilder) -> &SdkTracer {
        let attribute = |key: &str| {
            let mut attributes = builder.attributes.iter().flatten();
            attributes.find(|a| a.key.as_str() == key).map(|a| a.value.as_str())
        };
        // What a shared crate does for a service is the service's.
        let named = attribute("service");
        let named = SERVICES.iter().find(|(_, service)| named.as_deref() == Some(service));
        let target = attribute("target");
        let root = target.as_deref().map_or("", |target| target.split("::").next().unwrap_or(target));
        let root = named.map_or(root, |(root, _)| root);
        self.services.iter().find(|(service, _)| *service == root).map_or(&self.other, |(_, tracer)| tracer)
    }
}

impl Tracer for Tracers {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> Span {
        self.of(&builder).build_with_context(builder, parent)
    }
}
