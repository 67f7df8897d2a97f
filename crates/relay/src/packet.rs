//! Recognition of datagrams (RFC 7983, RFC 5761) and the fields of RTP and RTCP (RFC 3550), read in place.

/// Class of a datagram on a media port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// First octet 0–3 and the magic cookie.
    Stun,
    /// 20–63.
    Dtls,
    /// Version 2, second octet outside 192–223.
    Rtp,
    /// Version 2, second octet 192–223.
    Rtcp,
    /// ZRTP, TURN channels, QUIC, noise: dropped.
    Other,
}

/// Tells what a datagram is by its first octets (R-RTP-1).
#[must_use]
pub fn classify(datagram: &[u8]) -> Class {
    match datagram {
        [0..=3, _, _, _, 0x21, 0x12, 0xa4, 0x42, ..] if datagram.len() >= 20 => Class::Stun,
        [20..=63, ..] => Class::Dtls,
        [128..=191, 192..=223, ..] if datagram.len() >= 8 => Class::Rtcp,
        [128..=191, ..] if datagram.len() >= 12 => Class::Rtp,
        _ => Class::Other,
    }
}

/// Fields of an RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp {
    /// Payload type, 0–127.
    pub pt: u8,
    /// First packet of a talkspurt or last of a frame.
    pub marker: bool,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp, in the codec's clock.
    pub timestamp: u32,
    /// Source.
    pub ssrc: u32,
    /// Octets of header with CSRCs and extension.
    pub header: usize,
}

/// Reads an RTP header; `None` when the packet is cut short.
#[must_use]
pub fn rtp(packet: &[u8]) -> Option<Rtp> {
    let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3, ..] = *packet else { return None };
    if first >> 6 != 2 {
        return None;
    }
    let mut header = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(header + 2..header + 4)?;
        header += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (header <= packet.len()).then_some(Rtp {
        pt: second & 0x7f,
        marker: second & 0x80 != 0,
        seq: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        header,
    })
}

/// Writes the fields that a relay owns: payload type and marker, sequence number, timestamp, source.
pub fn rewrite(packet: &mut [u8], rtp: &Rtp) {
    let Some(head) = packet.get_mut(1..12) else { return };
    head[0] = u8::from(rtp.marker) << 7 | rtp.pt & 0x7f;
    head[1..3].copy_from_slice(&rtp.seq.to_be_bytes());
    head[3..7].copy_from_slice(&rtp.timestamp.to_be_bytes());
    head[7..11].copy_from_slice(&rtp.ssrc.to_be_bytes());
}

/// Takes the header extension out of the packet in the first `length` octets: none is ever agreed on, so none may reach a peer
/// (RFC 8285 §5). Gives the new length.
pub fn strip(packet: &mut [u8], length: usize, rtp: &mut Rtp) -> usize {
    let octets = packet.len();
    let Some(first) = packet.first_mut().filter(|first| **first & 0x10 != 0) else { return length };
    let bare = 12 + 4 * usize::from(*first & 0x0f);
    if bare > rtp.header || rtp.header > length || length > octets {
        return length;
    }
    *first &= !0x10;
    packet.copy_within(rtp.header..length, bare);
    let length = length - (rtp.header - bare);
    rtp.header = bare;
    length
}

/// Returns the payload without header and padding (RFC 3550 §5.1).
#[must_use]
pub fn payload<'a>(packet: &'a [u8], rtp: &Rtp) -> Option<&'a [u8]> {
    let payload = packet.get(rtp.header..)?;
    let padding = match (packet.first()? & 0x20, payload.last()) {
        (0, _) => 0,
        (_, last) => usize::from(*last?),
    };
    payload.get(..payload.len().checked_sub(padding)?)
}

/// The payload numbers of one direction: what comes in as `n` goes out as `map[n]`; unknown ones are dropped (R-RTP-12).
#[derive(Clone, Debug)]
pub struct Payloads([u8; 128]);

const DROP: u8 = 255;

impl Payloads {
    /// Pairs of (heard, said).
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (u8, u8)>) -> Payloads {
        let mut map = [DROP; 128];
        for (heard, said) in pairs {
            if let Some(place) = map.get_mut(usize::from(heard)) {
                *place = said & 0x7f;
            }
        }
        Payloads(map)
    }
    /// The number to say, or `None` to drop.
    #[must_use]
    pub fn get(&self, pt: u8) -> Option<u8> {
        self.0.get(usize::from(pt)).copied().filter(|said| *said != DROP)
    }
}

/// A jump forward by as much is a restart of the source (RFC 3550 A.1).
pub(crate) const MAX_DROPOUT: u16 = 3_000;
/// A jump back by less is a late packet.
const MAX_MISORDER: u16 = 100;
/// Of video, whose packets are many and may be sent again on request.
const MAX_MISORDER_VIDEO: u16 = 1_000;
/// The clock of every video codec (RFC 6184, RFC 7741, …).
pub(crate) const VIDEO: u32 = 90_000;

/// A jump back by less is a late packet, in a stream of this clock.
pub(crate) fn max_misorder(clock: u32) -> u16 {
    if clock == VIDEO { MAX_MISORDER_VIDEO } else { MAX_MISORDER }
}

/// Keeps what a receiver sees continuous when the source behind it changes (R-RTP-2): one sending SSRC, sequence numbers
/// and timestamps that go on.
#[derive(Clone, Debug)]
pub struct Splice {
    ssrc: u32,
    clock: u32,
    source: Option<u32>,
    seq_offset: u16,
    timestamp_offset: u32,
    interrupted: bool,
    /// Sequence number that the present source began with, until late packets of the one before are out of reach.
    first: Option<u16>,
    last: Option<(u16, u32, u64)>,
    /// Another relay goes on with the stream and numbers it alike: no packet leaves that it would number in another way.
    frozen: bool,
    /// When the state was taken that this goes on from, until its first packet.
    resumed: Option<u64>,
}

/// Sequence numbers left out at least by a relay that goes on with a stream without knowing what was sent last, in streams of sound and
/// of pictures.
pub(crate) const LEAP: (u16, u16) = (128, 1_000);
/// Packets a second that a stream has at most: sound in packets of 10 ms; pictures.
const PACE: (u64, u64) = (100, 1_000);
/// Far below half of all sequence numbers, beyond which a receiver guesses another roll-over counter (RFC 3711 §3.3.1).
const MAX_LEAP: u64 = 16_000;

/// Sequence numbers left out by a relay that goes on with a stream of this clock, so long after the state that it knows was taken: more
/// than the other one can have sent since.
pub(crate) fn leap(clock: u32, elapsed_ms: u64) -> u16 {
    let (least, pace) = if clock == VIDEO { (LEAP.1, PACE.1) } else { (LEAP.0, PACE.0) };
    let sent = (elapsed_ms.saturating_mul(pace) / 1_000).saturating_add(pace / 4);
    sent.clamp(least.into(), MAX_LEAP) as u16
}

/// Knowledge of a stream that another relay has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// That relay keeps to the numbering of the state as long as it sends: a packet has the same number from either.
    Exact,
    /// The numbering may have changed since, and the stream is in the clear: a number used twice is a packet lost.
    Clear,
    /// The numbering may have changed since, and the stream is encrypted: no number may be used twice (RFC 3711 §9.1).
    Unknown,
}

/// A [`Splice`] as another relay can go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spliced {
    /// SSRC that it sends as.
    pub ssrc: u32,
    /// Hz.
    pub clock: u32,
    /// The source behind it.
    pub source: Option<u32>,
    /// Added to the source's sequence numbers.
    pub seq_offset: u16,
    /// Added to its timestamps.
    pub timestamp_offset: u32,
    /// Sequence number and timestamp last sent, and when, ms.
    pub last: Option<(u16, u32, u64)>,
}

impl Splice {
    /// How far it got.
    #[must_use]
    pub fn state(&self) -> Spliced {
        let Splice { ssrc, clock, source, seq_offset, timestamp_offset, last, .. } = *self;
        Spliced { ssrc, clock, source, seq_offset, timestamp_offset, last }
    }

    /// Goes on for another relay from what it stated at `taken`, ms. The source that it sent keeps its numbers where that does no harm;
    /// any other one begins beyond what that relay can have sent, its timestamps by the wall clock.
    #[must_use]
    pub fn resume(state: Spliced, continuity: Continuity, taken: u64) -> Splice {
        let Spliced { ssrc, clock, source, seq_offset, timestamp_offset, last } = state;
        let interrupted = continuity == Continuity::Unknown;
        Splice {
            ssrc,
            clock,
            source,
            seq_offset,
            timestamp_offset,
            interrupted,
            first: None,
            last,
            frozen: false,
            resumed: Some(taken),
        }
    }

    /// Keeps to the present numbering, or ends that.
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Sends as `ssrc`; `clock` in Hz.
    #[must_use]
    pub fn new(ssrc: u32, clock: u32) -> Splice {
        Splice {
            ssrc,
            clock,
            source: None,
            seq_offset: 0,
            timestamp_offset: 0,
            interrupted: false,
            first: None,
            last: None,
            frozen: false,
            resumed: None,
        }
    }

    /// Renumbers a packet of a codec of this clock, Hz, that came in at `now_ms`. Gaps of the source are kept. `None`: the packet is
    /// late and would take a number that the source before this one has used, or the numbering is frozen.
    pub fn map(&mut self, mut rtp: Rtp, clock: u32, now_ms: u64) -> Option<Rtp> {
        self.clock = clock;
        let changed = self.interrupted || self.source != Some(rtp.ssrc) || self.restarted(rtp.seq);
        if changed && self.frozen {
            return None;
        }
        self.interrupted = false;
        let step = self.resumed.take().map_or(1, |taken| leap(clock, now_ms.saturating_sub(taken)));
        if changed {
            self.source = Some(rtp.ssrc);
            if let Some((seq, timestamp, at)) = self.last {
                let elapsed = (now_ms.saturating_sub(at) * u64::from(self.clock) / 1000) as u32;
                self.seq_offset = seq.wrapping_add(step).wrapping_sub(rtp.seq);
                self.timestamp_offset = timestamp.wrapping_add(elapsed.max(1)).wrapping_sub(rtp.timestamp);
                self.first = Some(seq.wrapping_add(step));
                rtp.marker = true;
            }
        }
        rtp.seq = rtp.seq.wrapping_add(self.seq_offset);
        match self.first.map(|first| rtp.seq.wrapping_sub(first)) {
            Some(before) if before >= 0x8000 => return None,
            Some(on) if on > MAX_MISORDER_VIDEO => self.first = None,
            _ => {}
        }
        rtp.timestamp = rtp.timestamp.wrapping_add(self.timestamp_offset);
        rtp.ssrc = self.ssrc;
        // A late packet does not turn the clock back.
        if self.last.is_none_or(|(seq, ..)| changed || rtp.seq.wrapping_sub(seq) < 0x8000) {
            self.last = Some((rtp.seq, rtp.timestamp, now_ms));
        }
        Some(rtp)
    }

    /// Returns true if this sequence number, as it was sent, is one of the present source's.
    #[must_use]
    pub fn is_of_source(&self, seq: u16) -> bool {
        !self.interrupted && self.first.is_none_or(|first| seq.wrapping_sub(first) < 0x8000)
    }

    /// The source counts from elsewhere without another name (RFC 3550 A.1): neither a late packet nor a loss. Sent on as it
    /// comes, it would use sequence numbers, and SRTP keystream, a second time.
    fn restarted(&self, seq: u16) -> bool {
        let Some((last, ..)) = self.last else { return false };
        let forward = seq.wrapping_add(self.seq_offset).wrapping_sub(last);
        (MAX_DROPOUT..=u16::MAX - max_misorder(self.clock)).contains(&forward)
    }

    /// Clock of the codec that was sent last, Hz.
    #[must_use]
    pub fn clock(&self) -> u32 {
        self.clock
    }

    /// Counts time for which the last packet stood: what follows begins so many ticks after it.
    pub fn pass(&mut self, ticks: u32) {
        if let Some((_, timestamp, _)) = &mut self.last {
            *timestamp = timestamp.wrapping_add(ticks);
        }
    }

    /// Interrupts the stream (hold, another source): the next packet goes on like one of a new source, without a gap.
    pub fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// Returns true when the next packet follows a break.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// SSRC of the stream as its receiver sees it.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The source that is being sent.
    #[must_use]
    pub fn source(&self) -> Option<u32> {
        self.source
    }

    /// Timestamp of the newest packet sent, and when that was, ms.
    #[must_use]
    pub fn last(&self) -> Option<(u32, u64)> {
        self.last.map(|(_, timestamp, at)| (timestamp, at))
    }

    /// Added to what comes in, modulo 2^32.
    #[must_use]
    pub fn timestamp_offset(&self) -> u32 {
        self.timestamp_offset
    }

    /// Added to what comes in, modulo 2^16.
    #[must_use]
    pub fn seq_offset(&self) -> u16 {
        self.seq_offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// R-RTP-1: all 256 first octets, and every second octet of version 2.
    #[test]
    fn every_first_octet_is_recognised() {
        for first in 0..=255u8 {
            let mut datagram = [0u8; 20];
            datagram[0] = first;
            datagram[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            let wanted = match first {
                0..=3 => Class::Stun,
                20..=63 => Class::Dtls,
                128..=191 => Class::Rtp,
                _ => Class::Other,
            };
            assert_eq!(classify(&datagram), wanted, "{first}");
        }
        for second in 0..=255u8 {
            let mut datagram = [0u8; 12];
            (datagram[0], datagram[1]) = (0x80, second);
            assert_eq!(
                classify(&datagram),
                if (192..=223).contains(&second) { Class::Rtcp } else { Class::Rtp }
            );
        }
        assert_eq!(classify(&[0; 20]), Class::Other, "no cookie, no STUN");
        assert_eq!(classify(&[]), Class::Other);
    }

    fn packet(seq: u16, timestamp: u32, ssrc: u32) -> Rtp {
        Rtp { pt: 0, marker: false, seq, timestamp, ssrc, header: 12 }
    }

    #[test]
    fn a_new_source_goes_on_where_the_old_one_stopped() {
        let mut splice = Splice::new(99, 8000);
        assert_eq!(splice.map(packet(65_534, 1_000, 1), 8_000, 0).unwrap().seq, 65_534);
        assert_eq!(splice.map(packet(0, 1_320, 1), 8_000, 40).unwrap().seq, 0, "a lost packet stays a gap");
        let next = splice.map(packet(777, 5, 2), 8_000, 140).unwrap();
        assert_eq!((next.seq, next.timestamp, next.ssrc, next.marker), (1, 1_320 + 800, 99, true));
        let next = splice.map(packet(778, 165, 2), 8_000, 160).unwrap();
        assert_eq!((next.seq, next.timestamp, next.marker), (2, 2_280, false));
    }

    /// Sent under a number of the source before, it would be another packet of that number (RFC 3711 §9.1).
    #[test]
    fn a_late_packet_of_a_new_source_takes_no_number_of_the_old_one() {
        let mut splice = Splice::new(99, 8_000);
        splice.map(packet(500, 0, 1), 8_000, 0).unwrap();
        assert_eq!(splice.map(packet(777, 0, 2), 8_000, 20).unwrap().seq, 501);
        assert_eq!(splice.map(packet(776, 0, 2), 8_000, 21), None);
        assert!(splice.is_of_source(501) && !splice.is_of_source(500));
        for seq in 779..3_000 {
            splice.map(packet(seq, 0, 2), 8_000, 30).unwrap();
        }
        assert_eq!(
            splice.map(packet(2_950, 0, 2), 8_000, 31).unwrap().seq,
            2_674,
            "its own late packets are sent"
        );
        splice.interrupt();
        assert!(!splice.is_of_source(2_724));
    }

    #[test]
    fn a_held_stream_resumes_without_a_gap() {
        let mut splice = Splice::new(1, 8000);
        splice.map(packet(100, 0, 1), 8_000, 0).unwrap();
        splice.interrupt();
        let next = splice.map(packet(50_000, 7_984_000, 1), 8_000, 998_000).unwrap();
        assert_eq!((next.seq, next.timestamp, next.marker), (101, 7_984_000, true));
        assert_eq!(splice.map(packet(50_001, 7_984_160, 1), 8_000, 998_020).unwrap().seq, 102);
    }

    #[test]
    fn a_source_that_counts_anew_goes_on_and_a_late_packet_keeps_its_place() {
        let mut splice = Splice::new(1, 8000);
        splice.map(packet(10_000, 0, 1), 8_000, 0).unwrap();
        assert_eq!(splice.map(packet(9_950, 0, 1), 8_000, 5).unwrap().seq, 9_950);
        let next = splice.map(packet(3, 500, 1), 8_000, 20).unwrap();
        assert_eq!((next.seq, next.timestamp, next.marker), (10_001, 160, true));
        assert_eq!(splice.map(packet(4, 660, 1), 8_000, 40).unwrap().seq, 10_002);
    }

    #[test]
    fn header_extensions_are_taken_out() {
        // One CSRC, an extension of two words, a payload of three octets.
        let mut wire = vec![0x91, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 9];
        wire.extend([0xbe, 0xde, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, b'a', b'b', b'c', 0, 0]);
        let length = wire.len() - 2;
        let mut header = rtp(&wire[..length]).unwrap();
        let short = strip(&mut wire, length, &mut header);
        assert_eq!((short, header.header, wire[0]), (19, 16, 0x81));
        assert_eq!(&wire[12..19], [9, 9, 9, 9, b'a', b'b', b'c']);
        assert_eq!(rtp(&wire[..short]), Some(header));
        assert_eq!(strip(&mut wire, short, &mut header), short, "there is none any more");
    }

    /// R-RTP-12
    #[test]
    fn payloads_are_mapped_or_dropped() {
        let map = Payloads::new([(0, 0), (101, 126), (200, 1)]);
        assert_eq!((map.get(101), map.get(8), map.get(0), map.get(200)), (Some(126), None, Some(0), None));
    }

    proptest! {
        #[test]
        fn headers_are_read_and_rewritten_or_refused(octets in prop::collection::vec(any::<u8>(), 0..64), seq: u16, ssrc: u32) {
            let _ = classify(&octets);
            if let Some(read) = rtp(&octets) {
                prop_assert!(read.header <= octets.len());
                let mut packet = octets.clone();
                let changed = Rtp { seq, ssrc, ..read };
                rewrite(&mut packet, &changed);
                prop_assert_eq!(rtp(&packet), Some(changed));
                prop_assert_eq!(&packet[12..], &octets[12..]);
                let mut bare = read;
                let mut packet = octets.clone();
                let length = strip(&mut packet, octets.len(), &mut bare);
                prop_assert_eq!(rtp(&packet[..length]), Some(bare));
                prop_assert_eq!(&packet[bare.header..length], &octets[read.header..]);
            }
        }
    }
}
