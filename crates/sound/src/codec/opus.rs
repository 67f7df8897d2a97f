//! Opus (RFC 6716, RFC 7587) by libopus, mono, in the terms of this crate.

use super::{LONGEST, NoCodec};
use ::opus::{Application, Bitrate, Channels};

/// Loss that the encoder prepares for, per cent: in-band FEC costs a little for each packet that it may save.
const LOSS: i32 = 10;

/// How long a packet sounds, in ticks of 48 kHz, by its first octets (RFC 6716 §3.1, §3.2).
#[must_use]
pub fn ticks(packet: &[u8]) -> Option<u32> {
    let (toc, rest) = packet.split_first()?;
    let configuration = toc >> 3;
    let frame = match configuration {
        // SILK: 10, 20, 40, 60 ms; hybrid: 10, 20 ms; CELT: 2.5, 5, 10, 20 ms.
        0..=11 => [480, 960, 1_920, 2_880].get(usize::from(configuration & 3)),
        12..=15 => [480, 960].get(usize::from(configuration & 1)),
        _ => [120, 240, 480, 960].get(usize::from(configuration & 3)),
    }?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3f),
    };
    Some(frame * frames).filter(|ticks| (1..=5_760).contains(ticks))
}

/// Understands Opus.
pub struct Decoder {
    inner: ::opus::Decoder,
    /// 2.5 ms: what is made up is a multiple of it.
    grain: usize,
}

impl Decoder {
    /// To samples at this rate.
    pub(super) fn new(rate: usize) -> Result<Decoder, NoCodec> {
        let inner = ::opus::Decoder::new(rate as u32, Channels::Mono).map_err(|_| NoCodec)?;
        Ok(Decoder { inner, grain: rate / 400 })
    }

    pub(super) fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        // An empty payload would mean a lost one.
        if payload.is_empty() { 0 } else { self.inner.decode(payload, out, false).unwrap_or(0) }
    }

    pub(super) fn conceal(&mut self, next: Option<&[u8]>, out: &mut [i16]) -> bool {
        let whole = out.len().next_multiple_of(self.grain);
        if let Some(next) = next
            && whole == out.len()
            && self.inner.decode(next, out, true).is_ok_and(|count| count == whole)
        {
            return true;
        }
        let mut made = [0; LONGEST];
        let Some(made) = made.get_mut(..whole) else { return false };
        if self.inner.decode(&[], made, false).is_err() {
            return false;
        }
        out.iter_mut().zip(made).for_each(|(out, made)| *out = *made);
        true
    }
}

/// Speaks Opus.
pub struct Encoder {
    inner: ::opus::Encoder,
}

impl Encoder {
    /// From samples at 8, 16 or 48 kHz.
    pub(super) fn new(rate: usize, complexity: u8) -> Result<Encoder, NoCodec> {
        let mut inner =
            ::opus::Encoder::new(rate as u32, Channels::Mono, Application::Voip).map_err(|_| NoCodec)?;
        let bits = match rate {
            8_000 => 16_000,
            16_000 => 24_000,
            _ => 40_000,
        };
        let set = inner
            .set_bitrate(Bitrate::Bits(bits))
            .and_then(|()| inner.set_inband_fec(true))
            .and_then(|()| inner.set_packet_loss_perc(LOSS))
            .and_then(|()| inner.set_complexity(complexity.min(10).into()));
        set.map_err(|_| NoCodec)?;
        Ok(Encoder { inner })
    }

    pub(super) fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        self.inner.encode(samples, out).unwrap_or(0)
    }

    pub(super) fn complexity(&mut self, complexity: u8) {
        // It takes any from 0 to 10.
        let _ = self.inner.set_complexity(complexity.min(10).into());
    }
}
