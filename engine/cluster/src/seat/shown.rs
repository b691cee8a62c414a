//! Shown entries: what this node's viewers saw of a shard and the log is not known to have.
//!
//! Why: an owner shows an entry before the log keeps it. If it dies between, those who saw the entry must not
//! find that it never was, so the next owner adopts what the living nodes saw.
//! Invariants: of each term the entries are a run without a gap. Nothing of a lower term than was promised is
//! taken. What the log has is dropped.
//! Not here: what a viewer is sent.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::message::ShownEntry;
use crate::id::Term;
use crate::planted::{self, Fault};

/// What becomes of an entry that came over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryVerdict {
    /// Show it.
    Show,
    /// It was shown before.
    Known,
    /// Entries before it are missing: ask the owner to restate.
    Hole,
    /// Its owner was replaced, or will be.
    OldTerm,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// By term and index.
    entries: BTreeMap<(Term, u64), Bytes>,
    /// The term that is followed, and the index that comes next in it.
    term: Term,
    next: u64,
}

impl Shown {
    /// An entry came. `floor` is the lowest term that is followed.
    pub(super) fn take(&mut self, entry: ShownEntry, floor: Term) -> EntryVerdict {
        if entry.term < floor || entry.term < self.term {
            let is_planted = planted::is(Fault::LinkWithoutTerm);
            return if is_planted { EntryVerdict::Show } else { EntryVerdict::OldTerm };
        }
        if entry.term > self.term {
            (self.term, self.next) = (entry.term, 1);
        }
        if entry.index < self.next {
            return EntryVerdict::Known;
        }
        if entry.index > self.next {
            return EntryVerdict::Hole;
        }
        self.next += 1;
        self.entries.insert((entry.term, entry.index), entry.bytes);
        EntryVerdict::Show
    }

    /// The owner restated: entries before `first` are kept, so they come by the log.
    pub(super) fn restate(&mut self, term: Term, first: u64) {
        if term > self.term {
            (self.term, self.next) = (term, first);
        } else if term == self.term {
            self.next = self.next.max(first);
        }
    }

    /// Entries that were shown elsewhere: by this node as an owner, or by nodes that promised it a term. They
    /// are kept over claims that fail, since a node that promised once may not answer the next time.
    pub(super) fn remember(&mut self, entries: Vec<ShownEntry>) {
        self.entries.extend(entries.into_iter().map(|entry| ((entry.term, entry.index), entry.bytes)));
    }

    /// The run of entries of a term from an index on, without a gap: what its next owner adopts.
    pub(super) fn run(&self, term: Term, first: u64) -> Vec<Bytes> {
        if planted::is(Fault::AdoptedDropped) {
            return Vec::new();
        }
        (first..).map_while(|index| self.entries.get(&(term, index)).cloned()).collect()
    }

    /// The log has a term, and in it entries up to an index.
    pub(super) fn drop_kept(&mut self, term: Term, through: u64) {
        self.entries = self.entries.split_off(&(term, through + 1));
    }

    /// All of them, for a candidate.
    pub(super) fn all(&self) -> Vec<ShownEntry> {
        let of = |((term, index), bytes): (&(Term, u64), &Bytes)| ShownEntry {
            term: *term,
            index: *index,
            bytes: bytes.clone(),
        };
        self.entries.iter().map(of).collect()
    }
}
