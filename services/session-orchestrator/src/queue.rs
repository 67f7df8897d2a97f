//! Queues: one for each record that something is under way for at this instance.
//!
//! Commits of one record follow one another here, which spares lost compare-and-sets; its effects are performed in order by one
//! task. What came of them, if nothing follows from it, waits here for the next commit. Nothing in a queue is needed: an instance
//! that dies leaves everything in the record, and effects whose outcome was not saved are performed again.

use crate::runner::{Loaded, Step};
use session::{Entry, Machine, StoredEffect};
use signal::{EffectId, RecordId, Time};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Queues by record, each with the number of its handles.
pub struct Queues<M: Machine>(Arc<Mutex<Table<M>>>);

/// Effects to be performed, with the record that they are in.
pub type Batch<M> = (Arc<Loaded<M>>, Vec<Entry<<M as Machine>::Effect>>);

/// Outcome of a batch of effects.
#[derive(Clone, Debug)]
pub struct Performed<E> {
    /// Effects that leave the outbox.
    pub done: Vec<EffectId>,
    /// Events that follow from them.
    pub events: Vec<E>,
}

impl<E> Default for Performed<E> {
    fn default() -> Performed<E> {
        Performed { done: vec![], events: vec![] }
    }
}

impl<E> Performed<E> {
    /// Returns true if nothing came of the batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.done.is_empty() && self.events.is_empty()
    }
}

/// Record as this instance knows it.
pub struct Latest<M: Machine> {
    /// The record, with the outcomes that are not saved yet; its version is the stored one.
    pub loaded: Arc<Loaded<M>>,
    /// Outcomes that are not saved yet.
    pub unsaved: Arc<Performed<M::Event>>,
}

impl<M: Machine> Latest<M> {
    /// Wraps a step that is taken on this record first, and on others as stored if it is old: before it looks at those, the outcomes
    /// that are not saved are applied, and they are saved with its events.
    pub fn with_unsaved<A>(
        &self,
        now: impl Fn() -> Time,
        mut step: impl FnMut(&Loaded<M>) -> Step<M::Event, A>,
    ) -> impl FnMut(&Loaded<M>) -> Step<M::Event, A> {
        let Performed { done, events } = Performed::clone(&self.unsaved);
        let mut first = true;
        move |loaded| {
            if std::mem::take(&mut first) || done.is_empty() && events.is_empty() {
                return step(loaded);
            }
            let (ahead, _) = loaded.clone().apply(events.clone(), &done, now());
            match step(&ahead) {
                Step::Decide { events: more, done: more_done, answer } => {
                    let (mut events, mut done) = (events.clone(), done.clone());
                    events.extend(more);
                    done.extend(more_done);
                    Step::Decide { events, done, answer }
                }
                leave => leave,
            }
        }
    }
}

/// Decision whether outcomes wait for the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferral {
    /// No: something follows from them, and they must be committed now.
    Refused,
    /// Yes, for a flush that was begun before.
    Waits,
    /// Yes, for a flush that is to be begun now: [`CommitQueue::begin_flush`] after a time.
    Begins,
}

/// Effects and events that wait for a commit at most.
const MAX_UNSAVED: usize = 32;

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
    /// The record as last stored or seen here, with `unsaved`.
    latest: Option<Arc<Loaded<M>>>,
    unsaved: Arc<Performed<M::Event>>,
    /// The record without `unsaved`, while there is any.
    saved: Option<Arc<Loaded<M>>>,
    /// True if a flush was begun and is not over.
    flushing: bool,
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
        let queue = Queue {
            latest: None,
            unsaved: Arc::default(),
            saved: None,
            flushing: false,
            waiting: VecDeque::new(),
            known: HashSet::new(),
            performing: false,
        };
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
    /// Takes the record as just stored, with everything that was not saved before: effects that are not known yet are to be
    /// performed. Returns true if the performer must be started.
    #[must_use]
    pub fn put(&self, loaded: Arc<Loaded<M>>) -> bool {
        let mut queue = lock(&self.queue);
        (queue.unsaved, queue.saved) = (Arc::default(), None);
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
    pub fn latest(&self) -> Option<Latest<M>> {
        let queue = lock(&self.queue);
        let loaded = queue.latest.clone()?;
        Some(Latest { loaded, unsaved: queue.unsaved.clone() })
    }

    /// Returns the record with its outcomes that are not saved yet, if there are any.
    #[must_use]
    pub fn ahead(&self) -> Option<Arc<Loaded<M>>> {
        let queue = lock(&self.queue);
        queue.latest.clone().filter(|_| !queue.unsaved.is_empty())
    }

    /// Keeps what came of a batch for the next commit, if its events may wait and no effect follows from them. Under the lock of
    /// `commit`.
    #[must_use]
    pub fn defer(&self, performed: &Performed<M::Event>, now: Time) -> Deferral {
        let mut queue = lock(&self.queue);
        let Some(latest) = queue.latest.clone() else { return Deferral::Refused };
        let unsaved = queue.unsaved.clone();
        let waiting = unsaved.done.len() + unsaved.events.len();
        let full = waiting + performed.done.len() + performed.events.len() > MAX_UNSAVED;
        if full || !performed.events.iter().all(M::may_wait) {
            return Deferral::Refused;
        }
        let (loaded, effects) = Loaded::clone(&latest).apply(performed.events.clone(), &performed.done, now);
        if !effects.is_empty() {
            return Deferral::Refused;
        }
        queue.latest = Some(Arc::new(loaded));
        queue.saved.get_or_insert(latest);
        let unsaved = Arc::make_mut(&mut queue.unsaved);
        unsaved.done.extend(&performed.done);
        unsaved.events.extend(performed.events.iter().cloned());
        if std::mem::replace(&mut queue.flushing, true) { Deferral::Waits } else { Deferral::Begins }
    }

    /// Forgets outcomes that were not saved, since a commit has failed: their effects are in the record, and are performed again.
    pub fn forget_unsaved(&self) {
        let mut queue = lock(&self.queue);
        if let Some(saved) = queue.saved.take() {
            (queue.latest, queue.unsaved) = (Some(saved), Arc::default());
        }
    }

    /// Begins a flush. Returns true if outcomes wait for a commit. Under the lock of `commit`.
    #[must_use]
    pub fn begin_flush(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.flushing = false;
        !queue.unsaved.is_empty()
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
    use session::call::{Call, Effect, Event};
    use signal::{LegId, Reason, Said, Signal, Time};

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
            rang: None,
            carried_by: None,
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

    fn said() -> Event {
        let id = EffectId { record: CALL, version: 1, index: 0 };
        let said =
            Said { id, base: 0, dialog: None, wake: None, edge: String::new(), failed: None, wire_id: None };
        Event::Said(LegId(0), said)
    }

    /// A call that has ended: nothing follows from anything.
    fn ended(version: u64, outbox: &[(u64, u8)]) -> Arc<Loaded<Call>> {
        let loaded = Arc::unwrap_or_clone(loaded(version, outbox));
        Arc::new(Loaded { machine: Call { ended: Some(Time(0)), ..loaded.machine }, ..loaded })
    }

    fn performed(version: u64, events: Vec<Event>) -> Performed<Event> {
        Performed { done: vec![EffectId { record: CALL, version, index: 0 }], events }
    }

    #[test]
    fn an_outcome_from_which_nothing_follows_waits_for_the_next_commit() {
        let queue = CommitQueue::<Call>::default();
        assert_eq!(queue.defer(&performed(1, vec![]), Time(0)), Deferral::Refused, "nothing is known here");
        let _ = queue.put(ended(3, &[(1, 1), (2, 0), (3, 1)]));
        assert_eq!(queue.defer(&performed(1, vec![]), Time(0)), Deferral::Begins);
        assert_eq!(queue.defer(&performed(2, vec![said()]), Time(0)), Deferral::Waits);
        let Latest { loaded: ahead, unsaved } = queue.latest().unwrap();
        assert_eq!((ahead.version, versions(&ahead.outbox)), (3, vec![3]), "as it will be saved");
        assert_eq!((unsaved.done.len(), unsaved.events.len()), (2, 1));
        assert!(queue.ahead().is_some() && queue.begin_flush());
        // A commit has saved them; the next one to wait needs a flush of its own.
        let _ = queue.put(ended(4, &[(3, 1)]));
        assert!(queue.ahead().is_none() && !queue.begin_flush());
        assert_eq!(queue.defer(&performed(3, vec![]), Time(0)), Deferral::Begins);
        // The commit failed: the effects whose outcome was lost are in the record.
        queue.forget_unsaved();
        assert!(queue.ahead().is_none() && !queue.begin_flush());
        assert_eq!(versions(&queue.latest().unwrap().loaded.outbox), [3]);
    }

    #[test]
    fn an_outcome_that_has_effects_or_company_enough_does_not_wait() {
        let queue = CommitQueue::<Call>::default();
        let _ = queue.put(loaded(1, &[]));
        let ends = performed(1, vec![said()]);
        assert_eq!(
            queue.defer(&ends, Time(0)),
            Deferral::Refused,
            "a call without legs ends, which is a fact"
        );
        assert!(queue.ahead().is_none());
        let _ = queue.put(ended(2, &[]));
        let many = Performed { done: vec![], events: vec![said(); MAX_UNSAVED] };
        assert_eq!(queue.defer(&performed(1, vec![Event::GivenUp(LegId(0))]), Time(0)), Deferral::Refused);
        assert_eq!(queue.defer(&many, Time(0)), Deferral::Begins);
        assert_eq!(queue.defer(&performed(1, vec![]), Time(0)), Deferral::Refused);
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
