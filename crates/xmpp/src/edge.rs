//! The edge, sans IO: stanzas and verdicts in, outputs out, one deadline.
//!
//! One rule: one event of a leg at a time. While what was heard waits for its commit, further stanzas and sayings of that
//! leg queue behind it. The shell owns streams, the bus and the clock. Start at [`Edge::receive`] in `edge/arrivals.rs`
//! (which leg is meant), `edge/hearing.rs` (up to the record), `edge/saying.rs` (down to the wire), `edge/timers.rs`,
//! `edge/wire.rs` (links lost and found).

use signal::{LegRef, Secret, Time};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

mod arrivals;
mod hearing;
mod leg;
mod link;
mod open;
mod saying;
mod timers;
mod wire;

use leg::{Leg, Pending};
pub use link::{Component, Config, Output};
use wire::{Awaited, Link};

/// The edge.
#[derive(Debug)]
pub struct Edge {
    config: Config,
    secret: Secret,
    links: HashMap<String, Link>,
    legs: HashMap<LegRef, Leg>,
    awaited: HashMap<String, Awaited>,
    /// The legs between a number of ours and a user, by their bare JIDs; the last one last.
    pairs: HashMap<(String, String), Vec<LegRef>>,
    /// By ticket, so the oldest is the first.
    pending: BTreeMap<u64, Pending>,
    wakes: BTreeSet<(Time, LegRef)>,
    out: VecDeque<Output>,
    tickets: u64,
    draining: bool,
}

impl Edge {
    /// A new edge. Its links are down until [`Edge::linked`] says otherwise.
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
            awaited: HashMap::new(),
            pairs: HashMap::new(),
            pending: BTreeMap::new(),
            wakes: BTreeSet::new(),
            out: VecDeque::new(),
            tickets: 0,
            draining: false,
        }
    }

    /// No new calls from now on; live ones are served.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Legs held.
    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Legs whose calls go on, as far as is known here: what a drain waits for where no other edge would serve them.
    #[must_use]
    pub fn live(&self) -> usize {
        self.legs.values().filter(|leg| leg.is_live()).count()
    }

    /// Asks without a verdict.
    #[must_use]
    pub fn asks(&self) -> usize {
        self.pending.len()
    }

    /// The Jingle session id of a leg that is held, for traces.
    #[must_use]
    pub fn sid(&self, leg: LegRef) -> Option<&str> {
        self.legs.get(&leg)?.session.as_ref().map(|session| session.sid.as_str())
    }

    fn component(&self, domain: &str) -> Option<&Component> {
        self.config.components.iter().find(|c| c.domain.eq_ignore_ascii_case(domain))
    }

    /// The link of this domain is there.
    fn is_up(&self, domain: &str) -> bool {
        self.links.get(&domain.to_ascii_lowercase()).is_some_and(|link| link.up)
    }

    fn serves(&self, domain: &str) -> bool {
        self.component(domain).is_some()
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }
}
