//! All that one thread makes sound of: streams and players, each with its turn every 20 ms; the turns are spread evenly.
//!
//! Who has packets and takes them is the shell's. Under load Opus tries less hard before anything is late.

use crate::PAYLOAD;
use crate::buffer::Incoming;
use crate::player::{Player, Track};
use crate::stream::{Outgoing, Plan, Stream};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often [`Room::tick`] is wanted, µs.
pub const TICK_US: u64 = 5_000;
/// Between the turns of one source, µs.
const TURN_US: u64 = 1_000 * crate::FRAME_MS;
/// A source that is later than this leaves turns out, µs.
const LATE_US: u64 = 10 * TURN_US;
/// Sources of one room at most.
pub const SOURCES: u32 = 4_000;
/// Shares of a core, in thousandths: from there on Opus tries less hard; below there harder again; from there on there is
/// no room for another stream.
const BUSY: u32 = 700;
const IDLE: u32 = 400;
/// See [`BUSY`].
const FULL: u32 = 850;
/// Between two changes of mind, µs.
const PATIENCE_US: u64 = 2_000_000;

/// Names a source: the worker and the end that it speaks for, and which of that end's sources it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// Media thread.
    pub worker: u16,
    /// Place of the end.
    pub end: u32,
    /// Generation of the place.
    pub generation: u32,
    /// Counts the sources of the worker.
    pub number: u32,
}

/// A packet between a media thread and a room, either way.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Whose.
    pub key: Key,
    /// Payload type, in the numbers of the side that it comes from or goes to.
    pub pt: u8,
    /// Marker.
    pub marker: bool,
    /// Sequence number; what a room gives counts from nought.
    pub seq: u16,
    /// Timestamp; what a room gives begins at nought.
    pub timestamp: u32,
    /// Source of what came in last.
    pub ssrc: u32,
    /// When it came in, µs.
    pub at_us: u64,
    /// The last of a player: it has ended.
    pub ended: bool,
    length: usize,
    octets: [u8; PAYLOAD],
}

impl Default for Parcel {
    fn default() -> Parcel {
        Parcel {
            key: Key::default(),
            pt: 0,
            marker: false,
            seq: 0,
            timestamp: 0,
            ssrc: 0,
            at_us: 0,
            ended: false,
            length: 0,
            octets: [0; PAYLOAD],
        }
    }
}

impl Parcel {
    /// What it carries.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Puts in what it carries; false: too large.
    pub fn fill(&mut self, payload: &[u8]) -> bool {
        let Some(place) = self.octets.get_mut(..payload.len()) else { return false };
        place.copy_from_slice(payload);
        self.length = payload.len();
        true
    }
}

/// What a room is told to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Turn one codec into another.
    Open(Key, Box<Plan>),
    /// Play a track.
    Play {
        /// Its name.
        key: Key,
        /// What.
        track: Arc<Track>,
        /// In the receiver's numbers.
        pt: u8,
        /// Over and over.
        repeat: bool,
    },
    /// Be done with a source; unknown ones are fine.
    Close(Key),
}

/// How busy a room is, for others to read.
#[derive(Debug, Default)]
pub struct Load {
    /// Sources.
    pub sources: AtomicU32,
    /// Thousandths of a core in use.
    pub busy: AtomicU32,
    /// How hard Opus tries.
    pub complexity: AtomicU32,
}

impl Load {
    /// Another stream finds room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.sources.load(Ordering::Relaxed) < SOURCES && self.busy.load(Ordering::Relaxed) < FULL
    }
}

#[derive(Debug)]
enum Source {
    Stream(Box<Stream>),
    Player(Player),
}

#[derive(Debug)]
struct Entry {
    key: Key,
    source: Source,
    due_us: u64,
    seq: u16,
    ssrc: u32,
}

/// The sources of one thread.
#[derive(Debug)]
pub struct Room {
    entries: Vec<Entry>,
    places: HashMap<Key, usize>,
    /// How hard Opus may try, and does.
    most: u8,
    complexity: u8,
    changed_us: u64,
    /// Smoothed, thousandths.
    busy: u32,
    load: Arc<Load>,
    opened: u64,
    parcel: Box<Parcel>,
}

impl Room {
    /// Empty; Opus tries as hard as `complexity`, 0 to 10, while there is time for it.
    #[must_use]
    pub fn new(complexity: u8, load: Arc<Load>) -> Room {
        load.complexity.store(complexity.into(), Ordering::Relaxed);
        Room {
            entries: vec![],
            places: HashMap::new(),
            most: complexity,
            complexity,
            changed_us: 0,
            busy: 0,
            load,
            opened: 0,
            parcel: Box::default(),
        }
    }

    /// No source.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Does what it is told; a name that is in use is left alone.
    pub fn order(&mut self, order: Order, now_us: u64) {
        let (key, source) = match order {
            Order::Close(key) => {
                if let Some(place) = self.places.remove(&key) {
                    self.entries.swap_remove(place);
                    if let Some(moved) = self.entries.get(place) {
                        self.places.insert(moved.key, place);
                    }
                }
                return self.count();
            }
            // Without a state the stream stays silent; the media timeout of its receiver finds it.
            Order::Open(key, plan) => match Stream::new(&plan, self.complexity) {
                Ok(stream) => (key, Source::Stream(Box::new(stream))),
                Err(_) => return,
            },
            Order::Play { key, track, pt, repeat } => (key, Source::Player(Player::new(track, pt, repeat))),
        };
        if self.places.contains_key(&key) {
            return;
        }
        // Four sources after one another have their turns in four different ticks.
        let due_us = now_us + self.opened % (TURN_US / TICK_US) * TICK_US;
        self.opened += 1;
        self.places.insert(key, self.entries.len());
        self.entries.push(Entry { key, source, due_us, seq: 0, ssrc: 0 });
        self.count();
    }

    fn count(&self) {
        self.load.sources.store(self.entries.len() as u32, Ordering::Relaxed);
    }

    /// A packet came in; `emit` gets what is to be said for it at once.
    pub fn packet(&mut self, parcel: &Parcel, mut emit: impl FnMut(&Parcel)) {
        let entry = self.places.get(&parcel.key).and_then(|place| self.entries.get_mut(*place));
        let Some(Entry { key, source: Source::Stream(stream), seq, ssrc, .. }) = entry else { return };
        *ssrc = parcel.ssrc;
        let packet = Incoming {
            pt: parcel.pt,
            seq: parcel.seq,
            timestamp: parcel.timestamp,
            ssrc: parcel.ssrc,
            payload: parcel.payload(),
        };
        let out = &mut *self.parcel;
        stream.push(&packet, parcel.at_us, |said| tell(out, *key, seq, *ssrc, said, &mut emit));
    }

    /// Gives every source that is due its turn.
    pub fn tick(&mut self, now_us: u64, mut emit: impl FnMut(&Parcel)) {
        let Room { entries, parcel, complexity, .. } = self;
        for Entry { key, source, due_us, seq, ssrc } in entries {
            if *due_us > now_us {
                continue;
            }
            *due_us = if now_us - *due_us > LATE_US { now_us + TURN_US } else { *due_us + TURN_US };
            match source {
                Source::Stream(stream) => {
                    stream.complexity(*complexity);
                    stream.pull(now_us, |said| tell(parcel, *key, seq, *ssrc, said, &mut emit));
                }
                Source::Player(player) => {
                    let ended = player.pull(|said| tell(parcel, *key, seq, *ssrc, said, &mut emit));
                    if ended {
                        (parcel.key, parcel.ended, parcel.length) = (*key, true, 0);
                        emit(parcel);
                        parcel.ended = false;
                    }
                }
            }
        }
    }

    /// The last tick took `busy_us` of `period_us`.
    pub fn took(&mut self, busy_us: u64, period_us: u64, now_us: u64) {
        let share = (busy_us * 1_000 / period_us.max(1)).min(2_000) as u32;
        self.busy = (self.busy * 63 + share) / 64;
        self.load.busy.store(self.busy, Ordering::Relaxed);
        if now_us.saturating_sub(self.changed_us) < PATIENCE_US {
            return;
        }
        let wanted = match self.complexity {
            now if self.busy > BUSY => {
                if now > 1 {
                    1
                } else {
                    0
                }
            }
            0 if self.busy < IDLE => 1.min(self.most),
            now if self.busy < IDLE && now < self.most => self.most,
            now => now,
        };
        if wanted != self.complexity {
            (self.complexity, self.changed_us) = (wanted, now_us);
            self.load.complexity.store(wanted.into(), Ordering::Relaxed);
        }
    }
}

fn tell(
    out: &mut Parcel,
    key: Key,
    seq: &mut u16,
    ssrc: u32,
    said: Outgoing,
    emit: &mut impl FnMut(&Parcel),
) {
    let Outgoing { pt, marker, timestamp, payload } = said;
    if out.fill(payload) {
        (out.key, out.pt, out.marker, out.timestamp) = (key, pt, marker, timestamp);
        (out.seq, out.ssrc) = (*seq, ssrc);
        *seq = seq.wrapping_add(1);
        emit(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal::media::Codec;

    fn key(number: u32) -> Key {
        Key { number, ..Key::default() }
    }

    fn plan() -> Box<Plan> {
        let (pcmu, pcma) = (Codec::new(0, "PCMU", 8_000, 1), Codec::new(8, "PCMA", 8_000, 1));
        Box::new(Plan::new(&[pcmu], &[pcma]).unwrap())
    }

    #[test]
    fn streams_have_turns_of_their_own_and_go_when_they_are_told() {
        let load = Arc::new(Load::default());
        let mut room = Room::new(5, load.clone());
        for number in 0..8 {
            room.order(Order::Open(key(number), plan()), 0);
            room.order(Order::Open(key(number), plan()), 0);
        }
        assert_eq!(load.sources.load(Ordering::Relaxed), 8);
        let mut said: HashMap<u32, Vec<(u64, u16)>> = HashMap::new();
        for at in (0..400_000u64).step_by(TICK_US as usize) {
            for number in 0..8 {
                let mut parcel = Parcel {
                    key: key(number),
                    seq: (at / 20_000) as u16,
                    timestamp: (at / 125) as u32,
                    ..Parcel::default()
                };
                if at % 20_000 == 0 && parcel.fill(&[0x55; 160]) {
                    room.packet(&parcel, |_| {});
                }
            }
            room.tick(at, |parcel| {
                assert_eq!((parcel.pt, parcel.payload().len()), (8, 160));
                said.entry(parcel.key.number).or_default().push((at, parcel.seq));
            });
        }
        assert_eq!(said.len(), 8);
        let phase = |number: u32| said[&number][0].0 % 20_000;
        assert_eq!((0..4).map(phase).collect::<Vec<_>>(), [0, 5_000, 10_000, 15_000]);
        for said in said.values() {
            assert!(said.iter().enumerate().all(|(n, (_, seq))| n == usize::from(*seq)) && said.len() >= 16);
            assert!(said.windows(2).all(|w| w[1].0 - w[0].0 == 20_000));
        }
        for number in [3, 0, 7, 3, 99] {
            room.order(Order::Close(key(number)), 0);
        }
        assert_eq!((load.sources.load(Ordering::Relaxed), room.places.len()), (5, 5));
        assert!(room.entries.iter().enumerate().all(|(place, entry)| room.places[&entry.key] == place));
    }

    #[test]
    fn opus_tries_less_hard_under_load_and_harder_again_and_a_full_room_says_so() {
        let load = Arc::new(Load::default());
        let mut room = Room::new(5, load.clone());
        let mut seen = vec![5];
        let mut now = PATIENCE_US;
        for (busy, ticks) in [(4_800, 4_000), (1_000, 4_000)] {
            for _ in 0..ticks {
                now += TICK_US;
                room.took(busy, TICK_US, now);
                let complexity = load.complexity.load(Ordering::Relaxed);
                if seen.last() != Some(&complexity) {
                    seen.push(complexity);
                }
            }
            assert_eq!(load.has_room(), busy < 4_000);
        }
        assert_eq!(seen, [5, 1, 0, 1, 5]);
    }
}
