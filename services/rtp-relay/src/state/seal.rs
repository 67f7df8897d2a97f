//! Sealing what leaves a relay: AES-256-GCM under keys that only those who know the cluster's secret have.
//!
//! One rule: no nonce is used twice with a key. Each start of a relay has a key of its own, derived from the cluster's secret and
//! a random salt; the nonce counts. What is sealed belongs to one session: its name is authenticated with it.
//!
//! Format 1: format (1), name of the secret (4), salt (16), count (8, big endian), then cipher text and tag (16).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use signal::Secret;
use std::sync::atomic::{AtomicU64, Ordering};

const FORMAT: u8 = 1;
const NAME: usize = 4;
const SALT: usize = 16;
const HEAD: usize = 1 + NAME + SALT + 8;

/// Why something cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Of a newer version, or no sealed state.
    #[error("the state is of a format that this relay does not know")]
    Format,
    /// Sealed with another `[cluster] secret`.
    #[error("the state was sealed with another [cluster] secret: give all services the same one")]
    Secret,
    /// Of another session, or changed on the way.
    #[error("the state is not of this session, or was changed")]
    Forged,
}

/// Seals, for one start of a relay.
pub struct Sealer {
    head: [u8; 1 + NAME + SALT],
    key: Option<LessSafeKey>,
    count: AtomicU64,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// `salt` is random and never used before.
    #[must_use]
    pub fn new(secret: &Secret, salt: [u8; SALT]) -> Sealer {
        let mut head = [FORMAT; 1 + NAME + SALT];
        head[1..1 + NAME].copy_from_slice(&name(secret));
        head[1 + NAME..].copy_from_slice(&salt);
        Sealer { head, key: key(secret, &salt), count: AtomicU64::new(0) }
    }

    /// Seals the state of a session.
    #[must_use]
    pub fn seal(&self, session: &str, state: &[u8]) -> Option<Vec<u8>> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut out = Vec::with_capacity(HEAD + state.len() + AES_256_GCM.tag_len());
        out.extend(self.head);
        out.extend(count.to_be_bytes());
        let mut body = state.to_vec();
        let about = about(&out, session);
        self.key.as_ref()?.seal_in_place_append_tag(nonce(count), Aad::from(about), &mut body).ok()?;
        out.extend(body);
        Some(out)
    }
}

/// Opens what any relay of this cluster has sealed.
///
/// # Errors
/// [`Unreadable`]
pub fn open(secret: &Secret, session: &str, sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let (head, body) = sealed.split_at_checked(HEAD).ok_or(Unreadable::Format)?;
    let (before, count) = head.split_at_checked(HEAD - 8).ok_or(Unreadable::Format)?;
    if before.first() != Some(&FORMAT) {
        return Err(Unreadable::Format);
    }
    if before.get(1..1 + NAME) != Some(&name(secret)[..]) {
        return Err(Unreadable::Secret);
    }
    let count = u64::from_be_bytes(count.try_into().map_err(|_| Unreadable::Format)?);
    let salt = before.get(1 + NAME..).unwrap_or_default();
    let key = key(secret, salt).ok_or(Unreadable::Format)?;
    let mut body = body.to_vec();
    let opened = key.open_in_place(nonce(count), Aad::from(about(head, session)), &mut body);
    let length = opened.map_err(|_| Unreadable::Forged)?.len();
    body.truncate(length);
    Ok(body)
}

/// Additional authenticated data: the head, and the name of the session.
fn about(head: &[u8], session: &str) -> Vec<u8> {
    [head, session.as_bytes()].concat()
}

/// Tells secrets apart and nothing of them.
fn name(secret: &Secret) -> [u8; NAME] {
    let [a, b, c, d, ..] = secret.derive("relay state, name of the secret", &[]);
    [a, b, c, d]
}

fn key(secret: &Secret, salt: &[u8]) -> Option<LessSafeKey> {
    let key = secret.derive("relay state, key of a start", &[salt]);
    UnboundKey::new(&AES_256_GCM, &key).ok().map(LessSafeKey::new)
}

fn nonce(count: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&count.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_session_is_opened_and_only_with_the_secret() {
        let (ours, theirs) = (Secret::new(b"ours"), Secret::new(b"theirs"));
        let sealer = Sealer::new(&ours, [9; SALT]);
        let sealed = sealer.seal("call", b"keys").unwrap();
        assert_eq!(open(&ours, "call", &sealed).as_deref(), Ok(&b"keys"[..]));
        assert_eq!(open(&ours, "other", &sealed), Err(Unreadable::Forged));
        assert_eq!(open(&theirs, "call", &sealed), Err(Unreadable::Secret));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&ours, "call", &changed).is_err(), "octet {at}");
        }
        for length in 0..sealed.len() {
            assert!(open(&ours, "call", &sealed[..length]).is_err(), "{length} octets");
        }
        assert!(!sealed.windows(4).any(|part| part == b"keys"));
    }

    #[test]
    fn the_same_state_is_never_sealed_alike() {
        let secret = Secret::new(b"ours");
        let (one, two) = (Sealer::new(&secret, [1; SALT]), Sealer::new(&secret, [2; SALT]));
        let sealed = [&one, &one, &two].map(|sealer| sealer.seal("call", &[0; 64]).unwrap()[HEAD..].to_vec());
        assert!(sealed[0] != sealed[1] && sealed[0] != sealed[2] && sealed[1] != sealed[2]);
    }
}
