//! Negotiation of codecs that the relay transcodes.

use super::codecs::{accepted, is_event};
use crate::codec::{defaults, static_number};
use signal::media::Codec;

/// Returns true for the codecs that the relay transcodes into one another: Opus, G.722 and G.711, but not G.729, AMR or iLBC.
fn is_transcodable(codec: &Codec) -> bool {
    defaults().iter().any(|ours| !ours.is_auxiliary() && ours.same(codec))
}

/// Appends the codecs that the relay can transcode to an offer, behind those that cross unchanged; with `events` also a telephone-event
/// of 8 kHz if the offer has one of another clock.
pub(super) fn append(codecs: &mut Vec<Codec>, events: bool) {
    let events = codecs.iter().find(|codec| events && is_event(codec)).cloned();
    let events = events.map(|events| Codec { pt: 101, clock: 8_000, ..events });
    for ours in defaults().into_iter().filter(|codec| !codec.is_auxiliary()).chain(events) {
        if codecs.iter().any(|codec| codec.same(&ours)) {
            continue;
        }
        let taken = |pt: u8| codecs.iter().any(|codec| codec.pt == pt);
        let wanted = static_number(&ours).unwrap_or(ours.pt);
        let free = std::iter::once(wanted).chain((96..=127).rev()).find(|pt| !taken(*pt));
        let Some(pt) = free else { continue };
        codecs.push(Codec { pt, ..ours });
    }
}

/// Returns the codecs for the answer to `offered` when its peer took none of them as it is, but one that can be transcoded: `kept`, else
/// the first transcodable codec of `offered`, and telephone-event if both sides have it, in any clock. It is the relay that takes the
/// codec: its parameters are those. Empty = no transcoding possible.
pub(super) fn negotiate(offered: &[Codec], kept: Option<&Codec>, taken: &[Codec]) -> Vec<Codec> {
    let possible = |codec: &&Codec| is_transcodable(codec);
    let kept = kept.and_then(|kept| offered.iter().filter(possible).find(|codec| codec.same(kept)));
    let first = kept.or_else(|| offered.iter().find(possible));
    let Some(main) = first.filter(|_| taken.iter().any(is_transcodable)) else { return vec![] };
    let ours = defaults().into_iter().find(|ours| ours.same(main));
    let agreed = ours.map_or_else(|| main.clone(), |ours| accepted(main, &ours));
    // The relay makes comfort noise for this side alone: the peer need not have it.
    let noise = |codec: &&Codec| codec.name.eq_ignore_ascii_case("CN") && codec.clock == main.clock;
    let noise = offered.iter().find(noise).map(|codec| accepted(codec, codec));
    let of = |clock: u32| offered.iter().find(|codec| is_event(codec) && codec.clock == clock);
    let events = taken.iter().find(|codec| is_event(codec)).and_then(|taken| {
        let offered = [main.clock, 8_000, 48_000].into_iter().find_map(of)?;
        Some(accepted(offered, taken))
    });
    std::iter::once(agreed).chain(noise).chain(events).collect()
}
