//! Watching: which session counts as a viewer of which room.
//!
//! Why: a phone that changes from Wi-Fi to mobile resumes its session on a second connection while the first
//! is half open, for as long as a heartbeat. Both are members of the room, and the session is one viewer.
//! Invariants: of the connections by which a session follows a room, on whatever workers, at most one counts.
//! When that one leaves, another counts as soon as its worker looks.
//! There are at most as many entries as members.
//! Not here: the count itself (`audience`), its sum over workers (the engine).

use std::collections::HashMap;
use std::sync::Mutex;

use super::{PARTS, part_of};
use crate::key::Key;

/// In an entry: one of the connections counts. The other bits are their number.
const COUNTED: u32 = 1 << 31;

/// By the hash of session and room.
#[derive(Debug)]
pub(super) struct Watching(Box<[Mutex<HashMap<u64, u32, Key>>]>);

impl Watching {
    pub(super) fn new(key: Key) -> Self {
        Watching((0..PARTS).map(|_| Mutex::new(HashMap::with_hasher(key))).collect())
    }

    /// One more connection; `true`: it counts.
    pub(super) fn enter(&self, pair: u64) -> bool {
        let mut part = self.part(pair);
        let entry = part.entry(pair).or_default();
        let counts = *entry & COUNTED == 0;
        *entry = (*entry + 1) | COUNTED;
        counts
    }

    /// A connection that did not count: does it count from now on?
    pub(super) fn claim(&self, pair: u64) -> bool {
        let mut part = self.part(pair);
        let Some(entry) = part.get_mut(&pair) else { return false };
        let counts = *entry & COUNTED == 0;
        *entry |= COUNTED;
        counts
    }

    /// The connection that counted does so no more: the session counts at another node.
    pub(super) fn uncount(&self, pair: u64) {
        if let Some(entry) = self.part(pair).get_mut(&pair) {
            *entry &= !COUNTED;
        }
    }

    /// One connection less.
    pub(super) fn leave(&self, pair: u64, counted: bool) {
        let mut part = self.part(pair);
        let Some(entry) = part.get_mut(&pair) else { return };
        *entry -= 1;
        if counted {
            *entry &= !COUNTED;
        }
        if *entry & !COUNTED == 0 {
            part.remove(&pair);
        }
    }

    fn part(&self, pair: u64) -> std::sync::MutexGuard<'_, HashMap<u64, u32, Key>> {
        self.0[part_of(pair)].lock().expect("nothing panics under this lock")
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|part| part.lock().unwrap().is_empty())
    }
}
