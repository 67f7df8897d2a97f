//! TLS for listeners and links: certificates and keys from files, trusted roots, and names that a certificate has.
//!
//! One rule: a fault names the key, the file and the remedy, and no key ever reaches a fault or a log. Start at [`identity`] for a
//! listener's own certificate, [`roots`] for whom to trust, [`server`] and [`client`] for both together; [`TlsLink`] is a whole link to
//! a server, [`greet`] the handshakes of a listener.

mod greet;
mod link;
mod reread;

pub use greet::{Greeted, greet};
pub use link::TlsLink;
pub use reread::Reread;

use crate::Config;
use crate::config::{AdminConfig, Fault, TlsFiles};
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

/// Reads the certificates of those who vouch for others: of a PEM file, else those that the system trusts.
///
/// # Errors
/// A [`Fault`]: a file that cannot be read or has no certificate, or a system that trusts nobody.
pub fn authorities(key: &str, file: Option<&str>) -> Result<Vec<CertificateDer<'static>>, Fault> {
    if let Some(file) = file {
        return certificates(key, file);
    }
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        let remedy = "install the system's certificates (ca-certificates), or name a file";
        return Err(Fault::new(key, "absent, and the system trusts no authority", remedy));
    }
    Ok(found)
}

/// Reads those who vouch for others: of a PEM file, else those that the system trusts.
///
/// # Errors
/// A [`Fault`]: a file that cannot be read or has no certificate of an authority, or a system that trusts nobody.
pub fn roots(key: &str, file: Option<&str>) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    let certificates = authorities(key, file)?;
    let Some(file) = file else {
        // A system may have some that this library has no use for.
        roots.add_parsable_certificates(certificates);
        return Ok(roots);
    };
    for certificate in certificates {
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
    server_of(identity, clients, Clients::Everybody).map(Arc::new)
}

fn server_of(
    identity: Arc<CertifiedKey>,
    trusted: Option<RootCertStore>,
    clients: Clients,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let trusted = trusted.filter(|roots| clients == Clients::WithCertificate || !roots.is_empty());
    let builder = match trusted {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier = match clients {
                Clients::Everybody => verifier.allow_unauthenticated(),
                Clients::WithCertificate => verifier,
            };
            // Which authorities are trusted is nobody's business, and fills a ClientHello's answer with all the system's.
            let verifier = verifier.clear_root_hint_subjects().build();
            builder.with_client_cert_verifier(verifier.map_err(|error| Error::General(error.to_string()))?)
        }
    };
    Ok(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity))))
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

/// Makes what a link to a server needs whose certificate must have the name that is connected to (RFC 9525), and our own identity for
/// servers that ask for one.
///
/// # Errors
/// Roots that cannot be used.
fn client_of(roots: RootCertStore, identity: Option<Arc<CertifiedKey>>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    Ok(match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
        None => builder.with_no_client_auth(),
    })
}

/// Reads the certificate of a section and its key, if it names them.
fn identity_of(files: &TlsFiles) -> Result<Option<Arc<CertifiedKey>>, Fault> {
    match (&files.certificate.file, &files.key.file) {
        (Some(certificate), Some(key)) => {
            identity((&files.certificate.key, certificate), (&files.key.key, key)).map(Some)
        }
        _ => files.half().map_or(Ok(None), Err),
    }
}

/// Protocol of gRPC (RFC 9113 §3.2).
pub const HTTP2: &[u8] = b"h2";

/// Lets a side say what it speaks (RFC 7301).
fn alpn(mut config: ClientConfig, protocol: Option<&[u8]>) -> ClientConfig {
    config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
    config
}

/// Which clients a listener takes, by their certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Everybody; those who show a certificate of a trusted authority have its names, if such authorities are named.
    Everybody,
    /// Those alone who show one.
    WithCertificate,
}

/// Reads what a listener needs: the files of a section, whose authorities vouch for clients.
///
/// # Errors
/// A [`Fault`] with key, value and remedy.
pub fn listener(
    section: &'static str,
    files: &TlsFiles,
    clients: Clients,
    protocol: &'static [u8],
) -> Result<Reread<Arc<ServerConfig>>, Fault> {
    let read = {
        let files = files.clone();
        move || {
            let own = identity_of(&files)?.ok_or_else(|| {
                let remedy = "name the PEM file of our certificate, and its key";
                Fault::new(&files.certificate.key, "absent", remedy)
            })?;
            let file = files.ca.file.as_deref();
            let trusted = match (file, clients) {
                (None, Clients::Everybody) => None,
                _ => Some(roots(&files.ca.key, file)?),
            };
            let config = server_of(own, trusted, clients)
                .map_err(|error| Fault::new(&files.ca.key, error.to_string(), "name other authorities"));
            config.map(|mut config| {
                config.alpn_protocols = vec![protocol.to_vec()];
                Arc::new(config)
            })
        }
    };
    Reread::new(section, files.paths(), read)
}

/// Reads what the admin API needs, if it is over TLS: users may show certificates of its authorities.
///
/// # Errors
/// A [`Fault`] with key, value and remedy.
pub fn admin_listener(config: &AdminConfig) -> Result<Option<Reread<Arc<ServerConfig>>>, Fault> {
    let files = config.tls_files();
    files.any().then(|| listener("[admin]", &files, Clients::Everybody, b"http/1.1")).transpose()
}

/// Section of the certificates of orchestrators and relays.
const CLUSTER: &str = "[cluster]";

/// Reads what the control API of a relay needs, if the installation has certificates: orchestrators show one of its authority.
///
/// # Errors
/// A [`Fault`] with key, value and remedy.
pub fn control_listener(config: &Config) -> Result<Option<Reread<Arc<ServerConfig>>>, Fault> {
    let files = config.cluster.tls_files();
    let listener = || listener(CLUSTER, &files, Clients::WithCertificate, HTTP2);
    files.any().then(listener).transpose()
}

/// Reads what an orchestrator's links to relays need, if the installation has certificates.
///
/// # Errors
/// A [`Fault`] with key, value and remedy.
pub fn control_link(config: &Config) -> Result<Option<TlsLink>, Fault> {
    let files = config.cluster.tls_files();
    let name = ("[cluster] tls_name", config.cluster.tls_name());
    files.any().then(|| TlsLink::new(CLUSTER, &files, name, Some(HTTP2))).transpose()
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

/// Returns the names of a certificate's owner: its DNS names in lower case, and its URIs.
#[must_use]
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return vec![] };
    let names = parsed.valid_dns_names().map(str::to_ascii_lowercase);
    names.chain(parsed.valid_uri_names().map(str::to_owned)).collect()
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
