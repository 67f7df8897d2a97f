//! Records as this instance stored them last, so that the next event of a call costs no load.
//!
//! One rule: a record of here may be old, and whoever uses it finds out: a save compares its version. Only octets are kept, and few.

use signal::RecordId;
use std::collections::{HashMap, VecDeque};
use store::Record;

/// Number of records kept.
const MAX: usize = 256;
/// Octets of all records kept.
const MAX_OCTETS: usize = 1024 * 1024;

/// Records that were stored here last.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    records: HashMap<RecordId, (u64, Record)>,
    /// Records by the time of their store, with its serial number; may still hold earlier stores of the same record.
    order: VecDeque<(RecordId, u64)>,
    serial: u64,
    octets: usize,
}

impl Recent {
    /// Returns the record as it was stored or found here last.
    pub(crate) fn get(&self, id: RecordId) -> Option<Record> {
        self.records.get(&id).map(|(_, record)| record.clone())
    }

    /// Keeps a record in place of an earlier version; the one that was stored longest ago gives way.
    pub(crate) fn put(&mut self, id: RecordId, record: Record) {
        self.remove(id);
        self.serial += 1;
        self.octets += size(&record);
        self.records.insert(id, (self.serial, record));
        self.order.push_back((id, self.serial));
        while (self.records.len() > MAX || self.octets > MAX_OCTETS)
            && let Some((oldest, serial)) = self.order.pop_front()
        {
            if self.is_kept(oldest, serial) {
                self.remove(oldest);
            }
        }
        // Amortised: once every `MAX` stores.
        if self.order.len() >= 2 * MAX {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|(id, serial)| self.is_kept(*id, *serial));
            self.order = order;
        }
    }

    /// Forgets a record.
    pub(crate) fn remove(&mut self, id: RecordId) {
        if let Some((_, record)) = self.records.remove(&id) {
            self.octets -= size(&record);
        }
    }

    fn is_kept(&self, id: RecordId, serial: u64) -> bool {
        self.records.get(&id).is_some_and(|(kept, _)| *kept == serial)
    }
}

fn size(record: &Record) -> usize {
    record.body.len() + record.outbox.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn id(number: u64) -> RecordId {
        let mut hash = [0; 10];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        RecordId::call(hash)
    }

    fn record(version: u64, octets: usize) -> Record {
        Record { version, body: Bytes::from(vec![0; octets]), outbox: Bytes::new() }
    }

    #[test]
    fn the_newest_is_kept_and_what_is_kept_has_a_limit() {
        let mut recent = Recent::default();
        for version in 1..=10 * MAX as u64 {
            recent.put(id(0), record(version, 100));
        }
        assert_eq!(recent.get(id(0)).map(|record| record.version), Some(10 * MAX as u64));
        assert!(recent.order.len() <= 2 * MAX, "{}", recent.order.len());
        assert_eq!(recent.octets, 100);
        for number in 1..=MAX as u64 {
            recent.put(id(number), record(1, 100));
        }
        assert!(recent.get(id(0)).is_none() && recent.get(id(1)).is_some(), "the oldest went");
        recent.put(id(9_999), record(1, MAX_OCTETS - 250));
        assert_eq!((recent.records.len(), recent.octets), (3, MAX_OCTETS - 50), "two small ones are left");
        recent.put(id(9_998), record(1, MAX_OCTETS + 1));
        assert_eq!((recent.records.len(), recent.octets), (0, 0), "one that is too large is not kept");
    }

    #[test]
    fn a_forgotten_record_is_not_returned() {
        let mut recent = Recent::default();
        recent.put(id(1), record(1, 10));
        recent.remove(id(1));
        assert!(recent.get(id(1)).is_none());
        assert_eq!(recent.octets, 0);
    }
}
