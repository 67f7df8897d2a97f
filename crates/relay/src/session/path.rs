//! The packet path: in at one end, out at its peer. Nothing here allocates, locks or waits.

use super::end::{End, Link};
use super::facts::{Arrival, Departure, Socket};
use super::rtcp;
use super::sound::{Sounds, gives_way};
use crate::packet::{self, Class, Rtp, Splice};
use crate::webrtc::Received;
use std::net::SocketAddr;

/// A packet of `near`'s peer: the first `length` octets of `buffer`. Gives what leaves at `far`.
pub(super) fn cross(
    (near, far): (&mut End, &mut End),
    from: SocketAddr,
    at: Arrival,
    local: SocketAddr,
    (buffer, length): (&mut [u8], usize),
    sounds: &mut Sounds,
) -> Option<Departure> {
    let class = packet::classify(buffer.get(..length)?);
    match &mut near.link {
        Link::Web(web) => match web.end.receive(buffer.get_mut(..length)?, from, local, at.time()) {
            Received::Rtp(length) => {
                let rtp = packet::rtp(buffer.get(..length)?)?;
                if near.numbers >> rtp.pt & 1 == 0 {
                    near.count.dropped += 1;
                    return None;
                }
                media(near, far, rtp, at, (buffer, length), sounds)
            }
            Received::Rtcp(length) => {
                if !rtcp::valid(buffer.get(..length)?) {
                    near.count.dropped += 1;
                    return None;
                }
                report(near, far, at, buffer, length)
            }
            Received::Nothing => None,
        },
        Link::Open => None,
        Link::Plain(plain) => match class {
            Class::Rtp => {
                let rtp = packet::rtp(buffer.get(..length)?);
                // Only agreed payload numbers latch (rule 2).
                let agreed = rtp.filter(|rtp| near.numbers >> rtp.pt & 1 == 1);
                let Some(rtp) = agreed.filter(|_| plain.admit(class, from, at.time().0)) else {
                    near.count.dropped += 1;
                    return None;
                };
                media(near, far, rtp, at, (buffer, length), sounds)
            }
            Class::Rtcp => {
                if !rtcp::valid(buffer.get(..length)?) || !plain.admit(class, from, at.time().0) {
                    near.count.dropped += 1;
                    return None;
                }
                report(near, far, at, buffer, length)
            }
            // Checks of a phone that tries ICE without DTLS, keep-alives: neither wrong nor of use.
            _ => None,
        },
    }
}

/// RTP that was accepted and lies open in the buffer.
fn media(
    near: &mut End,
    far: &mut End,
    rtp: Rtp,
    at: Arrival,
    (buffer, length): (&mut [u8], usize),
    sounds: &mut Sounds,
) -> Option<Departure> {
    near.heard = Some(at.time());
    near.silent = false;
    near.count.packets_in += 1;
    near.count.octets_in += length as u64;
    near.reception.packet(&rtp, near.clock, at);
    if !near.crossing || !gives_way(near, sounds, at.time()) {
        return None;
    }
    if let Some(stream) = &near.stream {
        sounds.hand(stream, &rtp, at, packet::payload(buffer.get(..length)?, &rtp)?);
        return None;
    }
    let pt = near.payloads.get(rtp.pt)?;
    let splice = near.splice.get_or_insert_with(|| Splice::new(rtp.ssrc, near.clock));
    packet::rewrite(buffer, &splice.map(Rtp { pt, ..rtp }, at.time().0));
    leave_media(far, buffer, length)
}

/// RTP that leaves, counted.
pub(super) fn leave_media(far: &mut End, buffer: &mut [u8], length: usize) -> Option<Departure> {
    let departure = leave(far, Class::Rtp, buffer, length)?;
    far.count.packets_out += 1;
    far.count.octets_out += departure.length as u64;
    Some(departure)
}

/// RTCP that was accepted and lies open in the buffer; it crosses whatever the direction.
fn report(near: &mut End, far: &mut End, at: Arrival, buffer: &mut [u8], length: usize) -> Option<Departure> {
    near.heard = Some(at.time());
    near.silent = false;
    // Reports of a stream that is not passed on speak of packets that its receiver never saw.
    if far.is_open() || near.is_turned() || far.is_turned() {
        return None;
    }
    rtcp::translate(buffer.get_mut(..length)?, near.splice.as_ref(), far.splice.as_ref());
    leave(far, Class::Rtcp, buffer, length)
}

/// Puts a packet into the form of the end that it leaves by.
fn leave(far: &mut End, class: Class, buffer: &mut [u8], length: usize) -> Option<Departure> {
    match &mut far.link {
        Link::Open => None,
        Link::Web(web) => {
            let (length, pair) = match class {
                Class::Rtcp => web.end.protect_rtcp(buffer, length)?,
                _ => web.end.protect(buffer, length)?,
            };
            Some(Departure { socket: Socket::Shared, to: pair.remote, length })
        }
        Link::Plain(plain) => {
            let (socket, to) = plain.way(far.id, class)?;
            Some(Departure { socket, to, length })
        }
    }
}
