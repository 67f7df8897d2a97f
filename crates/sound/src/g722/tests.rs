use super::*;

/// Half a second of triangles and noise at four loudnesses, by whole numbers only.
fn signal() -> Vec<i16> {
    let mut word = 12_345u32;
    (0..12_800i32)
        .map(|n| {
            word = word.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
            let noise = (word >> 15 & 0xffff) as i32 - 32_768;
            let place = n % 73;
            let triangle = if place < 37 { place } else { 73 - place } * 400 - 7_400;
            let loud = n / 1_600 % 4;
            let quarter = if loud == 0 { noise.div_euclid(4) } else { 0 };
            (triangle * loud + quarter + noise.div_euclid(32)).clamp(-32_768, 32_767) as i16
        })
        .collect()
}

fn fnv(octets: impl IntoIterator<Item = u8>) -> u64 {
    octets
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3))
}

/// Checksums of what FFmpeg 7 (libavcodec, through PyAV) makes of the same signal.
#[test]
fn both_directions_agree_with_ffmpeg_bit_for_bit() {
    let samples = signal();
    assert_eq!(fnv(samples.iter().flat_map(|s| s.to_le_bytes())), 0x7240_4e1c_efbd_d6a8, "the signal");
    let mut octets = vec![0; 6_400];
    assert_eq!(Encoder::new(true).encode(&samples, &mut octets), 6_400);
    assert_eq!(fnv(octets.iter().copied()), 0xe988_ac41_1090_1080, "spoken");
    let mut heard = vec![0; 12_800];
    assert_eq!(Decoder::new(true).decode(&octets, &mut heard), 12_800);
    assert_eq!(fnv(heard.iter().flat_map(|s| s.to_le_bytes())), 0xaf26_200a_a021_ebe5, "heard");
}

#[test]
fn nothing_is_read_or_written_beyond_either_side() {
    let (mut encoder, mut decoder) = (Encoder::new(true), Decoder::new(false));
    assert_eq!(encoder.encode(&[1; 9], &mut [0; 8]), 4);
    assert_eq!(encoder.encode(&[1; 9], &mut [0; 2]), 2);
    assert_eq!(decoder.decode(&[7; 9], &mut [0; 4]), 4);
    assert_eq!(decoder.decode(&[], &mut [0; 4]), 0);
}

#[test]
fn any_octets_are_survived() {
    let mut word = 1u32;
    let octets: Vec<u8> = (0..20_000)
        .map(|_| {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (word >> 24) as u8
        })
        .collect();
    for fill in [octets, vec![0; 4_000], vec![0xff; 4_000], [0x3f, 0xc0].repeat(2_000)] {
        Decoder::new(true).decode(&fill, &mut vec![0; 2 * fill.len()]);
        Decoder::new(false).decode(&fill, &mut vec![0; fill.len()]);
    }
    for fill in [i16::MIN, i16::MAX, 0] {
        Encoder::new(true).encode(&[fill; 4_000], &mut [0; 2_000]);
    }
    Encoder::new(true).encode(&[i16::MIN, i16::MAX].repeat(2_000), &mut [0; 2_000]);
}
