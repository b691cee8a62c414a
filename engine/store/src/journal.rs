//! The journal in memory: which rows it has, how large they are, and the position of each shard.
//!
//! Why marks: compaction moves a room's records from the journal into segments. A room with megabytes of
//! records is moved in parts, each up to a *mark*: a row of the journal, with the positions that were
//! committed with it. The room's row names the journal row up to which it was moved. That is all that a start
//! must know of a part.
//! Invariants: rows and marks are in the order of their ids. A mark is a row that exists.
//! Not here: what a row holds (`tables`), moving (`compaction`), writing (`committer`).

use std::collections::VecDeque;

use crate::tables::{self, CopyPart, RowKind};

/// Bytes of records that one step of compaction moves, or the records of one commit if they are more: some
/// milliseconds of writing. It is also the distance from one mark to the next.
pub(crate) const STEP_BYTES: usize = 256 << 10;
const MARK_BYTES: u64 = STEP_BYTES as u64;

/// A row of the journal up to which rooms may be moved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) row: i64,
    /// The committed position of each shard.
    pub(crate) positions: Vec<u64>,
}

/// The journal's rows, newest checksum and positions.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) run: u64,
    pub(crate) next_id: i64,
    /// Checksum of its newest row.
    pub(crate) checksum: u64,
    /// The committed position of each shard.
    pub(crate) positions: Vec<u64>,
    /// The committed part of each shard's copy, without records. `None`: the log of a single node.
    pub(crate) copies: Option<Vec<CopyPart>>,
    /// Id and bytes of each row.
    rows: VecDeque<(i64, u64)>,
    bytes: u64,
    marks: Vec<Mark>,
    bytes_since_mark: u64,
}

impl Journal {
    /// A journal without rows, for this number of shards.
    pub(crate) fn empty(shards: usize) -> Journal {
        Journal { next_id: 1, positions: vec![0; shards], ..Journal::default() }
    }

    /// Bytes of all its rows.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn oldest(&self) -> i64 {
        self.rows.front().map_or(0, |&(id, _)| id)
    }

    /// Is there any row besides the newest, which always stays?
    pub(crate) fn has_more_than_the_newest(&self) -> bool {
        self.rows.len() > 1
    }

    /// The header of the next row, which leaves the copies where they are.
    pub(crate) fn header(&self, kind: RowKind, positions: &[u64]) -> Vec<u8> {
        self.header_of(kind, positions, self.copies.as_deref())
    }

    /// The header of the next row, with the parts of copies in it.
    pub(crate) fn header_of(&self, kind: RowKind, positions: &[u64], copies: Option<&[CopyPart]>) -> Vec<u8> {
        tables::journal_header(kind, self.run, positions, self.checksum, copies)
    }

    /// The next row is committed, and with it these parts of copies.
    pub(crate) fn settle_copies(&mut self, copies: Option<Vec<CopyPart>>) {
        self.copies =
            copies.map(|copies| copies.into_iter().map(|part| CopyPart { records: 0, ..part }).collect());
    }

    /// Add an existing row: found at a start, or committed.
    pub(crate) fn add(&mut self, id: i64, checksum: u64, bytes: u64) {
        self.rows.push_back((id, bytes));
        self.bytes += bytes;
        self.checksum = checksum;
        self.next_id = id.saturating_add(1).max(1);
    }

    /// The next row is committed.
    pub(crate) fn settle(&mut self, checksum: u64, bytes: u64, positions: Vec<u64>) {
        self.add(self.next_id, checksum, bytes);
        self.positions = positions;
        self.bytes_since_mark += bytes;
        if self.bytes_since_mark >= MARK_BYTES {
            self.bytes_since_mark = 0;
            self.marks.push(self.end());
        }
    }

    /// Its newest row.
    fn end(&self) -> Mark {
        Mark { row: self.next_id - 1, positions: self.positions.clone() }
    }

    /// Take the marks up to its newest row, which is the last of them. Later calls return only newer marks.
    pub(crate) fn take_marks(&mut self) -> Vec<Mark> {
        let end = self.end();
        let mut marks = std::mem::take(&mut self.marks);
        self.bytes_since_mark = 0;
        if marks.last().is_none_or(|mark| mark.row < end.row) {
            marks.push(end);
        }
        marks
    }

    /// Rows before this one are deleted.
    pub(crate) fn forget_before(&mut self, id: i64) {
        while let Some(&(_, bytes)) = self.rows.front().filter(|&&(oldest, _)| oldest < id) {
            self.rows.pop_front();
            self.bytes -= bytes;
        }
    }

    /// All rows are deleted.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_rows_and_marks_are_rows_some_way_apart() {
        let mut journal = Journal::empty(1);
        for position in 1..=10 {
            journal.settle(0, MARK_BYTES / 3, vec![position]);
        }
        assert_eq!(journal.bytes(), 10 * (MARK_BYTES / 3));
        journal.forget_before(4);
        assert_eq!((journal.bytes(), journal.oldest()), (7 * (MARK_BYTES / 3), 4));
        let marks = journal.take_marks();
        assert_eq!(marks.iter().map(|mark| mark.row).collect::<Vec<_>>(), [4, 8, 10]);
        assert!(marks.iter().all(|mark| mark.positions == [mark.row as u64]));
        // No row since then: the end is the only mark.
        assert_eq!(journal.take_marks().iter().map(|mark| mark.row).collect::<Vec<_>>(), [10]);
        journal.clear();
        assert_eq!((journal.bytes(), journal.has_more_than_the_newest()), (0, false));
    }
}
