//! Down: orders of the orchestrators and messages to the wire.

use super::leg::{Accepted, MAX_SEEN, Work};
use super::timers::{REPEAT_PROVISIONAL, Timer};
use super::{Edge, Flow, Output};
use crate::dialog::{Dialog, State};
use crate::message::Message;
use crate::signal::{Outgoing, say};
use crate::transaction::{T1, TIMEOUT};
use signal::{LegRef, Reason, Said, Say, Time};

impl Edge {
    /// Takes an order of an orchestrator; yields one [`Output::Said`], unless the leg's queue is full: then the order is
    /// given again.
    pub fn say(&mut self, order: Say, now: Time) {
        self.enqueue(order.state.leg, Work::Say(order), now);
        self.flush(now);
    }

    pub(super) fn run_say(&mut self, name: LegRef, order: Say, now: Time) {
        let fresh = match (&order.opening, order.state.dialog.is_empty()) {
            (Some(opening), true) => self.outgoing(name, opening),
            _ => Dialog::from_bytes(&order.state.dialog),
        };
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if leg.dialog.is_none() || order.state.revision > leg.revision {
            leg.dialog = fresh;
            leg.revision = order.state.revision;
        }
        let base = leg.revision;
        let mut said =
            Said { id: order.id, base, dialog: None, edge: self.config.instance.clone(), failed: None };
        let Some(mut dialog) = leg.dialog.clone() else {
            self.remove_leg(name, now);
            said.failed = Some(Reason::Connectivity.into());
            return self.out.push_back(Output::Said(said));
        };
        if leg.seen.contains(&order.id) {
            said.dialog = Some(dialog.to_bytes());
            said.base = base.saturating_sub(1);
            return self.out.push_back(Output::Said(said));
        }
        if leg.seen.len() >= MAX_SEEN {
            leg.seen.pop_front();
        }
        leg.seen.push_back(order.id);
        let branch = self.branch(&[&order.id.to_bytes()]);
        let outgoing = say(&mut dialog, &order.signal, &branch);
        said.dialog = Some(dialog.to_bytes());
        if let Some(leg) = self.legs.get_mut(&name) {
            leg.dialog = Some(dialog);
            leg.revision = base + 1;
        }
        if !self.send_all(name, outgoing, None, now) && order.opening.is_some() {
            // No room for its transaction: nothing has left.
            said.failed = Some(Reason::Unavailable.into());
        }
        self.out.push_back(Output::Said(said));
    }

    /// Sends the messages that an event or an order resulted in. Returns false if a request found no room among the
    /// transactions.
    pub(super) fn send_all(
        &mut self,
        name: LegRef,
        outgoing: Vec<Outgoing>,
        source: Option<Flow>,
        now: Time,
    ) -> bool {
        let dialog = self.legs.get(&name).and_then(|l| l.dialog.clone());
        let flow = dialog.as_ref().and_then(|d| Flow::parse(&d.flow));
        let Some(response_flow) = source.or(flow) else { return true };
        let mut room = true;
        for one in outgoing {
            match one {
                Outgoing::Respond(request, response) => {
                    self.note_provisional(name, &request, &response, now);
                    self.respond(&request, &response, response_flow, now);
                }
                Outgoing::Accept(request, response) => {
                    self.note_provisional(name, &request, &response, now);
                    self.respond(&request, &response, response_flow, now);
                    let octets = response.write();
                    let accepted = Accepted { flow: response_flow, octets, interval: T1, end: now + TIMEOUT };
                    if let Some(leg) = self.legs.get_mut(&name) {
                        leg.accepted = Some(accepted);
                    }
                    self.set_timer(name, Timer::RepeatAnswer, now + T1);
                }
                Outgoing::Request(mut request) => {
                    let hop = self.next_hop(dialog.as_ref(), &mut request, response_flow);
                    let invite = request.method().as_deref() == Some("INVITE");
                    match self.table.send(request, hop, hop.tcp, now) {
                        Some(key) if invite => {
                            if let Some(leg) = self.legs.get_mut(&name) {
                                leg.invite = Some(key.clone());
                                leg.timers.retain(|(timer, _)| *timer != Timer::Reinvite);
                            }
                            self.invites.insert(key, name);
                        }
                        sent => room &= sent.is_some(),
                    }
                }
                Outgoing::Direct(mut request) => {
                    let hop = self.next_hop(dialog.as_ref(), &mut request, response_flow);
                    self.out.push_back(Output::Send(hop, request.write()));
                }
            }
        }
        // A cancelled INVITE that never gets its final response is over too (§9.1: 64*T1).
        if self.legs.get(&name).is_some_and(|leg| leg.is(&[State::Ended, State::Cancelled])) {
            self.set_timer(name, Timer::Forget, now + TIMEOUT);
        }
        room
    }

    /// Remembers a provisional response, to repeat it until the final one.
    fn note_provisional(&mut self, name: LegRef, request: &Message, response: &Message, now: Time) {
        let Some(code) = response.code().filter(|_| request.method().as_deref() == Some("INVITE")) else {
            return;
        };
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if code >= 200 {
            leg.last_provisional = None;
        } else if code > 100 {
            leg.last_provisional = Some((request.clone(), response.clone()));
            self.set_timer(name, Timer::RepeatProvisional, now + REPEAT_PROVISIONAL);
        }
    }
}
