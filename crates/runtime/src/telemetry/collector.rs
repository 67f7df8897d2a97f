//! The collector of traces: where it is, by which TLS it is reached, and which headers it is shown.

use super::TIMEOUT;
use crate::config::{Fault, TelemetryConfig};
use crate::tls::{HTTP2, TlsLink};
use anyhow::{Context, Result};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::Endpoint;

/// The collector that the configuration names.
#[derive(Debug)]
pub struct Collector {
    url: String,
    endpoint: Endpoint,
    /// Host and port.
    server: String,
    /// TLS, where it is spoken.
    link: Option<TlsLink>,
    /// Values are sensitive: they are never printed.
    headers: MetadataMap,
}

impl Collector {
    /// Reads endpoint, files and headers; `None` without an endpoint.
    ///
    /// # Errors
    /// One cannot be used: names key and remedy.
    pub fn new(settings: &TelemetryConfig) -> Result<Option<Collector>> {
        let Some(url) = &settings.otlp else { return Ok(None) };
        let fault = || {
            format!("[telemetry] otlp: \"{url}\" is no endpoint; write http://host:4317 or https://host:4317")
        };
        let endpoint = Endpoint::from_shared(url.clone()).with_context(fault)?;
        let (scheme, host) = endpoint.uri().scheme_str().zip(endpoint.uri().host()).with_context(fault)?;
        let port = endpoint.uri().port_u16();
        let (link, port) = match scheme {
            "https" => {
                let name = ("[telemetry] otlp", host);
                let link = TlsLink::new("[telemetry]", &settings.tls_files(), name, Some(HTTP2))?;
                (Some(link), port.unwrap_or(443))
            }
            _ => (None, port.unwrap_or(80)),
        };
        let server = format!("{host}:{port}");
        // TLS is ours, not tonic's: its connector is told of none, and requests name the true scheme.
        let plain = Endpoint::from_shared(format!("http://{server}")).with_context(fault)?;
        let endpoint = plain.origin(endpoint.uri().clone()).timeout(TIMEOUT);
        let headers = headers(settings)?;
        Ok(Some(Collector { url: url.clone(), endpoint, server, link, headers }))
    }

    /// URL of the collector.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes an exporter to it, within a tokio runtime.
    pub(super) fn exporter(&self) -> Result<SpanExporter> {
        let builder = SpanExporter::builder().with_tonic().with_timeout(TIMEOUT);
        let builder = builder.with_metadata(self.headers.clone());
        let exporter = match &self.link {
            None => builder.with_endpoint(&self.url).build(),
            Some(link) => builder.with_channel(link.channel(&self.endpoint, &self.server)).build(),
        };
        exporter.with_context(|| {
            format!("[telemetry] otlp: \"{}\" cannot be used; write http://host:4317", self.url)
        })
    }

    /// Connects to it, and greets it where it is over TLS, to see that it is there. Whether it takes our certificate and headers is
    /// seen by spans alone.
    ///
    /// # Errors
    /// Why it cannot be reached, or the fault of its certificate.
    pub async fn reach(&self) -> Result<(), Unreached> {
        match &self.link {
            None => tokio::net::TcpStream::connect(&self.server).await.map(drop).map_err(Unreached::Away),
            Some(link) => link.connect(&self.server).await.map(drop).map_err(|error| match error.kind() {
                std::io::ErrorKind::InvalidData => Unreached::Fault(link.fault(&self.server, &error)),
                _ => Unreached::Away(error),
            }),
        }
    }
}

/// Reason why a collector is not reached.
#[derive(Debug)]
pub enum Unreached {
    /// Nobody answers there.
    Away(std::io::Error),
    /// Its certificate is not taken, or it speaks no TLS.
    Fault(Fault),
}

fn headers(settings: &TelemetryConfig) -> Result<MetadataMap, Fault> {
    let mut headers = MetadataMap::new();
    for header in settings.otlp_header.iter().flatten() {
        let name = MetadataKey::<Ascii>::from_bytes(header.name.as_bytes()).map_err(|_| {
            let trouble = format!("\"{}\"", header.name);
            Fault::new("[[telemetry.otlp_header]] name", trouble, "write the name of a header, in lower case")
        })?;
        let value = header.value.as_deref().unwrap_or_default();
        let mut value: MetadataValue<Ascii> = value.parse().map_err(|_| {
            let trouble = format!("with signs that no header has, for {}", header.name);
            Fault::new("[[telemetry.otlp_header]] value", trouble, "write what the collector wants to see")
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
