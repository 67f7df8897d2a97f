//! Legs in the memory of an edge.

use crate::{Input, Protocol};
use signal::{EffectId, EventId, LegRef, LegState, Order, Time};
use std::collections::{HashMap, VecDeque};

/// Most timers of one leg; the oldest is dropped.
const MAX_TIMERS: usize = 32;
/// Most orders that a leg remembers.
const MAX_SEEN: usize = 16;

/// Leg as its protocol sees it during a call of the core.
#[derive(Debug)]
pub struct LegMut<'a, P: Protocol> {
    /// Name of the leg.
    pub id: LegRef,
    /// State that ends with this edge.
    pub local: &'a mut P::Local,
    /// Timers.
    pub timers: &'a mut Timers<P::Timer>,
}

/// Timers of a leg.
#[derive(Debug)]
pub struct Timers<T>(Vec<(Time, T)>);

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers(vec![])
    }
}

impl<T: PartialEq> Timers<T> {
    /// Starts a timer, or moves the one that is equal to it.
    pub fn set(&mut self, timer: T, at: Time) {
        self.clear(&timer);
        if self.0.len() >= MAX_TIMERS {
            self.0.remove(0);
        }
        self.0.push((at, timer));
    }

    /// Stops a timer.
    pub fn clear(&mut self, timer: &T) {
        self.0.retain(|(_, known)| known != timer);
    }

    /// Stops the timers for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.0.retain(|(_, timer)| keep(timer));
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.0.iter().map(|(at, _)| *at).min()
    }

    pub(crate) fn take_due(&mut self, now: Time) -> Vec<T> {
        self.0.extract_if(.., |(at, _)| *at <= now).map(|(_, timer)| timer).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Input on its way to the record.
#[derive(Debug)]
pub(crate) struct Commit<P: Protocol> {
    pub(crate) input: Input<P>,
    /// Id, once the input was heard.
    pub(crate) event: Option<EventId>,
    /// Number of hearings against a newer record.
    pub(crate) tries: u8,
    /// Number of commits that nobody answered.
    pub(crate) retries: u32,
    /// The sender has its answer already.
    pub(crate) acknowledged: bool,
    /// Another edge was offered the message and did not take it.
    pub(crate) forwarded: bool,
    /// Messages that were sent at once: a second hearing does not repeat them.
    pub(crate) sent: Vec<P::Outgoing>,
}

impl<P: Protocol> Commit<P> {
    pub(crate) fn new(input: Input<P>) -> Commit<P> {
        Commit {
            input,
            event: None,
            tries: 0,
            retries: 0,
            acknowledged: false,
            forwarded: false,
            sent: vec![],
        }
    }
}

/// Work of a leg.
#[derive(Debug)]
pub(crate) enum Work<P: Protocol> {
    Hear(Commit<P>),
    Order(Order),
}

#[derive(Debug)]
pub(crate) struct Leg<P: Protocol> {
    /// `None` while it is recalled, or after the record turned out to know better.
    pub(crate) state: Option<P::State>,
    pub(crate) revision: u32,
    pub(crate) local: P::Local,
    pub(crate) timers: Timers<P::Timer>,
    /// The call is not in the record yet.
    pub(crate) opening: bool,
    /// An ask or a forwarded message is on its way; other work waits.
    pub(crate) busy: bool,
    pub(crate) waiting: VecDeque<Work<P>>,
    /// Commits that nobody answered, with the time of the next attempt.
    pub(crate) retrying: Vec<(Time, Commit<P>)>,
    /// Orders carried out, oldest first.
    pub(crate) seen: VecDeque<EffectId>,
    pub(crate) expires: Time,
    /// Key in the index of deadlines.
    pub(crate) deadline: Option<Time>,
}

impl<P: Protocol> Default for Leg<P> {
    fn default() -> Self {
        Leg {
            state: None,
            revision: 0,
            local: P::Local::default(),
            timers: Timers::default(),
            opening: false,
            busy: false,
            waiting: VecDeque::new(),
            retrying: vec![],
            seen: VecDeque::new(),
            expires: Time(0),
            deadline: None,
        }
    }
}

impl<P: Protocol> Leg<P> {
    pub(crate) fn for_protocol(&mut self, id: LegRef) -> LegMut<'_, P> {
        LegMut { id, local: &mut self.local, timers: &mut self.timers }
    }

    pub(crate) fn split(&mut self, id: LegRef) -> (Option<&P::State>, LegMut<'_, P>) {
        (self.state.as_ref(), LegMut { id, local: &mut self.local, timers: &mut self.timers })
    }

    /// Takes over the state of the record, unless ours is as new.
    pub(crate) fn adopt(&mut self, state: &LegState) {
        if self.state.is_none() || state.revision > self.revision {
            (self.state, self.revision) = (P::decode(&state.dialog), state.revision);
        }
    }

    /// Remembers an order. Returns false if it was carried out before.
    pub(crate) fn see(&mut self, order: EffectId) -> bool {
        if self.seen.contains(&order) {
            return false;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(order);
        true
    }

    /// Returns true if work of the leg is under way or waits.
    pub(crate) fn has_work(&self) -> bool {
        self.busy || !self.waiting.is_empty() || !self.retrying.is_empty()
    }

    /// Returns true if nothing is known of the leg: a recall has failed, or has not come back.
    pub(crate) fn is_blank(&self) -> bool {
        self.state.is_none() && self.seen.is_empty() && self.timers.is_empty()
    }

    pub(crate) fn next_deadline(&self) -> Time {
        let retries = self.retrying.iter().map(|(at, _)| *at);
        retries.chain(self.timers.next()).fold(self.expires, Time::min)
    }
}

/// Legs that an edge holds.
#[derive(Debug)]
pub struct Held<P: Protocol>(pub(crate) HashMap<LegRef, Box<Leg<P>>>);

impl<P: Protocol> Held<P> {
    /// Returns true if the leg is held.
    #[must_use]
    pub fn contains(&self, leg: LegRef) -> bool {
        self.0.contains_key(&leg)
    }

    /// Returns the state of a leg that is held and known.
    #[must_use]
    pub fn state(&self, leg: LegRef) -> Option<&P::State> {
        self.0.get(&leg)?.state.as_ref()
    }

    /// Returns the local state of a leg that is held.
    pub fn local_mut(&mut self, leg: LegRef) -> Option<&mut P::Local> {
        self.0.get_mut(&leg).map(|leg| &mut leg.local)
    }

    /// Number of legs held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if no leg is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over all legs: state, local state, and true if work of the leg is under way or waits.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&P::State>, &P::Local, bool)> {
        self.0.values().map(|leg| (leg.state.as_ref(), &leg.local, leg.has_work()))
    }
}
