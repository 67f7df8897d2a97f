//! One direction of a call between two codecs: packets in as they come, a packet out every 20 ms.
//!
//! Play-out is adaptive: the sound that is still buffered after a frame was taken, at the least over a second or two, is kept
//! between [`SPARE_LEAST`] and [`SPARE_MOST`] by cutting out or putting in a pitch period. That follows jitter and the drift
//! of clocks alike. Lost packets are concealed; silence is filled with comfort noise.

mod level;
#[cfg(test)]
mod tests;

use crate::buffer::{Buffer, Incoming, Kept};
use crate::codec::{Decoder, Encoder, Kind, LONGEST, NoCodec};
use crate::conceal::Conceal;
use crate::event::{ENDS, Event, Events};
use crate::noise::Noise;
use crate::{FRAME_MS, MOST_RATE, PAYLOAD};
use level::Level;
use signal::media::Codec;

/// Sound that is buffered before the first frame is taken, ms.
const START_MS: u32 = 40;
/// More than this is never held, ms.
const MOST_MS: u32 = 200;
/// Sound buffered after a frame, at the least: below it (a packet that is a frame late is missed) play-out waits a little, ms.
pub const SPARE_LEAST: u32 = 20;
/// Above it, it hurries, ms.
pub const SPARE_MOST: u32 = 45;
/// A gap longer than this is not filled but passed over, ms.
const GAP_MS: u32 = 200;
/// Nothing came for so long: what comes then is waited for as at the start, ms.
const PAUSE_MS: u32 = 60;
/// Nothing came for so long: the stream rests until something comes, ms.
const REST_MS: u32 = 1_000;
/// Comfort noise for so long without another word, ms.
const QUIET_MS: u32 = 60_000;
/// A level of comfort noise is repeated as often, frames.
const REPEAT: u32 = 10;
/// Samples of a frame.
const FRAME: usize = FRAME_MS as usize * MOST_RATE / 1_000;
/// Samples decoded and not yet said: a whole packet, a frame and the periods that are put in.
const ROOM: usize = LONGEST + 3 * FRAME;
/// Codecs of one side that are understood.
const DECODERS: usize = 4;

/// Codecs on both sides of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Codecs that the sender may send, in its payload types.
    pub heard: Vec<Codec>,
    /// Codecs that the receiver agreed to, in its payload types.
    pub said: Vec<Codec>,
}

impl Plan {
    /// Returns `None` when one of the sides has no codec that can be transcoded.
    #[must_use]
    pub fn new(heard: &[Codec], said: &[Codec]) -> Option<Plan> {
        let any = |codecs: &[Codec]| codecs.iter().any(|codec| Kind::of(codec).is_some());
        (any(heard) && any(said)).then(|| Plan { heard: heard.to_vec(), said: said.to_vec() })
    }

    /// Clock of the outgoing codec, Hz.
    #[must_use]
    pub fn clock(&self) -> u32 {
        self.main().map_or(8_000, |(_, kind)| kind.clock())
    }

    fn main(&self) -> Option<(u8, Kind)> {
        self.said.iter().find_map(|codec| Some((codec.pt, Kind::of(codec)?)))
    }

    fn beside(codecs: &[Codec], name: &str) -> Option<(u8, u32)> {
        codecs.iter().find(|c| c.name.eq_ignore_ascii_case(name)).map(|c| (c.pt, c.clock))
    }
}

/// A packet to be sent, but for its sequence number and source.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// In the receiver's payload types.
    pub pt: u8,
    /// The first after a silence, or of an event.
    pub marker: bool,
    /// In the clock of the outgoing codec; nought at the start.
    pub timestamp: u32,
    /// Encoded sound.
    pub payload: &'a [u8],
}

/// Counters of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames encoded.
    pub frames: u64,
    /// Milliseconds made up because a packet was lost or late.
    pub concealed_ms: u64,
    /// Packets that were of no use: late, doubled, too large, nonsense.
    pub refused: u64,
    /// Times that a period was cut out or put in.
    pub adapted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing came yet, or for long.
    Resting,
    /// Sound has begun to come; enough is waited for, so many frames so far. Noise goes on meanwhile.
    Filling { frames: u32, noise: bool },
    /// Sound.
    Playing,
    /// The sender told that it is silent; so many frames ago.
    Quiet(u32),
}

/// A stream.
#[derive(Debug)]
pub struct Stream {
    rate: usize,
    decoders: Vec<(u8, Kind, Decoder)>,
    /// Which of them is in use.
    current: usize,
    noise_pt: Option<u8>,
    events_pt: Option<u8>,
    events: Option<(u8, Events)>,
    said: (u8, Kind, Encoder),
    /// Number of the receiver's comfort noise.
    said_noise: Option<u8>,
    complexity: u8,

    buffer: Buffer,
    state: State,
    /// The timestamp that is decoded next, in the sender's clock.
    play: u32,
    /// Made up while nothing came, in ticks; what was lost meanwhile is not made up again.
    dry: u32,
    /// Decoded and not yet said.
    samples: Box<[i16; ROOM]>,
    filled: usize,
    conceal: Conceal,
    noise: Noise,
    level: Level,

    /// Timestamp of the next frame.
    timestamp: u32,
    marker: bool,
    payload: Box<[u8; PAYLOAD]>,
    counts: Counts,
}

impl Stream {
    /// Makes all that the stream needs.
    ///
    /// # Errors
    /// [`NoCodec`]
    pub fn new(plan: &Plan, complexity: u8) -> Result<Stream, NoCodec> {
        let (pt, kind) = plan.main().ok_or(NoCodec)?;
        let heard = plan.heard.iter().filter_map(|codec| Some((codec.pt, Kind::of(codec)?)));
        let heard: Vec<(u8, Kind)> = heard.take(DECODERS).collect();
        // What all of them have: nothing is resampled.
        let rate = heard.iter().map(|(_, kind)| kind.rate()).min().ok_or(NoCodec)?.min(kind.rate());
        let decoders = heard.into_iter().map(|(pt, kind)| Ok((pt, kind, Decoder::new(kind, rate)?)));
        let events =
            match (Plan::beside(&plan.heard, "telephone-event"), Plan::beside(&plan.said, "telephone-event"))
            {
                (Some((_, heard)), Some((pt, said))) => Some((pt, Events::new(heard, said))),
                _ => None,
            };
        Ok(Stream {
            rate,
            decoders: decoders.collect::<Result<_, NoCodec>>()?,
            current: 0,
            noise_pt: Plan::beside(&plan.heard, "CN").map(|(pt, _)| pt),
            events_pt: Plan::beside(&plan.heard, "telephone-event").map(|(pt, _)| pt),
            events,
            said: (pt, kind, Encoder::new(kind, rate, complexity)?),
            said_noise: Plan::beside(&plan.said, "CN")
                .filter(|(_, clock)| *clock == kind.clock())
                .map(|(pt, _)| pt),
            complexity,
            buffer: Buffer::default(),
            state: State::Resting,
            play: 0,
            dry: 0,
            samples: Box::new([0; ROOM]),
            filled: 0,
            conceal: Conceal::new(rate),
            noise: Noise::default(),
            level: Level::default(),
            timestamp: 0,
            marker: true,
            payload: Box::new([0; PAYLOAD]),
            counts: Counts::default(),
        })
    }

    /// Returns the counters so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How hard Opus tries from now on.
    pub fn complexity(&mut self, complexity: u8) {
        if std::mem::replace(&mut self.complexity, complexity) != complexity {
            self.said.2.complexity(complexity);
        }
    }

    /// A packet came. A key is passed on at once.
    pub fn push(&mut self, packet: &Incoming, at_us: u64, mut say: impl FnMut(Outgoing)) {
        if Some(packet.pt) == self.events_pt {
            self.buffer.pass(packet.ssrc, packet.seq);
            if let Some((pt, events)) = &mut self.events
                && let Some(event) =
                    events.heard(packet.seq, packet.timestamp, packet.payload, self.timestamp, at_us)
            {
                say(spoken(*pt, &event));
                self.marker = true;
            }
            return;
        }
        let known = Some(packet.pt) == self.noise_pt
            || self.kind(packet.pt).is_some_and(|kind| kind.ticks(packet.payload).is_some());
        if !known {
            self.counts.refused += 1;
            return;
        }
        match self.buffer.insert(packet) {
            Kept::Waits => {}
            Kept::Refused => self.counts.refused += 1,
            Kept::Begins if self.state == State::Playing => self.fill(),
            Kept::Begins => {}
        }
    }

    /// Another frame is due; called every 20 ms.
    pub fn pull(&mut self, at_us: u64, mut say: impl FnMut(Outgoing)) {
        if let Some((pt, events)) = &mut self.events
            && let Some(event) = events.lost(at_us)
        {
            (0..ENDS).for_each(|_| say(spoken(*pt, &event)));
        }
        self.arrive();
        if self.state == State::Playing {
            self.sound();
        }
        let sounds = !matches!(self.state, State::Resting | State::Filling { noise: false, .. });
        let pressed = self.events.as_ref().is_some_and(|(_, events)| events.pressed());
        if sounds && !pressed {
            self.say(&mut say);
        } else {
            self.marker = true;
            self.take();
        }
        if let State::Quiet(frames) = &mut self.state {
            *frames += 1;
            if *frames * FRAME_MS as u32 >= QUIET_MS {
                self.state = State::Resting;
            }
        }
        self.timestamp = self.timestamp.wrapping_add(self.said.1.clock() / 50);
    }

    /// Moves from silence to sound when enough of it has come.
    fn arrive(&mut self) {
        // What is told of the silence is learnt, whenever it comes.
        while matches!(self.state, State::Quiet(_)) && self.first_is_silence() {
            self.silence();
        }
        match self.state {
            State::Resting | State::Quiet(_) if !self.buffer.is_empty() => self.fill(),
            State::Filling { .. } if self.buffer.is_empty() => self.state = State::Resting,
            _ => {}
        }
        if let State::Filling { frames, noise } = self.state {
            if self.first_is_silence() {
                return self.silence();
            }
            self.play = self.buffer.first().map_or(0, |slot| slot.timestamp);
            if self.waiting_ms() >= START_MS || frames * FRAME_MS as u32 >= START_MS {
                self.state = State::Playing;
                self.level = Level::default();
            } else {
                self.state = State::Filling { frames: frames + 1, noise };
            }
        }
    }

    fn fill(&mut self) {
        let noise = matches!(self.state, State::Quiet(_));
        (self.state, self.dry) = (State::Filling { frames: 0, noise }, 0);
    }

    /// The first packet tells of silence: comfort noise, or Opus that says next to nothing (RFC 6716 §2.1.9).
    fn first_is_silence(&self) -> bool {
        self.buffer.first().is_some_and(|slot| {
            Some(slot.pt) == self.noise_pt
                || slot.payload().len() <= 2 && self.kind(slot.pt) == Some(Kind::Opus)
        })
    }

    /// Takes the first packet, which tells of silence.
    fn silence(&mut self) {
        let Some(slot) = self.buffer.first() else { return };
        let mut frame = [0; LONGEST];
        if Some(slot.pt) == self.noise_pt {
            self.noise.learn(slot.payload());
        } else if let Some((_, _, decoder)) = self.decoders.iter_mut().find(|(pt, ..)| *pt == slot.pt) {
            let length = decoder.decode(slot.payload(), &mut frame);
            self.noise.resemble(frame.get(..length).unwrap_or_default());
        }
        self.play = slot.timestamp;
        self.buffer.pop();
        self.state = State::Quiet(0);
    }

    /// Sees to it that a frame is decoded, or more where play-out is to be hurried or slowed.
    fn sound(&mut self) {
        let frame = self.frame();
        let held = self.held_ms();
        if held > MOST_MS + FRAME_MS as u32 {
            self.skip();
        }
        let wish = self.level.wish();
        let enough = if wish == level::Wish::Hurry { 2 * frame } else { frame };
        // Each turn decodes or fills something; the bound is for packets of nothing.
        for _ in 0..32 {
            if self.filled >= enough || self.state != State::Playing || !self.more(frame) {
                break;
            }
        }
        if self.state == State::Playing {
            self.adapt(wish);
        }
    }

    /// Decodes or fills in what comes next. False: there is enough for now.
    fn more(&mut self, frame: usize) -> bool {
        let Some(first) = self.buffer.first() else {
            if self.filled < frame {
                self.dry_frame(frame);
            }
            return false;
        };
        let ahead = first.timestamp.wrapping_sub(self.play) as i32;
        let ahead_ms = self.ms(ahead.unsigned_abs());
        if self.first_is_silence() && ahead <= 0 {
            if self.filled >= frame {
                return false;
            }
            self.silence();
            return true;
        }
        match ahead {
            0 => self.decode(),
            // Its turn is over, or the clock jumped.
            ahead if ahead < 0 => {
                if ahead_ms > GAP_MS {
                    self.play = first.timestamp;
                } else {
                    self.counts.refused += 1;
                    self.buffer.pop();
                }
            }
            // A pause rather than a loss: enough is waited for again.
            _ if self.ms(self.dry) >= PAUSE_MS => {
                self.fill();
                return false;
            }
            // Made up already while nothing came.
            ahead if ahead as u32 <= self.dry => (self.play, self.dry) = (first.timestamp, 0),
            _ if ahead_ms > GAP_MS => self.play = first.timestamp,
            ahead => self.gap(ahead as u32),
        }
        true
    }

    fn decode(&mut self) {
        let Some(slot) = self.buffer.first() else { return };
        let Some(place) = self.decoders.iter().position(|(pt, ..)| *pt == slot.pt) else {
            // Comfort noise that came while it was not its turn.
            return self.buffer.pop();
        };
        self.current = place;
        let Some((_, kind, decoder)) = self.decoders.get_mut(place) else { return };
        let ticks = kind.ticks(slot.payload()).unwrap_or(0);
        let lost = ticks as usize * self.rate / kind.clock() as usize;
        let room = self.samples.get_mut(self.filled..).unwrap_or_default();
        let length = decoder.decode(slot.payload(), room).min(room.len());
        (self.play, self.dry) = (slot.timestamp.wrapping_add(ticks), 0);
        self.buffer.pop();
        if length == 0 {
            // What makes no sense is as good as lost.
            self.counts.refused += 1;
            return self.made_up(lost, None);
        }
        if let Some(samples) = self.samples.get_mut(self.filled..self.filled + length) {
            self.conceal.heard(samples);
        }
        self.filled += length;
    }

    /// The first packet that waits begins `ticks` after what was decoded last.
    fn gap(&mut self, ticks: u32) {
        let Some(slot) = self.buffer.first() else { return };
        let (silent, clock) = (self.buffer.follows(), self.clock());
        let frame = clock / 50;
        let next = self.kind(slot.pt).and_then(|kind| kind.ticks(slot.payload())).unwrap_or(frame);
        // Opus may repeat in a packet what the one before it said: the last of several lost ones is left for that.
        let repeats = !silent && ticks == next && self.current().is_some_and(|(pt, ..)| *pt == slot.pt);
        let step = match ticks.checked_sub(next) {
            Some(0) => next,
            Some(more) => more.min(frame),
            None => ticks.min(frame),
        };
        let length = (u64::from(step) * self.rate as u64 / u64::from(clock)) as usize;
        let mut copy = [0; PAYLOAD];
        let repeated = copy.get_mut(..slot.payload().len()).filter(|_| repeats).map(|copy| {
            copy.copy_from_slice(slot.payload());
            &*copy
        });
        self.play = self.play.wrapping_add(step);
        if !silent {
            return self.made_up(length, repeated);
        }
        // None was lost: the sender was silent.
        let room = self.samples.get_mut(self.filled..).unwrap_or_default();
        let length = length.min(room.len());
        if let Some(room) = room.get_mut(..length) {
            self.noise.fill(room);
            self.conceal.heard(room);
        }
        self.filled += length;
    }

    /// Nothing has come in time: a frame is made up, and play-out waits as long.
    fn dry_frame(&mut self, frame: usize) {
        let clock = self.clock();
        self.made_up(frame, None);
        self.dry = self.dry.saturating_add(clock / 50);
        self.level.ran_dry();
        if self.ms(self.dry) >= REST_MS {
            (self.state, self.filled) = (State::Resting, 0);
        }
    }

    /// Fills in so many samples: as the codec would, or by repeating the last period.
    fn made_up(&mut self, length: usize, next: Option<&[u8]>) {
        let Some(room) = self.samples.get_mut(self.filled..) else { return };
        let length = length.min(room.len());
        let Some(room) = room.get_mut(..length) else { return };
        let own =
            self.decoders.get_mut(self.current).is_some_and(|(_, _, decoder)| decoder.conceal(next, room));
        if own {
            self.conceal.heard(room);
        } else {
            self.conceal.missing(room);
        }
        self.filled += length;
        self.counts.concealed_ms += (length * 1_000 / self.rate) as u64;
    }

    /// Far too much waits: what is oldest is passed over.
    fn skip(&mut self) {
        while self.waiting_ms() > START_MS + FRAME_MS as u32 && self.buffer.len() > 1 {
            self.buffer.pop();
        }
        self.filled = self.filled.min(self.frame());
        self.play = self.buffer.first().map_or(self.play, |slot| slot.timestamp);
        self.level = Level::default();
        // The join is faded.
        self.conceal.missing(&mut [0]);
    }

    fn adapt(&mut self, wish: level::Wish) {
        let frame = self.frame();
        let held = self.filled;
        let changed = match wish {
            level::Wish::Hurry if held >= 2 * frame => {
                self.samples.get_mut(..held).map_or(held, |samples| self.conceal.shorten(samples))
            }
            level::Wish::Wait => {
                held + self.samples.get_mut(held..).map_or(0, |room| self.conceal.wait(room))
            }
            _ => held,
        };
        self.filled = changed;
        if changed != held {
            self.counts.adapted += 1;
            self.level.moved((changed as i32 - held as i32) * 1_000 / self.rate as i32);
        }
        // What is left when the frame is taken.
        self.level.note(self.held_ms().saturating_sub(FRAME_MS as u32));
    }

    /// Says a frame: sound, or noise where there is silence.
    fn say(&mut self, say: &mut impl FnMut(Outgoing)) {
        let frame = self.frame();
        if self.state != State::Playing {
            self.filled = 0;
            let Some(samples) = self.samples.get_mut(..frame) else { return };
            let own = self
                .decoders
                .get_mut(self.current)
                .is_some_and(|(_, _, decoder)| decoder.conceal(None, samples));
            if !own {
                self.noise.fill(samples);
            }
            if let Some(pt) = self.said_noise {
                if matches!(self.state, State::Quiet(frames) if frames % REPEAT == 0) {
                    let level = [Noise::level(samples)];
                    say(Outgoing { pt, marker: false, timestamp: self.timestamp, payload: &level });
                }
                self.marker = true;
                return;
            }
            self.filled = frame;
        }
        let (pt, _, encoder) = &mut self.said;
        let samples = self.samples.get(..frame.min(self.filled)).unwrap_or_default();
        if samples.len() == frame {
            let length = encoder.encode(samples, &mut self.payload[..]);
            if let Some(payload) = self.payload.get(..length).filter(|payload| !payload.is_empty()) {
                say(Outgoing { pt: *pt, marker: self.marker, timestamp: self.timestamp, payload });
                self.marker = false;
                self.counts.frames += 1;
            }
        }
        self.take();
    }

    /// The frame is over.
    fn take(&mut self) {
        let frame = self.frame().min(self.filled);
        self.samples.copy_within(frame..self.filled, 0);
        self.filled -= frame;
    }

    fn frame(&self) -> usize {
        FRAME_MS as usize * self.rate / 1_000
    }

    fn kind(&self, pt: u8) -> Option<Kind> {
        self.decoders.iter().find(|(number, ..)| *number == pt).map(|(_, kind, _)| *kind)
    }

    fn current(&self) -> Option<&(u8, Kind, Decoder)> {
        self.decoders.get(self.current)
    }

    /// The sender's clock, Hz.
    fn clock(&self) -> u32 {
        self.current().map_or(8_000, |(_, kind, _)| kind.clock())
    }

    fn ms(&self, ticks: u32) -> u32 {
        (u64::from(ticks) * 1_000 / u64::from(self.clock())) as u32
    }

    /// From what is decoded next to the end of what came last, ms; lost packets count.
    fn waiting_ms(&self) -> u32 {
        let (Some(first), Some(last)) = (self.buffer.first(), self.buffer.last()) else { return 0 };
        let end = self.kind(last.pt).and_then(|kind| kind.ticks(last.payload())).unwrap_or(0);
        let start = if self.state == State::Playing { self.play } else { first.timestamp };
        let ticks = last.timestamp.wrapping_add(end).wrapping_sub(start);
        if (ticks as i32) < 0 { 0 } else { self.ms(ticks) }
    }

    /// All that is in hand, ms.
    fn held_ms(&self) -> u32 {
        self.waiting_ms() + (self.filled * 1_000 / self.rate) as u32
    }
}

fn spoken(pt: u8, event: &Event) -> Outgoing<'_> {
    Outgoing { pt, marker: event.marker, timestamp: event.timestamp, payload: &event.payload }
}
