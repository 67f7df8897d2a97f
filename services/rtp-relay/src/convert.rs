//! Between `relay.proto` and the core; what makes no sense is told by the name of its field.

use crate::command::Pairs;
use proto::v1;
use relay::ice::Credentials;
use relay::network::Network;
use relay::session::{CONTENTS, Form, Key, LEGS, LegRequest, Local, Remote, Statistics};
use signal::LegId;
use signal::media::{Codec, Crypto, Direction, Dtls, Fingerprint, Ice, Ssrc};
use std::net::SocketAddr;
use tonic::Status;

/// Codecs of one content.
const CODECS: usize = 64;
/// rtcp-fb lines of one codec.
const FEEDBACK: usize = 32;
/// Further networks of an end's media.
const NETWORKS: usize = 64;
/// Octets of a name, a credential.
const TEXT: usize = 256;

fn bad(field: &str, why: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {why}"))
}

/// The name of a session.
///
/// # Errors
/// INVALID_ARGUMENT
pub fn session(name: &str) -> Result<(), Status> {
    if name.is_empty() || name.len() > TEXT { Err(bad("session", "1 to 256 octets")) } else { Ok(()) }
}

fn leg(number: u32) -> Result<LegId, Status> {
    u8::try_from(number).map(LegId).map_err(|_| bad("leg", format!("{number} is not 0 to 255")))
}

/// The legs that a session is to have.
///
/// # Errors
/// INVALID_ARGUMENT
pub fn legs(asked: &[v1::Leg]) -> Result<Vec<LegRequest>, Status> {
    if asked.is_empty() || asked.len() > LEGS as usize {
        return Err(bad("legs", format!("{} asked for, 1 to {LEGS} are served", asked.len())));
    }
    let one = |one: &v1::Leg| match one.contents {
        contents @ 1..=CONTENTS => Ok(LegRequest { leg: leg(one.leg)?, contents, webrtc: one.webrtc }),
        other => Err(bad("legs.contents", format!("{other} asked for, 1 to {CONTENTS} are served"))),
    };
    asked.iter().map(one).collect()
}

/// Numbers of legs.
///
/// # Errors
/// INVALID_ARGUMENT
pub fn leg_ids(legs: &[u32]) -> Result<Vec<LegId>, Status> {
    legs.iter().map(|number| leg(*number)).collect()
}

/// Legs that hear each other.
///
/// # Errors
/// INVALID_ARGUMENT
pub fn pairs(pairs: &[v1::Pair]) -> Result<Pairs, Status> {
    if pairs.len() > LEGS as usize / 2 {
        return Err(bad("pairs", format!("{} given, {} are served", pairs.len(), LEGS / 2)));
    }
    pairs.iter().map(|pair| Ok((leg(pair.one)?, leg(pair.other)?))).collect()
}

/// The facts of an end.
///
/// # Errors
/// INVALID_ARGUMENT
pub fn remote(request: v1::ConnectRequest) -> Result<Remote, Status> {
    let address = match request.address.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| bad("address", format!("{text:?} is no address:port")))?),
    };
    let source = match request.source.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| bad("source", format!("{text:?} is no IP address")))?),
    };
    let rtcp_port = port("rtcp_port", request.rtcp_port)?;
    if request.codecs.len() > CODECS {
        return Err(bad("codecs", "too many"));
    }
    Ok(Remote {
        address,
        rtcp_port,
        mux: request.mux,
        ice: request.ice.map(ice).transpose()?,
        dtls: request.dtls.map(dtls).transpose()?,
        bundled: request.bundled,
        crypto: crypto(request.crypto)?,
        codecs: request.codecs.into_iter().map(codec).collect::<Result<_, _>>()?,
        direction: Direction::of(request.sends, request.receives),
        ours: request.ours,
        source,
        networks: networks(&request.media_networks)?,
        // The thread draws it.
        fresh: None,
        told: request.told.map(told).transpose()?,
        ssrc: request.ssrc.map(Ssrc::from),
    })
}

/// A key that is pressed.
///
/// # Errors
/// INVALID_ARGUMENT
pub fn key(key: &v1::Key) -> Result<Key, Status> {
    let mut digits = key.digit.chars();
    let (Some(digit), None) = (digits.next(), digits.next()) else {
        return Err(bad("key.digit", "one character"));
    };
    Ok(Key { digit, duration_ms: u16::try_from(key.duration_ms).unwrap_or(u16::MAX), id: key.id })
}

fn networks(texts: &[String]) -> Result<Vec<Network>, Status> {
    if texts.len() > NETWORKS {
        return Err(bad("media_networks", format!("{} given, {NETWORKS} are served", texts.len())));
    }
    let network = |text: &String| text.parse().map_err(|error| bad("media_networks", error));
    texts.iter().map(network).collect()
}

fn port(field: &str, port: u32) -> Result<Option<u16>, Status> {
    let port = u16::try_from(port).map_err(|_| bad(field, format!("{port} is no port")))?;
    Ok(Some(port).filter(|port| *port != 0))
}

fn codec(codec: v1::Codec) -> Result<Codec, Status> {
    let pt = u8::try_from(codec.pt).ok().filter(|pt| *pt < 128);
    let pt = pt.ok_or_else(|| bad("codecs.pt", format!("{} is not 0 to 127", codec.pt)))?;
    if codec.clock == 0 || codec.clock > 1_000_000 {
        return Err(bad("codecs.clock", format!("{} Hz", codec.clock)));
    }
    if codec.name.is_empty() || codec.name.len() > TEXT {
        return Err(bad("codecs.name", "1 to 256 octets"));
    }
    let channels = u8::try_from(codec.channels.max(1)).map_err(|_| bad("codecs.channels", codec.channels))?;
    if codec.feedback.len() > FEEDBACK || codec.feedback.iter().any(|line| line.len() > TEXT) {
        return Err(bad("codecs.feedback", "at most 32 of 256 octets"));
    }
    Ok(Codec { feedback: codec.feedback, ..Codec::new(pt, &codec.name, codec.clock, channels) })
}

/// Credentials and candidates.
///
/// # Errors
/// INVALID_ARGUMENT
pub fn ice(ice: v1::Ice) -> Result<Ice, Status> {
    if ice.ufrag.len() > TEXT || ice.pwd.len() > TEXT {
        return Err(bad("ice.ufrag, ice.pwd", "at most 256 octets"));
    }
    Ice::try_from(ice).map_err(|error| bad(error.field, error.why))
}

fn dtls(dtls: v1::Dtls) -> Result<Dtls, Status> {
    if dtls.fingerprints.is_empty() {
        return Err(bad("dtls.fingerprints", "at least 1"));
    }
    Dtls::try_from(dtls).map_err(|error| bad(error.field, error.why))
}

fn crypto(mut lines: Vec<v1::Crypto>) -> Result<Option<Crypto>, Status> {
    if lines.len() > 1 {
        return Err(bad("crypto", "at most the 1 that was agreed"));
    }
    lines.pop().map(Crypto::try_from).transpose().map_err(|error| bad(error.field, error.why))
}

/// Our credentials that the peer was told after a restart, and the number of restarts.
fn told(told: v1::Ice) -> Result<(Credentials, u32), Status> {
    let Ice { ufrag, pwd, candidates, .. } = ice(told)?;
    let generation = candidates.first().map_or(0, |candidate| candidate.generation);
    Ok((Credentials { ufrag, pwd }, generation))
}

/// The ICE of an end: its credentials, and the shared port as a host candidate of each family.
#[must_use]
pub fn ours(local: &Local, (shared, other): (SocketAddr, Option<SocketAddr>)) -> v1::Ice {
    let candidate = |(place, address): (u16, SocketAddr)| v1::Candidate {
        foundation: (place + 1).to_string(),
        component: 1,
        // One address after the other.
        priority: relay::ice::priority(local.preference.saturating_sub(place)),
        address: address.to_string(),
        kind: v1::CandidateKind::Host.into(),
        related: String::new(),
        generation: local.generation,
    };
    let candidates = (0..).zip(std::iter::once(shared).chain(other)).map(candidate).collect();
    let (ufrag, pwd) = (local.ufrag.clone(), local.pwd.clone());
    v1::Ice { ufrag, pwd, candidates, lite: false, trickle: false }
}

/// An end as it is offered: plain ports, and the shared port.
#[must_use]
pub fn end(
    leg: LegId,
    content: u16,
    local: Local,
    shared: (SocketAddr, Option<SocketAddr>),
    print: &Fingerprint,
) -> v1::LocalEnd {
    let (ice, other) = (ours(&local, shared), shared.1);
    v1::LocalEnd {
        leg: leg.0.into(),
        content: content.into(),
        address: local.address.to_string(),
        rtp_port: local.rtp_port.into(),
        rtcp_port: local.rtcp_port.into(),
        ice: Some(ice),
        fingerprint: Some(v1::Fingerprint { hash: print.hash.clone(), digest: print.digest.clone() }),
        crypto: local.crypto.iter().map(v1::Crypto::from).collect(),
        other_address: other.map(|other| other.ip().to_string()).unwrap_or_default(),
    }
}

/// Statistics of an end.
#[must_use]
pub fn statistics(statistics: Statistics) -> v1::EndStatistics {
    let form = match statistics.form {
        Form::Open => "open",
        Form::Plain => "plain",
        Form::Sdes => "sdes",
        Form::Webrtc => "webrtc",
        Form::Dtls => "dtls",
    };
    v1::EndStatistics {
        leg: statistics.leg.0.into(),
        content: statistics.content.into(),
        packets_in: statistics.packets_in,
        octets_in: statistics.octets_in,
        packets_out: statistics.packets_out,
        octets_out: statistics.octets_out,
        dropped: statistics.dropped,
        lost: statistics.lost,
        jitter_us: statistics.jitter_us,
        expected: statistics.expected,
        loss_ppm: statistics.loss_ppm,
        round_trip_us: statistics.round_trip_us.unwrap_or(0),
        mos: statistics.mos.unwrap_or(0).into(),
        mos_mean: statistics.mos_mean.unwrap_or(0).into(),
        seen: statistics.view.map(|view| v1::RemoteReport {
            lost: view.lost,
            loss_ppm: view.loss_ppm,
            jitter_us: view.jitter_us,
            mos: view.mos.unwrap_or(0).into(),
        }),
        codec: statistics.codec,
        form: form.into(),
        peer: statistics.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        security: statistics.suite.map(|suite| suite.name().to_owned()).unwrap_or_default(),
    }
}
