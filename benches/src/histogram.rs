//! Times, counted: percentiles of millions of deliveries in a few kilobytes.
//!
//! Invariant: a quantile is at most 0.1 % above the time that was counted; times beyond [`MAX_US`] count as
//! that.
//! Not here: what is timed.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Times beyond a minute are all "too late".
pub const MAX_US: u64 = 60_000_000;

/// Times in microseconds.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Times {
        Times(Histogram::new_with_bounds(1, MAX_US, 3).expect("bounds in order, digits within 0 to 5"))
    }
}

impl Times {
    /// Counts one.
    pub fn record(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    /// Counts the same time often.
    pub fn record_n(&mut self, us: u64, count: u64) {
        self.0.saturating_record_n(us, count);
    }

    /// Counts everything that another counted.
    pub fn add(&mut self, other: &Times) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The percentiles that are reported.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let q = |share| if self.0.is_empty() { 0 } else { self.0.value_at_quantile(share).min(self.0.max()) };
        Summary {
            count: self.0.len(),
            p50_us: q(0.5),
            p99_us: q(0.99),
            p999_us: q(0.999),
            max_us: self.0.max(),
        }
    }
}

/// Percentiles; all 0 when nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many were counted.
    pub count: u64,
    /// Half are at most this.
    pub p50_us: u64,
    /// 99 of 100 are at most this.
    pub p99_us: u64,
    /// 999 of 1,000 are at most this.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_known_run_and_of_none() {
        let mut times = Times::default();
        assert_eq!(times.summary(), Summary::default());
        (1..=1000).for_each(|us| times.record(us));
        times.record_n(u64::MAX, 1);
        let (mut both, other) = (Times::default(), times.clone());
        both.add(&other);
        assert_eq!(both.summary(), times.summary());
        let seen = times.summary();
        assert_eq!((seen.count, seen.p50_us, seen.p99_us), (1001, 501, 991));
        assert!(seen.max_us >= MAX_US);
    }
}
