use super::*;
use std::collections::BTreeMap;

/// Random words of a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }
}

fn codec(kind: Kind) -> Codec {
    match kind {
        Kind::Pcmu => Codec::new(0, "PCMU", 8_000, 1),
        Kind::Pcma => Codec::new(8, "PCMA", 8_000, 1),
        Kind::G722 => Codec::new(9, "G722", 8_000, 1),
        Kind::Opus => Codec::new(111, "opus", 48_000, 2),
    }
}

const ALL: [Kind; 4] = [Kind::Pcmu, Kind::Pcma, Kind::G722, Kind::Opus];

/// A packet on its way or said.
#[derive(Clone, Debug)]
struct Packet {
    pt: u8,
    marker: bool,
    seq: u16,
    timestamp: u32,
    payload: Vec<u8>,
}

impl Packet {
    fn incoming(&self) -> Incoming<'_> {
        Incoming { pt: self.pt, seq: self.seq, timestamp: self.timestamp, ssrc: 5, payload: &self.payload }
    }
}

fn tone(rate: usize, hz: f64, count: usize) -> Vec<i16> {
    let step = std::f64::consts::TAU * hz / rate as f64;
    (0..count).map(|n| (8_000.0 * (step * n as f64).sin()) as i16).collect()
}

/// Encodes the samples frame by frame, with sequence number and timestamp that begin near their wraps.
fn spoken_as(kind: Kind, samples: &[i16], seq: u16) -> Vec<Packet> {
    let rate = kind.rate();
    let mut encoder = Encoder::new(kind, rate, 5).unwrap();
    let frames = samples.chunks_exact(rate / 50).enumerate();
    frames
        .map(|(n, frame)| {
            let mut octets = [0; PAYLOAD];
            let length = encoder.encode(frame, &mut octets);
            Packet {
                pt: codec(kind).pt,
                marker: n == 0,
                seq: seq.wrapping_add(n as u16),
                timestamp: 0xffff_f000u32.wrapping_add(n as u32 * kind.clock() / 50),
                payload: octets[..length].to_vec(),
            }
        })
        .collect()
}

/// Plays packets, each at its own time in µs, into a stream; gives what it says in `ms` and how far it came.
fn play(stream: &mut Stream, arrivals: &[(u64, Packet)], ms: u64) -> Vec<Packet> {
    let mut arrivals: Vec<_> = arrivals.iter().collect();
    arrivals.sort_by_key(|(at, _)| *at);
    let (mut said, mut coming) = (vec![], arrivals.into_iter().peekable());
    for at in (0..ms * 1_000).step_by(5_000) {
        let mut say = |out: Outgoing| {
            let Outgoing { pt, marker, timestamp, payload } = out;
            said.push(Packet { pt, marker, seq: said.len() as u16, timestamp, payload: payload.to_vec() });
        };
        while let Some((_, packet)) = coming.next_if(|(due, _)| *due <= at) {
            stream.push(&packet.incoming(), at, &mut say);
        }
        if at % 20_000 == 0 {
            stream.pull(at, &mut say);
        }
    }
    said
}

fn heard_as(kind: Kind, packets: &[Packet]) -> Vec<i16> {
    let mut decoder = Decoder::new(kind, kind.rate()).unwrap();
    let mut all = vec![];
    for packet in packets.iter().filter(|packet| packet.pt == codec(kind).pt) {
        let mut samples = [0; LONGEST];
        let length = decoder.decode(&packet.payload, &mut samples);
        all.extend_from_slice(&samples[..length]);
    }
    all
}

/// Share of the power that is the tone's.
fn share(samples: &[i16], rate: usize, hz: f64) -> f64 {
    let step = std::f64::consts::TAU * hz / rate as f64;
    let (mut sine, mut cosine, mut power) = (0.0, 0.0, 1.0);
    for (n, sample) in samples.iter().enumerate() {
        let (sample, phase) = (f64::from(*sample), step * n as f64);
        sine += sample * phase.sin();
        cosine += sample * phase.cos();
        power += sample * sample;
    }
    2.0 * (sine * sine + cosine * cosine) / samples.len().max(1) as f64 / power
}

/// The mean share over pieces of 40 ms: adapting and concealing move the phase.
fn recognised(samples: &[i16], rate: usize, hz: f64) -> f64 {
    let pieces: Vec<f64> = samples.chunks_exact(rate / 25).map(|piece| share(piece, rate, hz)).collect();
    pieces.iter().sum::<f64>() / pieces.len().max(1) as f64
}

fn stream(heard: Kind, said: Kind) -> Stream {
    Stream::new(&Plan::new(&[codec(heard)], &[codec(said)]).unwrap(), 5).unwrap()
}

#[test]
fn a_tone_crosses_between_all_codecs_over_a_good_network() {
    for heard in ALL {
        for said in ALL.into_iter().filter(|said| *said != heard) {
            let sent = spoken_as(heard, &tone(heard.rate(), 700.0, heard.rate() * 2), 65_500);
            let arrivals: Vec<_> = (0..).map(|n| n * 20_000 + 3_000).zip(sent).collect();
            let mut stream = stream(heard, said);
            let out = play(&mut stream, &arrivals, 1_960);
            let what = format!("{heard:?} -> {said:?}");
            assert!(out.len() >= 93, "{what}: {} packets", out.len());
            assert_eq!(stream.counts().concealed_ms, 0, "{what}");
            assert!(out[0].marker && out[1..].iter().all(|packet| !packet.marker), "{what}: one talkspurt");
            assert!(out.windows(2).all(|w| w[1].timestamp - w[0].timestamp == said.clock() / 50), "{what}");
            let samples = heard_as(said, &out);
            let share = recognised(&samples[said.rate() / 5..], said.rate(), 700.0);
            assert!(share > 0.97, "{what}: {share}");
        }
    }
}

/// Latency of play-out: what is in hand at the start and a frame.
#[test]
fn play_out_begins_within_60_ms() {
    let sent = spoken_as(Kind::Pcmu, &tone(8_000, 700.0, 16_000), 0);
    let arrivals: Vec<_> = (0..).map(|n| n * 20_000).zip(sent).collect();
    assert!(!play(&mut stream(Kind::Pcmu, Kind::Pcma), &arrivals, 61).is_empty());
}

/// A network that loses, delays, doubles and reorders, of a seed.
fn network(seed: u64, sent: Vec<Packet>, loss: u64, jitter_us: u64) -> Vec<(u64, Packet)> {
    let mut dice = Dice(seed);
    let mut out = vec![];
    for (n, packet) in (0u64..).zip(sent) {
        let at = n * 20_000 + dice.roll(jitter_us);
        if dice.roll(100) < loss {
            continue;
        }
        if dice.roll(50) == 0 {
            out.push((at + dice.roll(30_000), packet.clone()));
        }
        out.push((at, packet));
    }
    out
}

#[test]
fn a_tone_crosses_a_bad_network_at_every_seed() {
    for seed in 0..40 {
        let kinds = [
            (Kind::Opus, Kind::Pcmu),
            (Kind::Pcma, Kind::Opus),
            (Kind::G722, Kind::Opus),
            (Kind::Opus, Kind::G722),
        ];
        let (heard, said) = kinds[seed as usize % 4];
        let jitter = 1_000 + seed * 2_000;
        let sent = spoken_as(heard, &tone(heard.rate(), 440.0, heard.rate() * 6), seed as u16 * 1_000);
        let arrivals = network(seed, sent, 5, jitter);
        let mut stream = stream(heard, said);
        let out = play(&mut stream, &arrivals, 5_900);
        let counts = stream.counts();
        let what = format!("seed {seed}, {heard:?} -> {said:?}, jitter {jitter} µs, {counts:?}");
        assert!(out.len() > 270 && out.len() <= 295, "{what}: {}", out.len());
        let marked = out.iter().filter(|packet| packet.marker).count();
        assert!(marked <= 3, "{what}: {marked} talkspurts");
        let samples = heard_as(said, &out);
        let share = recognised(&samples[said.rate()..], said.rate(), 440.0);
        assert!(share > 0.8, "{what}: {share}");
        assert!(stream.held_ms() <= MOST_MS, "{what}: {} ms in hand", stream.held_ms());
    }
}

#[test]
fn a_tone_is_recognised_from_opus_to_g711_to_opus_at_20_percent_loss_on_both_ways() {
    let sent = spoken_as(Kind::Opus, &tone(16_000, 700.0, 16_000 * 8), 9);
    let mut first = stream(Kind::Opus, Kind::Pcma);
    let middle = play(&mut first, &network(1, sent, 20, 10_000), 8_000);
    let mut second = stream(Kind::Pcma, Kind::Opus);
    let out = play(&mut second, &network(2, middle.clone(), 20, 10_000), 7_900);
    let samples = heard_as(Kind::Opus, &out);
    let share = recognised(&samples[16_000..], 16_000, 700.0);
    let once = recognised(&heard_as(Kind::Pcma, &middle)[8_000..], 8_000, 700.0);
    // Even libopus alone brings 0.7 of a pure tone through this.
    assert!(share > 0.65, "{share} after {once}, {:?} {:?}", first.counts(), second.counts());
    for other in [440.0, 550.0, 850.0, 1_400.0] {
        assert!(recognised(&samples[16_000..], 16_000, other) < 0.1, "{other} Hz is heard");
    }
}

/// Clocks that differ by 1,000 ppm, far more than real ones: what is in hand neither grows nor runs dry.
#[test]
fn drift_is_followed_both_ways() {
    for pace in [19_980, 20_020] {
        let sent = spoken_as(Kind::Pcmu, &tone(8_000, 300.0, 8_000 * 60), 0);
        let arrivals: Vec<_> = (0..).map(|n| n * pace).zip(sent).collect();
        let mut stream = stream(Kind::Pcmu, Kind::Opus);
        let out = play(&mut stream, &arrivals, 59_000);
        let counts = stream.counts();
        assert!(out.len() > 2_940 && counts.concealed_ms <= 40, "{pace}: {} {counts:?}", out.len());
        assert!((2..40).contains(&counts.adapted), "{pace}: {counts:?}");
        assert!(stream.held_ms() <= 100, "{pace}: {} ms", stream.held_ms());
        let samples = heard_as(Kind::Opus, &out);
        assert!(recognised(&samples[16_000..], 16_000, 300.0) > 0.95);
    }
}

#[test]
fn a_stall_is_caught_up_with_and_never_more_than_200_ms_are_held() {
    let sent = spoken_as(Kind::Pcmu, &tone(8_000, 300.0, 8_000 * 10), 0);
    // From 3 to 3.4 s nothing comes, then all of it at once.
    let late = |at: u64| if (3_000_000..3_400_000).contains(&at) { 3_400_000 } else { at };
    let arrivals: Vec<_> = (0..).map(|n| late(n * 20_000)).zip(sent).collect();
    let mut stream = stream(Kind::Pcmu, Kind::Pcma);
    let out = play(&mut stream, &arrivals, 3_500);
    assert!(stream.held_ms() <= MOST_MS + 20, "{} ms", stream.held_ms());
    assert!(out.len() > 150);
    let rest: Vec<_> = arrivals
        .iter()
        .filter(|(at, _)| *at > 3_495_000)
        .map(|(at, p)| (at - 3_495_000, p.clone()))
        .collect();
    let more = play(&mut stream, &rest, 6_000);
    assert!(stream.held_ms() <= 90, "caught up: {} ms", stream.held_ms());
    assert!(recognised(&heard_as(Kind::Pcma, &more), 8_000, 300.0) > 0.95);
}

/// RFC 3389 understood and said: a sender that falls silent, and a receiver that agreed to hear of it.
#[test]
fn comfort_noise_crosses() {
    let noise = Codec::new(13, "CN", 8_000, 1);
    let sent = spoken_as(Kind::Pcmu, &tone(8_000, 300.0, 8_000), 0);
    let silence = Packet {
        pt: 13,
        marker: false,
        seq: 50,
        timestamp: sent[49].timestamp.wrapping_add(160),
        payload: vec![50],
    };
    let mut again = spoken_as(Kind::Pcmu, &tone(8_000, 300.0, 8_000), 51);
    again.iter_mut().for_each(|packet| packet.timestamp = packet.timestamp.wrapping_add(24_000));
    let mut arrivals: Vec<_> = (0..).map(|n| n * 20_000).zip(sent).collect();
    arrivals.push((1_000_000, silence));
    arrivals.extend((0..).map(|n| 3_000_000 + n * 20_000).zip(again));
    let heard = [codec(Kind::Pcmu), noise.clone()];

    let plan = Plan::new(&heard, &[codec(Kind::Opus)]).unwrap();
    let out = play(&mut Stream::new(&plan, 5).unwrap(), &arrivals, 3_900);
    let samples = heard_as(Kind::Opus, &out);
    let level = i32::from(Noise::level(&samples[16_000 * 3 / 2..16_000 * 5 / 2]));
    assert!((46..=56).contains(&level), "noise at -{level} dBov");
    assert!(out.len() > 185, "noise is said frame by frame: {}", out.len());
    assert!(recognised(&samples[samples.len() - 8_000..], 16_000, 300.0) > 0.95, "sound again");

    let plan = Plan::new(&heard, &[codec(Kind::Pcma), noise]).unwrap();
    let out = play(&mut Stream::new(&plan, 5).unwrap(), &arrivals, 3_900);
    let told: Vec<_> = out.iter().filter(|packet| packet.pt == 13).collect();
    assert!(
        (5..20).contains(&told.len()) && told.iter().all(|packet| packet.payload.len() == 1),
        "{}",
        told.len()
    );
    assert!(told[1..].iter().all(|packet| (48..=52).contains(&packet.payload[0])));
    assert!(out.len() < 125, "nothing else is said meanwhile: {}", out.len());
    let marked: Vec<_> = out.iter().filter(|packet| packet.marker).map(|packet| packet.pt).collect();
    assert_eq!(marked, [8, 8], "the first and the one after the silence");
    let elapsed = out.last().unwrap().timestamp - out[0].timestamp;
    assert!((30_000..31_400).contains(&elapsed), "the clock went on: {elapsed}");
}

#[test]
fn a_sender_that_goes_is_not_carried_on_for_ever_and_may_come_back() {
    let sent = spoken_as(Kind::Pcmu, &tone(8_000, 300.0, 8_000), 0);
    let arrivals: Vec<_> = (0..).map(|n| n * 20_000).zip(sent.clone()).collect();
    let mut stream = stream(Kind::Pcmu, Kind::Pcma);
    let out = play(&mut stream, &arrivals, 10_000);
    assert!((95..=105).contains(&out.len()), "{}", out.len());
    let back: Vec<_> =
        (0..).map(|n| n * 20_000).zip(spoken_as(Kind::Pcmu, &tone(8_000, 300.0, 8_000), 20_000)).collect();
    let out = play(&mut stream, &back, 900);
    assert!(out[0].marker && out.len() > 40);
}

/// R-DTMF-1: keys cross as they are, in order, and no sound beside them.
#[test]
fn keys_cross_beside_the_sound() {
    let events = |clock, pt| Codec::new(pt, "telephone-event", clock, 1);
    let plan = Plan::new(&[codec(Kind::Opus), events(48_000, 110)], &[codec(Kind::Pcmu), events(8_000, 101)]);
    let mut stream = Stream::new(&plan.unwrap(), 5).unwrap();
    let sent = spoken_as(Kind::Opus, &tone(16_000, 300.0, 32_000), 100);
    let mut arrivals: Vec<_> = (0..).map(|n| n * 20_000).zip(sent).collect();
    // Two keys in place of sound.
    for (key, start) in [(5u8, 20usize), (11, 50)] {
        let timestamp = arrivals[start].1.timestamp;
        for n in 0..6u16 {
            let [high, low] = ((n + 1) * 960).to_be_bytes();
            let end = if n == 5 { 0x80 } else { 0 };
            let packet = &mut arrivals[start + usize::from(n)].1;
            (packet.pt, packet.timestamp, packet.payload) = (110, timestamp, vec![key, end | 10, high, low]);
        }
    }
    let out = play(&mut stream, &arrivals, 1_950);
    let mut keys: BTreeMap<u32, Vec<&Packet>> = BTreeMap::new();
    out.iter().filter(|packet| packet.pt == 101).for_each(|p| keys.entry(p.timestamp).or_default().push(p));
    assert_eq!(keys.len(), 2);
    for (packets, key) in keys.values().zip([5, 11]) {
        assert_eq!(packets.len(), 6);
        assert!(packets[0].marker && packets[1..].iter().all(|packet| !packet.marker));
        assert!(packets.iter().all(|packet| packet.payload[0] == key));
        assert_eq!(packets[5].payload, [key, 0x80 | 10, (960u16 >> 8) as u8, (960u16 & 0xff) as u8]);
        let places: Vec<_> = packets.iter().map(|packet| packet.seq).collect();
        assert!(places.windows(2).all(|w| w[1] == w[0] + 1), "no sound between them: {places:?}");
    }
    let sound = heard_as(Kind::Pcmu, &out);
    assert!(recognised(&sound[sound.len() - 4_000..], 8_000, 300.0) > 0.9, "sound again");
}

#[test]
fn anything_that_comes_is_survived() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let heard = [
            codec(Kind::Opus),
            codec(Kind::Pcmu),
            codec(Kind::G722),
            Codec::new(13, "CN", 8_000, 1),
            Codec::new(101, "telephone-event", 8_000, 1),
        ];
        let said = [codec(ALL[seed as usize % 4]), Codec::new(96, "telephone-event", 48_000, 1)];
        let mut stream = Stream::new(&Plan::new(&heard, &said).unwrap(), 1).unwrap();
        for n in 0..300u64 {
            let payload: Vec<u8> = (0..dice.roll(400)).map(|_| dice.roll(256) as u8).collect();
            let packet = Packet {
                pt: [111, 0, 9, 13, 101, 77][dice.roll(6) as usize],
                marker: false,
                seq: if dice.roll(20) == 0 { dice.roll(65_536) as u16 } else { n as u16 },
                timestamp: if dice.roll(20) == 0 { dice.roll(1 << 32) as u32 } else { n as u32 * 160 },
                payload,
            };
            let mut said = 0;
            let mut say = |out: Outgoing| {
                said += 1;
                assert!(!out.payload.is_empty());
            };
            stream.push(&packet.incoming(), n * 10_000, &mut say);
            if dice.roll(2) == 0 {
                stream.pull(n * 10_000, &mut say);
            }
            assert!(said <= 5);
        }
    }
}
