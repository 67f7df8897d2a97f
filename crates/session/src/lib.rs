//! Decisions: what a call does when something is heard. Pure; the only crate that decides.
//!
//! One rule: *load, decide, save, perform*. A [`Machine`] takes an event and gives its next self and a list of effects;
//! it never waits, never asks and knows neither SIP nor XMPP. Everything that a decision needs is gathered before it,
//! everything that it causes is performed after it is stored, by `services/session-orchestrator/src/runner.rs`.
//! Start at [`call::Call`].

pub mod call;
pub mod mailbox;
mod outbox;
pub mod service;
pub mod user;

pub use outbox::{Entry, Outbox, StoredEffect};

use signal::{RecordKind, Stored, Time};

/// A record that decides (architecture §4).
pub trait Machine: Stored + Clone + Send + Sync + 'static {
    /// Kind of its records.
    const KIND: RecordKind;
    /// Event of a deadline that has passed.
    const DEADLINE: Self::Event;
    /// Time after which a record that nothing touches is forgotten, ms; `None`: never.
    const LIFETIME_MS: Option<u64>;
    /// Event of the record.
    type Event: Clone + Send + Sync;
    /// Effect of a decision.
    type Effect: StoredEffect;

    /// The next state and what follows from the event. Deterministic: a lost compare-and-set decides again.
    fn decide(self, event: Self::Event, now: Time) -> (Self, Vec<Self::Effect>);

    /// Returns true if an event from which no effect follows may wait a moment for the next one, to be stored with it. Should it be
    /// lost meanwhile, the effect that it came of is performed again and brings it again.
    #[must_use]
    fn may_wait(_event: &Self::Event) -> bool {
        false
    }

    /// Returns the time of the next decision without an event.
    fn deadline(&self) -> Option<Time>;

    /// Returns true if the record may be forgotten.
    fn finished(&self, now: Time) -> bool;
}
