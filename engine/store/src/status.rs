//! The status of a store: metrics that any thread may read at any time.
//!
//! Invariant: nothing here waits, except a reader of the text of the last fault.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use crate::clock;

/// A commit that runs longer than this would make publishers wait. New publications are refused until it is
/// complete.
const COMMIT_US_MAX: u64 = 2_000_000;

/// Upper bounds of [`Status::commit_buckets`], microseconds; the last bucket has none.
pub const COMMIT_BUCKETS_US: [u64; 13] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Does the log work?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// It commits.
    #[default]
    Good = 0,
    /// The disk is full.
    Full = 1,
    /// The disk is read-only.
    ReadOnly = 2,
    /// The disk reports errors.
    Failing = 3,
    /// A commit takes long, or many bytes wait for the disk.
    Slow = 4,
}

impl Health {
    /// A word for people and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Health::Good => "good",
            Health::Full => "full",
            Health::ReadOnly => "read_only",
            Health::Failing => "failing",
            Health::Slow => "slow",
        }
    }
}

/// Metrics of a store; each can be read alone. Counters begin at the start of the process.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Status {
    began: Began,
    health: AtomicU8,
    fault: Mutex<String>,
    /// Transactions that were synced.
    pub commits: AtomicU64,
    /// Entries in them.
    pub entries: AtomicU64,
    /// Bytes of those entries.
    pub entry_bytes: AtomicU64,
    /// Commits that failed.
    pub commit_failures: AtomicU64,
    /// Commits that were acknowledged without a mark, since its file could not be written.
    pub unmarked: AtomicU64,
    /// Acknowledged messages that the last start did not find, as far as they are known by room.
    pub lost_messages: AtomicU64,
    /// Acknowledged commits that the last start did not find.
    pub lost_commits: AtomicU64,
    /// Commits that the last start did not find, of which it is not known whether they were acknowledged.
    pub unsure_commits: AtomicU64,
    /// Microseconds of all commits.
    pub commit_us_total: AtomicU64,
    /// Microseconds of the longest commit.
    pub commit_us_max: AtomicU64,
    /// Commits by duration, in the buckets of [`COMMIT_BUCKETS_US`].
    pub commit_buckets: [AtomicU64; COMMIT_BUCKETS_US.len() + 1],
    /// The start of the current commit, microseconds since the store was opened; 0: none runs.
    pub commit_since_us: AtomicU64,
    /// Bytes that wait for the disk.
    pub queue_bytes: AtomicU64,
    /// Entries that wait for the disk.
    pub queue_entries: AtomicU64,
    /// Bytes of the database file.
    pub database_bytes: AtomicU64,
    /// Free bytes of the database file, to be reused.
    pub free_bytes: AtomicU64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: AtomicU64,
    /// Bytes of the journal: entries that are not yet in the rooms' segments.
    pub journal_bytes: AtomicU64,
    /// Rooms kept.
    pub rooms: AtomicU64,
    /// Segments kept.
    pub segments: AtomicU64,
    /// Bytes of the segments kept.
    pub segment_bytes: AtomicU64,
    /// Time of the oldest message kept, milliseconds since 1970; 0: none.
    pub oldest_ms: AtomicU64,
    /// Segments that retention removed.
    pub trimmed: AtomicU64,
    /// Pages read.
    pub pages: AtomicU64,
    /// Stored data that was found damaged and was not served.
    pub rotten: AtomicU64,
    /// Entries of a copied log that do not continue their room, and so changed nothing at any node.
    pub left_out: AtomicU64,
    /// Bytes in the crash log.
    pub crash_log_bytes: AtomicU64,
    /// Failures to write the crash log in its folder.
    pub crash_log_faults: AtomicU64,
    /// Shards whose crash log writes to the data directory instead.
    pub crash_log_fallbacks: AtomicU64,
    /// Shards without any crash log, which accept nothing.
    pub crash_log_off: AtomicU64,
    /// Backups made on schedule.
    pub backups: AtomicU64,
    /// Scheduled backups that failed.
    pub backup_failures: AtomicU64,
    /// Time of the last backup, milliseconds since 1970; 0: none.
    pub backup_ms: AtomicU64,
}

/// When the store was opened.
#[derive(Debug)]
struct Began(Instant);

impl Default for Began {
    fn default() -> Self {
        Began(clock::now())
    }
}

impl Status {
    /// Does the log work?
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 if self.is_commit_long() => Health::Slow,
            0 => Health::Good,
            1 => Health::Full,
            2 => Health::ReadOnly,
            4 => Health::Slow,
            _ => Health::Failing,
        }
    }

    /// Description of the last fault; empty: no fault since the start.
    pub fn fault(&self) -> String {
        self.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Microseconds since the store was opened.
    pub(crate) fn now_us(&self) -> u64 {
        clock::elapsed(self.began.0).as_micros() as u64
    }

    /// Has a commit run for so long that publications must be refused?
    pub(crate) fn is_commit_long(&self) -> bool {
        let since_us = self.commit_since_us.load(Ordering::Relaxed);
        since_us > 0 && self.now_us().saturating_sub(since_us) > COMMIT_US_MAX
    }

    pub(crate) fn note_commit(&self, took_us: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_us_total.fetch_add(took_us, Ordering::Relaxed);
        self.commit_us_max.fetch_max(took_us, Ordering::Relaxed);
        let bucket = COMMIT_BUCKETS_US.partition_point(|&bound| bound < took_us);
        self.commit_buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// The status of a log that cannot be opened.
    pub fn of_closed(health: Health, fault: impl Into<String>) -> Status {
        let status = Status::default();
        status.set_health(health);
        status.set_fault(fault);
        status
    }

    pub(crate) fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Relaxed);
    }

    pub(crate) fn set_fault(&self, text: impl Into<String>) {
        *self.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = text.into();
    }

    /// Note stored data that differs from what was written.
    pub(crate) fn note_rot(&self, text: impl Into<String>) {
        self.rotten.fetch_add(1, Ordering::Relaxed);
        self.set_fault(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_does_not_end_is_slow_and_one_that_ended_has_its_bucket() {
        let mut status = Status::default();
        assert_eq!(status.health(), Health::Good);
        status.commit_since_us.store(1, Ordering::Relaxed);
        status.began = Began(clock::now() - std::time::Duration::from_secs(3));
        assert_eq!(status.health(), Health::Slow);
        status.commit_since_us.store(0, Ordering::Relaxed);
        assert_eq!(status.health(), Health::Good);
        for took_us in [500, 501, u64::MAX >> 1] {
            status.note_commit(took_us);
        }
        let counts = status.commit_buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        assert_eq!((counts[0], counts[1], counts[COMMIT_BUCKETS_US.len()]), (1, 1, 1));
    }
}
