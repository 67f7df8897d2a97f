//! Keys of traces and logs, and their faults.

use super::files::TlsFiles;
use super::form;
use super::load::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Traces and logs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Collector of traces (OTLP over gRPC): `https://host:port`, or `http://` in the clear; absent: logs only
    #[schemars(example = "http://127.0.0.1:4317", regex(pattern = form::HTTP))]
    pub otlp: Option<String>,
    /// PEM file with the authorities that may sign the collector's certificate, which must have the host of `otlp`; default: those of
    /// the system
    #[schemars(example = "/run/secrets/otlp-ca.pem")]
    pub otlp_ca_file: Option<String>,
    /// PEM file with our certificate, where the collector wants one
    #[schemars(example = "/run/secrets/otlp.pem")]
    pub otlp_certificate_file: Option<String>,
    /// PEM file with its key
    #[schemars(example = "/run/secrets/otlp.key")]
    pub otlp_key_file: Option<String>,
    /// Share of the calls that are traced; default: 1
    #[schemars(example = 1.0, range(min = 0, max = 1))]
    pub sample: Option<f64>,
    /// Log filter: a level of Tandem's own modules, where `debug` shows SIP messages and stanzas without their secrets, or levels by
    /// module as in `info,tandem_sip_edge=debug`; default: `info`
    #[schemars(example = &"info", regex(pattern = form::LOG))]
    pub log: Option<String>,
    /// Logs as JSON lines, each with its service and instance, and `trace_id` within a call that is traced
    pub json: bool,
    /// Headers that the collector wants with what it is sent
    #[schemars(example = Vec::<String>::new())]
    pub otlp_header: Option<Vec<HeaderConfig>>,
}

/// A header of requests to the collector, gRPC metadata.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderConfig {
    /// Name, in lower case
    #[schemars(example = &"authorization", regex(pattern = form::HEADER))]
    pub name: String,
    /// Value, a secret
    #[schemars(example = "…")]
    pub value: Option<String>,
    /// The value in a file
    #[schemars(example = "/run/secrets/otlp-authorization")]
    pub value_file: Option<String>,
}

impl std::fmt::Debug for HeaderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeaderConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TelemetryConfig {
    /// Files of TLS with the collector.
    #[must_use]
    pub fn tls_files(&self) -> TlsFiles {
        let (ca, certificate, key) = (&self.otlp_ca_file, &self.otlp_certificate_file, &self.otlp_key_file);
        TlsFiles::new("[telemetry] otlp_", ca, certificate, key)
    }

    fn is_secure(&self) -> bool {
        self.otlp.as_ref().is_some_and(|endpoint| endpoint.starts_with("https://"))
    }

    /// Faults of keys that do not go together.
    pub(super) fn check(&self) -> Vec<Fault> {
        let mut faults = vec![];
        let files = self.tls_files();
        if files.any() && !self.is_secure() {
            faults.push(Fault::new(
                "[telemetry] otlp",
                "it is not over TLS, while certificates are given",
                "write https://host:4317, or leave the certificates out",
            ));
        }
        faults.extend(files.half());
        let mut names = std::collections::HashSet::new();
        for HeaderConfig { name, value, .. } in self.otlp_header.iter().flatten() {
            if !names.insert(name) {
                let trouble = format!("\"{name}\" stands twice");
                faults.push(Fault::new("[[telemetry.otlp_header]] name", trouble, "keep one"));
            }
            if name.ends_with("-bin") || name.starts_with("grpc-") {
                let trouble = format!("\"{name}\" is a name of gRPC's own");
                let remedy = "write the name that the collector's operator gave";
                faults.push(Fault::new("[[telemetry.otlp_header]] name", trouble, remedy));
            }
            let trouble = match value {
                None => "absent",
                Some(value) if !value.bytes().all(|octet| (b' '..=b'~').contains(&octet)) => {
                    "with other signs than ASCII has"
                }
                Some(_) => continue,
            };
            let remedy = "write what the collector wants to see, or name a value_file that holds it";
            faults.push(Fault::new(
                "[[telemetry.otlp_header]] value",
                format!("{trouble} for {name}"),
                remedy,
            ));
        }
        faults
    }

    /// Warning of headers that go to another host in the clear.
    pub(super) fn warning(&self) -> Option<Fault> {
        let endpoint = self.otlp.as_deref().filter(|_| !self.is_secure())?;
        self.otlp_header.iter().flatten().next()?;
        let authority = endpoint.trim_start_matches("http://").split('/').next().unwrap_or_default();
        let host = match authority.strip_prefix('[') {
            Some(address) => address.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let trouble = format!("\"{endpoint}\" is in the clear, and so are the headers that go there");
        (!is_here).then(|| Fault::new("[telemetry] otlp", trouble, "write https://"))
    }
}
