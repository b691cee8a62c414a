//! Bans of a room, as one worker knows them.
//!
//! Why here: a room that a worker follows asks its shard nothing when somebody joins.
//! Invariant: a room without bans costs no memory of the heap. The shard bounds how many there are, and tells
//! them anew with each attachment.
//! Not here: who is banned (the engine), notices (`acts`).

use std::collections::HashMap;

use grandstand_engine::link::PersonId;

/// Bans of a room: until when each person is kept out, milliseconds since 1970; 0: for ever.
#[derive(Debug, Default)]
pub(super) struct Bans(Option<HashMap<PersonId, u64, foldhash::fast::RandomState>>);

impl Bans {
    pub(super) fn note(&mut self, person: PersonId, until_ms: u64) {
        self.0.get_or_insert_default().insert(person, until_ms);
    }

    pub(super) fn lift(&mut self, person: PersonId) {
        let Some(bans) = &mut self.0 else { return };
        bans.remove(&person);
        if bans.is_empty() {
            self.0 = None;
        }
    }

    /// The shard tells them anew.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Is somebody kept out now, who is known by these numbers?
    #[inline]
    pub(super) fn hold(&self, numbers: [PersonId; 2], unix_ms: u64) -> bool {
        let Some(bans) = &self.0 else { return false };
        let is_held = |person| bans.get(&person).is_some_and(|until| *until == 0 || *until > unix_ms);
        numbers.into_iter().any(is_held)
    }
}
