//! Load, decide, save, perform: the one way in which records change, generic over what is kept.
//!
//! A lost compare-and-set loads and decides again, which is safe since deciding is pure. Effects are stored with the record
//! (outbox) under an id and performed after; whoever finds them there later performs them again, which is harmless.

use crate::counters::UNREADABLE;
use crate::recent::Recent;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use runtime::seal::{self, Content, Sealer};
use session::{Machine, Outbox};
use signal::stored::StoredError;
use signal::{EffectId, RecordId, Secret, Time, stored};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{Key, NewRecord, Record, Saved, Store, StoreError};

/// An orchestrator that dies between save and perform is made good after this time.
pub const REDRIVE_MS: u64 = 2_000;
/// Compare-and-set attempts before the asker is told to come again.
const TRIES: usize = 16;

/// A record as loaded.
#[derive(Clone)]
pub struct Loaded<M: Machine> {
    /// The machine.
    pub machine: M,
    /// Its version in the store.
    pub version: u64,
    /// Effects that are still to be performed.
    pub outbox: Outbox<M::Effect>,
}

impl<M: Machine> Loaded<M> {
    /// Takes performed effects out of the outbox and decides on events. Returns the effects that follow.
    #[must_use]
    pub fn apply(mut self, events: Vec<M::Event>, done: &[EffectId], now: Time) -> (Self, Vec<M::Effect>) {
        self.outbox.retain(|entry| !done.contains(&entry.id));
        let mut effects = vec![];
        for event in events {
            let more;
            (self.machine, more) = self.machine.decide(event, now);
            effects.extend(more);
        }
        (self, effects)
    }
}

/// Change that a step makes to a record.
pub enum Step<E, A> {
    /// Nothing changes.
    Leave(A),
    /// Decide on these events; the effects of `done` have been performed.
    Decide {
        /// In order.
        events: Vec<E>,
        /// Effects that leave the outbox.
        done: Vec<EffectId>,
        /// The answer once it is stored.
        answer: A,
    },
}

/// Outcome of a step.
pub struct Outcome<M: Machine, A> {
    /// The record as stored now; `None` when nothing was changed.
    pub stored: Option<Loaded<M>>,
    /// Answer of the step.
    pub answer: A,
}

/// Keys of the records: a store that others can read holds them sealed, since dialogs and media keys are in them.
pub struct Vault {
    sealer: Sealer,
    secret: Secret,
}

impl Vault {
    /// Creates the vault of a start with the cluster's secret.
    ///
    /// # Errors
    /// The kernel gives no random octets.
    pub fn new(secret: Secret) -> std::io::Result<Vault> {
        Ok(Vault { sealer: Sealer::start(&secret, Content::Record)?, secret })
    }

    /// Seals a part of a record; an empty one stays empty.
    fn seal(&self, part: &str, key: &Key, octets: &Bytes) -> Result<Bytes> {
        if octets.is_empty() {
            return Ok(Bytes::new());
        }
        self.sealer.seal(&name(part, key), octets).map(Bytes::from).context("a record could not be sealed")
    }

    fn open(&self, part: &str, key: &Key, octets: Bytes) -> Result<Bytes> {
        if octets.is_empty() {
            return Ok(octets);
        }
        let opened = seal::open(&self.secret, Content::Record, &name(part, key), &octets);
        opened.map(Bytes::from).with_context(|| format!("the record {} {}", key.kind, key.id))
    }
}

/// Returns the name under which a part of a record is sealed: it opens as nothing else.
fn name(part: &str, key: &Key) -> String {
    format!("{part}:{}:{}", key.kind, key.id)
}

/// Loads and saves records of all kinds.
#[derive(Clone)]
pub struct Runner {
    store: Store,
    vault: Option<Arc<Vault>>,
    recent: Arc<Mutex<Recent>>,
}

impl Runner {
    /// On this store, whose records nobody else can read.
    #[must_use]
    pub fn new(store: Store) -> Runner {
        Runner { store, vault: None, recent: Arc::default() }
    }

    /// On a store that others may read: records are sealed.
    #[must_use]
    pub fn sealed(store: Store, vault: Vault) -> Runner {
        Runner { vault: Some(Arc::new(vault)), ..Runner::new(store) }
    }

    /// The store itself, for deadlines and leases.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The record, if there is one.
    ///
    /// # Errors
    /// The store does not answer, or the record is of a newer format.
    pub async fn load<M: Machine>(&self, id: RecordId) -> Result<Option<Loaded<M>>> {
        let record = self.store.load(&key::<M>(id)).await?;
        record.map(|record| self.read(id, record)).transpose()
    }

    fn read<M: Machine>(&self, id: RecordId, mut record: Record) -> Result<Loaded<M>> {
        if let Some(vault) = &self.vault {
            let key = key::<M>(id);
            record.body = vault.open("body", &key, record.body)?;
            record.outbox = vault.open("outbox", &key, record.outbox)?;
        }
        read(&record)
    }

    /// Stores a record that was just made. `Err(loaded)`: somebody was faster.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn create<M: Machine>(
        &self,
        id: RecordId,
        machine: M,
        effects: Vec<M::Effect>,
        now: Time,
    ) -> Result<Result<Loaded<M>, Option<Loaded<M>>>> {
        let mut outbox = Outbox::default();
        outbox.add(id, 1, effects, now);
        match self.save(id, 0, &machine, &outbox, now).await? {
            Saved::Stored(version) => Ok(Ok(Loaded { machine, version, outbox })),
            Saved::Conflict(record) => Ok(Err(record.map(|record| self.read(id, record)).transpose()?)),
        }
    }

    /// Loads, lets `step` look, decides, and saves; again when somebody was faster. `None`: no such record.
    ///
    /// `last`, the record as this instance knows it, spares the load, as does one of the records that were stored here lately: should
    /// it be old, the save does not succeed and brings the newer one. What would not be saved is looked at afresh.
    ///
    /// # Errors
    /// The store does not answer, the record is of a newer format, or others were faster every time.
    pub async fn step<M: Machine, A>(
        &self,
        id: RecordId,
        last: Option<&Loaded<M>>,
        now: impl Fn() -> Time,
        mut step: impl FnMut(&Loaded<M>) -> Step<M::Event, A>,
    ) -> Result<Option<Outcome<M, A>>> {
        let mut fresh = false;
        let mut loaded = match last.cloned().or_else(|| self.recent::<M>(id)) {
            Some(loaded) => loaded,
            None => {
                fresh = true;
                let Some(loaded) = self.load::<M>(id).await? else { return Ok(None) };
                loaded
            }
        };
        for _ in 0..TRIES {
            let (events, done, answer) = match step(&loaded) {
                Step::Leave(_) if !fresh => {
                    let Some(now) = self.load::<M>(id).await? else { return Ok(None) };
                    (loaded, fresh) = (now, true);
                    continue;
                }
                Step::Leave(answer) => return Ok(Some(Outcome { stored: None, answer })),
                Step::Decide { events, done, answer } => (events, done, answer),
            };
            let now = now();
            let (Loaded { machine, version, mut outbox }, effects) = loaded.apply(events, &done, now);
            outbox.add(id, version + 1, effects, now);
            match self.save(id, version, &machine, &outbox, now).await? {
                Saved::Stored(version) => {
                    return Ok(Some(Outcome { stored: Some(Loaded { machine, version, outbox }), answer }));
                }
                Saved::Conflict(Some(record)) => (loaded, fresh) = (self.read(id, record)?, true),
                Saved::Conflict(None) => return Ok(None),
            }
        }
        bail!("the record {id} is changed by others all the time")
    }

    /// Forgets a finished record, or with version 0 the deadline of one that is not there.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn forget<M: Machine>(&self, id: RecordId, version: u64) -> Result<bool, StoreError> {
        self.kept().remove(id);
        self.store.delete(&key::<M>(id), version).await
    }

    /// Moves the deadline of a record that cannot be read.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn postpone<M: Machine>(&self, id: RecordId, deadline: Time) -> Result<(), StoreError> {
        self.store.postpone(&key::<M>(id), deadline.0).await
    }

    async fn save<M: Machine>(
        &self,
        id: RecordId,
        expected: u64,
        machine: &M,
        outbox: &Outbox<M::Effect>,
        now: Time,
    ) -> Result<Saved> {
        let redrive = (!outbox.is_empty()).then(|| now + REDRIVE_MS);
        let deadline = [machine.deadline(), redrive].into_iter().flatten().min();
        let octets = if outbox.is_empty() { vec![] } else { stored::encode(outbox) };
        let record = NewRecord {
            body: Bytes::from(stored::encode(machine)),
            outbox: Bytes::from(octets),
            deadline: deadline.map(|t| t.0),
            ttl: M::LIFETIME_MS.map(Duration::from_millis),
        };
        let key = key::<M>(id);
        let saved = match &self.vault {
            None => self.store.save(&key, expected, &record).await,
            Some(vault) => {
                let body = vault.seal("body", &key, &record.body)?;
                let outbox = vault.seal("outbox", &key, &record.outbox)?;
                self.store.save(&key, expected, &NewRecord { body, outbox, ..record.clone() }).await
            }
        };
        match &saved {
            Ok(Saved::Stored(version)) => {
                let NewRecord { body, outbox, .. } = record;
                self.kept().put(id, Record { version: *version, body, outbox });
            }
            // What is stored now is another one, or not known.
            Ok(Saved::Conflict(_)) | Err(_) => self.kept().remove(id),
        }
        Ok(saved?)
    }

    /// Returns true if the record was stored here lately.
    #[must_use]
    pub fn is_recent(&self, id: RecordId) -> bool {
        self.kept().get(id).is_some()
    }

    /// Returns the record as it was stored here last, if that was lately.
    fn recent<M: Machine>(&self, id: RecordId) -> Option<Loaded<M>> {
        let record = self.kept().get(id)?;
        read(&record).ok()
    }

    fn kept(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key<M: Machine>(id: RecordId) -> Key {
    Key { kind: M::KIND.name(), id: id.hash_text() }
}

fn read<M: Machine>(record: &store::Record) -> Result<Loaded<M>> {
    let machine = stored::decode(&record.body)?;
    let outbox = if record.outbox.is_empty() { Outbox::default() } else { stored::decode(&record.outbox)? };
    Ok(Loaded { machine, version: record.version, outbox })
}

/// Reason for which a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Of a newer version, or sealed with another secret: another instance reads it, or this one once it is as the others.
    Newer,
    /// Nobody reads it: it is broken, too old, or not ours.
    Broken,
}

impl Unreadable {
    /// Returns the reason, if an error says that a record cannot be read. It is counted.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Option<Unreadable> {
        let unreadable = match (error.downcast_ref::<StoredError>(), error.downcast_ref::<StoreError>()) {
            (Some(StoredError::Newer { .. }), _) => Unreadable::Newer,
            (Some(_), _) | (_, Some(StoreError::Protocol(_))) => Unreadable::Broken,
            _ => match error.downcast_ref::<seal::Unreadable>()? {
                seal::Unreadable::Secret => Unreadable::Newer,
                seal::Unreadable::Format | seal::Unreadable::Forged => Unreadable::Broken,
            },
        };
        UNREADABLE.increment(1);
        Some(unreadable)
    }
}

/// Has the machine's own deadline passed?
pub fn expired<M: Machine>(machine: &M, now: Time) -> bool {
    machine.deadline().is_some_and(|deadline| deadline <= now)
}
