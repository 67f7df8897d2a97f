//! Calls that speak: what was sent is known at the other side, so payload, order, authenticity, loss and delay are checked for
//! every packet.

use crate::control::{Control, KEY, Party};
use crate::packet::{self, PACKET, is_report};
use crate::udp::{self, Inward, Outward};
use crate::web::Peers;
use crate::{Form, Key, now, process};
use anyhow::{Context, Result, bail, ensure};
use mio::{Events, Poll, Token};
use relay::srtp::{Context as Srtp, ROOM, Suite};
use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// Sockets that the calls of a plain side share.
const SOCKETS: usize = 16;
/// Octets that the kernel may hold for us at each socket.
const BUFFER: usize = 8 << 20;
/// Calls that may speak at once when the load is behind its time; else each speaks in its own moment.
const SLICE: u64 = 24;
/// The load sleeps through a gap that is longer, and looks without pause in a shorter one: a peer that has to be woken would cost the
/// relay more than one behind a network does.
const GAP: Duration = Duration::from_millis(2);
/// Said later than this after its time is late.
const LATE: Duration = Duration::from_millis(5);
/// How long packets may be late at the end.
const LINGER: Duration = Duration::from_millis(400);
/// Calls set up at a time.
const WINDOW: usize = 64;
/// Packets sent before anything is measured: the relay learns its peers.
const WARM_UP: Duration = Duration::from_millis(600);
/// Time after a handshake by which a relay keeps nothing that is of use to that alone.
const HANDSHAKE_OVER: Duration = Duration::from_secs(6);
/// Packets that a peer of DTLS says as soon as it has keys, as clients do, and the time between them.
const GREETINGS: u32 = 2;
const GREETING: Duration = Duration::from_millis(250);
const NO_SESSION: &str = "no association";

/// Load to play.
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

/// Fate of the packets.
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
    /// Said more than [`LATE`] after its time: the rig was not there.
    late: u64,
    /// The longest that a call had to wait for its turn to speak: the load has its core's time to spare while that is little.
    behind: Duration,
    delays_us: Vec<u32>,
}

/// Keys of one call's protected leg.
struct Keys {
    outward: Srtp,
    inward: Srtp,
}

fn socket() -> Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    // As far as the system allows.
    let _ = socket.set_recv_buffer_size(BUFFER);
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    Ok(socket.into())
}

/// The parties of all calls.
struct Stage {
    plan: Plan,
    /// Plain sockets of the first side, then of the second.
    sockets: Vec<UdpSocket>,
    outward: Outward,
    inward: Inward,
    /// Peers of ICE and DTLS at the second side, and what watches their sockets.
    peers: Option<Peers>,
    poll: Poll,
    events: Events,
    keys: Vec<Option<Keys>>,
    /// Where each side of a call sends to; `None` = its candidates tell.
    relay: Vec<[Option<SocketAddrV4>; 2]>,
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
    let mut first = stage.place(control)?;
    let placed = now();
    first += stage.speak(first, WARM_UP)?;
    let drawn = process::thrown_away();
    stage.count = Count::default();
    let cpu = process::cpu(plan.pid);
    let began = now();
    let spoken = Duration::from_secs(plan.seconds);
    first += stage.speak(first, spoken)?;
    let cpu = process::cpu(plan.pid) - cpu;
    let took = began.elapsed();
    let thrown_away = process::thrown_away() - drawn;
    let mut count = std::mem::take(&mut stage.count);
    if stage.peers.is_some() {
        // Of calls that go on.
        stage.speak(first, HANDSHAKE_OVER.saturating_sub(placed.elapsed()))?;
    }
    let after = process::memory(plan.pid);
    let calls = plan.calls as f64;
    let kernel = after.kernel_kib.zip(before.kernel_kib).map(|(after, before)| (after - before) / calls);
    count.delays_us.sort_unstable();
    let at = |share: f64| {
        let rank = (count.delays_us.len() as f64 * share).ceil() as usize;
        count.delays_us.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    };
    let statistics = serde_json::json!({
        "calls": plan.calls,
        "sent": count.sent,
        "received": count.received,
        "lost": count.sent.saturating_sub(count.received + thrown_away),
        "lost_at_the_rig": thrown_away,
        "reordered": count.reordered,
        "wrong": count.wrong,
        "forged": count.forged,
        "late": count.late,
        "behind_us": u64::try_from(count.behind.as_micros())?,
        "cpu_us_per_packet": cpu.as_secs_f64() * 1e6 / count.received.max(1) as f64,
        "cpu_share": cpu.as_secs_f64() / took.as_secs_f64(),
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "resident_kib_per_call": (after.resident_kib - before.resident_kib) / calls,
        "kernel_kib_per_call": kernel,
    });
    control.end(0, plan.calls)?;
    Ok(statistics)
}

impl Stage {
    fn new(plan: &Plan) -> Result<Stage> {
        let mut stage = Stage {
            plan: *plan,
            sockets: (0..2 * SOCKETS).map(|_| socket()).collect::<Result<_>>()?,
            outward: Outward::new(),
            inward: Inward::new(),
            peers: None,
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            keys: vec![],
            relay: vec![],
            heard: vec![[Heard::default(), Heard::default()]; plan.calls],
            count: Count::default(),
            began: now(),
        };
        if plan.form == Form::Dtls {
            stage.peers = Some(Peers::new(plan.calls, plan.key, stage.poll.registry(), 0)?);
        }
        Ok(stage)
    }

    /// The socket of a call: calls that speak one after another share it.
    fn socket(&self, call: usize, side: usize) -> &UdpSocket {
        &self.sockets[side * SOCKETS + call * SOCKETS / self.plan.calls]
    }

    fn address(&self, call: usize, side: usize) -> Result<SocketAddr> {
        Ok(self.socket(call, side).local_addr()?)
    }

    /// Sets all calls up; gives how many packets each side may have said.
    fn place(&mut self, control: &mut Control) -> Result<u32> {
        let (mut first, ptime_ms) = (0, self.plan.ptime_ms);
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
                self.relay.push(locals.map(|local| local.address.and_then(udp::v4)));
            }
            if let Some(peers) = &mut self.peers {
                peers.run(&mut self.poll, &mut self.events, last).context(NO_SESSION)?;
                for number in 0..GREETINGS {
                    for call in first..last {
                        let mut buffer = [0u8; PACKET + ROOM];
                        packet::write(&mut buffer, call as u32, 1, number, 0, ptime_ms);
                        peers.say(call, &mut buffer, PACKET);
                    }
                    peers.rest(&mut self.poll, &mut self.events, GREETING);
                }
            }
            first = last;
        }
        Ok(if self.peers.is_some() { GREETINGS } else { 0 })
    }

    /// All calls speak for so long, from packet `first` on; gives how many each side said.
    fn speak(&mut self, first: u32, spoken: Duration) -> Result<u32> {
        let ptime = Duration::from_millis(self.plan.ptime_ms);
        let turns = u32::try_from(spoken.as_millis() as u64 / self.plan.ptime_ms).unwrap_or(1).max(1);
        let calls = self.plan.calls as u64;
        let began = now();
        self.began = began;
        // Evenly over the frame, as the calls of many people are.
        let due = |place: u64| ptime * (place / calls) as u32 + ptime * (place % calls) as u32 / calls as u32;
        let all = u64::from(turns) * calls;
        self.count.delays_us.reserve(2 * all as usize);
        let mut place = 0;
        while place < all {
            let heard = self.listen()?;
            let at = began.elapsed();
            let ready = (place..all.min(place + SLICE)).take_while(|place| due(*place) <= at).count() as u64;
            if ready > 0 {
                self.count.behind = self.count.behind.max(at - due(place));
                self.count.late +=
                    (place..place + ready).map(due).filter(|due| at > *due + LATE).count() as u64;
                self.say(place..place + ready, first)?;
                place += ready;
            }
            if ready > 0 || heard > 0 {
                continue;
            }
            let early = due(place).saturating_sub(at);
            if early > GAP {
                self.wait(early - Duration::from_millis(1));
            }
        }
        let end = now();
        while end.elapsed() < LINGER {
            self.listen()?;
            self.wait(Duration::from_millis(5));
        }
        Ok(turns)
    }

    /// Both sides of these calls say one packet each; a place is that of a call in all that is said, packet by packet.
    fn say(&mut self, places: Range<u64>, first: u32) -> Result<()> {
        let (calls, ptime_ms) = (self.plan.calls as u64, self.plan.ptime_ms);
        for side in 0..2 {
            let mut by: Option<RawFd> = None;
            for place in places.clone() {
                let (call, number) = ((place % calls) as usize, first + (place / calls) as u32);
                let at = self.began.elapsed().as_nanos() as u64;
                let write =
                    |buffer: &mut [u8]| packet::write(buffer, call as u32, side, number, at, ptime_ms);
                if let (1, Some(peers)) = (side, &mut self.peers) {
                    let mut buffer = [0u8; PACKET + ROOM];
                    write(&mut buffer);
                    self.count.sent += u64::from(peers.say(call, &mut buffer, PACKET));
                    continue;
                }
                let socket = self.socket(call, side as usize).as_raw_fd();
                if let Some(before) = by.filter(|before| *before != socket || self.outward.is_full()) {
                    self.count.sent += self.outward.send(before) as u64;
                }
                by = Some(socket);
                let to = self.relay[call][side as usize].context("an end without address")?;
                let keys = self.keys[call].as_mut().filter(|_| side == 1);
                self.outward.push(to, |buffer| {
                    write(buffer);
                    keys.map_or(Ok(PACKET), |keys| keys.outward.protect(buffer, PACKET))
                })?;
            }
            if let Some(socket) = by {
                self.count.sent += self.outward.send(socket) as u64;
            }
        }
        Ok(())
    }

    /// Waits until something comes, or for so long.
    fn wait(&self, longest: Duration) {
        let sockets: Vec<RawFd> =
            self.sockets.iter().map(AsRawFd::as_raw_fd).chain([self.poll.as_raw_fd()]).collect();
        udp::wait(&sockets, longest);
    }

    /// Takes what came; gives how many packets.
    fn listen(&mut self) -> Result<usize> {
        let mut all = 0;
        let Stage { poll, events, sockets, inward, peers, keys, heard, count, began, .. } = self;
        for (place, socket) in sockets.iter().enumerate() {
            let side = place / SOCKETS;
            let read = inward.receive(socket.as_raw_fd());
            let at = began.elapsed();
            all += read;
            for packet in 0..read {
                let mut packet = inward.packet(packet);
                if is_report(packet) {
                    continue;
                }
                if side == 1 && packet.len() > PACKET {
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
                take(packet, side as u32, None, heard, count, at);
            }
        }
        if let Some(peers) = peers {
            poll.poll(events, Some(Duration::ZERO)).or_else(interrupted)?;
            let mut buffer = [0u8; 2_048];
            for event in events.iter() {
                let Token(call) = event.token();
                all += 1;
                peers.hear(call, &mut buffer, |packet| match packet {
                    Some(packet) => take(packet, 1, Some(call as u32), heard, count, began.elapsed()),
                    None => count.forged += 1,
                });
            }
        }
        Ok(all)
    }
}

fn interrupted(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// A packet came at `side` at a time, where only packets of the other one may come.
fn take(
    packet: &[u8],
    side: u32,
    call: Option<u32>,
    heard: &mut [[Heard; 2]],
    count: &mut Count,
    at: Duration,
) {
    let Some((stream, number, at_ns)) = packet::read(packet) else {
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
    let delay = (at.as_nanos() as u64).saturating_sub(at_ns) / 1_000;
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
    fn order_loss_and_strangers_are_told_apart() {
        let (mut heard, mut count) = (vec![[Heard::default(), Heard::default()]], Count::default());
        let mut come = |call, side, number, at| {
            let mut packet = [0; PACKET];
            packet::write(&mut packet, call, side, number, 0, 20);
            take(&packet, at, None, &mut heard, &mut count, Duration::ZERO);
        };
        for number in [0, 1, 3, 2, 4] {
            come(0, 0, number, 1);
        }
        come(0, 1, 0, 1);
        come(5, 0, 0, 1);
        assert_eq!((count.received, count.reordered, count.wrong), (5, 1, 2));
    }
}
