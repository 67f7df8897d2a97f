//! Outbox: the effects of a record that are still to be performed, stored beside it.

use minicbor::{Decode, Encode};
use signal::{EffectId, RecordId, Stored, Time};
use std::ops::{Deref, DerefMut};

/// Effect of a machine, as its outbox stores it.
pub trait StoredEffect: Clone + Encode<()> + for<'b> Decode<'b, ()> + Send + Sync + 'static {
    /// Lane: effects of one lane are performed in order, those of different lanes side by side.
    type Lane: Copy + Ord + Send;

    /// Name of the outbox in errors.
    const NAME: &'static str;
    /// Version that is written; every change of the layout raises it.
    const VERSION: u16;
    /// Oldest version that is read.
    const OLDEST: u16;

    /// Returns the lane of the effect.
    fn lane(&self) -> Self::Lane;
}

/// Effects that are still to be performed, in order.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(transparent)]
pub struct Outbox<E>(#[n(0)] Vec<Entry<E>>);

/// Effect to be performed.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Entry<E> {
    /// Id by which a repetition is recognised.
    #[n(0)]
    pub id: EffectId,
    /// Time of the decision.
    #[n(1)]
    pub since: Time,
    /// The effect.
    #[n(2)]
    pub effect: E,
}

impl<E: StoredEffect> Stored for Outbox<E> {
    const NAME: &'static str = E::NAME;
    const VERSION: u16 = E::VERSION;
    const OLDEST: u16 = E::OLDEST;
}

impl<E> Outbox<E> {
    /// Adds the effects of the decision that writes `version` of the record.
    pub fn add(&mut self, record: RecordId, version: u64, effects: Vec<E>, since: Time) {
        let entry = |(effect, index)| Entry { id: EffectId { record, version, index }, since, effect };
        self.0.extend(effects.into_iter().zip(0..).map(entry));
    }
}

impl<E> Default for Outbox<E> {
    fn default() -> Outbox<E> {
        Outbox(vec![])
    }
}

impl<E> FromIterator<Entry<E>> for Outbox<E> {
    fn from_iter<I: IntoIterator<Item = Entry<E>>>(entries: I) -> Outbox<E> {
        Outbox(entries.into_iter().collect())
    }
}

impl<E> Deref for Outbox<E> {
    type Target = Vec<Entry<E>>;
    fn deref(&self) -> &Vec<Entry<E>> {
        &self.0
    }
}

impl<E> DerefMut for Outbox<E> {
    fn deref_mut(&mut self) -> &mut Vec<Entry<E>> {
        &mut self.0
    }
}
