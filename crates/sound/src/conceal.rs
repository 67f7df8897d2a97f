//! Waveform substitution in the manner of ITU-T G.711 Appendix I: what is missing is filled with the last pitch period,
//! over and over, ever quieter; and a period is cut out or put in where play-out has to hurry or to wait.

use crate::{FRAME_MS, MOST_RATE};

/// Milliseconds of the past that are kept: three of the longest periods.
const PAST_MS: usize = 48;
const PAST: usize = PAST_MS * MOST_RATE / 1_000;
/// Periods from 2.5 to 15 ms (400 to 67 Hz).
const SHORTEST_US: usize = 2_500;
const LONGEST_US: usize = 15_000;
/// Full loudness for the first 10 ms, silence from 60 ms on.
const FULL_MS: usize = 10;
const SILENT_MS: usize = 60;
/// A join is faded over this time, µs.
const JOIN_US: usize = 2_500;
const LONGEST: usize = LONGEST_US * MOST_RATE / 1_000_000;
const JOIN: usize = JOIN_US * MOST_RATE / 1_000_000;

/// The past of one stream and how far it was carried on without it.
#[derive(Clone, Debug)]
pub struct Conceal {
    rate: usize,
    past: Box<[i16; PAST]>,
    /// The period that is repeated.
    period: [i16; LONGEST],
    length: usize,
    /// Samples made up so far; zero while sound comes.
    made: usize,
}

impl Conceal {
    /// At 8 or 16 kHz.
    #[must_use]
    pub fn new(rate: usize) -> Conceal {
        Conceal {
            rate: rate.min(MOST_RATE),
            past: Box::new([0; PAST]),
            period: [0; LONGEST],
            length: 0,
            made: 0,
        }
    }

    fn samples(&self, us: usize) -> usize {
        us * self.rate / 1_000_000
    }

    fn past(&self) -> &[i16] {
        self.past.get(PAST - self.samples(PAST_MS * 1_000)..).unwrap_or_default()
    }

    fn remember(&mut self, samples: &[i16]) {
        let samples = samples.get(samples.len().saturating_sub(PAST)..).unwrap_or_default();
        self.past.copy_within(samples.len().., 0);
        if let Some(end) = self.past.get_mut(PAST - samples.len()..) {
            end.copy_from_slice(samples);
        }
    }

    /// Sound came: after a gap its beginning is faded in over what was made up.
    pub fn heard(&mut self, samples: &mut [i16]) {
        if self.made > 0 {
            let mut bridge = [0; JOIN];
            let length = self.samples(JOIN_US).min(samples.len());
            if let (Some(bridge), Some(samples)) = (bridge.get_mut(..length), samples.get_mut(..length)) {
                self.make(bridge);
                fade(bridge, samples);
                samples.copy_from_slice(bridge);
            }
            self.made = 0;
        }
        self.remember(samples);
    }

    /// Nothing came: fills `out` with what might have.
    pub fn missing(&mut self, out: &mut [i16]) {
        if self.made == 0 {
            self.choose();
        }
        self.make(out);
        self.remember(out);
    }

    /// Everything made up so far has died away.
    #[must_use]
    pub fn faded(&self) -> bool {
        self.made >= self.samples(SILENT_MS * 1_000)
    }

    /// Play-out waits: fills the beginning of `out` with one more pitch period; gives how long it is.
    pub fn wait(&mut self, out: &mut [i16]) -> usize {
        if self.made > 0 {
            return 0;
        }
        self.choose();
        let length = self.length.min(out.len());
        if let Some(out) = out.get_mut(..length) {
            self.make(out);
            self.remember(out);
        }
        length
    }

    /// Takes the last pitch period, its end faded into the one before, so that it can be repeated without a click.
    fn choose(&mut self) {
        let length = self.pitch(self.past());
        let join = (length / 4).max(1);
        let past = self.past();
        let mut period = [0; LONGEST];
        let start = past.len().saturating_sub(length);
        if let (Some(place), Some(last)) = (period.get_mut(..length), past.get(start..)) {
            place.copy_from_slice(last);
            // The period ends as the one before it ended, and begins where that left off.
            let before = past.get(start.saturating_sub(join)..start).unwrap_or_default();
            if let Some(end) = place.get_mut(length - join..) {
                fade(end, before);
            }
        }
        (self.period, self.length) = (period, length);
    }

    fn make(&mut self, out: &mut [i16]) {
        let (full, silent) = (self.samples(FULL_MS * 1_000), self.samples(SILENT_MS * 1_000));
        for sample in out {
            let gain = match self.made {
                made if made < full => 256,
                made => 256 * silent.saturating_sub(made) / (silent - full).max(1),
            };
            let repeated = self.period.get(self.made % self.length.max(1)).copied().unwrap_or(0);
            *sample = ((i32::from(repeated) * gain as i32) >> 8) as i16;
            self.made += 1;
        }
    }

    /// The period at which the end of `samples` is most like what came before it.
    fn pitch(&self, samples: &[i16]) -> usize {
        let (shortest, longest) = (self.samples(SHORTEST_US), self.samples(LONGEST_US));
        // 20 ms are compared, every other sample at first.
        let window = self.samples(FRAME_MS as usize * 1_000);
        let Some(recent) = samples.len().checked_sub(window).and_then(|start| samples.get(start..)) else {
            return longest;
        };
        let likeness = |lag: usize, stride: usize| {
            let Some(start) = samples.len().checked_sub(window + lag) else { return f32::MIN };
            let before = samples.get(start..start + window).unwrap_or_default();
            let (mut product, mut energy) = (0.0f32, 1.0f32);
            for (a, b) in recent.iter().zip(before).step_by(stride) {
                product += f32::from(*a) * f32::from(*b);
                energy += f32::from(*b) * f32::from(*b);
            }
            product / energy.sqrt()
        };
        let best = |lags: std::ops::RangeInclusive<usize>, stride, step| {
            let mut best = (f32::MIN, longest);
            for lag in lags.step_by(step) {
                let like = likeness(lag, stride);
                if like > best.0 {
                    best = (like, lag);
                }
            }
            best.1
        };
        let coarse = (self.rate / 4_000).max(1);
        let near = best(shortest..=longest, coarse, coarse);
        best(near.saturating_sub(coarse).max(shortest)..=(near + coarse).min(longest), 1, 1)
    }

    /// Shortens `samples` by a pitch period at its end; gives the new length. What is too short stays.
    pub fn shorten(&self, samples: &mut [i16]) -> usize {
        let length = samples.len();
        let period = self.pitch(samples);
        let Some(start) = length.checked_sub(2 * period) else { return length };
        let (first, second) = samples.split_at_mut(start + period);
        if let Some(first) = first.get_mut(start..) {
            // Begins as the first of the two periods, ends as the second.
            fade(first, second);
        }
        length - period
    }
}

/// From what stands in `from` to `to`, linearly.
fn fade(from: &mut [i16], to: &[i16]) {
    let length = from.len().max(1) as i32;
    for (place, (from, to)) in (0..).zip(from.iter_mut().zip(to)) {
        *from = ((i32::from(*from) * (length - place) + i32::from(*to) * place) / length) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: usize, hz: f64, from: usize, count: usize) -> Vec<i16> {
        let step = std::f64::consts::TAU * hz / rate as f64;
        (from..from + count).map(|n| (8_000.0 * (step * n as f64).sin()) as i16).collect()
    }

    /// The largest step from sample to sample.
    fn step(samples: &[i16]) -> i32 {
        samples.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap()
    }

    #[test]
    fn a_gap_in_a_tone_is_filled_without_a_click_and_dies_away() {
        for rate in [8_000, 16_000] {
            for hz in [120.0, 200.0, 330.0, 440.0, 1_000.0] {
                let frame = rate / 50;
                let mut conceal = Conceal::new(rate);
                let mut all = vec![];
                for n in 0..5 {
                    let mut samples = tone(rate, hz, n * frame, frame);
                    conceal.heard(&mut samples);
                    all.extend(samples);
                }
                let natural = step(&all);
                let mut gap = vec![0; frame];
                conceal.missing(&mut gap);
                let wanted = tone(rate, hz, 5 * frame, frame);
                let error: f64 =
                    gap.iter().zip(&wanted).take(frame / 2).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                let power: f64 = wanted.iter().take(frame / 2).map(|b| f64::from(*b).powi(2)).sum();
                assert!(error < power / 4.0, "{rate} {hz}: not like the tone");
                all.extend(gap);
                let mut back = tone(rate, hz, 6 * frame, frame);
                conceal.heard(&mut back);
                all.extend(back);
                assert!(
                    step(&all) <= natural * 2,
                    "{rate} {hz}: a click of {} (natural: {natural})",
                    step(&all)
                );
                let mut gap = vec![0; 3 * frame];
                conceal.missing(&mut gap);
                assert!(conceal.faded() && gap[3 * frame - 2..].iter().all(|s| s.abs() < 50));
            }
        }
    }

    #[test]
    fn a_period_is_cut_out_or_put_in_without_a_click() {
        for rate in [8_000, 16_000] {
            for hz in [150.0, 210.0, 440.0] {
                let conceal = Conceal::new(rate);
                let length = rate * 60 / 1_000;
                let mut samples = tone(rate, hz, 0, length);
                let natural = step(&samples);
                let shorter = conceal.shorten(&mut samples);
                assert!((length - rate * 15 / 1_000..length).contains(&shorter));
                assert!(step(&samples[..shorter]) <= natural * 3 / 2, "{rate} {hz}");

                let (mut conceal, mut all) = (Conceal::new(rate), tone(rate, hz, 0, length));
                conceal.heard(&mut all);
                let mut period = vec![0; rate / 50];
                let longer = conceal.wait(&mut period);
                assert!((rate * 25 / 10_000..=rate * 15 / 1_000).contains(&longer));
                all.extend(&period[..longer]);
                let mut next = tone(rate, hz, length, rate / 50);
                conceal.heard(&mut next);
                all.extend(next);
                assert!(step(&all) <= natural * 3 / 2, "{rate} {hz}");
            }
        }
    }

    #[test]
    fn what_is_too_short_stays_as_it_is() {
        let mut conceal = Conceal::new(8_000);
        assert_eq!(conceal.wait(&mut []), 0);
        for length in [0, 1, 100, 160] {
            let mut samples = vec![5; length];
            assert_eq!(conceal.shorten(&mut samples), length);
        }
        Conceal::new(8_000).missing(&mut [0; 2_000]);
    }
}
