//! Sending by an endpoint: a packet is sealed for the transport that carries it, media is counted and kept for retransmission.

use super::endpoint::Link;
use super::table::Endpoints;
use super::types::{Arrival, Socket, Transmit};
use crate::packet::{Class, Rtp};

/// Sends RTP by the endpoint at `far`: counts it, and keeps it where the peer may ask for it again.
pub(super) fn send_media(
    endpoints: &mut Endpoints,
    far: u32,
    said: &Rtp,
    at: Arrival,
    buffer: &mut [u8],
    length: usize,
) -> Option<Transmit> {
    let transmit = seal(endpoints, far, Class::Rtp, buffer, length)?;
    let far = endpoints.get_mut(far)?;
    far.count.packets_out += 1;
    far.count.octets_out += transmit.length as u64;
    far.reports.octets = far.reports.octets.wrapping_add(length.saturating_sub(said.header) as u32);
    if let Some(feedback) = &mut far.feedback
        && let Some(cache) = &mut feedback.cache
    {
        cache.keep(said.seq, buffer.get(..transmit.length)?, at.time());
    }
    Some(transmit)
}

/// Seals a packet for the transport of the endpoint at `far`, in place.
pub(super) fn seal(
    endpoints: &mut Endpoints,
    far: u32,
    class: Class,
    buffer: &mut [u8],
    length: usize,
) -> Option<Transmit> {
    let carrier = endpoints.get_mut(endpoints.carrier(far))?;
    match &mut carrier.link {
        Link::Open | Link::Bundled(_) => None,
        Link::WebRtc(web) => {
            let (length, pair) = match class {
                Class::Rtcp => web.transport.protect_rtcp(buffer, length)?,
                _ => web.transport.protect(buffer, length)?,
            };
            Some(Transmit { socket: Socket::Shared, to: pair.remote, length })
        }
        Link::Plain(plain) => {
            let (socket, to) = plain.way(carrier.id, class)?;
            Some(Transmit { socket, to, length: plain.seal(class, buffer, length)? })
        }
    }
}

/// Sends a packet that the endpoint at `index` has sent before: the first `length` octets of its buffer, as they left then.
pub(super) fn resend(endpoints: &Endpoints, index: u32, length: usize) -> Option<Transmit> {
    let carrier = endpoints.get(endpoints.carrier(index))?;
    match &carrier.link {
        Link::Open | Link::Bundled(_) => None,
        Link::WebRtc(web) => {
            Some(Transmit { socket: Socket::Shared, to: web.transport.pair()?.remote, length })
        }
        Link::Plain(plain) => {
            let (socket, to) = plain.way(carrier.id, Class::Rtp)?;
            Some(Transmit { socket, to, length })
        }
    }
}
