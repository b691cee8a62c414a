//! The end of a shard's log: what one owner of a shard leaves to the next while the store is open.
//!
//! Why: a shard may be released and seated again, and its records go on in one chain.
//! Not here: pushing (`shard_log`), where it waits for the next owner (`memtable`).

use std::collections::HashMap;

use foldhash::quality::RandomState;

use crate::crash_log::CrashLog;
use crate::tables::Name;

/// What goes from one owner of a shard to the next, while the store is open.
#[derive(Debug)]
pub(crate) struct ShardEnd {
    /// Epoch and newest checksum of each room that was ever pushed or restored.
    pub(crate) checksums: HashMap<Name, (u64, u64), RandomState>,
    /// Of the newest entry pushed.
    pub(crate) position: u64,
    /// Position up to which the shard knows that everything is durable.
    pub(crate) told: u64,
    pub(crate) crash_log: Option<CrashLog>,
    /// Rises with every owner.
    pub(crate) generation: u16,
}
