//! Identifiers and the time, as edges and shards exchange them.
//!
//! Why types of their own: most are integers of the same width, and the compiler keeps them apart.
//! Not here: how a name becomes a shard or an alias (`directory`).

/// A worker: one edge thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// A shard: one engine thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A room on this node, as frames name it. Unique over the node's shards while the room lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alias(pub u32);

/// Who publishes, across reconnects: the scope of nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub u64);

/// A connection of one worker, with its generation, so that an answer to a closed one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionToken(pub u64);

/// The time, passed in: cores know no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, microseconds since any fixed point.
    pub us: u64,
    /// Wall clock, milliseconds since 1970; may step.
    pub unix_ms: u64,
}

/// A log that a room had before, and how much of it the log of today continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousEpoch {
    /// The log.
    pub epoch: u64,
    /// Everything before this offset holds.
    pub next_offset: u64,
}
