//! Session keys and the two kinds of transform: AES-CM with HMAC-SHA1, and AES-GCM.

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipher, BlockEncrypt, BlockSizeUser, InnerIvInit, KeyInit, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes128Enc, Aes256, Aes256Enc};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ctr::{Ctr128BE, CtrCore};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use signal::media::Suite;

/// Octets of the authentication tag of SRTP.
pub(super) fn tag_length(suite: Suite) -> usize {
    match suite {
        Suite::AesCm128Sha1_32 | Suite::AesCm256Sha1_32 => 4,
        Suite::AesCm128Sha1_80 | Suite::AesCm256Sha1_80 => SHA1_80,
        Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => GCM,
    }
}

/// Octets of the authentication tag of SRTCP: never the short one (RFC 4568 §6.2.2, RFC 6188 §4.2).
pub(super) fn rtcp_tag_length(suite: Suite) -> usize {
    if is_gcm(suite) { GCM } else { SHA1_80 }
}

const SHA1_80: usize = 10;
const GCM: usize = 16;

pub(super) fn is_gcm(suite: Suite) -> bool {
    matches!(suite, Suite::AeadAes128Gcm | Suite::AeadAes256Gcm)
}

/// The session keys of SRTP or of SRTCP.
pub(super) struct Keys {
    salt: [u8; 14],
    transform: Transform,
}

enum Transform {
    CounterMode(Box<CounterMode>),
    Gcm(LessSafeKey),
}

/// Nearly a kilobyte, as the schedule has room for that of a processor without AES: boxed, it is no burden to GCM.
struct CounterMode {
    cipher: Cipher,
    mac: Hmac<Sha1>,
}

/// A key schedule; counter mode only ever encrypts.
enum Cipher {
    Aes128(Aes128Enc),
    Aes256(Box<Aes256Enc>),
}

/// Session keys for SRTP (labels 0–2) and SRTCP (labels 3–5); `None` for wrong lengths.
pub(super) fn derive(suite: Suite, key: &[u8], salt: &[u8]) -> Option<(Keys, Keys)> {
    if (key.len(), salt.len()) != suite.lengths() {
        return None;
    }
    let make = |first: u8| {
        let (mut session, mut mac, mut session_salt) = ([0u8; 32], [0u8; 20], [0u8; 14]);
        let session = session.get_mut(..key.len())?;
        expand(key, salt, first, session)?;
        expand(key, salt, first + 1, &mut mac)?;
        expand(key, salt, first + 2, session_salt.get_mut(..salt.len())?)?;
        Keys::new(suite, session, &mac, &session_salt)
    };
    Some((make(0)?, make(3)?))
}

/// The key derivation function of RFC 3711 §4.3.3; a 96-bit salt is followed by zeros (RFC 7714 §11).
fn expand(key: &[u8], salt: &[u8], label: u8, out: &mut [u8]) -> Option<()> {
    let mut iv = [0u8; 16];
    iv.get_mut(..salt.len())?.copy_from_slice(salt);
    iv[7] ^= label;
    out.fill(0);
    match key.len() {
        16 => Ctr128BE::<Aes128>::new_from_slices(key, &iv).ok()?.apply_keystream(out),
        32 => Ctr128BE::<Aes256>::new_from_slices(key, &iv).ok()?.apply_keystream(out),
        _ => return None,
    }
    Some(())
}

impl Keys {
    pub(super) fn new(suite: Suite, key: &[u8], mac: &[u8; 20], salt: &[u8; 14]) -> Option<Keys> {
        let gcm = |algorithm| Some(Transform::Gcm(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?)));
        let counter = |cipher| {
            let mac = <Hmac<Sha1> as Mac>::new_from_slice(mac).ok()?;
            Some(Transform::CounterMode(Box::new(CounterMode { cipher, mac })))
        };
        let transform = match suite {
            Suite::AesCm128Sha1_80 | Suite::AesCm128Sha1_32 => {
                counter(Cipher::Aes128(Aes128Enc::new_from_slice(key).ok()?))?
            }
            Suite::AesCm256Sha1_80 | Suite::AesCm256Sha1_32 => {
                counter(Cipher::Aes256(Box::new(Aes256Enc::new_from_slice(key).ok()?)))?
            }
            Suite::AeadAes128Gcm => gcm(&AES_128_GCM)?,
            Suite::AeadAes256Gcm => gcm(&AES_256_GCM)?,
        };
        Some(Keys { salt: *salt, transform })
    }

    /// RFC 3711 §4.1.1: salt, SSRC and index in their places.
    fn counter(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let mut iv = [0u8; 16];
        iv[..14].copy_from_slice(&self.salt);
        xor(&mut iv[4..8], &ssrc.to_be_bytes());
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        iv
    }

    /// RFC 7714 §8.1 and §9.1: two zeros, SSRC, and the 48-bit index (of SRTCP: 31 bits).
    fn nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let mut iv = [0u8; 12];
        iv.copy_from_slice(&self.salt[..12]);
        xor(&mut iv[2..6], &ssrc.to_be_bytes());
        xor(&mut iv[6..12], &index.to_be_bytes()[2..]);
        iv
    }

    pub fn seal(
        &self,
        suite: Suite,
        buffer: &mut [u8],
        header: usize,
        length: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        let end = length + tag_length(suite);
        let (packet, rest) = buffer.get_mut(..end)?.split_at_mut(length);
        match &self.transform {
            Transform::CounterMode(mode) => {
                mode.cipher.apply(&self.counter(ssrc, index), packet.get_mut(header..)?);
                let tag = tag(&mode.mac, packet, ((index >> 16) as u32).to_be_bytes());
                rest.copy_from_slice(tag.get(..tag_length(suite))?);
            }
            Transform::Gcm(key) => {
                let (aad, body) = packet.split_at_mut_checked(header)?;
                let sealed = key
                    .seal_in_place_separate_tag(
                        Nonce::assume_unique_for_key(self.nonce(ssrc, index)),
                        Aad::from(&*aad),
                        body,
                    )
                    .ok()?;
                rest.copy_from_slice(sealed.as_ref());
            }
        }
        Some(end)
    }

    pub fn open(
        &self,
        suite: Suite,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        let length = packet.len().checked_sub(tag_length(suite))?;
        match &self.transform {
            Transform::CounterMode(mode) => {
                let (body, found) = packet.split_at_mut_checked(length)?;
                let wanted = tag(&mode.mac, body, ((index >> 16) as u32).to_be_bytes());
                if !equal(wanted.get(..tag_length(suite))?, found) {
                    return None;
                }
                mode.cipher.apply(&self.counter(ssrc, index), body.get_mut(header..)?);
            }
            Transform::Gcm(key) => {
                let (aad, body) = packet.split_at_mut_checked(header)?;
                key.open_in_place(
                    Nonce::assume_unique_for_key(self.nonce(ssrc, index)),
                    Aad::from(&*aad),
                    body,
                )
                .ok()?;
            }
        }
        Some(length)
    }

    /// RFC 3711 §3.4: index with the E bit, then the tag. RFC 7714 §9.2: tag, then index.
    pub fn seal_rtcp(
        &self,
        suite: Suite,
        buffer: &mut [u8],
        length: usize,
        ssrc: u32,
        index: u32,
    ) -> Option<usize> {
        let end = length + 4 + rtcp_tag_length(suite);
        let word = (index | 0x8000_0000).to_be_bytes();
        let (packet, rest) = buffer.get_mut(..end)?.split_at_mut(length);
        match &self.transform {
            Transform::CounterMode(mode) => {
                mode.cipher.apply(&self.counter(ssrc, u64::from(index)), packet.get_mut(8..)?);
                rest[..4].copy_from_slice(&word);
                rest[4..].copy_from_slice(&tag(&mode.mac, packet, word));
            }
            Transform::Gcm(key) => {
                let (head, body) = packet.split_at_mut_checked(8)?;
                let nonce = Nonce::assume_unique_for_key(self.nonce(ssrc, u64::from(index)));
                let sealed =
                    key.seal_in_place_separate_tag(nonce, Aad::from(associated(head, word)?), body).ok()?;
                rest[..16].copy_from_slice(sealed.as_ref());
                rest[16..].copy_from_slice(&word);
            }
        }
        Some(end)
    }

    pub fn open_rtcp(&self, suite: Suite, packet: &mut [u8], ssrc: u32, index: u32) -> Option<usize> {
        let length = packet.len().checked_sub(4 + rtcp_tag_length(suite)).filter(|l| *l >= 8)?;
        let word = (index | 0x8000_0000).to_be_bytes();
        match &self.transform {
            Transform::CounterMode(mode) => {
                let (body, rest) = packet.split_at_mut_checked(length)?;
                if !equal(&tag(&mode.mac, body, word), rest.get(4..)?) {
                    return None;
                }
                mode.cipher.apply(&self.counter(ssrc, u64::from(index)), body.get_mut(8..)?);
            }
            Transform::Gcm(key) => {
                let (head, body) = packet.get_mut(..length + 16)?.split_at_mut_checked(8)?;
                let nonce = Nonce::assume_unique_for_key(self.nonce(ssrc, u64::from(index)));
                key.open_in_place(nonce, Aad::from(associated(head, word)?), body).ok()?;
            }
        }
        Some(length)
    }
}

/// The SRTCP index of a packet; `None` when it is cut short or says that it is not encrypted.
pub(super) fn rtcp_index(suite: Suite, packet: &[u8]) -> Option<u32> {
    let behind = if is_gcm(suite) { 0 } else { SHA1_80 };
    let end = packet.len().checked_sub(behind)?;
    let word = packet.get(end.checked_sub(4)?..end)?;
    let word = u32::from_be_bytes(word.try_into().ok()?);
    (word & 0x8000_0000 != 0).then_some(word & 0x7fff_ffff)
}

fn associated(head: &[u8], word: [u8; 4]) -> Option<[u8; 12]> {
    let mut aad = [0u8; 12];
    aad[..8].copy_from_slice(head.get(..8)?);
    aad[8..].copy_from_slice(&word);
    Some(aad)
}

impl Cipher {
    /// Counter mode over `body` (RFC 3711 §4.1.1); the key schedule is borrowed, neither made again nor copied.
    fn apply(&self, iv: &[u8; 16], body: &mut [u8]) {
        fn run<C>(cipher: &C, iv: &[u8; 16], body: &mut [u8])
        where
            C: BlockCipher + BlockEncrypt + BlockSizeUser<BlockSize = U16>,
        {
            let core = CtrCore::<&C, ctr::flavors::Ctr128BE>::inner_iv_init(cipher, iv.into());
            Ctr128BE::<&C>::from_core(core).apply_keystream(body);
        }
        match self {
            Cipher::Aes128(cipher) => run(cipher, iv, body),
            Cipher::Aes256(cipher) => run(&**cipher, iv, body),
        }
    }
}

/// HMAC-SHA1 cut to the longest tag in use.
fn tag(mac: &Hmac<Sha1>, packet: &[u8], more: [u8; 4]) -> [u8; SHA1_80] {
    let mut mac = mac.clone();
    mac.update(packet);
    mac.update(&more);
    let full = mac.finalize().into_bytes();
    let mut tag = [0; SHA1_80];
    tag.copy_from_slice(&full[..SHA1_80]);
    tag
}

/// In constant time.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (a, b)| d | (a ^ b)) == 0
}

fn xor(place: &mut [u8], with: &[u8]) {
    place.iter_mut().zip(with).for_each(|(a, b)| *a ^= b);
}

#[cfg(test)]
mod tests;
