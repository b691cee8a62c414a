//! Renewal: what a log that was made anew says of the log before it.
//!
//! Why: the servers may lose what they acknowledged. An operator then has the log made anew behind the copy
//! that has most. The new log begins at a position above all that any copy has, and names the head that it
//! goes on from. A copy with exactly that head passes over the positions between; any other takes a snapshot.
//! Not here: where it is written (`grandstand-nats`).

use super::ChainHead;
use crate::id::Position;

/// See the file's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The position of the last valid record before.
    pub position: Position,
    /// Its sum.
    pub sum: u64,
    /// The first position of the new log.
    pub first: Position,
}

impl Renewal {
    /// Does a copy with this head have everything before the new log?
    #[must_use]
    pub fn continues(&self, head: &ChainHead) -> bool {
        (head.position, head.sum) == (self.position, self.sum)
    }
}
