//! The octets of what edges and orchestrators ask and say.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use signal::{Ask, Handover, Said, Say, Verdict};

/// Octets that make no sense, or a format newer than this instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {0}")]
pub struct WireError(&'static str);

/// Something that travels on the bus.
pub trait Wire: Sized {
    /// As octets.
    fn encode(&self) -> Bytes;
    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// [`WireError`] for octets that are not of this type.
    fn decode(octets: &[u8]) -> Result<Self, WireError>;
}

fn encode(value: &impl Serialize) -> Bytes {
    postcard::to_stdvec(value).map(Bytes::from).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(octets: &[u8], name: &'static str) -> Result<T, WireError> {
    postcard::from_bytes(octets).map_err(|_| WireError(name))
}

macro_rules! wire {
    ($($type:ident),*) => {$(
        impl Wire for $type {
            fn encode(&self) -> Bytes {
                encode(self)
            }
            fn decode(octets: &[u8]) -> Result<Self, WireError> {
                decode(octets, stringify!($type))
            }
        }
    )*};
}

wire!(Ask, Verdict, Say, Said, Handover);
