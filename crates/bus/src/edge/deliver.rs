//! Deliveries between a sans-IO edge and the orchestrators.

use super::{EdgeClient, Inbound};
use ::edge::Edge;
use signal::{Ask, Time};

/// Number of messages delivered at once at most.
const BURST: usize = 256;

impl EdgeClient {
    /// Delivers a message of the orchestrators to the edge.
    pub fn deliver(inbound: Inbound, edge: &mut impl Edge, now: Time) {
        match inbound {
            Inbound::Verdict(ticket, verdict) => edge.verdict(ticket, verdict, now),
            Inbound::Order(order) => edge.order(order, now),
        }
    }

    /// Delivers the messages that have arrived already, so that a flood of other inputs delays no verdict.
    pub fn deliver_arrived(&mut self, edge: &mut impl Edge, now: Time) {
        for _ in 0..BURST {
            let Some(inbound) = self.try_next() else { return };
            EdgeClient::deliver(inbound, edge, now);
        }
    }

    /// Sends an ask of the edge. If too many are on their way, delivers the verdict at once.
    pub fn ask_for(&mut self, edge: &mut impl Edge, ticket: u64, ask: Ask, now: Time) {
        let leg = match &ask {
            Ask::Heard(heard) => heard.leg,
            Ask::Recall(leg) => *leg,
        };
        let asked = self.ask(ticket, ask, edge.name(leg));
        if let Err(verdict) = asked {
            edge.verdict(ticket, verdict, now);
        }
    }
}
