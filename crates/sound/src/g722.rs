//! G.722 at 64 kbit/s (mode 1): two sub-bands of ADPCM, an octet for 125 µs. Its RTP clock is 8000 (RFC 3551 §4.5.2).
//!
//! At a rate of 8 kHz only the lower sub-band is spoken: that is all that a G.711 leg can hear, and no resampler is needed.

/// The 24 symmetric coefficients of the quadrature mirror filters, the first half (ITU-T G.722 §5, table 11).
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// Decision levels of the 6-bit quantizer (table 14).
const LEVELS: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121,
    1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Output levels of the 4-bit inverse quantizer.
const INVERSE4: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
/// Output levels of the 6-bit inverse quantizer.
const INVERSE6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688,
    -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856,
    7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
    -432, -136,
];
/// Output levels of the 2-bit inverse quantizer.
const INVERSE2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// How the 4-bit code moves the logarithmic scale factor of the lower band.
const SCALE_LOW: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// How the 2-bit code moves that of the higher band.
const SCALE_HIGH: [i32; 4] = [798, -214, 798, -214];
/// 2^(n/32) in 1/2048.
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// The value at a place that a mask keeps inside.
fn at<const N: usize>(table: &[i32; N], place: i32) -> i32 {
    table.get(place as usize & (N - 1)).copied().unwrap_or(0)
}

fn clip(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// The adaptive predictor and scale of one sub-band (§3.6).
#[derive(Clone, Debug)]
struct Band {
    /// Predicted next value, and the part of it that the zeros predict.
    predicted: i32,
    by_zeros: i32,
    poles: [i32; 2],
    zeros: [i32; 6],
    /// Newest first.
    rebuilt: [i32; 2],
    partly: [i32; 2],
    differences: [i32; 6],
    /// Logarithmic and linear scale factor.
    log_scale: i32,
    scale: i32,
}

impl Band {
    fn new(scale: i32) -> Band {
        Band {
            predicted: 0,
            by_zeros: 0,
            poles: [0; 2],
            zeros: [0; 6],
            rebuilt: [0; 2],
            partly: [0; 2],
            differences: [0; 6],
            log_scale: 0,
            scale,
        }
    }

    /// Moves the scale; `shift` tells the bands apart (SCALEL, SCALEH).
    fn rescale(&mut self, step: i32, most: i32, shift: i32) {
        self.log_scale = (((self.log_scale * 127) >> 7) + step).clamp(0, most);
        let (power, shift) = (at(&POWERS, self.log_scale >> 6 & 31), shift - (self.log_scale >> 11));
        self.scale = if shift < 0 { power << -shift } else { power >> shift } << 2;
    }

    /// Takes the quantized difference and predicts anew (RECONS to PREDIC).
    fn adapt(&mut self, difference: i32) {
        let rebuilt = clip(self.predicted + difference);
        let partly = clip(self.by_zeros + difference);
        let same = |a: i32, b: i32| (a < 0) == (b < 0);
        let [near, far] = self.partly;

        // The second pole is moved by the old first one, and bounds the new first one.
        let quarter = clip(4 * self.poles[0]);
        let pull = if same(partly, near) { -quarter } else { quarter }.min(32_767);
        let push = if same(partly, far) { 128 } else { -128 };
        let second = ((pull >> 7) + push + ((self.poles[1] * 32_512) >> 15)).clamp(-12_288, 12_288);
        let push = if same(partly, near) { 192 } else { -192 };
        let bound = clip(15_360 - second);
        let first = clip(push + ((self.poles[0] * 32_640) >> 15)).clamp(-bound, bound);
        self.poles = [first, second];

        let push = if difference == 0 { 0 } else { 128 };
        for (zero, before) in self.zeros.iter_mut().zip(&self.differences) {
            let push = if same(*before, difference) { push } else { -push };
            *zero = clip(push + ((*zero * 32_640) >> 15));
        }
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        self.partly = [partly, near];
        self.rebuilt = [rebuilt, self.rebuilt[0]];

        let filtered = |coefficient: &i32, value: &i32| (coefficient * clip(2 * value)) >> 15;
        let by_poles: i32 = self.poles.iter().zip(&self.rebuilt).map(|(c, v)| filtered(c, v)).sum();
        let by_zeros: i32 = self.zeros.iter().zip(&self.differences).map(|(c, v)| filtered(c, v)).sum();
        self.by_zeros = clip(by_zeros);
        self.predicted = clip(clip(by_poles) + self.by_zeros);
    }

    fn low(&mut self, code: i32) {
        let difference = (self.scale * at(&INVERSE4, code)) >> 15;
        self.rescale(at(&SCALE_LOW, code), 18_432, 8);
        self.adapt(difference);
    }

    fn high(&mut self, code: i32) -> i32 {
        let difference = (self.scale * at(&INVERSE2, code)) >> 15;
        let rebuilt = (difference + self.predicted).clamp(-16_384, 16_383);
        self.rescale(at(&SCALE_HIGH, code), 22_528, 10);
        self.adapt(difference);
        rebuilt
    }
}

/// The last 24 samples of a quadrature mirror filter, twice, so that they always lie in a row.
#[derive(Clone, Debug)]
struct Mirror {
    samples: [i32; 48],
    place: usize,
}

impl Mirror {
    fn new() -> Mirror {
        Mirror { samples: [0; 48], place: 0 }
    }

    /// Takes two samples in; gives the sums over the odd and the even ones.
    fn pass(&mut self, first: i32, second: i32) -> (i32, i32) {
        for (value, place) in [(first, self.place), (second, self.place + 1)] {
            for place in [place, place + 24] {
                if let Some(sample) = self.samples.get_mut(place) {
                    *sample = value;
                }
            }
        }
        self.place = (self.place + 2) % 24;
        let row = self.samples.get(self.place..self.place + 24).unwrap_or_default();
        let mut sums = (0, 0);
        for ((pair, odd), even) in row.as_chunks::<2>().0.iter().zip(&QMF).zip(QMF.iter().rev()) {
            sums.0 += pair[0] * odd;
            sums.1 += pair[1] * even;
        }
        sums
    }
}

/// Speaks G.722.
#[derive(Clone, Debug)]
pub struct Encoder {
    low: Band,
    high: Band,
    mirror: Mirror,
    wide: bool,
}

impl Encoder {
    /// From samples at 16 kHz (`wide`) or 8 kHz.
    #[must_use]
    pub fn new(wide: bool) -> Encoder {
        Encoder { low: Band::new(32), high: Band::new(8), mirror: Mirror::new(), wide }
    }

    /// Writes an octet for each 125 µs; gives how many.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        let per = if self.wide { 2 } else { 1 };
        let mut count = 0;
        for (octet, group) in out.iter_mut().zip(samples.chunks_exact(per)) {
            let (low, high) = match *group {
                [first, second] => {
                    let (odd, even) = self.mirror.pass(first.into(), second.into());
                    ((even + odd) >> 14, (even - odd) >> 14)
                }
                [only] => (i32::from(only) >> 1, 0),
                _ => break,
            };
            *octet = self.step(low, high);
            count += 1;
        }
        count
    }

    fn step(&mut self, low: i32, high: i32) -> u8 {
        let error = clip(low - self.low.predicted);
        let size = if error < 0 { -(error + 1) } else { error };
        // How many levels are not above it, zero among them: 1 to 30.
        let scale = self.low.scale;
        let level =
            LEVELS.iter().skip(1).take_while(|level| size >= (**level * scale) >> 12).count() as i32 + 1;
        // The codes count down, positive ones from 61; the two smallest negative ones stand apart (tables 15, 16).
        let lower = match (error < 0, level) {
            (false, level) => 62 - level,
            (true, 1) => 63,
            (true, 2) => 62,
            (true, level) => 34 - level,
        };
        self.low.low(lower >> 2);

        let error = clip(high - self.high.predicted);
        let size = if error < 0 { -(error + 1) } else { error };
        let large = size >= (564 * self.high.scale) >> 12;
        let higher = match (error < 0, large) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.high.high(higher);
        (higher << 6 | lower) as u8
    }
}

/// Understands G.722.
#[derive(Clone, Debug)]
pub struct Decoder {
    low: Band,
    high: Band,
    mirror: Mirror,
    wide: bool,
}

impl Decoder {
    /// To samples at 16 kHz (`wide`) or 8 kHz.
    #[must_use]
    pub fn new(wide: bool) -> Decoder {
        Decoder { low: Band::new(32), high: Band::new(8), mirror: Mirror::new(), wide }
    }

    /// Writes two samples (`wide`) or one for each octet; gives how many.
    pub fn decode(&mut self, octets: &[u8], out: &mut [i16]) -> usize {
        let per = if self.wide { 2 } else { 1 };
        let mut count = 0;
        for (group, octet) in out.chunks_exact_mut(per).zip(octets) {
            let lower = i32::from(octet & 0x3f);
            let rebuilt = self.low.predicted + ((self.low.scale * at(&INVERSE6, lower)) >> 15);
            let low = rebuilt.clamp(-16_384, 16_383);
            self.low.low(lower >> 2);
            let high = if self.wide { self.high.high(i32::from(octet >> 6)) } else { 0 };
            match group {
                [first, second] => {
                    let (odd, even) = self.mirror.pass(low + high, low - high);
                    (*first, *second) = (clip(even >> 11) as i16, clip(odd >> 11) as i16);
                }
                [only] => *only = clip(2 * low) as i16,
                _ => break,
            }
            count += per;
        }
        count
    }
}

#[cfg(test)]
mod tests;
