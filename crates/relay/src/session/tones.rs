//! Keys that a party presses by signalling (XEP-0181, SIP INFO), said to the other one as telephone-event (RFC 4733).
//!
//! One rule: keys are said one after the other, in their order, in place of what else the party would hear.

use super::endpoint::Endpoint;
use super::send;
use super::types::{Arrival, Key, Refusal, Transmit};
use super::worker::Worker;
use crate::packet::{self, Rtp, Splice};
use signal::{PAUSE, Time};
use std::collections::VecDeque;

/// Between packets of an event, ms (RFC 4733 §2.5.1.2).
const PACKET_MS: u64 = 20;
/// The last packet of an event is said so often (§2.5.1.4).
const ENDS: u8 = 3;
/// Silence between two keys, ms: enough for receivers that turn them into sound (ITU-T Q.24 wants 40 at least).
const BETWEEN_MS: u64 = 60;
/// A key is pressed at least and at most so long, ms.
const DURATION_MS: std::ops::RangeInclusive<u64> = 70..=5_000;
/// Keys that may wait, and keys remembered to tell an order that is given again.
const WAITING: usize = 64;
const REMEMBERED: usize = 128;
/// Volume, dBm0 without sign (§2.3.4).
const VOLUME: u8 = 10;
/// Tells the source of keys from others.
const SOURCE: u32 = 0x546f_6e65;

/// Keys of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Tones {
    waiting: VecDeque<Key>,
    taken: VecDeque<u64>,
    pressed: Option<Pressed>,
    seq: u16,
    /// Among the timers of the worker.
    waits: bool,
}

/// A key that is being said.
#[derive(Clone, Copy, Debug)]
struct Pressed {
    code: u8,
    since: Time,
    duration_ms: u64,
    /// Last packets said so far.
    ends: u8,
}

/// A packet of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    code: u8,
    since: Time,
    duration_ms: u64,
    ended: bool,
    /// Nothing more of this event follows.
    last: bool,
}

impl Tones {
    /// Returns the next packet, none during a pause, and the time of the one after it; `None`: nothing waits.
    fn next(&mut self, now: Time) -> Option<(Option<Word>, Time)> {
        let mut pressed = match self.pressed {
            Some(pressed) => pressed,
            None => {
                let key = self.waiting.pop_front()?;
                if key.digit == PAUSE {
                    return Some((None, now + u64::from(key.duration_ms).min(*DURATION_MS.end())));
                }
                let duration_ms = u64::from(key.duration_ms).clamp(*DURATION_MS.start(), *DURATION_MS.end());
                Pressed { code: code(key.digit)?, since: now, duration_ms, ends: 0 }
            }
        };
        let so_far = now.since(pressed.since) + PACKET_MS;
        let ended = pressed.ends > 0 || so_far >= pressed.duration_ms;
        pressed.ends += u8::from(ended);
        let last = pressed.ends == ENDS;
        let Pressed { code, since, duration_ms, .. } = pressed;
        let word = Word { code, since, duration_ms: so_far.min(duration_ms), ended, last };
        self.pressed = (!last).then_some(pressed);
        self.seq = self.seq.wrapping_add(1);
        Some((Some(word), now + if last { BETWEEN_MS } else { PACKET_MS }))
    }
}

/// Returns the event code of a digit (RFC 4733 §3.2).
fn code(digit: char) -> Option<u8> {
    let place = "0123456789*#ABCD".find(digit.to_ascii_uppercase())?;
    u8::try_from(place).ok()
}

impl Endpoint {
    /// Returns payload type and clock of the keys that the peer takes: of the clock of its sound, if there is one.
    fn keypad(&self) -> Option<(u8, u32)> {
        let mut events =
            self.codecs.iter().filter(|codec| codec.name.eq_ignore_ascii_case("telephone-event"));
        let first = events.clone().next();
        let event = events.find(|codec| codec.clock == self.clock).or(first)?;
        Some((event.pt, event.clock))
    }

    /// Returns true while a key is being said to the peer.
    pub fn is_pressed(&self) -> bool {
        self.tones.as_ref().is_some_and(|tones| tones.pressed.is_some())
    }
}

impl Worker {
    /// Says a key to the peer of an endpoint, after those that wait. Asked again with the same id, it changes nothing.
    ///
    /// # Errors
    /// [`Refusal::Keys`]: the peer takes none, or too many wait.
    pub fn press(
        &mut self,
        session: &str,
        leg: u32,
        content: u32,
        key: Key,
        now: Time,
    ) -> Result<(), Refusal> {
        let index = self.find(session, leg, content)?;
        let Some(end) = self.endpoints.get_mut(index) else { return Ok(()) };
        if key.digit != PAUSE && code(key.digit).is_none() {
            return Err(Refusal::Keys("there is no such key"));
        }
        if end.is_open() || end.keypad().is_none() {
            return Err(Refusal::Keys("telephone-event was not agreed"));
        }
        let tones = end.tones.get_or_insert_default();
        if tones.taken.contains(&key.id) {
            return Ok(());
        }
        if tones.waiting.len() >= WAITING {
            return Err(Refusal::Keys("too many wait"));
        }
        if tones.taken.len() >= REMEMBERED {
            tones.taken.pop_front();
        }
        tones.taken.push_back(key.id);
        tones.waiting.push_back(key);
        if !std::mem::replace(&mut tones.waits, true) {
            self.tones.insert((now, index));
        }
        Ok(())
    }

    /// Writes the next packet of a key that is due.
    pub(super) fn next_tone(&mut self, at: Arrival, buffer: &mut [u8]) -> Option<Transmit> {
        let now = at.time();
        while let Some((due, index)) = self.tones.first().copied().filter(|(due, _)| *due <= now) {
            self.tones.remove(&(due, index));
            let Some(end) = self.endpoints.get_mut(index) else { continue };
            let Some(tones) = &mut end.tones else { continue };
            let Some((word, next)) = tones.next(now) else {
                tones.waits = false;
                continue;
            };
            let seq = tones.seq;
            self.tones.insert((next, index));
            if let Some(transmit) = word.and_then(|word| self.say_key(index, word, seq, at, buffer)) {
                return Some(transmit);
            }
        }
        None
    }

    fn say_key(
        &mut self,
        index: u32,
        word: Word,
        seq: u16,
        at: Arrival,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        let endpoints = &mut self.endpoints;
        let name = endpoints.get(index)?.local.word() as u32 ^ SOURCE;
        let taken = endpoints.get(index)?.outgoing.is_none() && endpoints.has_ssrc(index, name);
        let end = endpoints.get_mut(index)?;
        let (pt, clock) = end.keypad()?;
        if !end.direction.receives() || end.frozen && end.outgoing.is_none() {
            return None;
        }
        let ticks = |clock: u32, ms: u64| ms * u64::from(clock) / 1_000;
        let duration = u16::try_from(ticks(clock, word.duration_ms)).unwrap_or(u16::MAX);
        let [high, low] = duration.to_be_bytes();
        let flags = u8::from(word.ended) << 7 | VOLUME;
        buffer.get_mut(..12)?.copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        buffer.get_mut(12..16)?.copy_from_slice(&[word.code, flags, high, low]);
        // The stream has one clock, that of its sound; its timestamp stays that of the beginning (§2.2).
        let clock = end.clock;
        let timestamp = ticks(clock, word.since.0) as u32;
        let rtp = Rtp { pt, marker: false, seq, timestamp, ssrc: name, header: 12 };
        let outgoing =
            end.outgoing.get_or_insert_with(|| Splice::new(end.reports.ssrc_for(name, taken), clock));
        let said = outgoing.map(rtp, clock, at.time().0)?;
        if word.last {
            // What follows begins after it.
            outgoing.pass(ticks(clock, at.time().since(word.since)) as u32);
            outgoing.interrupt();
        }
        packet::rewrite(buffer, &said);
        let transmit = send::send_media(endpoints, index, &said, at, buffer, 16)?;
        self.forwarded += 1;
        Some(transmit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e8_keys_are_said_one_after_the_other_and_after_pauses() {
        let mut tones = Tones::default();
        for (id, digit, duration_ms) in [(1, '1', 100), (2, PAUSE, 500), (3, '#', 100)] {
            tones.waiting.push_back(Key { digit, duration_ms, id });
        }
        let (mut now, mut said) = (Time(1_000), vec![]);
        while let Some((word, next)) = tones.next(now) {
            said.extend(word.map(|word| (now.0, word.code, word.duration_ms, word.ended)));
            now = next;
        }
        let one = [(1_000, 20, false), (1_020, 40, false), (1_040, 60, false), (1_060, 80, false)];
        let end = [(1_080, 100, true), (1_100, 100, true), (1_120, 100, true)];
        let expected = [(1, 0), (11, 680)].into_iter().flat_map(|(code, later)| {
            let all = one.into_iter().chain(end);
            all.map(move |(at, duration, ended)| (at + later, code, duration, ended))
        });
        assert_eq!(said, expected.collect::<Vec<_>>());
    }

    #[test]
    fn every_key_has_its_code() {
        let codes: Vec<_> = "0123456789*#ABCDd".chars().map(code).collect();
        assert_eq!(codes[..16], (0..16).map(Some).collect::<Vec<_>>());
        assert_eq!((codes[16], code('x'), code(' ')), (Some(15), None, None));
    }
}
