//! Our certificate: one for all ends of a cluster, so that it outlives a relay.

use super::engine::by_our_clock;
use super::{DtlsError, chain};
use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::ec::{EcGroup, EcKey};
use boring::hash::{MessageDigest, hash};
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::ssl::{
    SslContext, SslOptions, SslSessionCacheMode, SslSignatureAlgorithm, SslVerifyMode, SslVersion,
};
use boring::x509::{X509, X509NameBuilder};
use signal::Time;
use signal::media::Fingerprint;

/// In order of preference (interworking §12.5); the 32-bit tag is not offered.
const PROFILES: &str = "SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80";
/// P-256 first: every peer has it, and nothing is faster here.
const CURVES: &str = "P-256:X25519:P-384:P-521";
/// Of certificates of every kind that peers are known to have.
const SIGNATURES: [SslSignatureAlgorithm; 10] = [
    SslSignatureAlgorithm::ECDSA_SECP256R1_SHA256,
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA256,
    SslSignatureAlgorithm::RSA_PKCS1_SHA256,
    SslSignatureAlgorithm::ECDSA_SECP384R1_SHA384,
    SslSignatureAlgorithm::ECDSA_SECP521R1_SHA512,
    SslSignatureAlgorithm::ED25519,
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA384,
    SslSignatureAlgorithm::RSA_PKCS1_SHA384,
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA512,
    SslSignatureAlgorithm::RSA_PKCS1_SHA512,
];
const DAY: i64 = 86_400;

/// A self-signed P-256 certificate with its key, ready for any number of associations.
#[derive(Clone)]
pub struct Certificate {
    certificate: X509,
    key: PKey<Private>,
    context: SslContext,
    fingerprint: Fingerprint,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Certificate {
    /// A new key and a certificate valid from the day before `now` for ten years. The key comes from BoringSSL's random source.
    ///
    /// # Errors
    /// [`DtlsError::Library`]
    pub fn generate(now: Time) -> Result<Certificate, DtlsError> {
        let key = PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?;
        let mut serial = BigNum::new()?;
        serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
        let seconds = i64::try_from(now.0 / 1000).unwrap_or(0);
        Certificate::of(signed(&key, &serial, (seconds - DAY, seconds + 3650 * DAY))?, key)
    }

    /// Reads a certificate and its key from one PEM text.
    ///
    /// # Errors
    /// [`DtlsError::Certificate`] when either is missing, they do not belong together, or the key is not P-256.
    pub fn from_pem(pem: &[u8]) -> Result<Certificate, DtlsError> {
        let certificate = X509::from_pem(pem).map_err(|_| DtlsError::Certificate("no certificate in it"))?;
        let key = PKey::private_key_from_pem(pem)
            .map_err(|_| DtlsError::Certificate("no private key without passphrase in it"))?;
        // Any peer takes P-256; an RSA key would cost each handshake twice as much.
        let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
        if curve != Some(Nid::X9_62_PRIME256V1) {
            return Err(DtlsError::Certificate("the key is of another kind"));
        }
        if !certificate.public_key()?.public_eq(&key) {
            return Err(DtlsError::Certificate("the key is not the certificate's"));
        }
        Certificate::of(certificate, key)
    }

    /// Certificate and key as one PEM text: a secret.
    ///
    /// # Errors
    /// [`DtlsError::Library`]
    pub fn to_pem(&self) -> Result<Vec<u8>, DtlsError> {
        let mut pem = self.certificate.to_pem()?;
        pem.extend(self.key.private_key_to_pem_pkcs8()?);
        Ok(pem)
    }

    /// Its SHA-256 (RFC 8122 §5).
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }

    pub(super) fn context(&self) -> &SslContext {
        &self.context
    }

    /// A certificate with its key, of any kind: peers have others than ours. Cluster certificates are read by [`Certificate::from_pem`].
    ///
    /// # Errors
    /// [`DtlsError::Library`]: they do not belong together.
    pub fn of(certificate: X509, key: PKey<Private>) -> Result<Certificate, DtlsError> {
        let context = context(&certificate, &key, (SslVersion::DTLS1_2, SslVersion::DTLS1_3))?;
        let fingerprint = Fingerprint {
            hash: "sha-256".into(),
            digest: certificate.digest(MessageDigest::sha256())?.to_vec(),
        };
        Ok(Certificate { certificate, key, context, fingerprint })
    }

    /// The same of a peer that speaks this version alone.
    #[cfg(test)]
    pub(super) fn only(mut self, version: SslVersion) -> Certificate {
        self.context = context(&self.certificate, &self.key, (version, version)).unwrap();
        self
    }
}

/// Library context that all associations of a certificate share.
fn context(
    certificate: &X509,
    key: &PKey<Private>,
    versions: (SslVersion, SslVersion),
) -> Result<SslContext, DtlsError> {
    let mut context = SslContext::builder(chain::method())?;
    context.set_min_proto_version(Some(versions.0))?;
    context.set_max_proto_version(Some(versions.1))?;
    chain::show(&mut context, &certificate.to_der()?, key)?;
    // Whoever it is has to show a certificate; which one is settled by its fingerprint, after the handshake.
    context.set_custom_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_| Ok(()));
    context.set_verify_algorithm_prefs(&SIGNATURES)?;
    context.set_curves_list(CURVES)?;
    context.set_tlsext_use_srtp(PROFILES)?;
    context.set_options(SslOptions::NO_TICKET);
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    by_our_clock(&mut context);
    Ok(context.build())
}

/// A certificate of this key, signed with it.
pub(super) fn signed(
    key: &PKey<Private>,
    serial: &BigNum,
    (from, to): (i64, i64),
) -> Result<X509, DtlsError> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "tandem")?;
    let name = name.build();
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = serial.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    let (from, to) = (Asn1Time::from_unix(from)?, Asn1Time::from_unix(to)?);
    builder.set_not_before(&from)?;
    builder.set_not_after(&to)?;
    builder.set_pubkey(key)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// One of the fingerprints is this certificate's (DER). Where a strong one is given, SHA-1 ones do not count (RFC 8122 §5.1).
pub(super) fn matches(certificate: &[u8], fingerprints: &[Fingerprint]) -> bool {
    let strong = |f: &&Fingerprint| !f.hash.eq_ignore_ascii_case("sha-1");
    let only_strong = fingerprints.iter().any(|f| strong(&f) && digest(&f.hash).is_some());
    fingerprints.iter().filter(|f| !only_strong || strong(f)).any(|wanted| {
        let digest = digest(&wanted.hash).and_then(|digest| hash(digest, certificate).ok());
        digest.is_some_and(|digest| *digest == *wanted.digest)
    })
}

fn digest(name: &str) -> Option<MessageDigest> {
    match name.to_ascii_lowercase().as_str() {
        "sha-1" => Some(MessageDigest::sha1()),
        "sha-224" => Some(MessageDigest::sha224()),
        "sha-256" => Some(MessageDigest::sha256()),
        "sha-384" => Some(MessageDigest::sha384()),
        "sha-512" => Some(MessageDigest::sha512()),
        _ => None,
    }
}
