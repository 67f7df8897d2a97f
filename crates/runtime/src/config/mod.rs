//! The one configuration file that all services read, each its own sections.
//!
//! One rule: a fault names the key, the value and the remedy. Start at [`Config`].

mod check;
mod form;
mod given;
mod links;
pub mod load;
mod schema;

pub use address::transport::{Listener, NextHop, Transport};
pub use links::{BusConfig, StoreConfig};
pub use load::Fault;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The whole file.
///
/// A key is a field: its comment is what docs/tandem.toml and the chart say of it, its attributes are the range or form that `tandem
/// check` and the chart hold it to, and `example` is what docs/tandem.toml shows where there is no default.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of this instance, unique among its kind; default: kind, host and process id
    #[schemars(example = "gw-1", length(min = 1))]
    pub instance: Option<String>,
    /// Threads that messages, commits and links are served by, beside those of media; one is cheapest, and another instance the better
    /// way to more; default: 1
    #[schemars(example = 1, range(min = 1, max = 64))]
    pub threads: Option<usize>,
    /// NATS, between instances; absent: everything in one process (`tandem serve`)
    pub bus: Option<BusConfig>,
    /// Redis, for what must outlive a process; absent: in memory
    pub store: Option<StoreConfig>,
    /// Secrets that all instances of one installation share
    pub cluster: ClusterConfig,
    /// Traces and logs
    pub telemetry: TelemetryConfig,
    /// Health, metrics and the admin API
    pub admin: AdminConfig,
    /// The SIP edge
    pub sip: SipConfig,
    /// The XMPP edge
    pub xmpp: XmppConfig,
    /// SIP peers
    pub trunk: Vec<TrunkConfig>,
    /// Numbers of XMPP users
    pub alias: Vec<AliasConfig>,
    /// The relay
    pub relay: RelayConfig,
    /// The orchestrator
    pub orchestrator: OrchestratorConfig,
    /// Limits of a call
    pub call: CallConfig,
}

/// Secrets that all instances of one installation share.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterConfig {
    /// Key of the ids (tags, resources, sids) that carry a call, and of what instances say to each other: 32 octets or more, the same
    /// on every instance; required with `[bus]`, made anew at each start without
    #[schemars(example = "…")]
    pub secret: Option<String>,
    /// The secret in a file
    #[schemars(example = "/run/secrets/cluster")]
    pub secret_file: Option<String>,
    /// PEM file with the P-256 certificate and key of DTLS, one for all relays; default: it follows from the secret
    #[schemars(example = "/run/secrets/dtls.pem")]
    pub dtls_certificate_file: Option<String>,
}

/// Traces and logs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Collector of traces (OTLP over gRPC, without TLS: put one beside the service); absent: logs only
    #[schemars(example = "http://127.0.0.1:4317", regex(pattern = form::HTTP))]
    pub otlp: Option<String>,
    /// Share of the calls that are traced; default: 1
    #[schemars(example = 1.0, range(min = 0, max = 1))]
    pub sample: Option<f64>,
    /// Log filter: a level, or levels by module as in `info,tandem_sip_edge=debug`; default: `info`
    #[schemars(example = &"info", length(min = 1))]
    pub log: Option<String>,
    /// Logs as JSON lines
    pub json: bool,
}

/// Health, metrics and the admin API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address and port of `/healthz`, `/readyz`, `/metrics`, and of what `tandem calls` and its like ask
    pub listen: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> AdminConfig {
        AdminConfig { listen: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

/// The SIP edge.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SipConfig {
    /// Where SIP is taken: `udp://address:port`, `tcp://address:port`
    #[schemars(length(min = 1))]
    pub listen: Vec<String>,
    /// Host put in Contact and Via; default: the address that the peer reached
    #[schemars(example = "gw.example.net", regex(pattern = form::HOST))]
    pub advertise: Option<String>,
    /// SIP domains whose users are XMPP users: sip:rosa@im.example.net is rosa@ the `users` of a component
    #[schemars(example = ["im.example.net"], inner(regex(pattern = form::DOMAIN)))]
    pub domains: Vec<String>,
    /// Several edges of one host share the port (`SO_REUSEPORT`)
    pub reuse_port: bool,
    /// Legs held at once; further calls are refused with 503
    #[schemars(range(min = 1))]
    pub max_legs: usize,
}

impl Default for SipConfig {
    fn default() -> SipConfig {
        SipConfig {
            listen: vec!["udp://127.0.0.1:5060".into(), "tcp://127.0.0.1:5060".into()],
            advertise: None,
            domains: vec![],
            reuse_port: false,
            max_legs: 100_000,
        }
    }
}

/// The XMPP edge.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct XmppConfig {
    /// External components (XEP-0114), one per component domain
    pub component: Vec<ComponentConfig>,
}

/// An external component (XEP-0114).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComponentConfig {
    /// Component domain: 2041@sip.example.net reaches the trunk that is bound to sip.example.net
    #[schemars(example = "sip.example.net", regex(pattern = form::DOMAIN))]
    pub domain: String,
    /// Component port of the XMPP server
    #[schemars(example = "127.0.0.1:5347", regex(pattern = form::HOST_PORT))]
    pub server: String,
    /// Password of the component, which the XMPP server knows too
    #[schemars(example = "the XMPP server knows it too")]
    pub secret: Option<String>,
    /// The secret in a file
    #[schemars(example = "/run/secrets/component")]
    pub secret_file: Option<String>,
    /// XMPP domain that the domains of `[sip]` map to
    #[schemars(example = "example.net", regex(pattern = form::DOMAIN))]
    pub users: Option<String>,
}

/// A SIP peer.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    /// Name of the trunk
    #[schemars(example = &"pbx", length(min = 1))]
    pub name: String,
    /// URI that its calls go to, by udp or tcp
    #[schemars(example = "sip:127.0.0.1:5070;transport=udp", regex(pattern = form::TRUNK_URI))]
    pub uri: String,
    /// Component domain that it serves
    #[schemars(example = "sip.example.net", regex(pattern = form::DOMAIN))]
    pub domain: String,
    /// Addresses and networks that may call in without digest
    #[serde(default)]
    #[schemars(example = ["127.0.0.1/32"], inner(regex(pattern = form::NETWORK)))]
    pub sources: Vec<String>,
    /// Phones that change networks within a call: what belongs to a call is taken from any address then, else from `uri` and
    /// `sources` alone
    #[serde(default)]
    pub roaming: bool,
    /// XMPP domains whose users may call through it, `*`: every domain; default: the `users` of its component
    #[schemars(example = ["example.net"], inner(regex(pattern = form::CALLER)))]
    pub callers: Option<Vec<String>>,
    /// Prefixes of numbers that may be called through it, the longest of `allow` and `deny` decides; a number with `*` or `#` needs
    /// one that has such a sign; default: all that are not denied
    #[serde(default)]
    #[schemars(example = ["2", "+49"], inner(regex(pattern = form::PREFIX)))]
    pub allow: Vec<String>,
    /// Prefixes that may not be called; default: premium rates and networks that fraud calls (+1900, 0900, +979, +881 to +883)
    #[schemars(example = ["+1900"], inner(regex(pattern = form::PREFIX)))]
    pub deny: Option<Vec<String>>,
    /// Encryption of media (SDES: keys go in SIP). An offer of the trunk's that wants keys gets them whatever stands here
    #[serde(default)]
    pub srtp: Srtp,
    /// User name for calls that the trunk challenges (digest)
    #[schemars(example = "2000", length(min = 1))]
    pub username: Option<String>,
    /// Password that goes with `username`
    #[schemars(example = "…")]
    pub password: Option<String>,
    /// The password in a file
    #[schemars(example = "/run/secrets/trunk")]
    pub password_file: Option<String>,
}

/// Encryption of media with a trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    /// RTP/AVP is offered
    #[default]
    Off,
    /// RTP/AVP with a=crypto beside it is offered, and either is taken
    Optional,
    /// RTP/SAVP is offered, and nothing less is taken: 488
    Required,
}

/// A number of an XMPP user.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasConfig {
    /// Number dialled on the SIP side: digits, with a leading + in international form
    #[schemars(example = "2700", regex(pattern = form::NUMBER))]
    pub number: String,
    /// XMPP user who answers
    #[schemars(example = "rosa@example.net", regex(pattern = form::JID))]
    pub jid: String,
}

/// The relay.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// Address for media
    pub listen: IpAddr,
    /// Address put into SDP and candidates; default: `listen`
    #[schemars(example = "203.0.113.7")]
    pub advertise: Option<IpAddr>,
    /// Address for peers that speak IPv6, beside an `advertise` of IPv4; `listen` is `::` then
    #[schemars(example = "2001:db8::7")]
    pub advertise6: Option<Ipv6Addr>,
    /// UDP ports for media, first-last, not below 1024; a call takes up to 4
    #[schemars(regex(pattern = form::PORTS))]
    pub ports: String,
    /// Address and port of the control API in the cluster; default: a free port of `listen`
    #[schemars(example = "10.0.0.7:9090")]
    pub control: Option<SocketAddr>,
    /// Media threads
    #[schemars(range(min = 1))]
    pub threads: usize,
    /// Each media thread stays on a core of its own: for whole cores
    pub pin: bool,
    /// Microseconds for which a busy thread lets packets gather at most, 0: never; it costs that much delay and saves CPU
    #[schemars(range(max = 10_000))]
    pub batch_us: u64,
    /// Percent of a core from which a media thread takes no new call
    #[schemars(range(min = 1, max = 100))]
    pub max_load: u32,
    /// Region of this relay: orchestrators of the same region ask it first
    pub region: String,
    /// Uses of this relay: orchestrators that name labels ask only relays that have all of them
    #[schemars(inner(length(min = 1)))]
    pub labels: Vec<String>,
    /// Seconds of silence after which an end is reported, and its call ended
    #[schemars(range(min = 1))]
    pub media_timeout_s: u64,
    /// Threads that turn one codec into another where none is shared, and play, 0: none; default: half the cores, at least one
    #[schemars(example = 1)]
    pub transcode_threads: Option<usize>,
    /// Effort of Opus while there is time for it
    #[schemars(range(max = 10))]
    pub transcode_complexity: u8,
    /// Directory of ringback, announcements and music on hold (WAV, Ogg Opus)
    #[schemars(example = "/usr/share/tandem/sounds")]
    pub sounds: Option<String>,
}

impl Default for RelayConfig {
    fn default() -> RelayConfig {
        RelayConfig {
            listen: IpAddr::from([127, 0, 0, 1]),
            advertise: None,
            advertise6: None,
            ports: "30000-34999".into(),
            control: None,
            threads: 1,
            pin: false,
            batch_us: 1_000,
            max_load: 85,
            region: String::new(),
            labels: vec![],
            media_timeout_s: 60,
            transcode_threads: None,
            transcode_complexity: 5,
            sounds: None,
        }
    }
}

impl RelayConfig {
    /// Threads that transcode and play.
    #[must_use]
    pub fn transcode_threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.transcode_threads.unwrap_or_else(|| (cores() / 2).max(1))
    }
}

/// The orchestrator.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OrchestratorConfig {
    /// Region whose relays are asked first while there is room; empty: any
    pub region: String,
    /// Labels that a relay must have, all of them, to be asked
    #[schemars(inner(length(min = 1)))]
    pub labels: Vec<String>,
}

/// Limits of a call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CallConfig {
    /// Seconds that a call may ring
    #[schemars(range(min = 1))]
    pub ring_s: u64,
    /// Seconds for which a service that is told to go serves what it has
    pub drain_s: u64,
    /// Sound that a held party hears: a file of the `sounds` of `[relay]`
    #[schemars(example = "hold.wav", regex(pattern = form::FILE))]
    pub hold_music: Option<String>,
}

impl Default for CallConfig {
    fn default() -> CallConfig {
        CallConfig { ring_s: 120, drain_s: 25, hold_music: None }
    }
}

impl Config {
    /// The name of this instance.
    #[must_use]
    pub fn instance(&self, kind: &str) -> String {
        self.instance.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{kind}-{}-{}", host.trim(), std::process::id())
        })
    }

    /// Generates the cluster's secret where none is given: it is made anew at each start then.
    ///
    /// # Errors
    /// The kernel gives no random octets: a secret that could be guessed is none.
    pub fn generate_secret(&mut self) -> std::io::Result<()> {
        if self.cluster.secret.is_none() {
            self.cluster.secret = Some(random_secret()?);
        }
        Ok(())
    }

    /// Key of the ids that carry a call.
    #[must_use]
    pub fn secret(&self) -> Vec<u8> {
        self.cluster.secret.clone().unwrap_or_default().into_bytes()
    }
}

/// Returns 256 random bits of the kernel, as hexadecimal text.
fn random_secret() -> std::io::Result<String> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut octets = [0u8; 32];
    let mut filled = 0;
    while filled < octets.len() {
        filled += getrandom(&mut octets[filled..], GetRandomFlags::empty())?;
    }
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}
