//! The one configuration file that all services read, each its own sections.
//!
//! One rule: a fault names the key, the value and the remedy. Start at [`Config`].

pub mod change;
mod check;
mod files;
mod form;
mod given;
mod links;
pub mod load;
mod place;
mod reach;
mod records;
mod rewrite;
mod schema;
mod secret;
mod telemetry;
mod trunk;
mod xmpp;

pub use address::transport::{Listener, NextHop, Transport};
pub use files::{NamedFile, TlsFiles};
pub use links::{BusConfig, StoreConfig};
pub use load::Fault;
pub use records::RecordsConfig;
pub use rewrite::{RewriteConfig, RewriteParty, RewriteWay};
pub use secret::Service;
pub use telemetry::{HeaderConfig, TelemetryConfig};
pub use xmpp::{ComponentConfig, XmppConfig};

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
    /// Groups of XMPP users, whom `callers` of trunks name
    #[schemars(example = Vec::<String>::new())]
    pub group: Vec<GroupConfig>,
    /// Numbers of XMPP users
    pub alias: Vec<AliasConfig>,
    /// Form of the numbers of trunks: of the rules for a trunk, a way and a party the first whose `match` is found is applied
    #[schemars(example = Vec::<String>::new())]
    pub rewrite: Vec<RewriteConfig>,
    /// The relay
    pub relay: RelayConfig,
    /// The orchestrator
    pub orchestrator: OrchestratorConfig,
    /// Limits of a call
    pub call: CallConfig,
    /// Call detail records (docs/call-records.md); none without `file` or `stream`
    pub records: RecordsConfig,
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
    /// PEM file with the authority that signs the certificates of this installation's orchestrators and relays: with the two keys
    /// below both talk over TLS alone, each shows its certificate, and files that change are read again; default: in the clear
    #[schemars(example = "/run/secrets/cluster-ca.pem")]
    pub ca_file: Option<String>,
    /// PEM file with our certificate as an orchestrator or relay
    #[schemars(example = "/run/secrets/cluster.pem")]
    pub certificate_file: Option<String>,
    /// PEM file with its key
    #[schemars(example = "/run/secrets/cluster.key")]
    pub key_file: Option<String>,
    /// Name that the certificate of every relay must have, at whatever address it is; default: `rtp-relay`
    #[schemars(example = "rtp-relay", regex(pattern = form::DOMAIN))]
    pub tls_name: Option<String>,
}

impl ClusterConfig {
    /// Name of relays unless the configuration has another.
    const RELAY: &str = "rtp-relay";

    /// Files of TLS between orchestrators and relays.
    #[must_use]
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new("[cluster] ", &self.ca_file, &self.certificate_file, &self.key_file)
    }

    /// Name that relays prove.
    #[must_use]
    pub fn tls_name(&self) -> &str {
        self.tls_name.as_deref().unwrap_or(Self::RELAY)
    }
}

/// Health, metrics and the admin API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address and port of the admin API, which `tandem calls` and its like ask; one that others reach wants an `[[admin.user]]`
    pub listen: SocketAddr,
    /// Address and port of `/healthz`, `/readyz` and `/metrics` for probes and Prometheus, who need no token; default: `listen` alone
    #[schemars(example = "0.0.0.0:8081")]
    pub health: Option<SocketAddr>,
    /// Names by which the admin API is reached, beside addresses and `localhost`; a request for another host is refused
    #[schemars(example = ["gw.example.net"], inner(regex(pattern = form::DOMAIN)))]
    pub hosts: Vec<String>,
    /// PEM file with our certificate, and those that lead to its authority: `listen` is over TLS then; a changed file is read again
    #[schemars(example = "/run/secrets/admin.pem")]
    pub certificate_file: Option<String>,
    /// PEM file with its key
    #[schemars(example = "/run/secrets/admin.key")]
    pub key_file: Option<String>,
    /// PEM file with the authorities that sign certificates of users
    #[schemars(example = "/run/secrets/admin-users.pem")]
    pub client_ca_file: Option<String>,
    /// Users of the admin API, by bearer token or certificate; none: whoever reaches it
    #[schemars(example = Vec::<String>::new())]
    pub user: Option<Vec<AdminUserConfig>>,
}

/// A user of the admin API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminUserConfig {
    /// Name, which the log tells with every change
    #[schemars(example = &"ops", length(min = 1))]
    pub name: String,
    /// Role of the user
    #[serde(default)]
    pub role: Role,
    /// Bearer token of the user (RFC 6750), at least 16 letters and digits
    #[schemars(example = "…")]
    pub token: Option<String>,
    /// The token in a file
    #[schemars(example = "/run/secrets/admin-ops")]
    pub token_file: Option<String>,
    /// Name of the user's certificate, in place of a token or beside it: a DNS name or URI among its alternative names
    #[schemars(example = "ops.example.net", length(min = 1))]
    pub certificate_name: Option<String>,
}

/// Role of a user of the admin API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees calls, trunks, instances, settings and metrics
    #[default]
    View,
    /// Changes them, too
    Operate,
}

impl Default for AdminConfig {
    fn default() -> AdminConfig {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8080));
        AdminConfig {
            listen,
            health: None,
            hosts: vec![],
            certificate_file: None,
            key_file: None,
            client_ca_file: None,
            user: None,
        }
    }
}

/// The SIP edge.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SipConfig {
    /// Where SIP is taken: `udp://address:port`, `tcp://address:port`, `tls://address:port`; with `;advertise=host:port` where peers
    /// reach one by another name than the others
    #[schemars(length(min = 1))]
    pub listen: Vec<String>,
    /// Host put in Contact and Via, with the port of the listener that the peer reaches unless it names one; default: the address that
    /// the peer reached
    #[schemars(example = "gw.example.net", regex(pattern = form::HOST))]
    pub advertise: Option<String>,
    /// Address for peers that speak IPv6, beside an `advertise` of IPv4
    #[schemars(example = "2001:db8::7")]
    pub advertise6: Option<Ipv6Addr>,
    /// DNS servers that are asked for the names of trunks, `address:port`; default: the system's
    #[schemars(example = ["10.0.0.53:53"])]
    pub nameservers: Option<Vec<SocketAddr>>,
    /// PEM file with our certificate, and those that lead to its authority: shown by `tls://` listeners, and to trunks that ask for one;
    /// a changed file is read again
    #[schemars(example = "/run/secrets/sip.crt")]
    pub tls_certificate_file: Option<String>,
    /// PEM file with the key of that certificate
    #[schemars(example = "/run/secrets/sip.key")]
    pub tls_key_file: Option<String>,
    /// PEM file with the authorities that vouch for trunks; default: those that the system trusts
    #[schemars(example = "/etc/ssl/certs/carriers.pem")]
    pub tls_ca_file: Option<String>,
    /// SIP domains whose users are XMPP users: sip:rosa@im.example.net is rosa@ the `users` of a component
    #[schemars(example = ["im.example.net"], inner(regex(pattern = form::DOMAIN)))]
    pub domains: Vec<String>,
    /// Several edges of one host share the port (`SO_REUSEPORT`)
    pub reuse_port: bool,
    /// Legs held at once; further calls are refused with 503
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_legs: usize,
}

impl Default for SipConfig {
    fn default() -> SipConfig {
        SipConfig {
            listen: vec!["udp://127.0.0.1:5060".into(), "tcp://127.0.0.1:5060".into()],
            advertise: None,
            advertise6: None,
            nameservers: None,
            tls_certificate_file: None,
            tls_key_file: None,
            tls_ca_file: None,
            domains: vec![],
            reuse_port: false,
            max_legs: 100_000,
        }
    }
}

/// A SIP peer.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    /// Name of the trunk
    #[schemars(example = &"pbx", length(min = 1))]
    pub name: String,
    /// URI that its calls go to, by udp, tcp or tls; a name without port is looked up as RFC 3263 says (NAPTR, SRV, A and AAAA)
    #[schemars(example = "sip:127.0.0.1:5070;transport=udp", regex(pattern = form::TRUNK_URI))]
    pub uri: String,
    /// Component domain that it serves
    #[schemars(example = "sip.example.net", regex(pattern = form::DOMAIN))]
    pub domain: String,
    /// Addresses and networks that may call in without digest
    #[serde(default)]
    #[schemars(example = ["127.0.0.1/32"], inner(regex(pattern = form::NETWORK)))]
    pub sources: Vec<String>,
    /// Addresses and networks of its further nodes, which its Contact and Record-Route name: what belongs to a call is taken from them
    /// and sent to them, but no call comes from there
    #[serde(default)]
    #[schemars(example = ["198.51.100.0/24"], inner(regex(pattern = form::NETWORK)))]
    pub networks: Vec<String>,
    /// Name that the certificate of the trunk must have, as `tls` connects to it; default: the host of `uri`
    #[schemars(example = "sbc.carrier.example", regex(pattern = form::DOMAIN))]
    pub tls_name: Option<String>,
    /// Name that the certificate must have which the trunk shows as it connects to a `tls://` listener: calls are taken by that, from
    /// whatever address, and in no other way
    #[schemars(example = "sbc.carrier.example", regex(pattern = form::DOMAIN))]
    pub tls_client_name: Option<String>,
    /// Phones that change networks within a call: what belongs to a call is taken from any address then, else from `uri`, `sources`
    /// and `networks` alone
    #[serde(default)]
    pub roaming: bool,
    /// XMPP domains and users (JIDs) that may call through it, `@name`: the members of a `[[group]]`, `*`: everybody; default: the
    /// `users` of its component
    #[schemars(example = ["example.net", "ann@example.org", "@sales"], inner(regex(pattern = form::CALLER)))]
    pub callers: Option<Vec<String>>,
    /// Prefixes of numbers that may be called through it, the longest of `allow` and `deny` decides; a number with `*` or `#` needs
    /// one that has such a sign; default: all that are not denied
    #[serde(default)]
    #[schemars(example = ["2", "+49"], inner(regex(pattern = form::PREFIX)))]
    pub allow: Vec<String>,
    /// Prefixes that may not be called; default: premium rates and networks that fraud calls (+1900, 0900, +979, +881 to +883)
    #[schemars(example = ["+1900"], inner(regex(pattern = form::PREFIX)))]
    pub deny: Option<Vec<String>>,
    /// Country that it leads to (ISO 3166, two letters): its emergency numbers are neither dialled for XMPP users nor mapped to one;
    /// default: 110, 112, 118, 911, 999 and 000 are not
    #[schemars(example = &"DE", regex(pattern = address::COUNTRY))]
    pub country: Option<String>,
    /// Emergency numbers in place of those of `country`; []: none
    #[schemars(example = ["110", "112"], inner(regex(pattern = form::DIGITS)))]
    pub emergency: Option<Vec<String>>,
    /// Calls at once by this trunk, in and out; further ones are refused with 480 or `busy`. Counted by each edge; default: no limit
    #[schemars(example = 100, range(min = 1))]
    pub max_calls: Option<u32>,
    /// Calls at once of each caller; default: no limit
    #[schemars(example = 10, range(min = 1))]
    pub max_calls_per_caller: Option<u32>,
    /// Calls that may begin in a second, twice as many at once; default: no limit
    #[schemars(example = 20, range(min = 1))]
    pub max_setup_rate: Option<u32>,
    /// Voicemail box of the users of its domain, in place of that of `[call]`
    #[schemars(example = &"*97", regex(pattern = form::TARGET))]
    pub voicemail: Option<String>,
    /// Networks that media may come from beside the address of each description, for carriers with many media nodes
    #[serde(default)]
    #[schemars(example = ["203.0.113.0/24"], inner(regex(pattern = form::NETWORK)))]
    pub media_networks: Vec<String>,
    /// Encryption of media. An offer of the trunk's that wants keys gets them whatever stands here
    #[serde(default)]
    pub srtp: Srtp,
    /// Sound of the trunk before the answer, as announcements of the telephone network
    #[serde(default)]
    pub early_media: EarlyMedia,
    /// Its network is trusted to say who calls: P-Asserted-Identity of its calls comes before From (RFC 3325)
    #[serde(default)]
    pub trusted: bool,
    /// Calls to it carry P-Asserted-Identity: who calls, and of callers who withhold their number as well, with `Privacy: id`. For networks
    /// alone that keep such a number from the callee
    #[serde(default)]
    pub asserted_identity: bool,
    /// A call of its that an XMPP user declines is refused with 603, and nobody else is tried for it then; else with 480, and a PABX may
    /// try others
    #[serde(default)]
    pub use_6xx: bool,
    /// Seconds after which a call ends whose phone has not confirmed it, asked for in each call (RFC 4028): a phone that is gone is noticed
    /// within that time; at least 90, 0: it is not asked for, but agreed if the trunk asks; default: 1800
    #[schemars(example = 900, range(max = 86_400))]
    pub session_expires_s: Option<u32>,
    /// User name that its calls must show (digest: SHA-512-256, SHA-256 or MD5); without `sources` they may come from any address
    #[schemars(example = &"pbx", length(min = 1))]
    pub inbound_username: Option<String>,
    /// Password that goes with `inbound_username`, at least 12 characters
    #[schemars(example = "…")]
    pub inbound_password: Option<String>,
    /// The password in a file
    #[schemars(example = "/run/secrets/trunk-inbound")]
    pub inbound_password_file: Option<String>,
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
    /// RTP/SAVP with a=crypto is offered (SDES: keys go in SIP), and nothing less is taken: 488
    Required,
    /// UDP/TLS/RTP/SAVP is offered (DTLS-SRTP, RFC 5763), and nothing less is taken: 488
    Dtls,
    /// RTP/AVP with a=fingerprint and a=crypto beside it is offered (OSRTP, RFC 8643), and any of them is taken
    Osrtp,
}

/// Sound of a trunk before the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyMedia {
    /// XMPP callers hear their client's ringing until the call is answered
    #[default]
    RingThenProceed,
    /// They hear the trunk: with the first 183 that has a description their client shows the call as connected
    Early,
}

/// A group of XMPP users.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// Name, which `callers` write after an `@`
    #[schemars(example = &"sales", regex(pattern = form::NAME))]
    pub name: String,
    /// Its members: users (JIDs) and XMPP domains
    #[schemars(example = ["rosa@example.net", "example.org"], inner(regex(pattern = form::MEMBER)))]
    pub members: Vec<String>,
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
    /// UDP ports for media, first-last, not below 1024; a call takes up to 4. Kubernetes gives 30000-32767 to Services; those that the
    /// system gives to other programs are reserved by `net.ipv4.ip_local_reserved_ports`
    #[schemars(regex(pattern = form::PORTS))]
    pub ports: String,
    /// Address and port of the control API in the cluster; default: a free port of `listen`
    #[schemars(example = "10.0.0.7:9090")]
    pub control: Option<SocketAddr>,
    /// Media threads
    #[schemars(range(min = 1, max = 256))]
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
    #[schemars(range(min = 1, max = 86_400))]
    pub media_timeout_s: u64,
    /// Seconds without RTP and RTCP after which a call with a phone ends, held or not
    #[schemars(range(min = 1))]
    pub hold_timeout_s: u64,
    /// Networks that no peer may name for its media; default: loopback (unless `listen` is), link-local, multicast, unspecified and
    /// reserved addresses, and metadata services of clouds
    #[schemars(example = ["127.0.0.0/8", "169.254.0.0/16", "10.96.0.0/12"], inner(regex(pattern = form::NETWORK)))]
    pub deny: Option<Vec<String>>,
    /// Threads that turn one codec into another where none is shared, and play, 0: none; default: half the cores, at least one
    #[schemars(example = 1, range(min = 0, max = 256))]
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
            ports: "40000-49999".into(),
            control: None,
            threads: 1,
            pin: false,
            batch_us: 1_000,
            max_load: 85,
            region: String::new(),
            labels: vec![],
            media_timeout_s: 60,
            hold_timeout_s: 300,
            deny: None,
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
    #[schemars(range(min = 1, max = 86_400))]
    pub ring_s: u64,
    /// Seconds for which an XMPP user is called of whom no device says that it rings; then 480
    #[schemars(range(min = 1, max = 86_400))]
    pub unheard_s: u64,
    /// Seconds for which a service that is told to go serves what it has, 0: it goes at once
    #[schemars(range(min = 0, max = 604_800))]
    pub drain_s: u64,
    /// Sound that a held party hears: a file of the `sounds` of `[relay]`
    #[schemars(example = "hold.wav", regex(pattern = form::FILE))]
    pub hold_music: Option<String>,
    /// Voicemail box of a trunk: a number, a SIP URI or a JID. Calls of XMPP users who are busy, off line, do not answer or are not to be
    /// disturbed go there, with Diversion, History-Info and the mailbox (RFC 4458); they call it as `voicemail` at the component domain
    #[schemars(example = &"sip:*97@pbx.example", regex(pattern = form::TARGET))]
    pub voicemail: Option<String>,
}

impl Default for CallConfig {
    fn default() -> CallConfig {
        CallConfig { ring_s: 120, unheard_s: 45, drain_s: 25, hold_music: None, voicemail: None }
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

    /// Key of the ids that carry a call.
    #[must_use]
    pub fn secret(&self) -> Vec<u8> {
        self.cluster.secret.clone().unwrap_or_default().into_bytes()
    }
}
