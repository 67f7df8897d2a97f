//! The last packets sent to a peer, to be sent once more when it asks for them (RFC 4585 §6.2.1): as they left, so that a
//! protected packet is the same packet and no keystream is used for another text (RFC 3711 §9.1).

use signal::Time;

/// Octets kept: half a second of video at 2 Mbit/s.
const OCTETS: usize = 128 * 1_024;
/// Packets kept.
const PACKETS: usize = 512;
/// A longer packet is not kept.
const LONGEST: usize = 1_600;
/// An older packet is of no use to a decoder, ms.
const OLD: u64 = 500;
/// A packet is not sent again sooner than this after the last time, ms.
const AGAIN: u64 = 10;

/// A ring of packets; made once, never grown.
#[derive(Debug)]
pub(super) struct Cache {
    octets: Box<[u8]>,
    /// By sequence number, modulo its length.
    places: Box<[Option<Place>]>,
    /// Octets written since the beginning, with those left free at the end of the ring.
    written: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    seq: u16,
    start: u64,
    length: usize,
    kept: Time,
    again: Option<Time>,
}

impl Default for Cache {
    fn default() -> Cache {
        let octets = vec![0; OCTETS].into_boxed_slice();
        Cache { octets, places: vec![None; PACKETS].into_boxed_slice(), written: 0 }
    }
}

impl Cache {
    /// A packet leaves under this sequence number.
    pub fn keep(&mut self, seq: u16, packet: &[u8], now: Time) {
        if packet.len() > LONGEST {
            return;
        }
        let mut at = (self.written % OCTETS as u64) as usize;
        if at + packet.len() > OCTETS {
            self.written += (OCTETS - at) as u64;
            at = 0;
        }
        if let Some(room) = self.octets.get_mut(at..at + packet.len())
            && let Some(place) = self.places.get_mut(usize::from(seq) % PACKETS)
        {
            room.copy_from_slice(packet);
            *place = Some(Place { seq, start: self.written, length: packet.len(), kept: now, again: None });
            self.written += packet.len() as u64;
        }
    }

    /// Returns true if this packet can be sent once more.
    pub fn has(&self, seq: u16, now: Time) -> bool {
        let place = self.places.get(usize::from(seq) % PACKETS).copied().flatten();
        place.is_some_and(|place| {
            place.seq == seq && self.written <= place.start + OCTETS as u64 && now.since(place.kept) <= OLD
        })
    }

    /// Copies a packet to the front of `buffer`: its length; `None`: it is gone, or was sent again a moment ago.
    pub fn again(&mut self, seq: u16, now: Time, buffer: &mut [u8]) -> Option<usize> {
        if !self.has(seq, now) {
            return None;
        }
        let place = self.places.get_mut(usize::from(seq) % PACKETS)?.as_mut()?;
        if place.again.is_some_and(|again| now.since(again) < AGAIN) {
            return None;
        }
        place.again = Some(now);
        let at = (place.start % OCTETS as u64) as usize;
        buffer.get_mut(..place.length)?.copy_from_slice(self.octets.get(at..at + place.length)?);
        Some(place.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u16, length: usize) -> Vec<u8> {
        (0..length).map(|n| (n as u16).wrapping_mul(31).wrapping_add(seq) as u8).collect()
    }

    #[test]
    fn a_packet_comes_back_as_it_was_or_not_at_all() {
        let mut cache = Cache::default();
        let mut buffer = [0; LONGEST];
        let length = |seq: u16| 1 + usize::from(seq) * 7 % LONGEST;
        let mut back = 0;
        for n in 0..5_000u32 {
            let (seq, now) = (n as u16, Time(u64::from(n)));
            cache.keep(seq, &packet(seq, length(seq)), now);
            for old in [0, 1, 20, 100, 150, 300, 511, 512, 600, 4_000] {
                let Some(wanted) = seq.checked_sub(old) else { continue };
                let Some(got) = cache.again(wanted, now, &mut buffer) else {
                    assert!(old > 0, "the newest is there");
                    continue;
                };
                back += 1;
                assert!(old <= 500, "{old} ms is too old");
                assert_eq!(buffer[..got], packet(wanted, length(wanted)), "{wanted} at {seq}");
            }
        }
        assert!(back > 15_000, "{back}");
    }

    #[test]
    fn it_is_sent_again_now_and_then_only_and_not_when_it_is_old() {
        let mut cache = Cache::default();
        let mut buffer = [0; 100];
        cache.keep(9, &packet(9, 100), Time(0));
        assert!(!cache.has(9 + PACKETS as u16, Time(0)), "another of the same place");
        assert_eq!(cache.again(9, Time(1), &mut buffer), Some(100));
        assert_eq!(cache.again(9, Time(5), &mut buffer), None);
        assert_eq!(cache.again(9, Time(11), &mut buffer), Some(100));
        assert_eq!(cache.again(9, Time(100), &mut buffer[..50]), None, "no room");
        assert!(cache.has(9, Time(OLD)) && !cache.has(9, Time(OLD + 1)));
        cache.keep(10, &[0; LONGEST + 1], Time(0));
        assert!(!cache.has(10, Time(0)));
    }
}
