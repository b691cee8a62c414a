//! Reactions that a room gathers at one worker before they are handed to its shard.
//!
//! Why a share: one address that invents a kind for every reaction would fill the kinds of the room, and the
//! reactions of everybody else would be refused.
//! Invariants: at most [`KINDS_MAX`] kinds, of which one account brought at most [`KINDS_OF_ONE_MAX`]. A
//! reaction of a kind that is there is always taken.
//! Not here: what a shard makes of them (the engine's `tallies`), rates (`people`).

use grandstand_engine::link::PersonId;

/// Kinds of reactions that a room gathers before they are handed on: four times what a shard counts in a tick
/// by default, and few enough to look through. Beyond: refusal `Overloaded`.
pub(super) const KINDS_MAX: usize = 256;

/// Of them, those that one account brings: a user, or an address without tokens. An eighth, and more than a
/// palette shows. Beyond: refusal `Overloaded`.
pub(super) const KINDS_OF_ONE_MAX: usize = 32;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Reactions {
    tallies: Vec<(Box<str>, u64)>,
    /// Who brought each.
    by: Vec<PersonId>,
}

impl Reactions {
    pub(super) fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }

    /// Add reactions; `false` when there are too many kinds of them already.
    pub(super) fn add(&mut self, key: &str, count: u64, by: PersonId) -> bool {
        if let Some((_, n)) = self.tallies.iter_mut().find(|(k, _)| &**k == key) {
            *n += count;
            return true;
        }
        let is_taken = self.has_place(by);
        if is_taken {
            self.tallies.push((key.into(), count));
            self.by.push(by);
        }
        is_taken
    }

    fn has_place(&self, by: PersonId) -> bool {
        let brought = || self.by.iter().filter(|of| **of == by).count();
        self.by.len() < KINDS_MAX && (self.by.len() < KINDS_OF_ONE_MAX || brought() < KINDS_OF_ONE_MAX)
    }

    /// Take all of them.
    pub(super) fn take(&mut self) -> Vec<(Box<str>, u64)> {
        self.by.clear();
        std::mem::take(&mut self.tallies)
    }

    #[cfg(test)]
    pub(super) fn kinds(&self) -> usize {
        assert_eq!(self.tallies.len(), self.by.len());
        self.by.len()
    }
}
