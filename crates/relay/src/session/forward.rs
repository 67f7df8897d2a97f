//! The packet path: in at one end, out at its peer. Nothing here allocates, locks or waits.

use super::endpoint::{Endpoint, Link};
use super::sound::{Sounds, gives_way};
use super::types::{Arrival, Socket, Transmit};
use super::{Slot, Worker, bundle, table};
use crate::packet::{self, Class, Rtp, Splice};
use crate::rtcp::{self, Item};
use crate::webrtc::Received;
use std::net::SocketAddr;

/// A packet that was accepted: the first octets of its buffer, in the clear.
enum Opened {
    Rtp(Rtp, usize),
    Rtcp(usize),
}

impl Worker {
    /// A packet that came in on the transport of the end at `index`: the first `length` octets of `buffer`. Gives what leaves for it.
    pub(super) fn forward(
        &mut self,
        index: u32,
        from: SocketAddr,
        at: Arrival,
        buffer: &mut [u8],
        length: usize,
    ) -> Option<Transmit> {
        let local = self.facing(from);
        let Worker { ends, sounds, .. } = self;
        let carrier = ends.get_mut(index as usize)?.end.as_mut()?;
        match open(carrier, from, at, local, buffer.get_mut(..length)?)? {
            Opened::Rtp(rtp, length) => {
                let near = carrier.addressee(rtp.pt, index)?;
                let near = if near == index { carrier } else { ends.get_mut(near as usize)?.end.as_mut()? };
                let (near, far, new) = (near.id.index, near.peer, near.splice.is_none());
                let taken = new && bundle::taken(ends, far as u32, rtp.ssrc);
                let (end, peer) = table::pair(ends, near as usize, far)?;
                let broken =
                    end.feedback.is_some() && end.splice.as_ref().is_some_and(Splice::is_interrupted);
                let (said, length) = media(end, peer, (rtp, taken), at, (buffer, length), sounds)?;
                let departure = send_media(ends, far as u32, &said, at, buffer, length);
                if broken {
                    self.keyframe_after_gap(near, departure.is_some());
                }
                departure
            }
            Opened::Rtcp(length) => {
                let compound = buffer.get(..length)?;
                self.report_to(index, at, compound);
                for member in 0..self.endpoint(index).map_or(0, |carrier| carrier.members.len()) {
                    if let Some(member) = self.endpoint(index).and_then(|carrier| carrier.members.get(member))
                    {
                        self.report_to(member.end, at, compound);
                    }
                }
                None
            }
        }
    }

    /// Pictures of the peer of the end at `index` go on after a break: they stand on some that never arrived, so one is asked for
    /// that stands for itself. Receivers would wait for those (libwebrtc: 3 s) before they ask. `left`: else it is still broken.
    fn keyframe_after_gap(&mut self, index: u32, left: bool) {
        let Some(end) = self.endpoint_mut(index) else { return };
        if !left {
            end.splice.iter_mut().for_each(Splice::interrupt);
        } else if let Some(feedback) = &mut end.feedback {
            feedback.want_keyframe();
            self.queue_rtcp(index);
        }
    }

    /// RTCP for the end at `index`, and whoever is to be asked for something by it.
    fn report_to(&mut self, index: u32, at: Arrival, compound: &[u8]) {
        let Some(peer) = self.endpoint(index).map(|end| end.peer) else { return };
        let Some((near, far)) = self.pair(index as usize, peer) else { return };
        report(near, far, at, compound);
        let asked = [(index, near.reports.wanted), (peer as u32, far.reports.wanted)];
        asked.into_iter().filter(|(_, asked)| *asked).for_each(|(end, _)| self.queue_rtcp(end));
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
                // Only agreed payload numbers latch (rule 2), and only what was opened (rule 7).
                let agreed = packet::rtp(packet).filter(|rtp| carrier.addressee(rtp.pt, 0).is_some());
                let Link::Plain(plain) = &mut carrier.link else { return None };
                let opened = agreed.and_then(|rtp| Some((rtp, plain.open(class, from, packet)?)));
                let opened = opened.filter(|_| plain.admit(class, from, at.time().0));
                opened.map(|(rtp, length)| Opened::Rtp(rtp, length))
            }
            Class::Rtcp => {
                let Link::Plain(plain) = &mut carrier.link else { return None };
                let opened = plain.open(class, from, packet);
                let valid = opened.filter(|length| packet.get(..*length).is_some_and(rtcp::valid));
                valid.filter(|_| plain.admit(class, from, at.time().0)).map(Opened::Rtcp)
            }
            // Checks of a phone that tries ICE without DTLS, keep-alives: neither wrong nor of use.
            _ => return None,
        },
    };
    carrier.count.dropped += u64::from(opened.is_none());
    opened
}

/// RTP that was accepted and lies open in the buffer; `taken`: another stream has its name where it goes. Gives it as it is said there.
fn media(
    near: &mut Endpoint,
    far: &mut Endpoint,
    (mut rtp, taken): (Rtp, bool),
    at: Arrival,
    (buffer, length): (&mut [u8], usize),
    sounds: &mut Sounds,
) -> Option<(Rtp, usize)> {
    near.heard = Some(at.time());
    near.silent = false;
    near.count.packets_in += 1;
    near.count.octets_in += length as u64;
    near.reception.packet(&rtp, near.clock, at);
    near.last_pt = rtp.pt;
    if !near.forwarding || !gives_way(near, sounds, at.time()) {
        return None;
    }
    let length = packet::strip(buffer, length, &mut rtp);
    if let Some(stream) = &near.stream {
        sounds.hand(stream, &rtp, at, packet::payload(buffer.get(..length)?, &rtp)?);
        return None;
    }
    let pt = near.payloads.get(rtp.pt)?;
    let splice = near.splice.get_or_insert_with(|| {
        let taken = taken || far.reception.source() == Some(rtp.ssrc);
        Splice::new(far.reports.ssrc_for(rtp.ssrc, taken), near.clock)
    });
    let said = splice.map(Rtp { pt, ..rtp }, at.time().0);
    packet::rewrite(buffer, &said);
    Some((said, length))
}

/// RTP that leaves by the end at `far`, counted, and kept where it may be asked for again.
pub(super) fn send_media(
    ends: &mut [Slot],
    far: u32,
    said: &Rtp,
    at: Arrival,
    buffer: &mut [u8],
    length: usize,
) -> Option<Transmit> {
    let departure = seal(ends, far, Class::Rtp, buffer, length)?;
    let far = ends.get_mut(far as usize)?.end.as_mut()?;
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
fn report(near: &mut Endpoint, far: &mut Endpoint, at: Arrival, compound: &[u8]) {
    near.heard = Some(at.time());
    near.silent = false;
    let now = at.time();
    // Of what is said to the peer: that of the codec it is turned into, else that of its source.
    let clock = if far.is_transcoded() { near.clock } else { far.clock };
    rtcp::read(compound, |item| {
        let said = far.splice.as_ref();
        if near.reports.hear(&item, said, clock, near.reception.source(), at) {
            // A receiver cannot bring sound and picture together before it has the first report.
            far.reports.expedite(now);
        }
        let ours = |media: u32| said.is_some_and(|said| said.ssrc() == media);
        match item {
            Item::Nack { media, first, mask } if ours(media) => {
                let offset = said.map_or(0, Splice::seq_offset);
                let (Some(here), there) = (&mut near.feedback, &mut far.feedback) else { return };
                here.missed(first, mask, now, |seq| {
                    if let Some(there) = there {
                        there.want(seq.wrapping_sub(offset), now);
                        far.reports.wanted = true;
                    }
                });
                near.reports.wanted = true;
            }
            Item::KeyframeRequest { media } if media == 0 || ours(media) => {
                if let Some(there) = &mut far.feedback {
                    there.want_keyframe();
                    far.reports.wanted = true;
                }
            }
            Item::Estimate { bits } => {
                if let Some(there) = &mut far.feedback {
                    there.limit(bits);
                    far.reports.wanted = true;
                }
            }
            _ => {}
        }
    });
}

/// A packet that left by the end at `index` before and leaves again: the first `length` octets of its buffer.
pub(super) fn resend(ends: &[Slot], index: u32, length: usize) -> Option<Transmit> {
    let carrier = ends.get(bundle::carrier(ends, index) as usize)?.end.as_ref()?;
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

/// Puts a packet into the form of the end that it leaves by, the one at `far`.
pub(super) fn seal(
    ends: &mut [Slot],
    far: u32,
    class: Class,
    buffer: &mut [u8],
    length: usize,
) -> Option<Transmit> {
    let carrier = ends.get_mut(bundle::carrier(ends, far) as usize)?.end.as_mut()?;
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
