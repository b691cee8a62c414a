//! The board: what the stands of a node say of their shards, for each other and for whoever watches.
//!
//! Why shared: which node claims a shard depends on how many it owns already, one stand works out which shard
//! should move while another one owns it, and health and metrics ask for all shards at once, from other
//! threads.
//! Not here: how a figure is shown (the node).

#![expect(clippy::disallowed_types, reason = "one lock, a few instructions, some twenty times a second")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grandstand_engine::link::ShardId;

use crate::id::{NodeId, Position, Term};
use crate::membership::ShardReport;
use crate::record::Voids;
use crate::seat::{Phase, Trouble};
use crate::time::OwnTime;

/// Why a shard was handed over by this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoveCause {
    /// An operator ordered it.
    Ordered,
    /// So that nodes own equal numbers, or since this node cannot own it any more.
    Rebalanced,
    /// The node drains.
    Drained,
}

impl MoveCause {
    /// All causes.
    pub const ALL: [MoveCause; 3] = [MoveCause::Ordered, MoveCause::Rebalanced, MoveCause::Drained];

    /// Its word in metrics and log lines.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            MoveCause::Ordered => "ordered",
            MoveCause::Rebalanced => "rebalanced",
            MoveCause::Drained => "drained",
        }
    }
}

/// Something that an operator may want to read in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This node hands a shard over.
    HandsOver {
        /// The shard.
        shard: ShardId,
        /// To whom.
        to: NodeId,
        /// Why.
        cause: MoveCause,
    },
    /// The log names another owner.
    Owned {
        /// The shard.
        shard: ShardId,
        /// The owner.
        by: NodeId,
        /// Under which term.
        term: Term,
        /// Did the last owner hand it over?
        is_clean: bool,
    },
    /// The log has a record of a later release: this node follows no further, and can own the shard no more.
    NotUnderstood {
        /// The shard.
        shard: ShardId,
        /// Where.
        position: Position,
    },
    /// This node left the shard to others, since it does not reach the shard's log while others do.
    Withdrew {
        /// The shard.
        shard: ShardId,
    },
}

/// Notices that wait to be read; the oldest go first.
const NOTICES_MAX: usize = 256;

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
    /// Messages of the log that are void, by cause.
    pub voids: Voids,
    /// Owner changes that this node has seen since it started: handed over, and claimed.
    pub handed_over: u64,
    /// See above.
    pub claimed: u64,
    /// Hand-overs that this node began, in the order of [`MoveCause::ALL`].
    pub moved: [u64; 3],
    /// Times that this node left the shard to others, since it did not reach the log.
    pub withdrawn: u64,
    /// The record of a later release at which this node stopped to follow.
    pub not_understood: Option<Position>,
    /// Frames from other nodes that could not be decoded.
    pub malformed: u64,
    /// Times that everything was restated.
    pub restatements: u64,
}

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    shards: Vec<(ShardReport, StandStatus)>,
    /// Moves that placement wants, until the shard's stand takes them.
    wishes: BTreeMap<u16, NodeId>,
    notices: VecDeque<Notice>,
}

impl Board {
    /// What this node says of all its shards.
    #[must_use]
    pub fn reports(&self) -> Vec<ShardReport> {
        self.lock().shards.iter().map(|(report, _)| *report).collect()
    }

    /// All shards, in their order.
    #[must_use]
    pub fn statuses(&self) -> Vec<StandStatus> {
        let mut statuses: Vec<_> = self.lock().shards.iter().map(|(_, status)| *status).collect();
        statuses.sort_unstable_by_key(|status| status.shard.0);
        statuses
    }

    pub(super) fn set(&self, report: ShardReport, status: StandStatus) {
        let mut state = self.lock();
        match state.shards.iter_mut().find(|(of, _)| of.shard == report.shard) {
            Some(found) => *found = (report, status),
            None => state.shards.push((report, status)),
        }
    }

    /// The next notice that nobody has read yet.
    #[must_use]
    pub fn next_notice(&self) -> Option<Notice> {
        self.lock().notices.pop_front()
    }

    pub(super) fn note(&self, notice: Notice) {
        let mut state = self.lock();
        if state.notices.len() >= NOTICES_MAX {
            state.notices.pop_front();
        }
        state.notices.push_back(notice);
    }

    /// Placement wants a shard to move.
    pub(super) fn wish(&self, shard: ShardId, to: NodeId) {
        self.lock().wishes.insert(shard.0, to);
    }

    pub(super) fn take_wish(&self, shard: ShardId) -> Option<NodeId> {
        self.lock().wishes.remove(&shard.0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
