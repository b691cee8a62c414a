//! The configuration of a store.
//!
//! Invariants: `0` in a bound of retention means no bound. There are no defaults here: a node's are in its
//! one table of keys.

use std::path::PathBuf;

/// The configuration of a durable log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The data directory; made when missing. One process at a time owns it.
    pub dir: PathBuf,
    /// Folder of the crash log. `None`: /dev/shm if that is a tmpfs, else `dir`.
    pub crash_log_dir: Option<PathBuf>,
    /// Number of shards, each of which opens its log.
    pub shards: u16,
    /// Bytes that may wait for the disk; above this, [`check`](grandstand_engine::log::DurableLog::check)
    /// returns an error.
    pub queue_bytes_max: usize,
    /// How much is kept.
    pub retention: Retention,
    /// Nonces that a room remembers; these are restored, and the one before them.
    pub nonces_max: usize,
    /// The highest age of these nonces.
    pub nonce_window_ms: u64,
    /// Batches that are restored for a room.
    pub newest_batches_max: usize,
    /// Bytes of these batches.
    pub newest_bytes_max: usize,
    /// Scheduled backups.
    pub backups: Option<BackupPlan>,
    /// Folder of the backup before a schema change. `None`: `backups` in `dir`.
    pub backup_dir: Option<PathBuf>,
    /// How long [`Store::open`](crate::Store::open) waits for another process to release the directory.
    pub lock_wait_ms: u64,
}

/// Bounds of retention; 0: no bound. The oldest messages are removed first, a segment at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The highest age of a message.
    pub age_ms: u64,
    /// Bytes of one room.
    pub room_bytes_max: u64,
    /// Bytes of all rooms.
    pub node_bytes_max: u64,
}

/// Backups on a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupPlan {
    /// Time from one backup to the next, also across restarts.
    pub every_ms: u64,
    /// Number of backups that are kept, the newest.
    pub keep: usize,
    /// The folder of the backups.
    pub dir: PathBuf,
}

#[cfg(feature = "test-support")]
impl StoreConfig {
    /// Bounds for tests of a log in `dir`. A node takes every bound from its configuration.
    pub fn for_tests(dir: impl Into<PathBuf>) -> Self {
        StoreConfig {
            dir: dir.into(),
            crash_log_dir: None,
            shards: 1,
            queue_bytes_max: 64 << 20,
            retention: Retention::default(),
            nonces_max: 16_384,
            nonce_window_ms: 300_000,
            newest_batches_max: 256,
            newest_bytes_max: 1 << 20,
            backups: None,
            backup_dir: None,
            lock_wait_ms: 0,
        }
    }
}
