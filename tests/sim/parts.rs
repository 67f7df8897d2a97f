//! What the walks are made of.

use crate::random::Random;
use media::LocalEnd;
use session::call::{Effect, RelaySession};
use signal::media::{Codec, Direction, Fingerprint, Ice, Kind};
use signal::{CallId, EffectId, Media};

/// What gives back a session that was never the call's.
pub fn number_of(session: &RelaySession) -> EffectId {
    EffectId { call: CallId([7; 10]), version: u64::MAX - session.started_ms, index: 0 }
}

/// Effects with their ids.
pub fn number(call: CallId, version: u64, effects: Vec<Effect>) -> Vec<(EffectId, Effect)> {
    effects
        .into_iter()
        .zip(0u16..)
        .map(|(effect, index)| (EffectId { call, version, index }, effect))
        .collect()
}

/// What a party says of itself.
pub fn described_media(random: &mut Random) -> Media {
    let mut media = Media::undescribed(&[Kind::Audio]);
    let all =
        [Codec::new(0, "PCMU", 8000, 1), Codec::new(8, "PCMA", 8000, 1), Codec::new(111, "opus", 48000, 2)];
    let first = random.index(3);
    media.contents[0].codecs = all.iter().cycle().skip(first).take(1 + random.index(3)).cloned().collect();
    // Who speaks ICE restarts it now and then.
    if random.chance(50) {
        let ice = Ice { ufrag: format!("theirs{}", random.index(3)), ..Ice::default() };
        media.contents[0].transport.ice = Some(ice);
    }
    media.contents[0].direction =
        [Direction::Both, Direction::Both, Direction::Send, Direction::None][random.index(4)];
    media
}

/// An end at this port.
pub fn end(port: u16) -> LocalEnd {
    LocalEnd {
        address: [127, 0, 0, 1].into(),
        rtp_port: port,
        rtcp_port: port + 1,
        ice: Ice::default(),
        fingerprint: Fingerprint { hash: "sha-256".into(), digest: vec![0; 32] },
        other: None,
        crypto: vec![],
    }
}
