//! The codecs that sound crosses between, each heard or said at the rate that both sides of a stream can use.

pub mod opus;

use crate::g711::{self, Law};
use crate::{LONGEST_MS, MOST_RATE, g722};
use signal::media::Codec;

/// Samples of the longest packet.
pub const LONGEST: usize = LONGEST_MS * MOST_RATE / 1_000;

/// A codec that can be turned into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// 64 kbit/s.
    G722,
    /// RFC 7587.
    Opus,
}

impl Kind {
    /// Which one a description names; `None`: it cannot be turned into another (G.729, AMR, iLBC …).
    #[must_use]
    pub fn of(codec: &Codec) -> Option<Kind> {
        let is = |name: &str, clock| codec.name.eq_ignore_ascii_case(name) && codec.clock == clock;
        match () {
            () if is("PCMU", 8_000) => Some(Kind::Pcmu),
            () if is("PCMA", 8_000) => Some(Kind::Pcma),
            () if is("G722", 8_000) => Some(Kind::G722),
            () if is("opus", 48_000) => Some(Kind::Opus),
            () => None,
        }
    }

    /// RTP clock, Hz (G.722: RFC 3551 §4.5.2).
    #[must_use]
    pub fn clock(self) -> u32 {
        if self == Kind::Opus { 48_000 } else { 8_000 }
    }

    /// The highest rate that it carries and that is worked on, Hz.
    #[must_use]
    pub fn rate(self) -> usize {
        match self {
            Kind::Pcmu | Kind::Pcma => 8_000,
            Kind::G722 | Kind::Opus => 16_000,
        }
    }

    /// How long a payload sounds, in ticks of the clock; `None`: it cannot be told, or is longer than any packet.
    #[must_use]
    pub fn ticks(self, payload: &[u8]) -> Option<u32> {
        let ticks = match self {
            Kind::Opus => opus::ticks(payload)?,
            _ => u32::try_from(payload.len()).ok()?,
        };
        (ticks > 0 && u64::from(ticks) * 1_000 <= LONGEST_MS as u64 * u64::from(self.clock()))
            .then_some(ticks)
    }
}

/// The library could not be used: out of memory, in practice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no state for a codec could be made")]
pub struct NoCodec;

/// Understands one codec.
pub enum Decoder {
    /// G.711
    G711(Law),
    /// G.722
    G722(Box<g722::Decoder>),
    /// Opus
    Opus(opus::Decoder),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    /// To samples at `rate`, 8 or 16 kHz and no more than [`Kind::rate`].
    ///
    /// # Errors
    /// [`NoCodec`]
    pub fn new(kind: Kind, rate: usize) -> Result<Decoder, NoCodec> {
        Ok(match kind {
            Kind::Pcmu => Decoder::G711(Law::Mu),
            Kind::Pcma => Decoder::G711(Law::A),
            Kind::G722 => Decoder::G722(Box::new(g722::Decoder::new(rate == 16_000))),
            Kind::Opus => Decoder::Opus(opus::Decoder::new(rate)?),
        })
    }

    /// Decodes a payload; gives how many samples. One that makes no sense gives none.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        match self {
            Decoder::G711(law) => {
                for (sample, octet) in out.iter_mut().zip(payload) {
                    *sample = g711::decode(*law, *octet);
                }
                payload.len().min(out.len())
            }
            Decoder::G722(decoder) => decoder.decode(payload, out),
            Decoder::Opus(decoder) => decoder.decode(payload, out),
        }
    }

    /// Fills all of `out` with what was lost, if the codec can tell what that may have been: from what the packet after it
    /// repeats, or from its own state. False: it cannot.
    pub fn conceal(&mut self, next: Option<&[u8]>, out: &mut [i16]) -> bool {
        match self {
            Decoder::Opus(decoder) => decoder.conceal(next, out),
            _ => false,
        }
    }
}

/// Speaks one codec.
pub enum Encoder {
    /// G.711
    G711(Law),
    /// G.722
    G722(Box<g722::Encoder>),
    /// Opus
    Opus(opus::Encoder),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    /// From samples at `rate`, 8 or 16 kHz and no more than [`Kind::rate`]; Opus also from 48 kHz.
    ///
    /// # Errors
    /// [`NoCodec`]
    pub fn new(kind: Kind, rate: usize, complexity: u8) -> Result<Encoder, NoCodec> {
        Ok(match kind {
            Kind::Pcmu => Encoder::G711(Law::Mu),
            Kind::Pcma => Encoder::G711(Law::A),
            Kind::G722 => Encoder::G722(Box::new(g722::Encoder::new(rate == 16_000))),
            Kind::Opus => Encoder::Opus(opus::Encoder::new(rate, complexity)?),
        })
    }

    /// Encodes a frame of 20 ms; gives how many octets, none when it could not be said.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        match self {
            Encoder::G711(law) => {
                for (octet, sample) in out.iter_mut().zip(samples) {
                    *octet = g711::encode(*law, *sample);
                }
                samples.len().min(out.len())
            }
            Encoder::G722(encoder) => encoder.encode(samples, out),
            Encoder::Opus(encoder) => encoder.encode(samples, out),
        }
    }

    /// How hard Opus tries, 0 to 10; the others have no choice.
    pub fn complexity(&mut self, complexity: u8) {
        if let Encoder::Opus(encoder) = self {
            encoder.complexity(complexity);
        }
    }
}

#[cfg(test)]
mod tests;
