//! Sources of sound on other threads: the way to those threads, and what a worker keeps of each source.

use super::types::{Arrival, EndpointId, Local};
use crate::packet::Rtp;
use signal::Time;
use sound::scheduler::{Key, Load, Order, SoundFrame};
use sound::stream::Plan;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, SyncSender};

/// Packets that were on their way when a track began do not end it, ms.
const LATE_MS: u64 = 300;
/// Tells the SSRC of a source apart from the name of its stream.
pub(super) const OTHER: u32 = 0x536f_756e;

/// The way to one sound thread.
#[derive(Clone, Debug)]
pub struct SoundHandle {
    /// Orders to it; as many wait as sources were opened or closed a moment ago.
    pub orders: Sender<Order>,
    /// Packets for it; made once, a full one loses packets.
    pub packets: SyncSender<SoundFrame>,
    /// How busy it is.
    pub load: Arc<Load>,
}

/// All sound threads, as one worker sees them.
#[derive(Debug, Default)]
pub(super) struct Sounds {
    worker: u16,
    handles: Vec<SoundHandle>,
    /// Sources named so far.
    number: u32,
    /// Handed over next; filled in place.
    frame: Box<SoundFrame>,
    /// Streams that are being transcoded.
    pub streams: u64,
    /// Packets that found the queue full.
    pub lost: u64,
}

/// A source on another thread that speaks in an endpoint's place.
#[derive(Debug)]
pub(super) struct Source {
    pub key: Key,
    handle: usize,
    /// Where its numbers begin (RFC 3550 §5.1).
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Codecs on both sides; `None`: a track.
    pub plan: Option<Plan>,
    /// Clock of the outgoing codec, Hz.
    pub clock: u32,
    /// Payload type of a track.
    pub pt: u8,
    /// A track that gives way to live media.
    pub yields: bool,
    /// When it was opened, ms.
    since: Time,
}

impl Sounds {
    /// For the worker of this number.
    pub fn new(worker: u16, handles: Vec<SoundHandle>) -> Sounds {
        Sounds { worker, handles, ..Sounds::default() }
    }

    /// Returns true without sound threads.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Returns the thread with the fewest sources that has room.
    pub fn free(&self) -> Option<usize> {
        let free = self.handles.iter().enumerate().filter(|(_, handle)| handle.load.has_room());
        free.min_by_key(|(_, handle)| handle.load.sources.load(Ordering::Relaxed)).map(|(at, _)| at)
    }

    /// Makes a source of this endpoint; it is opened by [`Sounds::order`].
    pub fn source(
        &mut self,
        (id, local): (EndpointId, &Local),
        handle: usize,
        clock: u32,
        since: Time,
    ) -> Source {
        self.number = self.number.wrapping_add(1);
        let EndpointId { index, generation } = id;
        let key = Key { worker: self.worker, endpoint: index, generation, number: self.number };
        // Drawn at random when the endpoint was made; another source of it begins elsewhere.
        let word = (local.tie_breaker as u32).wrapping_add(self.number.wrapping_mul(0x9e37_79b9));
        let (seq, timestamp) = ((word >> 17) as u16, word.rotate_left(16));
        let (plan, pt, yields) = (None, 0, false);
        Source { key, handle, seq, timestamp, ssrc: word ^ OTHER, plan, clock, pt, yields, since }
    }

    pub fn order(&self, source: &Source, order: Order) {
        if let Some(handle) = self.handles.get(source.handle) {
            // A thread that is gone takes the process with it.
            let _ = handle.orders.send(order);
        }
    }

    /// Hands a payload to the thread of a stream.
    pub fn push(&mut self, source: &Source, rtp: &Rtp, at: Arrival, payload: &[u8]) {
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

    /// Closes a source, if there is one.
    pub fn close(&mut self, source: &mut Option<Box<Source>>) {
        if let Some(source) = source.take() {
            self.streams -= u64::from(source.plan.is_some());
            self.order(&source, Order::Close(source.key));
        }
    }

    /// Live media came: returns false while a track is played in its place; a track that yields is closed.
    pub fn give_way(&mut self, playback: &mut Option<Box<Source>>, now: Time) -> bool {
        match playback {
            Some(track) if !track.yields || now.since(track.since) < LATE_MS => false,
            _ => {
                self.close(playback);
                true
            }
        }
    }
}
