//! Timelines: when a leg was opened, rang, was answered and ended, why, and how it sounded. For the call detail record alone; no rule
//! of a call looks at them.

use super::leg::{Leg, Phase};
use super::record::Call;
use minicbor::{Decode, Encode};
use signal::{End, LegId, Time};

/// Most contents of a leg whose quality is kept.
const MAX_QUALITIES: usize = super::MAX_CONTENTS;

/// Course of a leg.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Timeline {
    /// Time at which the peer opened the leg, or was called.
    #[n(0)]
    pub opened: Option<Time>,
    /// Time at which it rang.
    #[n(1)]
    pub rang: Option<Time>,
    /// Time of the answer.
    #[n(2)]
    pub answered: Option<Time>,
    /// Time of the end.
    #[n(3)]
    pub ended: Option<Time>,
    /// Reason of the end; `None` for a leg whose party was never called.
    #[n(4)]
    pub end: Option<End>,
    /// True if the peer has ended the leg, false if we have.
    #[cbor(n(5), default)]
    pub by_peer: bool,
    /// Quality of its media, by content, as its relays told.
    #[cbor(n(6), default)]
    pub media: Vec<Quality>,
    /// Id of the leg on the wire: Call-ID (RFC 3261 §8.1.1.4), sid (XEP-0166 §7.2).
    #[n(7)]
    pub wire_id: Option<String>,
}

/// Quality of one content of a leg. Packets and octets in are those of the peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Quality {
    /// Index of the content.
    #[n(0)]
    pub content: u16,
    /// Codec that was heard; empty if none was.
    #[n(1)]
    pub codec: String,
    /// SRTP suite; empty in the clear.
    #[n(2)]
    pub security: String,
    /// Packets accepted from the peer.
    #[n(3)]
    pub packets_in: u64,
    /// Octets accepted from the peer.
    #[n(4)]
    pub octets_in: u64,
    /// Packets sent to the peer.
    #[n(5)]
    pub packets_out: u64,
    /// Octets sent to the peer.
    #[n(6)]
    pub octets_out: u64,
    /// Packets of the peer that did not come.
    #[n(7)]
    pub lost: u64,
    /// Jitter of what came last (RFC 3550 A.8), microseconds.
    #[n(8)]
    pub jitter_us: u32,
    /// Mean opinion score of what came (ITU-T G.107), hundredths.
    #[n(9)]
    pub mos: Option<u32>,
    /// Way to the peer and back, microseconds.
    #[n(10)]
    pub round_trip_us: Option<u32>,
    /// Packets that the peer says it has missed.
    #[n(11)]
    pub seen_lost: Option<i32>,
    /// Jitter that the peer tells, microseconds.
    #[n(12)]
    pub seen_jitter_us: Option<u32>,
    /// Mean opinion score of what the peer hears, hundredths.
    #[n(13)]
    pub seen_mos: Option<u32>,
}

impl Quality {
    /// Adds what a further relay tells of the same content.
    fn add(&mut self, next: &Quality) {
        let mean =
            |sum: u64, packets: u64| sum.checked_div(packets).and_then(|mean| u32::try_from(mean).ok());
        self.mos = match (self.mos, next.mos) {
            (Some(mine), Some(theirs)) => {
                let sum = u64::from(mine) * self.packets_in + u64::from(theirs) * next.packets_in;
                mean(sum, self.packets_in + next.packets_in).or(Some(theirs))
            }
            (mine, theirs) => theirs.or(mine),
        };
        self.packets_in += next.packets_in;
        self.octets_in += next.octets_in;
        self.packets_out += next.packets_out;
        self.octets_out += next.octets_out;
        self.lost += next.lost;
        if next.packets_in > 0 {
            self.jitter_us = next.jitter_us;
            self.codec.clone_from(&next.codec);
            self.security.clone_from(&next.security);
        }
        self.round_trip_us = next.round_trip_us.or(self.round_trip_us);
        self.seen_lost = match (self.seen_lost, next.seen_lost) {
            (Some(mine), Some(theirs)) => Some(mine.saturating_add(theirs)),
            (mine, theirs) => theirs.or(mine),
        };
        self.seen_jitter_us = next.seen_jitter_us.or(self.seen_jitter_us);
        self.seen_mos = next.seen_mos.or(self.seen_mos);
    }
}

impl Leg {
    /// Notes why the leg ends, and on whose side; the first reason is the true one.
    pub(super) fn note_end(&mut self, end: &End, by_peer: bool) {
        if self.timeline.end.is_none() && !self.phase.is_over() {
            (self.timeline.end, self.timeline.by_peer) = (Some(end.clone()), by_peer);
        }
    }
}

/// Notes the times of what the decision that ends here has changed.
pub(super) fn note(call: &mut Call, now: Time) {
    for leg in &mut call.legs {
        let (phase, times) = (leg.phase, &mut leg.timeline);
        let never_opened = phase.is_unopened() || phase.is_over() && times.opened.is_none();
        if !never_opened {
            times.opened.get_or_insert(now);
        }
        match phase {
            Phase::Ringing => _ = times.rang.get_or_insert(now),
            Phase::Answered | Phase::Active => _ = times.answered.get_or_insert(now),
            Phase::Over => _ = times.ended.get_or_insert(now),
            Phase::Calling | Phase::Routing | Phase::Allocating => {}
        }
    }
}

/// Takes what a relay tells of the media that it has carried.
pub(super) fn measured(call: &mut Call, figures: Vec<(LegId, Quality)>) {
    for (id, next) in figures {
        let Some(leg) = call.leg_mut(id) else { continue };
        leg.timeline.add(&next);
    }
}

impl Timeline {
    /// Adds the quality of one content.
    pub fn add(&mut self, next: &Quality) {
        if let Some(known) = self.media.iter_mut().find(|known| known.content == next.content) {
            known.add(next);
        } else if self.media.len() < MAX_QUALITIES {
            self.media.push(next.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_several_relays_are_those_of_one_leg() {
        let first = Quality {
            codec: "PCMU".into(),
            packets_in: 100,
            lost: 2,
            jitter_us: 900,
            mos: Some(400),
            seen_lost: Some(1),
            round_trip_us: Some(20_000),
            ..Quality::default()
        };
        let second =
            Quality { packets_in: 300, lost: 1, mos: Some(440), round_trip_us: None, ..first.clone() };
        let silent = Quality { codec: String::new(), ..Quality::default() };
        let mut timeline = Timeline::default();
        for figures in [&first, &second, &silent] {
            timeline.add(figures);
        }
        let told = timeline.media.first().cloned().unwrap_or_default();
        assert_eq!(timeline.media.len(), 1);
        assert_eq!((told.packets_in, told.lost, told.mos, told.seen_lost), (400, 3, Some(430), Some(2)));
        assert_eq!((told.codec.as_str(), told.jitter_us, told.round_trip_us), ("PCMU", 900, Some(20_000)));
    }
}
