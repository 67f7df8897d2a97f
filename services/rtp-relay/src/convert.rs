//! Between `relay.proto` and the core; what makes no sense is told by the name of its field.

use proto::v1;
use relay::session::{Figures, Form, LEGS, Local, Remote};
use relay::srtp::Suite;
use signal::LegId;
use signal::media::{Codec, Direction, Dtls, Fingerprint, Ice};
use std::net::SocketAddr;
use tonic::Status;

/// Codecs of one content.
const CODECS: usize = 64;
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

/// The shape of a session: how many contents.
///
/// # Errors
/// INVALID_ARGUMENT
pub fn shape(request: &v1::AllocateRequest) -> Result<u32, Status> {
    session(&request.session)?;
    if request.legs != LEGS {
        return Err(bad("legs", format!("{} asked for, a session has {LEGS}", request.legs)));
    }
    match request.contents {
        contents @ 1..=relay::session::CONTENTS => Ok(contents),
        other => Err(bad("contents", format!("{other} asked for, 1 to 8 are served"))),
    }
}

/// The facts of an end.
///
/// # Errors
/// INVALID_ARGUMENT
pub fn remote(request: v1::ConnectRequest) -> Result<Remote, Status> {
    session(&request.session)?;
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
        codecs: request.codecs.into_iter().map(codec).collect::<Result<_, _>>()?,
        direction: Direction::of(request.sends, request.receives),
        ours: request.ours,
        source,
    })
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
    Ok(Codec::new(pt, &codec.name, codec.clock, channels))
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

/// An end as it is offered: plain ports, and the shared port as a host candidate.
#[must_use]
pub fn end(leg: LegId, content: u16, local: Local, shared: SocketAddr, print: &Fingerprint) -> v1::LocalEnd {
    let candidate = v1::Candidate {
        foundation: "1".into(),
        component: 1,
        priority: relay::ice::priority(local.preference),
        address: shared.to_string(),
        kind: v1::CandidateKind::Host.into(),
        related: String::new(),
        generation: 0,
    };
    v1::LocalEnd {
        leg: leg.0.into(),
        content: content.into(),
        address: local.address.to_string(),
        rtp_port: local.rtp_port.into(),
        rtcp_port: local.rtcp_port.into(),
        ice: Some(v1::Ice {
            ufrag: local.ufrag,
            pwd: local.pwd,
            candidates: vec![candidate],
            lite: false,
            trickle: false,
        }),
        fingerprint: Some(v1::Fingerprint { hash: print.hash.clone(), digest: print.digest.clone() }),
    }
}

/// Figures of an end.
#[must_use]
pub fn figures(figures: Figures) -> v1::EndStatistics {
    let form = match figures.form {
        Form::Open => "open",
        Form::Plain => "plain",
        Form::Webrtc => "webrtc",
    };
    let security = match figures.suite {
        None => "",
        Some(Suite::AesCm128Sha1_80) => "AES_CM_128_HMAC_SHA1_80",
        Some(Suite::AeadAes128Gcm) => "AEAD_AES_128_GCM",
        Some(Suite::AeadAes256Gcm) => "AEAD_AES_256_GCM",
    };
    v1::EndStatistics {
        leg: figures.leg.0.into(),
        content: figures.content.into(),
        packets_in: figures.packets_in,
        octets_in: figures.octets_in,
        packets_out: figures.packets_out,
        octets_out: figures.octets_out,
        dropped: figures.dropped,
        lost: figures.lost,
        jitter_us: figures.jitter_us,
        form: form.into(),
        peer: figures.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        security: security.into(),
    }
}
