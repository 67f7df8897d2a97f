//! Sound that is not passed on as it comes: ends whose codecs do not meet, and tracks that are played into a leg.
//!
//! The work is done on other threads ([`sound::scheduler`]). The packet path hands an opened payload over by a bounded queue that
//! was made beforehand, and takes the finished packet back as if it came from a source of its own, so that the splice keeps
//! what the receiver sees continuous (R-RTP-2). Names are never used twice: what comes back late meets nobody.

use super::endpoint::Endpoint;
use super::forward;
use super::types::{Arrival, Refusal, Transmit};
use super::{Worker, bundle};
use crate::packet::{self, Rtp, Splice};
use signal::Time;
use sound::codec::Kind;
use sound::player::Track;
use sound::scheduler::{Key, Load, Order, SoundFrame};
use sound::stream::Plan;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};

/// The way to one thread that makes sound.
#[derive(Clone, Debug)]
pub struct SoundHandle {
    /// Orders to it; as many wait as sources were opened or closed a moment ago.
    pub orders: Sender<Order>,
    /// Packets for it; made once, a full one loses packets.
    pub packets: SyncSender<SoundFrame>,
    /// How busy it is.
    pub load: Arc<Load>,
}

/// All such threads, as one worker sees them.
#[derive(Debug, Default)]
pub(super) struct Sounds {
    worker: u16,
    handles: Vec<SoundHandle>,
    /// Sources named so far.
    number: u32,
    /// Handed over next; filled in place.
    frame: Box<SoundFrame>,
    /// Sessions' ends that are being transcoded.
    pub streams: u64,
    /// Packets that found the queue full.
    pub lost: u64,
}

/// A source on another thread that speaks for an end, to its peer.
#[derive(Debug)]
pub(super) struct Source {
    key: Key,
    handle: usize,
    /// Where its numbers begin (RFC 3550 §5.1).
    seq: u16,
    timestamp: u32,
    ssrc: u32,
    /// Codecs on both sides; `None`: a track.
    plan: Option<Plan>,
    /// Clock of the outgoing codec, Hz.
    clock: u32,
    /// The number that a track is said in.
    pt: u8,
    /// A track that gives way to live media.
    yields: bool,
    /// When it was opened, ms.
    since: Time,
}

/// Packets that were on their way when a track began do not end it, ms.
const LATE_MS: u64 = 300;
/// Told apart from the source that it is made from.
const OTHER: u32 = 0x536f_756e;

impl Sounds {
    fn name(&mut self, end: &Endpoint) -> Key {
        self.number = self.number.wrapping_add(1);
        Key {
            worker: self.worker,
            endpoint: end.id.index,
            generation: end.id.generation,
            number: self.number,
        }
    }

    /// The handle with the fewest sources.
    fn handle(&self) -> Option<usize> {
        let free = self.handles.iter().enumerate().filter(|(_, handle)| handle.load.has_room());
        free.min_by_key(|(_, handle)| handle.load.sources.load(std::sync::atomic::Ordering::Relaxed))
            .map(|(at, _)| at)
    }

    fn order(&self, handle: usize, order: Order) {
        if let Some(handle) = self.handles.get(handle) {
            // A thread that is gone takes the process with it.
            let _ = handle.orders.send(order);
        }
    }

    fn source(&mut self, end: &Endpoint, handle: usize, clock: u32, since: Time) -> Source {
        let key = self.name(end);
        // Drawn at random when the end was made; another source of it begins elsewhere.
        let word = (end.local.tie_breaker as u32).wrapping_add(self.number.wrapping_mul(0x9e37_79b9));
        let (seq, timestamp) = ((word >> 17) as u16, word.rotate_left(16));
        Source {
            key,
            handle,
            seq,
            timestamp,
            ssrc: word ^ OTHER,
            plan: None,
            clock,
            pt: 0,
            yields: false,
            since,
        }
    }

    /// A payload of `near`'s peer for its stream.
    pub fn hand(&mut self, source: &Source, rtp: &Rtp, at: Arrival, payload: &[u8]) {
        let Some(handle) = self.handles.get(source.handle) else { return };
        let frame = &mut self.frame;
        if !frame.fill(payload) {
            self.lost += 1;
            return;
        }
        (frame.key, frame.pt, frame.marker) = (source.key, rtp.pt, rtp.marker);
        (frame.seq, frame.timestamp, frame.ssrc, frame.at_us) = (rtp.seq, rtp.timestamp, rtp.ssrc, at.0);
        if handle.packets.try_send(SoundFrame::clone(frame)).is_err() {
            self.lost += 1;
        }
    }
}

impl Endpoint {
    /// Returns the codecs to transcode between, from this endpoint to `far`; `None`: packets pass as they are, or not at all.
    pub(super) fn transcoding(&self, far: &Endpoint) -> Option<Plan> {
        let first = self.codecs.iter().find(|codec| !codec.is_auxiliary())?;
        if self.payloads.get(first.pt).is_some() { None } else { Plan::new(&self.codecs, &far.codecs) }
    }

    /// Returns true when the sound that comes in here is transcoded.
    pub(super) fn is_transcoded(&self) -> bool {
        self.stream.is_some()
    }
}

impl Worker {
    /// Gives the worker threads that make sound; `worker` is its place among the workers. Without, codecs must meet.
    pub fn set_sound_threads(&mut self, worker: u16, handles: Vec<SoundHandle>) {
        self.sounds = Sounds { worker, handles, ..Sounds::default() };
    }

    /// Ends whose sound is being turned into another codec; packets that the threads were too busy to take.
    #[must_use]
    pub fn transcoded(&self) -> (u64, u64) {
        (self.sounds.streams, self.sounds.lost)
    }

    /// Opens, changes or closes the stream of an end after it was fitted to its peer.
    pub(super) fn transcode(&mut self, index: u32, peer: u32, now: Time) -> Result<(), Refusal> {
        let Some((near, far)) = super::table::pair(&mut self.ends, index as usize, peer as usize) else {
            return Ok(());
        };
        // A track in a codec that is spoken there no more.
        if near.playback.as_ref().is_some_and(|track| far.payload_types >> (track.pt & 0x7f) & 1 == 0) {
            close(&mut self.sounds, &mut near.playback);
        }
        let plan = near.transcoding(far);
        if near.stream.as_ref().and_then(|source| source.plan.as_ref()) == plan.as_ref() {
            return Ok(());
        }
        close(&mut self.sounds, &mut near.stream);
        let Some(plan) = plan else { return Ok(()) };
        if self.sounds.handles.is_empty() {
            return Ok(());
        }
        let handle = self.sounds.handle().ok_or(Refusal::Full)?;
        let source = self.sounds.source(near, handle, plan.clock(), now);
        self.sounds.order(handle, Order::Open(source.key, Box::new(plan.clone())));
        self.sounds.streams += 1;
        near.stream = Some(Box::new(Source { plan: Some(plan), ..source }));
        Ok(())
    }

    /// The codec and its number that a track for this end is wanted in; `None`: it is not connected, or speaks none of ours.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn playback_codec(
        &self,
        session: &str,
        leg: u32,
        content: u32,
    ) -> Result<Option<(u8, Kind)>, Refusal> {
        let end = self.endpoint(self.find(session, leg, content)?);
        let codecs = end.filter(|end| !end.is_open()).map(|end| end.codecs.iter());
        Ok(codecs.into_iter().flatten().find_map(|codec| Some((codec.pt, Kind::of(codec)?))))
    }

    /// Plays a track to the peer of this end, in place of what its own peer says; one that `yields` gives way as soon as that
    /// says something. `None` stops. Asked again with the same track, it goes on.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn play(
        &mut self,
        session: &str,
        leg: u32,
        content: u32,
        track: Option<(Arc<Track>, u8)>,
        (repeat, yields): (bool, bool),
        now: Time,
    ) -> Result<(), Refusal> {
        let index = self.find(session, leg, content)?;
        // What is heard here is said, as a rule, by the end on the other side: the track speaks in its place.
        let Some(speaker) = self.endpoint(index).map(|end| end.peer) else { return Ok(()) };
        let Some(speaker) = self.ends.get_mut(speaker).and_then(|slot| slot.end.as_mut()) else {
            return Ok(());
        };
        close(&mut self.sounds, &mut speaker.playback);
        let Some((track, pt)) = track else { return Ok(()) };
        let handle = self.sounds.handle().ok_or(Refusal::Full)?;
        let source = Source { pt, yields, ..self.sounds.source(speaker, handle, track.clock(), now) };
        self.sounds.order(handle, Order::Play { key: source.key, track, pt, repeat });
        if let Some(splice) = &mut speaker.splice {
            splice.interrupt();
        }
        speaker.playback = Some(Box::new(source));
        Ok(())
    }

    /// Something is being played in place of this end.
    #[must_use]
    pub fn is_playing(&self, session: &str, leg: u32, content: u32) -> bool {
        let index = self.find(session, leg, content).ok();
        let speaker = index.and_then(|index| self.ends.get(self.endpoint(index)?.peer)?.end.as_ref());
        speaker.is_some_and(|speaker| speaker.playback.is_some())
    }

    /// A packet is finished; written into `buffer` as it leaves. `None`: nobody waits for it any more.
    pub fn handle_sound_frame(
        &mut self,
        frame: &SoundFrame,
        at: Arrival,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        let Key { endpoint, generation, .. } = frame.key;
        let index = self.live(super::EndpointId { index: endpoint, generation })?;
        let peer = self.endpoint(index)?.peer;
        let (near, _) = super::table::pair(&mut self.ends, index as usize, peer)?;
        if near.playback.as_ref().is_some_and(|track| track.key == frame.key) {
            if frame.ended {
                close(&mut self.sounds, &mut near.playback);
                return None;
            }
        } else if near.playback.is_some() || !near.forwarding || frame.ended {
            return None;
        }
        let sources = [&near.playback, &near.stream];
        let source = sources.into_iter().flatten().find(|source| source.key == frame.key)?;
        let payload = frame.payload();
        let length = 12 + payload.len();
        buffer.get_mut(..12)?.copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        buffer.get_mut(12..length)?.copy_from_slice(payload);
        let rtp = Rtp {
            pt: frame.pt,
            marker: frame.marker,
            seq: frame.seq.wrapping_add(source.seq),
            timestamp: frame.timestamp.wrapping_add(source.timestamp),
            ssrc: source.ssrc,
            header: 12,
        };
        let (name, clock) = (rtp.ssrc ^ OTHER, source.clock);
        let taken = near.splice.is_none() && bundle::taken(&self.ends, peer as u32, name);
        let (near, far) = super::table::pair(&mut self.ends, index as usize, peer)?;
        let splice = near.splice.get_or_insert_with(|| Splice::new(far.reports.ssrc_for(name, taken), clock));
        splice.retime(clock);
        let said = splice.map(rtp, at.time().0);
        packet::rewrite(buffer, &said);
        let departure = forward::send_media(&mut self.ends, peer as u32, &said, at, buffer, length)?;
        self.forwarded += 1;
        Some(departure)
    }

    /// Nothing is played in place of this end any more.
    pub(super) fn stop_playback(&mut self, index: u32) {
        if let Some(end) = self.ends.get_mut(index as usize).and_then(|slot| slot.end.as_mut()) {
            close(&mut self.sounds, &mut end.playback);
        }
    }

    /// Nothing speaks for an end that goes.
    pub(super) fn stop_sound(&mut self, end: &mut Endpoint) {
        close(&mut self.sounds, &mut end.stream);
        close(&mut self.sounds, &mut end.playback);
    }
}

/// Live media of `near`: false when a track is played in its place; one that yields is over.
pub(super) fn gives_way(near: &mut Endpoint, sounds: &mut Sounds, now: Time) -> bool {
    match &near.playback {
        Some(track) if !track.yields || now.since(track.since) < LATE_MS => false,
        Some(_) => {
            close(sounds, &mut near.playback);
            true
        }
        None => true,
    }
}

fn close(sounds: &mut Sounds, source: &mut Option<Box<Source>>) {
    if let Some(source) = source.take() {
        sounds.streams -= u64::from(source.plan.is_some());
        sounds.order(source.handle, Order::Close(source.key));
    }
}
