//! A call whose codecs do not meet, and sounds that are played, over real sockets and threads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use common::{Phone, config, plain, rtp_port, start};
use proto::v1::{Codec, PlayRequest};
use sound::codec::{Decoder, Encoder, Kind};
use std::net::SocketAddr;
use std::time::Duration;
use tonic::Code;

fn codec(kind: Kind) -> Codec {
    let codec = |pt, name: &str, clock, channels| Codec {
        pt,
        name: name.into(),
        clock,
        channels,
        ..Codec::default()
    };
    match kind {
        Kind::Opus => codec(111, "opus", 48_000, 2),
        Kind::G722 => codec(9, "G722", 8_000, 1),
        Kind::Pcma => codec(8, "PCMA", 8_000, 1),
        Kind::Pcmu => codec(0, "PCMU", 8_000, 1),
    }
}

/// Share of the power that is the tone's, in pieces of 40 ms.
fn share(samples: &[i16], rate: usize, hz: f64) -> f64 {
    let pieces: Vec<f64> = samples
        .chunks_exact(rate / 25)
        .map(|piece| {
            let (mut sine, mut cosine, mut power) = (0.0, 0.0, 1.0);
            for (n, sample) in piece.iter().enumerate() {
                let (sample, phase) =
                    (f64::from(*sample), std::f64::consts::TAU * hz * n as f64 / rate as f64);
                sine += sample * phase.sin();
                cosine += sample * phase.cos();
                power += sample * sample;
            }
            2.0 * (sine * sine + cosine * cosine) / piece.len() as f64 / power
        })
        .collect();
    pieces.iter().sum::<f64>() / pieces.len().max(1) as f64
}

/// A party: speaks a tone in its codec from its own thread and keeps what it hears.
fn talk(
    phone: Phone,
    kind: Kind,
    hz: f64,
    to: SocketAddr,
    seconds: u64,
) -> std::thread::JoinHandle<Vec<i16>> {
    std::thread::spawn(move || {
        let rate = kind.rate();
        let mut encoder = Encoder::new(kind, rate, 5).unwrap();
        let mut decoder = Decoder::new(kind, rate).unwrap();
        let mut heard = vec![];
        phone.rtp.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let start = runtime::clock::instant();
        for n in 0..seconds * 50 {
            let first = n as usize * rate / 50;
            let step = std::f64::consts::TAU * hz / rate as f64;
            let samples: Vec<i16> =
                (0..rate / 50).map(|at| (8_000.0 * (step * (first + at) as f64).sin()) as i16).collect();
            let mut octets = [0; 1_275];
            let length = encoder.encode(&samples, &mut octets);
            let mut packet = vec![0x80, codec(kind).pt as u8];
            packet.extend((n as u16).to_be_bytes());
            packet.extend((n as u32 * kind.clock() / 50).to_be_bytes());
            packet.extend([0, 0, 0, rate as u8]);
            packet.extend(&octets[..length]);
            phone.rtp.send_to(&packet, to).unwrap();
            while start.elapsed() < Duration::from_millis(20 * (n + 1)) {
                let mut buffer = [0; 2_048];
                let Ok((length, _)) = phone.rtp.recv_from(&mut buffer) else { continue };
                assert_eq!(u32::from(buffer[1] & 0x7f), codec(kind).pt, "in another codec");
                let mut samples = [0; 2_048];
                let count = decoder.decode(&buffer[12..length], &mut samples);
                heard.extend_from_slice(&samples[..count]);
            }
        }
        heard
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_without_a_codec_in_common_hear_each_other() {
    let mut config = config("23500-23519");
    config.relay.transcode_threads = Some(1);
    let mut relay = start(config);
    for (call, (one, other)) in [(Kind::Pcmu, Kind::Opus), (Kind::G722, Kind::Opus)].into_iter().enumerate() {
        let name = format!("call {call}");
        let ends = relay.allocate(&name).await;
        let phones = [Phone::new(), Phone::new()];
        for (leg, (phone, kind)) in phones.iter().zip([one, other]).enumerate() {
            let mut request = plain(&name, leg as u32, phone.address());
            request.codecs = vec![codec(kind)];
            relay.client.connect(request).await.unwrap();
        }
        let [a, b] = phones;
        let (to_a, to_b) = (rtp_port(&ends[0]), rtp_port(&ends[1]));
        let (a, b) = (talk(a, one, 700.0, to_a, 4), talk(b, other, 440.0, to_b, 4));
        let (heard_a, heard_b) =
            tokio::task::spawn_blocking(|| (a.join().unwrap(), b.join().unwrap())).await.unwrap();
        for (heard, kind, hz) in [(heard_a, one, 440.0), (heard_b, other, 700.0)] {
            // A loaded machine may lose some.
            assert!(heard.len() > kind.rate() * 2, "{kind:?}: {} samples", heard.len());
            let share = share(&heard[kind.rate()..], kind.rate(), hz);
            assert!(share > 0.8, "{kind:?} hears {share} of {hz} Hz");
        }
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_is_played_by_name_in_the_codec_of_the_leg() {
    let folder = std::env::temp_dir().join(format!("tandem-sounds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let samples: Vec<u8> = (0..16_000)
        .flat_map(|n| {
            ((8_000.0 * (std::f64::consts::TAU * 600.0 * f64::from(n) / 16_000.0).sin()) as i16).to_le_bytes()
        })
        .collect();
    let mut file =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data".to_vec();
    file.extend((samples.len() as u32).to_le_bytes());
    file.extend(samples);
    std::fs::write(folder.join("ringback.wav"), file).unwrap();
    std::fs::write(folder.join("broken.wav"), b"RIFF").unwrap();
    let mut config = config("23520-23539");
    config.relay.sounds = Some(folder.to_str().unwrap().into());
    config.relay.transcode_threads = Some(1);
    let mut relay = start(config);
    let ends = relay.allocate("call").await;
    let ask = |sound: &str| PlayRequest {
        session: "call".into(),
        sound: sound.into(),
        repeat: true,
        until_media: true,
        ..PlayRequest::default()
    };
    let early = relay.client.play(ask("ringback.wav")).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition, "not connected: {early}");
    let phone = Phone::new();
    let mut request = plain("call", 0, phone.address());
    request.codecs = vec![codec(Kind::Opus)];
    relay.client.connect(request).await.unwrap();
    for (sound, code) in [
        ("../secret", Code::InvalidArgument),
        ("/etc/passwd", Code::InvalidArgument),
        (".hidden", Code::InvalidArgument),
        ("nowhere.wav", Code::NotFound),
        ("broken.wav", Code::FailedPrecondition),
    ] {
        let refused = relay.client.play(ask(sound)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{sound}: {refused}");
        assert!(refused.message().starts_with("sound: "), "{refused}");
    }
    relay.client.play(ask("ringback.wav")).await.unwrap();
    let heard = talk(phone, Kind::Opus, 440.0, rtp_port(&ends[0]), 3);
    let heard = tokio::task::spawn_blocking(|| heard.join().unwrap()).await.unwrap();
    assert!(heard.len() > 16_000 * 2, "{} samples", heard.len());
    assert!(share(&heard[16_000..], 16_000, 600.0) > 0.8);
    relay.client.play(ask("")).await.unwrap();
    relay.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}
