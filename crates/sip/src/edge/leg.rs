//! What the edge holds of a leg: its dialog as last known, and what waits for it.
//!
//! One rule: one event of a leg at a time; the rest waits in a short queue.

use super::{Edge, Flow, Output};
use crate::dialog::Dialog;
use crate::message::Message;
use crate::signal::Wire;
use bytes::Bytes;
use signal::{Ask, EffectId, LegRef, Say, Time};
use std::collections::VecDeque;

/// Events of one leg that wait.
const MAX_WAITING: usize = 16;
/// Effects remembered per leg.
pub(super) const MAX_SEEN: usize = 16;
/// An idle leg leaves the cache after this time, ms; the record brings it back.
pub(super) const IDLE: u64 = 600_000;
/// Times that a message is heard again against a newer record.
pub(super) const MAX_TRIES: u8 = 3;

#[derive(Clone, Debug)]
pub(super) enum Job {
    Hear(Message, Flow),
    /// Nothing came in answer to our INVITE, or no ACK to our 2xx.
    Silence,
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
    pub(super) wake: Option<Time>,
    pub(super) opening: bool,
}

/// A 2xx that waits for its ACK.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) flow: Flow,
    pub(super) octets: Bytes,
    pub(super) next: Time,
    pub(super) interval: u64,
    pub(super) end: Time,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) leg: LegRef,
    pub(super) job: Job,
    pub(super) dialog: Option<Dialog>,
    pub(super) after: Vec<Wire>,
    pub(super) tries: u8,
}

impl Edge {
    pub(super) fn job(&mut self, name: LegRef, job: Job, now: Time) {
        if self.legs.entry(name).or_default().wake.is_none() {
            self.wake(name, now + IDLE);
        }
        let Some(leg) = self.legs.get_mut(&name) else { return };
        if leg.busy || !leg.waiting.is_empty() {
            // A full queue drops: the peer or the orchestrator repeats.
            if leg.waiting.len() < MAX_WAITING {
                leg.waiting.push_back(job);
            }
            return;
        }
        self.run(name, job, 0, now);
        self.next(name, now);
    }

    pub(super) fn next(&mut self, name: LegRef, now: Time) {
        while let Some(leg) = self.legs.get_mut(&name)
            && !leg.busy
            && let Some(job) = leg.waiting.pop_front()
        {
            self.run(name, job, 0, now);
        }
    }

    pub(super) fn ask(
        &mut self,
        leg: LegRef,
        ask: Ask,
        job: Job,
        dialog: Option<Dialog>,
        after: Vec<Wire>,
        tries: u8,
    ) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.busy = true;
        }
        self.tickets += 1;
        self.pending.insert(self.tickets, Pending { leg, job, dialog, after, tries });
        self.out.push_back(Output::Ask(self.tickets, ask));
    }
}
