//! What is known of the stream that an end hears: loss (RFC 3550 A.1, A.3) and jitter (A.8).

use super::facts::Arrival;
use crate::packet::{MAX_DROPOUT, MAX_MISORDER, Rtp};

/// Counts one incoming stream; a change of its source starts a new section and keeps the sum.
#[derive(Clone, Debug, Default)]
pub(super) struct Reception {
    section: Option<Section>,
    lost_before: u64,
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
}

impl Section {
    fn lost(&self) -> u64 {
        (self.highest - self.base + 1).saturating_sub(self.received)
    }
}

impl Reception {
    /// A packet of the stream; `clock` in Hz.
    pub fn packet(&mut self, rtp: &Rtp, clock: u32, at: Arrival) {
        let seq = u64::from(rtp.seq);
        if let Some(section) = self.section.as_mut().filter(|s| s.ssrc == rtp.ssrc) {
            let forward = rtp.seq.wrapping_sub(section.highest as u16);
            let late = forward > u16::MAX - MAX_MISORDER;
            if late || forward < MAX_DROPOUT {
                if !late {
                    section.highest += u64::from(forward);
                }
                section.received += 1;
                // A.8 in microseconds: how much later it came than its timestamp says, against the packet before it.
                let came = at.0 as i64 - section.last.0.0 as i64;
                let ticks = i64::from(rtp.timestamp.wrapping_sub(section.last.1) as i32);
                let due = ticks.saturating_mul(1_000_000) / i64::from(clock.max(1));
                let off = came.saturating_sub(due).unsigned_abs().min(60_000_000);
                self.jitter = self.jitter + off - (self.jitter + 8) / 16;
                section.last = (at, rtp.timestamp);
                return;
            }
        }
        self.lost_before = self.lost();
        self.section =
            Some(Section { ssrc: rtp.ssrc, base: seq, highest: seq, received: 1, last: (at, rtp.timestamp) });
    }

    pub fn lost(&self) -> u64 {
        self.lost_before + self.section.as_ref().map_or(0, Section::lost)
    }

    pub fn jitter_us(&self) -> u32 {
        u32::try_from(self.jitter / 16).unwrap_or(u32::MAX)
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
