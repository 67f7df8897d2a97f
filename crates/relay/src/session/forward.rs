//! The packet path: in at one end, out at its peer. Nothing here allocates, locks or waits.

use super::endpoint::{Endpoint, Keypad, Link};
use super::send::send_media;
use super::sources::Sounds;
use super::types::{Arrival, Event, Latched, Socket, Transmit, Why};
use super::worker::Worker;
use crate::packet::{self, Class, Rtp, Splice, classify};
use crate::rtcp::{self, Item};
use crate::webrtc::Received;
use std::net::SocketAddr;

/// A packet that was accepted: the first octets of its buffer, in the clear.
enum Opened {
    Rtp(Rtp, usize),
    Rtcp(usize),
}

impl Worker {
    /// Takes a datagram: the first `length` octets of `buffer`, which has [`crate::srtp::ROOM`] octets behind it. Returns the packet
    /// that leaves for it, in the same buffer; [`Worker::poll_transmit`] has what else is to be sent.
    pub fn handle_datagram(
        &mut self,
        socket: Socket,
        from: SocketAddr,
        at: Arrival,
        buffer: &mut [u8],
        length: usize,
    ) -> Option<Transmit> {
        let index = match socket {
            Socket::Rtp(id) | Socket::Rtcp(id) => {
                let index = self.endpoints.live(id)?;
                let datagram = buffer.get(..length)?;
                if classify(datagram) == Class::Dtls {
                    self.handshake(index, matches!(socket, Socket::Rtp(_)), from, datagram, at.time());
                    return None;
                }
                index
            }
            Socket::Shared => {
                let datagram = buffer.get_mut(..length)?;
                let index = self.addressed(from, datagram)?;
                if !matches!(classify(datagram), Class::Rtp | Class::Rtcp) {
                    self.check(index, from, datagram, at.time());
                    return None;
                }
                index
            }
        };
        let before = self.endpoints.get(index)?.refused();
        let transmit = self.forward(index, from, at, buffer, length);
        let near = self.endpoints.get_mut(index)?;
        self.dropped += near.refused() - before;
        if let Link::Plain(plain) = &mut near.link {
            let end = near.id;
            if let Some(peer) = plain.relocked() {
                self.latched.push_back(Latched { end, peer });
            }
            if plain.locked().is_some() && !std::mem::replace(&mut plain.announced, true) {
                self.report(index, Event::Connected);
            }
        }
        self.forwarded += u64::from(transmit.is_some());
        transmit
    }

    /// Forwards a packet that came in on the transport of the endpoint at `index`.
    fn forward(
        &mut self,
        index: u32,
        from: SocketAddr,
        at: Arrival,
        buffer: &mut [u8],
        length: usize,
    ) -> Option<Transmit> {
        let local = self.facing(from);
        let Worker { endpoints, sounds, .. } = self;
        let carrier = endpoints.get_mut(index)?;
        match open(carrier, from, at, local, buffer.get_mut(..length)?)? {
            Opened::Rtp(rtp, length) => {
                let near = carrier.addressee(rtp.pt, index)?;
                let end = if near == index { carrier } else { endpoints.get_mut(near)? };
                end.received(&rtp, length, at);
                let Some(far) = end.peer.filter(|_| end.forwarding) else {
                    end.gap = true;
                    return None;
                };
                let taken = endpoints.get(far)?.outgoing.is_none() && endpoints.has_ssrc(far, rtp.ssrc);
                let (end, peer) = endpoints.pair(near, far)?;
                let gap = end.gap && end.feedback.is_some();
                let (said, length) = media(end, peer, (rtp, taken), at, (buffer, length), sounds)?;
                let transmit = send_media(endpoints, far, &said, at, buffer, length);
                if gap && transmit.is_some() {
                    self.keyframe_after_gap(near);
                }
                transmit
            }
            Opened::Rtcp(length) => {
                let compound = buffer.get(..length)?;
                self.report_to(index, at, compound);
                for member in 0..self.endpoints.get(index).map_or(0, |carrier| carrier.members.len()) {
                    let members = self.endpoints.get(index).map(|carrier| &carrier.members);
                    if let Some(member) = members.and_then(|members| members.get(member)) {
                        self.report_to(member.endpoint, at, compound);
                    }
                }
                None
            }
        }
    }

    /// Takes RTCP for the endpoint at `index`, and queues the endpoints that have something to send for it.
    fn report_to(&mut self, index: u32, at: Arrival, compound: &[u8]) {
        let Some(peer) = self.endpoints.get(index).map(|end| end.peer) else { return };
        let Some((near, mut far)) = self.endpoints.with_peer(index, peer) else { return };
        report(near, far.as_deref_mut(), at, compound);
        let wanted = [
            near.reports.wanted.then_some(index),
            peer.filter(|_| far.is_some_and(|far| far.reports.wanted)),
        ];
        wanted.into_iter().flatten().for_each(|index| self.queue_rtcp(index));
    }
}

/// Opens a packet of the peer of `carrier`'s transport; `None`: it is refused, and counted, or nobody's concern.
fn open(
    carrier: &mut Endpoint,
    from: SocketAddr,
    at: Arrival,
    local: SocketAddr,
    packet: &mut [u8],
) -> Option<Opened> {
    let class = packet::classify(packet);
    let opened = match &mut carrier.link {
        Link::WebRtc(web) => match web.transport.receive(packet, from, local, at.time()) {
            Received::Rtp(length) => {
                let rtp = packet::rtp(packet.get(..length)?)?;
                carrier.addressee(rtp.pt, 0).map(|_| Opened::Rtp(rtp, length))
            }
            Received::Rtcp(length) => {
                packet.get(..length).filter(|packet| rtcp::valid(packet)).map(|_| Opened::Rtcp(length))
            }
            Received::Nothing => return None,
        },
        Link::Open | Link::Bundled(_) => return None,
        Link::Plain(_) => match class {
            Class::Rtp => {
                let opened = open_plain(carrier, from, at, packet);
                if let Err(Some(why)) = opened {
                    carrier.refuse(from, why, at.time());
                }
                opened.ok()
            }
            Class::Rtcp => {
                let Link::Plain(plain) = &mut carrier.link else { return None };
                let now = at.time().0;
                let opened = plain.open(class, from, now, packet).ok();
                let valid = opened.filter(|length| packet.get(..*length).is_some_and(rtcp::valid));
                valid.filter(|_| plain.admit_rtcp(from, now)).map(Opened::Rtcp)
            }
            // Checks of a phone that tries ICE without DTLS, keep-alives: neither wrong nor of use.
            _ => return None,
        },
    };
    carrier.count.dropped += u64::from(opened.is_none());
    opened
}

/// Opens RTP that came to a port.
///
/// # Errors
/// The reason why it is refused, if it may be the peer's.
fn open_plain(
    carrier: &mut Endpoint,
    from: SocketAddr,
    at: Arrival,
    packet: &mut [u8],
) -> Result<Opened, Option<Why>> {
    let rtp = packet::rtp(packet).ok_or(None)?;
    // Only agreed payload numbers latch (rule 2), and only what was opened (rule 7).
    let agreed = carrier.addressee(rtp.pt, 0).is_some();
    let Link::Plain(plain) = &mut carrier.link else { return Err(None) };
    if !agreed {
        return Err(plain.hears(from).then_some(Why::PayloadType(rtp.pt)));
    }
    let now = at.time().0;
    let length = plain.open(Class::Rtp, from, now, packet)?;
    if plain.admit(from, rtp.ssrc, now) { Ok(Opened::Rtp(rtp, length)) } else { Err(Some(Why::Source)) }
}

/// Takes RTP of `near` that lies open in the buffer; `taken`: another stream has its SSRC on the transport of `far`. Returns it as it is
/// sent there; `None`: not now, or by another thread.
fn media(
    near: &mut Endpoint,
    far: &mut Endpoint,
    (mut rtp, taken): (Rtp, bool),
    at: Arrival,
    (buffer, length): (&mut [u8], usize),
    sounds: &mut Sounds,
) -> Option<(Rtp, usize)> {
    if !sounds.give_way(&mut far.playback, at.time()) {
        return None;
    }
    if far.is_pressed() {
        return None;
    }
    let length = packet::strip(buffer, length, &mut rtp);
    if let Some(stream) = &near.stream {
        sounds.push(stream, &rtp, at, packet::payload(buffer.get(..length)?, &rtp)?);
        return None;
    }
    let pt = match near.keypad.as_deref_mut().filter(|keypad| keypad.pts.0 == rtp.pt) {
        Some(keypad) => convert(keypad, &mut rtp, at, buffer.get_mut(..length)?)?,
        None => near.payloads.get(rtp.pt)?,
    };
    if far.frozen && far.outgoing.is_none() {
        return None;
    }
    let outgoing = far.outgoing.get_or_insert_with(|| {
        let taken = taken || far.reception.source() == Some(rtp.ssrc);
        Splice::new(far.reports.ssrc_for(rtp.ssrc, taken), near.clock)
    });
    let said = outgoing.map(Rtp { pt, ..rtp }, near.clock, at.time().0)?;
    packet::rewrite(buffer, &said);
    Some((said, length))
}

/// Turns a packet of a key into one of the hearer's clock, and returns its payload type. The timestamp stays the stream's.
fn convert(keypad: &mut Keypad, rtp: &mut Rtp, at: Arrival, packet: &mut [u8]) -> Option<u8> {
    let payload = packet::payload(packet, rtp)?;
    let event = keypad.events.heard(rtp.seq, rtp.timestamp, payload, rtp.timestamp, at.0)?;
    packet.get_mut(rtp.header..rtp.header + event.payload.len())?.copy_from_slice(&event.payload);
    (rtp.timestamp, rtp.marker) = (event.timestamp, event.marker);
    Some(keypad.pts.1)
}

/// Takes RTCP that was accepted: it ends here. Its reports are kept, its requests are passed to the other side, in a form that it has
/// agreed on (interworking §12.3).
fn report(near: &mut Endpoint, mut far: Option<&mut Endpoint>, at: Arrival, compound: &[u8]) {
    (near.heard, near.silent) = (Some(at.time()), false);
    let now = at.time();
    let Endpoint { outgoing, reports, reception, feedback, .. } = near;
    let said = outgoing.as_ref();
    let ours = |media: u32| said.is_some_and(|said| said.ssrc() == media);
    rtcp::read(compound, |item| {
        if reports.handle(&item, said, reception.source(), at)
            && let Some(far) = &mut far
        {
            // A receiver cannot bring sound and video together before it has the first report.
            far.reports.expedite(now);
        }
        let there = far.as_deref_mut().map(|far| (&mut far.feedback, &mut far.reports.wanted));
        match (item, there) {
            (Item::Nack { media, first, mask }, mut there) if ours(media) => {
                let (Some(here), Some(said)) = (&mut *feedback, said) else { return };
                here.missed(first, mask, now, |seq| {
                    // Another source's packets are of no use to ask for.
                    if said.is_of_source(seq)
                        && let Some((Some(there), wanted)) = &mut there
                    {
                        there.want(seq.wrapping_sub(said.seq_offset()), now);
                        **wanted = true;
                    }
                });
                reports.wanted = true;
            }
            (Item::KeyframeRequest { media }, Some((Some(there), wanted))) if media == 0 || ours(media) => {
                there.want_keyframe();
                *wanted = true;
            }
            (Item::Estimate { bits }, Some((Some(there), wanted))) => {
                there.limit(bits);
                *wanted = true;
            }
            _ => {}
        }
    });
}
