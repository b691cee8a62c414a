//! Allowances: the token buckets of people, by what they limit.
//!
//! Why by person and not in the session: a bucket in the session is new with each connection, so who
//! reconnects for every burst has no limit.
//! Invariants: a person whose buckets are full is not remembered, and at most a set number is. A request
//! takes one lock, for the time of a look-up.
//! Not here: who a person is (the module's head), the rates (`audience`).

use std::collections::HashMap;
use std::sync::Mutex;

use grandstand_engine::link::{Now, PersonId};

use super::{PARTS, part_of};
use crate::audience::{Rate, TokenBucket};
use crate::key::Key;

/// What a person's allowance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Publications.
    Publications,
    /// Reactions.
    Reactions,
    /// Requests that cost a shard work: subscriptions, state changes, pages of history.
    Requests,
}

/// Full buckets are looked for this often: a part has a thousand entries, which take microseconds.
const SWEEP_EVERY_US: u64 = 1_000_000;

/// Spreads the numbers of named users, which are hashes without a secret. People who share a lock share
/// nothing else.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug)]
pub(super) struct Allowances {
    parts: Box<[Mutex<Part>]>,
    /// Entries of a part.
    entries_max: usize,
}

#[derive(Debug)]
struct Part {
    /// Keyed by strangers: numbers of users are hashes of what issuers of tokens choose.
    entries: HashMap<PersonId, Entry, Key>,
    swept_us: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    buckets: [TokenBucket; 3],
    /// When all of them are full again.
    full_us: u64,
}

impl Allowances {
    pub(super) fn new(entries_max: usize, key: Key) -> Self {
        let part = |_| Mutex::new(Part { entries: HashMap::with_hasher(key), swept_us: 0 });
        let parts = (0..PARTS).map(part).collect();
        Allowances { parts, entries_max: entries_max.div_ceil(PARTS) }
    }

    /// Take tokens from a person's bucket, or say after how many milliseconds they are there. `None`: there
    /// are as many people as may be remembered, and this is another one.
    pub(super) fn take(
        &self,
        now: Now,
        person: PersonId,
        what: Limited,
        rate: Rate,
        tokens: u32,
    ) -> Option<Result<(), u32>> {
        let mut part = self.part(person);
        if let Some(entry) = part.entries.get_mut(&person) {
            return Some(entry.take(now, what, rate, tokens));
        }
        part.sweep(now.us);
        if part.entries.len() >= self.entries_max {
            return None;
        }
        let mut entry = Entry::default();
        let taken = entry.take(now, what, rate, tokens);
        part.entries.insert(person, entry);
        Some(taken)
    }

    /// Give tokens back that were taken just before.
    pub(super) fn give_back(&self, person: PersonId, what: Limited, tokens: u32) {
        if let Some(entry) = self.part(person).entries.get_mut(&person) {
            entry.buckets[what as usize].give_back(tokens);
        }
    }

    fn part(&self, person: PersonId) -> std::sync::MutexGuard<'_, Part> {
        let part = part_of(person.0.wrapping_mul(SPREAD));
        self.parts[part].lock().expect("nothing panics under this lock")
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().unwrap().entries.len()).sum()
    }
}

impl Entry {
    fn take(&mut self, now: Now, what: Limited, rate: Rate, tokens: u32) -> Result<(), u32> {
        let bucket = &mut self.buckets[what as usize];
        let taken = bucket.take(now, rate, tokens);
        self.full_us = self.full_us.max(now.us + bucket.full_after_us(rate));
        taken
    }
}

impl Part {
    fn sweep(&mut self, now_us: u64) {
        if now_us >= self.swept_us + SWEEP_EVERY_US {
            self.swept_us = now_us;
            self.entries.retain(|_, entry| entry.full_us > now_us);
        }
    }
}
