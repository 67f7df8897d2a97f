//! Relays that allocate fixed ends.

use media::LocalEnd;
use session::call::{Allocation, CALLEE, CALLER, Call, Connect, RelaySession, Renewal};
use signal::LegId;
use signal::media::{Candidate, CandidateKind, Crypto, Fingerprint, Ice, Suite};

/// The allocation of the relay with this number: one content for each of two legs. Relays differ in their addresses, names and keys
/// are the same at all of them. `transcodes`: codecs need not meet.
#[must_use]
pub fn allocation(relay: u8, transcodes: bool) -> Allocation {
    allocation_for(relay, &[CALLER, CALLEE], transcodes)
}

/// [`allocation`] for these legs.
#[must_use]
pub fn allocation_for(relay: u8, legs: &[LegId], transcodes: bool) -> Allocation {
    let ends = legs.iter().map(|leg| (*leg, ends(relay, *leg))).collect();
    Allocation { session: session(relay), ends, transcodes }
}

/// The session of the relay with this number.
fn session(relay: u8) -> RelaySession {
    RelaySession { instance: format!("relay-{relay}"), address: format!("203.0.113.{relay}"), started_ms: 0 }
}

/// The ends of a leg at the relay with this number, ports by leg.
#[must_use]
pub fn ends(relay: u8, leg: LegId) -> Vec<LocalEnd> {
    let leg = u16::from(leg.0);
    let candidate = Candidate {
        foundation: "1".into(),
        component: 1,
        priority: 2_130_706_431,
        address: ([203, 0, 113, relay], 30_100 + leg).into(),
        kind: CandidateKind::Host,
        related: None,
        generation: 0,
    };
    vec![LocalEnd {
        address: [203, 0, 113, relay].into(),
        rtp_port: 30_000 + 2 * leg,
        rtcp_port: 30_001 + 2 * leg,
        ice: Ice {
            ufrag: format!("relay{leg}"),
            pwd: "a-password-of-the-relay".into(),
            candidates: vec![candidate],
            ..Ice::default()
        },
        fingerprint: Fingerprint { hash: "sha-256".into(), digest: vec![0xab; 32] },
        other: None,
        crypto: Suite::ALL.map(key).to_vec(),
    }]
}

/// The reply of a relay to the ICE restart of a leg's peer, which described itself as in `asked`.
#[must_use]
pub fn renewal(call: &Call, leg: LegId, asked: &[Connect]) -> Option<Renewal> {
    let ends = call.leg(leg)?.ends.iter().zip(0..).map(|(end, content)| (content, renewed(&end.ice)));
    let theirs = asked.iter().map(Connect::ufrag).collect();
    Some(Renewal { relay: call.relay.clone()?, theirs, ends: ends.collect() })
}

/// The ICE that an end answers with after one more restart of its peer.
fn renewed(ice: &Ice) -> Ice {
    let (name, generation) = (ice.ufrag.split('g').next().unwrap_or_default(), ice.generation() + 1);
    let mut ice = Ice { ufrag: format!("{name}g{generation}"), ..ice.clone() };
    ice.candidates.iter_mut().for_each(|candidate| candidate.generation = generation);
    ice
}

fn key(suite: Suite) -> Crypto {
    let (key, salt) = suite.lengths();
    Crypto { tag: 1, suite, key: vec![0xcd; key + salt], mki: 0 }
}
