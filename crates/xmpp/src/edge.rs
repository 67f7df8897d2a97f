//! The edge, sans IO: stanzas and verdicts in, outputs out, one deadline.
//!
//! The leg core (`::edge::Legs`) keeps the legs: their queues, commits, orders and lifetimes. Here is what is XMPP's own. The shell
//! owns streams, the bus and the clock. Start at [`Edge::receive`] in `edge/arrivals.rs` (which leg a stanza belongs to), then
//! `edge/jingle.rs` (Jingle as a protocol of the leg core), `edge/sending.rs`, `edge/refusing.rs`, `edge/link_buffer.rs` (links lost
//! and found).

use ::edge::{Legs, Name};
use signal::{LegRef, Order, Secret, Time, Verdict};
use std::collections::{HashMap, VecDeque};

mod arrivals;
mod config;
mod headline;
mod jingle;
mod link_buffer;
mod open;
mod refusing;
mod sending;
mod service;

use crate::session::State;
pub use ::edge::{Limits, Refusal};
pub use config::{Component, Config, Output};
use jingle::Jingle;

/// XMPP edge.
#[derive(Debug)]
pub struct Edge {
    legs: Legs<Jingle>,
}

impl Edge {
    /// Creates an edge. Its links are down until [`Edge::linked`] says otherwise.
    #[must_use]
    pub fn new(config: Config, secret: Secret) -> Edge {
        let legs = ::edge::Config {
            instance: config.instance.clone(),
            max_legs: config.max_legs,
            limits: config.limits.clone(),
        };
        let links = config.components.iter().map(|c| (c.domain.to_ascii_lowercase(), Default::default()));
        let jingle = Jingle {
            links: links.collect(),
            config,
            secret,
            pending_iqs: HashMap::new(),
            legs_by_parties: HashMap::new(),
            told: HashMap::new(),
            out: VecDeque::new(),
            refused: VecDeque::new(),
            draining: false,
            unnamed: 0,
            services: HashMap::new(),
            requests: VecDeque::new(),
            tickets: 0,
        };
        Edge { legs: Legs::new(jingle, legs) }
    }

    /// Refuses new calls from now on; live ones are served.
    pub fn drain(&mut self) {
        self.legs.protocol.draining = true;
    }

    /// Serves further component domains; those that are served already stay as they are. The links of new ones are down until
    /// [`Edge::linked`] says otherwise.
    pub fn add_components(&mut self, components: impl IntoIterator<Item = Component>) {
        let jingle = &mut self.legs.protocol;
        for component in components {
            if jingle.serves(&component.domain) {
                continue;
            }
            jingle.links.entry(component.domain.to_ascii_lowercase()).or_default();
            jingle.config.components.push(component);
        }
    }

    /// Replaces the limits of calls, by link; calls that stand are counted on.
    pub fn set_limits(&mut self, limits: Vec<(String, Limits)>) {
        self.legs.set_limits(limits);
    }

    /// Takes the legs of standing calls that another edge has served, each with an address of ours and the user's: what comes for them
    /// without naming them recalls them.
    pub fn tell_legs(&mut self, legs: impl IntoIterator<Item = (LegRef, String, String)>) {
        self.legs.protocol.tell_legs(legs);
    }

    /// Takes an order of an orchestrator; yields one [`Output::Said`], unless the leg's queue is full: then the order is given again.
    pub fn order(&mut self, order: impl Into<Order>, now: Time) {
        self.legs.handle_order(order, now);
    }

    /// Takes the answer to an [`Output::Ask`].
    pub fn verdict(&mut self, ticket: u64, verdict: Verdict, now: Time) {
        self.legs.handle_verdict(ticket, verdict, now);
    }

    /// Fires the timers that are due.
    pub fn tick(&mut self, now: Time) {
        self.legs.handle_timeout(now);
    }

    /// Returns the time of the next tick.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.legs.poll_timeout()
    }

    /// Takes the next output.
    pub fn poll(&mut self) -> Option<Output> {
        let sent = self.legs.protocol.out.pop_front().map(Output::Send);
        let refused = || self.legs.protocol.refused.pop_front().map(Output::Refused);
        let requested = || self.legs.protocol.requests.pop_front();
        sent.or_else(refused).or_else(requested).or_else(|| match self.legs.poll_output()? {
            ::edge::Output::Ask(ticket, ask) => Some(Output::Ask(ticket, ask)),
            ::edge::Output::Said(said) => Some(Output::Said(said)),
            // Stanzas come to the edge that holds the link, and belong to no other.
            ::edge::Output::Forward(..) => None,
        })
    }

    /// Number of legs held.
    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.held().len()
    }

    /// Number of legs whose calls go on, as far as is known here, or whose end is in no record yet: a drain waits for them if no
    /// other edge would serve them.
    #[must_use]
    pub fn live(&self) -> usize {
        let legs = self.legs.held().iter();
        legs.filter(|(session, _, at_work)| *at_work || session.is_some_and(|s| s.state != State::Ended))
            .count()
    }

    /// Number of asks without a verdict.
    #[must_use]
    pub fn asks(&self) -> usize {
        self.legs.asks()
    }
}

impl ::edge::Edge for Edge {
    fn verdict(&mut self, ticket: u64, verdict: Verdict, now: Time) {
        Edge::verdict(self, ticket, verdict, now);
    }

    fn order(&mut self, order: Order, now: Time) {
        Edge::order(self, order, now);
    }

    fn name(&self, leg: LegRef) -> Name<'_> {
        Name::Sid(self.legs.held().state(leg).map_or("", |state| &state.sid))
    }
}
