//! The chain: which records of a shard's log are valid, as every reader judges it alone.
//!
//! Why a second fence: the log's own condition (append only behind this sequence) is the first. A record that
//! the log let through against it must change nothing at any node, so each reader asks again: is it at its
//! place, does it follow the last valid record, and is it of the current term, or does it begin a higher one?
//! Invariants: the same messages in the same order give the same verdicts everywhere. After a valid record of
//! a term no record of a lower one is valid. At most one record begins a term. A void record changes nothing
//! but its count.
//! A record of an unknown kind that would be valid stops the chain: what it means is not known, so nothing
//! behind it is judged, and a node whose chain is stopped cannot own the shard.
//! Not here: how messages are read, and from whom (`seat`).

use bytes::Bytes;
use grandstand_engine::link::ShardId;

use super::head::ChainHead;
use super::{Body, Record, Renewal, decode};
use crate::id::Position;

/// What a record is to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Part of the log: apply it.
    Valid(Record),
    /// Not part of the log: pass it over.
    Void(VoidCause),
    /// It was judged before.
    Known,
    /// Of a kind that this release does not know: nothing from here on can be applied.
    NotUnderstood {
        /// Where the chain stopped.
        position: Position,
    },
}

/// Why a record is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VoidCause {
    /// Its bytes are no record, or were changed.
    Damaged,
    /// It names another shard.
    Shard,
    /// It names another position than the one at which it is.
    Position,
    /// It is of an earlier term: its writer no longer owned the shard. Expected after an unclean owner
    /// change.
    OldTerm,
    /// It begins a term that began already: two nodes claimed it, and this one came second. Expected.
    BegunTerm,
    /// It is of a term that never began.
    UnknownTerm,
    /// It does not follow the last valid record.
    Base,
}

impl VoidCause {
    /// Its word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            VoidCause::Damaged => "damaged",
            VoidCause::Shard => "shard",
            VoidCause::Position => "position",
            VoidCause::OldTerm => "old_term",
            VoidCause::BegunTerm => "begun_term",
            VoidCause::UnknownTerm => "unknown_term",
            VoidCause::Base => "base",
        }
    }

    /// All of them, in the order in which [`Voids`] counts them.
    pub const ALL: [VoidCause; 7] = [
        VoidCause::Damaged,
        VoidCause::Shard,
        VoidCause::Position,
        VoidCause::OldTerm,
        VoidCause::BegunTerm,
        VoidCause::UnknownTerm,
        VoidCause::Base,
    ];

    /// Can a sound log have it? The others mean that the log changed or lost something.
    #[must_use]
    pub fn is_expected(self) -> bool {
        matches!(self, VoidCause::OldTerm | VoidCause::BegunTerm)
    }
}

/// How many records were void, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Voids {
    counts: [u64; VoidCause::ALL.len()],
}

impl Voids {
    /// Of one cause.
    #[must_use]
    pub fn of(&self, cause: VoidCause) -> u64 {
        self.counts[cause as usize]
    }

    /// Of all causes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Messages are missing before this one: they must be read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The position to read next.
    pub expected: Position,
}

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Chain {
    shard: ShardId,
    head: ChainHead,
    next: Position,
    stopped: Option<Position>,
    voids: Voids,
}

impl Chain {
    /// Of an empty log.
    #[must_use]
    pub fn new(shard: ShardId) -> Self {
        Chain::resume(shard, ChainHead::default())
    }

    /// Of a log that was judged up to `head` before, as this node's copy says.
    #[must_use]
    pub fn resume(shard: ShardId, head: ChainHead) -> Self {
        Chain { shard, head, next: head.position.next(), stopped: None, voids: Voids::default() }
    }

    /// The chain of the same log as another copy has it.
    #[must_use]
    pub(crate) fn replaced(&self, head: ChainHead) -> Self {
        Chain { voids: self.voids, ..Chain::resume(self.shard, head) }
    }

    /// Judge the message at `sequence` of the stream, which the log itself returned.
    ///
    /// # Errors
    /// If messages before it were not judged yet.
    pub fn judge(&mut self, sequence: Position, bytes: &Bytes) -> Result<Verdict, Hole> {
        if sequence < self.next {
            return Ok(Verdict::Known);
        }
        if let Some(position) = self.stopped {
            return Ok(Verdict::NotUnderstood { position });
        }
        if sequence > self.next {
            return Err(Hole { expected: self.next });
        }
        let verdict = match self.check(sequence, bytes) {
            Ok(Record { body: Body::Unknown { .. }, .. }) => {
                self.stopped = Some(sequence);
                return Ok(Verdict::NotUnderstood { position: sequence });
            }
            Ok(record) => {
                self.advance(&record);
                Verdict::Valid(record)
            }
            Err(cause) => {
                self.voids.counts[cause as usize] += 1;
                Verdict::Void(cause)
            }
        };
        self.next = sequence.next();
        Ok(verdict)
    }

    fn check(&self, sequence: Position, bytes: &Bytes) -> Result<Record, VoidCause> {
        let record = decode(bytes).map_err(|_| VoidCause::Damaged)?;
        let place = &record.place;
        if place.shard != self.shard {
            return Err(VoidCause::Shard);
        }
        if place.position != sequence {
            return Err(VoidCause::Position);
        }
        if place.term < self.head.term {
            return Err(VoidCause::OldTerm);
        }
        match record.body {
            Body::Term(_) if place.term == self.head.term => return Err(VoidCause::BegunTerm),
            Body::Entries(_) if place.term > self.head.term || self.head.owner.is_none() => {
                return Err(VoidCause::UnknownTerm);
            }
            _ => {}
        }
        if place.base != self.head.sum {
            return Err(VoidCause::Base);
        }
        Ok(record)
    }

    fn advance(&mut self, record: &Record) {
        self.head.position = record.place.position;
        self.head.sum = record.sum;
        match &record.body {
            Body::Entries(entries) => self.head.entries_in_term += entries.count(),
            Body::Term(term) => {
                self.head.term = record.place.term;
                self.head.owner = Some((term.owner, term.incarnation));
                self.head.entries_in_term = 0;
            }
            Body::Unknown { .. } => {}
        }
    }

    /// The log was made anew, and goes on from this chain's head at a higher position.
    pub(crate) fn pass_over(&mut self, renewal: &Renewal) {
        if renewal.continues(&self.head) {
            self.next = self.next.max(renewal.first);
        }
    }

    /// Whose log.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The last valid record, and the term that it belongs to.
    #[must_use]
    pub fn head(&self) -> &ChainHead {
        &self.head
    }

    /// The position of the first message that was not judged yet.
    #[must_use]
    pub fn next(&self) -> Position {
        self.next
    }

    /// Where the chain stopped at a record that this release does not understand.
    #[must_use]
    pub fn stopped(&self) -> Option<Position> {
        self.stopped
    }

    /// What was void since this chain was made.
    #[must_use]
    pub fn voids(&self) -> &Voids {
        &self.voids
    }
}
