use super::*;
use crate::speech::speech;

fn tones(rate: usize) -> Vec<i16> {
    let at = |n: usize, hz: f64| (std::f64::consts::TAU * hz * n as f64 / rate as f64).sin();
    (0..rate * 2).map(|n| (4_000.0 * at(n, 440.0) + 2_500.0 * at(n, 1_250.0)) as i16).collect()
}

fn round_trip(kind: Kind, rate: usize, samples: &[i16]) -> Vec<i16> {
    let (mut encoder, mut decoder) =
        (Encoder::new(kind, rate, 5).unwrap(), Decoder::new(kind, rate).unwrap());
    let mut out = vec![];
    for frame in samples.chunks_exact(rate / 50) {
        let (mut octets, mut heard) = ([0; crate::PAYLOAD], [0; LONGEST]);
        let length = encoder.encode(frame, &mut octets);
        assert_eq!(kind.ticks(&octets[..length]), Some(kind.clock() / 50));
        let count = decoder.decode(&octets[..length], &mut heard);
        assert_eq!(count, frame.len());
        out.extend_from_slice(&heard[..count]);
    }
    out
}

/// Signal to noise in dB at the best delay of up to 20 ms.
fn quality(sent: &[i16], heard: &[i16], rate: usize) -> f64 {
    let skip = rate / 2;
    let at = |delay: usize| {
        let pairs = sent[skip..heard.len() - rate / 50].iter().zip(&heard[skip + delay..]);
        let (mut signal, mut noise) = (0.0, 1.0);
        for (a, b) in pairs {
            signal += f64::from(*a).powi(2);
            noise += (f64::from(*a) - f64::from(*b)).powi(2);
        }
        10.0 * (signal / noise).log10()
    };
    (0..rate / 50).map(at).fold(f64::MIN, f64::max)
}

/// The decoded sound resembles the source: Opus is judged by shape, as it does not keep the wave.
#[test]
fn each_codec_gives_back_what_it_was_given() {
    for (kind, rate, least) in [
        (Kind::Pcmu, 8_000, (34.0, 33.0)),
        (Kind::Pcma, 8_000, (34.0, 33.0)),
        (Kind::G722, 16_000, (30.0, 16.0)),
        (Kind::G722, 8_000, (30.0, 18.0)),
        (Kind::Opus, 8_000, (10.0, 4.0)),
        (Kind::Opus, 16_000, (10.0, 4.0)),
    ] {
        for (samples, least) in [(tones(rate), least.0), (speech(rate, 4), least.1)] {
            let quality = quality(&samples, &round_trip(kind, rate, &samples), rate);
            assert!(quality > least, "{kind:?} at {rate}: {quality:.1} dB, {least} wanted");
        }
    }
}

#[test]
fn kinds_are_known_by_name_and_clock() {
    assert_eq!(Kind::of(&Codec::new(96, "OPUS", 48_000, 1)), Some(Kind::Opus));
    assert_eq!(Kind::of(&Codec::new(9, "g722", 8_000, 1)), Some(Kind::G722));
    for (name, clock) in
        [("G729", 8_000), ("iLBC", 8_000), ("AMR", 8_000), ("PCMU", 16_000), ("telephone-event", 8_000)]
    {
        assert_eq!(Kind::of(&Codec::new(96, name, clock, 1)), None);
    }
}

#[test]
fn the_length_of_a_payload_is_told_and_bounded() {
    assert_eq!(Kind::Pcmu.ticks(&[0; 240]), Some(240));
    assert_eq!((Kind::Pcmu.ticks(&[]), Kind::Pcmu.ticks(&[0; 961])), (None, None));
    // Opus: 20 ms SILK; two frames of 60 ms; more than 120 ms; no count where one is due.
    assert_eq!(Kind::Opus.ticks(&[1 << 3, 0]), Some(960));
    assert_eq!(Kind::Opus.ticks(&[3 << 3 | 1, 0]), Some(5_760));
    assert_eq!(Kind::Opus.ticks(&[3 << 3 | 3, 3]), None);
    assert_eq!((Kind::Opus.ticks(&[3]), Kind::Opus.ticks(&[])), (None, None));
}

#[test]
fn opus_makes_up_what_was_lost_from_the_next_packet_or_from_itself() {
    let samples = speech(16_000, 2);
    let mut encoder = Encoder::new(Kind::Opus, 16_000, 5).unwrap();
    let packets: Vec<Vec<u8>> = samples
        .chunks_exact(320)
        .map(|frame| {
            let mut octets = [0; crate::PAYLOAD];
            let length = encoder.encode(frame, &mut octets);
            octets[..length].to_vec()
        })
        .collect();
    let whole = round_trip(Kind::Opus, 16_000, &samples);
    let error = |redundant: bool| {
        let mut decoder = Decoder::new(Kind::Opus, 16_000).unwrap();
        let (mut error, mut power) = (0.0, 1.0);
        for (n, packet) in packets.iter().enumerate() {
            let mut heard = [0; 320];
            if n % 10 == 9 && n + 1 < packets.len() {
                assert!(decoder.conceal(redundant.then_some(packets[n + 1].as_slice()), &mut heard));
                for (a, b) in heard.iter().zip(&whole[n * 320..]) {
                    error += (f64::from(*a) - f64::from(*b)).powi(2);
                    power += f64::from(*b).powi(2);
                }
            } else {
                decoder.decode(packet, &mut heard);
            }
        }
        error / power
    };
    let (repeated, made_up) = (error(true), error(false));
    assert!(repeated < made_up, "{repeated} against {made_up}");
}
