//! Tones: what each end says, and the ear that knows what it should hear.

/// Amplitude of a tone that is said, of 32,767: loud, and far from clipping.
const LOUD: f64 = 8_000.0;
/// Milliseconds of a window that the ear judges: frequencies 10 Hz apart can be told.
const WINDOW_MS: usize = 100;
/// Part of a window's energy that must lie at the tone's frequency. G.711 leaves more than 0.99, a packet of five that is lost 0.8.
const SHARE: f64 = 0.6;
/// Root mean square below which a window is silence.
const SILENCE: f64 = 200.0;

/// A sine that goes on from call to call of [`Tone::fill`].
#[derive(Clone, Debug)]
pub struct Tone {
    hz: f64,
    rate: usize,
    at: u64,
}

impl Tone {
    /// Returns a tone of so many Hz at a rate of so many samples a second.
    pub fn new(hz: f64, rate: usize) -> Tone {
        Tone { hz, rate, at: 0 }
    }

    /// Fills a frame with what comes next.
    pub fn fill(&mut self, frame: &mut [i16]) {
        for sample in frame {
            let turns = self.hz * self.at as f64 / self.rate as f64;
            *sample = (LOUD * (std::f64::consts::TAU * turns).sin()) as i16;
            self.at += 1;
        }
    }
}

/// Verdicts on windows of what was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// Windows that were the tone.
    pub good: u64,
    /// All windows.
    pub all: u64,
}

/// An ear that waits for one tone.
#[derive(Clone, Debug)]
pub struct Ear {
    hz: f64,
    rate: usize,
    window: Vec<i16>,
    heard: Windows,
}

impl Ear {
    /// Returns an ear for a tone of so many Hz at a rate of so many samples a second.
    pub fn new(hz: f64, rate: usize) -> Ear {
        Ear { hz, rate, window: vec![], heard: Windows::default() }
    }

    /// Takes samples.
    pub fn listen(&mut self, samples: &[i16]) {
        let size = self.rate * WINDOW_MS / 1_000;
        self.window.extend_from_slice(samples);
        while self.window.len() >= size {
            self.heard.all += 1;
            self.heard.good += u64::from(is_tone(&self.window[..size], self.hz, self.rate));
            self.window.drain(..size);
        }
    }

    /// Returns the verdicts so far.
    pub fn heard(&self) -> Windows {
        self.heard
    }
}

/// Returns true for a window that holds the tone and little else, by Goertzel's filter.
fn is_tone(window: &[i16], hz: f64, rate: usize) -> bool {
    let count = window.len() as f64;
    let energy: f64 = window.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    if (energy / count).sqrt() < SILENCE {
        return false;
    }
    let turn = 2.0 * (std::f64::consts::TAU * hz / rate as f64).cos();
    let (last, before) =
        window.iter().fold((0.0, 0.0), |(last, before), x| (f64::from(*x) + turn * last - before, last));
    let power = last * last + before * before - turn * last * before;
    2.0 * power / count / energy >= SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(hz: f64, rate: usize, ms: usize) -> Vec<i16> {
        let mut samples = vec![0; rate * ms / 1_000];
        Tone::new(hz, rate).fill(&mut samples);
        samples
    }

    #[test]
    fn an_ear_knows_its_tone_at_any_rate() {
        for rate in [8_000, 16_000] {
            let mut ear = Ear::new(440.0, rate);
            said(440.0, rate, 1_000).chunks(rate / 50).for_each(|frame| ear.listen(frame));
            assert_eq!(ear.heard(), Windows { good: 10, all: 10 }, "{rate}");
        }
    }

    #[test]
    fn another_tone_silence_and_noise_are_not_it() {
        let mut state = 1u32;
        let noise: Vec<i16> = (0..8_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 18) as i16 - 8_192
            })
            .collect();
        for heard in [said(660.0, 8_000, 1_000), said(470.0, 8_000, 1_000), vec![0; 8_000], noise] {
            let mut ear = Ear::new(440.0, 8_000);
            ear.listen(&heard);
            assert_eq!(ear.heard(), Windows { good: 0, all: 10 });
        }
    }

    #[test]
    fn a_tone_with_a_lost_packet_is_still_it() {
        let mut samples = said(440.0, 8_000, 100);
        samples[160..320].fill(0);
        let mut ear = Ear::new(440.0, 8_000);
        ear.listen(&samples);
        assert_eq!(ear.heard().good, 1);
    }
}
