//! Calls whose codecs do not meet, and sounds that are played: the worker with a scheduler of sound beside it, on virtual time.

use super::*;
use ::sound::codec::{Encoder, Kind};
use ::sound::player::Track;
use ::sound::scheduler::{Load, Order, Scheduler, SoundFrame, TICK_US};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel, sync_channel};

pub(super) struct Rig {
    pub worker: Worker,
    scheduler: Scheduler,
    orders: Receiver<Order>,
    packets: Receiver<SoundFrame>,
    pub load: Arc<Load>,
    pub us: u64,
    /// Packets that left, with their destination.
    pub left: Vec<(SocketAddr, Vec<u8>)>,
}

impl Rig {
    pub fn new() -> Rig {
        let (orders, told) = channel();
        let (packets, coming) = sync_channel(64);
        let load = Arc::new(Load::default());
        let mut worker = worker(Limits::default());
        worker.set_sound_threads(3, vec![SoundHandle { orders, packets, load: load.clone() }]);
        let scheduler = Scheduler::new(5, load.clone());
        Rig { worker, scheduler, orders: told, packets: coming, load, us: 0, left: vec![] }
    }

    /// Lets `ms` pass; every 20 ms the sender at `from` says the next of `packets`.
    fn run(
        &mut self,
        ms: u64,
        socket: Socket,
        from: SocketAddr,
        packets: &mut impl Iterator<Item = Vec<u8>>,
    ) {
        self.run_all(ms, &mut [(socket, from, packets)]);
    }

    /// As [`Rig::run`], with any number of senders.
    pub fn run_all(
        &mut self,
        ms: u64,
        senders: &mut [(Socket, SocketAddr, &mut dyn Iterator<Item = Vec<u8>>)],
    ) {
        let end = self.us + ms * 1_000;
        while self.us < end {
            for (socket, from, packets) in senders.iter_mut().filter(|_| self.us.is_multiple_of(20_000)) {
                if let Some(packet) = packets.next()
                    && let Some((_, to, out)) =
                        give(&mut self.worker, *socket, *from, self.us / 1_000, &packet)
                {
                    self.left.push((to, out));
                }
            }
            while let Ok(order) = self.orders.try_recv() {
                self.scheduler.order(order, self.us);
            }
            let mut finished = vec![];
            while let Ok(frame) = self.packets.try_recv() {
                self.scheduler.packet(&frame, |frame| finished.push(frame.clone()));
            }
            self.scheduler.tick(self.us, |frame| finished.push(frame.clone()));
            for frame in finished {
                let mut buffer = vec![0; 1_500];
                let departure = self.worker.handle_sound_frame(&frame, Arrival(self.us), &mut buffer);
                if let Some(Transmit { to, length, .. }) = departure {
                    self.left.push((to, buffer[..length].to_vec()));
                }
            }
            self.us += TICK_US;
        }
    }

    fn pass(&mut self, ms: u64) {
        let nowhere = Socket::Shared;
        self.run(ms, nowhere, phone(), &mut std::iter::empty());
    }

    pub fn now(&self) -> Time {
        Time(self.us / 1_000)
    }

    fn headers(&self) -> Vec<packet::Rtp> {
        self.left.iter().map(|(_, packet)| packet::rtp(packet).unwrap()).collect()
    }

    fn sources(&self) -> u32 {
        self.load.sources.load(Ordering::Relaxed)
    }
}

use crate::packet;

const OPUS: (u8, &str) = (111, "opus");

pub(super) fn opus(address: SocketAddr) -> Remote {
    Remote { codecs: vec![Codec::new(OPUS.0, OPUS.1, 48_000, 2)], ..remote(address, &[]) }
}

pub(super) fn tone(kind: Kind, pt: u8, ssrc: u32) -> impl Iterator<Item = Vec<u8>> {
    let rate = kind.rate();
    let mut encoder = Encoder::new(kind, rate, 5).unwrap();
    (0u32..).map(move |n| {
        let step = std::f64::consts::TAU * 700.0 / rate as f64;
        let first = n as usize * rate / 50;
        let samples: Vec<i16> =
            (0..rate / 50).map(|at| (8_000.0 * (step * (first + at) as f64).sin()) as i16).collect();
        let mut octets = [0; 1_275];
        let length = encoder.encode(&samples, &mut octets);
        let mut packet = vec![0x80, pt];
        packet.extend((60_000 + n as u16).to_be_bytes());
        packet.extend((n * kind.clock() / 50).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend(&octets[..length]);
        packet
    })
}

/// Each is one more than the one before it, all of one source, in this clock.
fn continuous(headers: &[packet::Rtp], step: u32) {
    for pair in headers.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1), "{pair:?}");
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        if !pair[1].marker {
            assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), step, "{pair:?}");
        }
    }
}

/// A call of a phone with A-law and one with Opus.
fn call(rig: &mut Rig) -> (EndpointId, EndpointId) {
    let ids = allocate(&mut rig.worker, "call", 1);
    rig.worker.connect("call", 0, 0, &remote(phone(), &[(8, "PCMA")]), Time(0)).unwrap();
    assert_eq!(rig.worker.transcoded(), (0, 0));
    rig.worker.connect("call", 1, 0, &opus(other()), Time(0)).unwrap();
    assert_eq!(rig.worker.transcoded(), (2, 0));
    (ids[0], ids[1])
}

#[test]
fn codecs_that_do_not_meet_are_turned_both_ways() {
    let mut rig = Rig::new();
    let (a, b) = call(&mut rig);
    let mut there = tone(Kind::Pcma, 8, 77);
    rig.run(1_000, Socket::Rtp(a), phone(), &mut there);
    let headers = rig.headers();
    assert!(headers.len() > 44, "{}", headers.len());
    assert!(rig.left.iter().all(|(to, _)| *to == other()) && headers.iter().all(|h| h.pt == 111));
    assert!(headers[0].marker && headers[1..].iter().all(|h| !h.marker));
    continuous(&headers, 960);
    let statistics = statistics(&rig.worker);
    assert_eq!((statistics[0].packets_in, statistics[1].packets_out), (50, headers.len() as u64));

    rig.left.clear();
    let mut back = tone(Kind::Opus, 111, 78);
    rig.run(1_000, Socket::Rtp(b), other(), &mut back);
    let (here, there): (Vec<_>, Vec<_>) = rig.left.iter().cloned().partition(|(to, _)| *to == phone());
    assert!(here.len() > 44 && here.iter().all(|(_, packet)| packet.len() == 172 && packet[1] & 0x7f == 8));
    assert!(there.len() < 55, "what stopped is carried on for a second at most");
    let ask = give(&mut rig.worker, Socket::Rtcp(a), at("192.0.2.30:16401"), 2_001, &receiver_report(77));
    assert_eq!(ask, None, "reports of another stream");

    assert_eq!(rig.sources(), 2);
    rig.worker.release("call").unwrap();
    assert_eq!(rig.worker.transcoded(), (0, 0));
    rig.left.clear();
    rig.pass(100);
    assert_eq!((rig.sources(), rig.left.len()), (0, 0));
}

/// A re-INVITE to a codec that is shared: the receiver sees one source that goes on (R-RTP-2).
#[test]
fn turning_ends_when_the_codecs_meet_and_the_stream_goes_on() {
    let mut rig = Rig::new();
    let (a, _) = call(&mut rig);
    let mut there = tone(Kind::Pcma, 8, 77);
    rig.run(500, Socket::Rtp(a), phone(), &mut there);
    rig.worker.connect("call", 1, 0, &opus(other()), Time(500)).unwrap();
    assert_eq!(rig.worker.transcoded(), (2, 0), "the same again opens nothing new");
    rig.worker.connect("call", 1, 0, &remote(other(), &[(9, "G722"), (8, "PCMA")]), Time(500)).unwrap();
    // Hers may still be G.722; his passes as it is.
    assert_eq!(rig.worker.transcoded(), (1, 0));
    let before = rig.left.len();
    rig.run(500, Socket::Rtp(a), phone(), &mut there);
    let headers = rig.headers();
    assert!(headers[before..].iter().all(|h| h.pt == 8) && headers[before].marker);
    assert_eq!(headers.len() - before, 25);
    for pair in headers.windows(2) {
        assert_eq!((pair[1].seq, pair[1].ssrc), (pair[0].seq.wrapping_add(1), pair[0].ssrc));
    }
}

#[test]
fn without_room_or_threads_nothing_is_turned() {
    let mut rig = Rig::new();
    rig.load.busy.store(999, Ordering::Relaxed);
    allocate(&mut rig.worker, "call", 1);
    rig.worker.connect("call", 0, 0, &remote(phone(), &[(8, "PCMA")]), Time(0)).unwrap();
    assert_eq!(rig.worker.connect("call", 1, 0, &opus(other()), Time(0)), Err(Refusal::Full));
    let mut worker = worker(Limits::default());
    let ids = allocate(&mut worker, "call", 1);
    worker.connect("call", 0, 0, &remote(phone(), &[(8, "PCMA")]), Time(0)).unwrap();
    worker.connect("call", 1, 0, &opus(other()), Time(0)).unwrap();
    assert_eq!(give(&mut worker, Socket::Rtp(ids[0]), phone(), 0, &rtp(8, 1, 1)), None);
    // What no relay turns is not turned.
    let foreign = remote(phone(), &[(18, "G729")]);
    let mut rig = Rig::new();
    allocate(&mut rig.worker, "call", 1);
    rig.worker.connect("call", 0, 0, &foreign, Time(0)).unwrap();
    rig.worker.connect("call", 1, 0, &opus(other()), Time(0)).unwrap();
    assert_eq!(rig.worker.transcoded(), (0, 0));
}

pub(super) fn track(kind: Kind, seconds: usize) -> Arc<Track> {
    Arc::new(Track::encode(kind, &vec![900; Track::rate(kind) * seconds]).unwrap())
}

#[test]
fn ringback_gives_way_to_the_first_live_packet() {
    let mut rig = Rig::new();
    let ids = allocate(&mut rig.worker, "call", 1);
    assert_eq!(rig.worker.playback_codec("call", 0, 0), Ok(None), "not connected");
    rig.worker.connect("call", 0, 0, &remote(phone(), &[(8, "PCMA")]), Time(0)).unwrap();
    assert_eq!(rig.worker.playback_codec("call", 0, 0), Ok(Some((8, Kind::Pcma))));
    rig.worker.play("call", 0, 0, Some((track(Kind::Pcma, 1), 8)), (true, true), rig.now()).unwrap();
    rig.pass(3_000);
    let headers = rig.headers();
    assert!(headers.len() >= 148, "over and over: {}", headers.len());
    continuous(&headers, 160);
    assert!(rig.left.iter().all(|(to, _)| *to == phone()));
    rig.worker.connect("call", 1, 0, &remote(other(), &[(8, "PCMA")]), Time(3_000)).unwrap();
    rig.run(200, Socket::Rtp(ids[1]), other(), &mut tone(Kind::Pcma, 8, 5));
    assert!(!rig.worker.is_playing("call", 0, 0));
    let all = rig.headers();
    assert_eq!(all.len() - headers.len(), 10, "live media alone");
    assert!(all[headers.len()].marker);
    for pair in all.windows(2) {
        assert_eq!((pair[1].seq, pair[1].ssrc), (pair[0].seq.wrapping_add(1), pair[0].ssrc));
    }
    assert_eq!(rig.sources(), 0);
}

#[test]
fn an_announcement_ends_by_itself_and_music_when_it_is_told() {
    let mut rig = Rig::new();
    let (a, _) = call(&mut rig);
    let mut there = tone(Kind::Pcma, 8, 77);
    rig.run(200, Socket::Rtp(a), phone(), &mut there);
    let before = rig.left.len();
    // To the Opus phone, in place of what the other says.
    let (pt, kind) = rig.worker.playback_codec("call", 1, 0).unwrap().unwrap();
    rig.worker.play("call", 1, 0, Some((track(kind, 1), pt)), (false, false), rig.now()).unwrap();
    rig.run(1_100, Socket::Rtp(a), phone(), &mut there);
    assert!(!rig.worker.is_playing("call", 1, 0), "over");
    rig.run(500, Socket::Rtp(a), phone(), &mut there);
    let headers = rig.headers();
    let marks = headers.iter().filter(|h| h.marker).count();
    assert_eq!(marks, 3, "sound, announcement, sound");
    assert!((70..=82).contains(&(headers.len() - before)), "{}", headers.len() - before);
    continuous(&headers, 960);

    rig.worker.play("call", 1, 0, Some((track(kind, 1), pt)), (true, false), rig.now()).unwrap();
    rig.pass(5_000);
    assert!(rig.worker.is_playing("call", 1, 0));
    rig.worker.play("call", 1, 0, None, (false, false), rig.now()).unwrap();
    rig.left.clear();
    rig.pass(200);
    assert_eq!((rig.left.len(), rig.sources()), (0, 2));

    // Another relay goes on with the call, and plays.
    rig.worker.play("call", 1, 0, Some((track(kind, 1), pt)), (true, false), rig.now()).unwrap();
    rig.pass(200);
    rig.worker.hand_over("call").unwrap();
    assert!(!rig.worker.is_playing("call", 1, 0));
    rig.left.clear();
    rig.pass(200);
    assert_eq!((rig.left.len(), rig.sources()), (0, 2));
    assert!(matches!(
        rig.worker.play("call", 2, 0, None, (false, false), rig.now()),
        Err(Refusal::UnknownEndpoint(2, 0))
    ));
}
