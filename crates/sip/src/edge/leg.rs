//! Legs in the edge's memory and the order of their work.
//!
//! One rule: one event of a leg at a time; the rest waits in a short queue.

use super::arrivals::NO_TRANSACTION;
use super::timers::Timer;
use super::{Edge, Flow, Output};
use crate::dialog::{Dialog, State};
use crate::message::Message;
use crate::signal::{Outgoing, Timeout};
use crate::transaction::Key;
use bytes::Bytes;
use signal::{Ask, EffectId, LegRef, LegState, Reason, Said, Say, Time};
use std::collections::VecDeque;

/// Most waiting work of one leg.
const MAX_WAITING: usize = 16;
/// The same before provisional responses are dropped: another one follows.
const MANY_WAITING: usize = 8;
/// Most effects remembered per leg.
pub(super) const MAX_SEEN: usize = 16;
/// Most times that a message is heard again against a newer record.
pub(super) const MAX_TRIES: u8 = 3;

/// Message for a leg.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) message: Message,
    pub(super) flow: Flow,
    /// Its transaction is not here: another edge may hold it, or may have died with it.
    pub(super) no_transaction: bool,
    /// Our request that it answers, if its transaction is here.
    pub(super) asked: Option<Message>,
    /// Another edge forwarded it to us: it is not forwarded again.
    pub(super) forwarded: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    Hear(Arrival),
    Timeout(Timeout),
    Say(Say),
}

#[derive(Debug, Default)]
pub(super) struct Leg {
    pub(super) dialog: Option<Dialog>,
    pub(super) revision: u32,
    pub(super) busy: bool,
    pub(super) waiting: VecDeque<Work>,
    pub(super) seen: VecDeque<EffectId>,
    pub(super) accepted: Option<Accepted>,
    /// Our last provisional response, and the INVITE that it answers.
    pub(super) last_provisional: Option<(Message, Message)>,
    /// Transaction of our last INVITE.
    pub(super) invite: Option<Key>,
    pub(super) timers: Vec<(Timer, Time)>,
    pub(super) wake: Option<Time>,
    /// The call is not in the record yet.
    pub(super) opening: bool,
}

/// 2xx that waits for its ACK.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) flow: Flow,
    pub(super) octets: Bytes,
    pub(super) interval: u64,
    pub(super) end: Time,
}

/// Open question to the orchestrators, or handover to another edge.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) leg: LegRef,
    pub(super) work: Work,
    pub(super) base: u32,
    pub(super) dialog: Option<Dialog>,
    pub(super) after: Vec<Outgoing>,
    pub(super) tries: u8,
    /// Handover: the leg as recorded, to hear the message here if the other edge does not take it.
    pub(super) state: Option<LegState>,
}

impl Leg {
    pub(super) fn is(&self, states: &[State]) -> bool {
        self.dialog.as_ref().is_some_and(|d| states.contains(&d.state))
    }
    /// Returns true if the call goes on, as far as is known here.
    pub(super) fn is_live(&self) -> bool {
        self.is_open() || self.is(&[State::Active])
    }
    /// Returns true if something of the leg is under way at this edge: a question, a transaction, a 2xx without ACK.
    pub(super) fn is_open(&self) -> bool {
        self.busy
            || !self.waiting.is_empty()
            || self.accepted.is_some()
            || self.is(&[State::Incoming, State::Outgoing, State::Cancelled])
            || self
                .dialog
                .as_ref()
                .is_some_and(|d| d.local_offer_cseq.is_some() || !d.remote_offer.is_empty())
    }
}

impl Edge {
    pub(super) fn enqueue(&mut self, name: LegRef, work: Work, now: Time) {
        if !self.legs.contains_key(&name) && self.legs.len() >= self.config.max_legs.saturating_mul(2) {
            return self.reject(work, 503, now);
        }
        let leg = self.legs.entry(name).or_default();
        if let Work::Say(order) = &work
            && leg.waiting.iter().any(|waits| matches!(waits, Work::Say(other) if other.id == order.id))
        {
            // Ordered again while it waits: said once.
            return;
        }
        let (busy, length) = (leg.busy, leg.waiting.len());
        self.remember(name, now);
        if !busy && length == 0 {
            self.run(name, work, 0, now);
            return self.run_waiting(name, now);
        }
        let passing = matches!(&work, Work::Hear(a) if a.message.code().is_some_and(|c| c < 200));
        if length >= MAX_WAITING || passing && length >= MANY_WAITING {
            self.reject(work, 503, now);
        } else if let Some(leg) = self.legs.get_mut(&name) {
            leg.waiting.push_back(work);
        }
    }

    /// Rejects work for want of room or of a leg: answers a request, drops a response (the peer repeats what matters), leaves
    /// an order unanswered (it is given again) unless it opens a call.
    pub(super) fn reject(&mut self, work: Work, code: u16, now: Time) {
        match work {
            Work::Hear(arrival) if arrival.message.code().is_none() => {
                if code == 503 {
                    self.busy(&arrival.message, arrival.flow, now);
                } else {
                    self.refuse(&arrival.message, arrival.flow, code, NO_TRANSACTION, &[], now);
                }
            }
            Work::Say(order) if order.opening.is_some() => {
                let failed = Some(Reason::Unavailable.into());
                let edge = self.config.instance.clone();
                self.out.push_back(Output::Said(Said { id: order.id, base: 0, dialog: None, edge, failed }));
            }
            Work::Hear(_) | Work::Timeout(_) | Work::Say(_) => {}
        }
    }

    pub(super) fn run_waiting(&mut self, name: LegRef, now: Time) {
        while let Some(leg) = self.legs.get_mut(&name)
            && !leg.busy
            && let Some(work) = leg.waiting.pop_front()
        {
            self.run(name, work, 0, now);
        }
    }

    pub(super) fn ask(&mut self, ask: Ask, pending: Pending) {
        let ticket = self.await_answer(pending);
        self.out.push_back(Output::Ask(ticket, ask));
    }

    pub(super) fn await_answer(&mut self, pending: Pending) -> u64 {
        if let Some(leg) = self.legs.get_mut(&pending.leg) {
            leg.busy = true;
        }
        self.tickets += 1;
        self.pending.insert(self.tickets, pending);
        self.tickets
    }

    /// Removes a leg from the cache, with its INVITE's transaction if that still waits for an answer.
    pub(super) fn remove_leg(&mut self, name: LegRef, now: Time) {
        let Some(leg) = self.legs.remove(&name) else { return };
        if let Some(at) = leg.wake {
            self.wakes.remove(&(at, name));
        }
        if let Some(key) = leg.invite {
            self.invites.remove(&key);
            self.table.abandon(&key);
        }
        for work in leg.waiting {
            self.reject(work, 481, now);
        }
    }
}
