//! What the edge holds of a leg: its dialog as last known, and what waits for it.
//!
//! One rule: one event of a leg at a time; the rest waits in a short queue.

use super::arrivals::NO_TRANSACTION;
use super::timers::Alarm;
use super::{Edge, Flow, Output};
use crate::dialog::{Dialog, State};
use crate::message::Message;
use crate::signal::{Lapse, Wire};
use crate::transaction::Key;
use bytes::Bytes;
use signal::{Ask, EffectId, LegRef, LegState, Reason, Said, Say, Time};
use std::collections::VecDeque;

/// Events of one leg that wait.
const MAX_WAITING: usize = 16;
/// Of these, before provisional responses are left out: another one follows.
const MANY_WAITING: usize = 8;
/// Effects remembered per leg.
pub(super) const MAX_SEEN: usize = 16;
/// Times that a message is heard again against a newer record.
pub(super) const MAX_TRIES: u8 = 3;

/// A message of a leg.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) message: Message,
    pub(super) flow: Flow,
    /// Its transaction is not here: another edge may hold it, or may have died with it.
    pub(super) orphan: bool,
    /// The request of ours that it answers, where its transaction is here.
    pub(super) asked: Option<Message>,
    /// Another edge handed it to us: it goes no further.
    pub(super) handed: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Job {
    Hear(Arrival),
    Lapse(Lapse),
    Say(Say),
}

#[derive(Debug, Default)]
pub(super) struct Leg {
    pub(super) dialog: Option<Dialog>,
    pub(super) revision: u32,
    pub(super) busy: bool,
    pub(super) waiting: VecDeque<Job>,
    pub(super) seen: VecDeque<EffectId>,
    pub(super) accepted: Option<Accepted>,
    /// Our last provisional response, and the INVITE that it answers.
    pub(super) rung: Option<(Message, Message)>,
    /// Transaction of our last INVITE.
    pub(super) invite: Option<Key>,
    pub(super) alarms: Vec<(Alarm, Time)>,
    pub(super) wake: Option<Time>,
    /// The call is not in the record yet.
    pub(super) opening: bool,
}

/// A 2xx that waits for its ACK.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) flow: Flow,
    pub(super) octets: Bytes,
    pub(super) interval: u64,
    pub(super) end: Time,
}

/// A question to the orchestrators, or a handover to another edge, that is under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) leg: LegRef,
    pub(super) job: Job,
    pub(super) base: u32,
    pub(super) dialog: Option<Dialog>,
    pub(super) after: Vec<Wire>,
    pub(super) tries: u8,
    /// Handover: the leg as recorded, to hear the message here after all.
    pub(super) state: Option<LegState>,
}

impl Leg {
    pub(super) fn is(&self, states: &[State]) -> bool {
        self.dialog.as_ref().is_some_and(|d| states.contains(&d.state))
    }
    /// Its call goes on, as far as is known here.
    pub(super) fn is_live(&self) -> bool {
        self.is_open() || self.is(&[State::Active])
    }
    /// Something of it is under way at this edge: a question, a transaction, a 2xx without ACK.
    pub(super) fn is_open(&self) -> bool {
        self.busy
            || !self.waiting.is_empty()
            || self.accepted.is_some()
            || self.is(&[State::Incoming, State::Outgoing, State::Cancelled])
            || self.dialog.as_ref().is_some_and(|d| d.asking.is_some() || !d.asked.is_empty())
    }
}

impl Edge {
    pub(super) fn job(&mut self, name: LegRef, job: Job, now: Time) {
        if !self.legs.contains_key(&name) && self.legs.len() >= self.config.max_legs.saturating_mul(2) {
            return self.turn_away(job, 503, now);
        }
        let leg = self.legs.entry(name).or_default();
        if let Job::Say(order) = &job
            && leg.waiting.iter().any(|waits| matches!(waits, Job::Say(other) if other.id == order.id))
        {
            // Given again while it waits, it is said once.
            return;
        }
        let (busy, length) = (leg.busy, leg.waiting.len());
        self.remember(name, now);
        if !busy && length == 0 {
            self.run(name, job, 0, now);
            return self.next(name, now);
        }
        let passing = matches!(&job, Job::Hear(a) if a.message.code().is_some_and(|c| c < 200));
        if length >= MAX_WAITING || passing && length >= MANY_WAITING {
            self.turn_away(job, 503, now);
        } else if let Some(leg) = self.legs.get_mut(&name) {
            leg.waiting.push_back(job);
        }
    }

    /// No room, or nobody there: a request is answered, a response dropped (the peer repeats what matters), an order left
    /// unanswered (it is given again) unless it opens a call.
    pub(super) fn turn_away(&mut self, job: Job, code: u16, now: Time) {
        match job {
            Job::Hear(arrival) if arrival.message.code().is_none() => {
                if code == 503 {
                    self.busy(&arrival.message, arrival.flow, now);
                } else {
                    self.refuse(&arrival.message, arrival.flow, code, NO_TRANSACTION, &[], now);
                }
            }
            Job::Say(order) if order.opening.is_some() => {
                let failed = Some(Reason::Unavailable.into());
                let edge = self.config.instance.clone();
                self.out.push_back(Output::Said(Said { id: order.id, base: 0, dialog: None, edge, failed }));
            }
            Job::Hear(_) | Job::Lapse(_) | Job::Say(_) => {}
        }
    }

    pub(super) fn next(&mut self, name: LegRef, now: Time) {
        while let Some(leg) = self.legs.get_mut(&name)
            && !leg.busy
            && let Some(job) = leg.waiting.pop_front()
        {
            self.run(name, job, 0, now);
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

    /// Out of the cache, with its INVITE's transaction if that waits for an answer that nobody would hear.
    pub(super) fn drop_leg(&mut self, name: LegRef, now: Time) {
        let Some(leg) = self.legs.remove(&name) else { return };
        if let Some(at) = leg.wake {
            self.wakes.remove(&(at, name));
        }
        if let Some(key) = leg.invite {
            self.invites.remove(&key);
            self.table.abandon(&key);
        }
        for job in leg.waiting {
            self.turn_away(job, 481, now);
        }
    }
}
