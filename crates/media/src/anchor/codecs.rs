//! Codecs of offers and answers: the one place where their numbers and parameters come from.
//!
//! One rule: each side receives its own numbers, with what the other side wants to receive. An answer has the numbers of its offer
//! (R-SDP-5) and the parameters of the party that takes the codec (RFC 3264 §6.1); where the relay transcodes that party is the relay.

use super::transcode;
use crate::codec::{served, static_number};
use signal::media::{Codec, Content, Media};

/// Name of keys as a codec (RFC 4733).
const EVENT: &str = "telephone-event";
/// Keys that a telephone-event without parameters stands for (RFC 4733 §2.4.1).
const EVENTS: &str = "0-15";

/// Returns true for keys.
pub(super) fn is_event(codec: &Codec) -> bool {
    codec.name.eq_ignore_ascii_case(EVENT)
}

/// Returns the codecs of an offer that cross unchanged, in its order and with its payload types, or static ones where there are.
pub(super) fn forwardable(codecs: &[Codec]) -> Vec<Codec> {
    let mut taken: Vec<Codec> = vec![];
    for codec in codecs.iter().filter(|c| served(c)) {
        if taken.iter().any(|t| t.same(codec)) {
            continue;
        }
        let mut codec = Codec { feedback: vec![], ..codec.clone() };
        if let Some(number) = static_number(&codec) {
            codec.pt = number;
        }
        if codec.name.eq_ignore_ascii_case("opus") {
            // RFC 7587 §7: always two channels, even if a client wrote one.
            codec.channels = 2;
        }
        if taken.iter().any(|t| t.pt == codec.pt) {
            let free = (96..=127).rev().find(|pt| taken.iter().chain(codecs).all(|t| t.pt != *pt));
            let Some(free) = free else { continue };
            codec.pt = free;
        }
        taken.push(codec);
    }
    taken
}

/// Leaves one telephone-event in an offer to a client: of this clock, else of 8 kHz, else the first. A browser that is offered several
/// accepts them all and sends in one that nobody else has agreed to (R-DTMF-3).
pub(super) fn keep_one_event(codecs: &mut Vec<Codec>, clock: u32) {
    let of = |clock: u32| codecs.iter().find(|codec| is_event(codec) && codec.clock == clock);
    let kept = of(clock).or_else(|| of(8_000)).or_else(|| codecs.iter().find(|codec| is_event(codec)));
    let kept = kept.map(|codec| codec.pt);
    codecs.retain(|codec| !is_event(codec) || Some(codec.pt) == kept);
}

/// Returns the codecs for an answer to `offered`, in its numbers: all that `peer` takes, those in use first; else one that can be
/// transcoded. Empty = none.
pub(super) fn answered(offered: &[Codec], in_use: &[Codec], peer: &[Codec], transcodes: bool) -> Vec<Codec> {
    let has = |codecs: &[Codec], codec: &Codec| codecs.iter().any(|c| c.same(codec));
    let kept = main(in_use).filter(|codec| has(offered, codec));
    let shared = in_use.iter().any(|codec| !codec.is_auxiliary() && has(peer, codec) && has(offered, codec));
    if transcodes && kept.is_some() && !shared {
        let agreed = transcode::negotiate(offered, kept, peer);
        if !agreed.is_empty() {
            return agreed;
        }
    }
    match negotiate(offered, in_use, peer) {
        agreed if agreed.is_empty() && transcodes => transcode::negotiate(offered, None, peer),
        agreed => agreed,
    }
}

/// Returns every codec that both sides have, in the order of `in_use` and then of `peer`, with comfort noise and telephone-event of the
/// first one's clock if both have them: whichever of them is sent finds its hearer (RFC 3264 §6.1).
fn negotiate(offered: &[Codec], in_use: &[Codec], peer: &[Codec]) -> Vec<Codec> {
    let both = |codec: &Codec| {
        let taken = peer.iter().find(|taken| taken.same(codec))?;
        Some((offered.iter().find(|codec| codec.same(taken))?, taken))
    };
    let mut agreed: Vec<Codec> = vec![];
    for (codec, taken) in in_use.iter().chain(peer).filter(|codec| !codec.is_auxiliary()).filter_map(both) {
        if agreed.iter().all(|known| known.pt != codec.pt) {
            agreed.push(accepted(codec, taken));
        }
    }
    let Some(clock) = agreed.first().map(|main| main.clock) else { return agreed };
    let beside = |name: &str, clock: u32| {
        let is = |c: &&Codec| c.name.eq_ignore_ascii_case(name) && c.clock == clock;
        offered.iter().find(is).zip(peer.iter().find(is)).map(|(codec, taken)| accepted(codec, taken))
    };
    // Exactly one telephone-event: browsers pick the wrong clock when two are accepted.
    let events = beside(EVENT, clock).or_else(|| beside(EVENT, 8_000)).or_else(|| beside(EVENT, 48_000));
    let noise = beside("CN", clock);
    agreed.extend(noise.into_iter().chain(events));
    agreed
}

/// Returns an offered codec as it is accepted: in the offerer's number, with the parameters of who takes it (RFC 3264 §6.1).
pub(super) fn accepted(offered: &Codec, taken: &Codec) -> Codec {
    let mut params = taken.params.clone();
    if is_event(offered) && params.is_empty() {
        params.push((String::new(), EVENTS.to_owned()));
    }
    let Codec { ptime, max_ptime, .. } = *taken;
    Codec { params, feedback: vec![], ptime, max_ptime, ..offered.clone() }
}

/// Returns the first codec that is no companion of another: the one that is sent.
fn main(codecs: &[Codec]) -> Option<&Codec> {
    codecs.iter().find(|codec| !codec.is_auxiliary())
}

/// Returns the codecs of packets between us and a peer that has answered our offer: in its numbers, which we send in, and behind them in
/// ours where they differ: the peer sends in these (RFC 3264 §5.1, §6.1), whatever it wrote, or in its own.
#[must_use]
pub fn numbers(ours: &[Codec], theirs: &[Codec]) -> Vec<Codec> {
    let other = |taken: &Codec| {
        let mut alike = ours.iter().filter(|codec| codec.same(taken)).map(|codec| codec.pt);
        let same = alike.clone().any(|pt| pt == taken.pt);
        alike.next().filter(|_| !same).map(|pt| Codec { pt, ..taken.clone() })
    };
    theirs.iter().cloned().chain(theirs.iter().filter_map(other)).collect()
}

/// Removes from `media` the codecs that the same content of `other` lacks: an answer then holds codecs of its offer only.
pub fn narrow(media: &mut Media, other: &Media) {
    both(media, other).for_each(|(content, other)| retain(content, &other.codecs.iter().collect::<Vec<_>>()));
}

/// Removes from `media` the codecs that are not in use by `answer`: in use is the first of a content, with its companions. An offer of
/// nothing else leaves its answerer no other (RFC 3264 §8.3.2), of which the other side of the call would not know.
pub fn keep_in_use(media: &mut Media, answer: &Media) {
    for (content, answer) in both(media, answer) {
        let used = main(&answer.codecs);
        let companions = answer.codecs.iter().filter(|codec| codec.is_auxiliary());
        retain(content, &used.into_iter().chain(companions).collect::<Vec<_>>());
    }
}

/// Returns pairs of the same content that neither description rejects.
fn both<'a>(media: &'a mut Media, other: &'a Media) -> impl Iterator<Item = (&'a mut Content, &'a Content)> {
    let pairs = media.contents.iter_mut().zip(&other.contents);
    pairs.filter(|(content, other)| !content.rejected && !other.rejected)
}

fn retain(content: &mut Content, named: &[&Codec]) {
    content.codecs.retain(|codec| named.iter().any(|named| named.same(codec)));
}

/// Returns the codecs to offer a peer anew so that nothing that it sends has to be transcoded or dropped; `None` if that is so already,
/// or cannot be.
///
/// `ours` is what the peer was offered, `theirs` its answer, `told` the codecs that its hearer was told. If the two share some, those
/// are offered; else those that the peer may have passed over only because another one stood before them.
#[must_use]
pub fn settled(ours: &[Codec], theirs: &[Codec], told: &[Codec]) -> Option<Vec<Codec>> {
    let mains = || theirs.iter().filter(|codec| !codec.is_auxiliary());
    let is_told = |codec: &Codec| told.iter().any(|told| told.same(codec));
    if mains().all(is_told) {
        return None;
    }
    let first = mains().next().and_then(|first| ours.iter().position(|codec| codec.same(first)))?;
    let behind = if mains().any(is_told) { 0 } else { first + 1 };
    let wanted = |place: usize, codec: &Codec| match codec.is_auxiliary() {
        true => theirs.iter().any(|taken| taken.same(codec)),
        false if behind == 0 => is_told(codec) && mains().any(|taken| taken.same(codec)),
        false => is_told(codec) && place >= behind,
    };
    let places = ours.iter().enumerate();
    let offered: Vec<Codec> =
        places.filter(|(place, codec)| wanted(*place, codec)).map(|(_, codec)| codec.clone()).collect();
    main(&offered).is_some().then_some(offered)
}
