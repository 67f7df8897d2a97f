//! Files of sound: WAV (16-bit PCM, G.711) and Ogg Opus (RFC 3533, RFC 7845), read whole, mixed to one channel, at the rate
//! that is wanted. Not for the packet path.

mod ogg;
mod wav;

/// Seconds of sound that are read; a longer file is refused.
const LONGEST_S: usize = 600;

/// Why a file cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Neither of the kinds that are read.
    #[error("it is neither WAV nor Ogg")]
    Unknown,
    /// A WAV file of another encoding.
    #[error("its encoding is not 16-bit PCM or G.711")]
    Encoding,
    /// An Ogg file without Opus in it.
    #[error("it holds no Opus")]
    NoOpus,
    /// Ends before its headers do, or they make no sense.
    #[error("it is damaged")]
    Damaged,
    /// Longer than ten minutes.
    #[error("it is longer than ten minutes")]
    TooLong,
}

/// One channel at its own rate.
struct Sound {
    rate: usize,
    samples: Vec<i16>,
}

/// The samples of a file at `rate`.
///
/// # Errors
/// [`FileError`]
pub fn read(octets: &[u8], rate: usize) -> Result<Vec<i16>, FileError> {
    let sound = match octets {
        [b'R', b'I', b'F', b'F', ..] => wav::read(octets)?,
        [b'O', b'g', b'g', b'S', ..] => ogg::read(octets)?,
        _ => return Err(FileError::Unknown),
    };
    if sound.samples.len() > LONGEST_S * sound.rate {
        return Err(FileError::TooLong);
    }
    Ok(resample(&sound.samples, sound.rate, rate))
}

/// Zero crossings of the sinc on each side.
const SIDE: f64 = 16.0;

/// A windowed sinc for each sample: slow and good.
fn resample(samples: &[i16], from: usize, to: usize) -> Vec<i16> {
    if from == to {
        return samples.to_vec();
    }
    let step = from as f64 / to as f64;
    // Below half of the lower rate.
    let cut = (1.0 / step).min(1.0) * 0.95;
    let reach = SIDE / cut;
    let count = samples.len() * to / from;
    (0..count)
        .map(|n| {
            let center = n as f64 * step;
            let first = (center - reach).ceil().max(0.0) as usize;
            let near =
                samples.get(first..samples.len().min((center + reach) as usize + 1)).unwrap_or_default();
            let sum: f64 = (first..)
                .zip(near)
                .map(|(at, sample)| {
                    let off = at as f64 - center;
                    let turn = std::f64::consts::PI * off * cut;
                    let sinc = if turn.abs() < 1e-9 { 1.0 } else { turn.sin() / turn };
                    let window = 0.5 + 0.5 * (std::f64::consts::PI * off / reach).cos();
                    f64::from(*sample) * sinc * window * cut
                })
                .sum();
            sum.clamp(-32_768.0, 32_767.0) as i16
        })
        .collect()
}

/// The mean of the channels.
fn mix(samples: &[i16], channels: usize) -> Vec<i16> {
    let frames = samples.chunks_exact(channels.max(1));
    frames
        .map(|frame| (frame.iter().map(|s| i32::from(*s)).sum::<i32>() / frame.len().max(1) as i32) as i16)
        .collect()
}

#[cfg(test)]
mod tests;
