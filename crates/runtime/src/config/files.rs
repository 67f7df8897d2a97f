//! Files of TLS that a section names, and faults of those that do not go together.

use super::load::Fault;

/// Key as it is written, `[bus] ca_file`, with the file that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Key of the configuration.
    pub key: String,
    /// File, if the key is there.
    pub file: Option<String>,
}

/// Files of TLS that a section names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that vouch for others.
    pub ca: NamedFile,
    /// Certificate of our own.
    pub certificate: NamedFile,
    /// Its key.
    pub key: NamedFile,
}

impl TlsFiles {
    /// Takes the files of a section's keys `ca_file`, `certificate_file` and `key_file` behind a prefix.
    #[must_use]
    pub fn new(
        prefix: &str,
        ca: &Option<String>,
        certificate: &Option<String>,
        key: &Option<String>,
    ) -> TlsFiles {
        let named = |name: &str, file: &Option<String>| NamedFile {
            key: format!("{prefix}{name}"),
            file: file.clone(),
        };
        TlsFiles {
            ca: named("ca_file", ca),
            certificate: named("certificate_file", certificate),
            key: named("key_file", key),
        }
    }

    /// Returns true if one is named.
    #[must_use]
    pub fn any(&self) -> bool {
        self.all().any(|named| named.file.is_some())
    }

    /// Returns the files that are named.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.all().filter_map(|named| named.file.as_deref())
    }

    fn all(&self) -> impl Iterator<Item = &NamedFile> {
        [&self.ca, &self.certificate, &self.key].into_iter()
    }

    /// Returns the fault of a certificate without its key, or of a key without its certificate.
    #[must_use]
    pub fn half(&self) -> Option<Fault> {
        pair(&self.certificate.key, self.certificate.file.is_some(), &self.key.key, self.key.file.is_some())
    }
}

/// Fault of two keys of which one is there alone.
pub(super) fn pair(first: &str, is_first: bool, second: &str, is_second: bool) -> Option<Fault> {
    let (here, absent) = match (is_first, is_second) {
        (true, false) => (first, second),
        (false, true) => (second, first),
        _ => return None,
    };
    Some(Fault::new(
        absent,
        format!("absent, while {here} is there"),
        format!("write both, or leave {here} out"),
    ))
}
