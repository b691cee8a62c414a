//! The board: what the stands of a node say of their shards, for each other and for whoever watches.
//!
//! Why shared: which node claims a shard depends on how many it owns already, and health and metrics ask for
//! all shards at once, from other threads.
//! Not here: how a figure is shown (the node).

#![expect(clippy::disallowed_types, reason = "one lock, a few instructions, some twenty times a second")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grandstand_engine::link::ShardId;

use crate::id::{NodeId, Position, Term};
use crate::membership::ShardReport;
use crate::seat::{Phase, Trouble};
use crate::time::OwnTime;

/// What a stand says of its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandStatus {
    /// The shard.
    pub shard: ShardId,
    /// Where this node is with it.
    pub phase: Phase,
    /// The term in the log.
    pub term: Term,
    /// Its owner; none before the first term.
    pub owner: Option<NodeId>,
    /// The last valid record that this node has.
    pub position: Position,
    /// Can this node own it?
    pub can_own: bool,
    /// The sum of that record.
    pub sum: u64,
    /// The first position that was not judged.
    pub next: Position,
    /// Why this node cannot follow the log.
    pub trouble: Option<Trouble>,
    /// When a frame of the owner came last. While this node owns the shard and may act: now.
    pub heard: OwnTime,
    /// Bytes of entries that this owner has shown and the log has not.
    pub unkept_bytes: u64,
    /// Messages of the log that are void.
    pub void_records: u64,
    /// Owner changes that this node has seen since it started: handed over, and claimed.
    pub handed_over: u64,
    /// See above.
    pub claimed: u64,
    /// Frames from other nodes that could not be decoded.
    pub malformed: u64,
    /// Times that everything was restated.
    pub restatements: u64,
}

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Vec<(ShardReport, StandStatus)>>>);

impl Board {
    /// What this node says of all its shards.
    #[must_use]
    pub fn reports(&self) -> Vec<ShardReport> {
        self.lock().iter().map(|(report, _)| *report).collect()
    }

    /// All shards, in their order.
    #[must_use]
    pub fn statuses(&self) -> Vec<StandStatus> {
        let mut statuses: Vec<_> = self.lock().iter().map(|(_, status)| *status).collect();
        statuses.sort_unstable_by_key(|status| status.shard.0);
        statuses
    }

    pub(super) fn set(&self, report: ShardReport, status: StandStatus) {
        let mut all = self.lock();
        match all.iter_mut().find(|(of, _)| of.shard == report.shard) {
            Some(found) => *found = (report, status),
            None => all.push((report, status)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(ShardReport, StandStatus)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
