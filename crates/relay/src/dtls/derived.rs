//! A certificate that follows from a secret: whoever knows the secret shows the same one, octet by octet.
//!
//! Peers believe a fingerprint, and that is one of the whole certificate, its signature too. BoringSSL signs with a random number, so
//! the signature is made here with one that follows from the secret and from what is signed (the idea of RFC 6979).

use super::certificate::signed;
use super::{Certificate, DtlsError};
use aws_lc_rs::hmac::{HMAC_SHA512, Key, sign};
use boring::bn::{BigNum, BigNumContext};
use boring::ec::{EcGroup, EcKey, EcPoint};
use boring::ecdsa::EcdsaSig;
use boring::error::ErrorStack;
use boring::nid::Nid;
use boring::pkey::PKey;
use boring::sha::sha256;
use boring::x509::X509;

/// Validity, seconds: 2024-01-01 to 2049-12-31. Peers of DTLS-SRTP do not look (RFC 8122 §5): it has to be the same everywhere.
const VALID: (i64, i64) = (1_704_067_200, 2_524_521_600);
/// ecdsa-with-SHA256 (RFC 5758 §3.2), in DER.
const ALGORITHM: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

impl Certificate {
    /// The certificate of whoever knows this secret.
    ///
    /// # Errors
    /// [`DtlsError::Library`]
    pub fn derived(secret: &[u8; 32]) -> Result<Certificate, DtlsError> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let mut context = BigNumContext::new()?;
        let number = scalar(secret, b"key", &[], &group)?;
        let mut public = EcPoint::new(&group)?;
        public.mul_generator(&group, &number, &mut context)?;
        let key = PKey::from_ec_key(EcKey::from_private_components(&group, &number, &public)?)?;
        let serial = BigNum::from_slice(expand(secret, b"serial", &[]).get(..15).unwrap_or_default())?;
        let random = signed(&key, &serial, VALID)?.to_der()?;
        let body = body(&random).ok_or(DtlsError::Certificate("BoringSSL wrote one that has no body"))?;
        let signature = signature(secret, body, &number, &group)?;
        let mut bits = vec![0];
        bits.extend(signature.to_der()?);
        let certificate = element(0x30, &[body, &ALGORITHM[..], &element(0x03, &bits)].concat());
        Certificate::of(X509::from_der(&certificate)?, key)
    }
}

/// ECDSA (FIPS 186-4 §6.4) over SHA-256.
fn signature(secret: &[u8; 32], body: &[u8], key: &BigNum, group: &EcGroup) -> Result<EcdsaSig, ErrorStack> {
    let mut context = BigNumContext::new()?;
    let (mut order, mut x, mut y) = (BigNum::new()?, BigNum::new()?, BigNum::new()?);
    group.order(&mut order, &mut context)?;
    let digest = sha256(body);
    let once = scalar(secret, b"signature", &digest, group)?;
    let mut point = EcPoint::new(group)?;
    point.mul_generator(group, &once, &mut context)?;
    point.affine_coordinates(group, &mut x, &mut y, &mut context)?;
    let (mut r, mut s, mut product, mut sum, mut inverse) =
        (BigNum::new()?, BigNum::new()?, BigNum::new()?, BigNum::new()?, BigNum::new()?);
    r.nnmod(&x, &order, &mut context)?;
    product.mod_mul(&r, key, &order, &mut context)?;
    let digest = BigNum::from_slice(&digest)?;
    sum.mod_add(&digest, &product, &order, &mut context)?;
    inverse.mod_inverse(&once, &order, &mut context)?;
    s.mod_mul(&inverse, &sum, &order, &mut context)?;
    EcdsaSig::from_private_components(r, s)
}

/// 1 to the group's order less one; 512 bits make the excess of some numbers over others nothing.
fn scalar(secret: &[u8; 32], label: &[u8], about: &[u8], group: &EcGroup) -> Result<BigNum, ErrorStack> {
    let mut context = BigNumContext::new()?;
    let (mut order, mut scalar) = (BigNum::new()?, BigNum::new()?);
    group.order(&mut order, &mut context)?;
    order.sub_word(1)?;
    scalar.nnmod(&*BigNum::from_slice(&expand(secret, label, about))?, &order, &mut context)?;
    scalar.add_word(1)?;
    Ok(scalar)
}

fn expand(secret: &[u8; 32], label: &[u8], about: &[u8]) -> Vec<u8> {
    let key = Key::new(HMAC_SHA512, secret);
    sign(&key, &[&b"tandem dtls "[..], label, &[0], about].concat()).as_ref().to_vec()
}

/// The first element of a certificate: what is signed (RFC 5280 §4.1).
fn body(certificate: &[u8]) -> Option<&[u8]> {
    let (_, inner) = header(certificate)?;
    let inner = certificate.get(inner..)?;
    let (length, start) = header(inner)?;
    inner.get(..start + length)
}

/// Length of an element's content, and where that begins.
fn header(element: &[u8]) -> Option<(usize, usize)> {
    match *element.get(1..)? {
        [short, ..] if short < 0x80 => Some((short.into(), 2)),
        [0x81, a, ..] => Some((a.into(), 3)),
        [0x82, a, b, ..] => Some((u16::from_be_bytes([a, b]).into(), 4)),
        _ => None,
    }
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(long) => out.extend([0x81, long]),
        Err(_) => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_secret_shows_the_same_certificate_and_its_signature_holds() {
        for secret in 0..20u8 {
            let one = Certificate::derived(&[secret; 32]).unwrap();
            let two = Certificate::derived(&[secret; 32]).unwrap();
            assert_eq!(one.to_pem().unwrap(), two.to_pem().unwrap());
            let other = Certificate::derived(&[secret + 100; 32]).unwrap();
            assert_ne!(one.fingerprint(), other.fingerprint());
            let certificate = X509::from_pem(&one.to_pem().unwrap()).unwrap();
            assert!(certificate.verify(&*certificate.public_key().unwrap()).unwrap(), "{secret}");
            Certificate::from_pem(&one.to_pem().unwrap()).unwrap();
        }
    }
}
