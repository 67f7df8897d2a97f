use super::*;
use crate::codec::{Encoder, Kind};
use crate::g711::{self, Law};

fn tone(rate: usize, hz: f64, count: usize) -> Vec<i16> {
    (0..count)
        .map(|n| (9_000.0 * (std::f64::consts::TAU * hz * n as f64 / rate as f64).sin()) as i16)
        .collect()
}

/// Pitch by rising zero crossings.
fn pitch(samples: &[i16], rate: usize) -> f64 {
    let rising = samples.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
    rising as f64 * rate as f64 / samples.len() as f64
}

fn wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let mut out = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
    out.extend(tag.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend([0; 6]);
    out.extend(bits.to_le_bytes());
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

fn page(serial: u8, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut lacing = vec![];
    for packet in packets {
        lacing.extend(vec![255; packet.len() / 255]);
        lacing.push((packet.len() % 255) as u8);
    }
    let mut out = b"OggS\0\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend([serial, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, lacing.len() as u8]);
    out.extend(lacing);
    out.extend(packets.concat());
    out
}

fn ogg(samples: &[i16]) -> Vec<u8> {
    let mut encoder = Encoder::new(Kind::Opus, 48_000, 5).unwrap();
    let packets: Vec<Vec<u8>> = samples
        .chunks_exact(960)
        .map(|frame| {
            let mut octets = [0; crate::PAYLOAD];
            let length = encoder.encode(frame, &mut octets);
            octets[..length].to_vec()
        })
        .collect();
    let mut out = page(7, &[b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0".to_vec()]);
    out.extend(page(7, &[b"OpusTags\0\0\0\0\0\0\0\0".to_vec()]));
    // A stream of another kind in between.
    out.extend(page(9, &[vec![1; 600]]));
    packets.chunks(20).for_each(|packets| out.extend(page(7, packets)));
    out
}

#[test]
fn every_kind_of_file_sounds_the_same_at_every_rate() {
    let le = |samples: &[i16]| samples.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>();
    let stereo: Vec<i16> = tone(44_100, 440.0, 44_100).iter().flat_map(|s| [*s, *s]).collect();
    let law = |law| tone(8_000, 440.0, 8_000).iter().map(|s| g711::encode(law, *s)).collect::<Vec<u8>>();
    let files = [
        wav(1, 1, 8_000, 16, &le(&tone(8_000, 440.0, 8_000))),
        wav(1, 2, 44_100, 16, &le(&stereo)),
        wav(6, 1, 8_000, 8, &law(Law::A)),
        wav(7, 1, 8_000, 8, &law(Law::Mu)),
        ogg(&tone(48_000, 440.0, 48_000)),
    ];
    for (number, file) in files.iter().enumerate() {
        for rate in [8_000, 16_000, 48_000] {
            let samples = read(file, rate).unwrap();
            assert!(
                (rate * 98 / 100..=rate).contains(&samples.len()),
                "file {number} at {rate}: {}",
                samples.len()
            );
            let middle = &samples[rate / 10..rate * 9 / 10];
            assert!(
                (pitch(middle, rate) - 440.0).abs() < 4.0,
                "file {number} at {rate}: {} Hz",
                pitch(middle, rate)
            );
            let peak = middle.iter().map(|s| s.unsigned_abs()).max().unwrap();
            assert!((8_000..10_500).contains(&peak), "file {number} at {rate}: {peak}");
        }
    }
}

#[test]
fn what_cannot_be_played_is_refused_and_no_length_is_believed() {
    assert_eq!(read(b"hello", 8_000), Err(FileError::Unknown));
    assert_eq!(read(&wav(3, 1, 8_000, 32, &[0; 8]), 8_000), Err(FileError::Encoding));
    assert_eq!(read(&wav(1, 0, 8_000, 16, &[0; 8]), 8_000), Err(FileError::Damaged));
    assert_eq!(read(&wav(1, 1, 4_000, 16, &vec![0; 2 * 4_000 * 601]), 8_000), Err(FileError::TooLong));
    assert_eq!(read(&page(1, &[b"\x01vorbis".to_vec()]), 8_000), Err(FileError::NoOpus));
    for file in [wav(1, 1, 8_000, 16, &[0; 64]), ogg(&[0; 9_600])] {
        for cut in 0..file.len() {
            let _ = read(&file[..cut], 8_000);
            let mut bent = file.clone();
            bent[cut] ^= 0xff;
            let _ = read(&bent, 8_000);
        }
    }
}
