//! The part of a phone that shows: VP8 in plain RTP on one port, RTCP on another. It encodes nothing: it plays a film, and begins it
//! anew, with the film's only key frame, when it is asked for a picture.

use crate::asked::{Asked, request, requests};
use crate::vp8::{self, Assembly};
use anyhow::{Context, Result, ensure};
use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use testkit::clock::poll;
use testkit::namespace;

/// Payload number of VP8 on the phone's side: another than Chromium's.
pub const VP8: u8 = 102;
const SSRC: u32 = 0x7a12;
/// Time between two pictures, and the same on the clock of video.
const PAUSE: Duration = Duration::from_millis(50);
const STEP: u32 = 4_500;
/// Packets that may be sent again.
const KEPT: usize = 64;
/// Requests and key frames that are remembered.
const MOST: usize = 1_000;

/// A key frame that came.
#[derive(Clone, Debug)]
pub struct Key {
    /// Width and height.
    pub size: (u16, u16),
    pub octets: Vec<u8>,
}

/// A film that plays.
#[derive(Default)]
struct Reel {
    /// Where RTP goes, and RTCP.
    target: Option<(SocketAddr, SocketAddr)>,
    /// The next picture of the film.
    at: usize,
    seq: u16,
    /// The next picture is not to be sent; the packet that was not.
    lose: bool,
    lost: Option<u16>,
    kept: VecDeque<(u16, Vec<u8>)>,
    asked: Vec<Asked>,
    /// Requests of its own, FIR's numbers.
    requests: u8,
}

/// Picture as it was seen.
#[derive(Default)]
struct Screen {
    source: u32,
    assembly: Assembly,
    keys: Vec<Key>,
    pictures: u64,
    last: Option<Instant>,
    longest: Duration,
}

/// The camera and the screen of a phone.
pub struct Camera {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    reel: Arc<Mutex<Reel>>,
    screen: Arc<Mutex<Screen>>,
    over: Arc<AtomicBool>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Camera {
    /// One with this film: a key frame, then pictures that stand on those before.
    pub fn new(film: Vec<Vec<u8>>) -> Result<Camera> {
        let keys: Vec<bool> = film.iter().map(|picture| vp8::key(picture).is_some()).collect();
        ensure!(keys.first() == Some(&true), "the film begins with no key frame");
        ensure!(keys.iter().filter(|key| **key).count() == 1, "the film has key frames within: {keys:?}");
        let socket = || {
            let socket = UdpSocket::bind((namespace::ADDRESS, 0))?;
            socket.set_read_timeout(Some(Duration::from_millis(100))).map(|()| socket)
        };
        let (reel, screen, over) = (Arc::default(), Arc::default(), Arc::default());
        let camera = Camera { rtp: socket()?, rtcp: socket()?, reel, screen, over };
        let (rtp, screen, over) =
            (camera.rtp.try_clone()?, Arc::clone(&camera.screen), Arc::clone(&camera.over));
        std::thread::spawn(move || receive(&rtp, &over, |packet| lock(&screen).take(packet)));
        let (rtp, reel, over) = (camera.rtp.try_clone()?, Arc::clone(&camera.reel), Arc::clone(&camera.over));
        std::thread::spawn(move || play(&rtp, &reel, &film, &over));
        let (rtcp, rtp) = (camera.rtcp.try_clone()?, camera.rtp.try_clone()?);
        let (reel, over) = (Arc::clone(&camera.reel), Arc::clone(&camera.over));
        std::thread::spawn(move || {
            receive(&rtcp, &over, |compound| {
                requests(compound, SSRC).into_iter().for_each(|asked| lock(&reel).serve(&rtp, asked));
            });
        });
        Ok(camera)
    }

    /// Where it takes RTP, and the port of RTCP.
    pub fn address(&self) -> Result<(SocketAddr, u16)> {
        Ok((self.rtp.local_addr()?, self.rtcp.local_addr()?.port()))
    }

    /// Plays its film there from now on: from picture number `from`, if it does not play yet.
    pub fn call(&self, (rtp, rtcp): (SocketAddr, SocketAddr), from: usize) {
        let mut reel = lock(&self.reel);
        if reel.target.replace((rtp, rtcp)).is_none() {
            reel.at = from;
        }
    }

    /// Begins its film anew, as if it were asked by signalling.
    pub fn refresh(&self) {
        lock(&self.reel).at = 0;
    }

    /// Loses a picture; gives the number of its packet.
    pub fn lose(&self, within: Duration) -> Result<u16> {
        lock(&self.reel).lose = true;
        poll(within, || lock(&self.reel).lost.take()).context("the film does not run")
    }

    /// Asks for something.
    pub fn ask(&self, asked: Asked) -> Result<()> {
        let theirs = lock(&self.screen).source;
        let mut reel = lock(&self.reel);
        let (_, rtcp) = reel.target.context("it calls nobody")?;
        reel.requests += 1;
        self.rtcp.send_to(&request(asked, SSRC, theirs, reel.requests), rtcp)?;
        Ok(())
    }

    /// Requests received so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.reel).asked.clone()
    }

    /// Waits until it is asked for this, apart from the first `from` requests.
    pub fn is_asked(&self, from: usize, wanted: Asked, within: Duration) -> Result<()> {
        let found = poll(within, || self.asked().get(from..)?.contains(&wanted).then_some(()));
        found.with_context(|| format!("not asked for {wanted:?} within {within:?}: {:?}", self.asked()))
    }

    /// Key frames that came so far.
    pub fn keys(&self) -> usize {
        lock(&self.screen).keys.len()
    }

    /// Waits for a key frame, apart from the first `from`.
    pub fn key(&self, from: usize, within: Duration) -> Result<Key> {
        let found = poll(within, || lock(&self.screen).keys.get(from).cloned());
        found.with_context(|| format!("no key frame within {within:?} after {from}"))
    }

    /// Waits until so many more whole pictures came.
    pub fn sees(&self, count: u64, within: Duration) -> Result<()> {
        let until = lock(&self.screen).pictures + count;
        let found = poll(within, || (lock(&self.screen).pictures >= until).then_some(()));
        found.with_context(|| format!("fewer than {count} whole pictures within {within:?}"))
    }

    /// The longest time between two whole pictures since it was asked last.
    pub fn gap(&self) -> Duration {
        let mut screen = lock(&self.screen);
        let now = runtime::clock::instant();
        let longest = screen.longest.max(screen.last.map_or(Duration::MAX, |last| now - last));
        (screen.longest, screen.last) = (Duration::ZERO, screen.last.map(|_| now));
        longest
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn receive(socket: &UdpSocket, over: &AtomicBool, mut came: impl FnMut(&[u8])) {
    let mut buffer = [0; 2_048];
    while !over.load(Ordering::Relaxed) {
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            came(&buffer[..length]);
        }
    }
}

fn play(socket: &UdpSocket, reel: &Mutex<Reel>, film: &[Vec<u8>], over: &AtomicBool) {
    let began = runtime::clock::instant();
    for number in 0u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let due = began + PAUSE * number;
        std::thread::sleep(due.saturating_duration_since(runtime::clock::instant()));
        lock(reel).show(socket, film, number * STEP);
    }
}

impl Reel {
    /// Sends the next picture.
    fn show(&mut self, socket: &UdpSocket, film: &[Vec<u8>], timestamp: u32) {
        let Some((target, _)) = self.target else { return };
        let picture = &film[self.at % film.len()];
        self.at += 1;
        let payloads = vp8::payloads(picture);
        // One of one packet, and no key frame: what is asked for then is this packet, or a picture instead.
        let lose = payloads.len() == 1 && vp8::key(picture).is_none() && std::mem::take(&mut self.lose);
        for (place, payload) in payloads.iter().enumerate() {
            let marker = if place + 1 == payloads.len() { 0x80 } else { 0 };
            let mut packet = vec![0x80, VP8 | marker];
            packet.extend(self.seq.to_be_bytes());
            packet.extend(timestamp.to_be_bytes());
            packet.extend(SSRC.to_be_bytes());
            packet.extend(payload);
            if lose {
                self.lost = Some(self.seq);
            } else {
                let _ = socket.send_to(&packet, target);
            }
            self.kept.push_back((self.seq, packet));
            if self.kept.len() > KEPT {
                self.kept.pop_front();
            }
            self.seq = self.seq.wrapping_add(1);
        }
    }

    /// Does what it is asked for.
    fn serve(&mut self, socket: &UdpSocket, asked: Asked) {
        if self.asked.len() < MOST {
            self.asked.push(asked);
        }
        let Asked::Packet(seq) = asked else {
            self.at = 0;
            return;
        };
        let kept = self.kept.iter().find(|(kept, _)| *kept == seq);
        if let (Some((_, packet)), Some((target, _))) = (kept, self.target) {
            let _ = socket.send_to(packet, target);
        }
    }
}

impl Screen {
    fn take(&mut self, packet: &[u8]) {
        // RTP of VP8 without extension and list of sources: all that the relay may send here.
        let [first, second, s0, s1, _, _, _, _, a, b, c, d, payload @ ..] = packet else { return };
        if first & !0x20 != 0x80 || second & 0x7f != VP8 {
            return;
        }
        let padding = if first & 0x20 == 0 { 0 } else { usize::from(payload.last().copied().unwrap_or(0)) };
        let payload = &payload[..payload.len().saturating_sub(padding)];
        self.source = u32::from_be_bytes([*a, *b, *c, *d]);
        let seq = u16::from_be_bytes([*s0, *s1]);
        let Some(octets) = self.assembly.packet(seq, second & 0x80 != 0, payload) else { return };
        let now = runtime::clock::instant();
        if let Some(last) = self.last.replace(now) {
            self.longest = self.longest.max(now - last);
        }
        self.pictures += 1;
        if let Some(size) = vp8::key(&octets).filter(|_| self.keys.len() < MOST) {
            self.keys.push(Key { size, octets });
        }
    }
}
