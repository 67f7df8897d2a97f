//! How many calls between Opus and another codec a core transcodes: `calls_per_core [--codec PCMU] [--complexity 5]
//! [--calls 100] [--rounds 5] [--relay-us 4.2]`. Prints JSON.
//!
//! A scheduler with so many calls, fed as media threads feed it, on virtual time; what counts is the CPU time of this thread, the
//! least of all rounds. `calls_per_core` has the cost of relaying on top: two packets of `--relay-us` each per frame.

use signal::media::Codec;
use sound::codec::{Encoder, Kind};
use sound::scheduler::{Key, Load, Order, Scheduler, SoundFrame, TICK_US};
use sound::speech::speech;
use sound::stream::Plan;
use std::collections::HashMap;
use std::sync::Arc;
use tandem_sound as sound;

/// Seconds of virtual time in a round.
const SECONDS: usize = 4;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let given: HashMap<&str, &str> =
        words.chunks_exact(2).map(|pair| (pair[0].trim_start_matches("--"), pair[1].as_str())).collect();
    let number = |name: &str, default: f64| given.get(name).and_then(|v| v.parse().ok()).unwrap_or(default);
    let (calls, rounds) = (number("calls", 100.0) as u32, number("rounds", 5.0) as usize);
    let (complexity, relay_us) = (number("complexity", 5.0) as u8, number("relay-us", 4.2));
    let other = match given.get("codec").copied().unwrap_or("PCMU") {
        "PCMA" => Codec::new(8, "PCMA", 8_000, 1),
        "G722" => Codec::new(9, "G722", 8_000, 1),
        _ => Codec::new(0, "PCMU", 8_000, 1),
    };
    let opus = Codec::new(111, "opus", 48_000, 2);
    let said = [&other, &opus].map(packets);
    let least =
        (0..rounds).map(|_| round(calls, complexity, [&other, &opus], &said)).fold(f64::MAX, f64::min);
    let frame_us = least * 1e6 / f64::from(calls) / (SECONDS * 50) as f64;
    println!(
        "{{\"calls_per_core\": {:.0}, \"calls_per_core_sound_alone\": {:.0}, \"us_per_call_and_frame\": {frame_us:.1}, \"codec\": \"{}\", \"complexity\": {complexity}}}",
        20_000.0 / (frame_us + 2.0 * relay_us),
        20_000.0 / frame_us,
        other.name,
    );
}

/// Encodes speech of a talker, packet by packet.
fn packets(codec: &Codec) -> Vec<Vec<u8>> {
    let Some(kind) = Kind::of(codec) else { return vec![] };
    let rate = if codec.clock == 48_000 { 16_000 } else { kind.rate() };
    let Ok(mut encoder) = Encoder::new(kind, rate, 5) else { return vec![] };
    let speech = speech(rate, SECONDS);
    let frames = speech.chunks_exact(rate / 50);
    frames
        .map(|frame| {
            let mut octets = [0; sound::PAYLOAD];
            let length = encoder.encode(frame, &mut octets);
            octets[..length].to_vec()
        })
        .collect()
}

/// Seconds of CPU.
fn round(calls: u32, complexity: u8, codecs: [&Codec; 2], said: &[Vec<Vec<u8>>; 2]) -> f64 {
    let mut scheduler = Scheduler::new(complexity, Arc::new(Load::default()));
    let key = |call: u32, side: usize| Key { endpoint: 2 * call + side as u32, ..Key::default() };
    for call in 0..calls {
        for side in [0, 1] {
            let [heard, other] = [codecs[side].clone(), codecs[1 - side].clone()];
            if let Some(plan) = Plan::new(&[heard], &[other]) {
                scheduler.order(Order::Open(key(call, side), Box::new(plan)), 0);
            }
        }
    }
    let mut octets = 0;
    let begun = cpu();
    for (frame, now) in (0..SECONDS * 50).zip((0u64..).step_by(20_000)) {
        for call in 0..calls {
            for side in [0, 1] {
                let mut packet = SoundFrame::default();
                (packet.key, packet.pt, packet.seq) = (key(call, side), codecs[side].pt, frame as u16);
                packet.timestamp = frame as u32 * codecs[side].clock / 50;
                packet.fill(&said[side][frame]);
                scheduler.packet(&packet, |_| {});
            }
        }
        for tick in (0..20_000).step_by(TICK_US as usize) {
            scheduler.tick(now + tick, |frame| octets += frame.payload().len());
        }
    }
    assert!(octets > 0, "nothing was said");
    cpu() - begun
}

/// CPU time of this thread so far, seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}
