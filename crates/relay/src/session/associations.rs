//! DTLS-SRTP at ports (RFC 5763 without ICE): an association for RTP and, unless RTCP goes along with it, one for RTCP (RFC 5764 §3).
//!
//! One rule: whoever is heard at the port decides nothing but who it is; the fingerprint decides whether there are keys. A first
//! packet of DTLS comes from where media may come from, and goes to where media goes.

use super::types::Refusal;
use crate::dtls::{Certificate, Engine, Keys, Outcome, Role};
use crate::packet::Class;
use crate::srtp::{Context, SrtpError, Suite};
use crate::webrtc::Association;
use signal::Time;
use signal::media::{Dtls, Fingerprint, Setup};
use std::net::SocketAddr;

/// The associations of an end.
pub(super) struct Associations {
    certificate: Certificate,
    role: Role,
    fingerprints: Vec<Fingerprint>,
    rtp: Channel,
    rtcp: Channel,
}

/// One association and its keys.
#[derive(Default)]
struct Channel {
    engine: Option<Box<Engine>>,
    keys: Option<Keys>,
    /// Outward, inward.
    contexts: Option<(Context, Context)>,
    /// Where DTLS last came from.
    reply: Option<SocketAddr>,
    /// True after it failed or was closed: only another description begins it anew.
    over: bool,
}

/// Change of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There are keys.
    Keyed,
    /// The peer is not the one described.
    Insecure,
    /// There will be no keys.
    Failed,
    /// The peer closed it.
    Closed,
}

impl std::fmt::Debug for Associations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Associations").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Channel {
    fn begin(&mut self, certificate: &Certificate, role: Role, peer: &[Fingerprint], now: Time) {
        if self.engine.is_none() && self.keys.is_none() && !self.over {
            match Engine::new(certificate, role, peer, now) {
                Ok(engine) => self.engine = Some(Box::new(engine)),
                Err(_) => self.over = true,
            }
        }
    }

    fn apply(&mut self, outcome: Option<Outcome>) -> Option<Change> {
        let change = match outcome? {
            Outcome::Keys(keys) => match keys.contexts() {
                Ok(contexts) => {
                    (self.keys, self.contexts) = (Some(keys), Some(contexts));
                    return Some(Change::Keyed);
                }
                Err(_) => Change::Failed,
            },
            Outcome::Insecure => Change::Insecure,
            Outcome::Failed => Change::Failed,
            Outcome::Closed => {
                (self.keys, self.contexts) = (None, None);
                Change::Closed
            }
        };
        self.over = true;
        Some(change)
    }
}

impl Associations {
    /// Associations with the peer that is described; none is begun yet. `kept`: of RTP, at another relay.
    pub fn new(certificate: &Certificate, dtls: &Dtls, kept: Option<Association>) -> Result<Self, Refusal> {
        let mut associations = Associations {
            certificate: certificate.clone(),
            role: Role::facing(dtls.setup),
            fingerprints: dtls.fingerprints.clone(),
            rtp: Channel::default(),
            rtcp: Channel::default(),
        };
        if let Some(Association { role, fingerprints, keys, outward, inward }) = kept {
            let fault = |error: SrtpError| Refusal::Dtls(error.to_string());
            let (mut out, mut r#in) = keys.contexts().map_err(fault)?;
            outward.iter().try_for_each(|index| out.resume(*index)).map_err(fault)?;
            inward.iter().try_for_each(|index| r#in.resume(*index)).map_err(fault)?;
            (associations.role, associations.fingerprints) = (role, fingerprints);
            (associations.rtp.keys, associations.rtp.contexts) = (Some(keys), Some((out, r#in)));
            associations.describe(dtls, false);
        }
        Ok(associations)
    }

    /// Takes a further description. Another role, a fingerprint that the peer did not have, or another address mean new associations
    /// (RFC 5763 §6.6, RFC 8842 §5.5).
    pub fn describe(&mut self, dtls: &Dtls, moved: bool) {
        // A later offer says actpass again and means no change.
        let role = if dtls.setup == Setup::ActPass { self.role } else { Role::facing(dtls.setup) };
        let known = self.fingerprints.iter().any(|print| dtls.fingerprints.contains(print));
        if moved || role != self.role || !known {
            (self.rtp, self.rtcp) = (Channel::default(), Channel::default());
        }
        (self.role, self.fingerprints) = (role, dtls.fingerprints.clone());
    }

    /// Says the first word where that is ours to say.
    pub fn begin(&mut self, mux: bool, now: Time) {
        if self.role != Role::Client {
            return;
        }
        self.rtp.begin(&self.certificate, self.role, &self.fingerprints, now);
        if !mux {
            self.rtcp.begin(&self.certificate, self.role, &self.fingerprints, now);
        }
    }

    /// Takes a datagram that came to the port of RTP or of RTCP from a host that may send there.
    pub fn receive(&mut self, rtp: bool, from: SocketAddr, datagram: &[u8], now: Time) -> Option<Change> {
        let channel = if rtp { &mut self.rtp } else { &mut self.rtcp };
        channel.begin(&self.certificate, self.role, &self.fingerprints, now);
        channel.reply = Some(from);
        let outcome = channel.engine.as_mut()?.receive(datagram, now);
        let change = channel.apply(outcome);
        // Without keys of its own RTCP is lost, and nothing else is.
        change.filter(|change| rtp || *change == Change::Insecure)
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Time) -> Option<Change> {
        let mut changes = [&mut self.rtp, &mut self.rtcp].map(|channel| {
            let engine =
                channel.engine.as_mut().filter(|engine| engine.deadline().is_some_and(|at| at <= now));
            let outcome = engine.and_then(|engine| engine.tick(now));
            channel.apply(outcome)
        });
        changes[0].take()
    }

    pub fn deadline(&self) -> Option<Time> {
        let engines = [&self.rtp, &self.rtcp].map(|channel| channel.engine.as_ref());
        engines.into_iter().flatten().filter_map(|engine| engine.deadline()).min()
    }

    /// Returns the next datagram to send: by the port of RTP, where DTLS came from to that port, and its octets.
    pub fn poll(&mut self) -> Option<(bool, Option<SocketAddr>, Vec<u8>)> {
        for (rtp, channel) in [(true, &mut self.rtp), (false, &mut self.rtcp)] {
            if let Some(octets) = channel.engine.as_mut().and_then(|engine| engine.poll()) {
                return Some((rtp, channel.reply, octets));
            }
        }
        None
    }

    pub fn suite(&self) -> Option<Suite> {
        self.rtp.keys.as_ref().map(|keys| keys.suite)
    }

    /// Returns the state of RTP's association that must outlive a relay.
    pub fn state(&self) -> Option<Association> {
        let (outward, inward) = self.rtp.contexts.as_ref()?;
        Some(Association {
            role: self.role,
            fingerprints: self.fingerprints.clone(),
            keys: self.rtp.keys.clone()?,
            outward: outward.indices().collect(),
            inward: inward.indices().collect(),
        })
    }

    fn channel(&mut self, class: Class, mux: bool) -> &mut Channel {
        if class == Class::Rtcp && !mux { &mut self.rtcp } else { &mut self.rtp }
    }

    /// Opens a packet of the peer's in place.
    pub fn open(&mut self, class: Class, mux: bool, packet: &mut [u8]) -> Option<usize> {
        let (_, inward) = self.channel(class, mux).contexts.as_mut()?;
        match class {
            Class::Rtcp => inward.unprotect_rtcp(packet).ok(),
            _ => inward.unprotect(packet).ok(),
        }
    }

    /// Protects a packet for the peer in place.
    pub fn seal(&mut self, class: Class, mux: bool, buffer: &mut [u8], length: usize) -> Option<usize> {
        let (outward, _) = self.channel(class, mux).contexts.as_mut()?;
        match class {
            Class::Rtcp => outward.protect_rtcp(buffer, length).ok(),
            _ => outward.protect(buffer, length).ok(),
        }
    }
}
