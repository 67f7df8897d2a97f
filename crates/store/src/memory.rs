//! Store in the memory of a single process.

use crate::{Claim, Key, NewRecord, Record, Saved};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

#[derive(Default)]
pub(crate) struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    records: HashMap<Key, Entry>,
    due: HashMap<&'static str, BTreeSet<(u64, String)>>,
    leases: HashMap<String, Lease>,
    groups: HashMap<String, Group>,
}

struct Lease {
    holder: String,
    expires: u64,
    in_use: bool,
}

struct Group {
    values: HashMap<String, bytes::Bytes>,
    expires: Instant,
}

struct Entry {
    record: Record,
    deadline: Option<u64>,
    expires: Option<Instant>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn load(&self, key: &Key) -> Option<Record> {
        self.state().get(key).map(|entry| entry.record.clone())
    }

    pub fn save(&self, key: &Key, expected: u64, new: &NewRecord) -> Saved {
        let mut state = self.state();
        let current = state.get(key).map(|entry| entry.record.clone());
        if current.as_ref().map_or(0, |r| r.version) != expected {
            return Saved::Conflict(current);
        }
        let record = Record { version: expected + 1, body: new.body.clone(), outbox: new.outbox.clone() };
        let expires = new.ttl.map(|ttl| Instant::now() + ttl);
        state.put(key, Entry { record, deadline: new.deadline, expires });
        Saved::Stored(expected + 1)
    }

    pub fn list(&self, kind: &'static str, limit: usize) -> Vec<String> {
        let (state, now) = (self.state(), Instant::now());
        let live = state.records.iter().filter(|(key, entry)| key.kind == kind && !entry.has_expired(now));
        live.take(limit).map(|(key, _)| key.id.clone()).collect()
    }

    pub fn delete(&self, key: &Key, expected: u64) -> bool {
        let mut state = self.state();
        if state.get(key).is_none_or(|entry| entry.record.version != expected) {
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
            if let Some(entry) = state.records.get_mut(&Key { kind, id: id.clone() }) {
                entry.deadline = Some(now + lease_ms);
            }
        }
        taken.into_iter().map(|(_, id)| id).collect()
    }

    pub fn postpone(&self, key: &Key, deadline: u64) {
        let mut state = self.state();
        let Some(entry) = state.records.get_mut(key) else { return };
        let Some(before) = entry.deadline.replace(deadline) else {
            entry.deadline = None;
            return;
        };
        let index = state.due.entry(key.kind).or_default();
        index.remove(&(before, key.id.clone()));
        index.insert((deadline, key.id.clone()));
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
        state.groups.retain(|_, group| group.expires > now);
        let expires = now + ttl;
        let group =
            state.groups.entry(group.to_owned()).or_insert_with(|| Group { values: HashMap::new(), expires });
        group.values.extend(values.iter().cloned());
        for id in gone {
            group.values.remove(id);
        }
        group.expires = expires;
    }

    pub fn kept(&self, group: &str, id: &str) -> Option<bytes::Bytes> {
        let state = self.state();
        let group = state.groups.get(group).filter(|group| group.expires > Instant::now())?;
        group.values.get(id).cloned()
    }

    pub fn kept_ids(&self, group: &str) -> Vec<String> {
        let state = self.state();
        let group = state.groups.get(group).filter(|group| group.expires > Instant::now());
        group.map(|group| group.values.keys().cloned().collect()).unwrap_or_default()
    }

    pub fn lease(&self, name: &str, claim: &Claim<'_>, now: u64) -> bool {
        let mut state = self.state();
        let anothers = |lease: &Lease| lease.holder != claim.holder && lease.expires > now;
        if state.leases.get(name).is_some_and(|lease| anothers(lease) && (lease.in_use || !claim.in_use)) {
            return false;
        }
        if claim.ttl_ms == 0 {
            return true;
        }
        let lease =
            Lease { holder: claim.holder.to_owned(), expires: now + claim.ttl_ms, in_use: claim.in_use };
        state.leases.insert(name.to_owned(), lease);
        true
    }

    pub fn unlease(&self, name: &str, holder: &str) {
        let mut state = self.state();
        if state.leases.get(name).is_some_and(|lease| lease.holder == holder) {
            state.leases.remove(name);
        }
    }
}

impl Entry {
    fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl State {
    /// Returns an entry; removes it with its deadline if it has expired.
    fn get(&mut self, key: &Key) -> Option<&Entry> {
        if self.records.get(key)?.has_expired(Instant::now()) {
            self.remove(key);
        }
        self.records.get(key)
    }

    fn remove(&mut self, key: &Key) {
        if let Some(Entry { deadline: Some(at), .. }) = self.records.remove(key) {
            self.due.entry(key.kind).or_default().remove(&(at, key.id.clone()));
        }
    }

    fn put(&mut self, key: &Key, entry: Entry) {
        self.remove(key);
        if let Some(at) = entry.deadline {
            self.due.entry(key.kind).or_default().insert((at, key.id.clone()));
        }
        self.records.insert(key.clone(), entry);
    }
}
