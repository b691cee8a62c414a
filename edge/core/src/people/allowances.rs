//! Allowances: the token buckets of people, by what they limit.
//!
//! Why by person and not in the session: a bucket in the session is new with each connection, so who
//! reconnects for every burst has no limit.
//! Why hints: whoever asks keeps the slot of its entry, and the entry says whose it is. So a request of a
//! session that asks again and again costs a look at its slot, and no search.
//! Invariants: a person whose buckets are full is not remembered, and at most a set number is. A request
//! takes one lock, for the time of a look-up. A hint that is wrong costs a search and changes nothing.
//! Not here: who a person is (the module's head), the rates (`audience`).

use std::collections::HashMap;
use std::sync::Mutex;

use grandstand_engine::link::{Now, PersonId};
use slab::Slab;

use super::{PARTS, part_of};
use crate::audience::{Rate, TokenBucket};
use crate::key::Key;

/// What a person's allowance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Frames of any kind, but for heartbeats.
    Frames,
    /// Publications.
    Publications,
    /// Reactions.
    Reactions,
    /// Pages of history, at what each costs.
    Pages,
    /// Renewals of tokens, which a person's publications must not keep out.
    Renewals,
}

/// Kinds of limits.
pub const KINDS: usize = 5;

impl Limited {
    /// All of them, by their numbers.
    pub const ALL: [Limited; KINDS] =
        [Limited::Frames, Limited::Publications, Limited::Reactions, Limited::Pages, Limited::Renewals];
}

/// What a person took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Who.
    pub person: PersonId,
    /// From which allowance.
    pub what: Limited,
    /// How many tokens.
    pub tokens: u16,
}

/// Where a person's entry was last; any number will do.
pub(super) type Hint = u32;

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
    by_person: HashMap<PersonId, u32, Key>,
    entries: Slab<Entry>,
    swept_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    person: PersonId,
    buckets: [TokenBucket; KINDS],
    /// When all of them are full again.
    full_us: u64,
    /// What was taken and other nodes have not heard of.
    untold: [u16; KINDS],
}

impl Allowances {
    pub(super) fn new(entries_max: usize, key: Key) -> Self {
        let part = |_| {
            let by_person = HashMap::with_hasher(key);
            Mutex::new(Part { by_person, entries: Slab::new(), swept_us: 0 })
        };
        let parts = (0..PARTS).map(part).collect();
        Allowances { parts, entries_max: entries_max.div_ceil(PARTS) }
    }

    /// Take tokens from a person's bucket, or say after how many milliseconds they are there. `None`: there
    /// are as many people as may be remembered, and this is another one.
    #[inline]
    pub(super) fn take(
        &self,
        now: Now,
        (person, hint): (PersonId, &mut Hint),
        (what, rate): (Limited, Rate),
        tokens: u32,
        is_shared: bool,
    ) -> Option<Result<(), u32>> {
        let mut part = self.part(person);
        let hinted = part.entries.get_mut(*hint as usize).filter(|entry| entry.person == person);
        let entry = match hinted {
            // The search is apart, and this common way is short.
            Some(entry) => entry,
            None => {
                *hint = part.find_or_insert(now, person, self.entries_max)?;
                &mut part.entries[*hint as usize]
            }
        };
        let taken = entry.take(now, what, rate, tokens);
        if is_shared && taken.is_ok() {
            let untold = &mut entry.untold[what as usize];
            *untold = untold.saturating_add(tokens as u16);
        }
        Some(taken)
    }

    /// What other nodes have not heard of, at most so many entries. The rest waits.
    pub(super) fn take_taken(&self, entries_max: usize) -> Vec<Taken> {
        let mut all = Vec::new();
        for part in &self.parts {
            let mut part = part.lock().expect("nothing panics under this lock");
            for (_, entry) in &mut part.entries {
                for what in Limited::ALL {
                    let tokens = entry.untold[what as usize];
                    if tokens > 0 && all.len() < entries_max {
                        entry.untold[what as usize] = 0;
                        all.push(Taken { person: entry.person, what, tokens });
                    }
                }
            }
        }
        all
    }

    /// What was taken at another node. A person that is not remembered for want of a place owes nothing.
    pub(super) fn owe(&self, now: Now, taken: &Taken, rate: Rate) {
        let mut part = self.part(taken.person);
        let Some(at) = part.find_or_insert(now, taken.person, self.entries_max) else { return };
        let entry = &mut part.entries[at as usize];
        let bucket = &mut entry.buckets[taken.what as usize];
        bucket.owe(now, rate, taken.tokens.into());
        entry.full_us = entry.full_us.max(now.us + bucket.full_after_us(rate));
    }

    /// Give tokens back that were taken just before.
    pub(super) fn give_back(&self, person: PersonId, what: Limited, tokens: u32) {
        let mut part = self.part(person);
        let Some(&at) = part.by_person.get(&person) else { return };
        let entry = &mut part.entries[at as usize];
        entry.buckets[what as usize].give_back(tokens);
        entry.untold[what as usize] = entry.untold[what as usize].saturating_sub(tokens as u16);
    }

    #[inline]
    fn part(&self, person: PersonId) -> std::sync::MutexGuard<'_, Part> {
        let part = part_of(person.0.wrapping_mul(SPREAD));
        self.parts[part].lock().expect("nothing panics under this lock")
    }

    /// People remembered now.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().expect("nothing panics under this lock").entries.len()).sum()
    }
}

impl Entry {
    #[inline]
    fn take(&mut self, now: Now, what: Limited, rate: Rate, tokens: u32) -> Result<(), u32> {
        let bucket = &mut self.buckets[what as usize];
        let taken = bucket.take(now, rate, tokens);
        self.full_us = self.full_us.max(now.us + bucket.full_after_us(rate));
        taken
    }
}

impl Part {
    /// The slot of a person's entry, which may be a new one; `None` when there are too many.
    #[cold]
    fn find_or_insert(&mut self, now: Now, person: PersonId, entries_max: usize) -> Option<Hint> {
        if let Some(&at) = self.by_person.get(&person) {
            return Some(at);
        }
        self.sweep(now.us);
        if self.entries.len() >= entries_max {
            return None;
        }
        let at = self.entries.insert(Entry {
            person,
            buckets: Default::default(),
            full_us: 0,
            untold: [0; KINDS],
        }) as Hint;
        self.by_person.insert(person, at);
        Some(at)
    }

    fn sweep(&mut self, now_us: u64) {
        if now_us >= self.swept_us + SWEEP_EVERY_US {
            self.swept_us = now_us;
            self.entries.retain(|_, entry| entry.full_us > now_us);
            let entries = &self.entries;
            self.by_person.retain(|_, at| entries.contains(*at as usize));
        }
    }
}
