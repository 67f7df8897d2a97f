//! Anchoring: makes the description for one leg from that of the other, with the relay's ends in place of its own.
//!
//! Offers hold the contents and codecs that can cross; answers keep number, order and payload types of the offer that they answer
//! (RFC 3264 §6, interworking §3.3).

mod codecs;
mod transcode;

pub use codecs::{keep_in_use, narrow, numbers, settled};

use crate::bundle;
use crate::codec::defaults;
use crate::keying;
use minicbor::{Decode, Encode};
use signal::Media;
use signal::media::{Codec, Content, Crypto, Direction, Dtls, Fingerprint, Ice, Kind, Setup, Transport};
use std::net::{IpAddr, SocketAddr};

/// Media profile of a leg, used in offers to it. In answers, all profiles but `Webrtc` follow the peer's offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Profile {
    /// RTP/AVP at an address and port.
    #[n(0)]
    Plain,
    /// RTP/AVP with SDES lines: the peer may accept either.
    #[n(1)]
    BestEffort,
    /// RTP/SAVP with SDES; plain RTP is rejected.
    #[n(2)]
    Sdes,
    /// ICE with DTLS-SRTP and rtcp-mux.
    #[n(3)]
    Webrtc,
    /// UDP/TLS/RTP/SAVP without ICE (RFC 5763); anything else is rejected.
    #[n(4)]
    Dtls,
    /// RTP/AVP with a fingerprint and SDES lines (OSRTP, RFC 8643): the peer may accept any of them.
    #[n(5)]
    Osrtp,
}

/// Content of an end of a relay session: can become plain, SDES or WebRTC until the peer has answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LocalEnd {
    /// Address for plain RTP.
    #[n(0)]
    pub address: IpAddr,
    /// RTP port of that address.
    #[n(1)]
    pub rtp_port: u16,
    /// RTCP port of that address.
    #[n(2)]
    pub rtcp_port: u16,
    /// Credentials and candidates of the ICE port.
    #[n(3)]
    pub ice: Ice,
    /// Fingerprint of the relay's certificate.
    #[n(4)]
    pub fingerprint: Fingerprint,
    /// Address of the other address family, for peers of that family.
    #[n(5)]
    pub other: Option<IpAddr>,
    /// Keys for packets that the relay sends if SDES is negotiated, one per suite. Secret.
    #[n(6)]
    pub crypto: Vec<Crypto>,
}

/// Policy for the media of calls.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Policy {
    /// Kinds that are served.
    #[n(0)]
    pub kinds: Vec<Kind>,
    /// Codecs of an offer on behalf of a peer that has not described itself.
    #[n(1)]
    pub codecs: Vec<Codec>,
    /// True if the relay can transcode: offers then also hold the codecs that it can transcode to, behind those that cross unchanged.
    #[n(2)]
    pub transcode: bool,
    /// Sound for a party that is held and hears nothing else: name of a file in the relay's sounds.
    #[n(3)]
    pub music: Option<String>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { kinds: vec![Kind::Audio], codecs: defaults(), transcode: false, music: None }
    }
}

impl Policy {
    fn transcodes(&self, kind: Kind) -> bool {
        self.transcode && kind == Kind::Audio
    }
}

/// No content has a common codec: 488; `incompatible-parameters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no codec in common")]
pub struct Mismatch;

/// Makes the offer for a leg whose peer has offered `remote`. Leaves out contents that are not served; the n-th of the others uses the
/// n-th end of `local`. Empty when nothing can be offered.
#[must_use]
pub fn offer(remote: &Media, local: &[LocalEnd], profile: Profile, policy: &Policy) -> Media {
    let mut contents = vec![];
    for content in remote.contents.iter().filter(|c| !c.rejected && policy.kinds.contains(&c.kind)) {
        let Some(end) = local.get(contents.len()) else { break };
        let described = codecs::forwardable(&content.codecs);
        // Whoever has not described itself has keys of 8 kHz most likely.
        let clock = described.iter().find(|c| !c.is_auxiliary()).map_or(8_000, |main| main.clock);
        let mut codecs = if content.codecs.is_empty() { policy.codecs.clone() } else { described };
        if profile == Profile::Webrtc {
            codecs::keep_one_event(&mut codecs, clock);
        }
        let transport = end.offer(profile);
        let bare = profile == Profile::Sdes && transport.crypto.is_empty();
        if bare || codecs.iter().all(Codec::is_auxiliary) {
            continue;
        }
        if policy.transcodes(content.kind) {
            transcode::append(&mut codecs, profile != Profile::Webrtc);
        }
        contents.push(Content {
            name: contents.len().to_string(),
            kind: content.kind,
            direction: content.direction,
            rejected: false,
            codecs,
            transport,
        });
    }
    bundle::offered(contents)
}

/// Makes the answer to `offered`, as reduced by [`crate::admit`], from the peer's answer, `remote`.
///
/// # Errors
/// [`Mismatch`] when no content has a codec in common.
pub fn answer(
    offered: &Media,
    remote: &Media,
    local: &[LocalEnd],
    profile: Profile,
    policy: &Policy,
) -> Result<Media, Mismatch> {
    answer_again(offered, remote, None, local, profile, policy)
}

/// Makes the answer to a later offer of a leg, as [`answer`] does, without changing codecs needlessly.
///
/// A codec of `in_use`, the last answer on the same leg, is kept where it is offered again: a re-INVITE that changes nothing
/// changes no codec either (RFC 3264 §8.3.2).
///
/// # Errors
/// [`Mismatch`] when no content has a codec in common.
pub fn answer_again(
    offered: &Media,
    remote: &Media,
    in_use: Option<&Media>,
    local: &[LocalEnd],
    profile: Profile,
    policy: &Policy,
) -> Result<Media, Mismatch> {
    let mut live = 0;
    let mut contents = vec![];
    for (index, theirs) in offered.contents.iter().enumerate() {
        let served = !theirs.rejected && policy.kinds.contains(&theirs.kind);
        let peer = if served { facing(offered, index, remote, policy) } else { None };
        let transport = local.get(live).and_then(|end| end.answer(theirs, profile));
        live += usize::from(served);
        let kept = in_use.and_then(|media| media.contents.get(index)).filter(|c| !c.rejected);
        let kept = kept.map(|content| content.codecs.as_slice()).unwrap_or_default();
        let agreed = peer.filter(|p| !p.rejected).map(|p| answer_codecs(&theirs.codecs, kept, p, policy));
        let agreed = agreed.unwrap_or_default();
        match (peer, transport) {
            (Some(peer), Some(transport)) if !agreed.is_empty() => contents.push(Content {
                name: theirs.name.clone(),
                kind: theirs.kind,
                direction: Direction::of(
                    peer.direction.sends() && theirs.direction.receives(),
                    peer.direction.receives() && theirs.direction.sends(),
                ),
                rejected: false,
                codecs: agreed,
                transport,
            }),
            _ => contents.push(rejected_content(theirs, local.first(), profile)),
        }
    }
    if contents.iter().all(|c| c.rejected) {
        return Err(Mismatch);
    }
    Ok(bundle::answered(offered, contents))
}

/// Returns the content of `remote` that faces the one at `index` of `offered`: the peer has the served contents only, each kind in its
/// own order.
fn facing<'a>(offered: &Media, index: usize, remote: &'a Media, policy: &Policy) -> Option<&'a Content> {
    let kind = offered.contents.get(index)?.kind;
    let served = |c: &&Content| c.kind == kind && !c.rejected && policy.kinds.contains(&c.kind);
    let before = offered.contents.iter().take(index).filter(served).count();
    remote.contents.iter().filter(|content| content.kind == kind).nth(before)
}

fn answer_codecs(offered: &[Codec], in_use: &[Codec], peer: &Content, policy: &Policy) -> Vec<Codec> {
    codecs::answered(offered, in_use, &peer.codecs, policy.transcodes(peer.kind))
}

/// Returns true if every content of `offer` can be answered while its peer keeps the codecs of `media`: passed on as they are or,
/// where `policy` allows, transcoded.
#[must_use]
pub fn can_answer(offer: &Media, media: &Media, policy: &Policy) -> bool {
    let live = offer.contents.iter().enumerate();
    let live = live.filter(|(_, c)| !c.rejected && policy.kinds.contains(&c.kind));
    live.filter_map(|(index, theirs)| Some((theirs, facing(offer, index, media, policy)?)))
        .all(|(theirs, peer)| peer.rejected || !answer_codecs(&theirs.codecs, &[], peer, policy).is_empty())
}

/// Returns the positions of the contents that neither the offer nor its answer rejects. Two legs that hear each other have as many, in
/// the same order, wherever they stand among the m= lines of each.
#[must_use]
pub fn live(offer: &Media, answer: &Media) -> Vec<usize> {
    let pairs = offer.contents.iter().zip(&answer.contents).enumerate();
    pairs.filter(|(_, (offer, answer))| !offer.rejected && !answer.rejected).map(|(index, _)| index).collect()
}

/// Replaces the ends `from` in a description by the ends `to`, after a change of the relay. Leaves the rest unchanged.
pub fn readdress(description: &mut Media, from: &[LocalEnd], to: &[LocalEnd]) {
    for content in &mut description.contents {
        let described = &mut content.transport;
        let index = from.iter().position(|end| end.is_described_by(described));
        let Some(end) = index.and_then(|index| to.get(index)) else { continue };
        if described.ice.is_some() {
            let now = end.webrtc(Setup::ActPass, described.ip());
            (described.address, described.ice) = (now.address, now.ice);
        } else if let Some(address) = end.facing(described.ip()) {
            let now = end.plain(address, described.mux);
            (described.address, described.rtcp) = (now.address, now.rtcp);
            // Keys of a suite in use have moved along; unused ones are replaced.
            for line in &mut described.crypto {
                if let Some(ours) = keying::answered(&end.crypto, line) {
                    *line = ours;
                }
            }
        }
    }
}

/// Returns true if two descriptions have the same contents: kinds, rejections, directions and codecs.
#[must_use]
pub fn same_session(a: &Media, b: &Media) -> bool {
    a.contents.len() == b.contents.len()
        && a.contents.iter().zip(&b.contents).all(|(a, b)| {
            a.kind == b.kind
                && a.rejected == b.rejected
                && a.direction == b.direction
                && a.codecs
                    .iter()
                    .filter(|c| !c.is_auxiliary())
                    .eq_by_codec(b.codecs.iter().filter(|c| !c.is_auxiliary()))
        })
}

trait SameCodecs<'a>: Iterator<Item = &'a Codec> + Sized {
    fn eq_by_codec(self, other: impl Iterator<Item = &'a Codec>) -> bool {
        let (mine, theirs): (Vec<_>, Vec<_>) = (self.collect(), other.collect());
        mine.len() == theirs.len() && mine.iter().zip(theirs).all(|(a, b)| a.same(b))
    }
}

impl<'a, I: Iterator<Item = &'a Codec>> SameCodecs<'a> for I {}

/// Returns the answerer's DTLS role (R-SDP-7): active unless the offerer is.
fn dtls_role(offered: &Content) -> Setup {
    match offered.transport.dtls.as_ref().map(|d| d.setup) {
        Some(Setup::Active) => Setup::Passive,
        _ => Setup::Active,
    }
}

/// Makes a rejected content in the position of an offered one. Its first codec stays, since SDP and Jingle must name one, and its
/// transport is the bundle's: Jingle clients want every content of theirs back (R-CALL-34).
fn rejected_content(offered: &Content, end: Option<&LocalEnd>, profile: Profile) -> Content {
    let transport = match (profile, end) {
        (Profile::Webrtc, Some(end)) => end.webrtc(dtls_role(offered), None),
        _ => Transport::default(),
    };
    let codecs =
        offered.codecs.first().cloned().into_iter().map(|c| Codec { feedback: vec![], ..c }).collect();
    Content {
        name: offered.name.clone(),
        kind: offered.kind,
        direction: Direction::None,
        rejected: true,
        codecs,
        transport,
    }
}

impl LocalEnd {
    fn offer(&self, profile: Profile) -> Transport {
        match profile {
            Profile::Webrtc => self.webrtc(Setup::ActPass, None),
            Profile::Plain => self.plain(self.address, false),
            Profile::BestEffort | Profile::Sdes => {
                let crypto = keying::offered(&self.crypto);
                let best_effort = profile == Profile::BestEffort && !crypto.is_empty();
                Transport { crypto, best_effort, ..self.plain(self.address, false) }
            }
            Profile::Dtls => {
                Transport { dtls: Some(self.dtls(Setup::ActPass)), ..self.plain(self.address, true) }
            }
            Profile::Osrtp => Transport {
                dtls: Some(self.dtls(Setup::ActPass)),
                crypto: keying::offered(&self.crypto),
                best_effort: true,
                ..self.plain(self.address, false)
            },
        }
    }

    /// Answers in kind; Jingle clients always get WebRTC. `None` if there is no key for the offered suite, or no address of the peer's
    /// family.
    fn answer(&self, theirs: &Content, profile: Profile) -> Option<Transport> {
        let transport = &theirs.transport;
        let best_effort = transport.best_effort;
        if profile == Profile::Webrtc || transport.dtls.is_some() && transport.ice.is_some() {
            // RFC 5761 §5.1.1: never in an answer unless offered. RTP comes on the first component all the same.
            let webrtc = self.webrtc(dtls_role(theirs), transport.ip());
            return Some(Transport { mux: transport.mux, best_effort, ..webrtc });
        }
        let plain = self.plain(self.facing(transport.ip())?, transport.mux);
        if transport.dtls.is_some() {
            return Some(Transport { dtls: Some(self.dtls(dtls_role(theirs))), best_effort, ..plain });
        }
        match transport.crypto.first() {
            None => Some(plain),
            Some(line) => {
                Some(Transport { crypto: vec![keying::answered(&self.crypto, line)?], best_effort, ..plain })
            }
        }
    }

    /// Returns true if the transport describes this end.
    fn is_described_by(&self, described: &Transport) -> bool {
        let ours = |ip: IpAddr| ip == self.address || Some(ip) == self.other;
        match &described.ice {
            Some(ice) => ice.ufrag == self.ice.ufrag,
            None => described.address.is_some_and(|at| at.port() == self.rtp_port && ours(at.ip())),
        }
    }

    /// Makes IPv6 the address of offers if the end has one.
    pub fn prefer_ipv6(&mut self) {
        if let Some(other) = self.other.as_mut().filter(|other| other.is_ipv6()) {
            std::mem::swap(other, &mut self.address);
        }
    }

    /// Returns the end's address of the peer's family, if it has one.
    fn facing(&self, peer: Option<IpAddr>) -> Option<IpAddr> {
        let Some(peer) = peer else { return Some(self.address) };
        let ours = std::iter::once(self.address).chain(self.other);
        ours.into_iter().find(|ours| ours.is_ipv6() == peer.to_canonical().is_ipv6())
    }

    fn plain(&self, address: IpAddr, mux: bool) -> Transport {
        let rtcp = (self.rtp_port.checked_add(1) != Some(self.rtcp_port)).then_some(self.rtcp_port);
        Transport {
            address: Some(SocketAddr::new(address, self.rtp_port)),
            rtcp,
            mux,
            ..Transport::default()
        }
    }

    /// Describes the ICE port; the default address is of the peer's family if there is a candidate of it.
    fn webrtc(&self, setup: Setup, peer: Option<IpAddr>) -> Transport {
        let candidates = &self.ice.candidates;
        let near = candidates.iter().find(|c| peer.is_some_and(|p| p.is_ipv6() == c.address.is_ipv6()));
        Transport {
            address: near.or(candidates.first()).map(|c| c.address),
            mux: true,
            ice: Some(self.ice.clone()),
            dtls: Some(self.dtls(setup)),
            ..Transport::default()
        }
    }

    fn dtls(&self, setup: Setup) -> Dtls {
        Dtls { fingerprints: vec![self.fingerprint.clone()], setup }
    }
}

#[cfg(test)]
#[path = "anchor_tests.rs"]
pub(crate) mod tests;
