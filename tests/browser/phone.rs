//! A phone that speaks plain RTP: PCMU, one tone out, an ear for what comes in.

use anyhow::{Result, ensure};
use sound::g711::{self, Law};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use testkit::clock::poll;
use testkit::namespace;
use testkit::tone::measure;

const RATE: u32 = 8_000;
const FRAME: u32 = 160;
/// Samples that are listened to: half a second.
const WINDOW: usize = 4_000;

#[derive(Default)]
struct Heard {
    samples: Vec<i16>,
    packets: u64,
    last: Option<Instant>,
    longest: Duration,
}

/// The phone; it speaks from [`Phone::call`] on.
pub struct Phone {
    socket: UdpSocket,
    heard: Arc<Mutex<Heard>>,
    over: Arc<AtomicBool>,
    target: Arc<Mutex<Option<SocketAddr>>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Phone {
    pub fn new(hz: f64) -> Result<Phone> {
        let socket = UdpSocket::bind((namespace::ADDRESS, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let phone = Phone { socket, heard: Arc::default(), over: Arc::default(), target: Arc::default() };
        let (ear, heard, over) =
            (phone.socket.try_clone()?, Arc::clone(&phone.heard), Arc::clone(&phone.over));
        std::thread::spawn(move || listen(&ear, &heard, &over));
        let (voice, target, over) =
            (phone.socket.try_clone()?, Arc::clone(&phone.target), Arc::clone(&phone.over));
        std::thread::spawn(move || speak(&voice, &target, hz, &over));
        Ok(phone)
    }

    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Sends its tone there from now on.
    pub fn call(&self, target: SocketAddr) {
        *lock(&self.target) = Some(target);
    }

    /// Waits until it hears this tone, from now on.
    pub fn hears(&self, hz: f64, within: Duration) -> Result<()> {
        lock(&self.heard).samples.clear();
        let mut last = None;
        let found = poll(within, || {
            let heard = lock(&self.heard);
            let window = heard.samples.len().checked_sub(WINDOW).and_then(|at| heard.samples.get(at..))?;
            let tone = measure(window, RATE);
            last = Some(tone);
            tone.is(hz).then_some(())
        });
        ensure!(found.is_some(), "the phone hears no {hz} Hz within {within:?}, but {last:?}");
        Ok(())
    }

    /// The longest time between two packets since it was asked last.
    pub fn gap(&self) -> Duration {
        let mut heard = lock(&self.heard);
        let now = runtime::clock::instant();
        let still = heard.last.map_or(Duration::MAX, |last| now - last);
        let longest = heard.longest.max(still);
        (heard.longest, heard.last) = (Duration::ZERO, heard.last.map(|_| now));
        longest
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn listen(socket: &UdpSocket, heard: &Mutex<Heard>, over: &AtomicBool) {
    let mut buffer = [0; 2_048];
    while !over.load(Ordering::Relaxed) {
        let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
        let packet = &buffer[..length];
        // RTP of PCMU without extras: all that the relay may send here on this port.
        if length < 12 || packet[0] != 0x80 || packet[1] & 0x7f != 0 {
            continue;
        }
        let now = runtime::clock::instant();
        let mut heard = lock(heard);
        if let Some(last) = heard.last.replace(now) {
            heard.longest = heard.longest.max(now - last);
        }
        heard.packets += 1;
        heard.samples.extend(packet[12..].iter().map(|octet| g711::decode(Law::Mu, *octet)));
        let surplus = heard.samples.len().saturating_sub(4 * WINDOW);
        heard.samples.drain(..surplus);
    }
}

fn speak(socket: &UdpSocket, target: &Mutex<Option<SocketAddr>>, hz: f64, over: &AtomicBool) {
    let step = std::f64::consts::TAU * hz / f64::from(RATE);
    let began = runtime::clock::instant();
    for number in 0u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let due = began + Duration::from_millis(20) * number;
        std::thread::sleep(due.saturating_duration_since(runtime::clock::instant()));
        let Some(target) = *lock(target) else { continue };
        let mut packet = vec![0x80, 0];
        packet.extend((number as u16).to_be_bytes());
        packet.extend((number * FRAME).to_be_bytes());
        packet.extend(0x7a11_u32.to_be_bytes());
        let samples =
            (number * FRAME..).take(FRAME as usize).map(|at| (step * f64::from(at)).sin() * 8_000.0);
        packet.extend(samples.map(|sample| g711::encode(Law::Mu, sample as i16)));
        let _ = socket.send_to(&packet, target);
    }
}
