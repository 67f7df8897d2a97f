//! The edge, sans IO: datagrams and verdicts in, outputs out, one deadline.
//!
//! The leg core (`::edge::Legs`) keeps the legs: their queues, commits, orders and lifetimes. Here is what is SIP's own. The shell
//! owns sockets, the bus and the clock. Start at [`Edge::receive`] in `edge/arrivals.rs` (read, validated), then `edge/method.rs`
//! (authorised and served by method), `edge/user_agent.rs` (SIP as a protocol of the leg core), `edge/hearing.rs` (up),
//! `edge/sending.rs` (down to the wire), `edge/timers.rs`.

use crate::dialog::State;
use crate::signal::Timeout;
use crate::transaction::{Output as Tx, Table};
use ::edge::{Legs, Name};
use signal::{LegRef, Order, Secret, Time, Verdict};
use std::collections::{HashMap, VecDeque};

mod arrivals;
mod attempt;
mod authenticate;
mod config;
mod hearing;
mod method;
mod next_hop;
mod open;
mod reliable;
mod sending;
mod timers;
mod user_agent;

pub use ::edge::{Limits, Refusal};
pub use address::Rewrites;
pub use address::transport::Transport;
use attempt::Failed;
pub use config::{Advertised, Config, ConnectionId, Flow, Local, Output, Target, Trunk, TrunkId};
use user_agent::{TransactionUser, UserAgent};

/// Most transactions for each leg.
const TRANSACTIONS: usize = 4;

/// Edge of the SIP side.
#[derive(Debug)]
pub struct Edge {
    legs: Legs<UserAgent>,
    out: VecDeque<Output>,
}

impl Edge {
    /// Makes an edge.
    #[must_use]
    pub fn new(config: Config, secret: Secret) -> Edge {
        let legs = ::edge::Config {
            instance: config.instance.clone(),
            max_legs: config.max_legs,
            limits: config.limits.clone(),
        };
        let mut ua = UserAgent {
            table: Table::new(config.max_legs.saturating_mul(TRANSACTIONS)),
            config,
            former: vec![],
            secret,
            failed: Failed::default(),
            out: VecDeque::new(),
            notices: HashMap::new(),
            tickets: 0,
            draining: false,
            serving: true,
        };
        ua.name_flows();
        Edge { legs: Legs::new(ua, legs), out: VecDeque::new() }
    }

    /// Refuses new calls from now on; live ones are served (R-SIP-12).
    pub fn drain(&mut self) {
        self.legs.protocol.draining = true;
    }

    /// Tells whether calls can be served now; else a ping of a trunk is answered with 503, so that the trunk turns to another gateway.
    pub fn set_serving(&mut self, serving: bool) {
        self.legs.protocol.serving = serving;
    }

    /// Returns the number of legs held.
    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.held().len()
    }

    /// Returns the number of transactions held, in either direction.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.legs.protocol.table.len()
    }

    /// Returns the trunks.
    #[must_use]
    pub fn trunks(&self) -> &[Trunk] {
        &self.legs.protocol.config.trunks
    }

    /// Replaces the trunks. One that is gone takes no new calls, and serves those that it has.
    pub fn set_trunks(&mut self, trunks: Vec<Trunk>) {
        self.legs.protocol.set_trunks(trunks);
    }

    /// Replaces the number of legs that may be held when another call comes in.
    pub fn set_max_legs(&mut self, max_legs: usize) {
        self.legs.set_max_legs(max_legs);
        self.legs.protocol.table.set_capacity(max_legs.saturating_mul(TRANSACTIONS));
    }

    /// Replaces the targets of a trunk, whose name has been looked up again.
    pub fn set_targets(&mut self, trunk: &str, targets: Vec<Target>) {
        let mut trunks = self.legs.protocol.config.trunks.iter_mut();
        if let Some(trunk) = trunks.find(|known| known.name == trunk) {
            trunk.targets = targets;
        }
        self.legs.protocol.name_flows();
    }

    /// Returns the number of legs with something under way here, which a drain waits for. Established calls are in the
    /// record; any edge can serve them.
    #[must_use]
    pub fn open(&self) -> usize {
        self.count(false)
    }

    /// Returns the number of legs whose calls go on, which a drain waits for if no other edge would serve them.
    #[must_use]
    pub fn live(&self) -> usize {
        self.count(true)
    }

    /// Counts legs with a commit, a transaction or a 2xx without ACK under way here, and established ones if asked to.
    fn count(&self, established: bool) -> usize {
        let legs = self.legs.held().iter();
        let open = legs.filter(|(dialog, local, at_work)| {
            let dialog = dialog.is_some_and(|dialog| match dialog.state {
                State::Incoming | State::Outgoing | State::Cancelled => true,
                _ if dialog.local_offer_cseq.is_some() || !dialog.remote_offer.is_empty() => true,
                State::Active => established,
                State::Ended => false,
            });
            dialog || *at_work || local.accepted.is_some()
        });
        open.count()
    }

    /// Replaces the limits of calls, by link; calls that stand are counted on.
    pub fn set_limits(&mut self, limits: Vec<(String, Limits)>) {
        self.legs.set_limits(limits);
    }

    /// Takes an order of an orchestrator; yields one [`Output::Said`], unless the leg's queue is full: then the order is
    /// given again.
    pub fn order(&mut self, order: impl Into<Order>, now: Time) {
        self.legs.protocol.failed.now = now;
        self.legs.handle_order(order, now);
        self.flush(now);
    }

    /// Takes the answer to an [`Output::Ask`].
    pub fn verdict(&mut self, ticket: u64, verdict: Verdict, now: Time) {
        self.legs.handle_verdict(ticket, verdict, now);
        self.flush(now);
    }

    /// Takes the answer to an [`Output::Forward`]. A message that the other edge did not take is heard here.
    pub fn forward_result(&mut self, ticket: u64, taken: bool, now: Time) {
        self.legs.handle_forwarded(ticket, taken, now);
        self.flush(now);
    }

    /// Ends the wait for answers from a flow that cannot be sent to (refused connection, no route).
    pub fn unreachable(&mut self, flow: Flow, now: Time) {
        let lost = self.legs.protocol.table.fail(|to| to.reaches(&flow));
        for (key, request, user) in lost {
            let TransactionUser::Leg(leg) = user else { continue };
            // A BYE or INFO that cannot be sent ends nothing.
            if !self.legs.protocol.send_smaller(request, flow, leg, now) && key.method == "INVITE" {
                self.legs.handle_event(leg, Timeout::Transport, now);
            }
        }
        self.flush(now);
    }

    /// Handles the timers that are due.
    pub fn tick(&mut self, now: Time) {
        self.legs.protocol.table.tick(now);
        self.legs.handle_timeout(now);
        self.flush(now);
    }

    /// Returns the time of the next tick.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        [self.legs.protocol.table.deadline(), self.legs.poll_timeout()].into_iter().flatten().min()
    }

    /// Returns the next output.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Takes the outputs of legs and transactions.
    fn flush(&mut self, now: Time) {
        self.flush_legs();
        while let Some(output) = self.legs.protocol.table.poll() {
            match output {
                Tx::Send(flow, octets) => self.out.push_back(Output::Send(flow, octets)),
                Tx::TimedOut(key, Some(TransactionUser::Leg(leg))) => {
                    let invite = key.method == "INVITE";
                    if invite || !matches!(key.method.as_str(), "CANCEL" | "PRACK") && self.is_active(leg) {
                        let what = match key.method.as_str() {
                            "INVITE" => Timeout::Response,
                            "NOTIFY" => Timeout::Notify,
                            _ => Timeout::Request,
                        };
                        self.legs.handle_event(leg, what, now);
                        self.flush_legs();
                    }
                }
                // Nobody acknowledged a refusal.
                Tx::TimedOut(_, None | Some(TransactionUser::Former(_))) => {}
            }
        }
    }

    fn flush_legs(&mut self) {
        self.out.append(&mut self.legs.protocol.out);
        while let Some(output) = self.legs.poll_output() {
            self.out.push_back(match output {
                ::edge::Output::Ask(ticket, ask) => Output::Ask(ticket, ask),
                ::edge::Output::Said(said) => Output::Said(said),
                ::edge::Output::Forward(ticket, edge, message) => Output::Forward(ticket, edge, message),
            });
        }
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
        Name::CallId(self.legs.held().state(leg).map_or("", |state| &state.call_id))
    }
}
