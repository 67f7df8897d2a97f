//! Between a snapshot and its words in `relay.proto`.

use prost::Message as _;
use proto::v1;
use relay::dtls::{Keys, Master, Role};
use relay::packet::Spliced;
use relay::session::{CONTENTS, EndpointState, Keyed, LEGS, Snapshot};
use relay::srtp::{Index, SOURCES, Suite};
use relay::webrtc::Association;
use signal::media::Crypto;
use signal::{LegId, Time};

/// Version of the layout that is written; 0 is read, too.
const VERSION: u32 = 1;
/// Octets of a credential.
const TEXT: usize = 256;
/// Fingerprints of a peer.
const FINGERPRINTS: usize = 16;

/// A snapshot as it is sealed.
#[must_use]
pub fn encode(snapshot: &Snapshot) -> v1::SessionState {
    let pair = |(one, other): &(LegId, LegId)| v1::Pair { one: one.0.into(), other: other.0.into() };
    v1::SessionState {
        at_ms: snapshot.at.0,
        ends: snapshot.endpoints.iter().map(end).collect(),
        version: VERSION,
        bridge: snapshot.bridge.iter().map(pair).collect(),
        exact: snapshot.exact,
    }
}

fn end(end: &EndpointState) -> v1::EndState {
    v1::EndState {
        leg: end.leg.0.into(),
        content: end.content.into(),
        ufrag: end.ufrag.clone(),
        pwd: end.pwd.clone(),
        theirs: end.theirs.clone(),
        generation: end.generation,
        rtp_port: end.rtp_port.into(),
        preference: end.preference.into(),
        path: end.path.map(|path| path.to_string()).unwrap_or_default(),
        crypto: end.crypto.iter().map(v1::Crypto::from).collect(),
        keyed: end.keyed.as_ref().map(keyed),
        association: end.association.as_ref().map(association),
        outgoing: end.outgoing.map(splice),
    }
}

fn keyed(keyed: &Keyed) -> v1::Keyed {
    let sent = |(suite, sources): &(Suite, Vec<Index>)| v1::keyed::Used {
        suite: suite.name().into(),
        sources: sources.iter().map(index).collect(),
    };
    v1::Keyed {
        theirs: Some((&keyed.theirs).into()),
        outward: keyed.outward.iter().map(sent).collect(),
        inward: keyed.inward.iter().map(index).collect(),
    }
}

fn association(association: &Association) -> v1::Association {
    let Association { role, fingerprints, keys, outward, inward } = association;
    v1::Association {
        client: *role == Role::Client,
        fingerprints: fingerprints.iter().map(v1::Fingerprint::from).collect(),
        profile: match keys.suite {
            Suite::AesCm128Sha1_80 => 1,
            Suite::AeadAes128Gcm => 7,
            Suite::AeadAes256Gcm => 8,
            // DTLS agrees on none of these.
            Suite::AesCm128Sha1_32 | Suite::AesCm256Sha1_80 | Suite::AesCm256Sha1_32 => 0,
        },
        local_key: keys.local.key.clone(),
        local_salt: keys.local.salt.clone(),
        remote_key: keys.remote.key.clone(),
        remote_salt: keys.remote.salt.clone(),
        outward: outward.iter().map(index).collect(),
        inward: inward.iter().map(index).collect(),
    }
}

fn index(index: &Index) -> v1::SourceIndex {
    v1::SourceIndex { ssrc: index.ssrc, rtp: index.rtp, rtcp: index.rtcp }
}

fn splice(splice: Spliced) -> v1::SpliceState {
    v1::SpliceState {
        ssrc: splice.ssrc,
        clock: splice.clock,
        source: splice.source,
        seq_offset: splice.seq_offset.into(),
        timestamp_offset: splice.timestamp_offset,
        last: splice.last.map(|(seq, timestamp, at_ms)| v1::Sent { seq: seq.into(), timestamp, at_ms }),
    }
}

/// Reads what [`encode`] wrote; `None` where it makes no sense.
#[must_use]
pub fn decode(octets: &[u8]) -> Option<Snapshot> {
    let state = v1::SessionState::decode(octets).ok()?;
    if state.ends.len() > (LEGS * CONTENTS) as usize {
        return None;
    }
    let mut endpoints = state.ends.into_iter().map(read_end).collect::<Option<Vec<_>>>()?;
    let bridge = match state.version {
        0 => {
            to_hearers(&mut endpoints);
            vec![(LegId(0), LegId(1))]
        }
        VERSION if state.bridge.len() <= LEGS as usize => {
            let leg = |number: u32| u8::try_from(number).map(LegId).ok();
            let pair = |pair: v1::Pair| Some((leg(pair.one)?, leg(pair.other)?));
            state.bridge.into_iter().map(pair).collect::<Option<_>>()?
        }
        // What a newer relay means by it is not known here.
        _ => return None,
    };
    Some(Snapshot { at: Time(state.at_ms), endpoints, bridge, exact: state.exact })
}

/// Upgrades a state of version 0, where a stream stood with its source: each goes to the endpoint that it is heard at.
fn to_hearers(endpoints: &mut [EndpointState]) {
    let streams: Vec<_> = endpoints.iter().map(|end| (end.leg, end.content, end.outgoing)).collect();
    for end in endpoints {
        let source = streams.iter().find(|(leg, content, _)| *leg != end.leg && *content == end.content);
        end.outgoing = source.and_then(|(.., stream)| *stream);
    }
}

fn read_end(end: v1::EndState) -> Option<EndpointState> {
    if [&end.ufrag, &end.pwd, &end.theirs].iter().any(|text| text.len() > TEXT) {
        return None;
    }
    Some(EndpointState {
        leg: LegId(end.leg.try_into().ok()?),
        content: end.content.try_into().ok()?,
        ufrag: end.ufrag,
        pwd: end.pwd,
        theirs: end.theirs,
        generation: end.generation,
        rtp_port: end.rtp_port.try_into().ok()?,
        preference: end.preference.try_into().ok()?,
        path: if end.path.is_empty() { None } else { Some(end.path.parse().ok()?) },
        crypto: if end.crypto.len() > Suite::ALL.len() {
            return None;
        } else {
            end.crypto.into_iter().map(|line| Crypto::try_from(line).ok()).collect::<Option<_>>()?
        },
        keyed: match end.keyed {
            Some(keyed) => Some(read_keyed(keyed)?),
            None => None,
        },
        association: match end.association {
            Some(association) => Some(read_association(association)?),
            None => None,
        },
        outgoing: match end.outgoing {
            Some(outgoing) => Some(read_splice(outgoing)?),
            None => None,
        },
    })
}

fn read_keyed(from: v1::Keyed) -> Option<Keyed> {
    if from.outward.len() > Suite::ALL.len() {
        return None;
    }
    let sent = |sent: v1::keyed::Used| Some((Suite::named(&sent.suite)?, indices(sent.sources)?));
    Some(Keyed {
        theirs: from.theirs?.try_into().ok()?,
        outward: from.outward.into_iter().map(sent).collect::<Option<_>>()?,
        inward: indices(from.inward)?,
    })
}

fn indices(from: Vec<v1::SourceIndex>) -> Option<Vec<Index>> {
    let index = |i: v1::SourceIndex| Index { ssrc: i.ssrc, rtp: i.rtp, rtcp: i.rtcp };
    (from.len() <= SOURCES).then(|| from.into_iter().map(index).collect())
}

fn read_association(from: v1::Association) -> Option<Association> {
    let suite = match from.profile {
        1 => Suite::AesCm128Sha1_80,
        7 => Suite::AeadAes128Gcm,
        8 => Suite::AeadAes256Gcm,
        _ => return None,
    };
    if from.fingerprints.len() > FINGERPRINTS {
        return None;
    }
    Some(Association {
        role: if from.client { Role::Client } else { Role::Server },
        fingerprints: from.fingerprints.into_iter().map(Into::into).collect(),
        keys: Keys {
            suite,
            local: Master { key: from.local_key, salt: from.local_salt },
            remote: Master { key: from.remote_key, salt: from.remote_salt },
        },
        outward: indices(from.outward)?,
        inward: indices(from.inward)?,
    })
}

fn read_splice(from: v1::SpliceState) -> Option<Spliced> {
    let last = match from.last {
        Some(last) => Some((last.seq.try_into().ok()?, last.timestamp, last.at_ms)),
        None => None,
    };
    Some(Spliced {
        ssrc: from.ssrc,
        clock: from.clock,
        source: from.source,
        seq_offset: from.seq_offset.try_into().ok()?,
        timestamp_offset: from.timestamp_offset,
        last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal::media::Fingerprint;

    fn line(suite: Suite, octet: u8) -> Crypto {
        let (key, salt) = suite.lengths();
        Crypto { tag: 1, suite, key: vec![octet; key + salt], mki: 0 }
    }

    fn snapshot() -> Snapshot {
        let end = |leg: u8, suite: Option<Suite>| EndpointState {
            leg: LegId(leg),
            content: 1,
            ufrag: "abcd".into(),
            pwd: "0123456789012345678901".into(),
            theirs: suite.map_or("", |_| "efgh").into(),
            generation: leg.into(),
            rtp_port: 30_002,
            preference: 7,
            path: suite.map(|_| "[2001:db8::1]:5000".parse().unwrap()),
            crypto: suite.map(|suite| line(suite, 1)).into_iter().collect(),
            keyed: suite.map(|suite| Keyed {
                theirs: Crypto { mki: 4, ..line(suite, 3) },
                outward: vec![
                    (suite, vec![Index { ssrc: 5, rtp: Some(0x0002_ffff), rtcp: 9 }]),
                    (Suite::AesCm256Sha1_32, vec![]),
                ],
                inward: vec![Index { ssrc: 6, rtp: Some(7), rtcp: 0 }],
            }),
            association: suite.map(|suite| Association {
                role: if leg == 0 { Role::Client } else { Role::Server },
                fingerprints: vec![Fingerprint { hash: "sha-256".into(), digest: vec![7; 32] }],
                keys: Keys {
                    suite,
                    local: Master { key: vec![1; suite.lengths().0], salt: vec![2; suite.lengths().1] },
                    remote: Master { key: vec![3; suite.lengths().0], salt: vec![4; suite.lengths().1] },
                },
                outward: vec![Index { ssrc: 5, rtp: Some(0x0002_ffff), rtcp: 9 }],
                inward: vec![Index { ssrc: 0, rtp: None, rtcp: 1 }, Index { ssrc: 6, rtp: Some(0), rtcp: 0 }],
            }),
            outgoing: Some(Spliced {
                ssrc: 5,
                clock: 48_000,
                source: suite.map(|_| 0),
                seq_offset: 65_535,
                timestamp_offset: u32::MAX,
                last: suite.map(|_| (0, 1, 2)),
            }),
        };
        let suites = [Suite::AesCm128Sha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm];
        let ends = suites.into_iter().map(|suite| end(0, Some(suite))).chain([end(1, None)]);
        let bridge = vec![(LegId(2), LegId(0)), (LegId(1), LegId(3))];
        Snapshot { at: Time(1_700_000_000_000), endpoints: ends.collect(), bridge, exact: false }
    }

    /// A call of two legs, each with a stream of its own.
    fn two_legs() -> Snapshot {
        let mut snapshot = snapshot();
        snapshot.endpoints.drain(1..3);
        for (end, ssrc) in snapshot.endpoints.iter_mut().zip([100, 101]) {
            end.outgoing = end.outgoing.map(|stream| Spliced { ssrc, ..stream });
        }
        Snapshot { bridge: vec![(LegId(0), LegId(1))], ..snapshot }
    }

    /// States of relays that are a version behind are read for as long as they may be kept; the octets were written by those.
    #[test]
    fn octets_of_every_version_are_read() {
        let golden: [&[u8]; 2] =
            [include_bytes!("golden/session-0.bin"), include_bytes!("golden/session-1.bin")];
        for (version, octets) in golden.into_iter().enumerate() {
            assert_eq!(decode(octets), Some(two_legs()), "version {version}");
        }
        assert_eq!(encode(&two_legs()).encode_to_vec(), golden[1], "another layout is another version");
        let newer = v1::SessionState { version: VERSION + 1, ..encode(&two_legs()) };
        assert_eq!(decode(&newer.encode_to_vec()), None);
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        let exact = Snapshot { exact: true, ..snapshot() };
        assert_eq!(decode(&encode(&exact).encode_to_vec()), Some(exact));
        let octets = encode(&snapshot()).encode_to_vec();
        assert_eq!(decode(&octets), Some(snapshot()));
        for length in 0..octets.len() {
            // Cut short it is at most less; it never harms.
            let _ = decode(&octets[..length]);
        }
        let mut wrong = encode(&snapshot());
        wrong.ends[0].association.as_mut().unwrap().profile = 2;
        assert_eq!(decode(&wrong.encode_to_vec()), None);
    }

    #[test]
    fn no_key_reaches_a_log() {
        let text = format!("{:?} {:?}", snapshot(), encode(&snapshot()));
        assert!(
            !text.contains("[1, 1") && !text.contains("[3, 3") && !text.contains("01234567890"),
            "{text}"
        );
    }
}
