//! Conversions of media descriptions and of the types that they share with `relay.proto`.

use super::{WireError, bounded, list, number, optional, present, unknown};
use crate::v1;
use signal::media::{
    Candidate, CandidateKind, Codec, Content, Crypto, Direction, Dtls, Fingerprint, Ice, Kind, Media, Setup,
    Ssrc, Suite, Transport, Trickle,
};
use std::net::{IpAddr, SocketAddr};

/// Number of contents of a description at most (R-SDP-14).
pub(super) const CONTENTS: usize = 32;
/// Number of names in a BUNDLE group at most; more than contents, since a peer may repeat names.
const BUNDLE: usize = 256;
const CODECS: usize = 64;
const PARAMETERS: usize = 64;
const FEEDBACK: usize = 256;
const CANDIDATES: usize = 64;
const FINGERPRINTS: usize = 16;
const CRYPTO: usize = 32;

fn address(text: &str, field: &'static str) -> Result<SocketAddr, WireError> {
    text.parse().map_err(|_| WireError::new(field, format!("\"{text}\" is no address:port")))
}

fn ip(text: &str, field: &'static str) -> Result<IpAddr, WireError> {
    text.parse().map_err(|_| WireError::new(field, format!("\"{text}\" is no IP address")))
}

impl From<&Media> for v1::Media {
    fn from(media: &Media) -> v1::Media {
        v1::Media {
            contents: media.contents.iter().map(v1::Content::from).collect(),
            bundle: media.bundle.clone(),
        }
    }
}

impl TryFrom<v1::Media> for Media {
    type Error = WireError;
    fn try_from(media: v1::Media) -> Result<Media, WireError> {
        Ok(Media {
            contents: list(media.contents, CONTENTS, "Media.contents")?,
            bundle: bounded(media.bundle, BUNDLE, "Media.bundle")?,
        })
    }
}

impl From<&Content> for v1::Content {
    fn from(content: &Content) -> v1::Content {
        v1::Content {
            name: content.name.clone(),
            kind: v1::Kind::from(content.kind).into(),
            sends: content.direction.sends(),
            receives: content.direction.receives(),
            rejected: content.rejected,
            codecs: content.codecs.iter().map(v1::PayloadType::from).collect(),
            transport: Some(v1::Transport::from(&content.transport)),
        }
    }
}

impl TryFrom<v1::Content> for Content {
    type Error = WireError;
    fn try_from(content: v1::Content) -> Result<Content, WireError> {
        Ok(Content {
            name: content.name,
            kind: kind(content.kind)?,
            direction: Direction::of(content.sends, content.receives),
            rejected: content.rejected,
            codecs: list(content.codecs, CODECS, "Content.codecs")?,
            transport: optional(content.transport)?.unwrap_or_default(),
        })
    }
}

impl From<Kind> for v1::Kind {
    fn from(kind: Kind) -> v1::Kind {
        match kind {
            Kind::Audio => v1::Kind::Audio,
            Kind::Video => v1::Kind::Video,
            Kind::Text => v1::Kind::Text,
        }
    }
}

fn kind(value: i32) -> Result<Kind, WireError> {
    match v1::Kind::try_from(value) {
        Ok(v1::Kind::Audio) => Ok(Kind::Audio),
        Ok(v1::Kind::Video) => Ok(Kind::Video),
        Ok(v1::Kind::Text) => Ok(Kind::Text),
        Ok(v1::Kind::Unspecified) | Err(_) => Err(unknown("Content.kind", value)),
    }
}

impl From<&Codec> for v1::PayloadType {
    fn from(codec: &Codec) -> v1::PayloadType {
        let parameter =
            |(name, value): &(String, String)| v1::Parameter { name: name.clone(), value: value.clone() };
        v1::PayloadType {
            pt: codec.pt.into(),
            name: codec.name.clone(),
            clock: codec.clock,
            channels: codec.channels.into(),
            params: codec.params.iter().map(parameter).collect(),
            feedback: codec.feedback.clone(),
            ptime: codec.ptime.map(u32::from),
            max_ptime: codec.max_ptime.map(u32::from),
        }
    }
}

impl TryFrom<v1::PayloadType> for Codec {
    type Error = WireError;
    fn try_from(codec: v1::PayloadType) -> Result<Codec, WireError> {
        let params = bounded(codec.params, PARAMETERS, "PayloadType.params")?;
        if codec.pt > 127 {
            return Err(WireError::new("PayloadType.pt", format!("{} is not 0 to 127", codec.pt)));
        }
        Ok(Codec {
            pt: number(codec.pt, "PayloadType.pt")?,
            name: codec.name,
            clock: codec.clock,
            channels: number(codec.channels, "PayloadType.channels")?,
            params: params.into_iter().map(|p| (p.name, p.value)).collect(),
            feedback: bounded(codec.feedback, FEEDBACK, "PayloadType.feedback")?,
            ptime: codec.ptime.map(|ptime| number(ptime, "PayloadType.ptime")).transpose()?,
            max_ptime: codec.max_ptime.map(|ptime| number(ptime, "PayloadType.max_ptime")).transpose()?,
        })
    }
}

impl From<&Transport> for v1::Transport {
    fn from(transport: &Transport) -> v1::Transport {
        v1::Transport {
            address: transport.address.map(|a| a.to_string()),
            rtcp: transport.rtcp.map(u32::from),
            mux: transport.mux,
            ice: transport.ice.as_ref().map(v1::Ice::from),
            dtls: transport.dtls.as_ref().map(v1::Dtls::from),
            crypto: transport.crypto.iter().map(v1::Crypto::from).collect(),
            source: transport.source.map(|ip| ip.to_string()),
            best_effort: transport.best_effort,
            ssrc: transport.ssrc.map(v1::Ssrc::from),
        }
    }
}

impl From<Ssrc> for v1::Ssrc {
    fn from(Ssrc { id, cname }: Ssrc) -> v1::Ssrc {
        v1::Ssrc { id, cname }
    }
}

impl From<v1::Ssrc> for Ssrc {
    fn from(v1::Ssrc { id, cname }: v1::Ssrc) -> Ssrc {
        Ssrc { id, cname }
    }
}

impl TryFrom<v1::Transport> for Transport {
    type Error = WireError;
    fn try_from(transport: v1::Transport) -> Result<Transport, WireError> {
        let mut crypto = bounded(transport.crypto, CRYPTO, "Transport.crypto")?;
        // A newer instance may send suites that are unknown here: the other lines remain valid.
        crypto.retain(|line| Suite::named(&line.suite).is_some());
        Ok(Transport {
            address: transport.address.map(|text| address(&text, "Transport.address")).transpose()?,
            rtcp: transport.rtcp.map(|port| number(port, "Transport.rtcp")).transpose()?,
            mux: transport.mux,
            ice: optional(transport.ice)?,
            dtls: optional(transport.dtls)?,
            crypto: crypto.into_iter().map(Crypto::try_from).collect::<Result<_, _>>()?,
            best_effort: transport.best_effort,
            source: transport.source.map(|text| ip(&text, "Transport.source")).transpose()?,
            ssrc: transport.ssrc.map(Ssrc::from),
        })
    }
}

impl From<&Ice> for v1::Ice {
    fn from(ice: &Ice) -> v1::Ice {
        v1::Ice {
            ufrag: ice.ufrag.clone(),
            pwd: ice.pwd.clone(),
            candidates: ice.candidates.iter().map(v1::Candidate::from).collect(),
            lite: ice.lite,
            trickle: ice.trickle,
        }
    }
}

impl TryFrom<v1::Ice> for Ice {
    type Error = WireError;
    fn try_from(ice: v1::Ice) -> Result<Ice, WireError> {
        Ok(Ice {
            ufrag: ice.ufrag,
            pwd: ice.pwd,
            candidates: list(ice.candidates, CANDIDATES, "Ice.candidates")?,
            lite: ice.lite,
            trickle: ice.trickle,
        })
    }
}

impl From<&Candidate> for v1::Candidate {
    fn from(candidate: &Candidate) -> v1::Candidate {
        let kind = match candidate.kind {
            CandidateKind::Host => v1::CandidateKind::Host,
            CandidateKind::ServerReflexive => v1::CandidateKind::ServerReflexive,
            CandidateKind::PeerReflexive => v1::CandidateKind::PeerReflexive,
            CandidateKind::Relayed => v1::CandidateKind::Relayed,
        };
        v1::Candidate {
            foundation: candidate.foundation.clone(),
            component: candidate.component.into(),
            priority: candidate.priority,
            address: candidate.address.to_string(),
            kind: kind.into(),
            related: candidate.related.map(|a| a.to_string()).unwrap_or_default(),
            generation: candidate.generation,
        }
    }
}

impl TryFrom<v1::Candidate> for Candidate {
    type Error = WireError;
    fn try_from(candidate: v1::Candidate) -> Result<Candidate, WireError> {
        let kind = match v1::CandidateKind::try_from(candidate.kind) {
            Ok(v1::CandidateKind::Host) => CandidateKind::Host,
            Ok(v1::CandidateKind::ServerReflexive) => CandidateKind::ServerReflexive,
            Ok(v1::CandidateKind::PeerReflexive) => CandidateKind::PeerReflexive,
            Ok(v1::CandidateKind::Relayed) => CandidateKind::Relayed,
            Err(_) => return Err(unknown("Candidate.kind", candidate.kind)),
        };
        let related = Some(candidate.related.as_str()).filter(|text| !text.is_empty());
        Ok(Candidate {
            component: number(candidate.component, "Candidate.component")?,
            priority: candidate.priority,
            address: address(&candidate.address, "Candidate.address")?,
            kind,
            related: related.map(|text| address(text, "Candidate.related")).transpose()?,
            generation: candidate.generation,
            foundation: candidate.foundation,
        })
    }
}

impl From<&Dtls> for v1::Dtls {
    fn from(dtls: &Dtls) -> v1::Dtls {
        let setup = match dtls.setup {
            Setup::ActPass => v1::Setup::Actpass,
            Setup::Active => v1::Setup::Active,
            Setup::Passive => v1::Setup::Passive,
        };
        v1::Dtls {
            fingerprints: dtls.fingerprints.iter().map(v1::Fingerprint::from).collect(),
            setup: setup.into(),
        }
    }
}

impl TryFrom<v1::Dtls> for Dtls {
    type Error = WireError;
    fn try_from(dtls: v1::Dtls) -> Result<Dtls, WireError> {
        let setup = match v1::Setup::try_from(dtls.setup) {
            Ok(v1::Setup::Actpass) => Setup::ActPass,
            Ok(v1::Setup::Active) => Setup::Active,
            Ok(v1::Setup::Passive) => Setup::Passive,
            Err(_) => return Err(unknown("Dtls.setup", dtls.setup)),
        };
        let fingerprints = bounded(dtls.fingerprints, FINGERPRINTS, "Dtls.fingerprints")?;
        Ok(Dtls { fingerprints: fingerprints.into_iter().map(Fingerprint::from).collect(), setup })
    }
}

impl From<&Fingerprint> for v1::Fingerprint {
    fn from(fingerprint: &Fingerprint) -> v1::Fingerprint {
        v1::Fingerprint { hash: fingerprint.hash.clone(), digest: fingerprint.digest.clone() }
    }
}

impl From<v1::Fingerprint> for Fingerprint {
    fn from(fingerprint: v1::Fingerprint) -> Fingerprint {
        Fingerprint { hash: fingerprint.hash, digest: fingerprint.digest }
    }
}

impl From<&Crypto> for v1::Crypto {
    fn from(crypto: &Crypto) -> v1::Crypto {
        v1::Crypto {
            tag: crypto.tag,
            suite: crypto.suite.name().to_owned(),
            key: crypto.key.clone(),
            mki: crypto.mki.into(),
        }
    }
}

impl TryFrom<v1::Crypto> for Crypto {
    type Error = WireError;
    fn try_from(crypto: v1::Crypto) -> Result<Crypto, WireError> {
        let suite = Suite::named(&crypto.suite);
        let suite = suite
            .ok_or_else(|| WireError::new("Crypto.suite", format!("\"{}\" is not known", crypto.suite)))?;
        let mki = number(crypto.mki, "Crypto.mki")?;
        let crypto = Crypto { tag: crypto.tag, suite, key: crypto.key, mki };
        if crypto.parts().is_none() {
            let why = format!("{} octets, {} has {:?}", crypto.key.len(), suite.name(), suite.lengths());
            return Err(WireError::new("Crypto.key", why));
        }
        Ok(crypto)
    }
}

impl From<&Trickle> for v1::Trickle {
    fn from(trickle: &Trickle) -> v1::Trickle {
        v1::Trickle { name: trickle.name.clone(), ice: Some(v1::Ice::from(&trickle.ice)) }
    }
}

impl TryFrom<v1::Trickle> for Trickle {
    type Error = WireError;
    fn try_from(trickle: v1::Trickle) -> Result<Trickle, WireError> {
        Ok(Trickle { name: trickle.name, ice: present(trickle.ice, "Trickle.ice")?.try_into()? })
    }
}
