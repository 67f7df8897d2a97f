//! Interface between an edge and its shell.

use signal::{LegRef, Order, Time, Verdict};

/// Edge without IO, as far as every shell drives it in the same way.
pub trait Edge {
    /// Takes the answer to an ask.
    fn verdict(&mut self, ticket: u64, verdict: Verdict, now: Time);
    /// Takes an order of an orchestrator.
    fn order(&mut self, order: Order, now: Time);
    /// Returns the name of a leg; empty if the leg is not held.
    fn name(&self, leg: LegRef) -> Name<'_>;
}

/// Name of a leg in its own protocol, for traces; may be empty.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    /// SIP Call-ID.
    CallId(&'a str),
    /// Jingle session id.
    Sid(&'a str),
}
