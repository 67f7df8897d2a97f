//! RTCP that endpoints send by themselves: reports when they are due, and requests of one peer to the other.

use super::endpoint::{Endpoint, Link};
use super::feedback::KeyframeRequest;
use super::send;
use super::table::Session;
use super::types::{Arrival, Event, Transmit};
use super::worker::Worker;
use crate::packet::Class;
use crate::rtcp::Writer;
use crate::srtp::ROOM;
use signal::Time;

impl Worker {
    /// Returns the next packet that an endpoint sends by itself: written to the front of `buffer`, which has [`MAX_TRANSMIT`] octets.
    /// To be asked after each round of [`Worker::handle_datagram`] and [`Worker::handle_timeout`], until nothing is left.
    pub fn poll_transmit(&mut self, at: Arrival, buffer: &mut [u8]) -> Option<Transmit> {
        if let Some(transmit) = self.next_tone(at, buffer) {
            return Some(transmit);
        }
        while let Some(index) = self.rtcp_queue.front().copied() {
            if let Some(transmit) = self.next_packet(index, at, buffer) {
                return Some(transmit);
            }
            self.rtcp_queue.pop_front();
            if let Some(end) = self.endpoints.get_mut(index) {
                end.reports.queued = false;
            }
        }
        None
    }

    /// Queues an endpoint that has RTCP to send.
    pub(super) fn queue_rtcp(&mut self, index: u32) {
        let Some(end) = self.endpoints.get_mut(index) else { return };
        end.reports.wanted = false;
        if !std::mem::replace(&mut end.reports.queued, true) {
            self.rtcp_queue.push_back(index);
        }
    }

    /// Begins the reports of an endpoint, once it is connected, and so is the one that it hears.
    pub(super) fn begin_reports(&mut self, index: u32, now: Time) {
        if let Some(at) = self.endpoints.get_mut(index).and_then(|end| end.reports.begin(now)) {
            self.wheel.insert(at, index);
        }
    }

    /// Queues the endpoints whose reports or delayed requests are due.
    pub(super) fn run_wheel(&mut self, now: Time) {
        while let Some(index) = self.wheel.pop(now) {
            let Some(end) = self.endpoints.get_mut(index) else { continue };
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

    /// Writes the next packet of one endpoint; `None`: nothing is left.
    fn next_packet(&mut self, index: u32, at: Arrival, buffer: &mut [u8]) -> Option<Transmit> {
        let now = at.time();
        if let Some(transmit) = self.next_handshake(index, buffer) {
            return Some(transmit);
        }
        let peer = self.endpoints.get(index)?.peer;
        let carrier = self.endpoints.get(self.endpoints.carrier(index));
        let plain = carrier.is_some_and(|carrier| matches!(carrier.link, Link::Plain(_)));
        let (near, far) = self.endpoints.with_peer(index, peer)?;
        if let Some(length) = near.feedback.as_mut().and_then(|feedback| feedback.repeat(now, buffer)) {
            return send::resend(&self.endpoints, index, length);
        }
        let request = near.feedback.as_mut().and_then(|feedback| feedback.keyframe_request(plain, now));
        let later = match (request, &mut near.feedback) {
            (Some(KeyframeRequest::Later(at)), Some(feedback)) => {
                (!std::mem::replace(&mut feedback.waiting, true)).then_some(at)
            }
            _ => None,
        };
        let compound = compound(near, far.map(|far| &*far), request, at, buffer);
        let transmit =
            compound.and_then(|length| send::seal(&mut self.endpoints, index, Class::Rtcp, buffer, length));
        if request == Some(KeyframeRequest::Signal) {
            self.report(index, Event::KeyframeWanted);
        }
        if let Some(at) = later {
            self.wheel.insert(at, index);
        }
        transmit
    }

    /// Takes a sample of the streams of a session, once a second.
    pub(super) fn sample(&mut self, session: u32) {
        let Worker { sessions, endpoints, histograms, .. } = self;
        for index in sessions.get(session).map(Session::all).unwrap_or_default() {
            let peer = endpoints.get(index).and_then(|end| endpoints.get(end.peer?));
            let far = peer.and_then(|peer| peer.reports.round_trip_us);
            if let Some(end) = endpoints.get_mut(index) {
                end.sample(far, histograms);
            }
        }
    }
}

/// Writes a compound packet to the peer of `near` and returns its length; `None`: there is nothing to tell it.
fn compound(
    near: &mut Endpoint,
    far: Option<&Endpoint>,
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
    let said = near.outgoing.as_ref();
    let ssrc = near.reports.ssrc(said);
    let packets = near.count.packets_out;
    let source = far.map(|far| &far.reports);
    let sender = said.and_then(|said| near.reports.sender(said, source, packets, at));
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
