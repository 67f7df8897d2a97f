//! The packet path: in at one end, out at its peer. Nothing here allocates, locks or waits.

use super::end::{End, Link};
use super::facts::{Arrival, Departure, Socket};
use super::sound::{Sounds, gives_way};
use crate::packet::{self, Class, Rtp, Splice};
use crate::rtcp::{self, Item};
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
                report(near, far, at, buffer.get(..length)?);
                None
            }
            Received::Nothing => None,
        },
        Link::Open => None,
        Link::Plain(plain) => match class {
            Class::Rtp => {
                let packet = buffer.get_mut(..length)?;
                // Only agreed payload numbers latch (rule 2), and only what was opened (rule 7).
                let agreed = packet::rtp(packet).filter(|rtp| near.numbers >> rtp.pt & 1 == 1);
                let opened = agreed.and_then(|rtp| Some((rtp, plain.open(class, from, packet)?)));
                let Some((rtp, length)) = opened.filter(|_| plain.admit(class, from, at.time().0)) else {
                    near.count.dropped += 1;
                    return None;
                };
                media(near, far, rtp, at, (buffer, length), sounds)
            }
            Class::Rtcp => {
                let opened = plain.open(class, from, buffer.get_mut(..length)?);
                let valid = opened.filter(|length| buffer.get(..*length).is_some_and(rtcp::valid));
                let Some(length) = valid.filter(|_| plain.admit(class, from, at.time().0)) else {
                    near.count.dropped += 1;
                    return None;
                };
                report(near, far, at, buffer.get(..length)?);
                None
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
    mut rtp: Rtp,
    at: Arrival,
    (buffer, length): (&mut [u8], usize),
    sounds: &mut Sounds,
) -> Option<Departure> {
    near.heard = Some(at.time());
    near.silent = false;
    near.count.packets_in += 1;
    near.count.octets_in += length as u64;
    near.reception.packet(&rtp, near.clock, at);
    near.number = rtp.pt;
    if !near.crossing || !gives_way(near, sounds, at.time()) {
        return None;
    }
    let length = packet::strip(buffer, length, &mut rtp);
    if let Some(stream) = &near.stream {
        sounds.hand(stream, &rtp, at, packet::payload(buffer.get(..length)?, &rtp)?);
        return None;
    }
    let pt = near.payloads.get(rtp.pt)?;
    let splice = near.splice.get_or_insert_with(|| {
        Splice::new(far.reports.name_for(rtp.ssrc, far.reception.source()), near.clock)
    });
    let said = splice.map(Rtp { pt, ..rtp }, at.time().0);
    packet::rewrite(buffer, &said);
    leave_media(far, &said, at, buffer, length)
}

/// RTP that leaves, counted, and kept where it may be asked for again.
pub(super) fn leave_media(
    far: &mut End,
    said: &Rtp,
    at: Arrival,
    buffer: &mut [u8],
    length: usize,
) -> Option<Departure> {
    let departure = leave(far, Class::Rtp, buffer, length)?;
    far.count.packets_out += 1;
    far.count.octets_out += departure.length as u64;
    far.reports.octets = far.reports.octets.wrapping_add(length.saturating_sub(said.header) as u32);
    if let Some(feedback) = &mut far.feedback
        && let Some(cache) = &mut feedback.cache
    {
        cache.keep(said.seq, buffer.get(..departure.length)?, at.time());
    }
    Some(departure)
}

/// RTCP that was accepted: it ends here. What it says is kept, and what it asks for is asked of the other side, in words that
/// that one has agreed on (interworking §12.3).
fn report(near: &mut End, far: &mut End, at: Arrival, compound: &[u8]) {
    near.heard = Some(at.time());
    near.silent = false;
    let now = at.time();
    // Of what is said to the peer: that of the codec it is turned into, else that of its source.
    let clock = if far.is_turned() { near.clock } else { far.clock };
    rtcp::read(compound, |item| {
        let said = far.splice.as_ref();
        if near.reports.hear(&item, said, clock, near.reception.source(), at) {
            // A receiver cannot bring sound and picture together before it has the first report.
            far.reports.hasten(now);
        }
        let ours = |media: u32| said.is_some_and(|said| said.ssrc() == media);
        match item {
            Item::Nack { media, first, mask } if ours(media) => {
                let offset = said.map_or(0, Splice::seq_offset);
                let (Some(here), there) = (&mut near.feedback, &mut far.feedback) else { return };
                here.missed(first, mask, now, |seq| {
                    if let Some(there) = there {
                        there.want(seq.wrapping_sub(offset));
                        far.reports.asked = true;
                    }
                });
                near.reports.asked = true;
            }
            Item::Picture { media } if media == 0 || ours(media) => {
                if let Some(there) = &mut far.feedback {
                    there.want_picture();
                    far.reports.asked = true;
                }
            }
            Item::Estimate { bits } => {
                if let Some(there) = &mut far.feedback {
                    there.limit(bits);
                    far.reports.asked = true;
                }
            }
            _ => {}
        }
    });
}

/// A packet that left before and leaves again: the first `length` octets of its buffer.
pub(super) fn repeated(near: &End, length: usize) -> Option<Departure> {
    match &near.link {
        Link::Open => None,
        Link::Web(web) => Some(Departure { socket: Socket::Shared, to: web.end.pair()?.remote, length }),
        Link::Plain(plain) => {
            let (socket, to) = plain.way(near.id, Class::Rtp)?;
            Some(Departure { socket, to, length })
        }
    }
}

/// Puts a packet into the form of the end that it leaves by.
pub(super) fn leave(far: &mut End, class: Class, buffer: &mut [u8], length: usize) -> Option<Departure> {
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
            Some(Departure { socket, to, length: plain.seal(class, buffer, length)? })
        }
    }
}
