//! RTCP feedback between the parties, read and written octet by octet: the relay is not judged by its own reader.

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// PLI (RFC 4585 §6.3.1).
    Picture,
    /// FIR (RFC 5104 §4.3.1).
    Intra,
    /// NACK (RFC 4585 §6.2.1), one for each packet.
    Packet(u16),
}

const REPORTS: [u8; 2] = [200, 201];
/// Transport-layer and payload-specific feedback.
const RTPFB: u8 = 205;
const PSFB: u8 = 206;

/// A compound packet of `ours` that asks this of the stream `theirs`; `number`: FIR's.
pub fn request(asked: Asked, ours: u32, theirs: u32, number: u8) -> Vec<u8> {
    let (form, kind, media, rest) = match asked {
        Asked::Picture => (1, PSFB, theirs, vec![]),
        Asked::Intra => (4, PSFB, 0, [&theirs.to_be_bytes()[..], &[number, 0, 0, 0]].concat()),
        Asked::Packet(seq) => (1, RTPFB, theirs, [seq.to_be_bytes(), [0, 0]].concat()),
    };
    // It begins with a report (RFC 3550 §6.1): an empty one.
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ours.to_be_bytes());
    packet.extend([0x80 | form, kind, 0, (2 + rest.len() / 4) as u8]);
    packet.extend(ours.to_be_bytes());
    packet.extend(media.to_be_bytes());
    packet.extend(rest);
    packet
}

/// Requests of a compound packet about the stream `ours`.
pub fn requests(compound: &[u8], ours: u32) -> Vec<Asked> {
    let (mut asked, mut rest) = (vec![], compound);
    // Reduced sizes (RFC 5506) were not agreed.
    if compound.get(1).is_none_or(|kind| !REPORTS.contains(kind)) {
        return asked;
    }
    while let [first, kind, high, low, ..] = *rest {
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let Some((packet, after)) = rest.split_at_checked(length) else { break };
        rest = after;
        let words: Vec<[u8; 4]> = packet.as_chunks().0.to_vec();
        let media = words.get(2).map(|word| u32::from_be_bytes(*word));
        let items = words.get(3..).unwrap_or_default();
        match (kind, first & 0x1f) {
            (PSFB, 1) if media == Some(ours) => asked.push(Asked::Picture),
            (PSFB, 4) if items.iter().step_by(2).any(|word| u32::from_be_bytes(*word) == ours) => {
                asked.push(Asked::Intra);
            }
            (RTPFB, 1) if media == Some(ours) => {
                for [p0, p1, m0, m1] in items {
                    let (seq, mask) = (u16::from_be_bytes([*p0, *p1]), u16::from_be_bytes([*m0, *m1]));
                    let more =
                        (0..16).filter(|bit| mask >> bit & 1 == 1).map(|bit| seq.wrapping_add(bit + 1));
                    asked.extend(std::iter::once(seq).chain(more).map(Asked::Packet));
                }
            }
            _ => {}
        }
    }
    asked
}

#[test]
fn requests_are_read_as_they_are_written() {
    for asked in [Asked::Picture, Asked::Intra, Asked::Packet(65_535)] {
        let packet = request(asked, 1, 2, 7);
        assert_eq!(requests(&packet, 2), [asked]);
        assert_eq!(requests(&packet, 3), [], "of another stream");
        assert_eq!(requests(&packet[8..], 2), [], "without a report");
    }
    let mut mask = request(Asked::Packet(65_535), 1, 2, 0);
    let last = mask.len() - 1;
    mask[last] = 0b11;
    assert_eq!(requests(&mask, 2), [65_535, 0, 1].map(Asked::Packet));
}
