//! The worker: its state, what it is driven by, and what it looks after by itself.

use super::checks::Checks;
use super::endpoint::Link;
use super::quality::Histograms;
use super::sources::Sounds;
use super::table::{Endpoints, Sessions, SnapshotQueue};
use super::types::{EndpointId, Event, Host, Latched, Limits, Refusal, Report, Statistics};
use super::wheel::Wheel;
use crate::ice::Datagram;
use crate::network::Denied;
use signal::{LegId, Time};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// How often silence is looked for, milliseconds.
pub(super) const SWEEP_MS: u64 = 1_000;
/// Locks that may come of one round of the shell without an allocation: more than it reads datagrams.
const LATCHED: usize = 512;
/// Events that may wait to be fetched; older ones give way.
const EVENTS: usize = 1_024;

/// All sessions of one thread, without sockets, clock or random source.
///
/// Its methods are of four kinds. Each time that it wakes, the shell drives them in this order:
///
/// 1. `handle_*` is input: [`Worker::handle_datagram`] for each datagram that came, [`Worker::handle_sound_frame`] for each frame
///    that a sound thread finished. Both give the one packet that leaves for it.
/// 2. Commands come from control: [`Worker::allocate`], [`Worker::connect`], [`Worker::bridge`], [`Worker::update`], [`Worker::play`],
///    [`Worker::request_keyframe`], [`Worker::press`], [`Worker::resume`], [`Worker::hand_over`], [`Worker::release_leg`], [`Worker::release`].
/// 3. [`Worker::handle_timeout`], once the time of [`Worker::poll_timeout`] has come.
/// 4. `poll_*` is output, each asked until it has nothing left: [`Worker::poll_transmit`] (RTCP and retransmissions),
///    [`Worker::poll_datagram`] (STUN and DTLS), [`Worker::poll_latched`] and [`Worker::poll_closed`] (for the sockets),
///    [`Worker::poll_event`] (for the orchestrators), [`Worker::poll_snapshots`] and [`Worker::poll_ended`] (what must outlive the relay).
///
/// Getters ([`Worker::statistics`], [`Worker::totals`], [`Worker::histograms`], …) change nothing and may be called at any time.
///
/// ```
/// use signal::media::{Codec, Direction};
/// use signal::{LegId, Time};
/// use std::net::SocketAddr;
/// use tandem_relay::dtls::Certificate;
/// use tandem_relay::session::{
///     Arrival, Host, LegRequest, Limits, Local, MAX_TRANSMIT, Refusal, Remote, Socket, Worker,
/// };
/// use tandem_relay::srtp::ROOM;
///
/// let (alice, bob): (SocketAddr, SocketAddr) = ("192.0.2.1:4000".parse()?, "192.0.2.2:4000".parse()?);
/// let host = Host {
///     address: "203.0.113.1:30000".parse()?,
///     certificate: Certificate::generate(Time(0))?,
///     base: std::time::Instant::now(),
///     epoch: Time(0),
/// };
/// let mut worker = Worker::new(Limits::default(), host);
///
/// // Two legs with one content each, which hear each other; the shell binds a pair of ports for each endpoint.
/// let legs = [0, 1].map(|leg| LegRequest { leg: LegId(leg), contents: 1, webrtc: false });
/// let mut ids = vec![];
/// worker.allocate("call", "", &legs, Time(0), |id, _leg, _content| {
///     ids.push(id);
///     let rtp_port = 40_000 + 2 * id.index as u16;
///     Ok::<_, Refusal>(Local {
///         address: "203.0.113.1".parse().unwrap(),
///         rtp_port,
///         rtcp_port: rtp_port + 1,
///         ufrag: format!("random{}", id.index),
///         pwd: "random".repeat(4),
///         generation: 0,
///         tie_breaker: 7,
///         preference: tandem_relay::ice::PREFERENCE,
///         crypto: vec![],
///     })
/// })?;
/// worker.bridge("call", &[(LegId(0), LegId(1))], Time(0))?;
///
/// // Both peers have described themselves: PCMU, in the clear.
/// for (leg, address) in [(0, alice), (1, bob)] {
///     let codecs = vec![Codec::new(0, "PCMU", 8_000, 1)];
///     let remote = Remote { address: Some(address), codecs, direction: Direction::Both, ..Remote::default() };
///     worker.connect("call", leg, 0, &remote, Time(0))?;
/// }
///
/// // A packet of Alice's comes in and leaves for Bob, in the same buffer.
/// let mut buffer = [&[0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7][..], &[0xff; 160], &[0; ROOM]].concat();
/// let sent = worker.handle_datagram(Socket::Rtp(ids[0]), alice, Arrival(20_000), &mut buffer, 172).unwrap();
/// assert_eq!((sent.socket, sent.to, sent.length), (Socket::Rtp(ids[1]), bob, 172));
///
/// // Nothing is due yet; a quarter of a minute later reports are.
/// assert!(worker.poll_timeout().is_some_and(|at| at > Time(0)));
/// worker.handle_timeout(Time(15_000));
/// let mut buffer = [0; MAX_TRANSMIT];
/// let report = worker.poll_transmit(Arrival(15_000_000), &mut buffer).unwrap();
/// assert_eq!(report.socket, Socket::Rtcp(ids[0]));
///
/// let last = worker.release("call").unwrap();
/// assert_eq!((last[0].packets_in, last[1].packets_out), (1, 1));
/// assert_eq!(std::iter::from_fn(|| worker.poll_closed()).count(), 2, "the shell closes both pairs of sockets");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Worker {
    pub(super) limits: Limits,
    pub(super) host: Host,
    /// Address of the shared socket in the other family.
    pub(super) other: Option<SocketAddr>,
    /// Networks that no peer may name.
    pub(super) denied: Arc<Denied>,
    /// Endpoint that a check is for, by our ICE user fragment.
    pub(super) ufrags: HashMap<String, u32>,
    /// Endpoint that an answer to a check is for.
    pub(super) checks: Checks,
    /// Endpoint that everything else from an address is for.
    pub(super) addresses: HashMap<SocketAddr, u32>,
    pub(super) timers: BTreeSet<(Time, u32)>,
    /// Endpoints that have keys to say, by the time of the next packet.
    pub(super) tones: BTreeSet<(Time, u32)>,
    /// STUN and DTLS that is to be sent.
    pub(super) datagrams: VecDeque<Datagram>,
    pub(super) sessions: Sessions,
    pub(super) endpoints: Endpoints,
    pub(super) sweep: Option<Time>,
    events: VecDeque<Report>,
    pub(super) closed: VecDeque<EndpointId>,
    pub(super) latched: VecDeque<Latched>,
    /// When endpoints are to be looked at, for what they send by themselves.
    pub(super) wheel: Wheel,
    /// Endpoints that have RTCP to send now; has room for all of them.
    pub(super) rtcp_queue: VecDeque<u32>,
    pub(super) histograms: Histograms,
    pub(super) forwarded: u64,
    pub(super) dropped: u64,
    pub(super) sounds: Sounds,
    pub(super) snapshots: SnapshotQueue,
}

impl Worker {
    /// Makes a worker without sessions.
    #[must_use]
    pub fn new(limits: Limits, host: Host) -> Worker {
        Worker {
            limits,
            host,
            other: None,
            denied: Arc::default(),
            ufrags: HashMap::new(),
            checks: Checks::default(),
            addresses: HashMap::new(),
            timers: BTreeSet::new(),
            tones: BTreeSet::new(),
            datagrams: VecDeque::new(),
            sessions: Sessions::default(),
            endpoints: Endpoints::default(),
            sweep: None,
            events: VecDeque::new(),
            closed: VecDeque::new(),
            // Grown by none of the packets that lock: the shell fetches them after each round.
            latched: VecDeque::with_capacity(LATCHED),
            wheel: Wheel::default(),
            rtcp_queue: VecDeque::new(),
            histograms: Histograms::default(),
            forwarded: 0,
            dropped: 0,
            sounds: Sounds::default(),
            snapshots: SnapshotQueue::default(),
        }
    }

    /// Replaces the times, for the sessions that are there, too.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Adds an address of the other family, that of the same shared socket: endpoints that are made from now on check from both.
    #[must_use]
    pub fn with_other(mut self, address: SocketAddr) -> Worker {
        self.other = Some(address);
        self
    }

    /// Denies these networks to descriptions and candidates, in place of the default ones.
    #[must_use]
    pub fn with_denied(mut self, denied: Denied) -> Worker {
        self.denied = Arc::new(denied);
        self
    }

    /// Returns true if nothing may be sent there.
    pub(super) fn refuses(&self, to: SocketAddr) -> bool {
        let other = self.other.unwrap_or(self.host.address);
        self.denied.refuses(to, &[self.host.address, other])
    }

    /// Returns our side of a path to or from `peer`.
    pub(super) fn facing(&self, peer: SocketAddr) -> SocketAddr {
        self.other.filter(|other| other.is_ipv6() == peer.is_ipv6()).unwrap_or(self.host.address)
    }

    /// Returns true if the session is here.
    #[must_use]
    pub fn knows(&self, session: &str) -> bool {
        self.sessions.named(session).is_some()
    }

    /// Returns the statistics of a session by leg and content; `None` when it is not known.
    #[must_use]
    pub fn statistics(&self, session: &str) -> Option<Vec<Statistics>> {
        let session = self.sessions.get(self.sessions.named(session)?)?;
        let statistics = |index: u32| {
            let carrier = self.endpoints.get(self.endpoints.carrier(index))?;
            Some(self.endpoints.get(index)?.statistics(&carrier.link))
        };
        Some(session.all().into_iter().filter_map(statistics).collect())
    }

    /// Returns the number of sessions, of packets forwarded and of packets dropped since the start.
    #[must_use]
    pub fn totals(&self) -> (u64, u64, u64) {
        (self.sessions.len() as u64, self.forwarded, self.dropped)
    }

    /// Returns the histograms of all streams, second by second, since the start.
    #[must_use]
    pub fn histograms(&self) -> &Histograms {
        &self.histograms
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.run_timers(now);
        self.run_wheel(now);
        if self.sweep.is_some_and(|at| at <= now) {
            self.sweep(now);
        }
    }

    /// Returns when [`Worker::handle_timeout`] is wanted next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let tone = self.tones.first().map(|(at, _)| *at);
        [timer, tone, self.sweep, self.wheel.deadline(), self.snapshots.at].into_iter().flatten().min()
    }

    /// Returns true if there is an event to fetch.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Returns the next event for the orchestrators.
    pub fn poll_event(&mut self) -> Option<Report> {
        self.events.pop_front()
    }

    /// Returns the next endpoint whose RTP socket has another peer than before.
    pub fn poll_latched(&mut self) -> Option<Latched> {
        self.latched.pop_front()
    }

    /// Returns the next endpoint whose plain sockets are of no use any more.
    pub fn poll_closed(&mut self) -> Option<EndpointId> {
        self.closed.pop_front()
    }

    /// Returns the index of an endpoint.
    pub(super) fn find(&self, session: &str, leg: u32, content: u32) -> Result<u32, Refusal> {
        let session = self.sessions.get(self.sessions.find(session)?);
        let id = u8::try_from(leg).map(LegId).ok();
        let index = session.zip(id).and_then(|(session, leg)| session.endpoint(leg, content));
        index.ok_or(Refusal::UnknownEndpoint(leg, content))
    }

    /// Reports an event of the endpoint at `index`.
    pub(super) fn report(&mut self, index: u32, event: Event) {
        let Some(end) = self.endpoints.get(index) else { return };
        let Some(session) = self.sessions.get(end.session) else { return };
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

    /// Looks for endpoints that fell silent and sessions that nobody needs.
    fn sweep(&mut self, now: Time) {
        self.sweep = (!self.sessions.is_empty()).then_some(now + SWEEP_MS);
        let limits = self.limits;
        for at in 0..self.sessions.indices() {
            let Some(session) = self.sessions.get(at) else { continue };
            let age = now.since(session.allocated);
            let (endpoints, allocated, established) = (session.all(), session.allocated, session.established);
            self.thaw(at, now);
            self.sample(at);
            self.look_for_dead_legs(at, now);
            let heard = endpoints.iter().filter_map(|end| self.endpoints.get(*end)?.heard).max();
            let idle = now.since(heard.unwrap_or(allocated));
            if !established && age >= limits.unconnected_ms {
                self.close(at);
                continue;
            }
            if idle >= limits.silent_ms {
                // Nobody has released it for so long that nobody will.
                if let Some(end) = endpoints.first() {
                    self.report(*end, Event::TimedOut);
                }
                self.close(at);
                continue;
            }
            for index in endpoints {
                let Some(end) = self.endpoints.get_mut(index) else { continue };
                let silent = !end.silent && end.missing(now) >= limits.media_timeout_ms;
                end.silent |= silent;
                let abandoned = end.abandoned(now);
                let deaf = end.deaf(now);
                if let Link::Plain(plain) = &mut end.link {
                    plain.look(now);
                    let end = end.id;
                    self.latched.extend(plain.relocked().map(|peer| Latched { end, peer }));
                }
                if silent {
                    self.report(index, Event::TimedOut);
                }
                if let Some(deaf) = deaf {
                    self.report(index, Event::Deaf(deaf));
                }
                if abandoned {
                    self.report(index, Event::Unreachable);
                }
            }
        }
    }

    /// Reports legs at ports of which neither RTP nor RTCP came for long, whether anything is due or not: a party that is held sends
    /// reports (RFC 3550 §6.2), and one that sends nothing for so long is gone. ICE has a consent of its own (RFC 7675).
    fn look_for_dead_legs(&mut self, at: u32, now: Time) {
        let Worker { sessions, endpoints, limits, .. } = &*self;
        let Some(session) = sessions.get(at) else { return };
        let mut dead = vec![];
        for leg in &session.legs {
            let ends = || leg.endpoints.iter().filter_map(|index| Some((*index, endpoints.get(*index)?)));
            let last = ends().filter_map(|(_, end)| end.heard.max(end.since)).max();
            let quiet = last.is_some_and(|last| now.since(last) >= limits.leg_timeout_ms);
            let told = ends().any(|(_, end)| end.silent || matches!(end.link, Link::WebRtc(_)));
            dead.extend(ends().map(|(index, _)| index).next().filter(|_| quiet && !told));
        }
        for index in dead {
            if let Some(end) = self.endpoints.get_mut(index) {
                end.silent = true;
            }
            self.report(index, Event::TimedOut);
        }
    }
}
