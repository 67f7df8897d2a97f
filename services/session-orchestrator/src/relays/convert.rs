//! Between the relay's own words (`relay.proto`) and ours.

use media::LocalEnd;
use proto::v1;
use session::call::Connect;
use signal::media::{Candidate, CandidateKind, Crypto, Dtls, Fingerprint, Ice, Setup};
use std::net::IpAddr;

/// Ends by leg and content, complete or `None`.
pub fn ends(reply: &v1::AllocateReply, legs: usize, contents: usize) -> Option<Vec<Vec<LocalEnd>>> {
    (0..legs)
        .map(|leg| {
            (0..contents)
                .map(|content| {
                    let end =
                        reply.ends.iter().find(|e| e.leg as usize == leg && e.content as usize == content)?;
                    local_end(end)
                })
                .collect()
        })
        .collect()
}

fn local_end(end: &v1::LocalEnd) -> Option<LocalEnd> {
    let address: IpAddr = end.address.parse().ok()?;
    Some(LocalEnd {
        address,
        rtp_port: end.rtp_port.try_into().ok()?,
        rtcp_port: end.rtcp_port.try_into().ok()?,
        ice: read_ice(end.ice.as_ref()?)?,
        fingerprint: end.fingerprint.as_ref().map(read_fingerprint)?,
    })
}

fn read_ice(ice: &v1::Ice) -> Option<Ice> {
    let candidates = ice.candidates.iter().map(read_candidate).collect::<Option<_>>()?;
    Some(Ice {
        ufrag: ice.ufrag.clone(),
        pwd: ice.pwd.clone(),
        candidates,
        lite: ice.lite,
        trickle: ice.trickle,
    })
}

fn read_candidate(candidate: &v1::Candidate) -> Option<Candidate> {
    let kind = match v1::CandidateKind::try_from(candidate.kind).ok()? {
        v1::CandidateKind::Host => CandidateKind::Host,
        v1::CandidateKind::ServerReflexive => CandidateKind::ServerReflexive,
        v1::CandidateKind::PeerReflexive => CandidateKind::PeerReflexive,
        v1::CandidateKind::Relayed => CandidateKind::Relayed,
    };
    Some(Candidate {
        foundation: candidate.foundation.clone(),
        component: candidate.component.try_into().ok()?,
        priority: candidate.priority,
        address: candidate.address.parse().ok()?,
        kind,
        related: candidate.related.parse().ok(),
        generation: candidate.generation,
    })
}

fn read_fingerprint(fingerprint: &v1::Fingerprint) -> Fingerprint {
    Fingerprint { hash: fingerprint.hash.clone(), digest: fingerprint.digest.clone() }
}

/// Credentials and candidates.
pub fn ice(ice: &Ice) -> v1::Ice {
    v1::Ice {
        ufrag: ice.ufrag.clone(),
        pwd: ice.pwd.clone(),
        candidates: ice.candidates.iter().map(candidate).collect(),
        lite: ice.lite,
        trickle: ice.trickle,
    }
}

fn candidate(candidate: &Candidate) -> v1::Candidate {
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

fn dtls(dtls: &Dtls) -> v1::Dtls {
    let setup = match dtls.setup {
        Setup::ActPass => v1::Setup::Actpass,
        Setup::Active => v1::Setup::Active,
        Setup::Passive => v1::Setup::Passive,
    };
    let fingerprints = dtls
        .fingerprints
        .iter()
        .map(|f| v1::Fingerprint { hash: f.hash.clone(), digest: f.digest.clone() })
        .collect();
    v1::Dtls { fingerprints, setup: setup.into() }
}

fn crypto(crypto: &Crypto) -> v1::Crypto {
    v1::Crypto { tag: crypto.tag, suite: crypto.suite.clone(), key: crypto.key.clone() }
}

/// What an end is told of its peer.
pub fn connect(session: &str, connect: &Connect, trace: &str) -> v1::ConnectRequest {
    let remote = &connect.remote;
    v1::ConnectRequest {
        session: session.to_owned(),
        leg: connect.leg.0.into(),
        content: connect.content.into(),
        address: remote.address.map(|a| a.to_string()).unwrap_or_default(),
        rtcp_port: remote.rtcp.unwrap_or(0).into(),
        mux: remote.mux,
        ice: remote.ice.as_ref().map(ice),
        dtls: remote.dtls.as_ref().map(dtls),
        crypto: remote.crypto.iter().map(crypto).collect(),
        codecs: connect
            .codecs
            .iter()
            .map(|c| v1::Codec {
                pt: c.pt.into(),
                name: c.name.clone(),
                clock: c.clock,
                channels: c.channels.into(),
            })
            .collect(),
        sends: connect.direction.sends(),
        receives: connect.direction.receives(),
        ours: connect.ours,
        trace: trace.to_owned(),
        source: String::new(),
    }
}
