//! A track that is played into a leg: encoded once for each codec, shared by all who hear it.

use crate::codec::{Encoder, Kind, NoCodec};
use crate::stream::Outgoing;
use crate::{FRAME_MS, PAYLOAD};

/// Sound in frames of 20 ms, ready to be said.
#[derive(Debug)]
pub struct Track {
    kind: Kind,
    /// All frames after one another, and where each ends.
    octets: Box<[u8]>,
    ends: Box<[u32]>,
}

impl Track {
    /// The rate that samples for this codec are wanted at, Hz.
    #[must_use]
    pub fn rate(kind: Kind) -> usize {
        match kind {
            Kind::Pcmu | Kind::Pcma => 8_000,
            Kind::G722 => 16_000,
            Kind::Opus => 48_000,
        }
    }

    /// Encodes samples at [`Track::rate`]; the last frame is filled up with silence.
    ///
    /// # Errors
    /// [`NoCodec`]
    pub fn encode(kind: Kind, samples: &[i16]) -> Result<Track, NoCodec> {
        let rate = Track::rate(kind);
        let mut encoder = Encoder::new(kind, rate, 9)?;
        let (mut octets, mut ends, mut payload) = (vec![], vec![], [0; PAYLOAD]);
        for part in samples.chunks(rate * FRAME_MS as usize / 1_000) {
            let mut frame = part.to_vec();
            frame.resize(rate * FRAME_MS as usize / 1_000, 0);
            let length = encoder.encode(&frame, &mut payload);
            octets.extend_from_slice(payload.get(..length).unwrap_or_default());
            ends.push(octets.len() as u32);
        }
        Ok(Track { kind, octets: octets.into(), ends: ends.into() })
    }

    /// Octets that it holds.
    #[must_use]
    pub fn size(&self) -> usize {
        self.octets.len() + 4 * self.ends.len()
    }

    /// The codec's clock, Hz.
    #[must_use]
    pub fn clock(&self) -> u32 {
        self.kind.clock()
    }

    fn frame(&self, number: usize) -> Option<&[u8]> {
        let end = *self.ends.get(number)? as usize;
        let start =
            number.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        self.octets.get(start..end)
    }
}

/// Plays a track.
#[derive(Debug)]
pub struct Player {
    track: std::sync::Arc<Track>,
    pt: u8,
    repeat: bool,
    next: usize,
    timestamp: u32,
    told: bool,
}

impl Player {
    /// From the beginning.
    #[must_use]
    pub fn new(track: std::sync::Arc<Track>, pt: u8, repeat: bool) -> Player {
        Player { track, pt, repeat, next: 0, timestamp: 0, told: false }
    }

    /// Says the next frame; called every 20 ms. True, once: it is over.
    pub fn pull(&mut self, mut say: impl FnMut(Outgoing)) -> bool {
        if self.repeat && self.next >= self.track.ends.len() {
            self.next = 0;
        }
        let Some(payload) = self.track.frame(self.next) else {
            return !std::mem::replace(&mut self.told, true);
        };
        let marker = self.timestamp == 0;
        if !payload.is_empty() {
            say(Outgoing { pt: self.pt, marker, timestamp: self.timestamp, payload });
        }
        self.next += 1;
        self.timestamp = self.timestamp.wrapping_add(self.track.clock() / 50);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_track_is_played_once_or_over_and_over() {
        for kind in [Kind::Pcma, Kind::G722, Kind::Opus] {
            let rate = Track::rate(kind);
            let track = Arc::new(Track::encode(kind, &vec![500; rate / 20]).unwrap());
            let mut once = Player::new(track.clone(), 8, false);
            let mut said = vec![];
            let ended: Vec<bool> = (0..5)
                .map(|_| once.pull(|out| said.push((out.pt, out.marker, out.timestamp, out.payload.len()))))
                .collect();
            assert_eq!(ended, [false, false, false, true, false], "2.5 frames, and it is told once");
            let step = kind.clock() / 50;
            let heads: Vec<_> =
                said.iter().map(|(pt, marker, timestamp, _)| (*pt, *marker, *timestamp)).collect();
            assert_eq!(heads, [(8, true, 0), (8, false, step), (8, false, 2 * step)]);
            let mut over = Player::new(track, 8, true);
            let mut count = 0;
            assert!((0..50).all(|_| !over.pull(|_| count += 1)) && count == 50);
            let nothing = Arc::new(Track::encode(kind, &[]).unwrap());
            assert!(Player::new(nothing, 8, true).pull(|_| panic!("of nothing")), "nothing is over at once");
        }
    }
}
