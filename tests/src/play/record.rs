//! The call as the store keeps it, and a relay that grants fixed ends.

use super::{Fault, fault};
use media::{LocalEnd, Policy, Profile};
use serde::{Deserialize, Serialize};
use session::call::{Allocation, Call, Effect, RelaySession, Route};
use signal::media::{Candidate, CandidateKind, Crypto, Fingerprint, Ice, Suite};
use signal::{EffectId, End, Opening, Protocol, Reason};

/// A call with what it still causes, version and all.
#[derive(Serialize, Deserialize)]
pub struct Record {
    /// The call.
    pub call: Call,
    /// Counts the saves.
    pub version: u64,
    /// Effects to be performed.
    pub outbox: Vec<(EffectId, Effect)>,
}

impl Record {
    /// A call that was just placed.
    #[must_use]
    pub fn placed(call: Call, effects: Vec<Effect>) -> Record {
        let mut record = Record { call, version: 0, outbox: vec![] };
        record.add(effects);
        record
    }

    /// The next version, with its effects in the outbox.
    pub fn add(&mut self, effects: Vec<Effect>) {
        self.version += 1;
        for (effect, index) in effects.into_iter().zip(0..) {
            let id = EffectId { call: self.call.id, version: self.version, index };
            self.outbox.push((id, effect));
        }
    }

    /// As stored.
    ///
    /// # Errors
    /// A record that cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Fault> {
        serde_json::to_vec(self).map_err(|e| Fault(e.to_string()))
    }

    /// From the store.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn from_bytes(octets: &[u8]) -> Result<Record, Fault> {
        serde_json::from_slice(octets).or_else(|e| fault(e.to_string()))
    }
}

/// Who is reached how, in every flow: one trunk, one component, one alias.
///
/// # Errors
/// Never; the plan is a good one.
pub fn plan() -> Result<address::Plan, Fault> {
    let component = address::Component { domain: "sip.example.net".into(), users: "example.net".into() };
    let trunk = address::Trunk {
        name: "pbx".into(),
        domain: "sip.example.net".into(),
        host: "192.0.2.9".into(),
        callers: None,
    };
    let alias = address::Alias { number: "2700".into(), jid: "rosa@example.net".into() };
    address::Plan::new(vec!["im.example.net".into()], vec![component], vec![trunk], &[alias])
        .map_err(|e| Fault(e.to_string()))
}

/// Where a call goes, as the orchestrator gathers it. `direct`: the callee's device is known to take no proposals;
/// `trunk`: how media is spoken with phones.
///
/// # Errors
/// The reason to refuse it with.
pub fn route(plan: &address::Plan, opening: &Opening, direct: bool, trunk: Profile) -> Result<Route, End> {
    let mut route = plan.route(opening)?;
    if direct && route.protocol == Protocol::Xmpp {
        route.opening.to.address.push_str("/phone");
    }
    let profile = |protocol| match protocol {
        Protocol::Sip => trunk,
        Protocol::Xmpp => Profile::Webrtc,
    };
    Ok(Route {
        caller: profile(opening.from.protocol),
        callee: profile(route.protocol),
        // As far as the relay can.
        policy: Policy { transcode: true, ..Policy::default() },
        ring_ms: 60_000,
        unheard: match route.protocol {
            Protocol::Xmpp => Reason::Offline,
            Protocol::Sip => Reason::Timeout,
        },
        opening: route.opening,
    })
}

/// What the relay grants: one content per leg, ports by leg; `transcodes`: codecs need not meet.
#[must_use]
pub fn grant(transcodes: bool) -> Allocation {
    grant_of(1, transcodes)
}

/// What the relay with this number grants: each has an address of its own, and all the same names and keys.
#[must_use]
pub fn grant_of(relay: u8, transcodes: bool) -> Allocation {
    let end = |leg: u16| {
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
    };
    let session = RelaySession {
        instance: format!("relay-{relay}"),
        address: format!("203.0.113.{relay}"),
        started_ms: 0,
    };
    Allocation { session, ends: vec![end(0), end(1)], transcodes }
}

/// What an end answers with after one more restart of its peer.
#[must_use]
pub fn renewed(ice: &Ice) -> Ice {
    let (name, generation) = (ice.ufrag.split('g').next().unwrap_or_default(), ice.generation() + 1);
    let mut ice = Ice { ufrag: format!("{name}g{generation}"), ..ice.clone() };
    ice.candidates.iter_mut().for_each(|candidate| candidate.generation = generation);
    ice
}

fn key(suite: Suite) -> Crypto {
    let (key, salt) = suite.lengths();
    Crypto { tag: 1, suite, key: vec![0xcd; key + salt], mki: 0 }
}
