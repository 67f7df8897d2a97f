//! The engine over OpenSSL: its socket is a pair of datagram queues in memory.
//!
//! OpenSSL times its retransmissions by the system's clock and shows no way to give it another; `tick` only lets it look. The
//! deadline of the handshake is by our time.

use super::certificate::matches;
use super::{Certificate, DEADLINE, DtlsError, Engine, Keys, LABEL, MTU, Outcome, QUEUE, Role};
use crate::srtp::Suite;
use foreign_types::ForeignTypeRef;
use openssl::ssl::{ErrorCode, Ssl, SslContextBuilder, SslStream};
use openssl_sys::{SSL, SSL_CTX, X509_STORE_CTX};
use signal::Time;
use signal::media::Fingerprint;
use std::collections::VecDeque;
use std::ffi::{c_int, c_uint, c_void};
use std::io::{Error, ErrorKind, Read, Result as IoResult, Write};

/// OpenSSL is asked so often during a handshake whether a flight must be repeated, ms.
const LOOK: u64 = 50;

unsafe extern "C" {
    // Of libssl since 1.1.1; the openssl crates do not name them.
    fn DTLS_set_timer_cb(ssl: *mut SSL, timer: Option<extern "C" fn(*mut SSL, c_uint) -> c_uint>);
    fn SSL_free_buffers(ssl: *mut SSL) -> c_int;
    fn SSL_alloc_buffers(ssl: *mut SSL) -> c_int;
    fn SSL_CTX_set_cert_verify_callback(
        context: *mut SSL_CTX,
        verify: Option<extern "C" fn(*mut X509_STORE_CTX, *mut c_void) -> c_int>,
        argument: *mut c_void,
    );
}

/// Lets any certificate pass without building a chain, which would take a tenth of a handshake: who it is is settled by its
/// fingerprint afterwards. That the peer has its key is checked by the handshake itself.
extern "C" fn passes(_: *mut X509_STORE_CTX, _: *mut c_void) -> c_int {
    1
}

/// See [`passes`].
pub(super) fn without_chains(context: &mut SslContextBuilder) {
    // SAFETY: the pointer is of a live context, owned by the caller; the function given is static and touches nothing.
    unsafe { SSL_CTX_set_cert_verify_callback(context.as_ptr(), Some(passes), std::ptr::null_mut()) };
}

/// Microseconds to the next repetition, from those to the last: 200 ms first (RFC 5764 §3 leaves it open; one second, the
/// default of RFC 6347 §4.2.4.1, is heard as silence at the start of a call), doubled up to 3 s.
extern "C" fn repetition(_: *mut SSL, last: c_uint) -> c_uint {
    match last {
        0 => 200_000,
        last => last.saturating_mul(2).min(3_000_000),
    }
}

/// Datagrams to and from OpenSSL.
#[derive(Default)]
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake { until: Time, look: Time },
    Open,
    Over,
}

/// An association run by OpenSSL.
pub struct OpenSsl {
    stream: SslStream<Queues>,
    role: Role,
    fingerprints: Vec<Fingerprint>,
    phase: Phase,
}

impl OpenSsl {
    /// Begins an association at `now`; a client's hello can be polled at once. `fingerprints` are the peer's.
    ///
    /// # Errors
    /// [`DtlsError::Library`]
    pub fn new(
        certificate: &Certificate,
        role: Role,
        fingerprints: &[Fingerprint],
        now: Time,
    ) -> Result<OpenSsl, DtlsError> {
        let mut ssl = Ssl::new(certificate.context())?;
        ssl.set_mtu(MTU)?;
        match role {
            Role::Client => ssl.set_connect_state(),
            Role::Server => ssl.set_accept_state(),
        }
        // SAFETY: the pointer is of a live SSL of DTLS, owned here; the function given is static and touches nothing.
        unsafe { DTLS_set_timer_cb(ssl.as_ptr(), Some(repetition)) };
        let stream = SslStream::new(ssl, Queues::default())?;
        let phase = Phase::Handshake { until: now + DEADLINE, look: now + LOOK };
        let mut engine = OpenSsl { stream, role, fingerprints: fingerprints.to_vec(), phase };
        // Nothing can come of it but a hello: the peer has said nothing yet.
        let _ = engine.step(now);
        Ok(engine)
    }

    fn step(&mut self, now: Time) -> Option<Outcome> {
        match self.phase {
            Phase::Handshake { until, .. } => match self.stream.do_handshake() {
                Ok(()) => Some(self.settle()),
                Err(e) if waits(e.code()) && now < until => {
                    self.phase = Phase::Handshake { until, look: now + LOOK };
                    None
                }
                Err(_) => Some(self.over(Outcome::Failed)),
            },
            Phase::Open => self.read(),
            Phase::Over => None,
        }
    }

    /// The handshake is done: who is it, and with which keys?
    fn settle(&mut self) -> Outcome {
        let ssl = self.stream.ssl();
        if !ssl.peer_certificate().is_some_and(|peer| matches(&peer, &self.fingerprints)) {
            // It is told, or it would go on sending media that nobody can read.
            let _ = self.stream.shutdown();
            return self.over(Outcome::Insecure);
        }
        match keys(ssl, self.role) {
            Some(keys) => {
                self.phase = Phase::Open;
                self.rest();
                Outcome::Keys(keys)
            }
            // A peer that agreed on no profile of ours.
            None => self.over(Outcome::Failed),
        }
    }

    /// Between datagrams, of which hardly any come any more, OpenSSL needs none of its buffers: 32 KiB.
    fn rest(&mut self) {
        // SAFETY: the pointer is of a live SSL, owned here. It frees nothing that holds data, and reading makes them anew.
        unsafe { SSL_free_buffers(self.stream.ssl().as_ptr()) };
    }

    fn over(&mut self, outcome: Outcome) -> Outcome {
        self.phase = Phase::Over;
        outcome
    }

    /// Lets OpenSSL answer a repeated flight, and hears a close_notify. Application data has no meaning here.
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
        self.rest();
        None
    }
}

fn waits(code: ErrorCode) -> bool {
    code == ErrorCode::WANT_READ || code == ErrorCode::WANT_WRITE
}

fn keys(ssl: &openssl::ssl::SslRef, role: Role) -> Option<Keys> {
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

impl Engine for OpenSsl {
    fn receive(&mut self, datagram: &[u8], now: Time) -> Option<Outcome> {
        // An empty datagram would look to OpenSSL like the end of a stream.
        if self.phase == Phase::Over || datagram.is_empty() {
            return None;
        }
        let inward = &mut self.stream.get_mut().inward;
        if inward.len() < QUEUE {
            inward.push_back(datagram.to_vec());
        }
        self.step(now)
    }

    fn tick(&mut self, now: Time) -> Option<Outcome> {
        match self.phase {
            Phase::Handshake { .. } => self.step(now),
            Phase::Open | Phase::Over => None,
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Handshake { look, .. } => Some(look),
            Phase::Open | Phase::Over => None,
        }
    }

    fn poll(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().outward.pop_front()
    }

    fn close(&mut self) {
        // SAFETY: the pointer is of a live SSL, owned here. Writing, unlike reading, does not make the buffers anew.
        if self.phase == Phase::Open && unsafe { SSL_alloc_buffers(self.stream.ssl().as_ptr()) } == 1 {
            // Only the alert matters: nobody waits for the peer's.
            let _ = self.stream.shutdown();
        }
        self.phase = Phase::Over;
    }
}
