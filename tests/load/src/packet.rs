//! The packets of the load: all of one follows from call, side and number, but the time, so every octet can be checked where it comes.

/// Octets of a packet: 20 ms of G.711.
pub const PACKET: usize = 172;

/// A packet of side `side` of a call; all of it follows from call, side and number but the time.
pub fn write(packet: &mut [u8], call: u32, side: u32, number: u32, at_ns: u64, ptime_ms: u64) {
    packet[0] = 0x80;
    packet[1] = 0;
    packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
    packet[4..8].copy_from_slice(&number.wrapping_mul(8 * ptime_ms as u32).to_be_bytes());
    packet[8..12].copy_from_slice(&(call * 2 + side + 1).to_be_bytes());
    packet[12..20].copy_from_slice(&at_ns.to_be_bytes());
    packet[20..24].copy_from_slice(&(call * 2 + side).to_be_bytes());
    packet[24..28].copy_from_slice(&number.to_be_bytes());
    let fill = filling(call, side, number);
    for (place, octets) in packet[28..PACKET].chunks_mut(8).enumerate() {
        octets.copy_from_slice(&fill.wrapping_mul(place as u64 | 1).to_be_bytes()[..octets.len()]);
    }
}

fn filling(call: u32, side: u32, number: u32) -> u64 {
    (u64::from(call * 2 + side) << 32 | u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// Reads stream (call and side), number and time of a packet; `None` when any octet is wrong.
pub fn read(packet: &[u8]) -> Option<(u32, u32, u64)> {
    if packet.len() != PACKET || packet[0] != 0x80 || packet[1] & 0x7f != 0 {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let (stream, number) = (word(20), word(24));
    let fill = filling(stream / 2, stream % 2, number);
    let good = packet[28..]
        .chunks(8)
        .enumerate()
        .all(|(place, octets)| octets == &fill.wrapping_mul(place as u64 | 1).to_be_bytes()[..octets.len()]);
    let numbered = packet[2..4] == (number as u16).to_be_bytes();
    (good && numbered).then(|| (stream, number, u64::from(word(12)) << 32 | u64::from(word(16))))
}

/// RTCP of the relay's own: it goes to the port above a party's, which may be another party's here.
pub fn is_report(packet: &[u8]) -> bool {
    matches!(packet, [first, 192..=223, ..] if first >> 6 == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_of_a_packet_is_checked() {
        let mut packet = [0; PACKET];
        write(&mut packet, 7, 1, 70_000, 123_456_789, 20);
        assert_eq!(read(&packet), Some((15, 70_000, 123_456_789)));
        for place in (0..4).chain(24..PACKET) {
            let mut wrong = packet;
            wrong[place] ^= 1;
            assert_eq!(read(&wrong), None, "octet {place}");
        }
        assert_eq!(read(&packet[..171]), None);
        assert!(!is_report(&packet) && is_report(&[0x80, 200, 0, 6]));
    }
}
