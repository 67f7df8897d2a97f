//! The store of a single process.

use crate::{Key, NewRecord, Record, Saved};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub(crate) struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    records: HashMap<Key, (Record, Option<u64>)>,
    due: HashMap<&'static str, BTreeSet<(u64, String)>>,
    leases: HashMap<String, (String, u64)>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn load(&self, key: &Key) -> Option<Record> {
        self.state().records.get(key).map(|(record, _)| record.clone())
    }

    pub fn save(&self, key: &Key, expected: u64, new: &NewRecord) -> Saved {
        let mut state = self.state();
        let current = state.records.get(key).map(|(record, _)| record.clone());
        if current.as_ref().map_or(0, |r| r.version) != expected {
            return Saved::Conflict(current);
        }
        let record = Record { version: expected + 1, body: new.body.clone(), outbox: new.outbox.clone() };
        state.put(key, record, new.deadline);
        Saved::Stored(expected + 1)
    }

    pub fn list(&self, kind: &'static str, limit: usize) -> Vec<String> {
        let state = self.state();
        state.records.keys().filter(|key| key.kind == kind).take(limit).map(|key| key.id.clone()).collect()
    }

    pub fn settle(&self, key: &Key, version: u64, deadline: Option<u64>) -> bool {
        let mut state = self.state();
        let Some((record, _)) = state.records.get(key).filter(|(r, _)| r.version == version) else {
            return false;
        };
        let record = Record { outbox: bytes::Bytes::new(), ..record.clone() };
        state.put(key, record, deadline);
        true
    }

    pub fn delete(&self, key: &Key, expected: u64) -> bool {
        let mut state = self.state();
        if state.records.get(key).is_none_or(|(r, _)| r.version != expected) {
            return false;
        }
        if let Some((_, Some(at))) = state.records.remove(key) {
            state.due.entry(key.kind).or_default().remove(&(at, key.id.clone()));
        }
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
            if let Some((_, at)) = state.records.get_mut(&Key { kind, id: id.clone() }) {
                *at = Some(now + lease_ms);
            }
        }
        taken.into_iter().map(|(_, id)| id).collect()
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

impl State {
    fn put(&mut self, key: &Key, record: Record, deadline: Option<u64>) {
        let old = self.records.insert(key.clone(), (record, deadline));
        let index = self.due.entry(key.kind).or_default();
        if let Some((_, Some(at))) = old {
            index.remove(&(at, key.id.clone()));
        }
        if let Some(at) = deadline {
            index.insert((at, key.id.clone()));
        }
    }
}
