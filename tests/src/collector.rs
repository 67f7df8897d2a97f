//! A small OTLP collector: takes traces over gRPC and shows what came.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by failing"
)]

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// Spans that are kept; a test that makes more is wrong.
const MOST: usize = 100_000;

/// A finished span as a collector sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// Its name.
    pub name: String,
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// Id of the parent; empty = a root.
    pub parent: String,
    /// Kind: `SERVER`, `CLIENT`, `INTERNAL`.
    pub kind: String,
    /// Status: `UNSET`, `OK`, `ERROR`, with its words.
    pub status: (String, String),
    /// Nanoseconds from its begin to its end.
    pub nanoseconds: u64,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
}

/// Listens on a free port of 127.0.0.1 until dropped.
#[derive(Debug)]
pub struct Collector {
    scheme: &'static str,
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    /// Starts one; within a tokio runtime.
    #[must_use]
    pub fn start() -> Collector {
        Collector::with("http", |service| Server::builder().add_service(TraceServiceServer::new(service)))
    }

    /// Starts one over TLS, of PEM files: it demands a certificate of the authority that signed its own, and this header.
    #[must_use]
    pub fn secure(own: (&Path, &Path), authority: &Path, header: (&'static str, &'static str)) -> Collector {
        let read = |file: &Path| std::fs::read(file).expect("a PEM file");
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(read(own.0), read(own.1)))
            .client_ca_root(Certificate::from_pem(read(authority)));
        Collector::with("https", move |service| {
            let demands = move |request: Request<()>| match request.metadata().get(header.0) {
                Some(value) if value == header.1 => Ok(request),
                _ => Err(Status::unauthenticated("the header is another")),
            };
            let service = TraceServiceServer::with_interceptor(service, demands);
            Server::builder().tls_config(tls).expect("TLS").add_service(service)
        })
    }

    fn with(scheme: &'static str, router: impl FnOnce(Taker) -> Router) -> Collector {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = incoming.local_addr().expect("a bound port");
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let serving = router(Taker(spans.clone())).serve_with_incoming(incoming);
        let task = tokio::spawn(async move { serving.await.expect("the collector serves") });
        Collector { scheme, address, spans, task }
    }

    /// For `[telemetry] otlp`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Returns the spans that have come so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits until `enough` holds of the spans that have come, and returns them.
    ///
    /// # Panics
    /// After ten seconds, with the spans that came.
    pub async fn wait_for(&self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        for _ in 0..500 {
            let spans = self.spans();
            if enough(&spans) {
                return spans;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the spans did not come; these did: {:#?}", self.spans())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Taker(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Taker {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        for group in request.into_inner().resource_spans {
            let resource = texts(group.resource.map(|r| r.attributes).unwrap_or_default());
            let of = |key: &str| resource.get(key).cloned().unwrap_or_default();
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                assert!(kept.len() < MOST, "more spans than a test makes");
                kept.push(Span {
                    service: of("service.name"),
                    instance: of("service.instance.id"),
                    kind: SpanKind::try_from(span.kind)
                        .map_or_else(|_| String::new(), |kind| kind.as_str_name().replace("SPAN_KIND_", "")),
                    status: span.status.map_or_else(Default::default, |status| {
                        (status.code().as_str_name().replace("STATUS_CODE_", ""), status.message)
                    }),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    nanoseconds: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
                    attributes: texts(span.attributes),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn texts(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let value = |pair: &KeyValue| pair.value.clone().and_then(|v| v.value).map(text).unwrap_or_default();
    pairs.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
