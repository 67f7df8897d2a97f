//! Queues: one for each record that something is under way for at this instance.
//!
//! Commits of one record follow one another here, which spares lost compare-and-sets; its effects are performed in order by one
//! task. Nothing in a queue is needed: an instance that dies leaves everything in the record.

use crate::runner::Loaded;
use session::{Entry, Machine, StoredEffect};
use signal::{EffectId, RecordId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Queues by record, each with the number of its handles.
pub struct Queues<M: Machine>(Arc<Mutex<Table<M>>>);

/// Effects to be performed, with the record that they are in.
pub type Batch<M> = (Arc<Loaded<M>>, Vec<Entry<<M as Machine>::Effect>>);

type Table<M> = HashMap<RecordId, (Arc<CommitQueue<M>>, usize)>;

type Lane<M> = <<M as Machine>::Effect as StoredEffect>::Lane;

/// Handle of a queue; the queue goes with the last one.
pub struct QueueHandle<M: Machine> {
    queues: Queues<M>,
    record: RecordId,
    queue: Arc<CommitQueue<M>>,
}

/// Queue of one record.
pub struct CommitQueue<M: Machine> {
    /// Held while loading, deciding and saving.
    pub commit: tokio::sync::Mutex<()>,
    queue: Mutex<Queue<M>>,
}

struct Queue<M: Machine> {
    /// The record as last stored or seen here.
    latest: Option<Arc<Loaded<M>>>,
    waiting: VecDeque<Entry<M::Effect>>,
    /// Waiting or being performed.
    known: HashSet<EffectId>,
    performing: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M: Machine> Default for Queues<M> {
    fn default() -> Queues<M> {
        Queues(Arc::default())
    }
}

impl<M: Machine> Clone for Queues<M> {
    fn clone(&self) -> Queues<M> {
        Queues(self.0.clone())
    }
}

impl<M: Machine> Default for CommitQueue<M> {
    fn default() -> CommitQueue<M> {
        let queue =
            Queue { latest: None, waiting: VecDeque::new(), known: HashSet::new(), performing: false };
        CommitQueue { commit: tokio::sync::Mutex::default(), queue: Mutex::new(queue) }
    }
}

impl<M: Machine> Queues<M> {
    /// Returns a handle of a record's queue, which is created if there is none.
    #[must_use]
    pub fn open(&self, record: RecordId) -> QueueHandle<M> {
        let mut queues = lock(&self.0);
        let (queue, handles) = queues.entry(record).or_default();
        *handles += 1;
        QueueHandle { queues: self.clone(), record, queue: queue.clone() }
    }

    /// Returns the number of records with something under way.
    #[must_use]
    pub fn busy(&self) -> usize {
        lock(&self.0).len()
    }
}

impl<M: Machine> QueueHandle<M> {
    /// Returns the id of the record.
    #[must_use]
    pub fn record(&self) -> RecordId {
        self.record
    }
}

impl<M: Machine> Clone for QueueHandle<M> {
    fn clone(&self) -> QueueHandle<M> {
        self.queues.open(self.record)
    }
}

impl<M: Machine> Deref for QueueHandle<M> {
    type Target = CommitQueue<M>;
    fn deref(&self) -> &CommitQueue<M> {
        &self.queue
    }
}

impl<M: Machine> Drop for QueueHandle<M> {
    fn drop(&mut self) {
        let mut queues = lock(&self.queues.0);
        if let Some((_, handles)) = queues.get_mut(&self.record) {
            *handles -= 1;
            if *handles == 0 {
                queues.remove(&self.record);
            }
        }
    }
}

impl<M: Machine> CommitQueue<M> {
    /// The record as just stored: effects that are not known yet are to be performed. True: start the performer.
    #[must_use]
    pub fn put(&self, loaded: Arc<Loaded<M>>) -> bool {
        let mut queue = lock(&self.queue);
        for entry in loaded.outbox.iter() {
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
    pub fn latest(&self) -> Option<Arc<Loaded<M>>> {
        lock(&self.queue).latest.clone()
    }

    /// Everything that waits, with the record as last stored; `None`: the performer's task is over.
    #[must_use]
    pub fn take(&self) -> Option<Batch<M>> {
        let mut queue = lock(&self.queue);
        let call = queue.latest.clone().filter(|_| !queue.waiting.is_empty());
        queue.performing = call.is_some();
        call.map(|call| (call, queue.waiting.drain(..).collect()))
    }

    /// These have been tried; what is still in the record's outbox may come again. Where one was not performed, those that wait
    /// behind it in its lane go back too: they come again after it, from the record.
    pub fn tried(&self, batch: &[(EffectId, Lane<M>)], done: &[EffectId]) {
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
            let stays = !stuck.contains(&entry.effect.lane());
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
    use session::call::{Call, Effect};
    use signal::{LegId, Reason, Signal, Time};

    const CALL: RecordId = RecordId::call([3; 10]);

    fn loaded(version: u64, outbox: &[(u64, u8)]) -> Arc<Loaded<Call>> {
        let effect = |leg: u8| Effect::Say {
            leg: LegId(leg),
            count: 0,
            signal: Signal::End(Reason::Normal.into()),
            opening: None,
        };
        let entry = |&(version, leg): &(u64, u8)| Entry {
            id: EffectId { record: CALL, version, index: 0 },
            since: Time(0),
            effect: effect(leg),
        };
        Arc::new(Loaded { machine: call(), version, outbox: outbox.iter().map(entry).collect() })
    }

    fn call() -> Call {
        Call {
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
            answer_by: None,
            deadline: None,
        }
    }

    fn versions(batch: &[Entry<Effect>]) -> Vec<u64> {
        batch.iter().map(|entry| entry.id.version).collect()
    }

    #[test]
    fn what_was_not_said_is_not_overtaken_by_what_waits_behind_it() {
        let queue = CommitQueue::<Call>::default();
        assert!(queue.put(loaded(1, &[(1, 1)])));
        let (_, batch) = queue.take().unwrap();
        // While the offer is tried the caller gives up, and the other leg hears something too.
        assert!(!queue.put(loaded(2, &[(1, 1), (2, 1), (3, 0)])));
        let tried: Vec<_> = batch.iter().map(|entry| (entry.id, entry.effect.lane())).collect();
        queue.tried(&tried, &[]);
        assert_eq!(versions(&queue.take().unwrap().1), [3], "the other lane goes on");
        assert!(queue.take().is_none());
        // The redrive brings both, in the order of the record.
        assert!(queue.put(loaded(2, &[(1, 1), (2, 1)])));
        let (_, batch) = queue.take().unwrap();
        assert_eq!(versions(&batch), [1, 2]);
        // What was said leaves nobody behind.
        assert!(!queue.put(loaded(3, &[(2, 1), (4, 1)])));
        let tried: Vec<_> = batch.iter().map(|entry| (entry.id, entry.effect.lane())).collect();
        queue.tried(&tried, &[tried[0].0, tried[1].0]);
        assert_eq!(versions(&queue.take().unwrap().1), [4]);
    }

    #[test]
    fn a_queue_goes_with_its_last_handle() {
        let queues = Queues::<Call>::default();
        let (one, two) = (queues.open(CALL), queues.open(CALL));
        let three = two.clone();
        drop(one);
        drop(two);
        assert_eq!(queues.busy(), 1);
        drop(three);
        assert_eq!(queues.busy(), 0);
    }

    #[test]
    fn no_queue_stays_when_many_handles_go_at_once() {
        let queues = Queues::<Call>::default();
        for _ in 0..200 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| drop(queues.open(CALL)));
                }
            });
            assert_eq!(queues.busy(), 0);
        }
    }
}
