//! RTCP that endpoints send by themselves: reports when they are due, and requests of one peer to the other.

use super::endpoint::{Endpoint, Link};
use super::feedback::KeyframeRequest;
use super::forward;
use super::quality::{Histograms, Scale, mos};
use super::types::{Arrival, Event, Refusal, Transmit};
use super::{Session, Slot, Worker, bundle};
use crate::packet::Class;
use crate::rtcp::Writer;
use crate::srtp::ROOM;
use signal::Time;

/// Octets that [`Worker::poll_transmit`] needs.
pub const MAX_TRANSMIT: usize = 2_048;

impl Worker {
    /// The next packet that an end has to send by itself: written to the front of `buffer`, which has [`MAX_TRANSMIT`] octets.
    /// To be asked after each round of [`Worker::handle_datagram`] and [`Worker::handle_timeout`], until nothing is left.
    pub fn poll_transmit(&mut self, at: Arrival, buffer: &mut [u8]) -> Option<Transmit> {
        while let Some(index) = self.rtcp_queue.front().copied() {
            if let Some(departure) = self.next_packet(index, at, buffer) {
                return Some(departure);
            }
            self.rtcp_queue.pop_front();
            if let Some(end) = self.endpoint_mut(index) {
                end.reports.queued = false;
            }
        }
        None
    }

    /// The peer of an end is to send a request that stands for itself: the other side has asked for it by signalling (RFC 5168).
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn request_keyframe(&mut self, session: &str, leg: u32, content: u32) -> Result<(), Refusal> {
        let index = self.find(session, leg, content)?;
        if let Some(feedback) = self.endpoint_mut(index).and_then(|end| end.feedback.as_mut()) {
            feedback.want_keyframe();
            self.queue_rtcp(index);
        }
        Ok(())
    }

    /// How the streams of all ends were, second by second, since the start.
    #[must_use]
    pub fn histograms(&self) -> &Histograms {
        &self.histograms
    }

    /// The end has something to say.
    pub(super) fn queue_rtcp(&mut self, index: u32) {
        let Some(end) = self.endpoint_mut(index) else { return };
        end.reports.wanted = false;
        if !std::mem::replace(&mut end.reports.queued, true) {
            self.rtcp_queue.push_back(index);
        }
    }

    /// Both sides of a content are connected: their reports begin.
    pub(super) fn begin_reports(&mut self, index: u32, now: Time) {
        if let Some(at) = self.endpoint_mut(index).and_then(|end| end.reports.begin(now)) {
            self.wheel.insert(at, index);
        }
    }

    /// Looks at the ends that wanted to be looked at by now.
    pub(super) fn run_wheel(&mut self, now: Time) {
        while let Some(index) = self.wheel.pop(now) {
            let Some(end) = self.endpoint_mut(index) else { continue };
            let next = end.reports.look(now);
            let waits = end.feedback.as_mut().is_some_and(|feedback| std::mem::take(&mut feedback.waiting));
            if next.is_some() || waits {
                self.queue_rtcp(index);
            }
            if let Some(at) = next {
                self.wheel.insert(at, index);
            }
        }
    }

    /// Says one thing; `None`: nothing is left.
    fn next_packet(&mut self, index: u32, at: Arrival, buffer: &mut [u8]) -> Option<Transmit> {
        let now = at.time();
        let peer = self.endpoint(index)?.peer;
        let carrier = self.endpoint(bundle::carrier(&self.ends, index));
        let plain = carrier.is_some_and(|carrier| matches!(carrier.link, Link::Plain(_)));
        let (near, far) = self.pair(index as usize, peer)?;
        if let Some(length) = near.feedback.as_mut().and_then(|feedback| feedback.repeat(now, buffer)) {
            return forward::resend(&self.ends, index, length);
        }
        let request = near.feedback.as_mut().and_then(|feedback| feedback.keyframe_request(plain, now));
        let later = match (request, &mut near.feedback) {
            (Some(KeyframeRequest::Later(at)), Some(feedback)) => {
                (!std::mem::replace(&mut feedback.waiting, true)).then_some(at)
            }
            _ => None,
        };
        let compound = compound(near, far, request, at, buffer);
        let departure =
            compound.and_then(|length| forward::seal(&mut self.ends, index, Class::Rtcp, buffer, length));
        if request == Some(KeyframeRequest::Signal) {
            self.report(index, Event::KeyframeWanted);
        }
        if let Some(at) = later {
            self.wheel.insert(at, index);
        }
        departure
    }

    /// A second has passed for a session: what its streams were like.
    pub(super) fn sample(&mut self, session: u32) {
        let Some(contents) = self.session(session).map(|session| session.ends[0].len()) else { return };
        for content in 0..contents {
            let place = |session: &Session, leg: usize| session.ends.get(leg)?.get(content).copied();
            let Some(session) = self.session(session) else { return };
            let (Some(a), Some(b)) = (place(session, 0), place(session, 1)) else { continue };
            let Worker { ends, histograms, .. } = self;
            if let Ok([Slot { end: Some(a), .. }, Slot { end: Some(b), .. }]) =
                ends.get_disjoint_mut([a as usize, b as usize])
            {
                a.sample(b.reports.round_trip_us, histograms);
                b.sample(a.reports.round_trip_us, histograms);
            }
        }
    }
}

/// Writes a compound packet of what there is to say to the peer of `near` and gives its length; `None`: there is nothing.
fn compound(
    near: &mut Endpoint,
    far: &Endpoint,
    request: Option<KeyframeRequest>,
    at: Arrival,
    buffer: &mut [u8],
) -> Option<usize> {
    let (lost, estimate) = near.feedback.as_mut().map(|feedback| feedback.take()).unwrap_or_default();
    let lost = lost.as_slice();
    let asks = matches!(request, Some(KeyframeRequest::Pli | KeyframeRequest::Fir(_)))
        || !lost.is_empty()
        || estimate.is_some();
    let media = near.reception.source();
    let wanted = near.reports.due || asks && media.is_some();
    if near.is_open() || !wanted {
        return None;
    }
    let said = far.splice.as_ref();
    let ssrc = near.reports.ssrc(said);
    let packets = near.count.packets_out;
    let clock = if far.is_transcoded() { near.clock } else { far.clock };
    let sender = said.and_then(|said| near.reports.sender(said, clock, &far.reports, packets, at));
    let block = near.reception.block(near.clock).map(|block| near.reports.complete(block, at));
    let room = buffer.len().checked_sub(ROOM)?;
    let mut writer = Writer::new(buffer.get_mut(..room)?);
    writer.report(ssrc, sender.as_ref(), block.as_ref()).name(ssrc, near.reports.cname());
    if let Some(media) = media {
        if !lost.is_empty() {
            writer.nack(ssrc, media, lost);
        }
        match request {
            Some(KeyframeRequest::Pli) => {
                writer.pli(ssrc, media);
            }
            Some(KeyframeRequest::Fir(command)) => {
                writer.fir(ssrc, media, command);
            }
            _ => {}
        }
        if let Some(bits) = estimate {
            writer.estimate(ssrc, media, bits);
        }
    }
    let length = writer.finish()?;
    near.reports.made(at.time());
    Some(length)
}

impl Endpoint {
    /// Records the last second: loss, jitter and score of the stream that came in. `far`: the round trip of the other side, whose
    /// half is a part of the way from mouth to ear.
    fn sample(&mut self, far: Option<u32>, histograms: &mut Histograms) {
        self.recent = None;
        let Some((expected, lost)) = self.reception.look() else { return };
        let loss = lost * 1_000_000 / expected.max(1);
        let jitter = u64::from(self.reception.jitter_us());
        let near = self.reports.round_trip_us;
        histograms.note(Scale::Loss, loss);
        histograms.note(Scale::Jitter, jitter);
        if let Some(trip) = near {
            histograms.note(Scale::RoundTrip, trip.into());
        }
        let mut recent = Recent { loss, mos: None };
        if let Some(codec) = self.current_codec().filter(|_| self.feedback.is_none()) {
            let score = mos(&codec.name, loss, delay(jitter, near, far));
            histograms.note(Scale::Mos, score.into());
            recent.mos = Some(score);
            self.scores.0 += u64::from(score);
            self.scores.1 += 1;
        }
        self.recent = Some(recent);
    }
}

/// The last second of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    /// Parts per million.
    pub loss: u64,
    /// Hundredths; `None`: not for ears.
    pub mos: Option<u16>,
}

/// From mouth to ear, µs: half of each round trip, a packet of 20 ms, and a jitter buffer of twice the jitter, 20 ms at least.
pub(super) fn delay(jitter: u64, near: Option<u32>, far: Option<u32>) -> u64 {
    let way = |trip: Option<u32>| u64::from(trip.unwrap_or(0)) / 2;
    20_000 + (2 * jitter).max(20_000) + way(near) + way(far)
}
