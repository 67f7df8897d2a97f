//! RTCP that crosses: checked as a compound packet (RFC 3550 A.2), its sources renamed where the relay renamed them.

use crate::packet::Splice;

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const RTPFB: u8 = 205;
const PSFB: u8 = 206;

/// Every packet has version 2 and a length that fits; only the last one is padded. Reduced-size packets (RFC 5506) pass too.
pub(super) fn valid(compound: &[u8]) -> bool {
    let mut rest = compound;
    while let [first, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        if first >> 6 != 2 || !(192..=223).contains(&kind) || length > rest.len() {
            return false;
        }
        if first & 0x20 != 0 && length < rest.len() {
            return false;
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    rest.is_empty() && !compound.is_empty()
}

/// Renames in place: `said` is the splice of the stream that the sender of this packet sends, `heard` that of the stream
/// that it hears and reports on. The packet must be [`valid`].
pub(super) fn translate(compound: &mut [u8], said: Option<&Splice>, heard: Option<&Splice>) {
    let mut rest = compound;
    while let [first, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        if length > rest.len() {
            return;
        }
        let (packet, after) = rest.split_at_mut(length);
        let count = usize::from(first & 0x1f);
        match kind {
            SR | RR => {
                let renamed = rename(packet, 4, |ssrc| said?.said_for(ssrc));
                let blocks = if kind == SR { 28 } else { 8 };
                if let (SR, true, Some(said)) = (kind, renamed, said) {
                    edit(packet, 16, |timestamp| timestamp.wrapping_add(said.timestamp_offset()));
                }
                for block in 0..count {
                    let at = blocks + 24 * block;
                    if let (true, Some(heard)) = (rename(packet, at, |ssrc| heard?.heard_as(ssrc)), heard) {
                        edit(packet, at + 8, |seq| seq.wrapping_sub(u32::from(heard.seq_offset())));
                    }
                }
            }
            SDES if count > 0 => {
                rename(packet, 4, |ssrc| said?.said_for(ssrc));
            }
            BYE => {
                for source in 0..count {
                    rename(packet, 4 + 4 * source, |ssrc| said?.said_for(ssrc));
                }
            }
            RTPFB | PSFB => {
                rename(packet, 4, |ssrc| said?.said_for(ssrc));
                rename(packet, 8, |ssrc| heard?.heard_as(ssrc));
            }
            _ => {}
        }
        rest = after;
    }
}

/// Changes the source at `at`; tells whether the splice knows it.
fn rename(packet: &mut [u8], at: usize, name: impl FnOnce(u32) -> Option<u32>) -> bool {
    let mut known = false;
    edit(packet, at, |ssrc| {
        let renamed = name(ssrc);
        known = renamed.is_some();
        renamed.unwrap_or(ssrc)
    });
    known
}

fn edit(packet: &mut [u8], at: usize, change: impl FnOnce(u32) -> u32) {
    if let Some(place) = packet.get_mut(at..at + 4)
        && let [a, b, c, d] = *place
    {
        place.copy_from_slice(&change(u32::from_be_bytes([a, b, c, d])).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Rtp;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    fn report(ssrc: u32, timestamp: u32, about: u32, seq: u32) -> Vec<u8> {
        let mut packet = words(&[0x81c8_000c, ssrc, 1, 2, timestamp, 10, 1600, about, 0, seq, 0, 0, 0]);
        packet.extend(words(&[0x81ca_0002, ssrc, 0x0001_6100]));
        packet
    }

    #[test]
    fn compounds_are_checked_to_the_last_octet() {
        let good = report(1, 2, 3, 4);
        assert!(valid(&good));
        assert!(!valid(&good[..good.len() - 1]) && !valid(&good[..8]) && !valid(&[]));
        let mut bad = good.clone();
        bad[52] = 0x41;
        assert!(!valid(&bad), "the second packet is of version 1");
        let mut bad = good;
        bad[0] |= 0x20;
        assert!(!valid(&bad), "padding before the last packet");
    }

    #[test]
    fn sources_and_times_follow_the_splice() {
        let rtp = |seq, timestamp, ssrc| Rtp { pt: 0, marker: false, seq, timestamp, ssrc, header: 12 };
        let mut said = Splice::new(7, 8000);
        said.map(rtp(10, 1_000, 7), 0);
        said.map(rtp(500, 90, 8), 20);
        let mut heard = Splice::new(50, 8000);
        heard.map(rtp(20, 0, 50), 0);
        heard.map(rtp(900, 0, 51), 20);
        // 8 goes out as 7 with 500 -> 11 and 90 -> 1160; 51 goes out as 50 with 900 -> 21.
        let mut packet = report(8, 250, 50, 0x0001_0015);
        translate(&mut packet, Some(&said), Some(&heard));
        assert_eq!(packet[4..8], 7u32.to_be_bytes());
        assert_eq!(packet[16..20], (1_160u32 + 160).to_be_bytes());
        assert_eq!(packet[28..32], 51u32.to_be_bytes());
        assert_eq!(packet[38..40], 900u16.to_be_bytes());
        assert_eq!(packet[56..60], 7u32.to_be_bytes());
        let untouched = report(99, 1, 98, 5);
        let mut packet = untouched.clone();
        translate(&mut packet, Some(&said), Some(&heard));
        assert_eq!(packet, untouched, "unknown sources pass as they are");
    }

    #[test]
    fn noise_is_survived() {
        for length in 0..64 {
            for fill in [0x80u8, 0xff, 0x9f, 0xc8] {
                let mut noise = vec![fill; length];
                if length > 1 {
                    noise[1] = 200;
                }
                valid(&noise);
                translate(&mut noise, Some(&Splice::new(1, 8000)), None);
            }
        }
    }
}
