//! Stored forms: a value that is stored, or that travels opaque, says its version first.
//!
//! One rule: fields and variants are numbered (`#[n(…)]`), and a number never changes its meaning. A field that is added is an
//! `Option` or has `#[cbor(default)]`, so older octets still read; [`Stored::VERSION`] rises with every change, so an instance that
//! does not know a field refuses the value instead of dropping the field. Layout: a CBOR sequence (RFC 8742) of the version and the
//! value, whose structures are arrays. [Decision 60](../../../docs/decisions/0060-stored-forms.md) has the reasons.

use minicbor::decode::Error;
use minicbor::{Decode, Decoder, Encode, Encoder};

/// Value with a stored form.
pub trait Stored: Encode<()> + for<'b> Decode<'b, ()> {
    /// Name in errors.
    const NAME: &'static str;
    /// Version that is written; every change of the layout raises it.
    const VERSION: u16;
    /// Oldest version that is read.
    const OLDEST: u16;

    /// Upgrades a value read from `octets` of `version`, where the defaults of [`Decode`] do not suffice. Fields that the value
    /// has no more are read from the octets again, by a structure that has those alone.
    ///
    /// # Errors
    /// The octets have no such fields.
    fn upgrade(self, version: u16, octets: &mut Decoder<'_>) -> Result<Self, Error> {
        let _ = (version, octets);
        Ok(self)
    }
}

/// Refusal to read octets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Octets of a version that this instance does not know. They must not be overwritten.
    #[error("{name} of version {version}; this instance knows {known} at most: finish the upgrade")]
    Newer {
        /// [`Stored::NAME`]
        name: &'static str,
        /// Version of the octets.
        version: u16,
        /// [`Stored::VERSION`]
        known: u16,
    },
    /// Octets of a version that is no longer read.
    #[error("{name} of version {version}; this instance reads {oldest} and later")]
    Older {
        /// [`Stored::NAME`]
        name: &'static str,
        /// Version of the octets.
        version: u16,
        /// [`Stored::OLDEST`]
        oldest: u16,
    },
    /// Octets that cannot be decoded.
    #[error("{name} cannot be read: {why}")]
    Broken {
        /// [`Stored::NAME`]
        name: &'static str,
        /// Description of the fault and its position; without values, which may be secret.
        why: String,
    },
}

/// Writes a value with its version.
#[must_use]
pub fn encode<T: Stored>(value: &T) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::with_capacity(1_024));
    // Writing to a vector does not fail.
    let _ = encoder.u16(T::VERSION).and_then(|encoder| encoder.encode(value)).map(drop);
    encoder.into_writer()
}

/// Reads octets of [`encode`] of this or an older version.
///
/// # Errors
/// [`StoredError`]
pub fn decode<T: Stored>(octets: &[u8]) -> Result<T, StoredError> {
    let name = T::NAME;
    let broken = |error: Error| StoredError::Broken { name, why: error.to_string() };
    let mut decoder = Decoder::new(octets);
    let version = decoder.u16().map_err(broken)?;
    if version > T::VERSION {
        return Err(StoredError::Newer { name, version, known: T::VERSION });
    }
    if version < T::OLDEST {
        return Err(StoredError::Older { name, version, oldest: T::OLDEST });
    }
    let mut again = decoder.clone();
    decoder.decode::<T>().and_then(|value| value.upgrade(version, &mut again)).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Before {
        #[n(0)]
        name: String,
        #[n(1)]
        count: u32,
        #[n(2)]
        gone: u32,
    }

    /// The field of version 1 that version 2 has no more.
    #[derive(Decode)]
    struct Gone {
        #[n(2)]
        gone: u32,
    }

    impl Stored for Before {
        const NAME: &'static str = "sample";
        const VERSION: u16 = 1;
        const OLDEST: u16 = 1;
    }

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct After {
        #[n(0)]
        name: String,
        #[n(1)]
        count: u32,
        #[n(3)]
        also: Option<String>,
        #[cbor(n(4), default)]
        doubled: u32,
    }

    impl Stored for After {
        const NAME: &'static str = "sample";
        const VERSION: u16 = 2;
        const OLDEST: u16 = 1;

        fn upgrade(self, version: u16, octets: &mut Decoder<'_>) -> Result<After, Error> {
            if version == 2 {
                return Ok(self);
            }
            let Gone { gone } = octets.decode()?;
            Ok(After { doubled: self.count * 2 + gone, ..self })
        }
    }

    #[test]
    fn an_older_version_is_read_and_upgraded() {
        let octets = encode(&Before { name: "a".into(), count: 7, gone: 100 });
        let after = After { name: "a".into(), count: 7, also: None, doubled: 114 };
        assert_eq!(decode::<After>(&octets), Ok(after));
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let octets = encode(&After { name: "a".into(), count: 7, also: Some("b".into()), doubled: 1 });
        let refused = decode::<Before>(&octets).unwrap_err();
        assert_eq!(refused, StoredError::Newer { name: "sample", version: 2, known: 1 });
        assert_eq!(
            refused.to_string(),
            "sample of version 2; this instance knows 1 at most: finish the upgrade"
        );
    }

    #[test]
    fn octets_that_are_no_value_are_refused_without_showing_them() {
        for octets in [&b""[..], b"\x01", b"\x01\x82\x61secret", b"{\"json\":1}", &[0xff; 64]] {
            let refused = decode::<Before>(octets).unwrap_err();
            assert!(matches!(refused, StoredError::Broken { .. }), "{refused}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
        assert!(matches!(decode::<Before>(b"\x00\x80"), Err(StoredError::Older { version: 0, .. })));
    }
}
