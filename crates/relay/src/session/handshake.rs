//! DTLS at ports: what comes for the associations of an end, their time, and what they send.

use super::associations::Change;
use super::endpoint::Link;
use super::types::{Event, Transmit};
use super::worker::Worker;
use signal::Time;
use std::net::SocketAddr;

impl Worker {
    /// Takes DTLS that came to a port of the endpoint at `index`, that of RTP or that of RTCP.
    pub(super) fn handshake(&mut self, index: u32, rtp: bool, from: SocketAddr, datagram: &[u8], now: Time) {
        let Some(Link::Plain(plain)) = self.endpoints.get_mut(index).map(|end| &mut end.link) else { return };
        let change = plain.handshake(rtp, from, datagram, now);
        self.follow_handshake(index, change, now);
    }

    /// Tells a change of the associations of an endpoint, sets their next time, and sends what they have to send.
    pub(super) fn follow_handshake(&mut self, index: u32, change: Option<Change>, now: Time) {
        let Worker { endpoints, timers, .. } = self;
        let Some(end) = endpoints.get_mut(index) else { return };
        let session = end.session;
        let Link::Plain(plain) = &mut end.link else { return };
        let associated = plain.is_associated();
        // Never now: a worker that is woken for nothing would not sleep.
        let deadline = plain.deadline().map(|at| at.max(now + 1));
        if deadline != plain.timer {
            if let Some(at) = std::mem::replace(&mut plain.timer, deadline) {
                timers.remove(&(at, index));
            }
            timers.extend(deadline.map(|at| (at, index)));
        }
        match change {
            Some(Change::Keyed) => self.mark_changed(session, now),
            Some(Change::Insecure) => self.report(index, Event::Insecure),
            Some(Change::Failed) => self.report(index, Event::Unreachable),
            Some(Change::Closed) => plain.closed = Some(now),
            None => {}
        }
        if associated {
            self.queue_rtcp(index);
        }
    }

    /// Writes the next datagram of the associations of the endpoint at `index`.
    pub(super) fn next_handshake(&mut self, index: u32, buffer: &mut [u8]) -> Option<Transmit> {
        let end = self.endpoints.get_mut(index)?;
        let Link::Plain(plain) = &mut end.link else { return None };
        let (socket, to, octets) = plain.poll_handshake(end.id)?;
        buffer.get_mut(..octets.len())?.copy_from_slice(&octets);
        Some(Transmit { socket, to, length: octets.len() })
    }
}
