//! Forms of values, as patterns that JSON Schema and the `regex` crate read alike.
//!
//! One rule: a form stands at its field in [`super::Config`], and nowhere else: `tandem check`, the schema of the chart's values and
//! docs/tandem.toml all read it there.

/// A port, 1 to 65535.
macro_rules! port {
    () => {
        "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}

/// A domain or the name of a host.
pub const DOMAIN: &str = "^[^@/: \t]+$";
/// A name or address of a host, without port.
pub const HOST: &str = "^[^@/ \t]+$";
/// `host:port`.
pub const HOST_PORT: &str = concat!("^[^@/ \t]+:", port!(), "$");
/// URLs of NATS servers between commas.
pub const NATS: &str = "^ *(nats|tls)://[^ ,]+( *, *(nats|tls)://[^ ,]+)* *$";
/// URL of Redis: a server, a master that Sentinels name, or a cluster.
pub const REDIS: &str = "^rediss?(://[^ ,]+|[+](sentinel|cluster)://[^ ]+)$";
/// URL of an OTLP collector, without TLS.
pub const HTTP: &str = "^http://[^ ]+$";
/// An address or a network.
pub const NETWORK: &str = "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$";
/// An XMPP domain, or `*`.
pub const CALLER: &str = "^([*]|[^@/:* \t]+)$";
/// First signs of numbers.
pub const PREFIX: &str = "^[+]?[0-9*#]+$";
/// A number that can be dialled.
pub const NUMBER: &str = "[0-9]";
/// URI of a trunk, by a transport that is built.
pub const TRUNK_URI: &str = "^sip:[^;?]+(;(lr|transport=([uU][dD][pP]|[tT][cC][pP])))*$";
/// A bare JID.
pub const JID: &str = "^[^@]+@[^@/: \t]+$";
/// `first-last`.
pub const PORTS: &str = "^ *[0-9]{4,5} *- *[0-9]{4,5} *$";
/// Name of a file, without directories.
pub const FILE: &str = "^[A-Za-z0-9_-][A-Za-z0-9._-]*$";
