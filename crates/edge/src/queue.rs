//! Queues: one work of a leg at a time, the rest in order.

use crate::{Commit, Input, Legs, Output, Protocol, Work};
use signal::{LegRef, Order, Reason, Said, Time};

impl<P: Protocol> Legs<P> {
    /// Does work at once, or lets it wait behind other work of its leg. `renew`: the leg is in use and starts a new lifetime.
    pub(crate) fn enqueue(&mut self, id: LegRef, work: Work<P>, renew: bool, now: Time) {
        if !self.held.contains(id) && self.is_full() {
            return self.overflow(id, work, now);
        }
        let renew = renew || !self.held.contains(id);
        let leg = self.held.0.entry(id).or_default();
        if leg.busy {
            let given =
                |order| leg.waiting.iter().any(|w| matches!(w, Work::Order(other) if other.id() == order));
            let length = leg.waiting.len();
            let room = match &work {
                // An order given again while it waits is carried out once.
                Work::Order(order) if given(order.id()) => return,
                Work::Hear(Commit { input: Input::Message(message), retries: 0, .. })
                    if self.protocol.can_drop(message) =>
                {
                    length < P::MAX_WAITING / 2
                }
                // Nobody repeats an event or a retry. Their number has limits of its own.
                Work::Hear(Commit { input: Input::Event(_), .. } | Commit { retries: 1.., .. }) => {
                    length < 4 * P::MAX_WAITING
                }
                _ => length < P::MAX_WAITING,
            };
            if room {
                leg.waiting.push_back(work);
            } else {
                self.overflow(id, work, now);
            }
        } else {
            self.run(id, work, now);
            self.run_waiting(id, now);
        }
        self.reschedule(id, renew, now);
    }

    /// Does the work that waits, until one part of it waits for an answer.
    pub(crate) fn run_waiting(&mut self, id: LegRef, now: Time) {
        while let Some(leg) = self.held.0.get_mut(&id)
            && !leg.busy
            && let Some(work) = leg.waiting.pop_front()
        {
            self.run(id, work, now);
        }
    }

    fn run(&mut self, id: LegRef, work: Work<P>, now: Time) {
        match work {
            Work::Hear(commit) => self.hear(id, commit, now),
            Work::Order(Order::Say(order)) => self.say(id, order, now),
            Work::Order(Order::Wake(order)) => self.wake(id, order, now),
        }
    }

    /// Handles work that finds no room: a message is refused; an order is left to be given again, unless it opens a call.
    fn overflow(&mut self, id: LegRef, work: Work<P>, now: Time) {
        match work {
            Work::Hear(Commit { input: Input::Message(message), acknowledged: false, .. }) => {
                self.protocol.refuse(id, &message, &Reason::Unavailable.into(), false, now);
            }
            Work::Order(Order::Say(order)) if order.opening.is_some() => {
                let failed = Some(Reason::Unavailable.into());
                let edge = self.config.instance.clone();
                let said =
                    Said { id: order.id, base: 0, dialog: None, wake: None, edge, failed, wire_id: None };
                self.out.push_back(Output::Said(said));
            }
            Work::Hear(_) | Work::Order(_) => {}
        }
    }

    /// Forgets a leg. Messages that waited are refused, orders left to be given again.
    pub(crate) fn remove(&mut self, id: LegRef, now: Time) {
        let Some(leg) = self.held.0.remove(&id) else { return };
        if let Some(at) = leg.deadline {
            self.deadlines.remove(&(at, id));
        }
        if leg.opening || leg.state.as_ref().is_some_and(P::is_over) {
            self.admission.release(id);
        } else {
            self.admission.leave(id, now);
        }
        self.protocol.removed(id, leg.local);
        for work in leg.waiting {
            if let Work::Hear(Commit { input: Input::Message(message), acknowledged: false, .. }) = work {
                self.protocol.refuse(id, &message, &Reason::NotFound.into(), false, now);
            }
        }
    }
}
