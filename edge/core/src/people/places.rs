//! Places of anonymous sessions at an address.
//!
//! Why places: an anonymous person who reconnects without a ticket proves nothing. The lowest free place is
//! the one that it left, if nobody came meanwhile, and what is owed is owed by the place.
//! Invariants: a place that was taken is given back once. An address without sessions is not remembered; so
//! there are at most as many entries as sessions.
//! Not here: what a place owes (`allowances`, and slow mode in the engine).

use std::collections::HashMap;
use std::sync::Mutex;

use smallvec::SmallVec;

use super::{AddressBlock, PARTS, part_of};
use crate::key::Key;

/// Sessions at each place of an address; most addresses have one.
type Counts = SmallVec<[u32; 2]>;

#[derive(Debug)]
pub(super) struct Places {
    parts: Box<[Mutex<HashMap<AddressBlock, Counts, Key>>]>,
    per_address: u32,
}

impl Places {
    pub(super) fn new(per_address: u32, key: Key) -> Self {
        let parts = (0..PARTS).map(|_| Mutex::new(HashMap::with_hasher(key))).collect();
        Places { parts, per_address: per_address.max(1) }
    }

    /// Take a place: the lowest that is free, or, when all are taken, one with the fewest sessions. Behind a
    /// proxy that tells no addresses, each session has one: nobody there is known to be somebody else.
    pub(super) fn take(&self, block: AddressBlock) -> u32 {
        let mut part = self.part(block);
        let counts = part.entry(block).or_default();
        let free = counts.iter().position(|count| *count == 0);
        let at = free.unwrap_or_else(|| {
            if block.is_shared() || counts.len() < self.per_address as usize {
                counts.push(0);
                return counts.len() - 1;
            }
            let fewest = counts.iter().enumerate().min_by_key(|(_, count)| **count);
            fewest.expect("an address has a place").0
        });
        counts[at] += 1;
        at as u32
    }

    /// A session left its place.
    pub(super) fn give_back(&self, block: AddressBlock, at: u32) {
        let mut part = self.part(block);
        let counts = part.get_mut(&block).expect("a place that was taken");
        counts[at as usize] -= 1;
        while counts.last() == Some(&0) {
            counts.pop();
        }
        if counts.is_empty() {
            part.remove(&block);
        }
    }

    fn part(&self, block: AddressBlock) -> std::sync::MutexGuard<'_, HashMap<AddressBlock, Counts, Key>> {
        self.parts[part_of(block.0)].lock().expect("nothing panics under this lock")
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.lock().unwrap().is_empty())
    }
}
