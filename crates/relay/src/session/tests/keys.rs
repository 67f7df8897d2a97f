//! Keys: pressed by signalling and said as telephone-event, and passed on between clocks.

use super::*;
use crate::packet::Rtp;

fn key(digit: char, id: u64) -> Key {
    Key { digit, duration_ms: 100, id }
}

fn header(packet: &[u8]) -> Rtp {
    crate::packet::rtp(packet).unwrap()
}

/// Lets time pass in steps of 20 ms while the phone on leg 0 speaks; what the other hears, with its time.
fn run(worker: &mut Worker, a: EndpointId, steps: std::ops::Range<u16>) -> Vec<(u64, Vec<u8>)> {
    let mut heard = vec![];
    for step in steps {
        let ms = u64::from(step) * 20;
        let live = give(worker, Socket::Rtp(a), phone(), ms, &rtp(0, step, 7));
        worker.handle_timeout(Time(ms));
        let own = departures(worker, ms).into_iter().filter(|(.., packet)| !(192..=223).contains(&packet[1]));
        let to_other = live.into_iter().chain(own).filter(|(_, to, _)| *to == other());
        heard.extend(to_other.map(|(.., packet)| (ms, packet)));
    }
    heard
}

#[test]
fn e8_keys_are_said_in_the_stream_in_place_of_sound() {
    let mut worker = worker(Limits::default());
    let (a, _) = call(&mut worker);
    let mut heard = run(&mut worker, a, 0..10);
    for id in [1, 2, 1] {
        worker.press("call", 1, 0, key(if id == 1 { '5' } else { '#' }, id), Time(200)).unwrap();
    }
    heard.extend(run(&mut worker, a, 10..60));
    let seqs: Vec<u16> = heard.iter().map(|(_, packet)| header(packet).seq).collect();
    assert_eq!(seqs, (0..seqs.len() as u16).collect::<Vec<_>>(), "one stream without a gap");
    assert!(heard.iter().all(|(_, packet)| header(packet).ssrc == 7), "and of one source");
    let events: Vec<_> = heard.iter().filter(|(_, packet)| header(packet).pt == 96).collect();
    assert_eq!(events.len(), 14, "two keys, though one was given twice");
    for (event, code) in events.chunks(7).zip([5, 11]) {
        let first = header(&event[0].1);
        for (place, (_, packet)) in event.iter().enumerate() {
            let rtp = header(packet);
            assert_eq!((rtp.timestamp, rtp.marker), (first.timestamp, place == 0));
            let duration = [160u16, 320, 480, 640, 800, 800, 800][place].to_be_bytes();
            let end = if place >= 4 { 0x80 } else { 0 };
            assert_eq!(packet[12..], [code, end | 10, duration[0], duration[1]], "{place}");
        }
        assert!(u64::from(first.timestamp).abs_diff(event[0].0 * 8) < 8, "when it was pressed");
    }
    // Sound is heard before, between and after, and its clock goes on.
    let sound: Vec<_> = heard.iter().filter(|(_, packet)| header(packet).pt == 0).collect();
    let late = |(ms, packet): &&&(u64, Vec<u8>)| u64::from(header(packet).timestamp).abs_diff(ms * 8) >= 8;
    assert_eq!(sound.iter().find(late), None);
    assert_eq!(sound.len(), 60 - 12, "it is silent while a key is pressed");
}

#[test]
fn e8_a_key_that_cannot_be_said_is_refused() {
    let mut worker = worker(Limits::default());
    call(&mut worker);
    worker.connect("call", 1, 0, &remote(other(), &[(0, "PCMU")]), Time(0)).unwrap();
    let refused = worker.press("call", 1, 0, key('5', 1), Time(0)).unwrap_err();
    assert_eq!(refused.to_string(), "key: telephone-event was not agreed");
    assert!(worker.press("call", 0, 0, key('x', 1), Time(0)).is_err());
    for id in 0..64 {
        worker.press("call", 0, 0, key('1', id), Time(0)).unwrap();
    }
    assert_eq!(worker.press("call", 0, 0, key('1', 64), Time(0)), Err(Refusal::Keys("too many wait")));
    // A leg that goes takes its keys along.
    worker.release("call").unwrap();
    worker.handle_timeout(Time(1_000));
    assert_eq!(departures(&mut worker, 1_000), []);
}

/// R-DTMF-3: sound passes as it is, keys have another clock on each side.
#[test]
fn g6_keys_cross_the_clocks_where_sound_passes_as_it_is() {
    for (heard, said) in [((126, 48_000), (101, 8_000)), ((101, 8_000), (126, 48_000))] {
        let side = |address, (pt, clock): (u8, u32)| Remote {
            codecs: vec![Codec::new(111, "opus", 48_000, 2), Codec::new(pt, "telephone-event", clock, 1)],
            ..remote(address, &[])
        };
        let mut worker = worker(Limits::default());
        let ids = allocate(&mut worker, "call", 1);
        worker.connect("call", 0, 0, &side(phone(), heard), Time(0)).unwrap();
        worker.connect("call", 1, 0, &side(other(), said), Time(0)).unwrap();
        let mut seq = 0;
        let mut send = |worker: &mut Worker, pt: u8, payload: &[u8]| {
            let mut packet = rtp(pt, seq, 7);
            packet[4..8].copy_from_slice(&[0, 0, 9, 0]);
            packet.truncate(12);
            packet.extend(payload);
            seq += 1;
            give(worker, Socket::Rtp(ids[0]), phone(), u64::from(seq) * 20, &packet).unwrap().2
        };
        let sound = send(&mut worker, 111, &[1, 2, 3]);
        assert_eq!((sound[1], &sound[12..]), (111, &[1, 2, 3][..]));
        for n in 1..=5u32 {
            let duration = (n * heard.1 / 50) as u16;
            let end = if n == 5 { 0x80 } else { 0 };
            let [high, low] = duration.to_be_bytes();
            let packet = send(&mut worker, heard.0, &[7, end | 10, high, low]);
            let [high, low] = ((n * said.1 / 50) as u16).to_be_bytes();
            let marker = if n == 1 { 0x80 } else { 0 };
            assert_eq!((packet[1], &packet[12..]), (said.0 | marker, &[7, end | 10, high, low][..]));
            assert_eq!(packet[4..8], [0, 0, 9, 0]);
        }
        // The browser's short tone: nothing but last packets.
        let mut ends = vec![];
        for seq in 100..103 {
            let mut packet = rtp(heard.0, seq, 7);
            packet.truncate(12);
            packet.extend([3, 0x80 | 10, 3, 32]);
            packet[4..8].copy_from_slice(&[0, 1, 0, 0]);
            let out = give(&mut worker, Socket::Rtp(ids[0]), phone(), 500, &packet).unwrap().2;
            ends.push(out[13] & 0x80);
        }
        assert_eq!(ends, [0, 0x80, 0x80]);
    }
}
