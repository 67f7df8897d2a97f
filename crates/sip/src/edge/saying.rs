//! What the orchestrators order to be said, and how it leaves.

use super::leg::{Accepted, Job, MAX_SEEN};
use super::{Edge, Flow, Output};
use crate::dialog::{Dialog, State};
use crate::signal::{Wire, say};
use crate::transaction::{T1, TIMEOUT};
use signal::{LegRef, Reason, Said, Say, Time};

impl Edge {
    /// An order of an orchestrator; yields one [`Output::Said`].
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
            self.legs.remove(&name);
            said.failed = Some(Reason::Unavailable.into());
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
        self.perform(name, wires, None, now);
        self.out.push_back(Output::Said(said));
    }

    pub(super) fn perform(&mut self, name: LegRef, wires: Vec<Wire>, source: Option<Flow>, now: Time) {
        let stored = self.legs.get(&name).and_then(|l| Flow::parse(&l.dialog.as_ref()?.flow));
        let Some(flow) = stored.or(source) else { return };
        for wire in wires {
            match wire {
                Wire::Respond(request, response) => {
                    self.respond(&request, &response, source.unwrap_or(flow), now);
                }
                Wire::Accept(request, response) => {
                    self.respond(&request, &response, source.unwrap_or(flow), now);
                    let accepted = Accepted {
                        flow,
                        octets: response.write(),
                        next: now + T1,
                        interval: T1,
                        end: now + TIMEOUT,
                    };
                    if let Some(leg) = self.legs.get_mut(&name) {
                        leg.accepted = Some(accepted);
                    }
                    self.wake(name, now + T1);
                }
                Wire::Request(request) => {
                    let invite = request.method().as_deref() == Some("INVITE");
                    if let Some(key) = self.table.send(request, flow, flow.tcp, now)
                        && invite
                    {
                        self.invites.insert(key, name);
                    }
                }
                Wire::Direct(request) => self.out.push_back(Output::Send(flow, request.write())),
            }
        }
        // A cancelled INVITE that never gets its final response is over too (§9.1: 64*T1).
        let dialog = self.legs.get(&name).and_then(|l| l.dialog.as_ref());
        let ended = dialog.is_some_and(|d| matches!(d.state, State::Ended | State::Cancelled));
        if ended {
            self.wake(name, now + TIMEOUT);
        }
    }
}
