//! The octets of what edges and orchestrators ask and say: `tandem/v1/signal.proto`, which old and new instances both read
//! during a rolling upgrade.
//!
//! One rule: what is decoded keeps every bound that the vocabulary states, or is refused by the name of its field. One
//! conversion per type and direction: [`media`](self) in `media.rs`, signals in `signal.rs`, the edge contract in `edge.rs`.

mod edge;
mod media;
mod signal;

use crate::v1;
use ::signal::{Ask, Handover, Said, Say, Verdict};
use bytes::Bytes;
use prost::Message;

/// Octets that make no sense, or something newer than this instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct WireError {
    /// The message and field of `signal.proto`: `Candidate.address`.
    pub field: &'static str,
    /// What is wrong with it; never its value where that may be a secret.
    pub why: String,
}

impl WireError {
    fn new(field: &'static str, why: impl Into<String>) -> WireError {
        WireError { field, why: why.into() }
    }
}

/// Something that travels on the bus.
pub trait WireFormat: Sized {
    /// As octets.
    fn encode(&self) -> Bytes;
    /// Reads what `encode` wrote, here or in another version.
    ///
    /// # Errors
    /// [`WireError`] for octets that are not of this type, or that break a bound of it.
    fn decode(octets: &[u8]) -> Result<Self, WireError>;
}

macro_rules! wire {
    ($($type:ident),*) => {$(
        impl WireFormat for $type {
            fn encode(&self) -> Bytes {
                v1::$type::from(self).encode_to_vec().into()
            }
            fn decode(octets: &[u8]) -> Result<Self, WireError> {
                v1::$type::decode(octets)
                    .map_err(|error| WireError::new(stringify!($type), error.to_string()))?
                    .try_into()
            }
        }
    )*};
}

wire!(Ask, Verdict, Say, Said, Handover);

/// A field that must be there.
fn present<T>(value: Option<T>, field: &'static str) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::new(field, "absent, or newer than this instance"))
}

/// A number within the range of its type.
fn number<T: TryFrom<u32>>(value: u32, field: &'static str) -> Result<T, WireError> {
    T::try_from(value).map_err(|_| WireError::new(field, format!("{value} is out of range")))
}

/// A list of at most `most`, each converted.
fn list<T, U>(values: Vec<T>, most: usize, field: &'static str) -> Result<Vec<U>, WireError>
where
    U: TryFrom<T, Error = WireError>,
{
    bounded(values, most, field)?.into_iter().map(U::try_from).collect()
}

/// A list of at most `most`.
fn bounded<T>(values: Vec<T>, most: usize, field: &'static str) -> Result<Vec<T>, WireError> {
    if values.len() > most {
        return Err(WireError::new(field, format!("{} of them, {most} are allowed", values.len())));
    }
    Ok(values)
}

/// A part that may be absent.
fn optional<T, U>(value: Option<T>) -> Result<Option<U>, WireError>
where
    U: TryFrom<T, Error = WireError>,
{
    value.map(U::try_from).transpose()
}

/// An enum value that this instance does not know.
fn unknown(field: &'static str, value: i32) -> WireError {
    WireError::new(field, format!("{value} is not known here"))
}
