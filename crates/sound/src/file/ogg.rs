//! Ogg pages (RFC 3533 §6) with an Opus stream in them (RFC 7845).

use super::{FileError, LONGEST_S, Sound, mix};
use ::opus::Channels;

const RATE: usize = 48_000;

pub(super) fn read(octets: &[u8]) -> Result<Sound, FileError> {
    let packets = packets(octets)?;
    let mut packets = packets.iter();
    let head = packets.next().filter(|head| head.starts_with(b"OpusHead")).ok_or(FileError::NoOpus)?;
    // §5.1: version, channels, pre-skip; a mapping other than one or two channels is not for us.
    let [version, channels, skip0, skip1] = *head.get(8..12).ok_or(FileError::Damaged)? else {
        return Err(FileError::Damaged);
    };
    if version > 15 || !(1..=2).contains(&channels) {
        return Err(FileError::NoOpus);
    }
    packets.next().filter(|tags| tags.starts_with(b"OpusTags")).ok_or(FileError::Damaged)?;
    let layout = if channels == 2 { Channels::Stereo } else { Channels::Mono };
    let mut decoder = ::opus::Decoder::new(RATE as u32, layout).map_err(|_| FileError::Damaged)?;
    let mut samples = vec![];
    let mut frame = vec![0i16; 2 * RATE * 120 / 1_000];
    for packet in packets.filter(|packet| !packet.is_empty()) {
        let count = decoder.decode(packet, &mut frame, false).map_err(|_| FileError::Damaged)?;
        samples.extend(mix(frame.get(..count * usize::from(channels)).unwrap_or_default(), channels.into()));
        if samples.len() > LONGEST_S * RATE {
            return Err(FileError::TooLong);
        }
    }
    let skip = usize::from(u16::from_le_bytes([skip0, skip1])).min(samples.len());
    samples.drain(..skip);
    Ok(Sound { rate: RATE, samples })
}

/// The packets of the first stream.
fn packets(octets: &[u8]) -> Result<Vec<Vec<u8>>, FileError> {
    let (mut rest, mut packets, mut open) = (octets, vec![], vec![]);
    let mut serial = None;
    while !rest.is_empty() {
        let head = rest.get(..27).filter(|head| head.starts_with(b"OggS")).ok_or(FileError::Damaged)?;
        let segments = usize::from(head[26]);
        let of = head.get(14..18);
        let lacing = rest.get(27..27 + segments).ok_or(FileError::Damaged)?;
        let mut body = rest.get(27 + segments..).unwrap_or_default();
        let ours = *serial.get_or_insert(of) == of;
        for length in lacing {
            let segment = body.get(..usize::from(*length)).ok_or(FileError::Damaged)?;
            body = body.get(usize::from(*length)..).unwrap_or_default();
            if ours {
                open.extend_from_slice(segment);
                // A segment of 255 octets is gone on with.
                if *length < 255 {
                    packets.push(std::mem::take(&mut open));
                }
            }
        }
        rest = body;
    }
    Ok(packets)
}
