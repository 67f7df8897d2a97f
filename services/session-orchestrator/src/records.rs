//! Records of one kind: events are committed one after another, effects are performed once they are stored. Generic over the machine.
//!
//! One rule: *load, decide, save, perform*. [`Runner`] does the first three, a [`Perform`] the last; a [`CommitQueue`] keeps the
//! order within a record. A new kind of record brings a [`Machine`] and a [`Perform`], and nothing here changes.
//!
//! [`CommitQueue`]: crate::queue::CommitQueue

pub use crate::queue::Performed;
use crate::queue::{Deferral, QueueHandle, Queues};
use crate::runner::{Loaded, REDRIVE_MS, Runner, Step, Unreadable, expired};
use anyhow::Result;
use session::{Entry, Machine, StoredEffect};
use signal::{RecordId, Time};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, error};

/// An effect that cannot be performed, such as a fact that the bus does not take, keeps a finished record for this long.
const OUTBOX_MS: u64 = 3_600_000;

/// Longest pause between two attempts at the outbox of a finished record.
const LONGEST_REST_MS: u64 = 60_000;

/// A due record that nobody can read is looked at again after this.
const UNREADABLE_MS: u64 = 6 * 3_600_000;

/// Outcomes of effects from which nothing follows wait this long for the next event to be saved with them. Tokio's timer wakes the thread twice
/// for what is more than 64 ms away.
pub const DEFER_MS: u64 = 60;

/// Performs the effects of one kind of record.
pub trait Perform<M: Machine>: Send + Sync + 'static {
    /// Performs a batch of `record`, as it stood when the batch was taken. Effects of one lane keep their order; one that cannot
    /// be performed now stays in the record, with those behind it in its lane.
    fn perform(
        &self,
        record: &Arc<Loaded<M>>,
        batch: Vec<Entry<M::Effect>>,
    ) -> impl Future<Output = Performed<M::Event>> + Send;

    /// Returns true if no other instance decides on these records: one that did would find effects in the outbox whose outcome
    /// waits here, and perform them again.
    fn is_alone(&self) -> bool {
        false
    }
}

/// Serves the records of one kind; clones share everything.
pub struct Records<M: Machine, P>(Arc<Inner<M, P>>);

struct Inner<M: Machine, P> {
    runner: Runner,
    queues: Queues<M>,
    performer: P,
    now: fn() -> Time,
}

impl<M: Machine, P> Clone for Records<M, P> {
    fn clone(&self) -> Records<M, P> {
        Records(self.0.clone())
    }
}

impl<M: Machine, P: Perform<M>> Records<M, P> {
    /// Creates the service of one kind.
    #[must_use]
    pub fn new(runner: Runner, performer: P, now: fn() -> Time) -> Records<M, P> {
        Records(Arc::new(Inner { runner, queues: Queues::default(), performer, now }))
    }

    /// Returns the runner, for reads and for what is kept beside the records.
    #[must_use]
    pub fn runner(&self) -> &Runner {
        &self.0.runner
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Time {
        (self.0.now)()
    }

    /// Returns the number of records with something under way here.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.0.queues.busy()
    }

    /// Loads a record, with the outcomes that wait here to be saved.
    ///
    /// # Errors
    /// The store does not answer, or the record is of a newer version.
    pub async fn load(&self, id: RecordId) -> Result<Option<M>> {
        if let Some(ahead) = self.queue(id).ahead() {
            return Ok(Some(ahead.machine.clone()));
        }
        Ok(self.0.runner.load::<M>(id).await?.map(|loaded| loaded.machine))
    }

    /// Returns the queue of a record; its lock orders commits.
    #[must_use]
    pub fn queue(&self, id: RecordId) -> QueueHandle<M> {
        self.0.queues.open(id)
    }

    /// Returns true if this instance has seen the record lately.
    #[must_use]
    pub fn is_known(&self, queue: &QueueHandle<M>) -> bool {
        queue.latest().is_some() || self.0.runner.is_recent(queue.record())
    }

    /// Stores a record that was just created, and has its effects performed. Returns false if there is one already.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn create(&self, id: RecordId, machine: M, effects: Vec<M::Effect>) -> Result<bool> {
        let queue = self.queue(id);
        let _held = queue.commit.lock().await;
        match self.0.runner.create(id, machine, effects, self.now()).await? {
            Ok(loaded) => {
                self.enqueue(&queue, loaded);
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    /// Decides on an event. Returns false if there is no such record.
    ///
    /// # Errors
    /// The event could not be committed.
    pub async fn event(&self, id: RecordId, event: M::Event) -> Result<bool> {
        let step = |_: &Loaded<M>| Step::Decide { events: vec![event.clone()], done: vec![], answer: () };
        Ok(self.step(id, step).await?.is_some())
    }

    /// Takes one step on a record, after those that are under way. `None`: there is no such record.
    ///
    /// # Errors
    /// The store does not answer, the record is of a newer version, or others were faster every time.
    pub async fn step<A>(
        &self,
        id: RecordId,
        step: impl FnMut(&Loaded<M>) -> Step<M::Event, A>,
    ) -> Result<Option<A>> {
        let queue = self.queue(id);
        let _held = queue.commit.lock().await;
        self.commit(id, &queue, step).await
    }

    /// Takes one step under the queue's lock, which the caller holds.
    ///
    /// # Errors
    /// As [`Records::step`].
    pub async fn commit<A>(
        &self,
        id: RecordId,
        queue: &QueueHandle<M>,
        step: impl FnMut(&Loaded<M>) -> Step<M::Event, A>,
    ) -> Result<Option<A>> {
        let (runner, now) = (&self.0.runner, self.0.now);
        let stepped = match queue.latest() {
            Some(latest) => runner.step(id, Some(&*latest.loaded), now, latest.with_unsaved(now, step)).await,
            None => runner.step(id, None, now, step).await,
        };
        if !matches!(stepped, Ok(Some(_))) {
            queue.forget_unsaved();
        }
        let Some(outcome) = stepped? else { return Ok(None) };
        if let Some(loaded) = outcome.stored {
            self.enqueue(queue, loaded);
        }
        Ok(Some(outcome.answer))
    }

    /// Has the effects of a record performed, as just stored.
    pub fn enqueue(&self, queue: &QueueHandle<M>, loaded: Loaded<M>) {
        if queue.put(Arc::new(loaded)) {
            let (records, queue) = (self.clone(), queue.clone());
            tokio::spawn(async move { records.work(queue).await });
        }
    }

    /// Processes a record whose deadline has passed, or whose outbox was left behind by an orchestrator that died.
    ///
    /// # Errors
    /// The store does not answer, or the record is of a newer version.
    pub async fn process_due(&self, id: RecordId) -> Result<()> {
        let queue = self.queue(id);
        let _held = queue.commit.lock().await;
        self.flush(&queue).await?;
        let now = self.now();
        let loaded = match self.0.runner.load::<M>(id).await {
            Ok(loaded) => loaded,
            Err(error) => return self.put_off(id, error).await,
        };
        let Some(loaded) = loaded else {
            // It vanished by itself and left its deadline behind.
            self.0.runner.forget::<M>(id, 0).await?;
            return Ok(());
        };
        if is_over(&loaded, now) {
            self.0.runner.forget::<M>(id, loaded.version).await?;
            return Ok(());
        }
        let expired = expired(&loaded.machine, now);
        let rest = loaded.machine.finished(now).then(|| rest_ms(&loaded, now));
        self.enqueue(&queue, loaded);
        if let Some(rest) = rest {
            // Nothing is decided any more.
            self.0.runner.postpone::<M>(id, now + rest).await?;
        } else if expired {
            let step = |_: &Loaded<M>| Step::Decide { events: vec![M::DEADLINE], done: vec![], answer: () };
            self.commit(id, &queue, step).await?;
        }
        Ok(())
    }

    /// Leaves a due record that cannot be read to whoever can, or puts it off if nobody can. Any other error is given back.
    async fn put_off(&self, id: RecordId, error: anyhow::Error) -> Result<()> {
        match Unreadable::of(&error) {
            None => Err(error),
            Some(Unreadable::Newer) => {
                // Due again in a moment, for an instance that has been upgraded.
                debug!(%error, record = %id, "a due record is of a newer version");
                Ok(())
            }
            Some(Unreadable::Broken) => {
                self.0.runner.postpone::<M>(id, self.now() + UNREADABLE_MS).await?;
                error!(%error, record = %id, "a due record cannot be read: it is put off by six hours");
                Ok(())
            }
        }
    }

    /// Performs what waits in one queue and commits what came of it, until nothing waits.
    async fn work(&self, queue: QueueHandle<M>) {
        while let Some((record, batch)) = queue.take() {
            let tried: Vec<_> = batch.iter().map(|entry| (entry.id, entry.effect.lane())).collect();
            let performed = self.0.performer.perform(&record, batch).await;
            if let Err(error) = self.clear_outbox(&queue, &performed).await {
                error!(%error, record = %queue.record(), "effects stay in the record");
            }
            queue.tried(&tried, &performed.done);
        }
    }

    /// Takes performed effects out of the outbox, and has the record hear what came of them: with the next commit, or now if
    /// something follows from it.
    async fn clear_outbox(&self, queue: &QueueHandle<M>, performed: &Performed<M::Event>) -> Result<()> {
        if performed.is_empty() {
            return Ok(());
        }
        let _held = queue.commit.lock().await;
        let deferred =
            if self.0.performer.is_alone() { queue.defer(performed, self.now()) } else { Deferral::Refused };
        match deferred {
            Deferral::Waits => return Ok(()),
            Deferral::Begins => {
                let (records, queue) = (self.clone(), queue.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(DEFER_MS)).await;
                    let _held = queue.commit.lock().await;
                    if let Err(error) = records.flush(&queue).await {
                        error!(%error, record = %queue.record(), "effects stay in the record");
                    }
                });
                return Ok(());
            }
            Deferral::Refused => {}
        }
        self.commit(queue.record(), queue, |_| Step::Decide {
            events: performed.events.clone(),
            done: performed.done.clone(),
            answer: (),
        })
        .await
        .map(drop)
    }

    /// Saves the outcomes that wait for a commit, if there are any. Under the queue's lock, which the caller holds.
    async fn flush(&self, queue: &QueueHandle<M>) -> Result<()> {
        if queue.begin_flush() {
            let step = |_: &Loaded<M>| Step::Decide { events: vec![], done: vec![], answer: () };
            self.commit(queue.record(), queue, step).await?;
        }
        Ok(())
    }
}

/// Returns the pause before the outbox of a finished record is tried again: ever longer, so that many of them hold nobody else up.
fn rest_ms<M: Machine>(loaded: &Loaded<M>, now: Time) -> u64 {
    let oldest = loaded.outbox.iter().map(|entry| now.since(entry.since)).max().unwrap_or(0);
    (oldest / 8).clamp(REDRIVE_MS, LONGEST_REST_MS)
}

/// Returns true if a record may be forgotten: its machine has finished, and no effect waits that could still be performed.
pub fn is_over<M: Machine>(loaded: &Loaded<M>, now: Time) -> bool {
    loaded.machine.finished(now) && loaded.outbox.iter().all(|entry| now.since(entry.since) >= OUTBOX_MS)
}
