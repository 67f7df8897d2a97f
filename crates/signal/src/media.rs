//! Media model of both protocols: contents, codecs, direction, transport (interworking §3).
//!
//! `crates/media` reads SDP and Jingle descriptions into this model and writes them from it. Directions are as seen by the describing
//! party, the *speaker*. Leg-local facts (addresses, keys, credentials) sit in [`Transport`] and never cross from one leg to the other:
//! `media::anchor` replaces them by the relay's.

use minicbor::{Decode, Encode};
use std::net::{IpAddr, SocketAddr};

/// Session description: one entry per m= line or Jingle content, in the order of the first offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Media {
    /// Contents, at most 32 (R-SDP-14).
    #[n(0)]
    pub contents: Vec<Content>,
    /// Names of the contents grouped by BUNDLE, in group order; empty = no group.
    #[n(1)]
    pub bundle: Vec<String>,
}

/// Content: an m= line or Jingle content.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Content {
    /// Name: SDP `mid`, Jingle content `name`.
    #[n(0)]
    pub name: String,
    /// Kind, audio or video; the edges reject other kinds themselves.
    #[n(1)]
    pub kind: Kind,
    /// Direction, as seen by the speaker.
    #[n(2)]
    pub direction: Direction,
    /// True for m= port 0 and for a content missing in an answer: the content keeps its position and carries nothing.
    #[n(3)]
    pub rejected: bool,
    /// Codecs in order of preference; empty = undescribed (a JMI propose, an offerless INVITE).
    #[n(4)]
    pub codecs: Vec<Codec>,
    /// Transport over which the speaker receives.
    #[n(5)]
    pub transport: Transport,
}

/// Kind of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// `m=audio`
    #[n(0)]
    Audio,
    /// `m=video`
    #[n(1)]
    Video,
    /// `m=text`: text in real time (RFC 4103)
    #[n(2)]
    Text,
}

impl Kind {
    /// Returns the kind of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Kind> {
        [Kind::Audio, Kind::Video, Kind::Text].into_iter().find(|kind| kind.name() == name)
    }

    /// Returns the name in SDP (RFC 4566 §5.14) and Jingle (XEP-0167 §4).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Audio => "audio",
            Kind::Video => "video",
            Kind::Text => "text",
        }
    }
}

/// Direction as seen by the speaker (RFC 3264 §5.1).
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
    /// Returns the direction as seen by the peer.
    #[must_use]
    pub fn reversed(self) -> Direction {
        match self {
            Direction::Send => Direction::Receive,
            Direction::Receive => Direction::Send,
            same => same,
        }
    }
    /// Returns true if the speaker sends.
    #[must_use]
    pub fn sends(self) -> bool {
        matches!(self, Direction::Both | Direction::Send)
    }
    /// Returns true if the speaker receives.
    #[must_use]
    pub fn receives(self) -> bool {
        matches!(self, Direction::Both | Direction::Receive)
    }
    /// Makes a direction of its two halves.
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

/// Codec of a content: a payload type with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Codec {
    /// RTP payload type, 0–127, as the speaker numbers it.
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
    /// Packet time, ms, if described.
    #[n(6)]
    pub ptime: Option<u16>,
    /// Longest packet time that the speaker takes, ms, if described (maxptime, RFC 8866 §6.4.2).
    #[n(7)]
    pub max_ptime: Option<u16>,
}

impl Codec {
    /// Makes a codec without parameters.
    #[must_use]
    pub fn new(pt: u8, name: &str, clock: u32, channels: u8) -> Codec {
        let (ptime, max_ptime) = (None, None);
        Codec { pt, name: name.into(), clock, channels, params: vec![], feedback: vec![], ptime, max_ptime }
    }
    /// Returns true for the same encoding: name without case, clock and channels.
    #[must_use]
    pub fn same(&self, other: &Codec) -> bool {
        self.name.eq_ignore_ascii_case(&other.name)
            && self.clock == other.clock
            && (self.channels == other.channels || self.name.eq_ignore_ascii_case("opus"))
    }
    /// Returns true for telephone-event, CN and the like, which accompany a codec and are never used alone.
    #[must_use]
    pub fn is_auxiliary(&self) -> bool {
        ["telephone-event", "CN", "red", "rtx", "ulpfec"].iter().any(|n| self.name.eq_ignore_ascii_case(n))
    }
}

/// Transport over which the speaker of a description receives. All fields are leg-local.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Transport {
    /// Address of c= and m= port; the default candidate where ICE is used.
    #[n(0)]
    pub address: Option<SocketAddr>,
    /// RTCP port where it is neither muxed nor RTP+1.
    #[n(1)]
    pub rtcp: Option<u16>,
    /// True if rtcp-mux is offered or accepted.
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
    /// True if SDES lines or a fingerprint stand beside `RTP/AVP` (OSRTP, RFC 8643): a peer that accepts none uses plain RTP.
    #[n(6)]
    pub best_effort: bool,
    /// Source address of the description, if it differs from `address`: media may come from there (NAT).
    #[n(7)]
    pub source: Option<IpAddr>,
    /// Source of the speaker's packets, where a description says it.
    #[n(8)]
    pub ssrc: Option<Ssrc>,
}

/// Source of RTP packets as descriptions say it (RFC 5576 §4.1, XEP-0339).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ssrc {
    /// SSRC (RFC 3550 §5.1).
    #[n(0)]
    pub id: u32,
    /// CNAME, written as 16 hex digits (RFC 3550 §6.5.1, RFC 7022 §4.2); 0 where a peer's has another form.
    #[n(1)]
    pub cname: u64,
}

/// ICE description (RFC 8445) of one content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Ice {
    /// Username fragment, 4–256 ice-chars.
    #[n(0)]
    pub ufrag: String,
    /// Password, 22–256 ice-chars.
    #[n(1)]
    pub pwd: String,
    /// Candidates, at most 64 (R-SDP-14).
    #[n(2)]
    pub candidates: Vec<Candidate>,
    /// True for `a=ice-lite`; has no form in Jingle.
    #[n(3)]
    pub lite: bool,
    /// True if more candidates may follow.
    #[n(4)]
    pub trickle: bool,
}

/// ICE candidate (RFC 8839 §5.1; XEP-0176 §5.3). UDP only: the readers drop others.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Candidate {
    /// Foundation, ice-chars.
    #[n(0)]
    pub foundation: String,
    /// Component: 1 = RTP (and RTCP when muxed), 2 = RTCP.
    #[n(1)]
    pub component: u8,
    /// Priority (RFC 8445 §5.1.2).
    #[n(2)]
    pub priority: u32,
    /// Numeric address; the readers drop mDNS names.
    #[n(3)]
    pub address: SocketAddr,
    /// Type: host, srflx, prflx, relay.
    #[n(4)]
    pub kind: CandidateKind,
    /// Related address, raddr and rport.
    #[n(5)]
    pub related: Option<SocketAddr>,
    /// Generation; rises by one with each ICE restart.
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
    /// Fingerprints, one or more; one match is enough.
    #[n(0)]
    pub fingerprints: Vec<Fingerprint>,
    /// DTLS role of the speaker.
    #[n(1)]
    pub setup: Setup,
}

/// Fingerprint of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Fingerprint {
    /// Lower-case hash name, `sha-256`.
    #[n(0)]
    pub hash: String,
    /// Octets of the digest.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub digest: Vec<u8>,
}

/// DTLS role (RFC 4145).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Setup {
    /// Either role; offers only.
    #[n(0)]
    ActPass,
    /// Speaker sends the ClientHello.
    #[n(1)]
    Active,
    /// Speaker waits for the ClientHello.
    #[n(2)]
    Passive,
}

/// SRTP crypto suite, named as in a=crypto (RFC 4568 §6.2, RFC 6188, RFC 7714).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`, DTLS-SRTP 0x0001.
    #[n(0)]
    AesCm128Sha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`, 0x0002. SRTCP has a tag of 80 bits.
    #[n(1)]
    AesCm128Sha1_32,
    /// `AES_256_CM_HMAC_SHA1_80`
    #[n(2)]
    AesCm256Sha1_80,
    /// `AES_256_CM_HMAC_SHA1_32`; SRTCP has a tag of 80 bits, too.
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
    /// All suites by preference: GCM costs a third of CM with SHA-1, and a tag of 32 bits is the last resort.
    pub const ALL: [Suite; 6] = [
        Suite::AeadAes128Gcm,
        Suite::AesCm128Sha1_80,
        Suite::AeadAes256Gcm,
        Suite::AesCm256Sha1_80,
        Suite::AesCm128Sha1_32,
        Suite::AesCm256Sha1_32,
    ];

    /// Returns the name in a=crypto.
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

    /// Returns the suite of a name, in any case. Some peers write `AES_CM_256_…` for RFC 6188's `AES_256_CM_…`.
    #[must_use]
    pub fn named(name: &str) -> Option<Suite> {
        let name = name.to_ascii_uppercase().replace("AES_CM_256_", "AES_256_CM_");
        Suite::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// Returns the lengths of master key and salt, octets.
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

/// SDES line.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Crypto {
    /// Tag of the offer, repeated in the answer.
    #[n(0)]
    pub tag: u32,
    /// Suite that protects the packets.
    #[n(1)]
    pub suite: Suite,
    /// Master key and salt, [`Suite::lengths`] octets.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// Length of the master key identifier in the speaker's packets, octets; 0 = none (RFC 3711 §3.1).
    #[n(3)]
    pub mki: u8,
}

impl Crypto {
    /// Splits the key into master key and salt; `None` if it does not have the suite's length.
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
    /// Name of the content.
    #[n(0)]
    pub name: String,
    /// Candidates with their credentials; an empty `pwd` = the current ones.
    #[n(1)]
    pub ice: Ice,
}

impl Media {
    /// Makes a description with one content per kind and no codecs (JMI propose, offerless INVITE).
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
    /// Returns true if there are contents and every live one has a codec.
    #[must_use]
    pub fn is_described(&self) -> bool {
        !self.contents.is_empty() && self.contents.iter().all(|c| c.rejected || !c.codecs.is_empty())
    }
    /// Returns the kinds of the live contents, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.contents.iter().filter(|c| !c.rejected).map(|c| c.kind).collect()
    }
    /// Returns true if the speaker holds its peer: there is a live content, and the speaker receives none.
    #[must_use]
    pub fn holds(&self) -> bool {
        let mut live = self.contents.iter().filter(|c| !c.rejected).peekable();
        live.peek().is_some() && live.all(|c| !c.direction.receives())
    }
}

impl Ice {
    /// Returns the generation of the candidates: the number of ICE restarts before.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.candidates.first().map_or(0, |candidate| candidate.generation)
    }
}

impl Transport {
    /// Returns the IP of `address`, if there is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.map(|a| a.ip())
    }
}
