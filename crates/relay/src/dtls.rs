//! DTLS-SRTP (RFC 5763, RFC 5764), sans IO: datagrams in, datagrams and at last keys out.
//!
//! One rule: no key leaves here before the peer's certificate has one of the fingerprints that were signalled. [`Engine`] is one
//! association, run by BoringSSL: versions 1.2 and 1.3 in either role, peers with certificates of every kind.
//! Certificates are self-signed: the fingerprint is all that is believed.

mod certificate;
mod chain;
mod derived;
mod engine;

pub use certificate::Certificate;
pub use engine::Engine;

use crate::srtp::{Context, SrtpError, Suite};
use signal::media::Setup;

/// A handshake that takes longer has failed, ms.
pub const DEADLINE: u64 = 20_000;
/// Octets of the largest datagram sent.
pub const MTU: u32 = 1200;

/// Why DTLS cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum DtlsError {
    /// No certificate and key of P-256 in the PEM text.
    #[error("the certificate must be PEM with an EC P-256 key beside it: {0}")]
    Certificate(&'static str),
    /// The library refused.
    #[error("BoringSSL: {0}")]
    Library(#[from] boring::error::ErrorStack),
}

/// Side that sends the ClientHello, or the one that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We do.
    Client,
    /// The peer does.
    Server,
}

impl Role {
    /// Ours, by what the peer's description says: we go active unless the peer did (RFC 5763 §5, RFC 8842 §5.3).
    #[must_use]
    pub fn facing(peer: Setup) -> Role {
        match peer {
            Setup::Active => Role::Server,
            Setup::Passive | Setup::ActPass => Role::Client,
        }
    }
}

/// A master key and its salt (RFC 3711 §3.2.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Master {
    /// Octets as the suite wants.
    pub key: Vec<u8>,
    /// Octets as the suite wants.
    pub salt: Vec<u8>,
}

/// SRTP keys that the handshake yields.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The profile chosen.
    pub suite: Suite,
    /// Protects what we send.
    pub local: Master,
    /// Opens what we receive.
    pub remote: Master,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys never reach a log.
        f.debug_struct("Keys").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl Keys {
    /// From exported material (RFC 5764 §4.2): both keys, then both salts, the client's first. `None` when it is too short.
    #[must_use]
    pub fn of(suite: Suite, material: &[u8], role: Role) -> Option<Keys> {
        let (key, salt) = suite.lengths();
        let part = |from: usize, length: usize| material.get(from..from + length).map(<[u8]>::to_vec);
        let client = Master { key: part(0, key)?, salt: part(2 * key, salt)? };
        let server = Master { key: part(key, key)?, salt: part(2 * key + salt, salt)? };
        Some(match role {
            Role::Client => Keys { suite, local: client, remote: server },
            Role::Server => Keys { suite, local: server, remote: client },
        })
    }

    /// The two directions: outward, inward.
    ///
    /// # Errors
    /// [`SrtpError::Key`]
    pub fn contexts(&self) -> Result<(Context, Context), SrtpError> {
        Ok((
            Context::new(self.suite, &self.local.key, &self.local.salt)?,
            Context::new(self.suite, &self.remote.key, &self.remote.salt)?,
        ))
    }
}

/// Result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The peer is who was signalled; these are the keys. Told once.
    Keys(Keys),
    /// The peer's certificate has none of the fingerprints signalled. The end of the association.
    Insecure,
    /// No handshake: time is up, no common profile, a fatal alert. The end of the association.
    Failed,
    /// The peer closed an established association.
    Closed,
}

/// RFC 5764 §4.2.
const LABEL: &str = "EXTRACTOR-dtls_srtp";
/// Datagrams waiting in one direction; further ones are lost, as on any network.
const QUEUE: usize = 32;

#[cfg(test)]
mod tests;
