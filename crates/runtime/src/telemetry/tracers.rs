//! One tracer for each service, chosen by the span's attribute `service`, or by the module that it comes from.

use anyhow::Result;
use opentelemetry::Context;
use opentelemetry::trace::{SpanBuilder, Tracer, TracerProvider};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};

/// The services by the name of their crate's root module.
pub(super) const SERVICES: &[(&str, &str)] = &[
    ("tandem_sip_edge", "sip-edge"),
    ("tandem_xmpp_edge", "xmpp-edge"),
    ("tandem_orchestrator", "orchestrator"),
    ("tandem_rtp_relay", "rtp-relay"),
];

/// Returns the service that a module belongs to.
pub(super) fn service_of(target: &str) -> Option<&'static str> {
    let root = target.split("::").next().unwrap_or(target);
    SERVICES.iter().find(|(module, _)| *module == root).map(|(_, service)| *service)
}

/// Gives every span the tracer of its service.
#[derive(Clone, Debug)]
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
        for (_, service) in SERVICES.iter().filter(|_| !alone) {
            let provider = provider(service)?;
            services.push((*service, provider.tracer("tandem")));
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
        let service = attribute("service");
        let service = service.as_deref().or_else(|| service_of(attribute("target").as_deref()?));
        let of = self.services.iter().find(|(name, _)| Some(*name) == service);
        of.map_or(&self.other, |(_, tracer)| tracer)
    }
}

impl Tracer for Tracers {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> Span {
        self.of(&builder).build_with_context(builder, parent)
    }
}
