//! RTCP reports of an endpoint to its peer and from it (RFC 3550 §6). Each leg has its own: names, times and
//! losses of one never reach the other.

use super::types::Arrival;
use crate::packet::Splice;
use crate::rtcp::{Block, Item, Sender, middle};
use signal::Time;
use signal::media::Ssrc;

/// Mean time between two reports, ms, and what makes up for their randomness (RFC 3550 §6.2, §6.3.1).
const INTERVAL: u64 = 5_000;
const COMPENSATION: u64 = 1_218;
/// A report that is brought forward keeps this far from the last one, ms.
const APART: u64 = 1_000;
/// Reports of ours that an answer may name.
const SENT: usize = 4;
/// Seconds from 1900 to 1970.
const NTP: u64 = 2_208_988_800;
/// A round trip that takes longer is a mistake, µs.
const LONGEST: u64 = 30_000_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    /// Our name while we send nothing.
    spare: u32,
    /// The peer was told that name.
    named: bool,
    cname: u64,
    /// The peer's last report on itself.
    heard: Option<(Sender, Arrival)>,
    /// Our last reports: by what an answer names them, and when they left.
    sent: [(u32, u64); SENT],
    turn: u32,
    /// Quality of our stream as the peer reports it.
    pub view: Option<View>,
    /// To the peer and back, µs.
    pub round_trip_us: Option<u32>,
    /// Octets of payload sent, modulo 2^32.
    pub octets: u32,
    /// Packets sent as the last report told them.
    told: u64,
    /// When the next report is to be made; `None`: none is.
    next: Option<Time>,
    last: Option<Time>,
    /// A report is to be made now.
    pub due: bool,
    /// RTCP is to be sent.
    pub wanted: bool,
    /// The endpoint is in the worker's queue of those that have RTCP to send.
    pub queued: bool,
}

/// A stream of ours as its receiver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Lost since the report before, of 256.
    pub fraction: u8,
    pub lost: i32,
    pub jitter_us: u32,
}

impl Reports {
    /// `spare` and `cname` are random; the latter is the same for all contents of a leg (RFC 7022 §4.2).
    pub fn new(spare: u32, cname: u64) -> Reports {
        Reports { spare, cname, ..Reports::default() }
    }

    /// Takes the source that the peer was told.
    pub fn set_source(&mut self, Ssrc { id, cname }: Ssrc) {
        (self.spare, self.cname, self.named) = (id, cname, true);
    }

    /// Our name in what is said to the peer: that of the stream it hears, if there is one.
    pub fn ssrc(&self, said: Option<&Splice>) -> u32 {
        said.map_or(self.spare, Splice::ssrc)
    }

    /// A name for a stream whose source calls itself so: the one that the peer was told. `taken`: another stream on the same
    /// transport has the source's name, too.
    pub fn ssrc_for(&self, source: u32, taken: bool) -> u32 {
        if taken || self.named { self.spare } else { source }
    }

    /// CNAME: 96 bits are advised, the statistics of 64 fit the words of the packet.
    pub fn cname(&self) -> [u8; 16] {
        let digit = |n: usize| (self.cname >> (60 - 4 * n) & 0xf) as usize;
        std::array::from_fn(|n| b"0123456789abcdef".get(digit(n)).copied().unwrap_or(b'0'))
    }

    /// Takes an item of the peer's RTCP. `said` is the stream that it hears, `source` the one that it sends.
    /// True: its own report is the first of this source, and the other side should soon know.
    pub fn handle(&mut self, item: &Item, said: Option<&Splice>, source: Option<u32>, at: Arrival) -> bool {
        match item {
            Item::Sender(sender) if source.is_none_or(|source| source == sender.ssrc) => {
                let first = self.heard.is_none_or(|(before, _)| before.ssrc != sender.ssrc);
                self.heard = Some((*sender, at));
                return first;
            }
            Item::Bye { ssrc } if self.heard.is_some_and(|(sender, _)| sender.ssrc == *ssrc) => {
                self.heard = None;
            }
            Item::Block(block) if said.is_some_and(|said| said.ssrc() == block.ssrc) => {
                let jitter =
                    u64::from(block.jitter) * 1_000_000 / u64::from(said.map_or(1, Splice::clock).max(1));
                self.view = Some(View {
                    fraction: block.fraction,
                    lost: block.lost,
                    jitter_us: u32::try_from(jitter).unwrap_or(u32::MAX),
                });
                // RFC 3550 §6.4.1: arrival less the report that it names, less the time that it was held.
                let sent = self.sent.iter().find(|(name, left)| *name == block.last_report && *left > 0);
                if let Some((_, left)) = sent.filter(|_| block.last_report != 0) {
                    let held = (u64::from(block.delay) * 1_000_000) >> 16;
                    let passed = at.0.saturating_sub(*left);
                    // A peer counts its delay in coarse ticks: a little too much of it is no time at all.
                    let trip = passed.saturating_sub(held);
                    if held <= passed + 50_000 && trip <= LONGEST {
                        self.round_trip_us = u32::try_from(trip).ok();
                    }
                }
            }
            _ => {}
        }
        false
    }

    /// Returns sender information on the stream `said`; `source` has the reports of its source. The wall clock and the timestamp keep
    /// the source's own relation, so that sound and video stay together (R-RTP-3). `None`: nothing was sent since the last report.
    pub fn sender(
        &mut self,
        said: &Splice,
        source: Option<&Reports>,
        packets: u64,
        at: Arrival,
    ) -> Option<Sender> {
        let (timestamp, sent) = said.last()?;
        if packets == std::mem::replace(&mut self.told, packets) {
            return None;
        }
        let ticks = |us: u64| (u128::from(us) * u128::from(said.clock()) / 1_000_000) as u32;
        let (ntp, timestamp) = match source.and_then(|source| source.heard) {
            Some((report, came)) if Some(report.ssrc) == said.source() && !said.is_interrupted() => {
                let passed = at.0.saturating_sub(came.0);
                let ours = report.timestamp.wrapping_add(said.timestamp_offset());
                (report.ntp.wrapping_add(fraction(passed)), ours.wrapping_add(ticks(passed)))
            }
            // No report of the source: by the time that its packets come.
            _ => {
                let passed = at.0.saturating_sub(sent.saturating_mul(1_000));
                ((NTP << 32).wrapping_add(fraction(at.0)), timestamp.wrapping_add(ticks(passed)))
            }
        };
        let place = self.sent.get_mut(self.turn as usize % SENT)?;
        *place = (middle(ntp), at.0);
        Some(Sender { ssrc: said.ssrc(), ntp, timestamp, packets: packets as u32, octets: self.octets })
    }

    /// Adds to a block what is known of the peer's last report.
    pub fn complete(&self, block: Block, at: Arrival) -> Block {
        match self.heard {
            Some((sender, came)) if sender.ssrc == block.ssrc => {
                let held = at.0.saturating_sub(came.0);
                let delay = u32::try_from((u128::from(held) << 16) / 1_000_000).unwrap_or(u32::MAX);
                Block { last_report: middle(sender.ntp), delay, ..block }
            }
            _ => block,
        }
    }

    /// Reports begin, if they have not; gives when the first is wanted.
    pub fn begin(&mut self, now: Time) -> Option<Time> {
        if self.next.is_some() {
            return None;
        }
        // RFC 3550 §6.2: the first one comes in half the time.
        let at = now + self.interval() / 2;
        self.next = Some(at);
        self.next
    }

    /// The time of a look has come: true, and when the next is wanted, if a report is due by now.
    pub fn look(&mut self, now: Time) -> Option<Time> {
        self.next.filter(|next| *next <= now)?;
        self.due = true;
        let at = now + self.interval();
        self.next = Some(at);
        self.next
    }

    /// A report would be of use to the peer now.
    pub fn expedite(&mut self, now: Time) {
        if self.next.is_some() && self.last.is_none_or(|last| now.since(last) >= APART) {
            (self.due, self.wanted) = (true, true);
        }
    }

    /// A report was made.
    pub fn made(&mut self, now: Time) {
        (self.due, self.last) = (false, Some(now));
        self.turn = self.turn.wrapping_add(1);
    }

    /// Half to one and a half of the mean: ends that began together do not go on together.
    fn interval(&self) -> u64 {
        let mut mixed = self.cname ^ u64::from(self.spare) << 32 ^ u64::from(self.turn);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = 500 + (mixed ^ mixed >> 31) % 1_000;
        INTERVAL * share / COMPENSATION
    }
}

/// Microseconds as seconds and their 2^32nd parts.
fn fraction(us: u64) -> u64 {
    ((us / 1_000_000) << 32) | (((us % 1_000_000) << 32) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Rtp;

    fn splice(source: u32, clock: u32, packets: &[(u16, u32, u64)]) -> Splice {
        let mut splice = Splice::new(70, clock);
        for (seq, timestamp, ms) in packets {
            let rtp =
                Rtp { pt: 0, marker: false, seq: *seq, timestamp: *timestamp, ssrc: source, header: 12 };
            splice.map(rtp, clock, *ms).unwrap();
        }
        splice
    }

    fn sr(ssrc: u32, ntp: u64, timestamp: u32) -> Item {
        Item::Sender(Sender { ssrc, ntp, timestamp, packets: 1, octets: 1 })
    }

    const HOUR: u64 = 3_600_000_000;

    /// R-RTP-3: whatever the times at which packets and reports of two media come, what was heard and seen at one moment has one
    /// wall clock at the receiver.
    #[test]
    fn sound_and_picture_keep_their_relation() {
        // The source's clock is of its own; at its second 100, sound stands at 8000 and the picture at 5000.
        let base = 100u64 << 32;
        let mut outs = vec![];
        for (clock, stands, late_ms, changed) in
            [(8_000u32, 8_000u32, 0u64, false), (90_000, 5_000, 180, true)]
        {
            let (mut source, mut ours) = (Reports::new(1, 1), Reports::new(2, 2));
            let mut splice = splice(9, clock, &[(1, stands, late_ms)]);
            if changed {
                // Another source came before: the stream is numbered on.
                splice = self::splice(3, clock, &[(700, 77, 0)]);
                let rtp = Rtp { pt: 0, marker: false, seq: 9, timestamp: stands, ssrc: 9, header: 12 };
                splice.map(rtp, clock, late_ms).unwrap();
                assert_ne!(splice.timestamp_offset(), 0);
            }
            // The report comes whenever it comes.
            let came = Arrival(HOUR + late_ms * 1_000);
            assert!(source.handle(&sr(9, base, stands), None, Some(9), came));
            let made = Arrival(HOUR + 2_345_678);
            let sender = ours.sender(&splice, Some(&source), 5, made).unwrap();
            // Where the stream stands at the receiver's `base`.
            let passed = (sender.ntp - base) as f64 / f64::from(u32::MAX);
            let stood = f64::from(sender.timestamp.wrapping_sub(splice.timestamp_offset()));
            outs.push((stood - f64::from(stands)) / f64::from(clock) - passed);
        }
        assert!((outs[0] - outs[1]).abs() < 0.001, "{outs:?} s apart");
    }

    #[test]
    fn a_source_that_says_nothing_of_itself_is_told_by_arrival() {
        let mut ours = Reports::new(2, 2);
        let at = Arrival(1_000_500_000);
        let said = splice(9, 8_000, &[(1, 160, 1_000_000)]);
        let sender = ours.sender(&said, Some(&Reports::new(1, 1)), 5, at).unwrap();
        assert_eq!((sender.ssrc, sender.timestamp), (70, 160 + 4_000));
        assert_eq!(sender.ntp, (NTP + 1_000) << 32 | 1 << 31);
        assert_eq!(ours.sender(&said, Some(&Reports::new(1, 1)), 5, at), None, "nothing was sent since");
    }

    #[test]
    fn the_round_trip_is_what_the_answer_was_not_held_for() {
        let mut ours = Reports::new(2, 2);
        let said = splice(9, 8_000, &[(1, 160, 3_600_000)]);
        let sender = ours.sender(&said, None, 5, Arrival(HOUR)).unwrap();
        let block = Block {
            ssrc: 70,
            fraction: 64,
            lost: 3,
            jitter: 80,
            last_report: middle(sender.ntp),
            delay: 65_536 / 2,
            highest: 0,
        };
        let hear = |ours: &mut Reports, block: Block, after: u64| {
            ours.handle(&Item::Block(block), Some(&said), None, Arrival(HOUR + after));
            ours.round_trip_us
        };
        assert_eq!(hear(&mut ours, Block { last_report: 1, ..block }, 1), None, "no report of ours");
        assert_eq!(hear(&mut ours, Block { ssrc: 71, ..block }, 580_000), None, "no stream of ours");
        assert_eq!(hear(&mut ours, block, 580_000), Some(80_000));
        assert_eq!(ours.view, Some(View { fraction: 64, lost: 3, jitter_us: 10_000 }));
        assert_eq!(hear(&mut ours, block, 499_000), Some(0), "coarse ticks");
        assert_eq!(
            hear(&mut ours, Block { delay: u32::MAX, ..block }, 580_000),
            Some(0),
            "nonsense changes nothing"
        );
        assert_eq!(hear(&mut ours, block, 60_000_000), Some(0), "as does an answer after a minute");
    }

    #[test]
    fn what_a_peer_said_of_itself_comes_back_to_it() {
        let mut ours = Reports::new(2, 2);
        let block = Block { ssrc: 9, ..Block::default() };
        assert_eq!(ours.complete(block, Arrival(5)), block);
        ours.handle(&sr(9, 0x1111_2222_3333_4444, 0), None, None, Arrival(HOUR));
        let told = ours.complete(block, Arrival(HOUR + 1_500_000));
        assert_eq!((told.last_report, told.delay), (0x2222_3333, 65_536 * 3 / 2));
        assert_eq!(ours.complete(Block { ssrc: 8, ..block }, Arrival(HOUR)).last_report, 0);
        assert!(!ours.handle(&sr(8, 5, 0), None, Some(9), Arrival(HOUR)), "not what it sends");
        ours.handle(&Item::Bye { ssrc: 9 }, None, None, Arrival(HOUR));
        assert_eq!(ours.complete(block, Arrival(HOUR)), block);
    }

    #[test]
    fn reports_come_at_random_times_around_the_mean() {
        let mut times = vec![];
        for seed in 0..200u64 {
            let mut ours = Reports::new(seed as u32, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let first = ours.begin(Time(0)).unwrap();
            assert!((1_000..=3_100).contains(&first.0), "{first:?}");
            assert_eq!(ours.begin(Time(0)), None, "once");
            assert_eq!(ours.look(Time(first.0 - 1)), None);
            let second = ours.look(first).unwrap();
            assert!(ours.due && (2_000..=6_200).contains(&second.since(first)));
            ours.made(first);
            times.push(ours.look(second).unwrap().since(second));
            ours.expedite(first + 500);
            assert!(!ours.wanted, "one was made half a second ago");
        }
        let mean = times.iter().sum::<u64>() / 200;
        assert!((3_700..4_500).contains(&mean), "{mean}");
        times.sort_unstable();
        times.dedup();
        assert!(times.len() > 150, "{}", times.len());
    }

    #[test]
    fn a_name_is_that_of_the_source_unless_the_hearer_has_it_itself() {
        let ours = Reports::new(2, 0x0123_4567_89ab_cdef);
        assert_eq!((ours.ssrc_for(9, false), ours.ssrc_for(9, true), ours.ssrc(None)), (9, 2, 2));
        assert_eq!(&ours.cname(), b"0123456789abcdef");
    }

    #[test]
    fn g3_a_name_is_the_one_that_the_peer_was_told() {
        let mut ours = Reports::new(2, 1);
        ours.set_source(Ssrc { id: 5, cname: 0xfed });
        assert_eq!((ours.ssrc_for(9, false), ours.ssrc_for(9, true), ours.ssrc(None)), (5, 5, 5));
        assert_eq!(&ours.cname(), b"0000000000000fed");
    }
}
