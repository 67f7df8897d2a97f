//! Encoding of the messages between edges and orchestrators: `tandem/v1/signal.proto`, which old and new instances both read during
//! a rolling upgrade.
//!
//! One rule: decoding checks every bound that `crates/signal` states and refuses a message by the name of the field that breaks one.
//! There is one conversion per type and direction: media in `media.rs`, signals of calls in `signal.rs`, others in `any.rs`,
//! the messages of edges in `edge.rs`.

mod any;
mod diversion;
mod edge;
mod media;
mod signal;

use crate::v1;
use ::signal::{AnySignal, Ask, Handover, Order, Said, Say, Verdict};
use bytes::Bytes;
use prost::Message;

/// Message that cannot be decoded: malformed, out of bounds or newer than this instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct WireError {
    /// Name of the message and field in `signal.proto`: `Candidate.address`.
    pub field: &'static str,
    /// Description of the fault; without the value where that may be a secret.
    pub why: String,
}

impl WireError {
    fn new(field: &'static str, why: impl Into<String>) -> WireError {
        WireError { field, why: why.into() }
    }
}

/// Type that travels on the bus.
pub trait WireFormat: Sized {
    /// Encodes the value.
    fn encode(&self) -> Bytes;
    /// Decodes a value that this or another version encoded.
    ///
    /// # Errors
    /// [`WireError`] for octets that are not of this type or break one of its bounds.
    fn decode(octets: &[u8]) -> Result<Self, WireError>;
}

macro_rules! wire {
    ($($type:ty as $message:ident),* $(,)?) => {$(
        impl WireFormat for $type {
            fn encode(&self) -> Bytes {
                v1::$message::from(self).encode_to_vec().into()
            }
            fn decode(octets: &[u8]) -> Result<Self, WireError> {
                v1::$message::decode(octets)
                    .map_err(|error| WireError::new(stringify!($message), error.to_string()))?
                    .try_into()
            }
        }
    )*};
}

wire!(
    Ask as Ask,
    Ask<AnySignal> as Ask,
    Verdict as Verdict,
    Order as Say,
    Order<AnySignal> as Say,
    Say as Say,
    Said as Said,
    Handover as Handover,
);

/// Returns a required field.
fn present<T>(value: Option<T>, field: &'static str) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::new(field, "absent, or newer than this instance"))
}

/// Converts a number to a narrower type.
fn number<T: TryFrom<u32>>(value: u32, field: &'static str) -> Result<T, WireError> {
    T::try_from(value).map_err(|_| WireError::new(field, format!("{value} is out of range")))
}

/// Converts each element of a list of at most `most`.
fn list<T, U>(values: Vec<T>, most: usize, field: &'static str) -> Result<Vec<U>, WireError>
where
    U: TryFrom<T, Error = WireError>,
{
    bounded(values, most, field)?.into_iter().map(U::try_from).collect()
}

/// Returns a list of at most `most`.
fn bounded<T>(values: Vec<T>, most: usize, field: &'static str) -> Result<Vec<T>, WireError> {
    if values.len() > most {
        return Err(WireError::new(field, format!("{} of them, {most} are allowed", values.len())));
    }
    Ok(values)
}

/// Returns a text of at most `most` octets.
fn short(text: String, most: usize, field: &'static str) -> Result<String, WireError> {
    if text.len() > most {
        return Err(WireError::new(field, format!("{} octets, {most} are allowed", text.len())));
    }
    Ok(text)
}

/// Converts an optional field.
fn optional<T, U>(value: Option<T>) -> Result<Option<U>, WireError>
where
    U: TryFrom<T, Error = WireError>,
{
    value.map(U::try_from).transpose()
}

/// Makes the error for an enum value that this instance does not know.
fn unknown(field: &'static str, value: i32) -> WireError {
    WireError::new(field, format!("{value} is not known here"))
}
