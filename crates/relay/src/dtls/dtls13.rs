//! The engine for DTLS 1.3 (RFC 9147), as the server of a client that offers it; over the `dimpl` crate.
//!
//! Its certificates are ECDSA alone, as those of all peers that know DTLS 1.3 are.

use super::certificate::matches;
use super::{Certificate, DEADLINE, DtlsError, Engine, Keys, MTU, Outcome, QUEUE, Role};
use crate::clock::Clock;
use crate::srtp::Suite;
use dimpl::{Config, Dtls, Output, SrtpProfile};
use openssl::x509::X509;
use signal::Time;
use signal::media::Fingerprint;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Octets of the largest thing that is polled: a certificate.
const LARGEST: usize = 4_096;
/// Things polled after one step at most.
const STEPS: usize = 64;
/// The first repetition of a flight, as with the other engine.
const REPETITION: Duration = Duration::from_millis(200);
/// Repetitions: 0.2, 0.6, 1.4, 3, 6.2 and 12.6 s after the flight.
const REPETITIONS: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake { until: Time },
    Open,
    Over,
}

/// An association of DTLS 1.3.
pub struct Dtls13 {
    dtls: Dtls,
    role: Role,
    fingerprints: Vec<Fingerprint>,
    clock: Clock,
    phase: Phase,
    /// The peer showed a certificate that has one of the fingerprints.
    vouched: bool,
    timer: Option<Time>,
    outward: VecDeque<Vec<u8>>,
}

impl Dtls13 {
    /// Begins an association at `now`; `base` is any moment of the standard clock that stands for it. `fingerprints` are the peer's.
    ///
    /// # Errors
    /// [`DtlsError::Library`]
    pub fn new(
        certificate: &Certificate,
        role: Role,
        fingerprints: &[Fingerprint],
        base: Instant,
        now: Time,
    ) -> Result<Dtls13, DtlsError> {
        Dtls13::on(Clock::new(base, now), certificate, role, fingerprints, now)
    }

    pub(super) fn on(
        clock: Clock,
        certificate: &Certificate,
        role: Role,
        fingerprints: &[Fingerprint],
        now: Time,
    ) -> Result<Dtls13, DtlsError> {
        let mut dtls = Dtls::new_13(config()?, certificate.der()?, clock.instant(now));
        dtls.set_active(role == Role::Client);
        let mut engine = Dtls13 {
            dtls,
            role,
            fingerprints: fingerprints.to_vec(),
            clock,
            phase: Phase::Handshake { until: now + DEADLINE },
            vouched: false,
            timer: None,
            outward: VecDeque::new(),
        };
        // Nothing can come of it but a hello: the peer has said nothing yet.
        let _ = engine.step(None, now);
        Ok(engine)
    }

    fn step(&mut self, datagram: Option<&[u8]>, now: Time) -> Option<Outcome> {
        let went = self.dtls.handle_timeout(self.clock.instant(now)).is_ok()
            && datagram.is_none_or(|datagram| self.dtls.handle_packet(datagram).is_ok());
        let outcome = self.follow();
        match (outcome, self.phase) {
            (Some(outcome), _) => Some(outcome),
            (None, Phase::Handshake { until }) if !went || now >= until => Some(self.over(Outcome::Failed)),
            (None, Phase::Open) if !went => Some(self.over(Outcome::Closed)),
            (None, _) => None,
        }
    }

    /// Takes all that a step gave.
    fn follow(&mut self) -> Option<Outcome> {
        let mut buffer = [0u8; LARGEST];
        let mut outcome = None;
        for _ in 0..STEPS {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(datagram) if self.outward.len() < QUEUE => {
                    self.outward.push_back(datagram.to_vec());
                }
                Output::PeerCert(certificate) => {
                    let known = X509::from_der(certificate);
                    self.vouched = known.is_ok_and(|known| matches(&known, &self.fingerprints));
                    if !self.vouched {
                        return Some(self.over(Outcome::Insecure));
                    }
                }
                // No key of a peer that nobody vouches for.
                Output::KeyingMaterial(material, profile) if self.vouched => {
                    match suite(profile).and_then(|suite| Keys::of(suite, &material, self.role)) {
                        Some(keys) => {
                            self.phase = Phase::Open;
                            outcome = Some(Outcome::Keys(keys));
                        }
                        None => return Some(self.over(Outcome::Failed)),
                    }
                }
                Output::CloseNotify => return Some(self.over(Outcome::Closed)),
                Output::Timeout(at) => {
                    self.timer = Some(self.clock.time(at));
                    return outcome;
                }
                // The rest of a certificate that has no end, data that has no meaning here.
                Output::BufferTooSmall { .. } => return Some(self.over(Outcome::Failed)),
                _ => {}
            }
        }
        outcome
    }

    fn over(&mut self, outcome: Outcome) -> Outcome {
        self.phase = Phase::Over;
        outcome
    }
}

fn config() -> Result<Arc<Config>, DtlsError> {
    static CONFIG: OnceLock<Option<Arc<Config>>> = OnceLock::new();
    let make = || {
        let config = Config::builder()
            .mtu(MTU as usize)
            .max_queue_rx(QUEUE)
            .max_queue_tx(QUEUE)
            // The peer's address was checked by ICE: a cookie would only cost a round trip.
            .use_server_cookie(false)
            .flight_start_rto(REPETITION)
            .flight_retries(REPETITIONS)
            .handshake_timeout(Duration::from_millis(DEADLINE));
        config.build().ok().map(Arc::new)
    };
    CONFIG.get_or_init(make).clone().ok_or(DtlsError::Version)
}

fn suite(profile: SrtpProfile) -> Option<Suite> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(Suite::AesCm128Sha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(Suite::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Suite::AeadAes256Gcm),
        _ => None,
    }
}

impl Engine for Dtls13 {
    fn receive(&mut self, datagram: &[u8], now: Time) -> Option<Outcome> {
        if self.phase == Phase::Over { None } else { self.step(Some(datagram), now) }
    }

    fn tick(&mut self, now: Time) -> Option<Outcome> {
        if self.phase == Phase::Over { None } else { self.step(None, now) }
    }

    fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Handshake { until } => Some(self.timer.map_or(until, |timer| timer.min(until))),
            // Final flights are repeated when the peer repeats its own.
            Phase::Open | Phase::Over => None,
        }
    }

    fn poll(&mut self) -> Option<Vec<u8>> {
        self.outward.pop_front()
    }

    fn close(&mut self) {
        if self.phase == Phase::Open && self.dtls.close().is_ok() {
            let _ = self.follow();
        }
        self.phase = Phase::Over;
    }
}
