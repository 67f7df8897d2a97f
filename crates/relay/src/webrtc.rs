//! An end that speaks ICE and DTLS-SRTP: what a Jingle client, or a browser behind SIP, has at its side.
//!
//! One rule: nothing is believed that is not authenticated. STUN by its password, DTLS by address (a pair that ICE validated) and
//! fingerprint, media by its tag; all else is dropped and counted. [`Transport::receive`] takes every datagram; [`Transport::protect`]
//! readies one for the peer; whatever else is to be sent comes from [`Transport::poll_transmit`]. Call [`Transport::tick`] at
//! [`Transport::deadline`], which every call may change.

use crate::dtls::{Certificate, DtlsError, Engine, Keys, Outcome, Role};
use crate::ice::{Agent, Config, Credentials, Datagram, IceError, Pair, State};
use crate::network::Denied;
use crate::packet::{self, Class};
use crate::srtp::{Context, Index, SrtpError, Suite};
use signal::Time;
use signal::media::{Candidate, Dtls, Fingerprint, Ice};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// DTLS datagrams kept that came before DTLS could take them: the peer's path may work before ours is known to.
const EARLY: usize = 8;
/// They are kept so long, ms.
const EARLY_FOR: u64 = 5_000;
/// Octets of a datagram worth keeping.
const EARLY_OCTETS: usize = 2_048;
/// Time after which an association is let go whose peer has sent no DTLS, but media: the keys are all that it needs, ms. A peer that
/// lacks our last flight repeats its own sooner.
const QUIET: u64 = 1_000;
/// Silence after which a peer has said goodbye that sent DTLS when the association was let go, ms. Its answers to our checks of consent
/// come more often.
const GOODBYE: u64 = 10_000;
/// Time for which what was on its way when the peer said goodbye may arrive, ms.
const IN_FLIGHT: u64 = 200;
/// Type of a Binding indication (RFC 8489 §5).
const INDICATION: [u8; 2] = [0x00, 0x11];
/// Events not yet polled; further ones are not told.
const EVENTS: usize = 16;

/// Why an end cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Addresses or credentials.
    #[error(transparent)]
    Ice(#[from] IceError),
    /// Certificate or library.
    #[error(transparent)]
    Dtls(#[from] DtlsError),
    /// Keys of the wrong length.
    #[error(transparent)]
    Srtp(#[from] SrtpError),
}

/// Kind of a datagram that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// An RTP packet, decrypted: so many octets from the front of the buffer.
    Rtp(usize),
    /// An RTCP packet, decrypted: so many octets from the front of the buffer.
    Rtcp(usize),
    /// STUN, DTLS, or dropped. There may be datagrams to send and events to hear now.
    Nothing,
}

/// Change of a transport's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// Path and keys are there: media flows both ways. Told again after a change of keys.
    Connected {
        /// The profile chosen.
        suite: Suite,
    },
    /// Consent is lost: nothing is sent any more (RFC 7675 §5.1). [`TransportEvent::Restored`] or [`TransportEvent::Unreachable`] follows.
    Disconnected,
    /// A path works again; the keys are the old ones.
    Restored,
    /// No path within [`NEVER`](crate::ice::NEVER), none again within [`LOST`](crate::ice::LOST), or no DTLS association on it. Only a restart helps.
    Unreachable,
    /// The peer's certificate is not the one signalled. No key was made.
    Insecure,
    /// The peer ended the association.
    Closed,
}

/// Datagrams dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Neither STUN, DTLS, RTP nor RTCP, or cut short.
    pub malformed: u64,
    /// STUN that is not the peer's, DTLS from an address that is not.
    pub stranger: u64,
    /// Media before there are keys.
    pub early: u64,
    /// Media whose tag does not fit.
    pub forged: u64,
    /// Media seen before.
    pub replayed: u64,
}

/// An association as it stands: what must outlive a relay (interworking §12.2), and what another one goes on with. Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Association {
    /// Our DTLS role.
    pub role: Role,
    /// The peer's, as signalled.
    pub fingerprints: Vec<Fingerprint>,
    /// Of both directions.
    pub keys: Keys,
    /// How far each source got that we send.
    pub outward: Vec<Index>,
    /// How far each source got that we receive.
    pub inward: Vec<Index>,
}

impl std::fmt::Debug for Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Association").field("role", &self.role).finish_non_exhaustive()
    }
}

/// Keys in use.
struct Contexts {
    outward: Context,
    inward: Context,
}

/// One ICE + DTLS-SRTP end: one component, RTCP muxed.
pub struct Transport {
    ice: Agent,
    certificate: Certificate,
    /// The peer's role and fingerprints, once known.
    peer: Option<(Role, Vec<Fingerprint>)>,
    /// The association, until it is let go; an end that goes on with another relay's keys has none.
    dtls: Option<Box<Engine>>,
    /// Time at which the association is let go, if the peer is known to have the keys by then.
    quiet: Option<Time>,
    /// True once something was opened with the keys: the peer has them, too.
    proven: bool,
    /// Time of the first DTLS datagram that came after the association was let go: a close_notify, most likely.
    goodbye: Option<Time>,
    /// True after the peer has closed the association: none is begun anew.
    over: bool,
    /// Where DTLS goes while no pair is nominated: where it last came from.
    reply: Option<Pair>,
    keys: Option<Keys>,
    contexts: Option<Contexts>,
    early: VecDeque<(Time, Pair, Vec<u8>)>,
    events: VecDeque<TransportEvent>,
    told: State,
    /// [`TransportEvent::Connected`] was told of the keys in use.
    announced: bool,
    dropped: Dropped,
}

impl Transport {
    /// An end that knows itself and waits for [`Transport::remote`]. `base` is any moment of the standard clock that stands for `now`.
    ///
    /// # Errors
    /// [`TransportError::Ice`]
    pub fn new(
        config: &Config,
        certificate: &Certificate,
        base: Instant,
        now: Time,
    ) -> Result<Transport, TransportError> {
        Ok(Transport {
            ice: Agent::new(config, base, now)?,
            certificate: certificate.clone(),
            peer: None,
            dtls: None,
            quiet: None,
            proven: false,
            goodbye: None,
            over: false,
            reply: None,
            keys: None,
            contexts: None,
            early: VecDeque::new(),
            events: VecDeque::new(),
            told: State::Checking,
            announced: false,
            dropped: Dropped::default(),
        })
    }

    /// Sends no check to these networks.
    #[must_use]
    pub fn with_denied(mut self, denied: &Arc<Denied>) -> Transport {
        self.ice.deny(denied);
        self
    }

    /// Takes the peer's description. Said again it adds candidates; credentials that differ belong to a restart
    /// ([`Transport::restart`] comes first); fingerprints that the peer of the association does not have mean a new association
    /// (RFC 8842 §5.5). The role stays what it was for the life of an association.
    ///
    /// # Errors
    /// [`TransportError`]
    pub fn remote(&mut self, ice: &Ice, dtls: &Dtls, now: Time) -> Result<(), TransportError> {
        let role = match &self.peer {
            // A later offer says actpass again and means no change.
            Some((role, _)) if dtls.setup == signal::media::Setup::ActPass => *role,
            _ => Role::facing(dtls.setup),
        };
        let changed = self.peer.as_ref().is_some_and(|(was, fingerprints)| {
            *was != role || !fingerprints.iter().any(|f| dtls.fingerprints.contains(f))
        });
        if changed {
            (self.dtls, self.keys, self.contexts) = (None, None, None);
            (self.quiet, self.goodbye, self.announced, self.over) = (None, None, false, false);
        }
        self.peer = Some((role, dtls.fingerprints.clone()));
        self.ice.remote(ice, now)?;
        self.follow(now);
        Ok(())
    }

    /// One more candidate of the peer (trickle).
    pub fn candidate(&mut self, candidate: &Candidate, now: Time) {
        self.ice.add(candidate, now);
        self.follow(now);
    }

    /// New ICE credentials of ours; the association and its keys stay, media keeps to the old path until another works, and the
    /// peer's checks of that are answered.
    /// [`Transport::remote`] with the peer's new ones follows.
    ///
    /// # Errors
    /// [`TransportError::Ice`]
    pub fn restart(&mut self, ours: &Credentials, now: Time) -> Result<(), TransportError> {
        self.ice.restart(ours, now)?;
        self.told = self.ice.state();
        Ok(())
    }

    /// The ufrag of ours from before a restart, until that has come to a path.
    #[must_use]
    pub fn former(&self) -> Option<&str> {
        self.ice.former()
    }

    /// Takes a datagram that came `from` the network on our socket `to`; media is decrypted in place, without an allocation.
    pub fn receive(&mut self, datagram: &mut [u8], from: SocketAddr, to: SocketAddr, now: Time) -> Received {
        match packet::classify(datagram) {
            Class::Rtp => self.open(datagram, now, Received::Rtp, Context::unprotect),
            Class::Rtcp => self.open(datagram, now, Received::Rtcp, Context::unprotect_rtcp),
            Class::Stun => {
                // An indication only keeps NATs open (RFC 8445 §11): nobody has to be known for that.
                if self.ice.receive(datagram, from, to, now) {
                    self.note_alive(now);
                } else if !datagram.starts_with(&INDICATION) {
                    self.dropped.stranger += 1;
                }
                self.follow(now);
                Received::Nothing
            }
            Class::Dtls => {
                self.handshake(datagram, Pair { local: to, remote: from }, now);
                Received::Nothing
            }
            Class::Other => {
                self.dropped.malformed += 1;
                Received::Nothing
            }
        }
    }

    /// Protects the RTP packet in the first `length` octets of `buffer`, which has [`crate::srtp::ROOM`] behind it, in place and
    /// without an allocation: the new length and where to send it. `None` while there are no keys, no path or no consent.
    pub fn protect(&mut self, buffer: &mut [u8], length: usize) -> Option<(usize, Pair)> {
        let pair = self.ice.pair()?;
        Some((self.contexts.as_mut()?.outward.protect(buffer, length).ok()?, pair))
    }

    /// [`Transport::protect`] for a compound RTCP packet.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Option<(usize, Pair)> {
        let pair = self.ice.pair()?;
        Some((self.contexts.as_mut()?.outward.protect_rtcp(buffer, length).ok()?, pair))
    }

    /// The next STUN or DTLS datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Datagram> {
        if let Some(datagram) = self.ice.poll_transmit() {
            return Some(datagram);
        }
        // Without consent nothing goes out, not even DTLS.
        let pair = self.ice.pair().or(self.reply.filter(|_| self.ice.state() == State::Checking))?;
        Some(Datagram { pair, octets: self.dtls.as_mut()?.poll()? })
    }

    /// The next thing that became of it.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// When to [`Transport::tick`] next.
    #[must_use]
    pub fn deadline(&mut self) -> Option<Time> {
        let dtls = self.dtls.as_ref().and_then(|dtls| dtls.deadline());
        let goodbye = self.goodbye.map(|at| at + GOODBYE);
        [self.ice.deadline(), dtls, self.quiet, goodbye].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        if self.ice.deadline().is_some_and(|at| at <= now) {
            self.ice.tick(now);
        }
        let outcome = match &mut self.dtls {
            Some(dtls) if dtls.deadline().is_some_and(|at| at <= now) => dtls.tick(now),
            _ => None,
        };
        self.apply(outcome, now);
        if self.quiet.is_some_and(|at| at <= now) {
            // A peer that never spoke may lack our last flight, and repeats its own.
            self.quiet = (!self.proven).then(|| now + QUIET);
            self.dtls = self.dtls.take().filter(|_| !self.proven);
        }
        if self.goodbye.is_some_and(|at| now.since(at) >= GOODBYE) {
            self.apply(Some(Outcome::Closed), now);
        }
        self.follow(now);
    }

    /// Says goodbye (close_notify): poll once more, then drop the end. A peer whose association was let go hears of it by signalling.
    pub fn close(&mut self) {
        if let Some(dtls) = &mut self.dtls {
            dtls.close();
        }
    }

    /// Where media goes, while it may.
    #[must_use]
    pub fn pair(&self) -> Option<Pair> {
        self.ice.pair().filter(|_| self.contexts.is_some())
    }

    /// An authentic check, or answer to one, came from this address: what else comes from there is this end's.
    #[must_use]
    pub fn knows(&self, remote: SocketAddr) -> bool {
        self.ice.is_known(remote)
    }

    /// Datagrams dropped so far.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// The keys in use. Secret.
    #[must_use]
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Returns the state that another relay needs to go on; `None` before there are keys.
    #[must_use]
    pub fn association(&self) -> Option<Association> {
        let (role, fingerprints) = self.peer.clone()?;
        let contexts = self.contexts.as_ref()?;
        Some(Association {
            role,
            fingerprints,
            keys: self.keys.clone()?,
            outward: contexts.outward.indices().collect(),
            inward: contexts.inward.indices().collect(),
        })
    }

    /// Goes on with an association that another relay made (R-RTP-16): no handshake is run, media flows once a path works.
    /// `outward` must be beyond anything that relay may have sent. [`Transport::remote`] follows.
    ///
    /// # Errors
    /// [`TransportError::Srtp`]
    pub fn resume(&mut self, association: Association) -> Result<(), TransportError> {
        let Association { role, fingerprints, keys, outward, inward } = association;
        let (mut out, mut r#in) = keys.contexts()?;
        outward.iter().try_for_each(|index| out.resume(*index))?;
        inward.iter().try_for_each(|index| r#in.resume(*index))?;
        self.contexts = Some(Contexts { outward: out, inward: r#in });
        self.peer = Some((role, fingerprints));
        (self.keys, self.dtls, self.announced) = (Some(keys), None, false);
        (self.quiet, self.goodbye, self.over) = (None, None, false);
        Ok(())
    }

    fn open(
        &mut self,
        datagram: &mut [u8],
        now: Time,
        was: fn(usize) -> Received,
        open: fn(&mut Context, &mut [u8]) -> Result<usize, SrtpError>,
    ) -> Received {
        let Some(contexts) = &mut self.contexts else {
            self.dropped.early += 1;
            return Received::Nothing;
        };
        match open(&mut contexts.inward, datagram) {
            Ok(length) => {
                self.proven = true;
                self.note_alive(now);
                return was(length);
            }
            Err(SrtpError::Forged) => self.dropped.forged += 1,
            Err(SrtpError::Replayed) => self.dropped.replayed += 1,
            Err(_) => self.dropped.malformed += 1,
        }
        Received::Nothing
    }

    fn handshake(&mut self, datagram: &[u8], pair: Pair, now: Time) {
        if !self.ice.is_known(pair.remote) && !self.ice.is_valid(pair.remote) {
            self.dropped.stranger += 1;
            return;
        }
        if !self.ice.is_valid(pair.remote) || self.peer.is_none() {
            if datagram.len() <= EARLY_OCTETS && self.early.len() < EARLY {
                self.early.push_back((now, pair, datagram.to_vec()));
            }
            return;
        }
        self.reply = Some(pair);
        self.begin(now);
        let Some(dtls) = &mut self.dtls else {
            // Most likely a close_notify. The key that would tell is gone with the association, so silence must confirm it.
            self.goodbye = self.goodbye.or(Some(now));
            return;
        };
        let outcome = dtls.receive(datagram, now);
        self.quiet = self.quiet.map(|_| now + QUIET);
        self.apply(outcome, now);
        self.announce();
    }

    /// Notes that something authentic came: the peer has not said goodbye.
    fn note_alive(&mut self, now: Time) {
        self.goodbye = self.goodbye.filter(|at| now.since(*at) <= IN_FLIGHT);
    }

    /// Starts the association if there is none.
    fn begin(&mut self, now: Time) {
        // Keys without an association are those of another relay.
        let (None, None, Some((role, fingerprints))) = (&self.dtls, &self.keys, &self.peer) else { return };
        if self.over {
            return;
        }
        match Engine::new(&self.certificate, *role, fingerprints, now) {
            Ok(engine) => self.dtls = Some(Box::new(engine)),
            Err(_) => self.tell(TransportEvent::Unreachable),
        }
    }

    fn apply(&mut self, outcome: Option<Outcome>, now: Time) {
        match outcome {
            None => {}
            Some(Outcome::Keys(keys)) => match keys.contexts() {
                Ok((outward, inward)) => {
                    self.contexts = Some(Contexts { outward, inward });
                    self.keys = Some(keys);
                    (self.quiet, self.proven, self.announced) = (Some(now + QUIET), false, false);
                }
                Err(_) => self.tell(TransportEvent::Unreachable),
            },
            Some(Outcome::Insecure) => self.tell(TransportEvent::Insecure),
            Some(Outcome::Failed) => self.tell(TransportEvent::Unreachable),
            Some(Outcome::Closed) => {
                (self.keys, self.contexts) = (None, None);
                (self.quiet, self.goodbye, self.over) = (None, None, true);
                self.tell(TransportEvent::Closed);
            }
        }
    }

    /// Does what a change of the path allows, and tells it.
    fn follow(&mut self, now: Time) {
        while self.early.front().is_some_and(|(at, ..)| now.since(*at) > EARLY_FOR) {
            self.early.pop_front();
        }
        if self.peer.is_some() && self.early.iter().any(|(_, pair, _)| self.ice.is_valid(pair.remote)) {
            for (_, pair, datagram) in std::mem::take(&mut self.early) {
                self.handshake(&datagram, pair, now);
            }
        }
        if self.ice.pair().is_some() {
            self.begin(now);
        }
        let state = self.ice.state();
        let was = std::mem::replace(&mut self.told, state);
        match (was, state) {
            (State::Connected, State::Disconnected) => self.tell(TransportEvent::Disconnected),
            (was, State::Connected) if was != State::Connected && self.announced => {
                self.tell(TransportEvent::Restored)
            }
            (was, State::Unreachable) if was != State::Unreachable => self.tell(TransportEvent::Unreachable),
            _ => {}
        }
        self.announce();
    }

    /// Path and keys may come in either order.
    fn announce(&mut self) {
        if let (false, Some(_), Some(keys)) = (self.announced, self.ice.pair(), &self.keys) {
            let suite = keys.suite;
            self.announced = true;
            self.tell(TransportEvent::Connected { suite });
        }
    }

    fn tell(&mut self, event: TransportEvent) {
        if self.events.len() < EVENTS {
            self.events.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests;
