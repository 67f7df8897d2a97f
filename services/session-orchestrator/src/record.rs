//! What is kept: machines that can be written down, and their outbox.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use session::Machine;
use session::call::{Call, Effect, FORMAT};
use signal::{EffectId, Time};

/// A machine that is stored.
pub trait Stored: Machine<Event: Clone, Effect: StoredEffect> + Clone + Serialize + DeserializeOwned {
    /// The kind of its records.
    const KIND: &'static str;
    /// The newest format that this instance reads; the record begins with its format number.
    const FORMAT: u16;
}

/// An effect that is stored.
pub trait StoredEffect: Clone + Serialize + DeserializeOwned {}

impl StoredEffect for Effect {}

impl Stored for Call {
    const KIND: &'static str = "call";
    const FORMAT: u16 = FORMAT;
}

/// Effects that are still to be performed, in order.
pub type Outbox<E> = Vec<Entry<E>>;

/// One effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry<E> {
    /// Told by this when it is performed again.
    pub id: EffectId,
    /// When it was decided.
    pub since: Time,
    /// What to do.
    pub effect: E,
}
