//! Nonces: which publications a room has taken lately, and where they stand.
//!
//! Why: a client that lost its connection before the answer came says it again; it must not stand there twice.
//! Invariants: one entry per accepted publication, in the order of offsets and without holes, so an entry's offset is the
//! first one's plus its index. What is not sealed yet, or in a room on disk not synced, is never forgotten; beyond that, the
//! window is bounded in number and time.
//! Not here: who is told about a repetition, and when (`shard`).

use std::collections::{HashMap, VecDeque};

use foldhash::quality::FixedState;

use crate::durable::StoredNonce;
use crate::message::UserId;

/// Whether a publication was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not within the window.
    Never,
    /// It waits for the tick.
    Pending { offset: u64 },
    /// It stands.
    Sealed { offset: u64, time_ms: u64 },
}

/// The window of one room.
#[derive(Debug)]
pub(crate) struct Nonces {
    // Names the offset of an entry that is in `entries`.
    offsets: HashMap<(UserId, u64), u64, FixedState>,
    entries: VecDeque<Entry>,
    // Offset of the front entry; of the next one when there is none.
    first_offset: u64,
    entries_max: usize,
    window_us: u64,
}

#[derive(Debug)]
struct Entry {
    key: (UserId, u64),
    taken_us: u64,
    // 0 until sealed.
    time_ms: u64,
}

impl Nonces {
    /// Empty; `seed` keeps strangers from choosing nonces that collide.
    pub(crate) fn new(entries_max: usize, window_ms: u64, seed: u64) -> Self {
        let offsets = HashMap::with_hasher(FixedState::with_seed(seed));
        let window_us = window_ms.saturating_mul(1000);
        Nonces { offsets, entries: VecDeque::new(), first_offset: 0, entries_max, window_us }
    }

    /// Was it seen? Offsets below `next_offset` are sealed.
    pub(crate) fn look(&self, user: UserId, nonce: u64, next_offset: u64) -> Seen {
        match self.offsets.get(&(user, nonce)) {
            None => Seen::Never,
            Some(&offset) if offset >= next_offset => Seen::Pending { offset },
            Some(&offset) => Seen::Sealed { offset, time_ms: self.entries[self.index(offset)].time_ms },
        }
    }

    /// Take a publication that was never seen, for the next offset.
    pub(crate) fn take(&mut self, user: UserId, nonce: u64, offset: u64, now_us: u64) {
        if self.entries.is_empty() {
            self.first_offset = offset;
        }
        assert!(self.index(offset) == self.entries.len(), "offsets are taken in order");
        self.entries.push_back(Entry { key: (user, nonce), taken_us: now_us, time_ms: 0 });
        let before = self.offsets.insert((user, nonce), offset);
        assert!(before.is_none(), "a nonce taken twice");
    }

    /// Those from `from` to before `to` were sealed at a time.
    pub(crate) fn sealed(&mut self, from: u64, to: u64, time_ms: u64) {
        let (from, to) = (self.index(from), self.index(to));
        for entry in self.entries.range_mut(from..to) {
            entry.time_ms = time_ms;
        }
    }

    /// Those from `from` to before `to` were synced now: whoever has not heard of it has the whole window from here on.
    pub(crate) fn synced(&mut self, from: u64, to: u64, now_us: u64) {
        let (from, to) = (self.index(from.max(self.first_offset)), self.index(to.max(self.first_offset)));
        let to = to.min(self.entries.len());
        for entry in self.entries.range_mut(from.min(to)..to) {
            entry.taken_us = now_us;
        }
    }

    /// Begin with those that end before `next_offset`, oldest first, as if they were taken now.
    pub(crate) fn restore(&mut self, next_offset: u64, stored: &[StoredNonce], now_us: u64) {
        let first = stored.len().saturating_sub(self.entries_max.min(next_offset as usize));
        self.first_offset = next_offset - (stored.len() - first) as u64;
        for (offset, n) in (self.first_offset..).zip(&stored[first..]) {
            let key = (n.user, n.nonce);
            self.entries.push_back(Entry { key, taken_us: now_us, time_ms: n.time_ms });
            self.offsets.insert(key, offset);
        }
    }

    /// Forget those before `safe_offset` that are too old or too many.
    pub(crate) fn forget(&mut self, safe_offset: u64, now_us: u64) {
        while let Some(front) = self.entries.front() {
            let is_old = now_us.saturating_sub(front.taken_us) > self.window_us;
            if self.first_offset >= safe_offset || !(is_old || self.entries.len() > self.entries_max) {
                break;
            }
            // A restored one may have been taken again since.
            if self.offsets.get(&front.key) == Some(&self.first_offset) {
                self.offsets.remove(&front.key);
            }
            self.entries.pop_front();
            self.first_offset += 1;
        }
    }

    fn index(&self, offset: u64) -> usize {
        (offset - self.first_offset) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);

    #[test]
    fn an_answer_is_remembered_with_its_time() {
        let mut n = Nonces::new(10, 1000, 7);
        assert_eq!(n.look(ANN, 5, 0), Seen::Never);
        n.take(ANN, 5, 0, 0);
        assert_eq!(n.look(ANN, 5, 0), Seen::Pending { offset: 0 });
        assert_eq!(n.look(UserId(2), 5, 0), Seen::Never, "nonces are a user's own");
        n.sealed(0, 1, 99);
        assert_eq!(n.look(ANN, 5, 1), Seen::Sealed { offset: 0, time_ms: 99 });
    }

    #[test]
    fn the_window_is_bounded_in_number() {
        let mut n = Nonces::new(2, u64::MAX, 7);
        for i in 0..4 {
            n.take(ANN, i, i, 0);
        }
        n.forget(0, 0);
        assert_eq!(n.look(ANN, 0, 0), Seen::Pending { offset: 0 }, "what waits is not forgotten");
        n.sealed(0, 4, 1);
        n.forget(4, 0);
        assert_eq!(n.look(ANN, 1, 4), Seen::Never);
        assert_eq!(n.look(ANN, 2, 4), Seen::Sealed { offset: 2, time_ms: 1 });
        assert_eq!(n.offsets.len(), 2);
    }

    #[test]
    fn the_window_is_bounded_in_time() {
        let mut n = Nonces::new(10, 1, 7);
        n.take(ANN, 1, 0, 0);
        n.take(ANN, 2, 1, 900);
        n.sealed(0, 2, 1);
        n.forget(2, 1000);
        assert!(matches!(n.look(ANN, 1, 2), Seen::Sealed { .. }));
        n.forget(2, 1001);
        assert_eq!(n.look(ANN, 1, 2), Seen::Never);
        assert!(matches!(n.look(ANN, 2, 2), Seen::Sealed { .. }));
        n.forget(2, 5000);
        n.take(ANN, 1, 2, 5000);
        assert_eq!(n.look(ANN, 1, 2), Seen::Pending { offset: 2 });
    }
}
