//! RIFF WAVE.

use super::{FileError, Sound, mix};
use crate::g711::{self, Law};

const PCM: u16 = 1;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;

struct Format {
    tag: u16,
    channels: usize,
    rate: usize,
    bits: u16,
}

pub(super) fn read(octets: &[u8]) -> Result<Sound, FileError> {
    if octets.get(8..12) != Some(b"WAVE") {
        return Err(FileError::Unknown);
    }
    let mut rest = octets.get(12..).unwrap_or_default();
    let mut format = None;
    while let [a, b, c, d, l0, l1, l2, l3, after @ ..] = rest {
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let chunk = after.get(..length.min(after.len())).unwrap_or_default();
        match &[*a, *b, *c, *d] {
            b"fmt " => format = Some(read_format(chunk)?),
            b"data" => return samples(&format.ok_or(FileError::Damaged)?, chunk),
            _ => {}
        }
        // Chunks begin at even places.
        rest = after.get(length.saturating_add(length & 1)..).unwrap_or_default();
    }
    Err(FileError::Damaged)
}

fn read_format(chunk: &[u8]) -> Result<Format, FileError> {
    let number =
        |at: usize| chunk.get(at..at + 2).map(|o| u16::from_le_bytes([o[0], o[1]])).ok_or(FileError::Damaged);
    let mut tag = number(0)?;
    if tag == EXTENSIBLE {
        tag = number(24)?;
    }
    let (channels, bits) = (usize::from(number(2)?), number(14)?);
    let rate = usize::from(number(4)?) | usize::from(number(6)?) << 16;
    if !(1..=8).contains(&channels) || !(4_000..=192_000).contains(&rate) {
        return Err(FileError::Damaged);
    }
    Ok(Format { tag, channels, rate, bits })
}

fn samples(format: &Format, data: &[u8]) -> Result<Sound, FileError> {
    let law = |law| data.iter().map(|octet| g711::decode(law, *octet)).collect::<Vec<i16>>();
    let samples = match (format.tag, format.bits) {
        (PCM, 16) => data.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect(),
        (A_LAW, 8) => law(Law::A),
        (MU_LAW, 8) => law(Law::Mu),
        _ => return Err(FileError::Encoding),
    };
    Ok(Sound { rate: format.rate, samples: mix(&samples, format.channels) })
}
