//! Places for connections: so many, so many of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Places that connections take. Clones share them.
#[derive(Clone, Debug)]
pub struct Places {
    /// Number of connections of each address.
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
    most_of_one: usize,
}

impl Places {
    /// Makes places for so many connections, and so many of one address.
    #[must_use]
    pub fn new(most: usize, most_of_one: usize) -> Places {
        Places { taken: Arc::default(), most, most_of_one }
    }

    /// Returns a place for a connection of an address, if there is one.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let of_one = taken.get(&address).copied().unwrap_or(0);
        if all >= self.most || of_one >= self.most_of_one {
            return None;
        }
        taken.insert(address, of_one + 1);
        Some(Place(self.clone(), address))
    }
}

/// Place of a connection, free again when it is dropped.
#[derive(Debug)]
pub struct Place(Places, IpAddr);

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = taken.get_mut(&self.1) {
            *number = number.saturating_sub(1);
            if *number == 0 {
                taken.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_one_address_takes_no_place_of_another() {
        let places = Places::new(3, 2);
        let [one, two, three] = [1, 2, 3].map(|last| IpAddr::from([192, 0, 2, last]));
        let mut taken: Vec<Place> = (0..2).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).is_none());
        let other = places.take(two);
        assert!(other.is_some() && places.take(three).is_none(), "all are taken");
        taken.pop();
        assert!(places.take(one).is_some());
        drop((taken, other));
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
