//! Keys of the component links, and faults of their TLS.

use super::files::TlsFiles;
use super::form;
use super::load::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Begin of `server` where it is over TLS.
const TLS: &str = "tls://";

/// The XMPP edge.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct XmppConfig {
    /// External components (XEP-0114), one per component domain
    pub component: Vec<ComponentConfig>,
}

/// An external component (XEP-0114).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComponentConfig {
    /// Component domain: 2041@sip.example.net reaches the trunk that is bound to sip.example.net
    #[schemars(example = "sip.example.net", regex(pattern = form::DOMAIN))]
    pub domain: String,
    /// Component port of the XMPP server: `host:port`, or `tls://host:port` where it takes TLS from the first octet
    #[schemars(example = "127.0.0.1:5347", regex(pattern = form::SERVER))]
    pub server: String,
    /// Name that the server's certificate must have; default: the host of `server`
    #[schemars(example = "example.net", regex(pattern = form::DOMAIN))]
    pub tls_name: Option<String>,
    /// PEM file with the authorities that may sign it; default: those of the system
    #[schemars(example = "/run/secrets/xmpp-ca.pem")]
    pub ca_file: Option<String>,
    /// PEM file with our certificate, where the server wants one
    #[schemars(example = "/run/secrets/xmpp.pem")]
    pub certificate_file: Option<String>,
    /// PEM file with its key
    #[schemars(example = "/run/secrets/xmpp.key")]
    pub key_file: Option<String>,
    /// Password of the component, which the XMPP server knows too
    #[schemars(example = "the XMPP server knows it too")]
    pub secret: Option<String>,
    /// The secret in a file
    #[schemars(example = "/run/secrets/component")]
    pub secret_file: Option<String>,
    /// XMPP domain that the domains of `[sip]` map to
    #[schemars(example = "example.net", regex(pattern = form::DOMAIN))]
    pub users: Option<String>,
    /// Calls at once of this domain, in and out; further ones are refused with 480 or `busy`. Counted by each edge; default: no limit
    #[schemars(example = 2000, range(min = 1))]
    pub max_calls: Option<u32>,
    /// Calls at once of each caller; default: 10
    #[schemars(example = 10, range(min = 1))]
    pub max_calls_per_caller: Option<u32>,
    /// Calls that may begin in a second, twice as many at once; default: no limit
    #[schemars(example = 20, range(min = 1))]
    pub max_setup_rate: Option<u32>,
}

impl ComponentConfig {
    /// Host and port of the server.
    #[must_use]
    pub fn address(&self) -> &str {
        self.server.strip_prefix(TLS).unwrap_or(&self.server)
    }

    /// True if the link is over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.server.starts_with(TLS)
    }

    /// Key and name that the server's certificate must have.
    #[must_use]
    pub fn tls_name(&self) -> (&'static str, &str) {
        match &self.tls_name {
            Some(name) => ("[[xmpp.component]] tls_name", name),
            None => {
                let address = self.address();
                ("[[xmpp.component]] server", address.rsplit_once(':').map_or(address, |(host, _)| host))
            }
        }
    }

    /// Files of TLS.
    #[must_use]
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new("[[xmpp.component]] ", &self.ca_file, &self.certificate_file, &self.key_file)
    }

    /// Faults of keys that do not go together.
    pub(super) fn check(&self) -> Vec<Fault> {
        let files = self.tls_files();
        let mut faults: Vec<Fault> = files.half().into_iter().collect();
        if (files.any() || self.tls_name.is_some()) && !self.is_secure() {
            faults.push(Fault::new(
                "[[xmpp.component]] server",
                format!("\"{}\" is not over TLS, while certificates or tls_name are given", self.server),
                "write tls://host:port, where the server takes TLS, or leave them out",
            ));
        }
        faults
    }
}
