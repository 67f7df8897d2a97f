//! Plain values between the shell and a worker, and those that its files share: no behaviour, and nothing of a sibling file.

use crate::dtls::Certificate;
use crate::ice::Credentials;
use crate::network::Network;
use crate::packet::Spliced;
use crate::srtp::Index;
use crate::webrtc::Association;
use signal::media::{Codec, Crypto, Direction, Dtls, Ice, Ssrc, Suite};
use signal::{LegId, Time};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// Legs of a session at a time, at most.
pub const LEGS: u32 = 8;
/// Contents of a leg at most.
pub const CONTENTS: u32 = 8;
/// Octets of the buffer that [`super::Worker::poll_transmit`] writes to.
pub const MAX_TRANSMIT: usize = 2_048;
/// Indices of RTCP left out by a relay that resumes: more than the other one may have sent since its last snapshot (interworking §12.2).
pub const AHEAD: u32 = 1_000;
/// Time for which a session keeps to the numbering that it stated for another relay, unless it is handed over, ms.
pub(super) const FROZEN_MS: u64 = 5_000;

/// Address, certificate and clock that all WebRTC endpoints of a worker share.
#[derive(Clone, Debug)]
pub struct Host {
    /// Address of the interface that the shared socket is bound to.
    pub address: SocketAddr,
    /// Shown to every peer.
    pub certificate: Certificate,
    /// Any moment of the standard clock …
    pub base: Instant,
    /// … and the same moment in ours.
    pub epoch: Time,
}

/// Names an endpoint of one worker. A freed index gets another generation, so a late packet never meets a new call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId {
    /// Index into the worker's table.
    pub index: u32,
    /// How often the index was used before.
    pub generation: u32,
}

/// A socket as the core names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// The even port of a plain end.
    Rtp(EndpointId),
    /// The odd port of a plain end.
    Rtcp(EndpointId),
    /// The ICE port that all WebRTC ends of the worker share.
    Shared,
}

/// A leg that a session is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegRequest {
    /// The leg.
    pub leg: LegId,
    /// Number of its contents.
    pub contents: u32,
    /// True for an end that will be WebRTC for certain, and needs no ports of its own.
    pub webrtc: bool,
}

/// A key that is pressed for a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// `0`–`9`, `*`, `#`, `A`–`D`, or [`signal::PAUSE`]: keys after it wait.
    pub digit: char,
    /// How long, ms.
    pub duration_ms: u16,
    /// Names the key: given again, it is said once.
    pub id: u64,
}

/// Our side of an endpoint, given by the shell when it is made: ports that are bound, and words drawn at random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Address put into descriptions.
    pub address: IpAddr,
    /// Port of plain RTP; 0 = it has none and will be WebRTC.
    pub rtp_port: u16,
    /// Port of plain RTCP.
    pub rtcp_port: u16,
    /// ICE user fragment, unique within the worker.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// How often the two were replaced: once with each ICE restart of the peer.
    pub generation: u32,
    /// Settles a conflict of ICE roles.
    pub tie_breaker: u64,
    /// ICE local preference: a session that moves is preferred where it is now.
    pub preference: u16,
    /// Keys for what is sent from here where SDES is agreed, one a suite. Secret.
    pub crypto: Vec<Crypto>,
}

impl Local {
    /// A word that is as random as what the shell drew.
    pub(super) fn word(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        (&self.ufrag, self.tie_breaker).hash(&mut hash);
        hash.finish()
    }
}

/// One content of one leg as its peer described it and both sides agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// c= and m= port.
    pub address: Option<SocketAddr>,
    /// RTCP port where it is neither muxed nor RTP + 1.
    pub rtcp_port: Option<u16>,
    /// rtcp-mux agreed.
    pub mux: bool,
    /// With `dtls` and rtcp-mux: the end is WebRTC.
    pub ice: Option<Ice>,
    /// Fingerprints and role of the peer.
    pub dtls: Option<Dtls>,
    /// The content whose transport carries this one too (BUNDLE, RFC 9143); this one's own facts of transport are then void.
    pub bundled: Option<u32>,
    /// Without `dtls`: SRTP at ports, under this key of the peer's and ours of the same suite.
    pub crypto: Option<Crypto>,
    /// Payload numbers in use on this leg.
    pub codecs: Vec<Codec>,
    /// From the peer's view.
    pub direction: Direction,
    /// We opened this leg: ICE controlling.
    pub ours: bool,
    /// Where the leg's signalling comes from.
    pub source: Option<IpAddr>,
    /// Networks that media may come from beside its address.
    pub networks: Vec<Network>,
    /// Words drawn at random, for our side should this be an ICE restart; `None`: it keeps those that it has.
    pub fresh: Option<Credentials>,
    /// Our credentials that the peer was told after a restart, and the number of restarts: an endpoint resumed from an older state adopts them.
    pub told: Option<(Credentials, u32)>,
    /// Source that the peer was told for what it hears; `None`: it is named as at its own source, where that name is free.
    pub ssrc: Option<Ssrc>,
}

/// Change of an endpoint that the orchestrators are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Plain: locked on its peer. WebRTC: keys are in.
    Connected,
    /// WebRTC that goes on for another relay: the peer was found, or has found us.
    Resumed,
    /// Nothing was heard for too long: while something was due, or nothing at all.
    TimedOut,
    /// ICE found no way, or lost it.
    Unreachable,
    /// The certificate is not the one that was described.
    Insecure,
    /// The other side needs a keyframe, and this endpoint's peer takes no RTCP that requests one: it is to be
    /// asked by signalling (RFC 5168).
    KeyframeWanted,
    /// Media of its peer is refused, and nothing else comes: told once of an endpoint.
    Deaf(Deaf),
}

/// A packet of a party that is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deaf {
    /// Address that the first of them came from; with [`Why::Denied`] the one that was described.
    pub from: SocketAddr,
    /// Address that media is expected from.
    pub expected: Option<SocketAddr>,
    /// Why it was refused.
    pub why: Why,
}

/// Why media is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Comes from an address that may not send here.
    Source,
    /// Its payload type was not agreed.
    PayloadType(u8),
    /// Does not open with the keys that were agreed, or there are none yet.
    Key,
    /// Its description names an address that nothing is sent to.
    Denied,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Source => f.write_str("it comes from an address that may not send here"),
            Why::PayloadType(pt) => write!(f, "payload type {pt} was not agreed"),
            Why::Key => f.write_str("it does not open with the keys that were agreed"),
            Why::Denied => f.write_str("the description names an address that nothing is sent to"),
        }
    }
}

/// An [`Event`] and the endpoint that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The session.
    pub session: String,
    /// W3C traceparent that it was allocated with.
    pub trace: String,
    /// The leg.
    pub leg: LegId,
    /// The content's place.
    pub content: u16,
    /// Kind.
    pub event: Event,
}

/// A packet to be sent: the first `length` octets of the buffer that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Socket to send by.
    pub socket: Socket,
    /// Destination.
    pub to: SocketAddr,
    /// Number of octets.
    pub length: usize,
}

/// The peer of an end's RTP socket became the only one that is heard there, or is not any more: the shell may let the kernel
/// know (`connect`), which then looks up no route for each packet and drops what others send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latched {
    /// Endpoint.
    pub end: EndpointId,
    /// `None` = anyone may send there again.
    pub peer: Option<SocketAddr>,
}

/// Times of a worker, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An end that hears nothing for this long while something is due is reported.
    pub media_timeout_ms: u64,
    /// A leg at ports that sends neither RTP nor RTCP for this long is reported, whether anything is due or not (held, too).
    pub leg_timeout_ms: u64,
    /// A session that never got both its sides is released.
    pub unconnected_ms: u64,
    /// A session that hears nothing at all is released.
    pub silent_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            media_timeout_ms: 60_000,
            leg_timeout_ms: 300_000,
            unconnected_ms: 300_000,
            silent_ms: 3_600_000,
        }
    }
}

/// Transport of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Not connected yet.
    Open,
    /// RTP and RTCP in the clear.
    Plain,
    /// SRTP and SRTCP at ports, keyed by signalling (RFC 4568).
    Sdes,
    /// ICE and DTLS-SRTP.
    Webrtc,
    /// SRTP and SRTCP at ports, keyed by DTLS (RFC 5763).
    Dtls,
}

/// Statistics of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The leg.
    pub leg: LegId,
    /// The content's place.
    pub content: u16,
    /// Packets accepted from the peer.
    pub packets_in: u64,
    /// Their octets, as RTP.
    pub octets_in: u64,
    /// Packets sent to the peer.
    pub packets_out: u64,
    /// Their octets, as sent.
    pub octets_out: u64,
    /// Packets refused: wrong source, unknown payload, bad authentication, replay.
    pub dropped: u64,
    /// RFC 3550 A.3.
    pub lost: u64,
    /// RFC 3550 A.8, microseconds.
    pub jitter_us: u32,
    /// Packets that came or should have.
    pub expected: u64,
    /// Lost within the last second, parts per million.
    pub loss_ppm: u32,
    /// To the peer and back, microseconds; by the peer's RTCP.
    pub round_trip_us: Option<u32>,
    /// Mean opinion score of what came in within the last second, hundredths ([`super::mos`]); `None`: nothing came, or no sound.
    pub mos: Option<u16>,
    /// The mean of all seconds.
    pub mos_mean: Option<u16>,
    /// Quality of our stream as the peer reports it; `None`: it has not yet.
    pub view: Option<RemoteReport>,
    /// The codec that is heard; empty: none is agreed.
    pub codec: String,
    /// Transport.
    pub form: Form,
    /// Address that media comes from.
    pub peer: Option<SocketAddr>,
    /// SRTP suite in use.
    pub suite: Option<crate::srtp::Suite>,
}

/// Quality of a stream as its receiver reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteReport {
    /// Packets lost since the beginning; fewer than none when some came twice.
    pub lost: i32,
    /// Lost since its report before, parts per million.
    pub loss_ppm: u32,
    /// Microseconds.
    pub jitter_us: u32,
    /// Mean opinion score by these, hundredths.
    pub mos: Option<u16>,
}

/// Why control is refused; the text names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Never allocated, or released.
    #[error("session: {0:?} is not known here")]
    UnknownSession(String),
    /// Outside of what was allocated.
    #[error("leg, content: the session has no end {0}.{1}")]
    UnknownEndpoint(u32, u32),
    /// The ICE part makes no sense.
    #[error("ice: {0}")]
    Ice(String),
    /// The DTLS part makes no sense, or no association can be made.
    #[error("dtls: {0}")]
    Dtls(String),
    /// More legs than a session may have.
    #[error("legs: a session has {LEGS} at most at a time")]
    TooManyLegs,
    /// The legs cannot be bridged so.
    #[error("pairs: leg {0} {1}")]
    Bridge(u8, &'static str),
    /// The content cannot share that transport.
    #[error("bundled: {0}")]
    Bundle(String),
    /// The key cannot be said.
    #[error("key: {0}")]
    Keys(&'static str),
    /// No key for the suite, or one of the wrong length.
    #[error("crypto: {0}")]
    Crypto(String),
    /// No thread that makes sound has room.
    #[error(
        "codecs: they do not meet, and this relay has no room to transcode: take another, or raise [relay] transcode_threads"
    )]
    Full,
    /// No plain ports: they were given back when the endpoint became WebRTC, or never asked for.
    #[error("ice, dtls: the end is WebRTC and cannot become plain")]
    NoPorts,
}

/// When a packet came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival(pub u64);

impl Arrival {
    /// Microseconds since the epoch, to milliseconds.
    #[must_use]
    pub fn time(self) -> Time {
        Time(self.0 / 1_000)
    }
}

/// A session as another relay can go on with it. Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Time,
    /// Its endpoints.
    pub endpoints: Vec<EndpointState>,
    /// Legs that hear each other.
    pub bridge: Vec<(LegId, LegId)>,
    /// The relay keeps to this numbering as long as it sends.
    pub exact: bool,
}

/// One endpoint of a [`Snapshot`].
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointState {
    /// The leg.
    pub leg: LegId,
    /// The content's place.
    pub content: u16,
    /// Our ICE user fragment, as the peer knows it.
    pub ufrag: String,
    /// Its password.
    pub pwd: String,
    /// How often the two were replaced.
    pub generation: u32,
    /// The peer's ICE user fragment that they answer; empty: none was known.
    pub theirs: String,
    /// ICE local preference of our candidate.
    pub preference: u16,
    /// Our port of plain RTP: whoever has the same address takes the same one.
    pub rtp_port: u16,
    /// Our keys of SDES, one a suite: none unless the peer may have been told of them.
    pub crypto: Vec<Crypto>,
    /// How far they got.
    pub keyed: Option<Keyed>,
    /// DTLS role, keys and indices.
    pub association: Option<Association>,
    /// Where the peer's ICE was.
    pub path: Option<SocketAddr>,
    /// The stream that this endpoint's peer hears.
    pub outgoing: Option<Spliced>,
}

impl std::fmt::Debug for EndpointState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointState")
            .field("leg", &self.leg)
            .field("content", &self.content)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// SDES as it stands at an end. Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The peer's line.
    pub theirs: Crypto,
    /// Of each suite of ours that was used: how far each source got that we send.
    pub outward: Vec<(Suite, Vec<Index>)>,
    /// How far each source got that we receive.
    pub inward: Vec<Index>,
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyed").field("theirs", &self.theirs).finish_non_exhaustive()
    }
}

/// State of another relay that an endpoint resumes once it is connected.
#[derive(Debug)]
pub(super) struct Inherited {
    pub keyed: Option<Keyed>,
    pub association: Option<Association>,
    pub path: Option<SocketAddr>,
    /// The peer's ufrag then; empty: none was known.
    pub theirs: String,
}

impl Inherited {
    /// The peer has other credentials now.
    pub fn restarted(&self, ice: &Ice) -> bool {
        !self.theirs.is_empty() && self.theirs != ice.ufrag
    }
}
