//! Desks: the calls that this instance is busy with, one desk each, for as long as something of them is on its way.
//!
//! Commits of one call follow one another here, which spares lost compare-and-sets; its effects are performed in order by one
//! task. Nothing on a desk is needed: an instance that dies leaves everything in the record.

use crate::record::Entry;
use crate::runner::Loaded;
use session::call::{Call, Effect};
use signal::{CallId, EffectId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All desks.
#[derive(Clone, Default)]
pub struct Desks(Arc<Mutex<HashMap<CallId, Arc<Desk>>>>);

/// One call's desk.
#[derive(Default)]
pub struct Desk {
    /// Held while loading, deciding and saving.
    pub commit: tokio::sync::Mutex<()>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// The call as last stored here.
    latest: Option<Call>,
    waiting: VecDeque<Entry<Effect>>,
    /// Waiting or being performed.
    known: HashSet<EffectId>,
    performing: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desks {
    /// The desk of a call, made when there is none.
    #[must_use]
    pub fn open(&self, call: CallId) -> Arc<Desk> {
        lock(&self.0).entry(call).or_default().clone()
    }

    /// Clears the desk away when nobody uses it any more.
    pub fn leave(&self, call: CallId, desk: Arc<Desk>) {
        let mut desks = lock(&self.0);
        // Two are left: the table's and ours.
        if Arc::strong_count(&desk) <= 2 && lock(&desk.queue).is_idle() {
            desks.remove(&call);
        }
    }

    /// Calls with something on its way.
    #[must_use]
    pub fn busy(&self) -> usize {
        lock(&self.0).len()
    }
}

impl Queue {
    fn is_idle(&self) -> bool {
        !self.performing && self.waiting.is_empty()
    }
}

impl Desk {
    /// The record as just stored: effects that are not known yet are to be performed. True: start the performer.
    #[must_use]
    pub fn put(&self, loaded: &Loaded<Call>) -> bool {
        let mut queue = lock(&self.queue);
        for entry in &loaded.outbox {
            if queue.known.insert(entry.id) {
                queue.waiting.push_back(entry.clone());
            }
        }
        queue.latest = Some(loaded.machine.clone());
        let start = !queue.performing && !queue.waiting.is_empty();
        queue.performing |= start;
        start
    }

    /// Everything that waits, with the call as last stored; `None`: the performer's task is over.
    #[must_use]
    pub fn take(&self) -> Option<(Call, Vec<Entry<Effect>>)> {
        let mut queue = lock(&self.queue);
        let call = queue.latest.clone().filter(|_| !queue.waiting.is_empty());
        queue.performing = call.is_some();
        call.map(|call| (call, queue.waiting.drain(..).collect()))
    }

    /// These have been tried; what is still in the record's outbox may come again.
    pub fn tried(&self, batch: impl IntoIterator<Item = EffectId>) {
        let mut queue = lock(&self.queue);
        for id in batch {
            queue.known.remove(&id);
        }
    }
}
