//! Desks: the calls that this instance is busy with, one desk each, for as long as something of them is on its way.
//!
//! Commits of one call follow one another here, which spares lost compare-and-sets; its effects are performed in order by one
//! task. Nothing on a desk is needed: an instance that dies leaves everything in the record.

use crate::perform::{Lane, lane};
use crate::record::Entry;
use crate::runner::Loaded;
use session::call::{Call, Effect};
use signal::{CallId, EffectId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All desks, each with how many sit there.
#[derive(Clone, Default)]
pub struct Desks(Arc<Mutex<Table>>);

/// Effects to be performed, with the record that they are in.
pub type Batch = (Arc<Loaded<Call>>, Vec<Entry<Effect>>);

type Table = HashMap<CallId, (Arc<Desk>, usize)>;

/// A place at a desk; the last to leave clears the desk away.
pub struct Seat {
    desks: Desks,
    call: CallId,
    desk: Arc<Desk>,
}

/// One call's desk.
#[derive(Default)]
pub struct Desk {
    /// Held while loading, deciding and saving.
    pub commit: tokio::sync::Mutex<()>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// The record as last stored or seen here.
    latest: Option<Arc<Loaded<Call>>>,
    waiting: VecDeque<Entry<Effect>>,
    /// Waiting or being performed.
    known: HashSet<EffectId>,
    performing: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desks {
    /// A seat at the desk of a call, which is made when there is none.
    #[must_use]
    pub fn open(&self, call: CallId) -> Seat {
        let mut desks = lock(&self.0);
        let (desk, seats) = desks.entry(call).or_default();
        *seats += 1;
        Seat { desks: self.clone(), call, desk: desk.clone() }
    }

    /// Calls with something on its way.
    #[must_use]
    pub fn busy(&self) -> usize {
        lock(&self.0).len()
    }
}

impl Clone for Seat {
    fn clone(&self) -> Seat {
        self.desks.open(self.call)
    }
}

impl Deref for Seat {
    type Target = Desk;
    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut desks = lock(&self.desks.0);
        if let Some((_, seats)) = desks.get_mut(&self.call) {
            *seats -= 1;
            if *seats == 0 {
                desks.remove(&self.call);
            }
        }
    }
}

impl Desk {
    /// The record as just stored: effects that are not known yet are to be performed. True: start the performer.
    #[must_use]
    pub fn put(&self, loaded: Arc<Loaded<Call>>) -> bool {
        let mut queue = lock(&self.queue);
        for entry in &loaded.outbox {
            if queue.known.insert(entry.id) {
                queue.waiting.push_back(entry.clone());
            }
        }
        queue.latest = Some(loaded);
        let start = !queue.performing && !queue.waiting.is_empty();
        queue.performing |= start;
        start
    }

    /// The record as last stored or seen here: nobody needs to load it again to find out that it has not changed.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Loaded<Call>>> {
        lock(&self.queue).latest.clone()
    }

    /// Everything that waits, with the record as last stored; `None`: the performer's task is over.
    #[must_use]
    pub fn take(&self) -> Option<Batch> {
        let mut queue = lock(&self.queue);
        let call = queue.latest.clone().filter(|_| !queue.waiting.is_empty());
        queue.performing = call.is_some();
        call.map(|call| (call, queue.waiting.drain(..).collect()))
    }

    /// These have been tried; what is still in the record's outbox may come again. Where one was not performed, those that wait
    /// behind it in its lane go back too: they come again after it, from the record.
    pub fn tried(&self, batch: &[(EffectId, Lane)], done: &[EffectId]) {
        let mut queue = lock(&self.queue);
        let Queue { waiting, known, .. } = &mut *queue;
        let mut stuck = vec![];
        for (id, lane) in batch {
            known.remove(id);
            if !done.contains(id) {
                stuck.push(*lane);
            }
        }
        waiting.retain(|entry| {
            let stays = !stuck.contains(&lane(&entry.effect));
            if !stays {
                known.remove(&entry.id);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::Policy;
    use signal::{LegId, Reason, Signal, Time};

    const CALL: CallId = CallId([3; 10]);

    fn loaded(version: u64, outbox: &[(u64, u8)]) -> Arc<Loaded<Call>> {
        let effect = |leg: u8| Effect::Say {
            leg: LegId(leg),
            count: 0,
            signal: Signal::End(Reason::Normal.into()),
            opening: None,
        };
        let entry = |&(version, leg): &(u64, u8)| Entry {
            id: EffectId { call: CALL, version, index: 0 },
            since: Time(0),
            effect: effect(leg),
        };
        Arc::new(Loaded { machine: call(), version, outbox: outbox.iter().map(entry).collect() })
    }

    fn call() -> Call {
        Call {
            format: session::call::FORMAT,
            id: CALL,
            trace: String::new(),
            legs: vec![],
            bridge: (LegId(0), LegId(1)),
            relay: None,
            leaving: None,
            policy: Policy::default(),
            placed: Time(0),
            answered: None,
            ended: None,
            end: None,
            ring_by: Time(0),
            answer_by: None,
            unheard: Reason::Offline,
            deadline: None,
        }
    }

    fn versions(batch: &[Entry<Effect>]) -> Vec<u64> {
        batch.iter().map(|entry| entry.id.version).collect()
    }

    #[test]
    fn what_was_not_said_is_not_overtaken_by_what_waits_behind_it() {
        let desk = Desk::default();
        assert!(desk.put(loaded(1, &[(1, 1)])));
        let (_, batch) = desk.take().unwrap();
        // While the offer is tried the caller gives up, and the other leg hears something too.
        assert!(!desk.put(loaded(2, &[(1, 1), (2, 1), (3, 0)])));
        let tried: Vec<_> = batch.iter().map(|entry| (entry.id, lane(&entry.effect))).collect();
        desk.tried(&tried, &[]);
        assert_eq!(versions(&desk.take().unwrap().1), [3], "the other lane goes on");
        assert!(desk.take().is_none());
        // The redrive brings both, in the order of the record.
        assert!(desk.put(loaded(2, &[(1, 1), (2, 1)])));
        let (_, batch) = desk.take().unwrap();
        assert_eq!(versions(&batch), [1, 2]);
        // What was said leaves nobody behind.
        assert!(!desk.put(loaded(3, &[(2, 1), (4, 1)])));
        let tried: Vec<_> = batch.iter().map(|entry| (entry.id, lane(&entry.effect))).collect();
        desk.tried(&tried, &[tried[0].0, tried[1].0]);
        assert_eq!(versions(&desk.take().unwrap().1), [4]);
    }

    #[test]
    fn a_desk_goes_with_the_last_who_sits_there() {
        let desks = Desks::default();
        let (one, two) = (desks.open(CALL), desks.open(CALL));
        let three = two.clone();
        drop(one);
        drop(two);
        assert_eq!(desks.busy(), 1);
        drop(three);
        assert_eq!(desks.busy(), 0);
    }

    #[test]
    fn no_desk_stays_when_many_leave_at_once() {
        let desks = Desks::default();
        for _ in 0..200 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| drop(desks.open(CALL)));
                }
            });
            assert_eq!(desks.busy(), 0);
        }
    }
}
