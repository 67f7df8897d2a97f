//! What the orchestrators order to be said, and how it leaves.

use super::leg::{Accepted, Job, MAX_SEEN};
use super::timers::{Alarm, RING_AGAIN};
use super::{Edge, Flow, Output};
use crate::dialog::{Dialog, State};
use crate::message::Message;
use crate::signal::{Wire, say};
use crate::transaction::{T1, TIMEOUT};
use signal::{LegRef, Reason, Said, Say, Time};

impl Edge {
    /// An order of an orchestrator; yields one [`Output::Said`], unless the leg's queue is full: then the order is given again.
    pub fn say(&mut self, order: Say, now: Time) {
        self.job(order.state.leg, Job::Say(order), now);
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
            self.drop_leg(name, now);
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
        let wires = say(&mut dialog, &order.signal, &branch);
        said.dialog = Some(dialog.to_bytes());
        if let Some(leg) = self.legs.get_mut(&name) {
            leg.dialog = Some(dialog);
            leg.revision = base + 1;
        }
        if !self.perform(name, wires, None, now) && order.opening.is_some() {
            // No room for its transaction: nothing has left.
            said.failed = Some(Reason::Unavailable.into());
        }
        self.out.push_back(Output::Said(said));
    }

    /// Puts on the wire what a message or an order came to. False if a request found no room among the transactions.
    pub(super) fn perform(
        &mut self,
        name: LegRef,
        wires: Vec<Wire>,
        source: Option<Flow>,
        now: Time,
    ) -> bool {
        let dialog = self.legs.get(&name).and_then(|l| l.dialog.clone());
        let flow = dialog.as_ref().and_then(|d| Flow::parse(&d.flow));
        let Some(back) = source.or(flow) else { return true };
        let mut room = true;
        for wire in wires {
            match wire {
                Wire::Respond(request, response) => {
                    self.ringing(name, &request, &response, now);
                    self.respond(&request, &response, back, now);
                }
                Wire::Accept(request, response) => {
                    self.ringing(name, &request, &response, now);
                    self.respond(&request, &response, back, now);
                    let octets = response.write();
                    let accepted = Accepted { flow: back, octets, interval: T1, end: now + TIMEOUT };
                    if let Some(leg) = self.legs.get_mut(&name) {
                        leg.accepted = Some(accepted);
                    }
                    self.set(name, Alarm::Accept, now + T1);
                }
                Wire::Request(mut request) => {
                    let ahead = self.ahead(dialog.as_ref(), &mut request, back);
                    let invite = request.method().as_deref() == Some("INVITE");
                    match self.table.send(request, ahead, ahead.tcp, now) {
                        Some(key) if invite => {
                            if let Some(leg) = self.legs.get_mut(&name) {
                                leg.invite = Some(key.clone());
                                leg.alarms.retain(|(alarm, _)| *alarm != Alarm::Change);
                            }
                            self.invites.insert(key, name);
                        }
                        sent => room &= sent.is_some(),
                    }
                }
                Wire::Direct(mut request) => {
                    let ahead = self.ahead(dialog.as_ref(), &mut request, back);
                    self.out.push_back(Output::Send(ahead, request.write()));
                }
            }
        }
        // A cancelled INVITE that never gets its final response is over too (§9.1: 64*T1).
        if self.legs.get(&name).is_some_and(|leg| leg.is(&[State::Ended, State::Cancelled])) {
            self.set(name, Alarm::Forget, now + TIMEOUT);
        }
        room
    }

    /// Remembers a provisional response to say it again, until there is a final one.
    fn ringing(&mut self, name: LegRef, request: &Message, response: &Message, now: Time) {
        let Some(code) = response.code().filter(|_| request.method().as_deref() == Some("INVITE")) else {
            return;
        };
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if code >= 200 {
            leg.rung = None;
        } else if code > 100 {
            leg.rung = Some((request.clone(), response.clone()));
            self.set(name, Alarm::Ring, now + RING_AGAIN);
        }
    }
}
