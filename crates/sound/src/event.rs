//! Keys (RFC 4733) that cross between clocks: never turned into sound, their timestamps and durations rescaled.

/// Octets of an event.
pub const EVENT: usize = 4;
/// How many packet times without a word end an event whose last packets were lost (R-DTMF-2).
const LOST: u64 = 3;
/// How far apart the segments of one event lie: as much as a duration can say, or a packet less.
const SEGMENT: std::ops::RangeInclusive<u32> = 0xf000..=0xffff;
/// Last packets of an event are said so often (RFC 4733 §2.5.1.4).
pub const ENDS: usize = 3;

/// An event on its way through.
#[derive(Clone, Copy, Debug)]
struct Running {
    code: u8,
    /// Octet of the volume.
    volume: u8,
    seq: u16,
    heard: u32,
    said: u32,
    /// Duration last said.
    duration: u16,
    /// Part of it that earlier segments have told.
    told: u32,
    ended: bool,
    at_us: u64,
    /// Between its packets, µs.
    pace_us: u64,
}

/// An event packet to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Timestamp of the event or segment.
    pub timestamp: u32,
    /// The first packet of the event.
    pub marker: bool,
    /// The payload.
    pub payload: [u8; EVENT],
}

/// The events of one stream.
#[derive(Clone, Debug)]
pub struct Events {
    /// Clocks heard and said, Hz.
    clocks: (u32, u32),
    running: Option<Running>,
}

impl Events {
    /// Between these clocks.
    #[must_use]
    pub fn new(heard: u32, said: u32) -> Events {
        Events { clocks: (heard.max(1), said.max(1)), running: None }
    }

    fn scale(&self, ticks: u32) -> u32 {
        (u64::from(ticks) * u64::from(self.clocks.1) / u64::from(self.clocks.0)) as u32
    }

    /// An event packet came; `now` is the timestamp that an event beginning now gets. `None`: nothing new.
    pub fn heard(&mut self, seq: u16, timestamp: u32, payload: &[u8], now: u32, at_us: u64) -> Option<Event> {
        let [code, flags, high, low, ..] = *payload else { return None };
        let (ended, volume, duration) = (flags & 0x80 != 0, flags & 0x3f, u16::from_be_bytes([high, low]));
        let (mut running, mut marker) = match self.running {
            // Older than what was said last (R-DTMF-4).
            Some(b) if seq.wrapping_sub(b.seq) as i16 <= 0 => return None,
            Some(b) if b.heard == timestamp && b.code == code => {
                let pace = at_us.saturating_sub(b.at_us).clamp(10_000, 100_000);
                let pace_us = if b.ended { b.pace_us } else { pace };
                (Running { seq, ended: b.ended || ended, at_us, pace_us, ..b }, false)
            }
            // The next segment of a long event (§2.5.1.3).
            Some(b) if !b.ended && b.code == code && SEGMENT.contains(&timestamp.wrapping_sub(b.heard)) => {
                let on = self.scale(timestamp.wrapping_sub(b.heard)).saturating_sub(b.told);
                let said = b.said.wrapping_add(on);
                (Running { seq, ended, heard: timestamp, said, told: 0, at_us, ..b }, false)
            }
            _ => {
                let (heard, said, pace_us) = (timestamp, now, 50_000);
                // Of an event whose first word is its last one, the first is said as its beginning: receivers that wait for one
                // hear nothing else (seen of Chromium's short tones). The others end it, or their loss does.
                let ended = false;
                (
                    Running { code, volume, seq, heard, said, duration: 0, told: 0, ended, at_us, pace_us },
                    true,
                )
            }
        };
        // What does not fit goes on as a segment.
        let mut left = self.scale(duration.into()).saturating_sub(running.told);
        while left > 0xffff {
            running.told += 0xffff;
            running.said = running.said.wrapping_add(0xffff);
            left -= 0xffff;
            marker = false;
        }
        running.duration = left as u16;
        self.running = Some(running);
        Some(event(&running, marker))
    }

    /// A key is being pressed: its stream is silent meanwhile.
    #[must_use]
    pub fn pressed(&self) -> bool {
        self.running.is_some_and(|running| !running.ended)
    }

    /// The last packet of an event whose own were lost, to be said [`ENDS`] times.
    pub fn lost(&mut self, at_us: u64) -> Option<Event> {
        let running = self.running.as_mut().filter(|running| !running.ended)?;
        if at_us.saturating_sub(running.at_us) < LOST * running.pace_us {
            return None;
        }
        running.ended = true;
        Some(event(running, false))
    }
}

fn event(running: &Running, marker: bool) -> Event {
    let [high, low] = running.duration.to_be_bytes();
    let end = if running.ended { 0x80 } else { 0 };
    Event { timestamp: running.said, marker, payload: [running.code, end | running.volume, high, low] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(code: u8, end: bool, duration: u16) -> [u8; 4] {
        let [high, low] = duration.to_be_bytes();
        [code, u8::from(end) << 7 | 10, high, low]
    }

    /// R-DTMF-3.
    #[test]
    fn a_key_crosses_the_clocks_both_ways() {
        for (from, to) in [(8_000u32, 48_000u32), (48_000, 8_000)] {
            let mut events = Events::new(from, to);
            for n in 1..=5u16 {
                let duration = n * (from / 50) as u16;
                let said =
                    events.heard(n, 4_000, &payload(5, n == 5, duration), 77, u64::from(n) * 20_000).unwrap();
                assert_eq!((said.timestamp, said.marker), (77, n == 1));
                assert_eq!(said.payload, payload(5, n == 5, n * (to / 50) as u16));
            }
            assert!(!events.pressed());
        }
    }

    /// The packets before were lost, or never sent.
    #[test]
    fn g6_three_last_packets_alone_make_an_event() {
        let mut events = Events::new(8_000, 48_000);
        let mut said = vec![];
        for n in 1..=3u16 {
            let event = events.heard(n, 4_000, &payload(5, true, 800), 77, u64::from(n) * 20_000).unwrap();
            said.push((event.timestamp, event.marker, event.payload));
        }
        let end = payload(5, true, 4_800);
        assert_eq!(said, [(77, true, payload(5, false, 4_800)), (77, false, end), (77, false, end)]);
        assert!(!events.pressed());
        // Of one alone the end is said once it is sure that no other comes.
        let mut events = Events::new(8_000, 48_000);
        events.heard(1, 4_000, &payload(5, true, 800), 77, 0).unwrap();
        assert_eq!(events.lost(200_000).unwrap().payload, end);
    }

    /// R-DTMF-4.
    #[test]
    fn doubled_and_overtaken_packets_are_passed_over() {
        let mut events = Events::new(8_000, 8_000);
        events.heard(10, 0, &payload(1, false, 160), 0, 0).unwrap();
        events.heard(12, 0, &payload(1, false, 480), 0, 0).unwrap();
        assert_eq!(events.heard(12, 0, &payload(1, false, 480), 0, 0), None);
        assert_eq!(events.heard(11, 0, &payload(1, false, 320), 0, 0), None);
        assert_eq!(events.heard(13, 0, &[1, 2], 0, 0), None);
        // The same key again is another event.
        let again = events.heard(14, 1_600, &payload(1, false, 160), 1_600, 0).unwrap();
        assert_eq!((again.timestamp, again.marker), (1_600, true));
    }

    /// R-DTMF-2.
    #[test]
    fn an_event_whose_end_was_lost_ends_after_three_packet_times() {
        let mut events = Events::new(8_000, 48_000);
        for n in 1..=3u16 {
            events.heard(n, 0, &payload(11, false, n * 160), 0, u64::from(n) * 20_000).unwrap();
        }
        assert_eq!(events.lost(110_000), None);
        assert_eq!(events.lost(120_000).unwrap().payload, payload(11, true, 2_880));
        assert_eq!(events.lost(500_000), None, "once");
    }

    #[test]
    fn a_long_event_is_cut_into_segments_where_the_clock_is_faster_and_joined_where_it_is_slower() {
        let mut events = Events::new(8_000, 48_000);
        events.heard(1, 0, &payload(1, false, 160), 1_000, 0).unwrap();
        let said = events.heard(2, 0, &payload(1, false, 12_000), 0, 0).unwrap();
        assert_eq!((said.timestamp, said.marker), (1_000 + 0xffff, false));
        assert_eq!(said.payload, payload(1, false, (72_000 - 0xffffu32) as u16));

        let mut events = Events::new(48_000, 8_000);
        events.heard(1, 500, &payload(1, false, 960), 1_000, 0).unwrap();
        events.heard(2, 500, &payload(1, false, 0xffff), 0, 0).unwrap();
        let said = events.heard(3, 500 + 0xffff, &payload(1, true, 960), 9_999, 0).unwrap();
        assert_eq!((said.timestamp, said.marker), (1_000 + 0xffff / 6, false));
        assert_eq!(said.payload, payload(1, true, 160));
    }
}
