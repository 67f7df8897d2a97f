//! Session keys and the two kinds of transform: AES-CM with HMAC-SHA1, and AES-GCM.

use aes::cipher::{InnerIvInit, KeyInit, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ctr::{Ctr128BE, CtrCore};
use hmac::{Hmac, Mac};
use sha1::Sha1;

/// A protection profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80`, DTLS-SRTP 0x0001.
    AesCm128Sha1_80,
    /// `AEAD_AES_128_GCM`, 0x0007.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`, 0x0008.
    AeadAes256Gcm,
}

impl Suite {
    /// Octets of master key and salt.
    #[must_use]
    pub fn lengths(self) -> (usize, usize) {
        match self {
            Suite::AesCm128Sha1_80 => (16, 14),
            Suite::AeadAes128Gcm => (16, 12),
            Suite::AeadAes256Gcm => (32, 12),
        }
    }
    /// Octets of the authentication tag.
    #[must_use]
    pub fn tag(self) -> usize {
        if self == Suite::AesCm128Sha1_80 { 10 } else { 16 }
    }
}

/// The session keys of SRTP or of SRTCP.
pub(super) struct Keys {
    salt: [u8; 14],
    transform: Transform,
}

enum Transform {
    CounterMode { cipher: Aes128, mac: Hmac<Sha1> },
    Gcm(LessSafeKey),
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
        let transform = match suite {
            Suite::AesCm128Sha1_80 => Transform::CounterMode {
                cipher: Aes128::new_from_slice(key).ok()?,
                mac: <Hmac<Sha1> as Mac>::new_from_slice(mac).ok()?,
            },
            Suite::AeadAes128Gcm => {
                Transform::Gcm(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).ok()?))
            }
            Suite::AeadAes256Gcm => {
                Transform::Gcm(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?))
            }
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
        let end = length + suite.tag();
        let (packet, rest) = buffer.get_mut(..end)?.split_at_mut(length);
        match &self.transform {
            Transform::CounterMode { cipher, mac } => {
                apply(cipher, &self.counter(ssrc, index), packet.get_mut(header..)?);
                rest.copy_from_slice(&tag(mac, packet, ((index >> 16) as u32).to_be_bytes()));
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
        let length = packet.len().checked_sub(suite.tag())?;
        match &self.transform {
            Transform::CounterMode { cipher, mac } => {
                let (body, found) = packet.split_at_mut_checked(length)?;
                let wanted = tag(mac, body, ((index >> 16) as u32).to_be_bytes());
                if !equal(&wanted, found) {
                    return None;
                }
                apply(cipher, &self.counter(ssrc, index), body.get_mut(header..)?);
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
        let end = length + 4 + suite.tag();
        let word = (index | 0x8000_0000).to_be_bytes();
        let (packet, rest) = buffer.get_mut(..end)?.split_at_mut(length);
        match &self.transform {
            Transform::CounterMode { cipher, mac } => {
                apply(cipher, &self.counter(ssrc, u64::from(index)), packet.get_mut(8..)?);
                rest[..4].copy_from_slice(&word);
                rest[4..].copy_from_slice(&tag(mac, packet, word));
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
        let length = packet.len().checked_sub(4 + suite.tag()).filter(|l| *l >= 8)?;
        let word = (index | 0x8000_0000).to_be_bytes();
        match &self.transform {
            Transform::CounterMode { cipher, mac } => {
                let (body, rest) = packet.split_at_mut_checked(length)?;
                if !equal(&tag(mac, body, word), rest.get(4..)?) {
                    return None;
                }
                apply(cipher, &self.counter(ssrc, u64::from(index)), body.get_mut(8..)?);
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
    let behind = if suite == Suite::AesCm128Sha1_80 { suite.tag() } else { 0 };
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

fn apply(cipher: &Aes128, iv: &[u8; 16], body: &mut [u8]) {
    // The key schedule is copied, not made again.
    let core = CtrCore::<Aes128, ctr::flavors::Ctr128BE>::inner_iv_init(cipher.clone(), iv.into());
    Ctr128BE::<Aes128>::from_core(core).apply_keystream(body);
}

fn tag(mac: &Hmac<Sha1>, packet: &[u8], more: [u8; 4]) -> [u8; 10] {
    let mut mac = mac.clone();
    mac.update(packet);
    mac.update(&more);
    let full = mac.finalize().into_bytes();
    let mut tag = [0; 10];
    tag.copy_from_slice(&full[..10]);
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
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let text: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        text.chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
    }

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_are_derived_as_the_rfc_prints_them() {
        let (key, salt) = (hex("E1F97A0D3E018BE0D64FA32C06DE4139"), hex("0EC675AD498AFEEBB6960B3AABE6"));
        for (label, wanted) in [
            (0, "C61E7A93744F39EE10734AFE3FF7A087"),
            (2, "30CBBC08863D8C85D49DB34A9AE1"),
            (1, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"),
        ] {
            let mut out = vec![0; wanted.len() / 2];
            expand(&key, &salt, label, &mut out).unwrap();
            assert_eq!(out, hex(wanted));
        }
    }

    /// RFC 3711 appendix B.2: the keystream of SSRC 0 and index 0.
    #[test]
    fn the_keystream_is_the_rfcs() {
        let mut salt = [0; 14];
        salt.copy_from_slice(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
        let keys =
            Keys::new(Suite::AesCm128Sha1_80, &hex("2B7E151628AED2A6ABF7158809CF4F3C"), &[0; 20], &salt)
                .unwrap();
        let Transform::CounterMode { cipher, .. } = &keys.transform else { panic!() };
        let mut stream = [0; 32];
        apply(cipher, &keys.counter(0, 0), &mut stream);
        assert_eq!(stream.to_vec(), hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB"));
    }

    /// RFC 7714 §16.1: AEAD_AES_128_GCM over an RTP packet, with session keys.
    #[test]
    fn gcm_seals_as_the_rfc_prints_it() {
        let mut salt = [0; 14];
        salt[..12].copy_from_slice(&hex("517569642070726f2071756f"));
        let keys = Keys::new(Suite::AeadAes128Gcm, &hex("000102030405060708090a0b0c0d0e0f"), &[0; 20], &salt)
            .unwrap();
        assert_eq!(keys.nonce(0x5501_a0b2, 0xf17b).to_vec(), hex("51753c6580c2726f20718414"));
        let mut packet = hex("8040f17b8041f8d35501a0b2");
        packet.extend(b"Gallia est omnis divisa in partes tres");
        let length = packet.len();
        packet.resize(length + 16, 0);
        assert_eq!(
            keys.seal(Suite::AeadAes128Gcm, &mut packet, 12, length, 0x5501_a0b2, 0xf17b),
            Some(length + 16)
        );
        let wanted = "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833 899d7f27beb16a9152cf765ee4390cce";
        assert_eq!(packet, hex(wanted));
    }
}
