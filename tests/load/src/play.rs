//! Calls that speak: what was sent is known at the other side, so payload, order, authenticity, loss and delay are checked for
//! every packet.

use crate::control::{Control, KEY, Local, Party};
use crate::web::Peers;
use crate::{Form, Key, now, process};
use anyhow::{Context, Result, bail, ensure};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use relay::srtp::{Context as Srtp, ROOM, Suite};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Octets of a packet: 20 ms of G.711.
const PACKET: usize = 172;
/// Sockets that the calls of a plain side share.
const SOCKETS: usize = 16;
/// What the kernel may hold for us at each.
const BUFFER: usize = 8 << 20;
/// How long packets may be late at the end.
const LINGER: Duration = Duration::from_millis(400);
/// Calls set up at a time.
const WINDOW: usize = 64;
/// What is said before anything is measured: the relay learns its peers.
const WARM_UP: Duration = Duration::from_millis(600);
const NO_SESSION: &str = "no association";

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of the relay.
    pub pid: u32,
    pub calls: usize,
    pub seconds: u64,
    pub ptime_ms: u64,
    /// How the second leg speaks.
    pub form: Form,
    pub key: Key,
}

/// One direction of one call at the one who hears it.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// The next sequence number in order.
    next: u32,
}

/// What came of the packets.
#[derive(Clone, Debug, Default)]
struct Count {
    sent: u64,
    received: u64,
    /// Came behind a later one.
    reordered: u64,
    /// Payload, call or header are not what was sent.
    wrong: u64,
    /// SRTP that does not authenticate.
    forged: u64,
    /// Sent more than 5 ms after its time: the rig was not there.
    late: u64,
    delays_us: Vec<u32>,
}

/// Keys of one call's protected leg.
struct Keys {
    outward: Srtp,
    inward: Srtp,
}

/// A packet of side `side` of a call; all of it follows from call, side and number but the time.
fn write(packet: &mut [u8], call: u32, side: u32, number: u32, at_ns: u64, ptime_ms: u64) {
    packet[0] = 0x80;
    packet[1] = 0;
    packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
    packet[4..8].copy_from_slice(&number.wrapping_mul(8 * ptime_ms as u32).to_be_bytes());
    packet[8..12].copy_from_slice(&(call * 2 + side + 1).to_be_bytes());
    packet[12..20].copy_from_slice(&at_ns.to_be_bytes());
    packet[20..24].copy_from_slice(&(call * 2 + side).to_be_bytes());
    packet[24..28].copy_from_slice(&number.to_be_bytes());
    let fill = filling(call, side, number);
    for (place, octets) in packet[28..PACKET].chunks_mut(8).enumerate() {
        octets.copy_from_slice(&fill.wrapping_mul(place as u64 | 1).to_be_bytes()[..octets.len()]);
    }
}

fn filling(call: u32, side: u32, number: u32) -> u64 {
    (u64::from(call * 2 + side) << 32 | u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// What a packet says of itself: stream (call and side), number and time; `None` when any octet is wrong.
fn read(packet: &[u8]) -> Option<(u32, u32, u64)> {
    if packet.len() != PACKET || packet[0] != 0x80 {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let (stream, number) = (word(20), word(24));
    let fill = filling(stream / 2, stream % 2, number);
    let good = packet[28..]
        .chunks(8)
        .enumerate()
        .all(|(place, octets)| octets == &fill.wrapping_mul(place as u64 | 1).to_be_bytes()[..octets.len()]);
    let numbered = packet[2..4] == (number as u16).to_be_bytes();
    (good && numbered).then(|| (stream, number, u64::from(word(12)) << 32 | u64::from(word(16))))
}

fn socket() -> Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    // As far as the system allows.
    let _ = socket.set_recv_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// The parties of all calls.
struct Stage {
    plan: Plan,
    poll: Poll,
    events: Events,
    /// Plain sockets of the first side, then of the second.
    sockets: Vec<UdpSocket>,
    peers: Option<Peers>,
    keys: Vec<Option<Keys>>,
    locals: Vec<[Local; 2]>,
    heard: Vec<[Heard; 2]>,
    count: Count,
    began: Instant,
}

/// Plays and measures.
///
/// # Errors
/// A call cannot be set up.
pub fn run(control: &mut Control, plan: &Plan) -> Result<serde_json::Value> {
    ensure!(control.is_for(plan.form), "rtpengine is not asked for ICE and DTLS");
    let mut stage = Stage::new(plan)?;
    // The sockets of the rig are there by now: what is more is the relay's.
    let before = process::memory(plan.pid);
    stage.place(control)?;
    let mut first = 0;
    first += stage.speak(first, WARM_UP)?;
    let drawn = process::thrown_away();
    stage.count = Count::default();
    let cpu = process::cpu(plan.pid);
    let began = now();
    let spoken = Duration::from_secs(plan.seconds);
    stage.speak(first, spoken)?;
    let cpu = process::cpu(plan.pid) - cpu;
    let took = began.elapsed();
    let after = process::memory(plan.pid);
    let thrown_away = process::thrown_away() - drawn;
    let calls = plan.calls as f64;
    let kernel = after.kernel_kib.zip(before.kernel_kib).map(|(after, before)| (after - before) / calls);
    let count = &mut stage.count;
    count.delays_us.sort_unstable();
    let at = |share: f64| {
        let rank = (count.delays_us.len() as f64 * share).ceil() as usize;
        count.delays_us.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    };
    let figures = serde_json::json!({
        "calls": plan.calls,
        "sent": count.sent,
        "received": count.received,
        "lost": count.sent.saturating_sub(count.received + thrown_away),
        "lost_at_the_rig": thrown_away,
        "reordered": count.reordered,
        "wrong": count.wrong,
        "forged": count.forged,
        "late": count.late,
        "cpu_us_per_packet": cpu.as_secs_f64() * 1e6 / count.received.max(1) as f64,
        "cpu_share": cpu.as_secs_f64() / took.as_secs_f64(),
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "resident_kib_per_call": (after.resident_kib - before.resident_kib) / calls,
        "kernel_kib_per_call": kernel,
    });
    control.end(0, plan.calls)?;
    Ok(figures)
}

impl Stage {
    fn new(plan: &Plan) -> Result<Stage> {
        let mut stage = Stage {
            plan: *plan,
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            sockets: vec![],
            peers: None,
            keys: vec![],
            locals: vec![],
            heard: vec![[Heard::default(), Heard::default()]; plan.calls],
            count: Count::default(),
            began: now(),
        };
        for _ in 0..2 * SOCKETS {
            let mut socket = socket()?;
            let token = Token(stage.sockets.len());
            stage.poll.registry().register(&mut socket, token, Interest::READABLE)?;
            stage.sockets.push(socket);
        }
        if plan.form == Form::Dtls {
            stage.peers = Some(Peers::new(plan.calls, plan.key, stage.poll.registry(), 2 * SOCKETS)?);
        }
        Ok(stage)
    }

    fn address(&self, call: usize, side: usize) -> Result<SocketAddr> {
        Ok(self.sockets[side * SOCKETS + call % SOCKETS].local_addr()?)
    }

    /// Sets all calls up.
    fn place(&mut self, control: &mut Control) -> Result<()> {
        let mut first = 0;
        while first < self.plan.calls {
            let last = (first + WINDOW).min(self.plan.calls);
            let parties = (first..last).map(|call| {
                let second = match (&self.peers, self.plan.form) {
                    (Some(peers), _) => peers.party(call),
                    (None, Form::Sdes) => Party::Sdes(self.address(call, 1)?, own_key(call)),
                    (None, _) => Party::Plain(self.address(call, 1)?),
                };
                Ok([Party::Plain(self.address(call, 0)?), second])
            });
            let parties: Vec<[Party; 2]> = parties.collect::<Result<_>>()?;
            let locals =
                control.place(first, &parties).with_context(|| format!("calls {first} to {last}"))?;
            for (call, locals) in (first..).zip(locals) {
                let keys = match (self.plan.form, locals[1].key) {
                    (Form::Sdes, None) => bail!("the relay gives no key for {:?}", Suite::AesCm128Sha1_80),
                    (Form::Sdes, Some(theirs)) => Some(keys(&own_key(call), &theirs)?),
                    _ => None,
                };
                if let Some(peers) = &mut self.peers {
                    peers.meet(call, &locals[1])?;
                }
                self.keys.push(keys);
                self.locals.push(locals);
            }
            if let Some(peers) = &mut self.peers {
                peers.run(&mut self.poll, &mut self.events, last).context(NO_SESSION)?;
            }
            first = last;
        }
        Ok(())
    }

    /// All calls speak for so long, from packet `first` on; gives how many each side said.
    fn speak(&mut self, first: u32, spoken: Duration) -> Result<u32> {
        let ptime = Duration::from_millis(self.plan.ptime_ms);
        let turns = u32::try_from(spoken.as_millis() as u64 / self.plan.ptime_ms).unwrap_or(1).max(1);
        let calls = self.plan.calls as u32;
        let began = now();
        self.began = began;
        let mut buffer = [0u8; PACKET + ROOM];
        for turn in 0..turns {
            for call in 0..calls {
                // Evenly over the frame, as the calls of many people are.
                let due = ptime * turn + ptime * call / calls;
                loop {
                    let early = due.saturating_sub(began.elapsed());
                    self.listen(Duration::ZERO)?;
                    if early.is_zero() {
                        break;
                    }
                    if early > Duration::from_millis(2) {
                        self.listen(early - Duration::from_millis(1))?;
                    }
                }
                self.count.late += u64::from(began.elapsed() > due + Duration::from_millis(5));
                for side in 0..2 {
                    let at = began.elapsed().as_nanos() as u64;
                    write(&mut buffer, call, side, first + turn, at, self.plan.ptime_ms);
                    self.send(call as usize, side as usize, &mut buffer)?;
                }
            }
        }
        let end = now();
        while end.elapsed() < LINGER {
            self.listen(Duration::from_millis(5))?;
        }
        Ok(turns)
    }

    fn send(&mut self, call: usize, side: usize, buffer: &mut [u8]) -> Result<()> {
        if let (1, Some(peers)) = (side, &mut self.peers) {
            self.count.sent += u64::from(peers.say(call, buffer, PACKET));
            return Ok(());
        }
        let mut length = PACKET;
        if let (1, Some(keys)) = (side, &mut self.keys[call]) {
            length = keys.outward.protect(buffer, length)?;
        }
        let to = self.locals[call][side].address.context("an end without address")?;
        let socket = &self.sockets[side * SOCKETS + call % SOCKETS];
        self.count.sent += u64::from(socket.send_to(&buffer[..length], to).is_ok());
        Ok(())
    }

    /// Takes what came, or waits for so long.
    fn listen(&mut self, wait: Duration) -> Result<()> {
        self.poll.poll(&mut self.events, Some(wait)).or_else(interrupted)?;
        let mut buffer = [0u8; 2_048];
        let Stage { events, sockets, peers, keys, heard, count, began, .. } = self;
        for event in events.iter() {
            let Token(place) = event.token();
            if let Some(socket) = sockets.get(place) {
                let side = place / SOCKETS;
                while let Ok(length) = socket.recv(&mut buffer) {
                    if is_report(&buffer[..length]) {
                        continue;
                    }
                    let mut packet = &mut buffer[..length];
                    if side == 1 && length > PACKET {
                        // Its source tells whose it is; what follows tells whether that is true.
                        let stream = packet.get(8..12).map(|s| u32::from_be_bytes([s[0], s[1], s[2], s[3]]));
                        let call = stream.and_then(|stream| stream.checked_sub(1)).map(|stream| stream / 2);
                        let keys = call.and_then(|call| keys.get_mut(call as usize)?.as_mut());
                        let opened = keys.and_then(|keys| keys.inward.unprotect(packet).ok());
                        let Some(length) = opened else {
                            count.forged += 1;
                            continue;
                        };
                        packet = &mut packet[..length];
                    }
                    take(packet, side as u32, None, heard, count, *began);
                }
            } else if let Some(peers) = peers {
                let call = place - sockets.len();
                peers.hear(call, &mut buffer, |packet| match packet {
                    Some(packet) => take(packet, 1, Some(call as u32), heard, count, *began),
                    None => count.forged += 1,
                });
            }
        }
        Ok(())
    }
}

/// RTCP of the relay's own: it goes to the port above a party's, which may be another party's here.
pub fn is_report(packet: &[u8]) -> bool {
    matches!(packet, [first, 192..=223, ..] if first >> 6 == 2)
}

fn interrupted(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// A packet came at `side`, where only packets of the other one may come.
fn take(
    packet: &[u8],
    side: u32,
    call: Option<u32>,
    heard: &mut [[Heard; 2]],
    count: &mut Count,
    began: Instant,
) {
    let Some((stream, number, at_ns)) = read(packet) else {
        count.wrong += 1;
        return;
    };
    let right = stream % 2 == 1 - side && call.is_none_or(|call| call == stream / 2);
    let Some(heard) = heard.get_mut(stream as usize / 2).filter(|_| right) else {
        count.wrong += 1;
        return;
    };
    let heard = &mut heard[side as usize];
    if number < heard.next {
        count.reordered += 1;
    } else {
        heard.next = number + 1;
    }
    count.received += 1;
    let delay = (began.elapsed().as_nanos() as u64).saturating_sub(at_ns) / 1_000;
    count.delays_us.push(u32::try_from(delay).unwrap_or(u32::MAX));
}

fn own_key(call: usize) -> [u8; KEY] {
    let mut key = [0x5a; KEY];
    key[..8].copy_from_slice(&(call as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

fn keys(ours: &[u8; KEY], theirs: &[u8; KEY]) -> Result<Keys> {
    let context = |key: &[u8; KEY]| Srtp::new(Suite::AesCm128Sha1_80, &key[..16], &key[16..]);
    Ok(Keys { outward: context(ours)?, inward: context(theirs)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_of_a_packet_is_checked() {
        let mut packet = [0; PACKET];
        write(&mut packet, 7, 1, 70_000, 123_456_789, 20);
        assert_eq!(read(&packet), Some((15, 70_000, 123_456_789)));
        for place in (2..4).chain(24..PACKET) {
            let mut wrong = packet;
            wrong[place] ^= 1;
            assert_eq!(read(&wrong), None, "octet {place}");
        }
        assert_eq!(read(&packet[..171]), None);
        assert!(!is_report(&packet) && is_report(&[0x80, 200, 0, 6]));
    }

    #[test]
    fn order_loss_and_strangers_are_told_apart() {
        let (mut heard, mut count) = (vec![[Heard::default(), Heard::default()]], Count::default());
        let mut come = |call, side, number, at| {
            let mut packet = [0; PACKET];
            write(&mut packet, call, side, number, 0, 20);
            take(&packet, at, None, &mut heard, &mut count, now());
        };
        for number in [0, 1, 3, 2, 4] {
            come(0, 0, number, 1);
        }
        come(0, 1, 0, 1);
        come(5, 0, 0, 1);
        assert_eq!((count.received, count.reordered, count.wrong), (5, 1, 2));
    }
}
