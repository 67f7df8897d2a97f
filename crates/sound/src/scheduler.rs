//! Schedules the streams and players of one sound thread: each has its turn every 20 ms, and the turns are spread evenly.
//!
//! Packets come from the shell and go to it. Under load the complexity of Opus is lowered before anything is late.

use crate::PAYLOAD;
use crate::buffer::Incoming;
use crate::player::{Player, Track};
use crate::stream::{Outgoing, Plan, Stream};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often [`Scheduler::tick`] is wanted, µs.
pub const TICK_US: u64 = 5_000;
/// Between the turns of one source, µs.
const TURN_US: u64 = 1_000 * crate::FRAME_MS;
/// A source that is later than this leaves turns out, µs.
const LATE_US: u64 = 10 * TURN_US;
/// Sources of one scheduler at most.
pub const SOURCES: u32 = 4_000;
/// Share of a core, in thousandths, above which the complexity of Opus is lowered.
const BUSY: u32 = 700;
/// Share below which it is raised again.
const IDLE: u32 = 400;
/// Share from which on no further stream is taken.
const FULL: u32 = 850;
/// Time between two changes of complexity, µs.
const PATIENCE_US: u64 = 2_000_000;

/// Names a source: the worker and the endpoint that it belongs to, and which of that endpoint's sources it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// Media thread.
    pub worker: u16,
    /// Index of the endpoint.
    pub endpoint: u32,
    /// Generation of the index.
    pub generation: u32,
    /// Counts the sources of the worker.
    pub number: u32,
}

/// A packet between a media thread and a scheduler, either way.
#[derive(Clone, Debug)]
pub struct SoundFrame {
    /// Source that it belongs to.
    pub key: Key,
    /// Payload type, as agreed with the side that it comes from or goes to.
    pub pt: u8,
    /// Marker.
    pub marker: bool,
    /// Sequence number; on the way out counted from nought.
    pub seq: u16,
    /// Timestamp; on the way out begun at nought.
    pub timestamp: u32,
    /// SSRC of the packet that came in last.
    pub ssrc: u32,
    /// When it came in, µs.
    pub at_us: u64,
    /// The last of a player: it has ended.
    pub ended: bool,
    length: usize,
    octets: [u8; PAYLOAD],
}

impl Default for SoundFrame {
    fn default() -> SoundFrame {
        SoundFrame {
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

impl SoundFrame {
    /// Returns the payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Copies a payload in; returns false when it is too large.
    pub fn fill(&mut self, payload: &[u8]) -> bool {
        let Some(place) = self.octets.get_mut(..payload.len()) else { return false };
        place.copy_from_slice(payload);
        self.length = payload.len();
        true
    }
}

/// Order to a scheduler.
#[derive(Clone, Debug)]
pub enum Order {
    /// Transcodes a stream.
    Open(Key, Box<Plan>),
    /// Plays a track.
    Play {
        /// Name of the source.
        key: Key,
        /// Encoded sound.
        track: Arc<Track>,
        /// Payload type, as agreed with the receiver.
        pt: u8,
        /// Over and over.
        repeat: bool,
    },
    /// Closes a source; unknown ones are fine.
    Close(Key),
}

/// Load of a scheduler, for other threads to read.
#[derive(Debug, Default)]
pub struct Load {
    /// Number of sources.
    pub sources: AtomicU32,
    /// Thousandths of a core in use.
    pub busy: AtomicU32,
    /// Complexity of Opus in use.
    pub complexity: AtomicU32,
}

impl Load {
    /// Returns true while another stream can be taken.
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
pub struct Scheduler {
    entries: Vec<Entry>,
    places: HashMap<Key, usize>,
    /// Complexity of Opus at most, and now.
    most: u8,
    complexity: u8,
    changed_us: u64,
    /// Smoothed, thousandths.
    busy: u32,
    load: Arc<Load>,
    opened: u64,
    frame: Box<SoundFrame>,
}

impl Scheduler {
    /// Makes an empty scheduler; `complexity` of Opus, 0 to 10, is used while there is time for it.
    #[must_use]
    pub fn new(complexity: u8, load: Arc<Load>) -> Scheduler {
        load.complexity.store(complexity.into(), Ordering::Relaxed);
        Scheduler {
            entries: vec![],
            places: HashMap::new(),
            most: complexity,
            complexity,
            changed_us: 0,
            busy: 0,
            load,
            opened: 0,
            frame: Box::default(),
        }
    }

    /// Returns true without sources.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Executes an order; opening a name that is in use changes nothing.
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

    /// Takes a packet; `emit` gets the frames that leave for it at once.
    pub fn packet(&mut self, frame: &SoundFrame, mut emit: impl FnMut(&SoundFrame)) {
        let entry = self.places.get(&frame.key).and_then(|place| self.entries.get_mut(*place));
        let Some(Entry { key, source: Source::Stream(stream), seq, ssrc, .. }) = entry else { return };
        *ssrc = frame.ssrc;
        let packet = Incoming {
            pt: frame.pt,
            seq: frame.seq,
            timestamp: frame.timestamp,
            ssrc: frame.ssrc,
            payload: frame.payload(),
        };
        let out = &mut *self.frame;
        stream.push(&packet, frame.at_us, |said| send(out, *key, seq, *ssrc, said, &mut emit));
    }

    /// Runs every source that is due.
    pub fn tick(&mut self, now_us: u64, mut emit: impl FnMut(&SoundFrame)) {
        let Scheduler { entries, frame, complexity, .. } = self;
        for Entry { key, source, due_us, seq, ssrc } in entries {
            if *due_us > now_us {
                continue;
            }
            *due_us = if now_us - *due_us > LATE_US { now_us + TURN_US } else { *due_us + TURN_US };
            match source {
                Source::Stream(stream) => {
                    stream.complexity(*complexity);
                    stream.pull(now_us, |said| send(frame, *key, seq, *ssrc, said, &mut emit));
                }
                Source::Player(player) => {
                    let ended = player.pull(|said| send(frame, *key, seq, *ssrc, said, &mut emit));
                    if ended {
                        (frame.key, frame.ended, frame.length) = (*key, true, 0);
                        emit(frame);
                        frame.ended = false;
                    }
                }
            }
        }
    }

    /// Records that the last tick took `busy_us` of `period_us`, and fits the complexity of Opus to it.
    pub fn record_load(&mut self, busy_us: u64, period_us: u64, now_us: u64) {
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

fn send(
    out: &mut SoundFrame,
    key: Key,
    seq: &mut u16,
    ssrc: u32,
    said: Outgoing,
    emit: &mut impl FnMut(&SoundFrame),
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
        let mut scheduler = Scheduler::new(5, load.clone());
        for number in 0..8 {
            scheduler.order(Order::Open(key(number), plan()), 0);
            scheduler.order(Order::Open(key(number), plan()), 0);
        }
        assert_eq!(load.sources.load(Ordering::Relaxed), 8);
        let mut said: HashMap<u32, Vec<(u64, u16)>> = HashMap::new();
        for at in (0..400_000u64).step_by(TICK_US as usize) {
            for number in 0..8 {
                let mut frame = SoundFrame {
                    key: key(number),
                    seq: (at / 20_000) as u16,
                    timestamp: (at / 125) as u32,
                    ..SoundFrame::default()
                };
                if at % 20_000 == 0 && frame.fill(&[0x55; 160]) {
                    scheduler.packet(&frame, |_| {});
                }
            }
            scheduler.tick(at, |frame| {
                assert_eq!((frame.pt, frame.payload().len()), (8, 160));
                said.entry(frame.key.number).or_default().push((at, frame.seq));
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
            scheduler.order(Order::Close(key(number)), 0);
        }
        assert_eq!((load.sources.load(Ordering::Relaxed), scheduler.places.len()), (5, 5));
        assert!(
            scheduler.entries.iter().enumerate().all(|(place, entry)| scheduler.places[&entry.key] == place)
        );
    }

    #[test]
    fn opus_tries_less_hard_under_load_and_harder_again_and_a_full_room_says_so() {
        let load = Arc::new(Load::default());
        let mut scheduler = Scheduler::new(5, load.clone());
        let mut seen = vec![5];
        let mut now = PATIENCE_US;
        for (busy, ticks) in [(4_800, 4_000), (1_000, 4_000)] {
            for _ in 0..ticks {
                now += TICK_US;
                scheduler.record_load(busy, TICK_US, now);
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
