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

/// An octet of an IPv4 address.
macro_rules! octet {
    () => {
        "(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
    };
}

/// A level of the log, or `module=level`.
macro_rules! directive {
    () => {
        "([^=, ]+=)?([oO][fF][fF]|[eE][rR][rR][oO][rR]|[wW][aA][rR][nN]|[iI][nN][fF][oO]|[dD][eE][bB][uU][gG]|[tT][rR][aA][cC][eE])"
    };
}

/// A domain or the name of a host.
pub const DOMAIN: &str = "^[^@/: \t]+$";
/// A name or address of a host, without port.
pub const HOST: &str = "^[^@/ \t]+$";
/// `host:port`, or `tls://host:port`.
pub const SERVER: &str = concat!("^(tls://)?[^@/ \t]+:", port!(), "$");
/// URLs of NATS servers between commas.
pub const NATS: &str = "^ *(nats|tls)://[^ ,]+( *, *(nats|tls)://[^ ,]+)* *$";
/// URL of Redis: a server, a master that Sentinels name, or a cluster.
pub const REDIS: &str = "^rediss?(://[^ ,]+|[+](sentinel|cluster)://[^ ]+)$";
/// A filter of the log: levels, alone or after a module, between commas.
pub const LOG: &str = concat!("^", directive!(), "( *, *", directive!(), ")*$");
/// URL of an OTLP collector.
pub const HTTP: &str = "^https?://[^ ]+$";
/// Name of a header, as HTTP/2 has it.
pub const HEADER: &str = "^[a-z0-9_.-]+$";
/// An address or a network.
pub const NETWORK: &str = concat!(
    "^((",
    octet!(),
    "[.]){3}",
    octet!(),
    "(/(3[0-2]|[12]?[0-9]))?|[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){1,7}(:(",
    octet!(),
    "[.]){3}",
    octet!(),
    ")?(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$"
);
/// An XMPP domain or a bare JID.
pub const MEMBER: &str = "^([^@/ \t]+@)?[^@/:* \t]+$";
/// An XMPP domain, a bare JID, `@` with the name of a group, or `*`.
pub const CALLER: &str = "^([*]|@[A-Za-z0-9._-]+|([^@/ \t]+@)?[^@/:* \t]+)$";
/// Name of a group.
pub const NAME: &str = "^[A-Za-z0-9._-]+$";
/// Digits that are dialled.
pub const DIGITS: &str = "^[0-9]+$";
/// First signs of numbers.
pub const PREFIX: &str = "^[+]?[0-9*#]+$";
/// Digits in front of a number, or a `+` alone.
pub const FRONT: &str = "^[+]?[0-9*#]*$";
/// A number that can be dialled: digits, `*` and `#` with visual separators (RFC 3966 §5.1.1), a leading + in international form.
pub const NUMBER: &str = "^[-. ()]*[+]?[-. ()]*[0-9*#][-. ()0-9*#]*$";
/// Callee of a forward: a number, a SIP URI with a user, or a bare JID.
pub const TARGET: &str =
    "^([-. ()]*[+]?[-. ()]*[0-9*#][-. ()0-9*#]*|sips?:[^@<> \t]+@[^@<>;? \t]+|[^@/: \t]+@[^@/: \t]+)$";
/// URI of a trunk, by a transport that is built.
pub const TRUNK_URI: &str = "^sips?:[^;?]+(;(lr|transport=([uU][dD][pP]|[tT][cC][pP]|[tT][lL][sS])))*$";
/// A bare JID.
pub const JID: &str = "^[^@]+@[^@/: \t]+$";
/// `first-last`.
pub const PORTS: &str = concat!("^ *", port!(), " *- *", port!(), " *$");
/// Name of a stream of JetStream.
pub const STREAM: &str = "^[A-Za-z0-9_-]+$";
/// Name of a file, without directories.
pub const FILE: &str = "^[A-Za-z0-9_-][A-Za-z0-9._-]*$";
