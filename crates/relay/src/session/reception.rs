//! Statistics of the stream that an endpoint receives: loss (RFC 3550 A.1, A.3) and jitter (A.8).

use super::types::Arrival;
use crate::packet::{MAX_DROPOUT, Rtp, max_misorder};
use crate::rtcp::Block;

/// Counts one incoming stream; a change of its source starts a new section and keeps the sum.
#[derive(Clone, Debug, Default)]
pub(super) struct Reception {
    section: Option<Section>,
    lost_before: u64,
    expected_before: u64,
    /// Sixteenfold, in microseconds.
    jitter: u64,
}

#[derive(Clone, Debug)]
struct Section {
    ssrc: u32,
    base: u64,
    highest: u64,
    received: u64,
    last: (Arrival, u32),
    /// Expected and received as the last report told them.
    told: (u64, u64),
    /// The same at the last look.
    looked: (u64, u64),
}

impl Section {
    fn expected(&self) -> u64 {
        self.highest - self.base + 1
    }

    fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }
}

impl Reception {
    /// A packet of the stream; `clock` in Hz.
    pub fn packet(&mut self, rtp: &Rtp, clock: u32, at: Arrival) {
        let seq = u64::from(rtp.seq);
        if let Some(section) = self.section.as_mut().filter(|s| s.ssrc == rtp.ssrc) {
            let forward = rtp.seq.wrapping_sub(section.highest as u16);
            let late = forward > u16::MAX - max_misorder(clock);
            if late || forward < MAX_DROPOUT {
                if !late {
                    section.highest += u64::from(forward);
                }
                section.received += 1;
                // A.8 in microseconds: how much later it came than its timestamp says, against the packet before it. Packets of
                // one picture, or of one key pressed, have the same timestamp and say nothing.
                if !late && rtp.timestamp != section.last.1 {
                    let came = at.0 as i64 - section.last.0.0 as i64;
                    let ticks = i64::from(rtp.timestamp.wrapping_sub(section.last.1) as i32);
                    let due = ticks.saturating_mul(1_000_000) / i64::from(clock.max(1));
                    let off = came.saturating_sub(due).unsigned_abs().min(60_000_000);
                    self.jitter = self.jitter + off - (self.jitter + 8) / 16;
                    section.last = (at, rtp.timestamp);
                }
                return;
            }
        }
        (self.lost_before, self.expected_before) = (self.lost(), self.expected());
        self.section = Some(Section {
            ssrc: rtp.ssrc,
            base: seq,
            highest: seq,
            received: 1,
            last: (at, rtp.timestamp),
            told: (0, 0),
            looked: (0, 0),
        });
    }

    pub fn lost(&self) -> u64 {
        self.lost_before + self.section.as_ref().map_or(0, Section::lost)
    }

    pub fn expected(&self) -> u64 {
        self.expected_before + self.section.as_ref().map_or(0, Section::expected)
    }

    pub fn jitter_us(&self) -> u32 {
        u32::try_from(self.jitter / 16).unwrap_or(u32::MAX)
    }

    /// SSRC that is being received.
    pub fn source(&self) -> Option<u32> {
        self.section.as_ref().map(|section| section.ssrc)
    }

    /// Returns a report block, but for the peer's own last report; the next one counts from here.
    pub fn block(&mut self, clock: u32) -> Option<Block> {
        let jitter = u64::from(self.jitter_us()) * u64::from(clock) / 1_000_000;
        let section = self.section.as_mut()?;
        let (expected, received) = (section.expected(), section.received);
        let (due, came) = (expected - section.told.0, received - section.told.1);
        section.told = (expected, received);
        Some(Block {
            ssrc: section.ssrc,
            fraction: (due.saturating_sub(came) * 256).checked_div(due).unwrap_or(0).min(255) as u8,
            lost: (expected as i64 - received as i64).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest: section.highest as u32,
            jitter: u32::try_from(jitter).unwrap_or(u32::MAX),
            ..Block::default()
        })
    }

    /// Expected and lost since the last look; `None`: nothing was to be heard.
    pub fn look(&mut self) -> Option<(u64, u64)> {
        let section = self.section.as_mut()?;
        let (expected, received) = (section.expected(), section.received);
        let (due, came) = (expected - section.looked.0, received - section.looked.1);
        section.looked = (expected, received);
        (due > 0).then_some((due, due.saturating_sub(came)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(seq: u16, timestamp: u32, ssrc: u32) -> Rtp {
        Rtp { pt: 0, marker: false, seq, timestamp, ssrc, header: 12 }
    }

    #[test]
    fn losses_are_counted_over_the_wrap_and_late_packets_are_not_lost() {
        let mut reception = Reception::default();
        for (at, seq) in [65_533u16, 65_534, 1, 0, 2].into_iter().enumerate() {
            reception.packet(&rtp(seq, 160 * at as u32, 7), 8000, Arrival(at as u64 * 20_000));
        }
        assert_eq!(reception.lost(), 1, "65535 never came");
        reception.packet(&rtp(40_000, 0, 8), 8000, Arrival(200_000));
        reception.packet(&rtp(40_003, 480, 8), 8000, Arrival(260_000));
        assert_eq!(reception.lost(), 3, "a new source keeps the sum");
    }

    /// RFC 3550 A.3, over the wrap of the sequence numbers.
    #[test]
    fn a_report_counts_from_the_last_one() {
        let mut reception = Reception::default();
        assert_eq!(reception.block(8_000), None);
        for n in 0..40u16 {
            // Every fourth is lost.
            if n % 4 != 3 {
                reception.packet(&rtp(65_530u16.wrapping_add(n), 160 * u32::from(n), 7), 8_000, Arrival(0));
            }
        }
        let block = reception.block(8_000).unwrap();
        // 39 are expected: the last of the 40 is one that never came.
        assert_eq!((block.ssrc, block.fraction, block.lost), (7, (9 * 256 / 39) as u8, 9));
        assert_eq!(block.highest, 65_530 + 38);
        assert_eq!(reception.look(), Some((39, 9)));
        for n in 40..50u16 {
            reception.packet(&rtp(65_530u16.wrapping_add(n), 160 * u32::from(n), 7), 8_000, Arrival(0));
        }
        let block = reception.block(8_000).unwrap();
        assert_eq!((block.fraction, block.lost), ((256 / 11) as u8, 10));
        assert_eq!(reception.look(), Some((11, 1)));
        assert_eq!(reception.look(), None, "nothing came since");
        // Whatever comes twice makes up for what was lost (A.3), and no fraction is negative.
        for _ in 0..20 {
            reception.packet(&rtp(65_530u16.wrapping_add(49), 0, 7), 8_000, Arrival(0));
        }
        let block = reception.block(8_000).unwrap();
        assert_eq!((block.fraction, block.lost), (0, -10));
        assert_eq!((reception.lost(), reception.expected()), (0, 50));
    }

    #[test]
    fn packets_of_one_picture_are_no_jitter() {
        let mut reception = Reception::default();
        for n in 0..300u32 {
            // Three packets a picture, a millisecond apart.
            let at = Arrival(u64::from(n / 3) * 40_000 + u64::from(n % 3) * 1_000);
            reception.packet(&rtp(n as u16, n / 3 * 3_600, 7), 90_000, at);
        }
        assert_eq!(reception.jitter_us(), 0);
    }

    #[test]
    fn jitter_is_nothing_in_step_and_settles_at_the_mean_deviation() {
        let mut reception = Reception::default();
        for n in 0..100u32 {
            reception.packet(&rtp(n as u16, n * 160, 7), 8000, Arrival(u64::from(n) * 20_000));
        }
        assert_eq!(reception.jitter_us(), 0);
        // Every other packet 4 ms late: each step deviates by 4 ms.
        for n in 100..400u32 {
            let late = if n % 2 == 0 { 4_000 } else { 0 };
            reception.packet(&rtp(n as u16, n * 160, 7), 8000, Arrival(u64::from(n) * 20_000 + late));
        }
        assert!((3_900..=4_000).contains(&reception.jitter_us()), "{}", reception.jitter_us());
    }
}
