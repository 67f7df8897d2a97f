//! The one configuration file that all services read, each its own sections.
//!
//! One rule: a fault names the key, the value and the remedy. Start at [`Config`].

mod check;
mod given;
pub mod load;

pub use check::parse_listen;
pub use load::Fault;

use serde::Deserialize;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of this instance; unique among its kind. Default: host name, kind and process id.
    pub instance: Option<String>,
    /// Absent: in this process.
    pub bus: Option<BusConfig>,
    /// Absent: in memory.
    pub store: Option<StoreConfig>,
    /// What all instances of one installation share.
    pub cluster: ClusterConfig,
    /// Absent: logs only.
    pub telemetry: TelemetryConfig,
    /// Health, metrics and the admin API.
    pub admin: AdminConfig,
    /// The SIP edge.
    pub sip: SipConfig,
    /// The XMPP edge.
    pub xmpp: XmppConfig,
    /// Where SIP calls go to and come from.
    pub trunk: Vec<TrunkConfig>,
    /// Numbers of XMPP users.
    pub alias: Vec<AliasConfig>,
    /// The relay.
    pub relay: RelayConfig,
    /// The orchestrator.
    pub orchestrator: OrchestratorConfig,
    /// Limits of a call.
    pub call: CallConfig,
}

/// NATS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    /// `nats://host:port`, several separated by commas; `user:password@` where needed.
    pub url: String,
}

/// Redis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `redis://host:port`.
    pub url: String,
    /// Answer deadline, ms.
    #[serde(default = "store_timeout")]
    pub timeout_ms: u64,
}

fn store_timeout() -> u64 {
    2_000
}

/// What all instances of one installation share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterConfig {
    /// Key of the ids (tags, resources, sids) that carry a call; the same on every instance. At least 16 characters.
    /// Required with `[bus]`; made anew at each start without.
    pub secret: Option<String>,
    /// The secret in a file.
    pub secret_file: Option<String>,
    /// PEM file with the P-256 certificate and key of DTLS, one for all relays; it follows from the secret when absent.
    pub dtls_certificate_file: Option<String>,
}

/// Traces and logs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// OTLP endpoint (gRPC), `http://host:4317`.
    pub otlp: Option<String>,
    /// Share of calls that are traced, 0 to 1. Default 1.
    pub sample: Option<f64>,
    /// Log filter, `info` by default.
    pub log: Option<String>,
    /// Logs as JSON lines.
    pub json: bool,
}

/// Health, metrics and the admin API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address and port.
    pub listen: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> AdminConfig {
        AdminConfig { listen: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

/// The SIP edge.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SipConfig {
    /// `udp://address:port`, `tcp://address:port`.
    pub listen: Vec<String>,
    /// Host put in Contact and Via; default: the address that the peer reached.
    pub advertise: Option<String>,
    /// SIP domains whose users are XMPP users.
    pub domains: Vec<String>,
    /// Several edges of one host share the port (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Legs held at once; further calls are refused with 503.
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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct XmppConfig {
    /// One per component domain.
    pub component: Vec<ComponentConfig>,
}

/// An external component (XEP-0114).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentConfig {
    /// Its domain.
    pub domain: String,
    /// `host:port` of the XMPP server's component port.
    pub server: String,
    /// Shared with the XMPP server.
    pub secret: Option<String>,
    /// The secret in a file.
    pub secret_file: Option<String>,
    /// XMPP domain that `[sip] domains` map to.
    pub users: Option<String>,
}

/// A SIP peer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    /// Its name.
    pub name: String,
    /// Where its calls go: `sip:host:port;transport=udp`.
    pub uri: String,
    /// XMPP domain that it serves.
    pub domain: String,
    /// Who may call in without digest: addresses or networks, `192.0.2.0/24`.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Its phones change networks within a call: what belongs to a call is taken from any address then, else from `uri` and
    /// `sources` alone.
    #[serde(default)]
    pub roaming: bool,
    /// XMPP domains whose users may call through it, `*` = every domain; default: `users` of the component.
    pub callers: Option<Vec<String>>,
    /// Whether media with it is encrypted (SDES).
    #[serde(default)]
    pub srtp: Srtp,
    /// User name for calls that it challenges (digest).
    pub username: Option<String>,
    /// Goes with `username`.
    pub password: Option<String>,
    /// The password in a file.
    pub password_file: Option<String>,
}

/// Whether media with a trunk is encrypted. Whatever stands here, an offer of the trunk's that wants keys gets them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    /// RTP/AVP is offered.
    #[default]
    Off,
    /// RTP/AVP with a=crypto beside is offered, and either is taken.
    Optional,
    /// RTP/SAVP is offered, and nothing less is taken: 488.
    Required,
}

/// A number of an XMPP user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasConfig {
    /// Dialled on the SIP side.
    pub number: String,
    /// Who answers.
    pub jid: String,
}

/// The relay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// Address for media.
    pub listen: IpAddr,
    /// Address put into SDP and candidates; default: `listen`.
    pub advertise: Option<IpAddr>,
    /// The same for peers that speak IPv6, beside an `advertise` of IPv4; `listen` is `::` then.
    pub advertise6: Option<Ipv6Addr>,
    /// `first-last`.
    pub ports: String,
    /// Where the control API listens in the cluster; default: a free port of `listen`.
    pub control: Option<SocketAddr>,
    /// Media threads; default 1.
    pub threads: usize,
    /// Each media thread stays on a core of its own.
    pub pin: bool,
    /// A busy thread lets packets gather for so long at most, microseconds; 0 = never. It costs that much delay and saves CPU.
    pub batch_us: u64,
    /// Share of a core, percent, from which a thread takes no new call.
    pub max_load: u32,
    /// Where this relay is: orchestrators of the same region ask it first.
    pub region: String,
    /// What this relay is for: orchestrators that name labels ask only relays that have all of them.
    pub labels: Vec<String>,
    /// An end that hears nothing for this long is reported, seconds.
    pub media_timeout_s: u64,
    /// Threads that transcode and play; 0 = none; default: half the cores, at least one.
    pub transcode_threads: Option<usize>,
    /// How hard Opus tries while there is time for it, 0 to 10.
    pub transcode_complexity: u8,
    /// Directory of the sounds that can be played.
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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrchestratorConfig {
    /// Its calls go to relays of this region while there is room; empty = to any.
    pub region: String,
    /// Its calls go only to relays that have all of these labels.
    pub labels: Vec<String>,
}

/// Limits of a call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallConfig {
    /// How long a call may ring, seconds.
    pub ring_s: u64,
    /// How long a service that is told to go serves what it has, seconds.
    pub drain_s: u64,
    /// What a held party hears: a file's name in `[relay] sounds`.
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

    /// Fills in what is made anew at each start: the cluster's secret.
    pub fn settle(&mut self) {
        if self.cluster.secret.is_none() {
            self.cluster.secret = Some(random_secret());
        }
    }

    /// Key of the ids that carry a call.
    #[must_use]
    pub fn secret(&self) -> Vec<u8> {
        self.cluster.secret.clone().unwrap_or_default().into_bytes()
    }
}

/// 256 bits from the kernel, as hexadecimal text.
fn random_secret() -> String {
    use std::io::Read;
    let mut octets = [0u8; 32];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut octets));
    if read.is_err() {
        // No kernel without it; the clock and the process id are better than nothing then.
        let seed = crate::clock::now_ms() ^ u64::from(std::process::id());
        octets[..8].copy_from_slice(&seed.to_be_bytes());
    }
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
