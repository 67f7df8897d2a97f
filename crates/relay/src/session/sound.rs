//! Sound that is not forwarded as it comes: endpoints whose codecs do not meet, and tracks that are played into a leg.
//!
//! The work is done on other threads ([`sound::scheduler`]). The packet path hands an opened payload over by a bounded queue that
//! was made beforehand, and takes the finished packet back as if it came from a source of its own, so that the splice keeps
//! the receiver's stream continuous (R-RTP-2). Keys are never used twice: a frame that comes back late meets nobody.

use super::endpoint::Endpoint;
use super::send;
use super::sources::{OTHER, SoundHandle, Sounds, Source};
use super::types::{Arrival, EndpointId, Refusal, Transmit};
use super::worker::Worker;
use crate::packet::{self, Rtp, Splice};
use signal::Time;
use sound::codec::Kind;
use sound::player::Track;
use sound::scheduler::{Key, Order, SoundFrame};
use sound::stream::Plan;
use std::sync::Arc;

impl Endpoint {
    /// Returns the codecs to transcode between, from this endpoint to `far`; `None`: packets pass as they are, or not at all.
    fn transcoding(&self, far: &Endpoint) -> Option<Plan> {
        let first = self.codecs.iter().find(|codec| !codec.is_auxiliary())?;
        if self.payloads.get(first.pt).is_some() { None } else { Plan::new(&self.codecs, &far.codecs) }
    }
}

impl Worker {
    /// Gives the worker sound threads; `worker` is its place among the workers. Without, codecs must meet.
    pub fn set_sound_threads(&mut self, worker: u16, handles: Vec<SoundHandle>) {
        self.sounds = Sounds::new(worker, handles);
    }

    /// Returns the number of streams that are being transcoded, and of packets that the sound threads were too busy to take.
    #[must_use]
    pub fn transcoded(&self) -> (u64, u64) {
        (self.sounds.streams, self.sounds.lost)
    }

    /// Opens, changes or closes the stream of an endpoint after it was fitted to its hearer.
    pub(super) fn transcode(&mut self, index: u32, peer: u32, now: Time) -> Result<(), Refusal> {
        let Worker { endpoints, sounds, .. } = self;
        let Some((near, far)) = endpoints.pair(index, peer) else { return Ok(()) };
        let plan = near.transcoding(far);
        if near.stream.as_ref().and_then(|source| source.plan.as_ref()) == plan.as_ref() {
            return Ok(());
        }
        sounds.close(&mut near.stream);
        let Some(plan) = plan else { return Ok(()) };
        if sounds.is_empty() {
            return Ok(());
        }
        let handle = sounds.free().ok_or(Refusal::Full)?;
        let mut source = sounds.source((near.id, &near.local), handle, plan.clock(), now);
        source.plan = Some(plan.clone());
        sounds.order(&source, Order::Open(source.key, Box::new(plan)));
        sounds.streams += 1;
        near.stream = Some(Box::new(source));
        Ok(())
    }

    /// Returns the payload type and the codec that a track for this endpoint is wanted in; `None`: it is not connected, or speaks
    /// none of ours.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn playback_codec(
        &self,
        session: &str,
        leg: u32,
        content: u32,
    ) -> Result<Option<(u8, Kind)>, Refusal> {
        let end = self.endpoints.get(self.find(session, leg, content)?);
        let codecs = end.filter(|end| !end.is_open()).map(|end| end.codecs.iter());
        Ok(codecs.into_iter().flatten().find_map(|codec| Some((codec.pt, Kind::of(codec)?))))
    }

    /// Plays a track to the peer of this endpoint, in place of what it hears, bridged or not; one that `yields` gives way to the first live
    /// packet. `None` stops.
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
        let Worker { endpoints, sounds, .. } = self;
        let Some(end) = endpoints.get_mut(index) else { return Ok(()) };
        sounds.close(&mut end.playback);
        let Some((track, pt)) = track else { return Ok(()) };
        let handle = sounds.free().ok_or(Refusal::Full)?;
        let mut source = sounds.source((end.id, &end.local), handle, track.clock(), now);
        (source.pt, source.yields) = (pt, yields);
        sounds.order(&source, Order::Play { key: source.key, track, pt, repeat });
        if let Some(outgoing) = &mut end.outgoing {
            outgoing.interrupt();
        }
        end.playback = Some(Box::new(source));
        Ok(())
    }

    /// Returns true while a track is played to the peer of this endpoint.
    #[must_use]
    pub fn is_playing(&self, session: &str, leg: u32, content: u32) -> bool {
        let index = self.find(session, leg, content).ok();
        index.and_then(|index| self.endpoints.get(index)).is_some_and(|end| end.playback.is_some())
    }

    /// Takes a frame that a sound thread finished; returns the packet that leaves for it, written into `buffer`. `None`: nobody
    /// waits for it any more.
    pub fn handle_sound_frame(
        &mut self,
        frame: &SoundFrame,
        at: Arrival,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        let Key { endpoint, generation, .. } = frame.key;
        let Worker { endpoints, sounds, .. } = self;
        let index = endpoints.live(EndpointId { index: endpoint, generation })?;
        let end = endpoints.get_mut(index)?;
        let of = |source: &&Source| source.key == frame.key;
        let (source, hearer) = match (end.playback.as_deref().filter(of), end.stream.as_deref().filter(of)) {
            (Some(_), _) if frame.ended => {
                sounds.close(&mut end.playback);
                return None;
            }
            (Some(track), _) => (track, index),
            (None, Some(stream)) if end.forwarding => (stream, end.peer?),
            _ => return None,
        };
        let (seq, timestamp, ssrc, clock) = (source.seq, source.timestamp, source.ssrc, source.clock);
        let far = endpoints.get(hearer)?;
        // A track is played to it meanwhile, or a key pressed.
        if hearer != index && far.playback.is_some() || far.is_pressed() {
            return None;
        }
        let name = ssrc ^ OTHER;
        let taken = far.outgoing.is_none() && endpoints.has_ssrc(hearer, name);
        let payload = frame.payload();
        let length = 12 + payload.len();
        buffer.get_mut(..12)?.copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        buffer.get_mut(12..length)?.copy_from_slice(payload);
        let rtp = Rtp {
            pt: frame.pt,
            marker: frame.marker,
            seq: frame.seq.wrapping_add(seq),
            timestamp: frame.timestamp.wrapping_add(timestamp),
            ssrc,
            header: 12,
        };
        let far = endpoints.get_mut(hearer)?;
        if far.frozen && far.outgoing.is_none() {
            return None;
        }
        let outgoing =
            far.outgoing.get_or_insert_with(|| Splice::new(far.reports.ssrc_for(name, taken), clock));
        let said = outgoing.map(rtp, clock, at.time().0)?;
        packet::rewrite(buffer, &said);
        let transmit = send::send_media(endpoints, hearer, &said, at, buffer, length)?;
        self.forwarded += 1;
        Some(transmit)
    }

    /// Stops the track that is played to the peer of this endpoint.
    pub(super) fn stop_playback(&mut self, index: u32) {
        if let Some(end) = self.endpoints.get_mut(index) {
            self.sounds.close(&mut end.playback);
        }
    }

    /// Closes the sources of an endpoint that goes.
    pub(super) fn stop_sound(&mut self, end: &mut Endpoint) {
        self.sounds.close(&mut end.stream);
        self.sounds.close(&mut end.playback);
    }
}
