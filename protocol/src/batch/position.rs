//! A reader's position in a room's log: the epoch, the next offset, and the time of the last batch.
//!
//! Why: batches carry no absolute offset or time, so that they are small and the same for every viewer. A
//! reader adds the differences in each batch to its position.
//! Invariant: `offset` is the next offset that the reader expects; it never goes back within an epoch.

use super::{BatchReader, Message};

/// A position in a room's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Identity of the log.
    pub epoch: u64,
    /// The next offset.
    pub offset: u64,
    /// Time of the last batch with chat before it, in milliseconds since 1970.
    pub time_ms: u64,
}

/// A batch does not continue the position, so one of the two sides has a fault. The reader must subscribe
/// again from its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desync {
    /// The offset expected.
    pub expected: u64,
    /// The check byte found.
    pub check: u8,
}

impl Position {
    /// Begin a batch: check that it continues this position, and add its time. A batch without chat does not
    /// change the position.
    pub fn begin(&mut self, batch: &BatchReader<'_>) -> Result<(), Desync> {
        if !batch.has_chat() {
            return Ok(());
        }
        if batch.check() != self.offset as u8 {
            return Err(Desync { expected: self.offset, check: batch.check() });
        }
        self.time_ms = self.time_ms.saturating_add(batch.time_delta_ms());
        Ok(())
    }

    /// Advance over one message, and over the omitted offsets before it. Returns the message's offset.
    pub fn message(&mut self, m: &Message<'_>) -> u64 {
        self.entry(m.skip)
    }

    /// Advance over one entry of another kind, and over the omitted offsets before it. Returns its offset.
    pub fn entry(&mut self, skip: u64) -> u64 {
        let offset = self.offset.saturating_add(skip);
        self.offset = offset.saturating_add(1);
        offset
    }

    /// Advance over the omitted offsets at a batch's end.
    pub fn omitted(&mut self, count: u64) {
        self.offset = self.offset.saturating_add(count);
    }
}
