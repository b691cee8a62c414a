//! Nonces: the publications that a room accepted lately, with their offsets.
//!
//! Why: a client that lost its connection before the answer came retries, and the message must not be in the
//! log twice.
//! Invariants: there is one entry per accepted publication, in the order of offsets and without gaps, so an
//! entry's offset is the first one's plus its index. A publication that is not sealed yet, or not synced yet
//! in a room on disk, is never forgotten. All other entries are bounded in number and time. The room knows
//! since when it has forgotten nothing. So a retry is known to be new, known to be in the log, or older than
//! the memory. It is then refused, because it could be in the log twice.
//! A nonce stands for its content: an entry has a keyed hash of 32 bits of it. A restart forgets the hash and
//! keeps the nonce: a nonce that was restored stands for any content.
//! Not here: who is told about a retry, and when (`shard`).

use std::collections::{HashMap, VecDeque};

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use crate::link::{Now, Publication, UserId};
use crate::log::StoredNonce;

/// The longest time that a retry is on its way. A connection that takes longer has missed its heartbeat.
const TRANSIT_US: i64 = 10_000_000;

/// Whether a publication was accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not within the window.
    Never,
    /// It waits for the tick.
    Pending { offset: u64 },
    /// It is sealed.
    Sealed { offset: u64, time_ms: u64 },
    /// The nonce was taken for another content.
    Other,
}

/// What a nonce stands for: a keyed hash. 0: unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content(u32);

impl Content {
    const UNKNOWN: Content = Content(0);

    fn is_another_than(self, other: Content) -> bool {
        self != other && self != Content::UNKNOWN && other != Content::UNKNOWN
    }
}

/// The window of one room.
#[derive(Debug)]
pub(crate) struct Nonces {
    // The offset of each entry in `entries`.
    offsets: HashMap<(UserId, u64), u64, FixedState>,
    entries: VecDeque<Entry>,
    // Offset of the front entry; the next offset when there is no entry.
    first_offset: u64,
    // Every publication accepted after this time is in `entries`. It is negative for a time before the
    // process began.
    complete_after_us: i64,
    entries_max: usize,
    window_us: u64,
    // Entries before this offset are of an earlier process, and were restored at `restored_at`.
    restored_before: u64,
    restored_at: Now,
}

#[derive(Debug)]
struct Entry {
    key: (UserId, u64),
    // Since when its window runs.
    taken_us: u64,
    // 0 until sealed.
    time_ms: u64,
    content: Content,
}

impl Nonces {
    /// An empty window. `seed` keeps clients from choosing nonces that collide in the table.
    pub(crate) fn new(entries_max: usize, window_ms: u64, seed: u64) -> Self {
        let offsets = HashMap::with_hasher(FixedState::with_seed(seed));
        let window_us = window_ms.saturating_mul(1000);
        Nonces {
            offsets,
            entries: VecDeque::new(),
            first_offset: 0,
            complete_after_us: i64::MIN,
            entries_max,
            window_us,
            restored_before: 0,
            restored_at: Now { us: 0, unix_ms: 0 },
        }
    }

    /// Was it accepted before, with this content? Offsets below `next_offset` are sealed. The content is
    /// asked for only when the nonce is known.
    pub(crate) fn look(
        &self,
        key: (UserId, u64),
        next_offset: u64,
        content: impl FnOnce(&Self) -> Content,
    ) -> Seen {
        let Some(&offset) = self.offsets.get(&key) else { return Seen::Never };
        let entry = &self.entries[self.index(offset)];
        match entry {
            _ if entry.content.is_another_than(content(self)) => Seen::Other,
            _ if offset >= next_offset => Seen::Pending { offset },
            _ => Seen::Sealed { offset, time_ms: entry.time_ms },
        }
    }

    /// What the nonce of a publication stands for: text, attachment and the message answered, and the author
    /// and role where the client chose them. A session's own name may change between two attempts.
    pub(crate) fn content_of(&self, p: &Publication) -> Content {
        let mut hasher = self.offsets.hasher().build_hasher();
        for part in [&p.text, &p.attachment] {
            hasher.write(part.as_bytes());
            hasher.write_usize(part.len());
        }
        hasher.write_u64(p.reply_to.map_or(0, |to| to.wrapping_add(1)));
        if p.is_bridged {
            hasher.write(p.author.as_bytes());
            hasher.write_u8(p.role as u8);
        }
        Content((hasher.finish() as u32).max(1))
    }

    /// Would the room remember a publication whose first attempt is this old?
    pub(crate) fn reach_back(&self, now_us: u64, age_ms: u32) -> bool {
        now_us as i64 - i64::from(age_ms) * 1000 - TRANSIT_US > self.complete_after_us
    }

    /// Remember a new publication, for the next offset.
    pub(crate) fn take(&mut self, key: (UserId, u64), content: Content, offset: u64, now_us: u64) {
        if self.entries.is_empty() {
            self.first_offset = offset;
        }
        assert!(self.index(offset) == self.entries.len(), "offsets are taken in order");
        self.entries.push_back(Entry { key, taken_us: now_us, time_ms: 0, content });
        let before = self.offsets.insert(key, offset);
        assert!(before.is_none(), "a nonce taken twice");
    }

    /// An entry that is no publication gets the next offset.
    pub(crate) fn take_act(&mut self, key: (UserId, u64), offset: u64, now_us: u64) {
        self.take(key, Content::UNKNOWN, offset, now_us);
    }

    /// The publications from `from` to before `to` were sealed, with this batch time.
    pub(crate) fn sealed(&mut self, from: u64, to: u64, time_ms: u64) {
        let (from, to) = (self.index(from), self.index(to));
        for entry in self.entries.range_mut(from..to) {
            entry.time_ms = time_ms;
        }
    }

    /// The publications from `from` to before `to` were synced now. A client that has not received the
    /// acknowledgement has the whole window from now on.
    pub(crate) fn synced(&mut self, from: u64, to: u64, now_us: u64) {
        let (from, to) = (self.index(from.max(self.first_offset)), self.index(to.max(self.first_offset)));
        let to = to.min(self.entries.len());
        for entry in self.entries.range_mut(from.min(to)..to) {
            entry.taken_us = now_us;
        }
    }

    /// Go on at a position whose nonces are not remembered, in a room without messages after
    /// `silent_since_ms` (0: unknown).
    pub(crate) fn go_on(&mut self, next_offset: u64, silent_since_ms: u64, now: Now) {
        self.first_offset = next_offset;
        self.note_complete_after(Some(silent_since_ms).filter(|&ms| ms > 0), now);
    }

    /// Begin at a position before which there is nothing that a retry could be of.
    pub(crate) fn begin(&mut self, next_offset: u64) {
        self.first_offset = next_offset;
        self.complete_after_us = i64::MIN;
    }

    /// Begin with stored nonces that end before `next_offset`, oldest first. Their windows begin now, since a
    /// client could not retry while no process ran. They were accepted at their own times: the first one that
    /// is forgotten says nothing of what was accepted after it.
    pub(crate) fn restore(&mut self, next_offset: u64, stored: &[StoredNonce], now: Now) {
        let first = stored.len().saturating_sub(self.entries_max.min(next_offset as usize));
        let (older, stored) = stored.split_at(first);
        self.first_offset = next_offset - stored.len() as u64;
        let newest_forgotten = older.last().or(stored.first());
        self.note_complete_after(newest_forgotten.map(|n| n.time_ms), now);
        (self.restored_before, self.restored_at) = (next_offset, now);
        for (offset, n) in (self.first_offset..).zip(stored) {
            let key = (n.user, n.nonce);
            self.entries.push_back(Entry {
                key,
                taken_us: now.us,
                time_ms: n.time_ms,
                content: Content::UNKNOWN,
            });
            self.offsets.insert(key, offset);
        }
    }

    /// The nonces, for another process: one for each of the last offsets, oldest first. All must be sealed.
    pub(crate) fn hand(&self) -> Vec<StoredNonce> {
        let stored = |e: &Entry| StoredNonce { user: e.key.0, nonce: e.key.1, time_ms: e.time_ms };
        self.entries.iter().map(stored).collect()
    }

    /// How long the memory has been complete; `None`: it never forgot anything.
    pub(crate) fn complete_for_us(&self, now_us: u64) -> Option<i64> {
        (self.complete_after_us != i64::MIN).then(|| now_us as i64 - self.complete_after_us)
    }

    /// The memory of another process was complete for so long, `elapsed_us` ago, and nothing was forgotten
    /// since.
    pub(crate) fn complete_for(&mut self, us: Option<i64>, now_us: u64, elapsed_us: u64) {
        self.complete_after_us =
            us.map_or(i64::MIN, |us| (now_us as i64).saturating_sub(us).saturating_sub_unsigned(elapsed_us));
    }

    /// Forget entries before `safe_offset` that are too old or too many.
    pub(crate) fn forget(&mut self, safe_offset: u64, now_us: u64) {
        while let Some(front) = self.entries.front() {
            let is_old = now_us.saturating_sub(front.taken_us) > self.window_us;
            if self.first_offset >= safe_offset || !(is_old || self.entries.len() > self.entries_max) {
                break;
            }
            // A restored nonce may have been accepted again since.
            if self.offsets.get(&front.key) == Some(&self.first_offset) {
                self.offsets.remove(&front.key);
            }
            let accepted_us = match front {
                Entry { time_ms, .. } if self.first_offset < self.restored_before => {
                    self.before_us(*time_ms, self.restored_at)
                }
                Entry { taken_us, .. } => *taken_us as i64,
            };
            self.complete_after_us = self.complete_after_us.max(accepted_us);
            self.entries.pop_front();
            self.first_offset += 1;
        }
    }

    fn note_complete_after(&mut self, time_ms: Option<u64>, now: Now) {
        self.complete_after_us = match (self.first_offset, time_ms) {
            (0, _) => i64::MIN,
            (_, None) => now.us as i64,
            (_, Some(time_ms)) => self.before_us(time_ms, now),
        };
    }

    /// A wall clock's time as a time of this process, which was not running then.
    ///
    /// The wall clock is used, since no other clock runs while the process does not. If it was set forward
    /// meanwhile, the time seems longer ago, but not longer than the window.
    fn before_us(&self, time_ms: u64, now: Now) -> i64 {
        let since_us = now.unix_ms.saturating_sub(time_ms).saturating_mul(1000);
        (now.us as i64).saturating_sub_unsigned(since_us.min(self.window_us))
    }

    fn index(&self, offset: u64) -> usize {
        (offset - self.first_offset) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const TEXT: Content = Content(9);

    #[test]
    fn a_nonce_stands_for_its_content_and_a_restored_one_for_any() {
        let mut n = Nonces::new(10, 1000, 7);
        n.take((ANN, 5), TEXT, 0, 0);
        assert_eq!(n.look((ANN, 5), 0, |_| Content(8)), Seen::Other);
        assert_eq!(n.look((ANN, 5), 0, |_| TEXT), Seen::Pending { offset: 0 });
        n.sealed(0, 1, 99);
        assert_eq!(n.look((ANN, 5), 1, |_| Content(8)), Seen::Other);
        let mut restored = Nonces::new(10, 1000, 7);
        let stored = [StoredNonce { user: ANN, nonce: 5, time_ms: 99 }];
        restored.restore(1, &stored, Now { us: 5, unix_ms: 100 });
        assert_eq!(restored.look((ANN, 5), 1, |_| Content(8)), Seen::Sealed { offset: 0, time_ms: 99 });
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 40, "{}", size_of::<Entry>());
    }

    #[test]
    fn an_answer_is_remembered_with_its_time() {
        let mut n = Nonces::new(10, 1000, 7);
        assert_eq!(n.look((ANN, 5), 0, |_| TEXT), Seen::Never);
        n.take((ANN, 5), TEXT, 0, 0);
        assert_eq!(n.look((ANN, 5), 0, |_| TEXT), Seen::Pending { offset: 0 });
        assert_eq!(n.look((UserId(2), 5), 0, |_| TEXT), Seen::Never, "nonces are a user's own");
        n.sealed(0, 1, 99);
        assert_eq!(n.look((ANN, 5), 1, |_| TEXT), Seen::Sealed { offset: 0, time_ms: 99 });
    }

    #[test]
    fn the_window_is_bounded_in_number() {
        let mut n = Nonces::new(2, u64::MAX, 7);
        for i in 0..4 {
            n.take((ANN, i), TEXT, i, 0);
        }
        n.forget(0, 0);
        assert_eq!(n.look((ANN, 0), 0, |_| TEXT), Seen::Pending { offset: 0 }, "what waits is not forgotten");
        n.sealed(0, 4, 1);
        n.forget(4, 0);
        assert_eq!(n.look((ANN, 1), 4, |_| TEXT), Seen::Never);
        assert_eq!(n.look((ANN, 2), 4, |_| TEXT), Seen::Sealed { offset: 2, time_ms: 1 });
        assert_eq!(n.offsets.len(), 2);
    }

    #[test]
    fn it_is_known_how_far_back_it_reaches() {
        let second = 1_000_000;
        let mut n = Nonces::new(2, u64::MAX, 7);
        assert!(n.reach_back(5, u32::MAX), "nothing was ever forgotten");
        for i in 0..4 {
            n.take((ANN, i), TEXT, i, 100 * second * (i + 1));
        }
        n.sealed(0, 4, 1);
        n.forget(4, 400 * second);
        // The second publication was accepted at 200 s, and forgotten.
        assert!(n.reach_back(401 * second, 190_999) && !n.reach_back(401 * second, 191_000));

        let now = Now { us: 5 * second, unix_ms: 1_000_000 };
        let stored = |time_ms| StoredNonce { user: ANN, nonce: time_ms, time_ms };
        let restored = |next_offset, stored: &[StoredNonce]| {
            let mut n = Nonces::new(2, 300_000, 7);
            n.restore(next_offset, stored, now);
            n
        };
        // The memory reaches back to the beginning; to the newest that is forgotten, 200 s ago; not at all.
        assert!(restored(2, &[stored(900_000), stored(950_000)]).reach_back(now.us, u32::MAX));
        let of_three = restored(3, &[stored(800_000), stored(900_000), stored(950_000)]);
        assert!(of_three.reach_back(now.us, 189_999) && !of_three.reach_back(now.us, 190_000));
        // The next that is forgotten was accepted 100 s ago, and not at the restart.
        let mut of_three = of_three;
        of_three.take((ANN, 1), TEXT, 3, now.us);
        of_three.sealed(3, 4, 1_000_000);
        of_three.forget(4, now.us);
        assert!(of_three.reach_back(now.us, 89_999) && !of_three.reach_back(now.us, 90_000));
        assert!(!restored(3, &[]).reach_back(now.us, 1));
        // A clock that was set forward by a day.
        let stepped = restored(3, &[stored(0), stored(0), stored(0)]);
        assert!(stepped.reach_back(now.us, 289_999) && !stepped.reach_back(now.us, 290_000));

        // A dormant room becomes live again: nobody spoke for 50 s, or the time is unknown.
        let mut silent = Nonces::new(2, 300_000, 7);
        silent.go_on(4, 950_000, now);
        assert!(silent.reach_back(now.us, 39_999) && !silent.reach_back(now.us, 40_000));
        silent.go_on(4, 0, now);
        assert!(!silent.reach_back(now.us, 1));
    }

    #[test]
    fn the_window_is_bounded_in_time() {
        let mut n = Nonces::new(10, 1, 7);
        n.take((ANN, 1), TEXT, 0, 0);
        n.take((ANN, 2), TEXT, 1, 900);
        n.sealed(0, 2, 1);
        n.forget(2, 1000);
        assert!(matches!(n.look((ANN, 1), 2, |_| TEXT), Seen::Sealed { .. }));
        n.forget(2, 1001);
        assert_eq!(n.look((ANN, 1), 2, |_| TEXT), Seen::Never);
        assert!(matches!(n.look((ANN, 2), 2, |_| TEXT), Seen::Sealed { .. }));
        n.forget(2, 5000);
        n.take((ANN, 1), TEXT, 2, 5000);
        assert_eq!(n.look((ANN, 1), 2, |_| TEXT), Seen::Pending { offset: 2 });
    }
}
