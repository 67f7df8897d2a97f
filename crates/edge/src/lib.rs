//! Leg core of both edges, sans IO: the way of a leg's events to the record and of its orders to the wire.
//!
//! One rule: one event of a leg at a time. While a message waits for its commit, further messages and orders of that leg queue
//! behind it. This crate knows no protocol; SIP and Jingle implement [`Protocol`]. Start at [`Legs`], then `commit.rs` (up to the
//! record), `order.rs` (down to the wire), `timeout.rs`, `queue.rs`.
//!
//! A protocol whose only message hangs up, driven by hand:
//!
//! ```
//! # use edge::{Config, Held, Hearing, Input, LegMut, Legs, Outcome, Output, Protocol};
//! # use signal::{Ask, RecordId, End, EventId, LegId, LegRef, LegState, Opening, Reason, Say, Signal, Time, Verdict};
//! # use tandem_edge as edge;
//! #[derive(Default)]
//! struct Bell {
//!     sent: Vec<&'static str>,
//! }
//!
//! impl Protocol for Bell {
//!     const MAX_WAITING: usize = 8;
//!     type State = bool; // true: the call goes on
//!     type Local = ();
//!     type Message = &'static str;
//!     type Event = ();
//!     type Timer = ();
//!     type Outgoing = &'static str;
//!     // …
//! #   fn decode(octets: &[u8]) -> Option<bool> { octets.first().map(|octet| *octet == 1) }
//! #   fn encode(state: &bool) -> Vec<u8> { vec![u8::from(*state)] }
//! #   fn end(state: &mut bool) { *state = false; }
//! #   fn is_over(state: &bool) -> bool { !state }
//! #   fn event_id(&self, _: LegRef, _: &bool, _: u32, _: &Input<Self>) -> EventId { EventId(7) }
//! #   fn opening(&self, _: &&'static str) -> Option<Opening> { None }
//!     fn hear(&mut self, _: &mut LegMut<'_, Self>, state: &mut bool, _: &Input<Self>, _: &Hearing) -> Outcome<&'static str> {
//!         *state = false;
//!         let signals = vec![Signal::End(Reason::Normal.into())];
//!         Outcome { signals, send_after_commit: vec!["goodbye"], ..Outcome::default() }
//!     }
//!     fn send(&mut self, _: &mut LegMut<'_, Self>, _: &bool, _: Option<&&'static str>, outgoing: Vec<&'static str>, _: Time) -> bool {
//!         self.sent.extend(outgoing);
//!         true
//!     }
//! #   fn open(&mut self, _: LegRef, _: &Opening) -> Result<bool, Reason> { Ok(true) }
//! #   fn say(&mut self, _: &mut LegMut<'_, Self>, _: &mut bool, _: &Say, _: Time) -> Vec<&'static str> { vec![] }
//! #   fn fire(&mut self, _: &mut LegMut<'_, Self>, _: Option<&bool>, _: (), _: Time) -> Option<()> { None }
//! #   fn lifetime(&self, _: &bool) -> u64 { 1_000 }
//! #   fn can_refuse(&self, _: &&'static str) -> bool { true }
//! #   fn refuse(&mut self, _: LegRef, _: &&'static str, _: &End, _: bool, _: Time) { self.sent.push("refused"); }
//! #   fn acknowledge(&mut self, _: LegRef, _: Option<&bool>, _: &&'static str, _: Time) {}
//! #   fn removed(&mut self, _: LegRef, _: ()) {}
//! }
//!
//! let mut legs = Legs::new(Bell::default(), Config { instance: "edge-1".into(), max_legs: 10, limits: vec![] });
//! let (leg, now) = (LegRef { record: RecordId::call([0; 10]), leg: LegId(0) }, Time(0));
//! legs.handle_message(leg, "hang up", now);
//! // This edge has never seen the leg: the record has it.
//! let Some(Output::Ask(ticket, Ask::Recall(_))) = legs.poll_output() else { panic!() };
//! let state = LegState { leg, revision: 4, dialog: vec![1], edge: String::new(), trace: String::new() };
//! legs.handle_verdict(ticket, Verdict::Leg(state), now);
//! // Now it is heard, and answered once the record knows.
//! let Some(Output::Ask(ticket, Ask::Heard(heard))) = legs.poll_output() else { panic!() };
//! assert_eq!((heard.base, legs.protocol.sent.len()), (4, 0));
//! legs.handle_verdict(ticket, Verdict::Committed { revision: 5, trace: String::new() }, now);
//! assert_eq!(legs.protocol.sent, ["goodbye"]);
//! // A second after its last message the leg is forgotten.
//! let at = legs.poll_timeout().unwrap();
//! legs.handle_timeout(at);
//! assert_eq!((at, legs.held().len(), legs.poll_timeout()), (Time(1_000), 0, None));
//! ```

mod admission;
mod commit;
mod leg;
mod order;
mod protocol;
mod queue;
mod refusal;
mod shell;
#[cfg(test)]
mod tests;
mod timeout;

use admission::{Admission, Opener};
pub use admission::{Limit, Limits};
use commit::Pending;
use leg::{Commit, Leg, Work};
pub use leg::{Held, LegMut, Timers};
pub use protocol::{Expiry, Hearing, Input, Membership, Outcome, Protocol, Reopening};
pub use refusal::Refusal;
pub use shell::{Edge, Name};
use signal::{Ask, Handover, LegRef, Opening, Order, Said, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Configuration of the leg core.
#[derive(Clone, Debug)]
pub struct Config {
    /// Id of this instance.
    pub instance: String,
    /// Most legs that may be open when another call comes in. Twice as many are held at all.
    pub max_legs: usize,
    /// Limits by trunk or component domain, as in [`signal::Opening::link`].
    pub limits: Vec<(String, Limits)>,
}

/// Task for the shell.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Ask an orchestrator and bring the answer to [`Legs::handle_verdict`]; no answer is `Verdict::Unavailable`.
    Ask(u64, Ask),
    /// Answer an order.
    Said(Said),
    /// Give the message to the edge of this instance id, and bring to [`Legs::handle_forwarded`] if it took the message. No such
    /// edge counts as not taken.
    Forward(u64, String, Handover),
}

/// Legs of one edge.
///
/// Inputs are the `handle_*` methods: a message of a peer ([`Legs::handle_message`], [`Legs::open`] if it opens a call), an event of
/// the protocol's own ([`Legs::handle_event`]), an order ([`Legs::handle_order`]), the answers to outputs
/// ([`Legs::handle_verdict`], [`Legs::handle_forwarded`]) and time ([`Legs::handle_timeout`]). After any of them the shell takes
/// what the protocol sends, calls [`Legs::poll_output`] until it is empty, and sleeps until [`Legs::poll_timeout`] at the latest.
/// Getters change nothing.
///
/// Guarantees, for every protocol:
/// - Work of a leg is done one by one, in order. Its queue is bounded; a message that finds no room is refused, an order is left to
///   be given again, an event of the protocol's own always finds room.
/// - A message for a leg that is not held recalls the leg from the record first, and so does one that may be of the leg as only
///   the record knows it. One that is not of its leg changes nothing.
/// - A commit carries the revision that it was made against. After a stale one the message is heard again against the record's
///   state, at most three times; what was sent at once is not sent again.
/// - A commit that the record had already changes nothing here; at another revision it leaves no state here: the record knows better.
/// - A verdict that is lost counts as none after [`signal::VERDICT_MS`] and 3 s.
/// - A message that cannot be refused, and every event, is committed again with growing pauses while no orchestrator answers. The
///   peer does not wait for that.
/// - An order is carried out once, however often it is given. One for a state that a newer version wrote is left to another edge.
/// - A state may ask for a time at which its leg is woken, at this edge or at another one if this one is gone. A leg that has changed
///   since then is not woken.
/// - A call that would exceed a limit of its link is refused, whichever side opens it ([`Limits`]).
/// - Legs leave after their lifetime, and those that nothing is known of at once; the number of legs, of their timers and of their
///   effects is bounded.
#[derive(Debug)]
pub struct Legs<P: Protocol> {
    /// Protocol of these legs.
    pub protocol: P,
    config: Config,
    held: Held<P>,
    admission: Admission,
    /// Asks and forwarded messages by ticket, so the oldest is the first.
    pending: BTreeMap<u64, Pending<P>>,
    deadlines: BTreeSet<(Time, LegRef)>,
    out: VecDeque<Output>,
    tickets: u64,
}

impl<P: Protocol> Legs<P> {
    /// Creates an empty core.
    #[must_use]
    pub fn new(protocol: P, mut config: Config) -> Legs<P> {
        Legs {
            protocol,
            admission: Admission::new(std::mem::take(&mut config.limits)),
            config,
            held: Held(Default::default()),
            pending: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            out: VecDeque::new(),
            tickets: 0,
        }
    }

    /// Handles a message of a leg's peer.
    pub fn handle_message(&mut self, leg: LegRef, message: P::Message, now: Time) {
        self.enqueue(leg, Work::Hear(Commit::new(Input::Message(message))), true, now);
    }

    /// Opens a leg for a message that opens a call, unless a limit of its link refuses that. The caller has asked [`Legs::has_room`]
    /// and [`Held::contains`] before.
    pub fn open(&mut self, leg: LegRef, state: P::State, message: P::Message, now: Time) {
        let opening = self.admission.is_limited().then(|| self.protocol.opening(&message)).flatten();
        if let Some(Err(limit)) = opening.map(|opening| self.admit(leg, &opening, Opener::Peer, now)) {
            return self.protocol.refuse(leg, &message, &limit.into(), true, now);
        }
        self.held.0.insert(leg, Box::new(Leg { state: Some(state), opening: true, ..Leg::default() }));
        self.handle_message(leg, message, now);
    }

    /// Counts a leg against the limits of its link.
    pub(crate) fn admit(
        &mut self,
        leg: LegRef,
        opening: &Opening,
        opener: Opener,
        now: Time,
    ) -> Result<(), Limit> {
        self.admission.release_absent(now, |leg| self.held.contains(leg));
        self.admission.admit(leg, opening, opener, now)
    }

    /// Replaces the limits of the links; calls that stand stay, and are counted on.
    pub fn set_limits(&mut self, limits: Vec<(String, Limits)>) {
        self.admission.set(limits);
    }

    /// Replaces the number of legs that may be open when another call comes in; those that are stay.
    pub fn set_max_legs(&mut self, max_legs: usize) {
        self.config.max_legs = max_legs;
    }

    /// Handles an event of the protocol's own.
    pub fn handle_event(&mut self, leg: LegRef, event: P::Event, now: Time) {
        self.enqueue(leg, Work::Hear(Commit::new(Input::Event(event))), false, now);
    }

    /// Handles an order. It yields one [`Output::Said`], or nothing if the leg's queue is full: then the order is given again.
    pub fn handle_order(&mut self, order: impl Into<Order>, now: Time) {
        let order = order.into();
        self.enqueue(order.state().leg, Work::Order(order), true, now);
    }

    /// Takes the next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Returns the time of the next [`Legs::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let verdict = self.pending.first_key_value().map(|(_, pending)| pending.deadline);
        self.deadlines.first().map(|(at, _)| *at).into_iter().chain(verdict).min()
    }

    /// Legs that are held.
    #[must_use]
    pub fn held(&self) -> &Held<P> {
        &self.held
    }

    /// Protocol and legs side by side.
    pub fn split(&mut self) -> (&mut P, &Held<P>) {
        (&mut self.protocol, &self.held)
    }

    /// Legs that are held, for changes of their local state.
    pub fn held_mut(&mut self) -> &mut Held<P> {
        &mut self.held
    }

    /// Number of asks and forwarded messages without an answer.
    #[must_use]
    pub fn asks(&self) -> usize {
        self.pending.len()
    }

    /// Returns true if another call may come in.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.held.len() < self.config.max_legs
    }

    /// Returns true if so much is held that not even a leg of the record is taken in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let most = self.config.max_legs.saturating_mul(2);
        self.held.len() >= most || self.pending.len() >= most
    }
}
