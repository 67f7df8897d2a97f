//! VP8 in RTP, as far as a phone needs it that neither encodes nor decodes: pictures cut into payloads and put together again
//! (RFC 7741), and what a key frame says of itself (RFC 6386 §9.1).

/// Octets of a picture in one packet.
const PART: usize = 1_000;
/// Octets of a picture that is put together; more is none of Chromium's.
const LONGEST: usize = 1 << 20;

/// The payloads of a picture; the last one goes with the marker.
pub fn payloads(picture: &[u8]) -> Vec<Vec<u8>> {
    // S: a partition begins here. Nothing else is said of it.
    let descriptor = |place: usize| if place == 0 { 0x10 } else { 0 };
    picture.chunks(PART).enumerate().map(|(place, part)| [&[descriptor(place)], part].concat()).collect()
}

/// Width and height of a key frame; `None`: another picture.
pub fn key(picture: &[u8]) -> Option<(u16, u16)> {
    let [tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = *picture else { return None };
    let side = |low, high| u16::from_le_bytes([low, high]) & 0x3fff;
    (tag & 1 == 0).then(|| (side(w0, w1), side(h0, h1)))
}

/// Payload descriptor: whether a picture begins here, and the octets of the picture.
fn described(payload: &[u8]) -> Option<(bool, &[u8])> {
    let (first, mut rest) = payload.split_first()?;
    if first & 0x80 != 0 {
        let (extended, after) = rest.split_first()?;
        rest = after;
        if extended & 0x80 != 0 {
            // The number of the picture has 7 bits or 15.
            rest = rest.get(if *rest.first()? & 0x80 == 0 { 1 } else { 2 }..)?;
        }
        if extended & 0x40 != 0 {
            rest = rest.get(1..)?;
        }
        if extended & 0x30 != 0 {
            rest = rest.get(1..)?;
        }
    }
    // S, and partition 0.
    Some((first & 0x1f == 0x10, rest))
}

/// Puts pictures together from packets in their order.
#[derive(Default)]
pub struct Assembly {
    next: Option<u16>,
    /// `None`: a part is missing, and nothing is begun before the next picture.
    picture: Option<Vec<u8>>,
}

impl Assembly {
    /// Takes the payload of a packet; gives the picture that it completes.
    pub fn packet(&mut self, seq: u16, marker: bool, payload: &[u8]) -> Option<Vec<u8>> {
        if self.next.is_some_and(|next| next != seq) {
            self.picture = None;
        }
        self.next = Some(seq.wrapping_add(1));
        // Padding alone (it probes for bandwidth).
        let (begins, part) = described(payload)?;
        if begins {
            self.picture = Some(vec![]);
        }
        let picture = self.picture.as_mut().filter(|picture| picture.len() + part.len() <= LONGEST)?;
        picture.extend(part);
        marker.then(|| self.picture.take()).flatten()
    }
}

#[test]
fn pictures_are_cut_and_put_together() {
    let picture: Vec<u8> = (0..2_500u16).map(|n| n as u8).collect();
    let parts = payloads(&picture);
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [1_001, 1_001, 501]);
    let mut assembly = Assembly::default();
    assert_eq!(assembly.packet(65_535, false, &parts[0]), None);
    assert_eq!(assembly.packet(0, false, &parts[1]), None);
    assert_eq!(assembly.packet(1, true, &parts[2]), Some(picture.clone()));
    // Without its beginning, or without its middle.
    assert_eq!(assembly.packet(2, true, &parts[1]), None);
    assert_eq!(assembly.packet(3, false, &parts[0]), None);
    assert_eq!(assembly.packet(5, true, &parts[2]), None);
    // As Chromium writes it: a picture number of 15 bits, a layer, a key index.
    let extended = [&[0x90, 0xf0, 0x81, 0x02, 0x03, 0x04], &picture[..]].concat();
    assert_eq!(assembly.packet(6, true, &extended), Some(picture));
}

#[test]
fn a_key_frame_tells_its_size() {
    // 320 by 240, the latter with a scale in the upper bits.
    let frame = [0x10, 0x02, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x40, 0];
    assert_eq!(key(&frame), Some((320, 240)));
    assert_eq!(key(&[&[0x11], &frame[1..]].concat()), None, "a picture that stands on another");
    assert_eq!(key(&frame[..9]), None);
}
