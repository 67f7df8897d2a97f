//! Which engine runs an association. A client begins with OpenSSL: the key type of a peer stands in no description, and every
//! peer takes DTLS 1.2. A server waits for the peer's first flight and serves DTLS 1.3 to a client that offers it.

use super::{Certificate, DEADLINE, Dtls13, DtlsError, Engine, OpenSsl, Outcome, Role};
use crate::clock::Clock;
use signal::Time;
use signal::media::Fingerprint;

/// Handshake record, ClientHello, extension `supported_versions`, DTLS 1.3 (RFC 9147 §5.3).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SUPPORTED_VERSIONS: u16 = 43;
const DTLS_1_3: u16 = 0xfefc;

/// One DTLS association, whichever engine runs it.
pub(crate) struct AnyEngine(State);

enum State {
    /// A server that has heard nothing yet.
    Waiting {
        certificate: Certificate,
        fingerprints: Vec<Fingerprint>,
        clock: Clock,
        until: Option<Time>,
    },
    OpenSsl(OpenSsl),
    Dtls13(Box<Dtls13>),
}

impl AnyEngine {
    /// Begins at `now`; a client's hello can be polled at once. `fingerprints` are the peer's.
    ///
    /// # Errors
    /// [`DtlsError`]
    pub fn new(
        certificate: &Certificate,
        role: Role,
        fingerprints: &[Fingerprint],
        clock: Clock,
        now: Time,
    ) -> Result<AnyEngine, DtlsError> {
        Ok(AnyEngine(match role {
            Role::Client => State::OpenSsl(OpenSsl::new(certificate, role, fingerprints, now)?),
            Role::Server => State::Waiting {
                certificate: certificate.clone(),
                fingerprints: fingerprints.to_vec(),
                clock,
                until: Some(now + DEADLINE),
            },
        }))
    }

    fn engine(&mut self) -> Option<&mut dyn Engine> {
        match &mut self.0 {
            State::Waiting { .. } => None,
            State::OpenSsl(engine) => Some(engine),
            State::Dtls13(engine) => Some(&mut **engine),
        }
    }
}

impl Engine for AnyEngine {
    fn receive(&mut self, datagram: &[u8], now: Time) -> Option<Outcome> {
        if let State::Waiting { certificate, fingerprints, clock, until: Some(_) } = &self.0 {
            let made = if offers_dtls13(datagram) {
                Dtls13::on(*clock, certificate, Role::Server, fingerprints, now)
                    .map(|engine| State::Dtls13(Box::new(engine)))
            } else {
                OpenSsl::new(certificate, Role::Server, fingerprints, now).map(State::OpenSsl)
            };
            match made {
                Ok(state) => self.0 = state,
                Err(_) => return Some(Outcome::Failed),
            }
        }
        self.engine()?.receive(datagram, now)
    }

    fn tick(&mut self, now: Time) -> Option<Outcome> {
        match &mut self.0 {
            State::Waiting { until, .. } => until.take_if(|until| *until <= now).map(|_| Outcome::Failed),
            _ => self.engine()?.tick(now),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match &self.0 {
            State::Waiting { until, .. } => *until,
            State::OpenSsl(engine) => engine.deadline(),
            State::Dtls13(engine) => engine.deadline(),
        }
    }

    fn poll(&mut self) -> Option<Vec<u8>> {
        self.engine()?.poll()
    }

    fn close(&mut self) {
        match self.engine() {
            Some(engine) => engine.close(),
            None => {
                if let State::Waiting { until, .. } = &mut self.0 {
                    *until = None;
                }
            }
        }
    }
}

/// The first flight of a client that knows DTLS 1.3. A hello whose extensions begin in a later fragment counts as one of DTLS 1.2:
/// such a client knows both.
pub(super) fn offers_dtls13(datagram: &[u8]) -> bool {
    versions(datagram).is_some_and(|list| list.chunks_exact(2).any(|v| v == DTLS_1_3.to_be_bytes()))
}

/// The list of `supported_versions`.
fn versions(datagram: &[u8]) -> Option<&[u8]> {
    // Record header (RFC 6347 §4.1), handshake header (§4.2.2).
    let (HANDSHAKE, length) = (*datagram.first()?, number(datagram.get(11..13)?)?) else { return None };
    let record = datagram.get(13..13 + usize::from(length))?;
    if *record.first()? != CLIENT_HELLO || record.get(6..9)? != [0, 0, 0] {
        return None;
    }
    // Version and random, session id, cookie, suites, compression.
    let rest = record.get(12 + 34..)?;
    let rest = after(after(rest, 1)?, 1)?;
    let rest = after(after(rest, 2)?, 1)?;
    let mut rest = rest.get(2..)?;
    while let (Some(kind), Some(length)) = (number(rest.get(..2)?), number(rest.get(2..4)?)) {
        let body = rest.get(4..4 + usize::from(length))?;
        if kind == SUPPORTED_VERSIONS {
            return body.get(1..1 + usize::from(*body.first()?));
        }
        rest = rest.get(4 + usize::from(length)..)?;
    }
    None
}

/// What stands behind a vector whose length takes `size` octets.
fn after(octets: &[u8], size: usize) -> Option<&[u8]> {
    let length = octets.get(..size)?.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    octets.get(size + length..)
}

fn number(octets: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(octets.try_into().ok()?))
}
