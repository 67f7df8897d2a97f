//! Which tone a recording holds: the proof that sound arrived, not only packets.

use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Content of a stretch of sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// Pitch in Hz, by zero crossings; 0 = silence.
    pub hz: f64,
    /// Part of the energy that lies at that pitch, 0 to 1.
    pub share: f64,
    /// Loudness: root mean square of the samples.
    pub rms: f64,
}

impl Heard {
    /// True when it is the tone `hz` (within 5 Hz) and little else.
    #[must_use]
    pub fn is(&self, hz: f64) -> bool {
        (self.hz - hz).abs() <= 5.0 && self.share >= 0.8
    }
}

/// Measures samples of one channel.
#[must_use]
pub fn measure(samples: &[i16], rate: u32) -> Heard {
    let (count, rate) = (samples.len() as f64, f64::from(rate));
    let energy: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    let rms = if samples.is_empty() { 0.0 } else { (energy / count).sqrt() };
    let silence = Heard { hz: 0.0, share: 0.0, rms };
    if rms < 50.0 {
        return silence;
    }
    let rising: Vec<f64> = samples
        .windows(2)
        .enumerate()
        .filter_map(|(i, pair)| match pair {
            &[a, b] if a < 0 && b >= 0 => Some(i as f64 + f64::from(a) / (f64::from(a) - f64::from(b))),
            _ => None,
        })
        .collect();
    let (Some(first), Some(last)) = (rising.first(), rising.last()) else { return silence };
    if rising.len() < 2 {
        return silence;
    }
    let hz = (rising.len() - 1) as f64 * rate / (last - first);
    // Goertzel's filter: the energy at one frequency.
    let turn = 2.0 * (2.0 * std::f64::consts::PI * hz / rate).cos();
    let (s1, s2) = samples.iter().fold((0.0, 0.0), |(s1, s2), x| (f64::from(*x) + turn * s1 - s2, s1));
    let power = s1 * s1 + s2 * s2 - turn * s1 * s2;
    Heard { hz, share: (2.0 * power / (count * count) / (rms * rms)).min(1.0), rms }
}

/// The first channel of a WAV file.
#[derive(Clone, Debug)]
pub struct Wav {
    /// Samples a second.
    pub rate: u32,
    /// Samples of the first channel.
    pub samples: Vec<i16>,
}

impl Wav {
    /// Reads a file of 16 bit PCM. One that is still being written is read as far as it goes: its header's lengths are
    /// not believed.
    ///
    /// # Errors
    /// The file cannot be read, or is something else.
    pub fn read(path: &Path) -> Result<Wav> {
        let data = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Wav::parse(&data).with_context(|| format!("{} is no WAV file that can be read here", path.display()))
    }

    /// Two seconds of a tone of so many Hz, for [`Wav::write`].
    #[must_use]
    pub fn tone(hz: f64) -> Wav {
        let rate = 16_000;
        let sample = |n: u32| (std::f64::consts::TAU * hz * f64::from(n) / f64::from(rate)).sin();
        Wav { rate, samples: (0..2 * rate).map(|n| (8_000.0 * sample(n)) as i16).collect() }
    }

    /// Writes a file of one channel.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let body: Vec<u8> = self.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(self.rate.to_le_bytes());
        file.extend((2 * self.rate).to_le_bytes());
        file.extend(b"\x02\0\x10\0data");
        file.extend(u32::try_from(body.len())?.to_le_bytes());
        file.extend(body);
        std::fs::write(path, file).with_context(|| format!("cannot write {}", path.display()))
    }

    fn parse(data: &[u8]) -> Result<Wav> {
        ensure!(data.get(..4) == Some(b"RIFF") && data.get(8..12) == Some(b"WAVE"), "no RIFF WAVE header");
        let number = |at: usize, size: usize| {
            data.get(at..at + size)
                .map(|b| b.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b)))
                .context("cut off")
        };
        let (mut at, mut format) = (12, None);
        loop {
            let (name, size) = (data.get(at..at + 4).context("no data chunk")?, number(at + 4, 4)?);
            if name == b"fmt " {
                ensure!(
                    matches!(number(at + 8, 2)?, 1 | 0xfffe) && number(at + 22, 2)? == 16,
                    "not 16 bit PCM"
                );
                format = Some((number(at + 10, 2)?.max(1), u32::try_from(number(at + 12, 4)?)?));
            } else if name == b"data" {
                let (channels, rate) = format.context("no format before the data")?;
                let body = data.get(at + 8..).unwrap_or_default();
                let samples = body
                    .chunks_exact(2 * channels)
                    .filter_map(|frame| Some(i16::from_le_bytes(frame.get(..2)?.try_into().ok()?)))
                    .collect();
                return Ok(Wav { rate, samples });
            }
            at += 8 + size + size % 2;
        }
    }

    /// Measures the last `seconds` of it, if it is that long.
    #[must_use]
    pub fn end(&self, seconds: f64) -> Option<Heard> {
        let count = (seconds * f64::from(self.rate)) as usize;
        let start = self.samples.len().checked_sub(count)?;
        self.samples.get(start..).map(|samples| measure(samples, self.rate))
    }

    /// True when some stretch of `seconds` holds the tone `hz`.
    #[must_use]
    pub fn holds(&self, hz: f64, seconds: f64) -> bool {
        let count = (seconds * f64::from(self.rate)) as usize;
        let step = (count / 4).max(1);
        self.samples.windows(count.max(1)).step_by(step).any(|w| measure(w, self.rate).is(hz))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, rate: u32, seconds: f64, level: f64) -> Vec<i16> {
        let count = (seconds * f64::from(rate)) as usize;
        let step = 2.0 * std::f64::consts::PI * hz / f64::from(rate);
        (0..count).map(|i| (level * (step * i as f64).sin()) as i16).collect()
    }

    fn wav(samples: &[i16], rate: u32, channels: u16, data: u32) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0".to_vec();
        out.extend(channels.to_le_bytes());
        out.extend(rate.to_le_bytes());
        out.extend((rate * u32::from(channels) * 2).to_le_bytes());
        out.extend((channels * 2).to_le_bytes());
        out.extend(16u16.to_le_bytes());
        out.extend(b"data");
        out.extend(data.to_le_bytes());
        samples.iter().for_each(|s| (0..channels).for_each(|_| out.extend(s.to_le_bytes())));
        out
    }

    #[test]
    fn a_tone_is_known_by_its_pitch() {
        for (hz, rate) in [(440.0, 8000), (700.0, 48000), (1004.0, 16000)] {
            let heard = measure(&sine(hz, rate, 0.5, 8000.0), rate);
            assert!(heard.is(hz), "{hz} at {rate}: {heard:?}");
            assert!(!heard.is(hz + 20.0));
        }
    }

    #[test]
    fn silence_noise_and_a_mixture_are_no_tone() {
        assert_eq!(measure(&[0; 4000], 8000).hz, 0.0);
        assert_eq!(measure(&[], 8000).hz, 0.0);
        let mut state = 1u32;
        let noise: Vec<i16> = (0..4000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 18) as i16 - 8192
            })
            .collect();
        assert!(measure(&noise, 8000).share < 0.1);
        let two: Vec<i16> = sine(440.0, 8000, 0.5, 8000.0)
            .iter()
            .zip(sine(1700.0, 8000, 0.5, 8000.0))
            .map(|(a, b)| a / 2 + b / 2)
            .collect();
        assert!(!measure(&two, 8000).is(440.0));
    }

    #[test]
    fn a_recording_is_read_even_while_it_grows() {
        let mut samples = vec![0; 8000];
        samples.extend(sine(500.0, 8000, 1.0, 9000.0));
        for channels in [1, 2] {
            let wav = Wav::parse(&wav(&samples, 8000, channels, 0)).unwrap();
            assert_eq!((wav.rate, wav.samples.len()), (8000, 16000));
            assert!(wav.end(0.9).unwrap().is(500.0));
            assert!(wav.holds(500.0, 0.5) && !wav.holds(600.0, 0.5));
            assert!(wav.end(3.0).is_none());
        }
        assert!(Wav::parse(b"RIFF").is_err());
        assert!(Wav::parse(&wav(&samples, 8000, 1, 0)[..30]).is_err());
    }
}
