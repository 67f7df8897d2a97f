//! The store of a single process.

use crate::{Key, NewRecord, Record, Saved};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

#[derive(Default)]
pub(crate) struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    records: HashMap<Key, Held>,
    due: HashMap<&'static str, BTreeSet<(u64, String)>>,
    leases: HashMap<String, (String, u64)>,
    groups: HashMap<String, Group>,
}

struct Group {
    values: HashMap<String, bytes::Bytes>,
    /// It vanishes then.
    until: Instant,
}

struct Held {
    record: Record,
    deadline: Option<u64>,
    /// It vanishes then.
    until: Option<Instant>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn load(&self, key: &Key) -> Option<Record> {
        self.state().get(key).map(|held| held.record.clone())
    }

    pub fn save(&self, key: &Key, expected: u64, new: &NewRecord) -> Saved {
        let mut state = self.state();
        let current = state.get(key).map(|held| held.record.clone());
        if current.as_ref().map_or(0, |r| r.version) != expected {
            return Saved::Conflict(current);
        }
        let record = Record { version: expected + 1, body: new.body.clone(), outbox: new.outbox.clone() };
        let until = new.ttl.map(|ttl| Instant::now() + ttl);
        state.put(key, Held { record, deadline: new.deadline, until });
        Saved::Stored(expected + 1)
    }

    pub fn list(&self, kind: &'static str, limit: usize) -> Vec<String> {
        let (state, now) = (self.state(), Instant::now());
        let kept = state.records.iter().filter(|(key, held)| key.kind == kind && !held.is_over(now));
        kept.take(limit).map(|(key, _)| key.id.clone()).collect()
    }

    pub fn delete(&self, key: &Key, expected: u64) -> bool {
        let mut state = self.state();
        if state.get(key).is_none_or(|held| held.record.version != expected) {
            return false;
        }
        state.remove(key);
        true
    }

    pub fn due(&self, kind: &'static str, now: u64, lease_ms: u64, limit: usize) -> Vec<String> {
        let mut state = self.state();
        let limit = limit.saturating_mul(usize::from(crate::SHARDS));
        let index = state.due.entry(kind).or_default();
        let taken: Vec<(u64, String)> =
            index.iter().take_while(|(at, _)| *at <= now).take(limit).cloned().collect();
        for (at, id) in &taken {
            index.remove(&(*at, id.clone()));
            index.insert((now + lease_ms, id.clone()));
        }
        for (_, id) in &taken {
            if let Some(held) = state.records.get_mut(&Key { kind, id: id.clone() }) {
                held.deadline = Some(now + lease_ms);
            }
        }
        taken.into_iter().map(|(_, id)| id).collect()
    }

    pub fn keep(
        &self,
        group: &str,
        values: &[(String, bytes::Bytes)],
        gone: &[String],
        ttl: std::time::Duration,
    ) {
        let mut state = self.state();
        let now = Instant::now();
        state.groups.retain(|_, group| group.until > now);
        let until = now + ttl;
        let group =
            state.groups.entry(group.to_owned()).or_insert_with(|| Group { values: HashMap::new(), until });
        group.values.extend(values.iter().cloned());
        for id in gone {
            group.values.remove(id);
        }
        group.until = until;
    }

    pub fn kept(&self, group: &str, id: &str) -> Option<bytes::Bytes> {
        let state = self.state();
        let group = state.groups.get(group).filter(|group| group.until > Instant::now())?;
        group.values.get(id).cloned()
    }

    pub fn kept_ids(&self, group: &str) -> Vec<String> {
        let state = self.state();
        let group = state.groups.get(group).filter(|group| group.until > Instant::now());
        group.map(|group| group.values.keys().cloned().collect()).unwrap_or_default()
    }

    pub fn lease(&self, name: &str, holder: &str, now: u64, ttl_ms: u64) -> bool {
        let mut state = self.state();
        if state.leases.get(name).is_some_and(|(other, until)| other != holder && *until > now) {
            return false;
        }
        state.leases.insert(name.to_owned(), (holder.to_owned(), now + ttl_ms));
        true
    }

    pub fn unlease(&self, name: &str, holder: &str) {
        let mut state = self.state();
        if state.leases.get(name).is_some_and(|(other, _)| other == holder) {
            state.leases.remove(name);
        }
    }
}

impl Held {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl State {
    /// What is there; a record whose time is over goes with its deadline as somebody looks.
    fn get(&mut self, key: &Key) -> Option<&Held> {
        if self.records.get(key)?.is_over(Instant::now()) {
            self.remove(key);
        }
        self.records.get(key)
    }

    fn remove(&mut self, key: &Key) {
        if let Some(Held { deadline: Some(at), .. }) = self.records.remove(key) {
            self.due.entry(key.kind).or_default().remove(&(at, key.id.clone()));
        }
    }

    fn put(&mut self, key: &Key, held: Held) {
        self.remove(key);
        if let Some(at) = held.deadline {
            self.due.entry(key.kind).or_default().insert((at, key.id.clone()));
        }
        self.records.insert(key.clone(), held);
    }
}
