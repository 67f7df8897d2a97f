//! Sealing what leaves a service for the store: AES-256-GCM under keys that only those who know the cluster's secret have.
//!
//! One rule: no nonce is used twice with a key. Each start of a service has a key of its own, derived from the cluster's secret, the
//! kind of content and a random salt; the nonce counts. A sealed content belongs to one name, which is authenticated with it.
//!
//! Format 1: format (1), name of the secret (4), salt (16), count (8, big endian), then cipher text and tag (16).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use signal::Secret;
use std::sync::atomic::{AtomicU64, Ordering};

const FORMAT: u8 = 1;
const NAME: usize = 4;
const SALT: usize = 16;
const HEAD: usize = 1 + NAME + SALT + 8;

/// Fault of a content that cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Of a newer version, or not sealed.
    #[error("the content is of a format that this service does not know")]
    Format,
    /// Sealed with another `[cluster] secret`.
    #[error("the content was sealed with another [cluster] secret: give all services the same one")]
    Secret,
    /// Of another name, or changed on the way.
    #[error("the content is not of this name, or was changed")]
    Forged,
}

/// Kind of what is sealed: each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// State of a relay session.
    RelayState,
    /// Record of an orchestrator.
    Record,
}

impl Content {
    /// Returns the labels under which the key of a start and the name of the secret are derived.
    fn labels(self) -> (&'static str, &'static str) {
        match self {
            Content::RelayState => ("relay state, key of a start", "relay state, name of the secret"),
            Content::Record => ("record, key of a start", "record, name of the secret"),
        }
    }
}

/// Seals, for one start of a service.
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
    /// Creates a sealer with a random salt.
    ///
    /// # Errors
    /// The kernel gives no random octets.
    pub fn start(secret: &Secret, content: Content) -> std::io::Result<Sealer> {
        let mut salt = [0; SALT];
        let mut filled = 0;
        while filled < SALT {
            filled += rustix::rand::getrandom(&mut salt[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Sealer::new(secret, content, salt))
    }

    /// Creates a sealer. `salt` is random and never used before.
    #[must_use]
    pub fn new(secret: &Secret, content: Content, salt: [u8; SALT]) -> Sealer {
        let mut head = [FORMAT; 1 + NAME + SALT];
        head[1..1 + NAME].copy_from_slice(&name(secret, content));
        head[1 + NAME..].copy_from_slice(&salt);
        Sealer { head, key: key(secret, content, &salt), count: AtomicU64::new(0) }
    }

    /// Seals the content of this name. `None`: cryptography failed.
    #[must_use]
    pub fn seal(&self, of: &str, content: &[u8]) -> Option<Vec<u8>> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut out = Vec::with_capacity(HEAD + content.len() + AES_256_GCM.tag_len());
        out.extend(self.head);
        out.extend(count.to_be_bytes());
        let about = about(&out, of);
        out.extend(content);
        let body = out.get_mut(HEAD..)?;
        let key = self.key.as_ref()?;
        let tag = key.seal_in_place_separate_tag(nonce(count), Aad::from(about), body).ok()?;
        out.extend(tag.as_ref());
        Some(out)
    }
}

/// Opens what any service of this cluster has sealed.
///
/// # Errors
/// [`Unreadable`]
pub fn open(secret: &Secret, content: Content, of: &str, sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let (head, body) = sealed.split_at_checked(HEAD).ok_or(Unreadable::Format)?;
    let (before, count) = head.split_at_checked(HEAD - 8).ok_or(Unreadable::Format)?;
    if before.first() != Some(&FORMAT) {
        return Err(Unreadable::Format);
    }
    if before.get(1..1 + NAME) != Some(&name(secret, content)[..]) {
        return Err(Unreadable::Secret);
    }
    let count = u64::from_be_bytes(count.try_into().map_err(|_| Unreadable::Format)?);
    let salt = before.get(1 + NAME..).unwrap_or_default();
    let key = key(secret, content, salt).ok_or(Unreadable::Format)?;
    let mut body = body.to_vec();
    let opened = key.open_in_place(nonce(count), Aad::from(about(head, of)), &mut body);
    let length = opened.map_err(|_| Unreadable::Forged)?.len();
    body.truncate(length);
    Ok(body)
}

/// Returns the additional authenticated data: the head, and the name of the content.
fn about(head: &[u8], of: &str) -> Vec<u8> {
    [head, of.as_bytes()].concat()
}

/// Returns a name that tells secrets apart and nothing of them.
fn name(secret: &Secret, content: Content) -> [u8; NAME] {
    let [a, b, c, d, ..] = secret.derive(content.labels().1, &[]);
    [a, b, c, d]
}

fn key(secret: &Secret, content: Content, salt: &[u8]) -> Option<LessSafeKey> {
    let key = secret.derive(content.labels().0, &[salt]);
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
    fn f11_only_this_name_is_opened_and_only_with_the_secret() {
        let (ours, theirs) = (Secret::new(b"ours"), Secret::new(b"theirs"));
        let sealer = Sealer::new(&ours, Content::Record, [9; SALT]);
        let sealed = sealer.seal("call", b"keys").unwrap();
        assert_eq!(open(&ours, Content::Record, "call", &sealed).as_deref(), Ok(&b"keys"[..]));
        assert_eq!(open(&ours, Content::Record, "other", &sealed), Err(Unreadable::Forged));
        assert_eq!(open(&theirs, Content::Record, "call", &sealed), Err(Unreadable::Secret));
        let of_another_kind = open(&ours, Content::RelayState, "call", &sealed);
        assert_eq!(of_another_kind, Err(Unreadable::Secret));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&ours, Content::Record, "call", &changed).is_err(), "octet {at}");
        }
        for length in 0..sealed.len() {
            assert!(open(&ours, Content::Record, "call", &sealed[..length]).is_err(), "{length} octets");
        }
        assert!(!sealed.windows(4).any(|part| part == b"keys"));
    }

    #[test]
    fn the_same_content_is_never_sealed_alike() {
        let secret = Secret::new(b"ours");
        let (one, two) = (
            Sealer::new(&secret, Content::Record, [1; SALT]),
            Sealer::new(&secret, Content::Record, [2; SALT]),
        );
        let sealed = [&one, &one, &two].map(|sealer| sealer.seal("call", &[0; 64]).unwrap()[HEAD..].to_vec());
        assert!(sealed[0] != sealed[1] && sealed[0] != sealed[2] && sealed[1] != sealed[2]);
    }
}
