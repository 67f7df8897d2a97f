//! Sessions of a worker: who hears whom. A worker owns its sessions whole; one thread drives it.
//!
//! One rule: control may allocate, the packet path ([`Worker::handle_datagram`] of RTP and RTCP) may not. What comes in at content
//! `n` of one leg goes out at content `n` of the other. RTCP ends here: each leg has its own. Sockets, ports and random words are the shell's: it is told by
//! [`Worker::poll_closed`] which sockets are of no use any more.

mod bundle;
mod cache;
mod checks;
mod endpoint;
mod feedback;
mod forward;
mod plain;
mod quality;
mod reception;
mod reports;
mod rtcp_out;
mod sdes;
mod snapshot;
mod sound;
mod table;
#[cfg(test)]
mod tests;
mod types;
mod webrtc;
mod wheel;

pub use quality::{BOUNDS, Histograms, Scale, mos};
pub use rtcp_out::MAX_TRANSMIT;
pub use types::{
    Arrival, EndpointId, Event, Form, Latched, Limits, Local, Refusal, Remote, RemoteReport, Report, Socket,
    Statistics, Transmit,
};

pub use sound::SoundHandle;

pub use snapshot::{AHEAD, EndpointState, Keyed, Snapshot};

use crate::dtls::Certificate;
use crate::ice::{Credentials, Datagram};
use crate::packet::{Class, classify};
use endpoint::{Endpoint, Link};
use plain::Plain;
use signal::media::Ice;
use signal::{LegId, Time};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

/// Legs of a session: the two that hear each other.
pub const LEGS: u32 = 2;
/// Contents of a session at most.
pub const CONTENTS: u32 = 8;
/// How often silence is looked for, milliseconds.
const SWEEP_MS: u64 = 1_000;
/// Locks that may come of one turn of the shell without an allocation: more than it reads datagrams.
const LATCHED: usize = 512;
/// Reports that may wait to be fetched; older ones give way.
const EVENTS: usize = 1_024;

/// STUN and DTLS datagrams that may wait to be sent; further ones are lost, as datagrams may be.
const TRANSMITS: usize = 4_096;

/// Address, certificate and clock that all WebRTC endpoints of a worker share.
#[derive(Clone, Debug)]
pub struct Host {
    /// Address of the interface that the shared socket is bound to.
    pub address: SocketAddr,
    /// Shown to every peer.
    pub certificate: Certificate,
    /// Any moment of the standard clock …
    pub base: Instant,
    /// … and the same moment in ours.
    pub epoch: Time,
}

/// All sessions of one thread.
#[derive(Debug)]
pub struct Worker {
    limits: Limits,
    host: Host,
    /// Address of the shared socket in the other family.
    other: Option<SocketAddr>,
    /// Which end a check is for.
    ufrags: HashMap<String, u32>,
    /// Which end an answer to a check is for.
    checks: checks::Checks,
    /// Which end everything else from an address is for.
    addresses: HashMap<SocketAddr, u32>,
    timers: BTreeSet<(Time, u32)>,
    datagrams: VecDeque<Datagram>,
    names: HashMap<String, u32>,
    sessions: Vec<Option<Session>>,
    free_sessions: Vec<u32>,
    ends: Vec<Slot>,
    free_ends: Vec<u32>,
    sweep: Option<Time>,
    events: VecDeque<Report>,
    closed: VecDeque<EndpointId>,
    latched: VecDeque<Latched>,
    /// Ends that want to be looked at, for what they say by themselves.
    wheel: wheel::Wheel,
    /// Ends that have something to say now; has room for all of them.
    rtcp_queue: VecDeque<u32>,
    histograms: Histograms,
    forwarded: u64,
    dropped: u64,
    sounds: sound::Sounds,
    snapshots: snapshot::SnapshotQueue,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    end: Option<Endpoint>,
}

#[derive(Debug)]
struct Session {
    name: String,
    trace: String,
    allocated: Time,
    /// Both sides of some content were connected.
    met: bool,
    /// Places of its ends, `[leg][content]`.
    ends: [Vec<u32>; LEGS as usize],
    taken: snapshot::SnapshotMark,
}

impl Worker {
    /// Without sessions.
    #[must_use]
    pub fn new(limits: Limits, host: Host) -> Worker {
        Worker {
            limits,
            host,
            other: None,
            ufrags: HashMap::new(),
            checks: checks::Checks::default(),
            addresses: HashMap::new(),
            timers: BTreeSet::new(),
            datagrams: VecDeque::new(),
            names: HashMap::new(),
            sessions: vec![],
            free_sessions: vec![],
            ends: vec![],
            free_ends: vec![],
            sweep: None,
            events: VecDeque::new(),
            closed: VecDeque::new(),
            // Grown by none of the packets that lock: the shell fetches them after each turn.
            latched: VecDeque::with_capacity(LATCHED),
            wheel: wheel::Wheel::default(),
            rtcp_queue: VecDeque::new(),
            histograms: Histograms::default(),
            forwarded: 0,
            dropped: 0,
            sounds: sound::Sounds::default(),
            snapshots: snapshot::SnapshotQueue::default(),
        }
    }

    /// The shared socket is at an address of the other family, too: ends that are made from now on are checked from both.
    #[must_use]
    pub fn with_other(mut self, address: SocketAddr) -> Worker {
        self.other = Some(address);
        self
    }

    /// Our side of a path to or from there.
    fn facing(&self, peer: SocketAddr) -> SocketAddr {
        self.other.filter(|other| other.is_ipv6() == peer.is_ipv6()).unwrap_or(self.host.address)
    }

    /// Makes a session with `contents` contents on both legs, or gives the ends that it has; a session that has fewer grows.
    /// `make` binds the sockets of an end, unless its leg needs none ([`Local::rtp_port`] 0).
    ///
    /// # Errors
    /// Those of `make`; a session begun is then undone, one that was there stays as it was.
    pub fn allocate<E>(
        &mut self,
        session: &str,
        trace: &str,
        contents: u32,
        now: Time,
        mut make: impl FnMut(EndpointId, LegId) -> Result<Local, E>,
    ) -> Result<Vec<(LegId, u16, Local)>, E> {
        let (at, new) = match self.names.get(session) {
            Some(at) => (*at, false),
            None => (self.open(session, trace, now), true),
        };
        let have = self.session(at).map_or(0, |s| s.ends[0].len() as u32);
        for content in have..contents.min(CONTENTS) {
            if let Err(error) = self.add(at, content as u16, &mut make) {
                if new {
                    self.close(at);
                } else {
                    self.cut(at, have as usize);
                }
                return Err(error);
            }
        }
        self.mark_changed(at, now);
        let ends = self.session(at).map(|s| s.ends.concat()).unwrap_or_default();
        let ends = ends.iter().filter_map(|end| self.endpoint(*end));
        Ok(ends.map(|end| (end.leg, end.content, end.local.clone())).collect())
    }

    /// Tells an end who its peer is; again with other facts is an update.
    ///
    /// # Errors
    /// [`Refusal`]; the end is then as it was.
    pub fn connect(
        &mut self,
        session: &str,
        leg: u32,
        content: u32,
        remote: &Remote,
        now: Time,
    ) -> Result<(), Refusal> {
        let index = self.find(session, leg, content)?;
        if remote.bundled.is_none() {
            self.distinct(index, index, remote)?;
        }
        match (&remote.ice, &remote.dtls, remote.bundled) {
            (_, _, Some(tag)) => self.join_bundle(index, tag, remote)?,
            (Some(ice), Some(dtls), _) => self.describe(index, remote, ice, dtls, now)?,
            (None, Some(_), _) => return Err(Refusal::DtlsWithoutIce),
            (_, None, _) => {
                let Some(Endpoint { link, local, early, sockets, inherited, .. }) = self.endpoint_mut(index)
                else {
                    return Ok(());
                };
                match link {
                    Link::Plain(plain) => plain.describe(remote, &local.crypto)?,
                    Link::Open if *sockets => {
                        let kept = inherited.as_ref().and_then(|inherited| inherited.keyed.clone());
                        *link = Link::Plain(Plain::new(remote, &local.crypto, kept)?);
                        *inherited = None;
                    }
                    Link::Open | Link::WebRtc(_) | Link::Bundled(_) => return Err(Refusal::NoPorts),
                }
                *early = None;
                self.relock(index);
            }
        }
        if let Some(end) = self.endpoint_mut(index) {
            end.set_remote(remote);
        }
        self.update_member(index);
        self.connect_pair(index, now)?;
        if let Some(session) = self.endpoint(index).map(|end| end.session) {
            self.mark_changed(session, now);
        }
        Ok(())
    }

    /// Further candidates of a connected peer, or its ICE restart: see [`Remote::fresh`].
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn update(
        &mut self,
        session: &str,
        leg: u32,
        content: u32,
        (ice, fresh): (&Ice, Option<Credentials>),
        now: Time,
    ) -> Result<(), Refusal> {
        let index = self.find(session, leg, content)?;
        self.trickle(index, ice, fresh, now)
    }

    /// Another relay goes on with the session: what comes is still forwarded, but no path is checked or nominated any more, lest the
    /// peer come back to one that it has left; and nothing is played any more, since that one plays it now.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn hand_over(&mut self, session: &str) -> Result<(), Refusal> {
        let at = self.names.get(session).ok_or_else(|| Refusal::UnknownSession(session.into()))?;
        let ends = self.session(*at).map(|s| s.ends.concat()).unwrap_or_default();
        for index in ends {
            self.stop_playback(index);
            if let Some(Link::WebRtc(web)) = self.endpoint_mut(index).map(|end| &mut end.link) {
                web.leaving = true;
            }
        }
        Ok(())
    }

    /// Returns true if the session is here.
    #[must_use]
    pub fn knows(&self, session: &str) -> bool {
        self.names.contains_key(session)
    }

    /// Fits both sides to each other once both are connected.
    fn connect_pair(&mut self, index: u32, now: Time) -> Result<(), Refusal> {
        let Some(peer) = self.endpoint(index).map(|e| e.peer) else { return Ok(()) };
        let Some((near, far)) = self.pair(index as usize, peer) else { return Ok(()) };
        if near.is_open() || far.is_open() {
            return Ok(());
        }
        near.fit(far, now);
        far.fit(near, now);
        let session = near.session;
        if let Some(session) = self.sessions.get_mut(session as usize).and_then(Option::as_mut) {
            session.met = true;
        }
        self.begin_reports(index, now);
        self.begin_reports(peer as u32, now);
        self.transcode(index, peer as u32, now)?;
        self.transcode(peer as u32, index, now)
    }

    /// Gives a session back; `None` when it is not known.
    pub fn release(&mut self, session: &str) -> Option<Vec<Statistics>> {
        let statistics = self.statistics(session)?;
        let at = *self.names.get(session)?;
        self.close(at);
        Some(statistics)
    }

    /// Statistics of a session by leg and content; `None` when it is not known.
    #[must_use]
    pub fn statistics(&self, session: &str) -> Option<Vec<Statistics>> {
        let session = self.session(*self.names.get(session)?)?;
        let statistics = |index: &u32| {
            let carrier = self.endpoint(bundle::carrier(&self.ends, *index))?;
            Some(self.endpoint(*index)?.statistics(&carrier.link))
        };
        Some(session.ends.iter().flatten().filter_map(statistics).collect())
    }

    /// Sessions, packets forwarded, packets dropped since the start.
    #[must_use]
    pub fn totals(&self) -> (u64, u64, u64) {
        (self.names.len() as u64, self.forwarded, self.dropped)
    }

    /// A datagram came in: the first `length` octets of `buffer`, which has [`crate::srtp::ROOM`] octets behind it.
    /// Gives the packet that leaves for it, in the same buffer; [`Worker::poll_transmit`] has what else is to be said.
    pub fn handle_datagram(
        &mut self,
        socket: Socket,
        from: SocketAddr,
        at: Arrival,
        buffer: &mut [u8],
        length: usize,
    ) -> Option<Transmit> {
        let index = match socket {
            Socket::Rtp(id) | Socket::Rtcp(id) => self.live(id)?,
            Socket::Shared => {
                let datagram = buffer.get_mut(..length)?;
                let index = self.addressed(from, datagram)?;
                if !matches!(classify(datagram), Class::Rtp | Class::Rtcp) {
                    self.check(index, from, datagram, at.time());
                    return None;
                }
                index
            }
        };
        let before = self.endpoint(index)?.refused();
        let departure = self.forward(index, from, at, buffer, length);
        let near = self.ends.get_mut(index as usize)?.end.as_mut()?;
        self.dropped += near.refused() - before;
        if let Link::Plain(plain) = &mut near.link
            && let Some(locked) = plain.relocked()
        {
            let announced = std::mem::replace(&mut plain.announced, true);
            let end = near.id;
            self.latched.push_back(Latched { end, peer: locked });
            if !announced {
                self.report(index, Event::Connected);
            }
        }
        self.forwarded += u64::from(departure.is_some());
        departure
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.run_timers(now);
        self.run_wheel(now);
        if self.sweep.is_some_and(|at| at <= now) {
            self.sweep(now);
        }
    }

    /// When [`Worker::handle_timeout`] is wanted next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let timer = self.timers.first().map(|(at, _)| *at);
        [timer, self.sweep, self.wheel.deadline(), self.snapshots.deadline()].into_iter().flatten().min()
    }

    /// There is something to tell.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next thing to tell the orchestrators.
    pub fn poll_event(&mut self) -> Option<Report> {
        self.events.pop_front()
    }

    /// The next end whose RTP socket has another peer than before.
    pub fn poll_latched(&mut self) -> Option<Latched> {
        self.latched.pop_front()
    }

    /// A description may have unlocked a plain end.
    fn relock(&mut self, index: u32) {
        let Some(end) = self.endpoint_mut(index) else { return };
        if let Link::Plain(plain) = &mut end.link
            && let Some(peer) = plain.relocked()
        {
            let end = end.id;
            self.latched.push_back(Latched { end, peer });
        }
    }

    /// The next end whose plain sockets are of no use any more.
    pub fn poll_closed(&mut self) -> Option<EndpointId> {
        self.closed.pop_front()
    }

    /// Looks for ends that fell silent and sessions that nobody needs.
    fn sweep(&mut self, now: Time) {
        self.sweep = (!self.names.is_empty()).then_some(now + SWEEP_MS);
        let limits = self.limits;
        for at in 0..self.sessions.len() as u32 {
            let Some(session) = self.session(at) else { continue };
            let age = now.since(session.allocated);
            let ends = session.ends.concat();
            let (allocated, met) = (session.allocated, session.met);
            self.sample(at);
            let last = ends.iter().filter_map(|end| self.endpoint(*end)?.heard).max();
            let idle = now.since(last.unwrap_or(allocated));
            if !met && age >= limits.unconnected_ms {
                self.close(at);
                continue;
            }
            if idle >= limits.silent_ms {
                // Nobody has released it for so long that nobody will.
                if let Some(end) = ends.first() {
                    self.report(*end, Event::TimedOut);
                }
                self.close(at);
                continue;
            }
            for index in ends {
                let Some(end) = self.endpoint_mut(index) else { continue };
                let silent = !end.silent && end.missing(now) >= limits.media_timeout_ms;
                end.silent |= silent;
                let abandoned = end.abandoned(now);
                if silent {
                    self.report(index, Event::TimedOut);
                }
                if abandoned {
                    self.report(index, Event::Unreachable);
                }
            }
        }
    }

    fn report(&mut self, index: u32, event: Event) {
        let Some(end) = self.endpoint(index) else { return };
        let Some(session) = self.session(end.session) else { return };
        let report = Report {
            session: session.name.clone(),
            trace: session.trace.clone(),
            leg: end.leg,
            content: end.content,
            event,
        };
        if self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(report);
    }
}
