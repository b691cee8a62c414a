//! Heartbeats: what a node tells all others five times a second.
//!
//! Why echoes: a node that is heard does not know it. Each heartbeat returns the last heartbeat that its
//! sender heard from each other node, by that node's own time, so an owner learns until when a majority heard
//! it.
//! Why terms by shard: a node that promised a higher term hears the old owner still, and must not support it.
//! Not here: the bytes, and what follows from a heartbeat (`Membership`, `Lease`).

use grandstand_engine::link::ShardId;

use crate::id::{Incarnation, NodeId, Position, Term};
use crate::time::PeerTime;

/// The last heartbeat that was heard from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// From whom.
    pub node: NodeId,
    /// From which life of it.
    pub incarnation: Incarnation,
    /// When that node sent it, by its own clock.
    pub sent: PeerTime,
}

/// What a node says of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardReport {
    /// Which.
    pub shard: ShardId,
    /// The highest term that it found in the log or promised. It supports no owner of a lower one.
    pub term: Term,
    /// Does it own the shard?
    pub owns: bool,
    /// Is it claiming the shard?
    pub claims: bool,
    /// The last valid record that it has.
    pub position: Position,
    /// Could it own the shard: is its copy sound, and did it understand every record?
    pub can_own: bool,
}

/// What all nodes of a cluster must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The seed by which names of rooms belong to shards.
    pub seed: u64,
    /// The number of shards.
    pub shards: u16,
    /// A print of the key of tickets.
    pub ticket_key_print: u64,
}

/// Versions of the messages between nodes that a node can read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

/// What a node says of itself beside its shards. Zero is what an earlier release says, which knows nothing
/// of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Does it give its shards away, and get none?
    pub is_draining: bool,
    /// Its wall clock. Nothing is decided by it; operators must know when clocks are apart.
    pub unix_ms: u64,
    /// How many nodes its list has.
    pub nodes: u8,
    /// By shard, from the lowest bit: did it hear the leader of the shard's log lately?
    pub leaders: u64,
    /// The version that the cluster writes, as it knows.
    pub written: u16,
}

/// See the file's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// From whom.
    pub node: NodeId,
    /// From which life of it.
    pub incarnation: Incarnation,
    /// When, by its own clock.
    pub sent: PeerTime,
    /// Whom it heard.
    pub echoes: Vec<Echo>,
    /// What it takes for agreed.
    pub facts: Facts,
    /// What it can read and write.
    pub versions: Versions,
    /// Of each shard.
    pub reports: Vec<ShardReport>,
    /// How many connections it has.
    pub load: u32,
    /// A digest of what it knows of the house: equal for nodes that know the same.
    pub house: u64,
    /// Of itself.
    pub about: About,
}

impl Heartbeat {
    /// What it says of a shard.
    #[must_use]
    pub fn report(&self, shard: ShardId) -> Option<&ShardReport> {
        self.reports.iter().find(|report| report.shard == shard)
    }

    /// The echo of a node's own heartbeat, if it is of that node's present life.
    #[must_use]
    pub fn echo_of(&self, node: NodeId, incarnation: Incarnation) -> Option<PeerTime> {
        let mine = |echo: &&Echo| echo.node == node && echo.incarnation == incarnation;
        self.echoes.iter().find(mine).map(|echo| echo.sent)
    }
}
