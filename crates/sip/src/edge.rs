//! The edge, sans IO: datagrams and verdicts in, outputs out, one deadline.
//!
//! One rule: one event of a leg at a time. While an event waits for its commit, further messages and orders of that leg queue
//! behind it. The shell owns sockets, the bus and the clock. Start at [`Edge::receive`], then `edge/arrivals.rs`
//! (transactions and legs), `edge/hearing.rs` (up to the record), `edge/saying.rs` (down to the wire), `edge/timers.rs`.

use crate::signal::Timeout;
use crate::transaction::{Key, Output as Tx, Table};
use signal::{LegRef, Secret, Time};
use std::collections::{BTreeSet, HashMap, VecDeque};

mod arrivals;
mod config;
mod hearing;
mod leg;
mod next_hop;
mod open;
mod saying;
mod timers;

pub use config::{Config, Flow, Output, Trunk};
use leg::{Leg, Pending, Work};

/// Edge of the SIP side.
#[derive(Debug)]
pub struct Edge {
    config: Config,
    secret: Secret,
    table: Table<Flow>,
    legs: HashMap<LegRef, Leg>,
    invites: HashMap<Key, LegRef>,
    pending: HashMap<u64, Pending>,
    wakes: BTreeSet<(Time, LegRef)>,
    out: VecDeque<Output>,
    tickets: u64,
    draining: bool,
}

impl Edge {
    /// Makes an edge.
    #[must_use]
    pub fn new(config: Config, secret: Secret) -> Edge {
        let table = Table::new(config.max_legs.saturating_mul(4));
        Edge {
            config,
            secret,
            table,
            legs: HashMap::new(),
            invites: HashMap::new(),
            pending: HashMap::new(),
            wakes: BTreeSet::new(),
            out: VecDeque::new(),
            tickets: 0,
            draining: false,
        }
    }

    /// Refuses new calls from now on; live ones are served (R-SIP-12).
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Returns the number of legs held.
    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Returns the number of transactions held, in either direction.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.table.len().max(self.invites.len())
    }

    /// Replaces the trunks, whose hosts have been looked up again.
    pub fn set_trunks(&mut self, trunks: Vec<Trunk>) {
        self.config.trunks = trunks;
    }

    /// Returns the Call-ID of a leg that is held, for traces.
    #[must_use]
    pub fn call_id(&self, leg: LegRef) -> Option<&str> {
        self.legs.get(&leg)?.dialog.as_ref().map(|dialog| dialog.call_id.as_str())
    }

    /// Returns the number of legs with something under way here, which a drain waits for. Established calls are in the
    /// record; any edge can serve them.
    #[must_use]
    pub fn open(&self) -> usize {
        self.legs.values().filter(|leg| leg.is_open()).count()
    }

    /// Returns the number of legs whose calls go on, which a drain waits for if no other edge would serve them.
    #[must_use]
    pub fn live(&self) -> usize {
        self.legs.values().filter(|leg| leg.is_live()).count()
    }

    /// Ends the wait for answers from a flow that cannot be sent to (refused connection, no route).
    pub fn unreachable(&mut self, flow: Flow, now: Time) {
        for key in self.table.fail(&flow) {
            if let Some(leg) = self.invites.remove(&key) {
                self.enqueue(leg, Work::Timeout(Timeout::Transport), now);
            }
        }
        self.flush(now);
    }

    fn branch(&self, parts: &[&[u8]]) -> String {
        format!("z9hG4bK{}", self.secret.derive_text("branch", parts, 24))
    }

    /// Returns the time of the next tick.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        [self.table.deadline(), self.wakes.first().map(|w| w.0)].into_iter().flatten().min()
    }

    /// Returns the next output.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn flush(&mut self, now: Time) {
        while let Some(output) = self.table.poll() {
            match output {
                Tx::Send(flow, octets) => self.out.push_back(Output::Send(flow, octets)),
                Tx::TimedOut(key) => {
                    if let Some(leg) = self.invites.remove(&key) {
                        self.enqueue(leg, Work::Timeout(Timeout::Response), now);
                    }
                }
            }
        }
    }
}
