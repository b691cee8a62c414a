//! The end of a shard's log: the state that one owner of a shard leaves to the next while the store is open.
//!
//! Why: a shard may be released and seated again, and its records must continue in one chain.
//! Not here: pushing (`shard_log`), where it waits for the next owner (`memtable`).

use std::collections::HashMap;

use foldhash::quality::RandomState;

use crate::crash_log::CrashLog;
use crate::tables::Name;

/// The state that passes from one owner of a shard to the next.
#[derive(Debug)]
pub(crate) struct ShardEnd {
    /// Epoch and newest checksum of each room that was pushed or restored.
    pub(crate) checksums: HashMap<Name, (u64, u64), RandomState>,
    /// Position of the newest entry pushed.
    pub(crate) position: u64,
    /// Durable position that the shard was told last.
    pub(crate) told: u64,
    pub(crate) crash_log: Option<CrashLog>,
    /// Increases with every owner.
    pub(crate) generation: u16,
}
