//! Metrics of the durable log, for the scrape and as JSON (`GET /log`).
//!
//! Why a table: the store counts in plain atomics and knows no Prometheus. The table has names, units and
//! help once for both.
//! Invariant: bytes and seconds are in the names; a counter ends with `_total`.
//! Not here: what a number means for an operator (docs/OPERATING.md, the durable log).

use std::sync::atomic::{AtomicU64, Ordering};

use grandstand_edge::clock::Clock;
use grandstand_store::{COMMIT_BUCKETS_US, Health, Status};
use prometheus::core::{Collector, Desc};
use prometheus::proto;

/// The unit in which a number is shown.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    /// Unchanged.
    Plain,
    /// Counted in microseconds, shown in seconds.
    Us,
    /// A time in milliseconds since 1970, shown as its age in seconds; omitted where it is 0.
    Age,
}

struct Line {
    /// The name without its prefix.
    name: &'static str,
    help: &'static str,
    shown: Shown,
    read: fn(&Status) -> &AtomicU64,
}

macro_rules! table {
    ($($field:ident: $name:literal, $shown:ident, $help:literal;)*) => {
        const TABLE: &[Line] = &[$(
            Line { name: $name, help: $help, shown: Shown::$shown, read: |status| &status.$field },
        )*];
    };
}

table! {
    commits: "commits_total", Plain, "Transactions that were synced to the disk.";
    commit_failures: "commit_failures_total", Plain, "Transactions that failed; they are tried again.";
    commit_us_max: "commit_max_seconds", Us, "The longest commit since the node started.";
    unmarked: "commits_unmarked_total", Plain, "Transactions acknowledged without a mark, since its file cannot be written.";
    lost_commits: "lost_commits", Plain, "Acknowledged transactions that the last start did not find.";
    unsure_commits: "unsure_commits", Plain, "Transactions that the last start did not find, perhaps acknowledged: 0 or 1.";
    lost_messages: "lost_messages", Plain, "Acknowledged messages of these, as far as they are known.";
    entries: "entries_total", Plain, "Entries stored: batches, and changes of rooms.";
    entry_bytes: "entry_bytes_total", Plain, "Bytes of the entries stored.";
    queue_bytes: "queue_bytes", Plain, "Bytes that wait for the disk; log.queue_mb bounds them.";
    queue_entries: "queue_entries", Plain, "Entries that wait for the disk.";
    database_bytes: "database_bytes", Plain, "Bytes of the database file, free ones included.";
    free_bytes: "database_free_bytes", Plain, "Bytes of the database file that are free for reuse.";
    wal_bytes: "wal_bytes", Plain, "Bytes of the database's write-ahead log.";
    rooms: "rooms", Plain, "Rooms kept on disk, without those made in the last seconds.";
    trimmed: "retention_removed_total", Plain, "Segments of rooms that retention removed.";
    oldest_ms: "oldest_age_seconds", Age, "Age of the oldest message kept.";
    pages: "pages_read_total", Plain, "Pages of history read from the disk.";
    rotten: "rotten_total", Plain, "Stored records that failed their checksum and were not served.";
    crash_log_bytes: "recorder_bytes", Plain, "Bytes of the crash log: shown and not yet synced.";
    crash_log_faults: "recorder_faults_total", Plain, "Times that the crash log could not be written where it should be.";
    backups: "backups_total", Plain, "Scheduled backups made.";
    backup_failures: "backup_failures_total", Plain, "Scheduled backups that failed.";
    backup_ms: "backup_age_seconds", Age, "Age of the last backup that the node made.";
}

/// One number: name, help, value.
pub(crate) struct StoreNumber {
    pub(crate) name: String,
    pub(crate) help: &'static str,
    pub(crate) value: f64,
}

/// The log's present numbers. The age of an event that never happened is omitted.
pub(crate) fn numbers(status: &Status, clock: Clock) -> Vec<StoreNumber> {
    let now_ms = clock.unix().as_millis() as u64;
    let healthy = f64::from(u8::from(status.health() == Health::Good));
    let healthy = StoreNumber {
        name: "grandstand_store_healthy".to_owned(),
        help: "1 while the durable log commits; 0 while its disk is full, read-only, slow or failing.",
        value: healthy,
    };
    let shown = TABLE.iter().filter_map(|line| {
        let value = value(line.shown, (line.read)(status).load(Ordering::Relaxed), now_ms)?;
        Some(StoreNumber { name: format!("grandstand_store_{}", line.name), help: line.help, value })
    });
    [healthy].into_iter().chain(shown).collect()
}

fn value(shown: Shown, number: u64, now_ms: u64) -> Option<f64> {
    match shown {
        Shown::Plain => Some(number as f64),
        Shown::Us => Some(number as f64 / 1e6),
        Shown::Age if number == 0 => None,
        Shown::Age => Some(now_ms.saturating_sub(number) as f64 / 1e3),
    }
}

/// The durations of commits. The library's own histogram counts one observation at a time; these are counted
/// already.
pub(super) struct CommitTimes {
    desc: Desc,
    counts: Vec<u64>,
    sum_us: u64,
}

impl CommitTimes {
    pub(super) fn of(status: &Status) -> CommitTimes {
        let help = "Time that commits took, syncing included.".to_owned();
        let desc =
            Desc::new("grandstand_store_commit_seconds".to_owned(), help, Vec::new(), Default::default());
        CommitTimes {
            desc: desc.expect("a valid name"),
            counts: status.commit_buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_us: status.commit_us_total.load(Ordering::Relaxed),
        }
    }
}

impl Collector for CommitTimes {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut so_far = 0;
        let buckets = COMMIT_BUCKETS_US.iter().zip(&self.counts).map(|(&bound_us, &count)| {
            so_far += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound_us as f64 / 1e6);
            bucket.set_cumulative_count(so_far);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.counts.iter().sum());
        histogram.set_sample_sum(self.sum_us as f64 / 1e6);
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_units() {
        let status = Status::default();
        status.commit_us_max.store(1_500_000, Ordering::Relaxed);
        status.queue_bytes.store(7, Ordering::Relaxed);
        let read = |name: &str| {
            numbers(&status, Clock::start()).into_iter().find(|n| n.name == name).map(|n| n.value)
        };
        assert_eq!(read("grandstand_store_commit_max_seconds"), Some(1.5));
        assert_eq!(read("grandstand_store_queue_bytes"), Some(7.0));
        assert_eq!(read("grandstand_store_healthy"), Some(1.0));
        assert_eq!(read("grandstand_store_backup_age_seconds"), None, "none was made");
        status.backup_ms.store(1, Ordering::Relaxed);
        assert!(read("grandstand_store_backup_age_seconds").unwrap() > 1e9);
    }
}
