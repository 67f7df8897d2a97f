//! Loss and jitter of the stream that an end receives (RFC 3550 A.1, A.3, A.8).

use relay::packet::Rtp;

/// Sequence numbers that may be skipped before the stream is taken for another one.
const MAX_DROPOUT: u16 = 3_000;
/// How far behind the highest one a packet may come.
const MAX_MISORDER: u16 = 100;

/// Counts one incoming stream. A stream that begins anew is counted from there, and what was lost before is kept.
#[derive(Clone, Debug, Default)]
pub struct Reception {
    stream: Option<Stream>,
    expected_before: u64,
    received: u64,
    /// Microseconds.
    jitter: f64,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    ssrc: u32,
    base: u64,
    highest: u64,
    /// Arrival in microseconds and timestamp of the last packet in order.
    last: (u64, u32),
}

impl Stream {
    fn expected(&self) -> u64 {
        self.highest - self.base + 1
    }
}

impl Reception {
    /// Takes a packet that came at a time in microseconds; `clock` in Hz.
    pub fn packet(&mut self, rtp: &Rtp, clock: u32, at_us: u64) {
        self.received += 1;
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.ssrc == rtp.ssrc) {
            let forward = rtp.seq.wrapping_sub(stream.highest as u16);
            if forward > u16::MAX - MAX_MISORDER {
                return;
            }
            if forward < MAX_DROPOUT {
                stream.highest += u64::from(forward);
                let ticks = rtp.timestamp.wrapping_sub(stream.last.1) as i32;
                if ticks != 0 {
                    let due = f64::from(ticks) * 1e6 / f64::from(clock.max(1));
                    let off = (at_us as f64 - stream.last.0 as f64 - due).abs();
                    self.jitter += (off - self.jitter) / 16.0;
                    stream.last = (at_us, rtp.timestamp);
                }
                return;
            }
        }
        self.expected_before = self.expected();
        let seq = u64::from(rtp.seq);
        self.stream = Some(Stream { ssrc: rtp.ssrc, base: seq, highest: seq, last: (at_us, rtp.timestamp) });
    }

    /// Returns the number of packets that should have come.
    pub fn expected(&self) -> u64 {
        self.expected_before + self.stream.map_or(0, |stream| stream.expected())
    }

    /// Returns the number of packets that came.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Returns the part of the packets that did not come, in parts per million.
    pub fn loss_ppm(&self) -> u64 {
        let lost = self.expected().saturating_sub(self.received);
        (lost * 1_000_000).checked_div(self.expected()).unwrap_or(0)
    }

    /// Returns the jitter in microseconds.
    pub fn jitter_us(&self) -> u64 {
        self.jitter as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(seq: u16, ssrc: u32) -> Rtp {
        let timestamp = u32::from(seq).wrapping_mul(160);
        Rtp { pt: 0, marker: false, seq, timestamp, ssrc, header: 12 }
    }

    #[test]
    fn what_did_not_come_is_lost_and_what_came_late_is_not() {
        let mut reception = Reception::default();
        // Over the wrap; two are lost, and two change places.
        for (step, seq) in [65_533u16, 65_534, 0, 65_535, 3, 4].into_iter().enumerate() {
            reception.packet(&rtp(seq, 1), 8_000, step as u64 * 20_000);
        }
        assert_eq!((reception.expected(), reception.received()), (8, 6));
        assert_eq!(reception.loss_ppm(), 250_000);
    }

    #[test]
    fn a_stream_that_begins_anew_loses_nothing() {
        let mut reception = Reception::default();
        for (step, (seq, ssrc)) in
            [(10, 1), (11, 1), (40_000, 1), (40_001, 1), (7, 2)].into_iter().enumerate()
        {
            reception.packet(&rtp(seq, ssrc), 8_000, step as u64 * 20_000);
        }
        assert_eq!((reception.expected(), reception.loss_ppm()), (5, 0));
    }

    #[test]
    fn jitter_is_how_unevenly_packets_come() {
        let (mut even, mut uneven) = (Reception::default(), Reception::default());
        for seq in 0..500u16 {
            let at = u64::from(seq) * 20_000;
            even.packet(&rtp(seq, 1), 8_000, at);
            uneven.packet(&rtp(seq, 1), 8_000, at + u64::from(seq % 2) * 4_000);
        }
        assert_eq!(even.jitter_us(), 0);
        assert!((3_900..=4_000).contains(&uneven.jitter_us()), "{}", uneven.jitter_us());
    }
}
