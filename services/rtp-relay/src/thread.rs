//! A media thread: one epoll, its sockets, one `relay::session::Worker`. It shares nothing on the packet path.

use crate::command::{Command, Denial, Done, Ends, Gauges, NoRoom, Order, Outcome};
use crate::poll::{Poll, Waker};
use crate::poll_interval::PollInterval;
use crate::ports::{NoPort, Pair, Ports};
use crate::state::StateUpdate;
use crate::udp::{BATCH, Batch};
use crate::{cpu, random, udp};
use ::sound::scheduler::SoundFrame;
use relay::dtls::Certificate;
use relay::ice::{Credentials, PREFERENCE};
use relay::session::{
    Arrival, EndpointId, Host, Latched, Limits, Local, Report, Snapshot, Socket, SoundHandle, Transmit,
    Worker,
};
use signal::{LegId, Time};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

const WAKE: u64 = u64::MAX;
const SHARED: u64 = u64::MAX - 1;
/// Datagrams read from one socket before the next one has its turn.
const TURN: usize = 32;
/// Datagrams that are read before they are looked at and sent, if each comes at a socket of its own: their buffers stay in the
/// processor's first cache, and so does each of the three paths while it is taken so often (measured: 5 to 10 % of a packet).
const TOGETHER: usize = 16;
const _: () = assert!(TOGETHER + TURN <= BATCH);
/// Orders executed before media has its turn again: some hundred microseconds' worth.
const ORDERS: usize = 16;
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
    /// State that must outlive it.
    pub states: mpsc::Sender<StateUpdate>,
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

/// A batch that is being executed.
struct Pending {
    orders: std::vec::IntoIter<Order>,
    outcomes: Vec<Outcome>,
    reply: oneshot::Sender<Vec<Outcome>>,
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
    let mut worker = Worker::new(parts.limits, host);
    if let Some(other) = parts.other {
        worker = worker.with_other(other);
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

    /// Executes some of the orders; returns true to stop.
    fn execute(&mut self, now: Time) -> bool {
        for _ in 0..ORDERS {
            let pending = match self.pending.take() {
                Some(pending) => Some(pending),
                None => match self.parts.commands.try_recv() {
                    Ok(Command::Execute { orders, reply }) => {
                        let outcomes = Vec::with_capacity(orders.len());
                        Some(Pending { orders: orders.into_iter(), outcomes, reply })
                    }
                    Ok(Command::Stop) => return true,
                    Err(_) => None,
                },
            };
            let Some(mut pending) = pending else { return false };
            if let Some(order) = pending.orders.next() {
                pending.outcomes.push(self.order(order, now));
                self.close(now);
            }
            if pending.orders.len() > 0 {
                self.pending = Some(pending);
            } else {
                // Who has the answer finds it counted. Who asked may have given up.
                self.count();
                let _ = pending.reply.send(pending.outcomes);
            }
        }
        // More may wait: come back without sleeping.
        self.parts.waker.wake();
        false
    }

    fn order(&mut self, order: Order, now: Time) -> Outcome {
        let worker = &mut self.worker;
        Ok(match order {
            Order::Allocate { session, trace, contents, webrtc, closed, state } => {
                if let Some(closed) = closed.filter(|_| !worker.knows(&session)) {
                    return Err(closed.into());
                }
                Done::Allocated(self.allocate(&session, &trace, contents, webrtc, state, now)?)
            }
            Order::Connect { session, end: (leg, content), mut remote } => {
                remote.fresh = remote.ice.is_some().then(random::credentials);
                worker.connect(&session, leg, content, &remote, now)?;
                told(worker, &session, leg, content)
            }
            Order::Update { session, end: (leg, content), ice, picture } => {
                let fresh = (!ice.pwd.is_empty()).then(random::credentials);
                worker.update(&session, leg, content, (&ice, fresh), now)?;
                if picture {
                    worker.request_keyframe(&session, leg, content)?;
                }
                told(worker, &session, leg, content)
            }
            Order::Voice { session, end: (leg, content) } => {
                Done::Voice(worker.playback_codec(&session, leg, content)?)
            }
            Order::Play { session, end: (leg, content), track, mode } => {
                worker.play(&session, leg, content, track, mode, now)?;
                Done::StateUpdate
            }
            Order::Leave { session } => {
                worker.hand_over(&session)?;
                Done::StateUpdate
            }
            Order::Release { session } => Done::Statistics(worker.release(&session)),
            Order::Statistics { session } => Done::Statistics(worker.statistics(&session)),
        })
    }

    fn allocate(
        &mut self,
        session: &str,
        trace: &str,
        contents: u32,
        webrtc: u32,
        state: Option<Box<Snapshot>>,
        now: Time,
    ) -> Result<Ends, Denial> {
        let known = self.worker.knows(session);
        // In the order in which ends are made: content by content, leg by leg.
        let mut had: Vec<_> =
            state.iter().flat_map(|s| &s.ends).map(|e| (e.content, e.leg, e.rtp_port)).collect();
        had.sort_unstable();
        let mut had = had.into_iter().filter(|_| !known).map(|(.., port)| port);
        let (poll, pairs, ports) = (&self.poll, &mut self.pairs, &mut self.parts.ports);
        let advertise = self.parts.advertise;
        let made = self.worker.allocate(session, trace, contents, now, |id, leg: LegId| {
            let mut port = 0;
            let same = had.next();
            if webrtc >> leg.0 & 1 == 0 {
                let same = same.and_then(|port| ports.take_port(port));
                let pair = same.map_or_else(|| ports.take(now.0, random::number), Ok)?;
                port = pair.port;
                let place = id.index as usize;
                if pairs.len() <= place {
                    pairs.resize_with(place + 1, || None);
                }
                let number = u64::from(id.index) << 1;
                let watched = poll
                    .add_level(pair.rtp.as_raw_fd(), number)
                    .and_then(|()| poll.add(pair.rtcp.as_raw_fd(), number | 1));
                if watched.is_err() {
                    ports.give_back(port, now.0);
                    return Err(NoPort);
                }
                pairs[place] = Some(Sockets { id, pair, peer: None, round: 0 });
            }
            let Credentials { ufrag, pwd } = random::credentials();
            Ok(Local {
                address: advertise,
                rtp_port: port,
                rtcp_port: if port == 0 { 0 } else { port + 1 },
                ufrag,
                pwd,
                generation: 0,
                tie_breaker: random::number().into(),
                // Only who describes itself with an address describes itself with keys.
                crypto: if port == 0 { vec![] } else { random::keys() },
                preference: PREFERENCE,
            })
        });
        let made = made.map_err(|NoPort| NoRoom::Ports)?;
        // Asked again, it has long gone on.
        Ok(match state.filter(|_| !known) {
            Some(state) => self.worker.resume(session, *state, now),
            None => made,
        })
    }

    /// Hands on what must outlive this relay, a slice at a time.
    fn send_states(&mut self, now: Time) {
        // Without room it waits in the sessions themselves.
        let room = self.parts.states.capacity().min(SLICE);
        for (session, snapshot) in self.worker.poll_snapshots(now, room) {
            let _ = self.parts.states.try_send(StateUpdate::Changed(session, Box::new(snapshot)));
        }
        while let Ok(room) = self.parts.states.try_reserve()
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

/// Returns the reply of an endpoint that was told of its peer.
fn told(worker: &Worker, session: &str, leg: u32, content: u32) -> Done {
    let local = worker.restarted(session, leg, content);
    local.map_or(Done::StateUpdate, |local| Done::Renewed(Box::new(local.clone())))
}
