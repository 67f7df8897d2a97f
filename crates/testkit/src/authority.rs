//! A certificate authority of a test, and the certificates that it signs, as files.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair,
};
use std::path::PathBuf;
use tempfile::TempDir;

/// An authority that nobody else trusts.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// Files of a certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// No key can be made, or no file written.
    pub fn new() -> Result<Authority> {
        let directory = TempDir::with_prefix("tandem-authority-")?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = named("authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(directory.path().join("ca.pem"), issuer.pem())?;
        Ok(Authority { issuer, directory })
    }

    /// File of its own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Signs a certificate for a server or client of these names and addresses.
    ///
    /// # Errors
    /// No key can be made, or no file written.
    pub fn sign(&self, file: &str, names: &[&str]) -> Result<Identity> {
        self.write(file, CertificateParams::new(texts(names))?)
    }

    /// The same, valid from the begin of one year to that of another.
    ///
    /// # Errors
    /// As [`Authority::sign`].
    pub fn sign_for(&self, file: &str, names: &[&str], (first, last): (i32, i32)) -> Result<Identity> {
        let mut params = CertificateParams::new(texts(names))?;
        params.not_before = rcgen::date_time_ymd(first, 1, 1);
        params.not_after = rcgen::date_time_ymd(last, 1, 1);
        self.write(file, params)
    }

    fn write(&self, file: &str, mut params: CertificateParams) -> Result<Identity> {
        params.distinguished_name = named(file);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &*self.issuer)?;
        let at = |end: &str| self.directory.path().join(format!("{file}{end}"));
        let identity = Identity { certificate: at(".pem"), key: at(".key") };
        std::fs::write(&identity.certificate, certificate.pem())?;
        std::fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
