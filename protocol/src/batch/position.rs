//! Where a reader stands in a room: what it adds up from batch to batch.
//!
//! Why: batches carry no absolute offset or time, so that they are small and the same for everyone.
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

/// A batch does not continue the position: a fault of one side; subscribe again from the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desync {
    /// The offset expected.
    pub expected: u64,
    /// The check byte found.
    pub check: u8,
}

impl Position {
    /// Begin a batch: check that it continues here, and take on its time. Batches without chat move nothing.
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

    /// Take one message: its offset. Offsets before it that were left out are passed over.
    pub fn message(&mut self, m: &Message<'_>) -> u64 {
        let offset = self.offset.saturating_add(m.skip);
        self.offset = offset.saturating_add(1);
        offset
    }

    /// Take omissions at a batch's end.
    pub fn omitted(&mut self, count: u64) {
        self.offset = self.offset.saturating_add(count);
    }
}
