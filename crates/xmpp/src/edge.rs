//! The edge, sans IO: stanzas and verdicts in, outputs out, one deadline.
//!
//! One rule: one event of a leg at a time. While a stanza waits for its commit, further stanzas and orders of that leg queue
//! behind it. The shell owns streams, the bus and the clock. Start at [`Edge::receive`] in `edge/arrivals.rs` (which leg a
//! stanza belongs to), `edge/hearing.rs` (up to the record), `edge/saying.rs` (down to the wire), `edge/timers.rs`,
//! `edge/link_buffer.rs` (links lost and found).

use signal::{LegRef, Secret, Time};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

mod arrivals;
mod config;
mod hearing;
mod leg;
mod link_buffer;
mod open;
mod saying;
mod timers;

pub use config::{Component, Config, Output};
use leg::{Leg, Pending};
use link_buffer::{Link, PendingIq};

/// XMPP edge.
#[derive(Debug)]
pub struct Edge {
    config: Config,
    secret: Secret,
    links: HashMap<String, Link>,
    legs: HashMap<LegRef, Leg>,
    pending_iqs: HashMap<String, PendingIq>,
    /// Legs between a number of ours and a user, by their bare JIDs; newest last.
    legs_by_parties: HashMap<(String, String), Vec<LegRef>>,
    /// Commits under way by ticket, so the oldest is the first.
    pending: BTreeMap<u64, Pending>,
    deadlines: BTreeSet<(Time, LegRef)>,
    out: VecDeque<Output>,
    tickets: u64,
    draining: bool,
}

impl Edge {
    /// Creates an edge. Its links are down until [`Edge::linked`] says otherwise.
    #[must_use]
    pub fn new(config: Config, secret: Secret) -> Edge {
        Edge {
            links: config
                .components
                .iter()
                .map(|c| (c.domain.to_ascii_lowercase(), Link::default()))
                .collect(),
            config,
            secret,
            legs: HashMap::new(),
            pending_iqs: HashMap::new(),
            legs_by_parties: HashMap::new(),
            pending: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            out: VecDeque::new(),
            tickets: 0,
            draining: false,
        }
    }

    /// Refuses new calls from now on; live ones are served.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Number of legs held.
    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Number of legs whose calls go on, as far as is known here: a drain waits for them if no other edge would serve them.
    #[must_use]
    pub fn live(&self) -> usize {
        self.legs.values().filter(|leg| leg.is_live()).count()
    }

    /// Number of asks without a verdict.
    #[must_use]
    pub fn asks(&self) -> usize {
        self.pending.len()
    }

    /// Returns the Jingle session id of a leg that is held, for traces.
    #[must_use]
    pub fn sid(&self, leg: LegRef) -> Option<&str> {
        self.legs.get(&leg)?.session.as_ref().map(|session| session.sid.as_str())
    }

    fn component(&self, domain: &str) -> Option<&Component> {
        self.config.components.iter().find(|c| c.domain.eq_ignore_ascii_case(domain))
    }

    /// Returns true if the link of this domain is up.
    fn is_up(&self, domain: &str) -> bool {
        self.links.get(&domain.to_ascii_lowercase()).is_some_and(|link| link.up)
    }

    fn serves(&self, domain: &str) -> bool {
        self.component(domain).is_some()
    }

    /// Takes the next output.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
}
