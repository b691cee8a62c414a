//! Load: the share of a worker's time that fan-out takes. The shards set their ticks by it.
//!
//! Why wall time and not the thread's CPU time: the share is one of the time that the worker has, and on a
//! crowded machine it has less.
//! Invariant: control frames are written in the same calls. Their part of the time, by number of writes, is
//! subtracted, since no tick reduces it.
//! Not here: how a tick follows from it (the engine's shards).

use std::time::{Duration, Instant};

use grandstand_engine::link::Load;

/// Interval of the reports: a tenth of the longest tick, and long beside a round of fan-out.
const EVERY: Duration = Duration::from_millis(100);

/// After this long without a write, the share is shown as zero.
const QUIET: Duration = Duration::from_secs(1);

/// The load since the last report.
#[derive(Debug)]
pub(super) struct LoadMeter {
    since: Instant,
    spent: Duration,
    writes: u64,
    /// Time since the start.
    total: Duration,
}

/// Number of writes to connections so far: of batches, and of all frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writes {
    pub(super) of_batches: u64,
    pub(super) all: u64,
}

/// A worker's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// A load, for the shards.
    Load(Load),
    /// There was no write for a while.
    Quiet,
}

impl LoadMeter {
    pub(super) fn new(now: Instant) -> Self {
        LoadMeter { since: now, spent: Duration::ZERO, writes: 0, total: Duration::ZERO }
    }

    /// Add the time of some writes.
    pub(super) fn add(&mut self, spent: Duration, before: Writes, after: Writes) {
        let (of_batches, all) = (after.of_batches - before.of_batches, after.all - before.all);
        if of_batches == 0 {
            return;
        }
        let fanout = spent.mul_f64(of_batches as f64 / all as f64);
        self.spent += fanout;
        self.total += fanout;
        self.writes += of_batches;
    }

    /// The time of fan-out since the start.
    pub(super) fn total_us(&self) -> u64 {
        self.total.as_micros() as u64
    }

    /// When the next report is due, if there is one.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.writes > 0).then(|| self.since + EVERY)
    }

    /// A report, if one is due.
    pub(super) fn poll_report(&mut self, now: Instant) -> Option<Report> {
        let elapsed = now.saturating_duration_since(self.since);
        if self.writes == 0 {
            return (elapsed >= QUIET).then_some(Report::Quiet);
        }
        if elapsed < EVERY {
            return None;
        }
        let load = Load {
            elapsed_us: elapsed.as_micros() as u64,
            fanout_us: self.spent.as_micros() as u64,
            writes: self.writes,
        };
        *self = LoadMeter { total: self.total, ..LoadMeter::new(now) };
        Some(Report::Load(load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn writes(of_batches: u64, all: u64) -> Writes {
        Writes { of_batches, all }
    }

    #[test]
    fn a_report_has_the_batches_part_of_the_time() {
        let begun = Instant::now();
        let mut meter = LoadMeter::new(begun);
        meter.add(5 * MS, writes(10, 10), writes(10, 20));
        assert_eq!(meter.due(), None, "answers only");
        meter.add(4 * MS, writes(10, 20), writes(40, 60));
        meter.add(MS, writes(40, 60), writes(50, 70));
        assert_eq!(meter.due(), Some(begun + 100 * MS));
        assert_eq!(meter.poll_report(begun + 99 * MS), None);
        let load = Load { elapsed_us: 120_000, fanout_us: 4_000, writes: 40 };
        assert_eq!(meter.poll_report(begun + 120 * MS), Some(Report::Load(load)));
        assert_eq!(meter.poll_report(begun + 900 * MS), None);
        assert_eq!(meter.poll_report(begun + 1120 * MS), Some(Report::Quiet));
        assert_eq!(meter.total_us(), 4_000);
    }

    #[test]
    fn after_a_pause_the_report_covers_it() {
        let begun = Instant::now();
        let mut meter = LoadMeter::new(begun);
        meter.add(MS, writes(0, 0), writes(1, 1));
        let Some(Report::Load(load)) = meter.poll_report(begun + 60_000 * MS) else { panic!("due") };
        assert_eq!((load.elapsed_us, load.fanout_us), (60_000_000, 1_000));
    }
}
