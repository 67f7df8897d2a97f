//! TLS for listeners and links: certificates and keys from files, trusted roots, and names that a certificate has.
//!
//! One rule: a fault names the key, the file and the remedy, and no key ever reaches a fault or a log. Start at [`identity`] for a
//! listener's own certificate, [`roots`] for whom to trust, [`server`] and [`client`] for both together.

use crate::config::Fault;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::sync::Arc;

/// Returns the one library for cryptography.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Reads a certificate chain, our own first, and its key, both PEM. `key` is the name of the key of the configuration that names the
/// certificate's file, `key_key` that of the private key's.
///
/// # Errors
/// A [`Fault`]: a file that cannot be read, has nothing of its kind, or a key of another certificate.
pub fn identity(
    (key, certificate_file): (&str, &str),
    (key_key, key_file): (&str, &str),
) -> Result<Arc<CertifiedKey>, Fault> {
    let chain = certificates(key, certificate_file)?;
    let private = PrivateKeyDer::from_pem_file(key_file).map_err(|error| match error {
        pem::Error::NoItemsFound => Fault::new(
            key_key,
            format!("{key_file} holds no private key"),
            "write a key in PEM, as -----BEGIN PRIVATE KEY-----",
        ),
        error => unreadable(key_key, key_file, &error),
    })?;
    match CertifiedKey::from_der(chain, private, &provider()) {
        Ok(identity) => Ok(Arc::new(identity)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(Fault::new(
            key_key,
            format!("{key_file} is not the key of the certificate in {certificate_file}"),
            "name the key that the certificate was made for; the certificate itself stands first in its file",
        )),
        Err(error) => Err(Fault::new(
            key_key,
            format!("{key_file} cannot be used: {error}"),
            "name a key of RSA, ECDSA or Ed25519",
        )),
    }
}

/// Reads the certificates of a PEM file.
fn certificates(key: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain: Vec<CertificateDer<'static>> = read.map_err(|error| unreadable(key, file, &error))?;
    if chain.is_empty() {
        let remedy = "write certificates in PEM, as -----BEGIN CERTIFICATE-----";
        return Err(Fault::new(key, format!("{file} holds no certificate"), remedy));
    }
    Ok(chain)
}

fn unreadable(key: &str, file: &str, error: &pem::Error) -> Fault {
    // A fault of the form may repeat what stands there.
    match error {
        pem::Error::Io(error) => Fault::new(
            key,
            format!("{file} cannot be read: {error}"),
            "name a file that this service may read",
        ),
        _ => Fault::new(key, format!("{file} is no PEM"), "write it in PEM, or convert it with openssl"),
    }
}

/// Reads those who vouch for others: of a PEM file, else those that the system trusts.
///
/// # Errors
/// A [`Fault`]: a file that cannot be read or has no certificate of an authority, or a system that trusts nobody.
pub fn roots(key: &str, file: Option<&str>) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let (found, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if found == 0 {
            let remedy = "install the system's certificates (ca-certificates), or name a file";
            return Err(Fault::new(key, "absent, and the system trusts no authority", remedy));
        }
        return Ok(roots);
    };
    for certificate in certificates(key, file)? {
        roots.add(certificate).map_err(|error| {
            let remedy = "write the certificates of the authorities alone";
            Fault::new(key, format!("{file} holds a certificate that cannot be used: {error}"), remedy)
        })?;
    }
    Ok(roots)
}

/// Makes what a listener needs: its own identity, and who may vouch for clients, whose certificates are asked for then; one that shows
/// none is let in all the same, and has no name.
///
/// # Errors
/// Roots that cannot be used.
pub fn server(
    identity: Arc<CertifiedKey>,
    clients: Option<RootCertStore>,
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match clients.filter(|roots| !roots.is_empty()) {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            // Which authorities are trusted is nobody's business, and fills a ClientHello's answer with all the system's.
            let verifier = verifier.allow_unauthenticated().clear_root_hint_subjects().build();
            builder.with_client_cert_verifier(verifier.map_err(|error| Error::General(error.to_string()))?)
        }
    };
    Ok(Arc::new(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))))
}

/// Makes what a link to a server needs: whom to trust, which names its certificate may have, and our own identity for servers that
/// ask for one.
///
/// # Errors
/// Roots that cannot be used.
pub fn client(
    roots: Arc<RootCertStore>,
    accepted: Vec<String>,
    identity: Option<Arc<CertifiedKey>>,
) -> Result<Arc<ClientConfig>, Error> {
    let verifier = Arc::new(NameVerifier { roots, accepted, provider: provider() });
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Returns the names of a certificate's owner as a SIP peer (RFC 5922 §7.1): its `sip:` URIs that name a domain alone, and without any
/// of those its DNS names; in lower case.
#[must_use]
pub fn domains(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return vec![] };
    let domain = |uri: &str| {
        let uri = uri.to_ascii_lowercase();
        // A URI with a user is a person's; `sips:` is not used in certificates.
        uri.strip_prefix("sip:").filter(|host| !host.contains('@')).map(str::to_owned)
    };
    let uris: Vec<String> = parsed.valid_uri_names().filter_map(domain).collect();
    if !uris.is_empty() {
        return uris;
    }
    parsed.valid_dns_names().map(str::to_ascii_lowercase).collect()
}

/// Verifier of servers by chain, time and name (RFC 5922 §7.2: names are compared whole, a `*` stands for itself alone).
#[derive(Debug)]
struct NameVerifier {
    roots: Arc<RootCertStore>,
    /// Names in lower case, or addresses.
    accepted: Vec<String>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NameVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        let names = domains(end_entity);
        let address = |name: &String| match ServerName::try_from(name.as_str()) {
            Ok(ip @ ServerName::IpAddress(_)) => verify_server_name(&certificate, &ip).is_ok(),
            _ => false,
        };
        if self.accepted.iter().any(|name| names.contains(name) || address(name)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidForName))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
