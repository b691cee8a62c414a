//! The configuration of a store.
//!
//! Invariant: `0` in a bound of retention means no bound.

use std::path::PathBuf;

/// How a log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The data directory; made when missing. One process at a time owns it.
    pub dir: PathBuf,
    /// Where the crash log lies. `None`: /dev/shm where that is a tmpfs, else `dir`.
    pub crash_log_dir: Option<PathBuf>,
    /// Shards that will ask for their log.
    pub shards: u16,
    /// Bytes that may wait for the disk; beyond, [`check`](grandstand_engine::log::DurableLog::check) is
    /// an error.
    pub queue_bytes_max: usize,
    /// What is kept.
    pub retention: Retention,
    /// Nonces that a room comes back with.
    pub nonces_max: usize,
    /// How old they may be.
    pub nonce_window_ms: u64,
    /// Batches that a room comes back with.
    pub newest_batches_max: usize,
    /// Their bytes.
    pub newest_bytes_max: usize,
    /// Scheduled backups.
    pub backups: Option<BackupPlan>,
    /// Where a backup goes before a schema change. `None`: `backups` in `dir`.
    pub backup_dir: Option<PathBuf>,
    /// How long [`Store::open`](crate::Store::open) waits for another process to let go of the directory.
    pub lock_wait_ms: u64,
}

/// What is kept; 0: no bound. The oldest goes first, a segment at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How old a message may be.
    pub age_ms: u64,
    /// Bytes of one room.
    pub room_bytes_max: u64,
    /// Bytes of all rooms.
    pub node_bytes_max: u64,
}

/// Backups on a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupPlan {
    /// Time from one to the next, also across restarts.
    pub every_ms: u64,
    /// So many of the newest are kept.
    pub keep: usize,
    /// Where.
    pub dir: PathBuf,
}

impl StoreConfig {
    /// Defaults for a log in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        StoreConfig { dir: dir.into(), ..StoreConfig::default() }
    }
}

impl Default for StoreConfig {
    /// A log in the current directory: set `dir`.
    fn default() -> Self {
        StoreConfig {
            dir: PathBuf::from("."),
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
