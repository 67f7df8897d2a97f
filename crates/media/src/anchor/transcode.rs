//! Negotiation of codecs that the relay transcodes.

use crate::codec::{defaults, static_number};
use signal::media::Codec;

const EVENT: &str = "telephone-event";

/// Returns true for the codecs that the relay transcodes into one another: Opus, G.722 and G.711, but not G.729, AMR or iLBC.
fn is_transcodable(codec: &Codec) -> bool {
    defaults().iter().any(|ours| !ours.is_auxiliary() && ours.same(codec))
}

/// Appends the codecs that the relay can transcode to an offer, behind those that cross unchanged, with a telephone-event of 8 kHz if
/// the offer has one of another clock.
pub(super) fn append(codecs: &mut Vec<Codec>) {
    let events = codecs.iter().find(|codec| codec.name.eq_ignore_ascii_case(EVENT)).cloned();
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

/// Returns the codecs for the answer to `offered` when its peer took none of them as it is, but one that can be transcoded: the first
/// transcodable codec of `offered`, and telephone-event if both sides have it, in any clock. Empty = no transcoding possible.
pub(super) fn negotiate(offered: &[Codec], taken: &[Codec]) -> Vec<Codec> {
    let Some(main) =
        offered.iter().find(|codec| is_transcodable(codec)).filter(|_| taken.iter().any(is_transcodable))
    else {
        return vec![];
    };
    let is = |name: &'static str| move |codec: &&Codec| codec.name.eq_ignore_ascii_case(name);
    // The relay makes comfort noise for this side alone: the peer need not have it.
    let noise = offered.iter().filter(is("CN")).find(|codec| codec.clock == main.clock);
    let events = || offered.iter().filter(is(EVENT));
    let events = taken.iter().find(is(EVENT)).and_then(|_| {
        [main.clock, 8_000, 48_000].into_iter().find_map(|clock| events().find(|codec| codec.clock == clock))
    });
    let strip = |codec: &Codec| Codec { feedback: vec![], ..codec.clone() };
    std::iter::once(main).chain(noise).chain(events).map(strip).collect()
}
