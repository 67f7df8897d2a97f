//! Media as both protocols mean it: contents, codecs, direction, transport (interworking §3).
//!
//! SDP and Jingle descriptions are read into and written from this model by `crates/media`. Direction is always
//! written from the speaker's view; leg-local facts (addresses, keys, credentials) sit in [`Transport`] and never
//! cross from one leg to the other: `media::anchor` replaces them with the relay's.

use minicbor::{Decode, Encode};
use std::net::{IpAddr, SocketAddr};

/// A session description: one entry per m= line or Jingle content, in the order of the first offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Media {
    /// At most 32 (R-SDP-14).
    #[n(0)]
    pub contents: Vec<Content>,
    /// Names of the contents grouped by BUNDLE, in group order; empty = no group.
    #[n(1)]
    pub bundle: Vec<String>,
}

/// One m= line or Jingle content.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Content {
    /// SDP `mid`, Jingle content `name`.
    #[n(0)]
    pub name: String,
    /// Audio or video; other kinds are answered as rejected by the edges and never reach the model.
    #[n(1)]
    pub kind: Kind,
    /// Who sends, from the speaker's view.
    #[n(2)]
    pub direction: Direction,
    /// True for m= port 0 and a content left out of an answer: the content keeps its place and carries nothing.
    #[n(3)]
    pub rejected: bool,
    /// In order of preference; empty = undescribed (a JMI propose, an offerless INVITE).
    #[n(4)]
    pub codecs: Vec<Codec>,
    /// Where and how the speaker receives.
    #[n(5)]
    pub transport: Transport,
}

/// The kind of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// `m=audio`
    #[n(0)]
    Audio,
    /// `m=video`
    #[n(1)]
    Video,
}

/// Who sends, from the speaker's view (RFC 3264 §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Direction {
    /// sendrecv
    #[default]
    #[n(0)]
    Both,
    /// sendonly: the speaker holds its peer.
    #[n(1)]
    Send,
    /// recvonly
    #[n(2)]
    Receive,
    /// inactive
    #[n(3)]
    None,
}

impl Direction {
    /// The same fact seen from the other side.
    #[must_use]
    pub fn reversed(self) -> Direction {
        match self {
            Direction::Send => Direction::Receive,
            Direction::Receive => Direction::Send,
            same => same,
        }
    }
    /// The speaker sends.
    #[must_use]
    pub fn sends(self) -> bool {
        matches!(self, Direction::Both | Direction::Send)
    }
    /// The speaker receives.
    #[must_use]
    pub fn receives(self) -> bool {
        matches!(self, Direction::Both | Direction::Receive)
    }
    /// A direction from its two halves.
    #[must_use]
    pub fn of(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::Both,
            (true, false) => Direction::Send,
            (false, true) => Direction::Receive,
            (false, false) => Direction::None,
        }
    }
}

/// A payload type.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Codec {
    /// RTP payload type number, 0–127, as the speaker numbers it.
    #[n(0)]
    pub pt: u8,
    /// Encoding name as written; compared without case.
    #[n(1)]
    pub name: String,
    /// RTP clock rate, Hz (G722: 8000, RFC 3551 §4.5.2).
    #[n(2)]
    pub clock: u32,
    /// Channels of the rtpmap (Opus: always 2, RFC 7587 §7).
    #[n(3)]
    pub channels: u8,
    /// fmtp parameters in order; a bare token has an empty name (`("", "0-16")`).
    #[n(4)]
    pub params: Vec<(String, String)>,
    /// rtcp-fb of this payload type, `type [subtype]` as in SDP.
    #[n(5)]
    pub feedback: Vec<String>,
    /// Milliseconds per packet, where said.
    #[n(6)]
    pub ptime: Option<u16>,
}

impl Codec {
    /// A codec without parameters.
    #[must_use]
    pub fn new(pt: u8, name: &str, clock: u32, channels: u8) -> Codec {
        Codec { pt, name: name.into(), clock, channels, params: vec![], feedback: vec![], ptime: None }
    }
    /// Same encoding: name without case, clock, channels.
    #[must_use]
    pub fn same(&self, other: &Codec) -> bool {
        self.name.eq_ignore_ascii_case(&other.name)
            && self.clock == other.clock
            && (self.channels == other.channels || self.name.eq_ignore_ascii_case("opus"))
    }
    /// telephone-event, CN: carried beside a codec, never alone.
    #[must_use]
    pub fn is_auxiliary(&self) -> bool {
        ["telephone-event", "CN", "red", "rtx", "ulpfec"].iter().any(|n| self.name.eq_ignore_ascii_case(n))
    }
}

/// Where and how the speaker of a description receives. Everything here is leg-local.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Transport {
    /// c= and m= port; the default candidate where ICE is used.
    #[n(0)]
    pub address: Option<SocketAddr>,
    /// RTCP port where it is neither muxed nor RTP+1.
    #[n(1)]
    pub rtcp: Option<u16>,
    /// rtcp-mux offered or accepted.
    #[n(2)]
    pub mux: bool,
    /// ICE credentials and candidates.
    #[n(3)]
    pub ice: Option<Ice>,
    /// DTLS-SRTP identity.
    #[n(4)]
    pub dtls: Option<Dtls>,
    /// SDES lines (RFC 4568), in order of preference.
    #[n(5)]
    pub crypto: Vec<Crypto>,
    /// The SDES lines stand beside `RTP/AVP`: whoever does not take one speaks plain RTP (best effort).
    #[n(6)]
    pub best_effort: bool,
    /// Where the description came from, if that is another host than it names: its media may come from there (NAT).
    #[n(7)]
    pub source: Option<IpAddr>,
}

/// ICE (RFC 8445) of one content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Ice {
    /// 4–256 ice-chars.
    #[n(0)]
    pub ufrag: String,
    /// 22–256 ice-chars.
    #[n(1)]
    pub pwd: String,
    /// At most 64 (R-SDP-14).
    #[n(2)]
    pub candidates: Vec<Candidate>,
    /// `a=ice-lite`; Jingle has no word for it.
    #[n(3)]
    pub lite: bool,
    /// More candidates may follow.
    #[n(4)]
    pub trickle: bool,
}

/// An ICE candidate (RFC 8839 §5.1; XEP-0176 §5.3). UDP only: others are dropped by the readers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Candidate {
    /// ice-chars.
    #[n(0)]
    pub foundation: String,
    /// 1 = RTP (and RTCP when muxed), 2 = RTCP.
    #[n(1)]
    pub component: u8,
    /// RFC 8445 §5.1.2.
    #[n(2)]
    pub priority: u32,
    /// Numeric address; mDNS names are dropped by the readers.
    #[n(3)]
    pub address: SocketAddr,
    /// host, srflx, prflx, relay.
    #[n(4)]
    pub kind: CandidateKind,
    /// raddr/rport.
    #[n(5)]
    pub related: Option<SocketAddr>,
    /// Rises by one with each restart.
    #[n(6)]
    pub generation: u32,
}

/// Type of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum CandidateKind {
    /// host
    #[n(0)]
    Host,
    /// srflx
    #[n(1)]
    ServerReflexive,
    /// prflx
    #[n(2)]
    PeerReflexive,
    /// relay
    #[n(3)]
    Relayed,
}

/// DTLS-SRTP identity and role (RFC 5763, XEP-0320).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Dtls {
    /// One or more; any match is enough.
    #[n(0)]
    pub fingerprints: Vec<Fingerprint>,
    /// The speaker's role.
    #[n(1)]
    pub setup: Setup,
}

/// A certificate fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Fingerprint {
    /// Lower-case hash name, `sha-256`.
    #[n(0)]
    pub hash: String,
    /// Digest octets.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub digest: Vec<u8>,
}

/// DTLS role (RFC 4145).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Setup {
    /// Either; offers only.
    #[n(0)]
    ActPass,
    /// The speaker sends the ClientHello.
    #[n(1)]
    Active,
    /// The speaker waits for it.
    #[n(2)]
    Passive,
}

/// An SRTP crypto suite, by the name that a=crypto gives it (RFC 4568 §6.2, RFC 6188, RFC 7714).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`, DTLS-SRTP 0x0001.
    #[n(0)]
    AesCm128Sha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`, 0x0002. The tag of SRTCP is of 80 bits all the same.
    #[n(1)]
    AesCm128Sha1_32,
    /// `AES_256_CM_HMAC_SHA1_80`
    #[n(2)]
    AesCm256Sha1_80,
    /// `AES_256_CM_HMAC_SHA1_32`; its SRTCP too has a tag of 80 bits.
    #[n(3)]
    AesCm256Sha1_32,
    /// `AEAD_AES_128_GCM`, 0x0007.
    #[n(4)]
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`, 0x0008.
    #[n(5)]
    AeadAes256Gcm,
}

impl Suite {
    /// All, the one first that we like best: GCM costs a third of CM with SHA-1, and a tag of 32 bits is the last resort.
    pub const ALL: [Suite; 6] = [
        Suite::AeadAes128Gcm,
        Suite::AesCm128Sha1_80,
        Suite::AeadAes256Gcm,
        Suite::AesCm256Sha1_80,
        Suite::AesCm128Sha1_32,
        Suite::AesCm256Sha1_32,
    ];

    /// As a=crypto writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Suite::AesCm128Sha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AesCm128Sha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Suite::AesCm256Sha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Suite::AesCm256Sha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of a name, in any case. Some peers write `AES_CM_256_…` for RFC 6188's `AES_256_CM_…`.
    #[must_use]
    pub fn named(name: &str) -> Option<Suite> {
        let name = name.to_ascii_uppercase().replace("AES_CM_256_", "AES_256_CM_");
        Suite::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// Octets of master key and salt.
    #[must_use]
    pub fn lengths(self) -> (usize, usize) {
        match self {
            Suite::AesCm128Sha1_80 | Suite::AesCm128Sha1_32 => (16, 14),
            Suite::AesCm256Sha1_80 | Suite::AesCm256Sha1_32 => (32, 14),
            Suite::AeadAes128Gcm => (16, 12),
            Suite::AeadAes256Gcm => (32, 12),
        }
    }
}

/// One SDES line.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Crypto {
    /// As offered; an answer repeats it.
    #[n(0)]
    pub tag: u32,
    /// How packets are protected.
    #[n(1)]
    pub suite: Suite,
    /// Master key and salt, [`Suite::lengths`] octets.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// Octets of the master key identifier in each packet of the speaker's; 0 = none (RFC 3711 §3.1).
    #[n(3)]
    pub mki: u8,
}

impl Crypto {
    /// Master key and salt; `None` when the key has not the suite's length.
    #[must_use]
    pub fn parts(&self) -> Option<(&[u8], &[u8])> {
        let (key, salt) = self.suite.lengths();
        self.key.split_at_checked(key).filter(|(_, rest)| rest.len() == salt)
    }
}

impl std::fmt::Debug for Crypto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key never reaches a log.
        f.debug_struct("Crypto").field("tag", &self.tag).field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// Further candidates of one content.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Trickle {
    /// Content name.
    #[n(0)]
    pub name: String,
    /// Credentials they belong to; an empty `pwd` = the current ones.
    #[n(1)]
    pub ice: Ice,
}

impl Media {
    /// A description that names one kind per content and nothing else (JMI propose, offerless INVITE).
    #[must_use]
    pub fn undescribed(kinds: &[Kind]) -> Media {
        let contents = kinds
            .iter()
            .enumerate()
            .map(|(i, kind)| Content {
                name: i.to_string(),
                kind: *kind,
                direction: Direction::Both,
                rejected: false,
                codecs: vec![],
                transport: Transport::default(),
            })
            .collect();
        Media { contents, bundle: vec![] }
    }
    /// Every live content names a codec.
    #[must_use]
    pub fn is_described(&self) -> bool {
        !self.contents.is_empty() && self.contents.iter().all(|c| c.rejected || !c.codecs.is_empty())
    }
    /// The kinds of the live contents, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.contents.iter().filter(|c| !c.rejected).map(|c| c.kind).collect()
    }
    /// True when no live content lets the speaker's peer be heard: every direction is Send or None.
    #[must_use]
    pub fn holds(&self) -> bool {
        let mut live = self.contents.iter().filter(|c| !c.rejected).peekable();
        live.peek().is_some() && live.all(|c| !c.direction.receives())
    }
}

impl Ice {
    /// How many restarts it follows, by its candidates.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.candidates.first().map_or(0, |candidate| candidate.generation)
    }
}

impl Transport {
    /// The IP that the description names, if any.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.map(|a| a.ip())
    }
}
