//! Codecs that need not meet: what the relay can turn one into the other.

use crate::codec::{defaults, static_number};
use signal::media::Codec;

const EVENT: &str = "telephone-event";

/// Opus, G.722 and G.711 are turned into one another; nothing else is (G.729, AMR and iLBC never).
fn is_transcodable(codec: &Codec) -> bool {
    defaults().iter().any(|ours| !ours.is_auxiliary() && ours.same(codec))
}

/// Puts what we can turn into something that crosses behind it, with events in a clock that goes with it.
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

/// What the offerer of `offered` is told when its peer took nothing of it but something that we can turn: the first of its
/// codecs that we can turn, and events if both sides have them, in whatever clocks. Empty: nothing can be done.
pub(super) fn negotiate(offered: &[Codec], taken: &[Codec]) -> Vec<Codec> {
    let Some(main) =
        offered.iter().find(|codec| is_transcodable(codec)).filter(|_| taken.iter().any(is_transcodable))
    else {
        return vec![];
    };
    let is = |name: &'static str| move |codec: &&Codec| codec.name.eq_ignore_ascii_case(name);
    // Silence can be told of to this side alone.
    let noise = offered.iter().filter(is("CN")).find(|codec| codec.clock == main.clock);
    let events = || offered.iter().filter(is(EVENT));
    let events = taken.iter().find(is(EVENT)).and_then(|_| {
        [main.clock, 8_000, 48_000].into_iter().find_map(|clock| events().find(|codec| codec.clock == clock))
    });
    let strip = |codec: &Codec| Codec { feedback: vec![], ..codec.clone() };
    std::iter::once(main).chain(noise).chain(events).map(strip).collect()
}
