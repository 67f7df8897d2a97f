//! ICE of one component (RFC 8445; RTCP muxed), sans IO: a full agent, over the `is` crate.
//!
//! One rule: an address counts only once a check to or from it was authentic. Media goes to the nominated pair alone, and
//! that pair may change. The checks double as consent (RFC 7675): a pair whose checks stay unanswered is given up.
//! Start at [`Agent`].

use crate::clock::Clock;
use crate::network::Denied;
use is::stun::{StunMessage, StunPacket};
use is::{IceAgent, IceAgentEvent, IceCreds, Protocol};
use signal::Time;
use signal::media::{Candidate, CandidateKind, Ice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// No pair worked for so long after the peer's credentials were known: [`State::Unreachable`], ms.
pub const NEVER: u64 = 30_000;
/// Consent stayed lost for so long: [`State::Unreachable`], ms.
pub const LOST: u64 = 15_000;
/// Number of candidates taken from a peer at most: each is an address that it makes us send to.
pub const CANDIDATES: usize = 16;
/// Number of host candidates among them at most: those of a NAT or TURN server, which come later, matter more to us.
pub const HOSTS: usize = 10;
/// Number of checks that an address gets which has answered none and sent none: what a peer names need not be its own (RFC 8445 §19.5.1).
pub const UNANSWERED: u8 = 3;
/// Number of addresses that authentic checks may come from at most.
const SOURCES: usize = 64;
/// Type of a Binding request (RFC 8489 §5).
const REQUEST: [u8; 2] = [0x00, 0x01];
/// Pairs checked at a time; the worst are dropped (RFC 8445 §6.1.2.5).
const PAIRS: usize = 100;

/// Local preference of an end that never moved. Each move counts up: a peer that is told of two nominated pairs takes the one of
/// higher priority (RFC 8445 §8.1.1), and the other one leads to a relay that is gone.
pub const PREFERENCE: u16 = 0x7fff;

/// Priority of the host candidate of component 1 (RFC 8445 §5.1.2.1).
#[must_use]
pub fn priority(preference: u16) -> u32 {
    126 << 24 | u32::from(preference) << 8 | 255
}

/// A candidate whose checks carry its own priority, not that of a peer-reflexive one (RFC 8445 §7.1.1): the first check often
/// overtakes the description, and libwebrtc checks no pair any more that it once found worse than the one in use.
fn insisting(address: SocketAddr, priority: u32) -> is::Candidate {
    let (foundation, kind) = (address.ip().to_string(), is::CandidateKind::Host);
    is::Candidate::from_parts(foundation, 1, Protocol::Udp, priority, address, kind, None, None, None)
}

/// Why an agent cannot work with what it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IceError {
    /// Unspecified, multicast or link-local.
    #[error("{0} cannot be a host candidate: give the address of an interface")]
    Address(SocketAddr),
    /// RFC 8839 §5.4: ufrag of 4 to 256 characters, pwd of 22 to 256.
    #[error("ufrag or pwd is shorter or longer than ICE allows")]
    Credentials,
}

/// A ufrag and its password (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// 4–256 ice-chars.
    pub ufrag: String,
    /// 22–256 ice-chars.
    pub pwd: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

impl Credentials {
    /// As ICE allows them.
    pub(crate) fn checked(&self) -> Result<IceCreds, IceError> {
        if !(4..=256).contains(&self.ufrag.len()) || !(22..=256).contains(&self.pwd.len()) {
            return Err(IceError::Credentials);
        }
        Ok(IceCreds { ufrag: self.ufrag.clone(), pass: self.pwd.clone() })
    }
}

/// Configuration of an agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ours, as signalled.
    pub credentials: Credentials,
    /// The addresses that our sockets are bound to: the `to` of [`Agent::receive`]. An address that a NAT maps them to is
    /// signalled by the caller and not named here.
    pub addresses: Vec<SocketAddr>,
    /// The Jingle initiator, the SIP offerer, and whoever meets a lite peer, controls (RFC 8445 §6.1.1).
    pub controlling: bool,
    /// Random; settles a conflict of roles.
    pub tie_breaker: u64,
    /// Local preference of the host candidate (RFC 8445 §5.1.2.1).
    pub preference: u16,
}

/// Where a path leads from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Our socket's address.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// From which socket to which peer.
    pub pair: Pair,
    /// Content.
    pub octets: Vec<u8>,
}

/// How an agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The peer's credentials are not known, or no pair worked yet.
    Checking,
    /// A pair is nominated and has consent.
    Connected,
    /// Consent is lost: nothing may be sent but checks. Comes back by itself when a check is answered again.
    Disconnected,
    /// Given up; only [`Agent::restart`] leads on.
    Unreachable,
}

/// The ICE agent of one component.
pub struct Agent {
    agent: IceAgent,
    clock: Clock,
    config: Config,
    state: State,
    pair: Option<Pair>,
    /// Where authentic checks came from.
    sources: Vec<SocketAddr>,
    /// Candidates of the peer, each address once; at most [`CANDIDATES`].
    candidates: Vec<(SocketAddr, CandidateKind)>,
    /// Checks that were sent to addresses from which nothing authentic came.
    unanswered: Vec<(SocketAddr, u8)>,
    denied: Arc<Denied>,
    /// Since when a pair is missing.
    since: Option<Time>,
    /// Checks that came before the peer's credentials.
    early: usize,
    /// After a restart: the agent before, which keeps its path, answers its checks and has its consent until this one has a path.
    former: Option<Box<Agent>>,
}

/// The ufrag of ours that a check is meant for: tells the ends behind one socket apart. Not authenticated.
#[must_use]
pub fn addressee(datagram: &[u8]) -> Option<&str> {
    let name = StunMessage::parse(datagram).ok().filter(StunMessage::is_binding_request)?.username()?;
    name.split_once(':').map(|(ours, _)| ours)
}

impl Agent {
    /// An agent at `now`; `base` is any moment of the standard clock that stands for it.
    ///
    /// # Errors
    /// [`IceError`]
    pub fn new(config: &Config, base: Instant, now: Time) -> Result<Agent, IceError> {
        Agent::begin(config, Clock::new(base, now), Arc::default())
    }

    /// Checks nothing in these networks.
    pub fn deny(&mut self, denied: &Arc<Denied>) {
        self.denied = denied.clone();
    }

    fn begin(config: &Config, clock: Clock, denied: Arc<Denied>) -> Result<Agent, IceError> {
        let mut agent = IceAgent::new(config.credentials.checked()?);
        agent.set_controlling(config.controlling);
        agent.set_control_tie_breaker(config.tie_breaker);
        agent.set_max_candidate_pairs(PAIRS);
        let preference = u32::from(config.preference);
        agent.set_local_preference(move |_: &is::Candidate, _: usize| preference);
        for address in &config.addresses {
            let host =
                is::Candidate::host(*address, Protocol::Udp).map_err(|_| IceError::Address(*address))?;
            let moved = config.preference > PREFERENCE;
            let insists = moved.then(|| insisting(*address, priority(config.preference)));
            agent.add_local_candidate(insists.unwrap_or(host));
        }
        Ok(Agent {
            agent,
            clock,
            config: config.clone(),
            state: State::Checking,
            pair: None,
            sources: vec![],
            candidates: vec![],
            unanswered: vec![],
            denied,
            since: None,
            early: 0,
            former: None,
        })
    }

    /// The peer's credentials and candidates are known: checks begin, those that came early are answered. Said again with
    /// the same credentials it only adds candidates. A lite peer never checks: we control, whoever offered.
    ///
    /// # Errors
    /// [`IceError::Credentials`]
    pub fn remote(&mut self, peer: &Ice, now: Time) -> Result<(), IceError> {
        let credentials = Credentials { ufrag: peer.ufrag.clone(), pwd: peer.pwd.clone() }.checked()?;
        if peer.lite && self.agent.remote_credentials().is_none() {
            self.agent.set_controlling(true);
        }
        self.agent.set_remote_credentials(credentials);
        self.since.get_or_insert(now);
        for candidate in &peer.candidates {
            self.add(candidate, now);
        }
        // One early check is answered at a time.
        for _ in 0..=std::mem::take(&mut self.early) {
            self.agent.handle_timeout(self.instant(now));
        }
        self.follow(now);
        Ok(())
    }

    /// Adds a candidate (trickle). Those of another component, those that policy refuses and those that are too many are passed over.
    pub fn add(&mut self, candidate: &Candidate, now: Time) {
        if candidate.component != 1 || self.denied.refuses(candidate.address, &self.config.addresses) {
            return;
        }
        // Each description names those of before again.
        if !self.candidates.iter().any(|(address, _)| *address == candidate.address) {
            if !self.has_room(candidate.kind) {
                return;
            }
            self.candidates.push((candidate.address, candidate.kind));
        }
        let kind = match candidate.kind {
            CandidateKind::Host => is::CandidateKind::Host,
            CandidateKind::ServerReflexive => is::CandidateKind::ServerReflexive,
            CandidateKind::PeerReflexive => is::CandidateKind::PeerReflexive,
            CandidateKind::Relayed => is::CandidateKind::Relayed,
        };
        self.agent.add_remote_candidate(is::Candidate::from_parts(
            candidate.foundation.clone(),
            1,
            Protocol::Udp,
            candidate.priority,
            candidate.address,
            kind,
            candidate.related,
            None,
            None,
        ));
        self.follow(now);
    }

    /// Returns true if the peer may name one more candidate of this kind.
    fn has_room(&self, kind: CandidateKind) -> bool {
        let hosts = self.candidates.iter().filter(|(_, kind)| *kind == CandidateKind::Host).count();
        self.candidates.len() < CANDIDATES && (kind != CandidateKind::Host || hosts < HOSTS)
    }

    /// New credentials of ours (RFC 8445 §9), the role stays. Media keeps to the old path, and checks under the old credentials are
    /// answered, until a new one works. [`Agent::remote`] follows.
    ///
    /// # Errors
    /// [`IceError::Credentials`]
    pub fn restart(&mut self, ours: &Credentials, now: Time) -> Result<(), IceError> {
        let config = Config {
            credentials: ours.clone(),
            addresses: self.config.addresses.clone(),
            controlling: self.agent.controlling(),
            ..self.config
        };
        let mut old = std::mem::replace(self, Agent::begin(&config, self.clock, self.denied.clone())?);
        self.since = Some(now);
        // Restarted once more before the last restart came to a path: the path is the one from before that.
        let before = old.former.take().filter(|_| old.state == State::Checking);
        self.former = before.or_else(|| (old.state != State::Unreachable).then(|| Box::new(old)));
        Ok(())
    }

    /// The ufrag of ours under which the path from before a restart is still there.
    #[must_use]
    pub fn former(&self) -> Option<&str> {
        self.former.as_ref().map(|former| former.config.credentials.ufrag.as_str())
    }

    /// A STUN message; true when it was authentic.
    pub fn receive(&mut self, datagram: &[u8], from: SocketAddr, to: SocketAddr, now: Time) -> bool {
        self.hear(datagram, from, to, now)
            || self.former.as_mut().is_some_and(|former| former.hear(datagram, from, to, now))
    }

    fn hear(&mut self, datagram: &[u8], from: SocketAddr, to: SocketAddr, now: Time) -> bool {
        let Ok(message) = StunMessage::parse(datagram) else { return false };
        let known = self.sources.contains(&from);
        if !known && self.sources.len() >= SOURCES {
            return false;
        }
        let request = message.is_binding_request();
        let early = request && self.agent.remote_credentials().is_none();
        let packet = StunPacket { proto: Protocol::Udp, source: from, destination: to, message };
        if !self.agent.handle_packet(self.instant(now), packet) {
            return false;
        }
        if early {
            self.early = (self.early + 1).min(100);
        } else if request {
            // `is` looks at what the check nominates only when time passes, up to 3 s later.
            self.agent.handle_timeout(self.instant(now));
        }
        if !known {
            self.sources.push(from);
            self.unanswered.retain(|(address, _)| *address != from);
        }
        self.follow(now);
        true
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        if let Some(former) = &mut self.former
            && former.deadline().is_some_and(|at| at <= now)
        {
            former.tick(now);
        }
        self.agent.handle_timeout(self.instant(now));
        self.follow(now);
    }

    /// When to [`Agent::tick`] next.
    #[must_use]
    pub fn deadline(&mut self) -> Option<Time> {
        let former = self.former.as_mut().and_then(|former| former.deadline());
        let patience = self.since.filter(|_| !matches!(self.state, State::Connected | State::Unreachable));
        let patience = patience.map(|since| since + self.patience());
        let checks = self.state != State::Unreachable && self.agent.remote_credentials().is_some();
        let next = checks.then(|| self.agent.poll_timeout()).flatten();
        let next = next.map(|at| self.clock.time(at));
        [former, patience, next].into_iter().flatten().min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Datagram> {
        while let Some(said) = self.agent.poll_transmit() {
            let octets: Vec<u8> = said.contents.into();
            if !octets.starts_with(&REQUEST) || self.may_check(said.destination) {
                return Some(Datagram {
                    pair: Pair { local: said.source, remote: said.destination },
                    octets,
                });
            }
        }
        self.former.as_mut()?.poll_transmit()
    }

    /// Counts a check; returns false for one too many to an address that may be anybody's.
    fn may_check(&mut self, to: SocketAddr) -> bool {
        if self.sources.contains(&to) {
            return true;
        }
        let place = self.unanswered.iter().position(|(address, _)| *address == to);
        let place = place.unwrap_or_else(|| {
            self.unanswered.push((to, 0));
            self.unanswered.len() - 1
        });
        let Some((_, checks)) = self.unanswered.get_mut(place) else { return false };
        *checks = checks.saturating_add(1);
        *checks <= UNANSWERED
    }

    /// How it stands; while a restart has no path yet, how the old path does.
    #[must_use]
    pub fn state(&self) -> State {
        let old = self.former.as_ref().filter(|_| self.state == State::Checking).map(|former| former.state);
        old.filter(|old| *old != State::Unreachable).unwrap_or(self.state)
    }

    /// Where media goes: the nominated pair while it has consent.
    #[must_use]
    pub fn pair(&self) -> Option<Pair> {
        let own = self.pair.filter(|_| self.state == State::Connected);
        own.or_else(|| self.former.as_ref()?.pair())
    }

    /// A check of ours to this address was answered.
    #[must_use]
    pub fn is_valid(&self, remote: SocketAddr) -> bool {
        self.pair.is_some_and(|pair| pair.remote == remote)
            || self.agent.has_viable_remote_candidate(remote)
            || self.former.as_ref().is_some_and(|former| former.is_valid(remote))
    }

    /// An authentic check or answer came from this address.
    #[must_use]
    pub fn is_known(&self, remote: SocketAddr) -> bool {
        self.sources.contains(&remote) || self.former.as_ref().is_some_and(|former| former.is_known(remote))
    }

    fn patience(&self) -> u64 {
        if self.state == State::Disconnected { LOST } else { NEVER }
    }

    fn instant(&self, now: Time) -> Instant {
        self.clock.instant(now)
    }

    /// Takes what the agent tells and settles the state.
    fn follow(&mut self, now: Time) {
        while let Some(event) = self.agent.poll_event() {
            if let IceAgentEvent::NominatedSend { source, destination, .. } = event {
                self.pair = Some(Pair { local: source, remote: destination });
            }
        }
        if self.agent.state().is_connected() && self.pair.is_some() {
            if self.state != State::Unreachable {
                (self.state, self.since, self.former) = (State::Connected, None, None);
            }
            return;
        }
        let overdue = self.since.is_some_and(|since| now.since(since) >= self.patience());
        match self.state {
            State::Connected => {
                // All pairs are gone by now; new ones of the same candidates find a peer that comes back.
                self.agent.recreate_candidate_pairs();
                (self.state, self.since) = (State::Disconnected, Some(now));
            }
            State::Checking | State::Disconnected if overdue => {
                (self.state, self.former) = (State::Unreachable, None);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
