//! One association over BoringSSL: its socket is a pair of datagram queues in memory, its clock the time that a caller names.

use super::certificate::matches;
use super::{Certificate, DEADLINE, DtlsError, Keys, LABEL, MTU, Outcome, QUEUE, Role, chain};
use crate::srtp::Suite;
use boring::ssl::{ErrorCode, Ssl, SslContextBuilder, SslRef, SslStream};
use boring_sys::{
    DTLSv1_get_timeout, DTLSv1_handle_timeout, DTLSv1_set_initial_timeout_duration, SSL,
    SSL_CTX_set_current_time_cb, SSL_set_accept_state, SSL_set_connect_state, SSL_set_shed_handshake_config,
    timeval,
};
use foreign_types_shared::{ForeignType, ForeignTypeRef};
use signal::Time;
use signal::media::Fingerprint;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result as IoResult, Write};

/// The first repetition of a flight, ms; each further one waits twice as long (RFC 5764 §3 leaves it open; one second, the
/// default of RFC 6347 §4.2.4.1, is heard as silence at the start of a call).
const REPETITION: u32 = 200;

thread_local! {
    /// The time of the step that this thread is in: the library asks for it without saying for whom.
    static NOW: Cell<Time> = const { Cell::new(Time(0)) };
}

/// Time of day as the library sees it.
unsafe extern "C" fn clock(_: *const SSL, now: *mut timeval) {
    let Time(ms) = NOW.get();
    let (seconds, rest) = (ms / 1_000, ms % 1_000);
    let value = timeval { tv_sec: seconds.cast_signed(), tv_usec: (rest * 1_000).cast_signed() };
    // SAFETY: the library gives a place for the answer, as `SSL_CTX_set_current_time_cb` says.
    unsafe { now.write(value) };
}

/// Lets all associations of a context live by the time that their caller names.
pub(super) fn by_our_clock(context: &mut SslContextBuilder) {
    // SAFETY: the pointer is of a live context, owned by the caller; the function is static and only writes its answer.
    unsafe { SSL_CTX_set_current_time_cb(context.as_ptr(), Some(clock)) };
}

/// Datagrams to and from the library.
#[derive(Debug, Default)]
struct Queues {
    inward: VecDeque<Vec<u8>>,
    outward: VecDeque<Vec<u8>>,
}

impl Read for Queues {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let datagram = self.inward.pop_front().ok_or_else(|| Error::from(ErrorKind::WouldBlock))?;
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }
}

impl Write for Queues {
    fn write(&mut self, datagram: &[u8]) -> IoResult<usize> {
        if self.outward.len() < QUEUE {
            self.outward.push_back(datagram.to_vec());
        }
        Ok(datagram.len())
    }
    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake { until: Time },
    Open,
    Over,
}

/// One DTLS association, of version 1.2 or 1.3 as the peer likes.
pub struct Engine {
    stream: SslStream<Queues>,
    role: Role,
    fingerprints: Vec<Fingerprint>,
    phase: Phase,
    /// When a flight is to be repeated, or an acknowledgement sent.
    timer: Option<Time>,
}

// Not derived: the stream's own would ask for X.509, which there is none of, and show what came.
impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("role", &self.role).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Engine {
    /// Begins an association at `now`; a client's hello can be polled at once. `fingerprints` are the peer's.
    ///
    /// # Errors
    /// [`DtlsError::Library`]
    pub fn new(
        certificate: &Certificate,
        role: Role,
        fingerprints: &[Fingerprint],
        now: Time,
    ) -> Result<Engine, DtlsError> {
        let mut ssl = Ssl::new(certificate.context())?;
        ssl.set_mtu(MTU)?;
        // SAFETY: the pointer is of a live SSL of DTLS, owned here; none of these keeps anything.
        unsafe {
            match role {
                Role::Client => SSL_set_connect_state(ssl.as_ptr()),
                Role::Server => SSL_set_accept_state(ssl.as_ptr()),
            }
            DTLSv1_set_initial_timeout_duration(ssl.as_ptr(), REPETITION);
            // What only a handshake needs is freed after it.
            SSL_set_shed_handshake_config(ssl.as_ptr(), 1);
        }
        let stream = SslStream::new(ssl, Queues::default())?;
        let phase = Phase::Handshake { until: now + DEADLINE };
        let mut engine = Engine { stream, role, fingerprints: fingerprints.to_vec(), phase, timer: None };
        // Nothing can come of it but a hello: the peer has said nothing yet.
        let _ = engine.step(now);
        Ok(engine)
    }

    /// A datagram from the validated path; also after the handshake (lost final flights, close_notify).
    pub fn receive(&mut self, datagram: &[u8], now: Time) -> Option<Outcome> {
        // An empty datagram would look to the library like the end of a stream.
        if self.phase == Phase::Over || datagram.is_empty() {
            return None;
        }
        let inward = &mut self.stream.get_mut().inward;
        if inward.len() < QUEUE {
            inward.push_back(datagram.to_vec());
        }
        self.step(now)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) -> Option<Outcome> {
        if self.phase == Phase::Over {
            return None;
        }
        if self.timer.is_some_and(|timer| timer <= now) {
            NOW.set(now);
            // SAFETY: the pointer is of a live SSL, owned here. That too much was repeated in vain is seen by the deadline.
            unsafe { DTLSv1_handle_timeout(self.stream.ssl().as_ptr()) };
        }
        self.step(now)
    }

    /// When to [`Engine::tick`] next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Handshake { until } => Some(self.timer.map_or(until, |timer| timer.min(until))),
            Phase::Open => self.timer,
            Phase::Over => None,
        }
    }

    /// The next datagram to send.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().outward.pop_front()
    }

    /// Says close_notify; the datagram is polled.
    pub fn close(&mut self) {
        if self.phase == Phase::Open {
            // Only the alert matters: nobody waits for the peer's.
            let _ = self.stream.shutdown();
        }
        self.over(Outcome::Closed);
    }

    /// Returns the keys that the peers agreed on.
    #[cfg(test)]
    pub(super) fn version(&self) -> Option<boring::ssl::SslVersion> {
        self.stream.ssl().version2()
    }

    fn step(&mut self, now: Time) -> Option<Outcome> {
        NOW.set(now);
        let outcome = match self.phase {
            Phase::Handshake { until } => match self.stream.do_handshake() {
                Ok(()) => Some(self.settle()),
                Err(e) if waits(e.code()) && now < until => None,
                Err(_) => Some(self.over(Outcome::Failed)),
            },
            Phase::Open => self.read(),
            Phase::Over => None,
        };
        if self.phase != Phase::Over {
            self.timer = self.repetition(now);
        }
        outcome
    }

    /// The handshake is over: who is it, and what are the keys?
    fn settle(&mut self) -> Outcome {
        let ssl = self.stream.ssl();
        let known = chain::shown(ssl).is_some_and(|peer| matches(peer, &self.fingerprints));
        if !known {
            // It is told, or it would go on sending media that nobody can read.
            let _ = self.stream.shutdown();
            return self.over(Outcome::Insecure);
        }
        match keys(ssl, self.role) {
            Some(keys) => {
                self.phase = Phase::Open;
                // Nobody looks at them again.
                self.fingerprints = vec![];
                Outcome::Keys(keys)
            }
            // A peer that agreed on no profile of ours.
            None => self.over(Outcome::Failed),
        }
    }

    /// Lets the library answer a repeated flight, and hears a close_notify. Application data has no meaning here.
    fn read(&mut self) -> Option<Outcome> {
        let mut data = [0u8; 2048];
        // Bounded: one datagram holds few records.
        for _ in 0..QUEUE {
            match self.stream.ssl_read(&mut data) {
                Ok(_) => {}
                Err(e) if waits(e.code()) => break,
                Err(_) => return Some(self.over(Outcome::Closed)),
            }
        }
        None
    }

    fn repetition(&self, now: Time) -> Option<Time> {
        let mut left = timeval { tv_sec: 0, tv_usec: 0 };
        // SAFETY: the pointer is of a live SSL, owned here; the value lives for the call.
        let runs = unsafe { DTLSv1_get_timeout(self.stream.ssl().as_ptr(), &raw mut left) } == 1;
        let ms = left.tv_sec.cast_unsigned() * 1_000 + left.tv_usec.cast_unsigned().div_ceil(1_000);
        runs.then_some(now + ms)
    }

    fn over(&mut self, outcome: Outcome) -> Outcome {
        (self.phase, self.timer) = (Phase::Over, None);
        outcome
    }
}

fn waits(code: ErrorCode) -> bool {
    code == ErrorCode::WANT_READ || code == ErrorCode::WANT_WRITE
}

fn keys(ssl: &SslRef, role: Role) -> Option<Keys> {
    let suite = match ssl.selected_srtp_profile()?.name() {
        "SRTP_AEAD_AES_128_GCM" => Suite::AeadAes128Gcm,
        "SRTP_AEAD_AES_256_GCM" => Suite::AeadAes256Gcm,
        "SRTP_AES128_CM_SHA1_80" => Suite::AesCm128Sha1_80,
        _ => return None,
    };
    let (key, salt) = suite.lengths();
    let mut material = vec![0u8; 2 * (key + salt)];
    ssl.export_keying_material(&mut material, LABEL, None).ok()?;
    Keys::of(suite, &material, role)
}
