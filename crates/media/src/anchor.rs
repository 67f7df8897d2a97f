//! Anchoring: what one leg describes, with the relay's ends in place of its own, is what the other leg is told.
//!
//! Offers are read generously and made from what can cross; answers keep the count, the order and the payload numbers of
//! the offer they answer (RFC 3264 §6, interworking §3.3).

use crate::codec::{defaults, served, static_number};
use serde::{Deserialize, Serialize};
use signal::Media;
use signal::media::{Codec, Content, Direction, Dtls, Fingerprint, Ice, Kind, Setup, Transport};
use std::net::{IpAddr, SocketAddr};

/// How media is spoken with a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// RTP/AVP at an address and port.
    Plain,
    /// ICE with DTLS-SRTP and rtcp-mux.
    Webrtc,
}

/// One content of one end of a relay session: able to be plain or WebRTC until the peer has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalEnd {
    /// Where plain media comes in.
    pub address: IpAddr,
    /// Its RTP port.
    pub rtp_port: u16,
    /// Its RTCP port.
    pub rtcp_port: u16,
    /// Credentials and candidates of the ICE port.
    pub ice: Ice,
    /// Of the relay's certificate.
    pub fingerprint: Fingerprint,
}

/// What media is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Kinds that are carried.
    pub kinds: Vec<Kind>,
    /// Our own list, for a party whose peer has not described itself.
    pub codecs: Vec<Codec>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { kinds: vec![Kind::Audio], codecs: defaults() }
    }
}

/// No live content is left: 488; `incompatible-parameters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no codec in common")]
pub struct Mismatch;

/// What the hearer is offered when its peer offers `heard`. Contents that are not served are left out; the rest keep
/// their place in `local`. Empty when nothing can be offered.
#[must_use]
pub fn offer(heard: &Media, local: &[LocalEnd], profile: Profile, policy: &Policy) -> Media {
    let mut contents = vec![];
    for content in heard.contents.iter().filter(|c| !c.rejected && policy.kinds.contains(&c.kind)) {
        let Some(end) = local.get(contents.len()) else { break };
        let codecs = if content.codecs.is_empty() { policy.codecs.clone() } else { carried(&content.codecs) };
        if codecs.iter().all(Codec::is_auxiliary) {
            continue;
        }
        contents.push(Content {
            name: contents.len().to_string(),
            kind: content.kind,
            direction: content.direction,
            rejected: false,
            codecs,
            transport: end.transport(profile, Setup::ActPass),
        });
    }
    bundled(contents, profile)
}

/// What the offerer of `offered` is told when its peer answered `heard`.
///
/// # Errors
/// [`Mismatch`] when no content has a codec in common.
pub fn answer(
    offered: &Media,
    heard: &Media,
    local: &[LocalEnd],
    profile: Profile,
    policy: &Policy,
) -> Result<Media, Mismatch> {
    let mut live = 0;
    let mut contents = vec![];
    for theirs in &offered.contents {
        let served = !theirs.rejected && policy.kinds.contains(&theirs.kind);
        // The peer knows only the served contents, numbered in their own order.
        let peer = if served { heard.contents.get(live) } else { None };
        let end = local.get(live);
        live += usize::from(served);
        let agreed =
            peer.filter(|p| !p.rejected).map(|p| agree(&theirs.codecs, &p.codecs)).unwrap_or_default();
        match (peer, end) {
            (Some(peer), Some(end)) if !agreed.is_empty() => contents.push(Content {
                name: theirs.name.clone(),
                kind: theirs.kind,
                direction: Direction::of(
                    peer.direction.sends() && theirs.direction.receives(),
                    peer.direction.receives() && theirs.direction.sends(),
                ),
                rejected: false,
                codecs: agreed,
                transport: end.transport(profile, role(theirs)),
            }),
            _ => contents.push(refusal(theirs, local.first(), profile)),
        }
    }
    if contents.iter().all(|c| c.rejected) {
        return Err(Mismatch);
    }
    let mut media = bundled(contents, profile);
    if offered.bundle.is_empty() {
        media.bundle.clear();
    }
    Ok(media)
}

/// What a leg is told that describes itself only after it was answered: like [`answer`].
///
/// # Errors
/// [`Mismatch`] when what it describes has no codec of those that its peer took.
pub fn settle(
    late_offer: &Media,
    agreed: &Media,
    local: &[LocalEnd],
    profile: Profile,
    policy: &Policy,
) -> Result<Media, Mismatch> {
    answer(late_offer, agreed, local, profile, policy)
}

/// The relay's ends have moved: what was said of `from` is said of `to` now. Everything else of it stays as it was.
pub fn readdress(spoken: &mut Media, from: &[LocalEnd], to: &[LocalEnd], profile: Profile) {
    for content in &mut spoken.contents {
        let said = &content.transport;
        let ufrag = |ice: &Option<Ice>| ice.as_ref().map(|ice| ice.ufrag.clone());
        let place = from.iter().position(|end| {
            let was = end.transport(profile, Setup::ActPass);
            was.address == said.address && ufrag(&was.ice) == ufrag(&said.ice)
        });
        let Some(end) = place.and_then(|place| to.get(place)) else { continue };
        let now = end.transport(profile, Setup::ActPass);
        let transport = &mut content.transport;
        (transport.address, transport.rtcp, transport.ice) = (now.address, now.rtcp, now.ice);
    }
}

/// Nothing that the hearer could notice differs: kinds, codecs, directions.
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

/// The codecs of an offer that cross, in its order and, where no static number says otherwise, in its numbers.
fn carried(codecs: &[Codec]) -> Vec<Codec> {
    let mut taken: Vec<Codec> = vec![];
    for codec in codecs.iter().filter(|c| served(c)) {
        if taken.iter().any(|t| t.same(codec)) {
            continue;
        }
        let mut codec = Codec { feedback: vec![], ..codec.clone() };
        if let Some(number) = static_number(&codec) {
            codec.pt = number;
        }
        if codec.name.eq_ignore_ascii_case("opus") {
            // RFC 7587 §7: always two channels, whatever a client wrote.
            codec.channels = 2;
        }
        if taken.iter().any(|t| t.pt == codec.pt) {
            let free = (96..=127).rev().find(|pt| taken.iter().chain(codecs).all(|t| t.pt != *pt));
            let Some(free) = free else { continue };
            codec.pt = free;
        }
        taken.push(codec);
    }
    taken
}

/// One codec of `offered` that `taken` has too, the peer's choice first, with the keypad events of its clock and
/// comfort noise where both sides have them; in the numbers of `offered` (R-SDP-5).
fn agree(offered: &[Codec], taken: &[Codec]) -> Vec<Codec> {
    let Some(main) =
        taken.iter().filter(|c| !c.is_auxiliary()).find_map(|t| offered.iter().find(|o| o.same(t)))
    else {
        return vec![];
    };
    let beside = |name: &str, clock: u32| {
        let is = |c: &&Codec| c.name.eq_ignore_ascii_case(name) && c.clock == clock;
        taken.iter().find(is).and(offered.iter().find(is)).cloned()
    };
    // Exactly one keypad payload: browsers pick the wrong clock when two are accepted.
    let events = beside("telephone-event", main.clock)
        .or_else(|| beside("telephone-event", 8000))
        .or_else(|| beside("telephone-event", 48000));
    let noise = beside("CN", main.clock);
    let strip = |c: Codec| Codec { feedback: vec![], ..c };
    std::iter::once(main.clone()).chain(noise).chain(events).map(strip).collect()
}

/// The answerer's DTLS role (R-SDP-7): active unless the offerer insists on it.
fn role(offered: &Content) -> Setup {
    match offered.transport.dtls.as_ref().map(|d| d.setup) {
        Some(Setup::Active) => Setup::Passive,
        _ => Setup::Active,
    }
}

/// A content that carries nothing but keeps its place. Its first codec stays, since both notations must name one, and
/// its transport is the bundle's: Jingle clients want every content of theirs back (R-CALL-34).
fn refusal(offered: &Content, end: Option<&LocalEnd>, profile: Profile) -> Content {
    let transport = match (profile, end) {
        (Profile::Webrtc, Some(end)) => end.transport(profile, role(offered)),
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

fn bundled(contents: Vec<Content>, profile: Profile) -> Media {
    // Clients on max-bundle need the group even around a single content (peers: Movim).
    let bundle = match profile {
        Profile::Webrtc => contents.iter().map(|c| c.name.clone()).collect(),
        Profile::Plain => vec![],
    };
    Media { contents, bundle }
}

impl LocalEnd {
    fn transport(&self, profile: Profile, setup: Setup) -> Transport {
        let plain = SocketAddr::new(self.address, self.rtp_port);
        match profile {
            Profile::Plain => Transport {
                address: Some(plain),
                rtcp: (self.rtp_port.checked_add(1) != Some(self.rtcp_port)).then_some(self.rtcp_port),
                ..Transport::default()
            },
            Profile::Webrtc => Transport {
                address: self.ice.candidates.first().map(|c| c.address),
                mux: true,
                ice: Some(self.ice.clone()),
                dtls: Some(Dtls { fingerprints: vec![self.fingerprint.clone()], setup }),
                ..Transport::default()
            },
        }
    }
}

#[cfg(test)]
#[path = "anchor_tests.rs"]
mod tests;
