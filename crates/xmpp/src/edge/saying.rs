//! Down: orders of the orchestrators.

use super::leg::{MAX_SEEN, Timer, Work};
use super::{Edge, Output};
use crate::session::Session;
use crate::signal::say;
use signal::{LegRef, Reason, Said, Say, Time};

/// Pause before a hold that met an open offer is tried again, ms.
const RETRY: u64 = 1_000;

impl Edge {
    /// Takes an order of an orchestrator; yields one [`Output::Said`].
    pub fn say(&mut self, order: Say, now: Time) {
        self.enqueue(order.state.leg, Work::Say(order), now);
    }

    pub(super) fn run_say(&mut self, name: LegRef, order: Say, now: Time) {
        let fresh = match (&order.opening, order.state.dialog.is_empty()) {
            (Some(opening), true) => self.outgoing(name, opening),
            _ => Session::from_bytes(&order.state.dialog),
        };
        let link = order.opening.as_ref().map_or("", |opening| opening.link.as_str());
        let up = self.is_up(link);
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if leg.session.is_none() || order.state.revision > leg.revision {
            leg.session = fresh;
            leg.revision = order.state.revision;
        }
        let base = leg.revision;
        let mut said =
            Said { id: order.id, base, dialog: None, edge: self.config.instance.clone(), failed: None };
        let Some(mut session) = leg.session.clone() else {
            self.remove(name);
            said.failed = Some(Reason::Unavailable.into());
            return self.out.push_back(Output::Said(said));
        };
        if leg.seen.contains(&order.id) {
            said.dialog = Some(session.to_bytes());
            said.base = base.saturating_sub(1);
            return self.out.push_back(Output::Said(said));
        }
        let opens = order.opening.is_some() && order.state.dialog.is_empty();
        if opens && !up {
            self.remove(name);
            said.failed = Some(Reason::Unavailable.into());
            return self.out.push_back(Output::Said(said));
        }
        if leg.seen.len() >= MAX_SEEN {
            leg.seen.pop_front();
        }
        leg.seen.push_back(order.id);
        let id = self.secret.derive_text("stanza", &[&order.id.to_bytes()], 24);
        let stanzas = say(&mut session, &order.signal, &id);
        said.dialog = Some(session.to_bytes());
        let deferred = session.has_deferred_offer();
        leg.session = Some(session);
        leg.revision = base + 1;
        self.index_parties(name);
        self.send_all(name, stanzas, now);
        self.out.push_back(Output::Said(said));
        if deferred {
            self.set_timer(name, now + RETRY, Timer::DeferredOffer, now);
        }
    }
}
