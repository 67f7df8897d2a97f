//! A media thread: one epoll, its sockets, one `relay::session::Worker`. It shares nothing on the packet path.

use crate::command::{Command, Ends, Gauges, NoRoom};
use crate::poll::{Poll, Waker};
use crate::ports::{NoPort, Pair, Ports};
use crate::random;
use crate::state::Told;
use crate::udp::{BATCH, Batch};
use relay::dtls::Certificate;
use relay::ice::PREFERENCE;
use relay::session::{Arrival, Departure, EndId, Host, Limits, Local, Report, Snapshot, Socket, Worker};
use signal::Time;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Instant;
use tokio::sync::mpsc;

const WAKE: u64 = u64::MAX;
const SHARED: u64 = u64::MAX - 1;
/// Datagrams read from one socket before the next one has its turn.
const TURN: usize = 32;
/// Commands performed before media has its turn again.
const COMMANDS: usize = 64;
/// Sessions handed on in one turn.
const SLICE: usize = 64;
/// Sleep at most this long, ms.
const LONGEST: u64 = 1_000;

/// What a thread begins with.
#[derive(Debug)]
pub struct Parts {
    /// Times of the core.
    pub limits: Limits,
    /// What its WebRTC ends show.
    pub certificate: Certificate,
    /// Its ICE port as an address of an interface.
    pub address: SocketAddr,
    /// The socket of all ICE ends.
    pub shared: UdpSocket,
    /// Its part of the range.
    pub ports: Ports,
    /// Address put into descriptions.
    pub advertise: IpAddr,
    /// What it is told.
    pub commands: Receiver<Command>,
    /// Wakes it for that.
    pub waker: Waker,
    /// What it tells.
    pub reports: mpsc::Sender<Report>,
    /// What must outlive it.
    pub states: mpsc::Sender<Told>,
    /// What it counts.
    pub gauges: Arc<Gauges>,
}

struct Thread {
    parts: Parts,
    worker: Worker,
    poll: Poll,
    batch: Batch,
    /// By the place of the end.
    pairs: Vec<Option<(EndId, Pair)>>,
    /// Sockets that may have more to read.
    unread: Vec<u64>,
    /// Of the packets in the batch: where each leaves by.
    departures: Vec<(RawFd, usize, SocketAddr, usize)>,
    out: Vec<(usize, SocketAddr, usize)>,
    started: (u64, Instant),
}

/// Runs until it is told to stop.
///
/// # Errors
/// Those of the system at the start.
pub fn run(parts: Parts) -> std::io::Result<()> {
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
    let mut thread = Thread {
        worker: Worker::new(parts.limits, host),
        parts,
        poll,
        batch: Batch::default(),
        pairs: vec![],
        unread: Vec::with_capacity(BATCH),
        departures: Vec::with_capacity(BATCH),
        out: Vec::with_capacity(BATCH),
        started,
    };
    let mut ready = Vec::with_capacity(BATCH);
    loop {
        let now = thread.now().time();
        let sleep = thread.worker.deadline().map_or(LONGEST, |at| at.since(now).min(LONGEST));
        // Sockets that had more than their turn come first; nobody tells of them again.
        ready.clear();
        ready.append(&mut thread.unread);
        let sleep = if ready.is_empty() { sleep } else { 0 };
        ready.extend_from_slice(thread.poll.wait(sleep));
        let at = thread.now();
        let mut used = 0;
        for number in &ready {
            match *number {
                WAKE => thread.parts.waker.clear(),
                number => used = thread.read(number, at, used),
            }
        }
        thread.send();
        // Sockets are closed only from here on: no number above was stale.
        if thread.perform(at.time()) {
            return Ok(());
        }
        thread.worker.tick(at.time());
        thread.settle(at.time());
        thread.hand_on(at.time());
    }
}

impl Thread {
    /// Milliseconds of the clock at the start, carried on by the one that never jumps.
    fn now(&self) -> Arrival {
        let passed = runtime::clock::instant().duration_since(self.started.1);
        Arrival(self.started.0 * 1_000 + u64::try_from(passed.as_micros()).unwrap_or(u64::MAX / 2))
    }

    /// Reads one socket into the places from `used` on; gives where the free ones begin.
    fn read(&mut self, number: u64, at: Arrival, used: usize) -> usize {
        let Some((fd, socket)) = self.socket(number) else { return used };
        let mut used = used;
        if BATCH - used < TURN {
            self.send();
            used = 0;
        }
        let count = self.batch.receive(fd, used, TURN);
        if count == TURN {
            self.unread.push(number);
        }
        for place in used..used + count {
            let Some((from, length)) = self.batch.read(place) else { continue };
            let buffer = self.batch.buffer(place);
            if let Some(Departure { socket, to, length }) =
                self.worker.receive(socket, from, at, buffer, length)
                && let Some(fd) = self.fd(socket)
            {
                self.departures.push((fd, place, to, length));
            }
        }
        used + count
    }

    fn socket(&self, number: u64) -> Option<(RawFd, Socket)> {
        if number == SHARED {
            return Some((self.parts.shared.as_raw_fd(), Socket::Shared));
        }
        let (id, pair) = self.pairs.get((number >> 1) as usize)?.as_ref()?;
        Some(match number & 1 {
            0 => (pair.rtp.as_raw_fd(), Socket::Rtp(*id)),
            _ => (pair.rtcp.as_raw_fd(), Socket::Rtcp(*id)),
        })
    }

    fn fd(&self, socket: Socket) -> Option<RawFd> {
        let pair = |id: EndId| {
            let (held, pair) = self.pairs.get(id.index as usize)?.as_ref()?;
            (*held == id).then_some(pair)
        };
        match socket {
            Socket::Rtp(id) => Some(pair(id)?.rtp.as_raw_fd()),
            Socket::Rtcp(id) => Some(pair(id)?.rtcp.as_raw_fd()),
            Socket::Shared => Some(self.parts.shared.as_raw_fd()),
        }
    }

    /// Sends what is to leave, socket by socket; packets of one socket keep their order.
    fn send(&mut self) {
        self.departures.sort_unstable_by_key(|(fd, place, ..)| (*fd, *place));
        let mut rest = &self.departures[..];
        while let Some((fd, ..)) = rest.first().copied() {
            let same = rest.iter().take_while(|(other, ..)| *other == fd).count();
            let (now, later) = rest.split_at(same);
            self.out.clear();
            self.out.extend(now.iter().map(|(_, place, to, length)| (*place, *to, *length)));
            self.batch.send(fd, &self.out);
            rest = later;
        }
        self.departures.clear();
    }

    /// Performs what control asked for; true = stop.
    fn perform(&mut self, now: Time) -> bool {
        for _ in 0..COMMANDS {
            let Ok(command) = self.parts.commands.try_recv() else { return false };
            let worker = &mut self.worker;
            match command {
                Command::Allocate { session, trace, contents, known_only, state, reply } => {
                    let made = self.allocate(&session, &trace, contents, known_only, state, now);
                    // Who has the answer finds it counted.
                    self.count();
                    let _ = reply.send(made);
                }
                Command::Connect { session, end: (leg, content), remote, reply } => {
                    let _ = reply.send(worker.connect(&session, leg, content, &remote, now));
                }
                Command::Update { session, end: (leg, content), ice, reply } => {
                    let _ = reply.send(worker.update(&session, leg, content, &ice, now));
                }
                Command::Leave { session, reply } => {
                    let _ = reply.send(worker.leave(&session));
                }
                Command::Release { session, reply } => {
                    let _ = reply.send(worker.release(&session));
                }
                Command::Figures { session, reply } => {
                    let _ = reply.send(worker.figures(&session));
                }
                Command::Stop => return true,
            }
            self.close(now);
        }
        // More wait: come back without sleeping.
        self.parts.waker.wake();
        false
    }

    fn allocate(
        &mut self,
        session: &str,
        trace: &str,
        contents: u32,
        known_only: bool,
        state: Option<Box<Snapshot>>,
        now: Time,
    ) -> Result<Ends, NoRoom> {
        let known = self.worker.knows(session);
        if known_only && !known {
            return Err(NoRoom::Draining);
        }
        // In the order in which ends are made: content by content, leg by leg.
        let mut had: Vec<_> =
            state.iter().flat_map(|s| &s.ends).map(|e| (e.content, e.leg, e.rtp_port)).collect();
        had.sort_unstable();
        let mut had = had.into_iter().filter(|_| !known).map(|(.., port)| port);
        let (poll, pairs, ports) = (&self.poll, &mut self.pairs, &mut self.parts.ports);
        let advertise = self.parts.advertise;
        let made = self.worker.allocate(session, trace, contents, now, |id| {
            let same = had.next().and_then(|port| ports.take_this(port));
            let pair = same.map_or_else(|| ports.take(now.0, random::number), Ok)?;
            let place = id.index as usize;
            if pairs.len() <= place {
                pairs.resize_with(place + 1, || None);
            }
            let number = u64::from(id.index) << 1;
            let watched = poll
                .add(pair.rtp.as_raw_fd(), number)
                .and_then(|()| poll.add(pair.rtcp.as_raw_fd(), number | 1));
            if watched.is_err() {
                ports.give_back(pair.port, now.0);
                return Err(NoPort);
            }
            let local = Local {
                address: advertise,
                rtp_port: pair.port,
                rtcp_port: pair.port + 1,
                ufrag: random::word(8),
                pwd: random::word(24),
                tie_breaker: random::number().into(),
                preference: PREFERENCE,
            };
            pairs[place] = Some((id, pair));
            Ok(local)
        });
        let made = made.map_err(|NoPort| NoRoom::Ports)?;
        // Asked again, it has long gone on.
        Ok(match state.filter(|_| !known) {
            Some(state) => self.worker.inherit(session, *state, now),
            None => made,
        })
    }

    /// Hands on what must outlive this relay, a slice at a time.
    fn hand_on(&mut self, now: Time) {
        // Without room it waits in the sessions themselves.
        let room = self.parts.states.capacity().min(SLICE);
        for (session, snapshot) in self.worker.take(now, room) {
            let _ = self.parts.states.try_send(Told::State(session, Box::new(snapshot)));
        }
        while let Ok(room) = self.parts.states.try_reserve()
            && let Some(session) = self.worker.poll_gone()
        {
            room.send(Told::Gone(session));
        }
    }

    /// Closes sockets that are of no use any more; their ports rest.
    fn close(&mut self, now: Time) {
        while let Some(id) = self.worker.poll_closed() {
            let held = self.pairs.get_mut(id.index as usize);
            if let Some((_, pair)) = held.and_then(|held| held.take_if(|(of, _)| *of == id)) {
                self.parts.ports.give_back(pair.port, now.0);
            }
        }
    }

    /// Tells what there is to tell.
    fn settle(&mut self, now: Time) {
        self.close(now);
        while let Some(datagram) = self.worker.poll_transmit() {
            // Lost is as good as late: STUN and DTLS repeat.
            let _ = self.parts.shared.send_to(&datagram.octets, datagram.pair.remote);
        }
        // Without room the core keeps the newest.
        while self.worker.reports()
            && let Ok(room) = self.parts.reports.try_reserve()
        {
            let Some(report) = self.worker.poll_report() else { break };
            room.send(report);
        }
        self.count();
    }

    fn count(&self) {
        let (sessions, forwarded, dropped) = self.worker.totals();
        let gauges = &self.parts.gauges;
        gauges.sessions.store(sessions, Ordering::Relaxed);
        gauges.forwarded.store(forwarded, Ordering::Relaxed);
        gauges.dropped.store(dropped, Ordering::Relaxed);
    }
}
