//! Comfort noise (RFC 3389): a level and, where said, a spectrum, made audible; and the level of what we hear, to say.

/// Reflection coefficients that are listened to; further ones shape little.
const ORDER: usize = 12;

/// Makes noise that sounds like what was told of it.
#[derive(Clone, Debug)]
pub struct Noise {
    /// Root mean square of what drives the filter.
    drive: f32,
    reflections: [f32; ORDER],
    order: usize,
    backward: [f32; ORDER],
    word: u32,
}

impl Default for Noise {
    fn default() -> Noise {
        Noise { drive: 0.0, reflections: [0.0; ORDER], order: 0, backward: [0.0; ORDER], word: 0x1234_5678 }
    }
}

impl Noise {
    /// Takes a payload of RFC 3389 §3: −dBov, then reflection coefficients. An empty one changes nothing.
    pub fn learn(&mut self, payload: &[u8]) {
        let Some((level, rest)) = payload.split_first() else { return };
        self.order = rest.len().min(ORDER);
        let mut gain = 1.0;
        for (place, octet) in self.reflections.iter_mut().zip(rest) {
            // §3.2: 127 stands for nought, either side reaches almost 1.
            *place = (258.0 * (f32::from(*octet) - 127.0) / 32_768.0).clamp(-0.99, 0.99);
            gain *= 1.0 - *place * *place;
        }
        self.drive = of_level(*level) * gain.sqrt();
    }

    /// Goes on at the loudness of `samples`, flat.
    pub fn resemble(&mut self, samples: &[i16]) {
        self.order = 0;
        self.drive = loudness(samples);
    }

    /// Fills with noise.
    pub fn fill(&mut self, out: &mut [i16]) {
        // A uniform variable of unit power reaches the root of three.
        let scale = self.drive * 1.732;
        let (reflections, backward) = (&self.reflections, &mut self.backward);
        for sample in out {
            self.word = self.word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let white = (self.word >> 8) as f32 / 8_388_608.0 - 1.0;
            let mut forward = white * scale;
            // An all-pole lattice, from its last section to the first.
            for section in (0..self.order.min(ORDER)).rev() {
                let (Some(k), Some(before)) = (reflections.get(section), backward.get(section).copied())
                else {
                    break;
                };
                forward -= k * before;
                if let Some(next) = backward.get_mut(section + 1) {
                    *next = before + k * forward;
                }
            }
            if let Some(first) = backward.first_mut() {
                *first = forward;
            }
            *sample = forward.clamp(-32_768.0, 32_767.0) as i16;
        }
    }

    /// Returns the loudness in the units of RFC 3389, −dBov.
    #[must_use]
    pub fn level(samples: &[i16]) -> u8 {
        let loudness = loudness(samples).max(0.01);
        (-20.0 * (loudness / 32_768.0).log10()).round().clamp(0.0, 127.0) as u8
    }
}

fn of_level(level: u8) -> f32 {
    32_768.0 * 10f32.powf(-f32::from(level & 0x7f) / 20.0)
}

fn loudness(samples: &[i16]) -> f32 {
    let sum: f32 = samples.iter().map(|s| f32::from(*s) * f32::from(*s)).sum();
    (sum / samples.len().max(1) as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_level_that_was_told_with_and_without_a_spectrum() {
        for payload in [&[40][..], &[40, 200], &[40, 60, 180, 120], &[60], &[60, 20, 127, 127, 130]] {
            let mut noise = Noise::default();
            noise.learn(payload);
            let mut samples = [0; 16_000];
            noise.fill(&mut samples);
            let off = i32::from(Noise::level(&samples[2_000..])) - i32::from(payload[0]);
            assert!(off.abs() <= 1, "{payload:?}: off by {off} dB");
        }
    }

    #[test]
    fn any_payload_is_survived_and_silence_is_silent() {
        let mut noise = Noise::default();
        let mut samples = [1; 320];
        noise.fill(&mut samples);
        assert_eq!(samples, [0; 320]);
        for fill in [0, 127, 255] {
            noise.learn(&[fill; 40]);
            noise.fill(&mut samples);
        }
        noise.learn(&[]);
        assert_eq!((Noise::level(&[0; 9]), Noise::level(&[]), Noise::level(&[i16::MIN; 9])), (127, 127, 0));
    }
}
