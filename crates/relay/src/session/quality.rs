//! How good a stream is to the ear, by estimate, and how all streams of a worker are histograms: pure statistics.

/// Bounds of each scale, rising; one more bucket holds what is above the last.
pub const BOUNDS: usize = 10;

/// A scale of [`Histograms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Lost of expected, parts per million.
    Loss,
    /// RFC 3550 A.8, microseconds.
    Jitter,
    /// To the peer and back, microseconds.
    RoundTrip,
    /// Mean opinion score by [`mos`], hundredths.
    Mos,
}

impl Scale {
    /// All of them, in the order of their numbers.
    pub const ALL: [Scale; 4] = [Scale::Loss, Scale::Jitter, Scale::RoundTrip, Scale::Mos];

    /// Upper bounds of the buckets, in the scale's unit.
    #[must_use]
    pub fn bounds(self) -> [u64; BOUNDS] {
        match self {
            Scale::Loss => [0, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000],
            Scale::Jitter => [500, 1_000, 2_500, 5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000],
            Scale::RoundTrip => {
                [1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 200_000, 400_000, 800_000, 1_600_000]
            }
            Scale::Mos => [150, 200, 250, 300, 325, 350, 375, 400, 425, 440],
        }
    }
}

/// How often each bucket was met, and the sum of all values, by [`Scale`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histograms {
    /// Not cumulative; the last bucket has no bound.
    pub counts: [[u64; BOUNDS + 1]; 4],
    /// In the scale's unit.
    pub sums: [u64; 4],
}

impl Histograms {
    pub(super) fn note(&mut self, scale: Scale, value: u64) {
        let at = scale.bounds().iter().position(|bound| value <= *bound).unwrap_or(BOUNDS);
        let (counts, sum) = (self.counts.get_mut(scale as usize), self.sums.get_mut(scale as usize));
        if let (Some(count), Some(sum)) = (counts.and_then(|counts| counts.get_mut(at)), sum) {
            *count += 1;
            *sum += value;
        }
    }
}

/// Impairment of speech by a codec: Ie and Bpl of ITU-T G.113 Appendix I. G.711 is taken with loss concealment, as every present
/// receiver has it; G.722 and Opus are counted like it, since their own statistics belong to the wideband scale.
fn impairment(codec: &str) -> (f64, f64) {
    let is = |name: &str| codec.eq_ignore_ascii_case(name);
    match () {
        () if is("G729") => (11.0, 19.0),
        () if is("G723") => (15.0, 16.1),
        () if is("GSM-EFR") || is("AMR") => (5.0, 10.0),
        () => (0.0, 25.1),
    }
}

/// Mean opinion score in hundredths, 100 to 450: the E-model (ITU-T G.107) with its default values, of which loss and delay remain:
/// `R = 93.2 - Id - Ie,eff`, `Ie,eff = Ie + (95 - Ie) Ppl / (Ppl + Bpl)` for random loss of `Ppl` percent (§7.2), and
/// `Id = 0.024 d + 0.11 (d - 177.3)` where the second term counts above 177.3 ms (the usual simplification of §7.4);
/// `MOS = 1 + 0.035 R + 7e-6 R (R - 60) (100 - R)` (Annex B). `loss` in parts per million, `delay` from mouth to ear in µs.
#[must_use]
pub fn mos(codec: &str, loss: u64, delay: u64) -> u16 {
    let (ie, bpl) = impairment(codec);
    let ppl = loss.min(1_000_000) as f64 / 10_000.0;
    let d = delay.min(10_000_000) as f64 / 1_000.0;
    let late = (d - 177.3).max(0.0);
    let r = 93.2 - (0.024 * d + 0.11 * late) - (ie + (95.0 - ie) * ppl / (ppl + bpl));
    let r = r.clamp(0.0, 100.0);
    let mos = 1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r);
    (mos.clamp(1.0, 4.5) * 100.0).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R of 93.2 is 4.41 (G.107 Annex B); the others by hand from the formula.
    #[test]
    fn scores_follow_loss_delay_and_codec() {
        assert_eq!(mos("PCMU", 0, 0), 441);
        assert_eq!(mos("PCMA", 0, 100_000), 436);
        assert_eq!(mos("opus", 10_000, 0), 433);
        assert_eq!(mos("PCMU", 50_000, 150_000), 377);
        assert_eq!(mos("G729", 0, 0), 410);
        assert_eq!(mos("PCMU", 1_000_000, 10_000_000), 100);
        let falling: Vec<u16> = (0..50).map(|n| mos("PCMU", n * 20_000, n * 20_000)).collect();
        assert!(falling.is_sorted_by(|a, b| a >= b), "{falling:?}");
    }

    #[test]
    fn values_fall_into_the_bucket_that_bounds_them() {
        let mut histograms = Histograms::default();
        for value in [0, 1, 1_000, 1_001, 999_999] {
            histograms.note(Scale::Loss, value);
        }
        histograms.note(Scale::Mos, 441);
        assert_eq!(histograms.counts[0], [1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((histograms.sums[0], histograms.sums[3]), (1_002_001, 441));
        assert_eq!(histograms.counts[3][BOUNDS], 1);
        for scale in Scale::ALL {
            assert!(scale.bounds().is_sorted_by(|a, b| a < b));
        }
    }
}
