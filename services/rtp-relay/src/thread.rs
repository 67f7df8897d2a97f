//! A media thread: one epoll, its sockets, one `relay::session::Worker`. It shares nothing on the packet path.

mod orders;

use crate::command::{Command, Gauges};
use crate::poll::{Poll, Waker};
use crate::poll_interval::PollInterval;
use crate::ports::{Pair, Ports};
use crate::state::StateUpdate;
use crate::udp::{BATCH, Batch};
use crate::{cpu, random, udp};
use ::sound::scheduler::SoundFrame;
use relay::dtls::Certificate;
use relay::network::Denied;
use relay::session::{
    Arrival, EndpointId, Host, Latched, Limits, Report, Socket, SoundHandle, Transmit, Worker,
};
use signal::Time;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

use orders::Pending;

const WAKE: u64 = u64::MAX;
const SHARED: u64 = u64::MAX - 1;
/// Datagrams read from one socket before the next one has its turn.
const TURN: usize = 32;
/// Datagrams that are read before they are looked at and sent, if each comes at a socket of its own: their buffers stay in the
/// processor's first cache, and so does each of the three paths while it is taken so often (measured: 5 to 10 % of a packet).
const TOGETHER: usize = 16;
const _: () = assert!(TOGETHER + TURN <= BATCH);
/// In place of an address that is not known.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Pairs bound ahead in one idle moment.
const AHEAD: usize = 4;
/// Finished packets of the sound threads sent before media has its turn again.
const FINISHED: usize = 256;
/// Sessions handed on in one turn.
const SLICE: usize = 64;
/// Sleep at most this long, ms.
const LONGEST: u64 = 1_000;

/// Parts that a thread is made from.
#[derive(Debug)]
pub struct Parts {
    /// Times of the core.
    pub limits: Limits,
    /// Networks that no peer may name.
    pub denied: Denied,
    /// Certificate of its WebRTC endpoints.
    pub certificate: Certificate,
    /// Its ICE port as an address of an interface.
    pub address: SocketAddr,
    /// The same in the other family.
    pub other: Option<SocketAddr>,
    /// The socket of all ICE ends.
    pub shared: UdpSocket,
    /// Its part of the range.
    pub ports: Ports,
    /// Address put into descriptions.
    pub advertise: IpAddr,
    /// Commands to it.
    pub commands: Receiver<Command>,
    /// Wakes it for that.
    pub waker: Waker,
    /// Events for the orchestrators.
    pub reports: mpsc::Sender<Report>,
    /// Its place among the media threads, and the threads that make sound for it.
    pub sounds: (u16, Vec<SoundHandle>),
    /// Packets that they finished; they wake it for them.
    pub finished: Receiver<SoundFrame>,
    /// State that must outlive it; `None`: nothing does.
    pub states: Option<mpsc::Sender<StateUpdate>>,
    /// Counters.
    pub gauges: Arc<Gauges>,
    /// Core that it is pinned to.
    pub core: Option<usize>,
    /// Longest wait for packets to gather, us; 0 = none.
    pub batch_us: u64,
}

struct Thread {
    parts: Parts,
    worker: Worker,
    poll: Poll,
    batch: Batch,
    interval: PollInterval,
    /// By the place of the end.
    pairs: Vec<Option<Sockets>>,
    /// Sockets that may have more to read.
    unread: Vec<u64>,
    /// Packets in the batch that came and are yet to be looked at.
    came: Vec<Came>,
    /// Packets in the batch that leave by the shared port: place, address, length.
    out: Vec<(usize, SocketAddr, usize)>,
    /// Packets in the batch that leave by ports of their own.
    own: Vec<Own>,
    /// Orders that wait for their turn.
    pending: Option<Pending>,
    /// Sockets of ends are bound to one address: connected, they hear what they heard before.
    connects: bool,
    started: (u64, Instant),
    /// When the histograms of its streams were stored.
    told: Time,
    /// Counts the turns of its loop.
    round: u64,
}

/// A packet that was read.
struct Came {
    place: usize,
    socket: Socket,
    from: SocketAddr,
    length: usize,
}

/// A packet that is to be sent by the socket of an end, to an address unless it is connected with that.
struct Own {
    place: usize,
    fd: RawFd,
    to: Option<SocketAddr>,
    length: usize,
}

/// The sockets of an end.
struct Sockets {
    id: EndpointId,
    pair: Pair,
    /// Address that the RTP socket is connected with.
    peer: Option<SocketAddr>,
    /// The round in which its RTP socket was read last.
    round: u64,
}

/// Runs until it is told to stop.
///
/// # Errors
/// Those of the system at the start.
pub fn run(parts: Parts) -> std::io::Result<()> {
    if let Some(core) = parts.core {
        cpu::pin(core)?;
    }
    cpu::sleep_exactly();
    let poll = Poll::new()?;
    poll.add(parts.waker.fd(), WAKE)?;
    poll.add(parts.shared.as_raw_fd(), SHARED)?;
    let started = (runtime::clock::now_ms(), runtime::clock::instant());
    let host = Host {
        address: parts.address,
        certificate: parts.certificate.clone(),
        base: started.1,
        epoch: Time(started.0),
    };
    let mut worker = Worker::new(parts.limits, host).with_denied(parts.denied.clone());
    if let Some(other) = parts.other {
        worker = worker.with_other(other);
    }
    if parts.states.is_none() {
        worker = worker.without_snapshots();
    }
    let both = parts.shared.local_addr().is_ok_and(|address| address.is_ipv6());
    let mut thread = Thread {
        worker,
        interval: PollInterval::new(parts.batch_us),
        connects: parts.shared.local_addr().is_ok_and(|address| !address.ip().is_unspecified()),
        parts,
        poll,
        batch: Batch::new(both),
        pairs: vec![],
        unread: Vec::with_capacity(BATCH),
        came: Vec::with_capacity(BATCH),
        out: Vec::with_capacity(BATCH),
        own: Vec::with_capacity(BATCH),
        pending: None,
        started,
        told: Time(0),
        round: 0,
    };
    let (number, lines) = thread.parts.sounds.clone();
    thread.worker.set_sound_threads(number, lines);
    let mut ready = Vec::with_capacity(2 * BATCH);
    loop {
        thread.wait_for_batch();
        let now = thread.now().time();
        let sleep = thread.worker.poll_timeout().map_or(LONGEST, |at| at.since(now).min(LONGEST));
        // Sockets that had more than their turn come first; nobody tells of them again.
        ready.clear();
        ready.append(&mut thread.unread);
        let short = thread.parts.ports.is_short();
        let sleep = if ready.is_empty() && thread.pending.is_none() && !short { sleep } else { 0 };
        ready.extend_from_slice(thread.poll.wait(sleep));
        let at = thread.now();
        thread.round += 1;
        for number in &ready {
            match *number {
                WAKE => thread.parts.waker.clear(),
                number => thread.read(number, at),
            }
        }
        thread.forward(at);
        thread.send_sound(at);
        // Sockets are closed only from here on: no number above was stale.
        if thread.execute(at.time()) {
            return Ok(());
        }
        thread.worker.handle_timeout(at.time());
        thread.send_rtcp(at);
        thread.flush(at.time());
        thread.send_states(at.time());
        if ready.is_empty() && short {
            thread.prepare(at.time());
        }
    }
}

impl Thread {
    /// Milliseconds of the clock at the start, carried on by the one that never jumps.
    fn now(&self) -> Arrival {
        Arrival(self.started.0 * 1_000 + self.passed())
    }

    /// Microseconds since the start.
    fn passed(&self) -> u64 {
        let passed = runtime::clock::instant().duration_since(self.started.1);
        u64::try_from(passed.as_micros()).unwrap_or(u64::MAX / 2)
    }

    /// Lets packets gather while there are many.
    fn wait_for_batch(&mut self) {
        if !self.unread.is_empty() || self.pending.is_some() || self.poll.is_full() {
            return;
        }
        let now = self.passed();
        if self.interval.is_due(now) {
            self.interval.used(cpu::used_us(), now);
            self.parts.gauges.busy.store(self.interval.busy(), Ordering::Relaxed);
        }
        let sleep = self.interval.next_poll(now);
        if sleep > 0 {
            std::thread::sleep(Duration::from_micros(sleep));
        }
    }

    /// Binds some pairs for whoever comes next.
    fn prepare(&mut self, now: Time) {
        for _ in 0..AHEAD {
            if !self.parts.ports.is_short() || !self.parts.ports.prepare(now.0, random::number) {
                return;
            }
        }
    }

    /// Reads one socket into the next places.
    fn read(&mut self, number: u64, at: Arrival) {
        let Some((fd, socket)) = self.socket(number) else { return };
        if self.came.len() >= TOGETHER {
            self.forward(at);
        }
        let place = self.came.len();
        if let Some(from) = self.connected_peer(number) {
            if let Some(length) = self.batch.receive_one(fd, place) {
                self.came.push(Came { place, socket, from, length });
            }
            return;
        }
        let count = self.batch.receive(fd, place, TURN);
        if count == TURN {
            self.unread.push(number);
        }
        for place in place..place + count {
            // What was cut short is nobody's, and takes up its place all the same.
            let (from, length) = self.batch.read(place).unwrap_or((NOBODY, 0));
            self.came.push(Came { place, socket, from, length });
        }
    }

    /// Looks at what was read, and sends what leaves for it.
    fn forward(&mut self, at: Arrival) {
        let mut came = std::mem::take(&mut self.came);
        for Came { place, socket, from, length } in came.drain(..) {
            if let Some(departure) =
                self.worker.handle_datagram(socket, from, at, self.batch.buffer(place), length)
            {
                self.leave(place, departure);
            }
        }
        self.came = came;
        self.send();
    }

    /// The peer of a connected socket of which one packet is read now: one that had a packet in the round before, too, has many.
    fn connected_peer(&mut self, number: u64) -> Option<SocketAddr> {
        let held = self.pairs.get_mut((number >> 1) as usize)?.as_mut().filter(|_| number & 1 == 0)?;
        let before = std::mem::replace(&mut held.round, self.round);
        held.peer.filter(|_| before + 1 != self.round)
    }

    /// Keeps a packet at its place until [`Thread::send`].
    fn leave(&mut self, place: usize, departure: Transmit) {
        let Transmit { socket, to, length } = departure;
        if socket == Socket::Shared {
            self.out.push((place, to, length));
        } else if let Some((fd, peer)) = self.way(socket) {
            self.own.push(Own { place, fd, to: Some(to).filter(|to| peer != Some(*to)), length });
        }
    }

    fn socket(&self, number: u64) -> Option<(RawFd, Socket)> {
        if number == SHARED {
            return Some((self.parts.shared.as_raw_fd(), Socket::Shared));
        }
        let Sockets { id, pair, .. } = self.pairs.get((number >> 1) as usize)?.as_ref()?;
        Some(match number & 1 {
            0 => (pair.rtp.as_raw_fd(), Socket::Rtp(*id)),
            _ => (pair.rtcp.as_raw_fd(), Socket::Rtcp(*id)),
        })
    }

    /// The descriptor of an end's socket, and whom it is connected with.
    fn way(&self, socket: Socket) -> Option<(RawFd, Option<SocketAddr>)> {
        let held = |id: EndpointId| self.pairs.get(id.index as usize)?.as_ref().filter(|held| held.id == id);
        match socket {
            Socket::Rtp(id) => held(id).map(|held| (held.pair.rtp.as_raw_fd(), held.peer)),
            Socket::Rtcp(id) => held(id).map(|held| (held.pair.rtcp.as_raw_fd(), None)),
            Socket::Shared => Some((self.parts.shared.as_raw_fd(), None)),
        }
    }

    /// Sends what is to leave.
    fn send(&mut self) {
        for Own { place, fd, to, length } in self.own.drain(..) {
            // One packet a socket is the rule: nothing to gain from gathering them.
            self.batch.send_one(fd, place, to, length);
        }
        if !self.out.is_empty() {
            self.batch.send(self.parts.shared.as_raw_fd(), &self.out);
            self.out.clear();
        }
    }

    /// Sends what the sound threads have finished.
    fn send_sound(&mut self, at: Arrival) {
        let mut used = 0;
        for count in 0.. {
            if count == FINISHED {
                // More wait: come back without sleeping.
                self.parts.waker.wake();
                break;
            }
            let Ok(frame) = self.parts.finished.try_recv() else { break };
            if used == BATCH {
                self.send();
                used = 0;
            }
            if let Some(departure) = self.worker.handle_sound_frame(&frame, at, self.batch.buffer(used)) {
                self.leave(used, departure);
                used += 1;
            }
        }
        self.send();
    }

    /// Hands on what must outlive this relay, a slice at a time.
    fn send_states(&mut self, now: Time) {
        let Some(states) = &self.parts.states else { return };
        // Without room it waits in the sessions themselves.
        let room = states.capacity().min(SLICE);
        for (session, snapshot) in self.worker.poll_snapshots(now, room) {
            let _ = states.try_send(StateUpdate::Changed(session, Box::new(snapshot)));
        }
        while let Ok(room) = states.try_reserve()
            && let Some(session) = self.worker.poll_ended()
        {
            room.send(StateUpdate::Ended(session));
        }
    }

    /// Closes sockets that are of no use any more; their ports rest. Tells the kernel who is the only peer of others.
    fn close(&mut self, now: Time) {
        while let Some(id) = self.worker.poll_closed() {
            let held = self.pairs.get_mut(id.index as usize);
            if let Some(Sockets { pair, .. }) = held.and_then(|held| held.take_if(|held| held.id == id)) {
                self.parts.ports.give_back(pair.port, now.0);
            }
        }
        while let Some(Latched { end, peer }) = self.worker.poll_latched() {
            let held = self.pairs.get_mut(end.index as usize).and_then(Option::as_mut);
            let Some(held) = held.filter(|held| self.connects && held.id == end) else { continue };
            // Without it each packet names its address, as before.
            held.peer = match udp::connect(&held.pair.rtp, peer) {
                Ok(()) => peer,
                Err(_) => None,
            };
        }
    }

    /// Sends what the ends say by themselves: reports, what is asked of peers, packets once more.
    fn send_rtcp(&mut self, at: Arrival) {
        let mut place = 0;
        while let Some(departure) = self.worker.poll_transmit(at, self.batch.buffer(place)) {
            self.leave(place, departure);
            place += 1;
            if place == BATCH {
                self.send();
                place = 0;
            }
        }
        self.send();
    }

    /// Tells what there is to tell.
    fn flush(&mut self, now: Time) {
        self.close(now);
        while let Some(datagram) = self.worker.poll_datagram() {
            // Lost is as good as late: STUN and DTLS repeat.
            let to = self.batch.name(datagram.pair.remote);
            let _ = self.parts.shared.send_to(&datagram.octets, to);
        }
        // Without room the core keeps the newest.
        while self.worker.has_events()
            && let Ok(room) = self.parts.reports.try_reserve()
        {
            let Some(report) = self.worker.poll_event() else { break };
            room.send(report);
        }
        if now.since(self.told) >= LONGEST {
            self.told = now;
            self.parts.gauges.histograms.store(self.worker.histograms());
        }
        self.count();
    }

    fn count(&self) {
        let (sessions, forwarded, dropped) = self.worker.totals();
        let gauges = &self.parts.gauges;
        gauges.sessions.store(sessions, Ordering::Relaxed);
        gauges.forwarded.store(forwarded, Ordering::Relaxed);
        gauges.dropped.store(dropped, Ordering::Relaxed);
        gauges.transcoded.store(self.worker.transcoded().0, Ordering::Relaxed);
    }
}
