//! A histogram of times in microseconds, which can be merged with those of other processes.
//!
//! Invariants: a quantile is at most 0.1 % above a time that was counted; a time above [`MAX_US`] is counted
//! as that, and the maximum shows it. Merged histograms of several processes give the same percentiles as one
//! histogram of all times.
//! Not here: the measurement of times.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest time told apart, ten minutes: no run waits longer for one message.
pub const MAX_US: u64 = 600_000_000;

/// Counted times.
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
        self.record_n(us, 1);
    }

    /// Counts the same time `count` times.
    pub fn record_n(&mut self, us: u64, count: u64) {
        self.0.saturating_record_n(us, count);
    }

    /// Counts everything that another counted.
    pub fn add(&mut self, other: &Times) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that this share (0 to 1) does not exceed; 0 when nothing was counted.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_quantile(share).min(self.max_us()) }
    }

    /// The longest; 0 when nothing was counted.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.0.max()
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The percentiles that are reported.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let q = |share| self.quantile_us(share);
        Summary {
            count: self.count(),
            p50_us: q(0.5),
            p90_us: q(0.9),
            p99_us: q(0.99),
            p999_us: q(0.999),
            max_us: self.max_us(),
        }
    }
}

impl Times {
    /// As the percentiles that are reported, for `#[serde(serialize_with)]`.
    ///
    /// # Errors
    /// The serializer's errors.
    pub fn serialize_summary<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.summary().serialize(serializer)
    }
}

/// Percentiles; all 0 when nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many were counted.
    pub count: u64,
    /// Half are at most this.
    pub p50_us: u64,
    /// 90 of 100 are at most this.
    #[serde(default)]
    pub p90_us: u64,
    /// 99 of 100 are at most this.
    pub p99_us: u64,
    /// 999 of 1,000 are at most this.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// As pairs of value and count: what was never counted costs nothing.
impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Times, D::Error> {
        let mut times = Times::default();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            times.record_n(value, count);
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn halves_through_json_add_up_to_the_whole() {
        let mut random = Random::new(5);
        let (mut whole, mut halves) = (Times::default(), [Times::default(), Times::default()]);
        for n in 0..20_000 {
            let us = (random.arrival_s(20.0) * 1e6) as u64 + 1;
            whole.record(us);
            halves[n % 2].record(us);
        }
        let mut merged = Times::default();
        for half in &halves {
            let json = serde_json::to_string(half).unwrap();
            merged.add(&serde_json::from_str(&json).unwrap());
        }
        let (w, m) = (whole.summary(), merged.summary());
        assert_eq!(
            (w.count, w.p50_us, w.p90_us, w.p99_us, w.p999_us),
            (m.count, m.p50_us, m.p90_us, m.p99_us, m.p999_us)
        );
        assert!(w.max_us.abs_diff(m.max_us) <= w.max_us / 1000, "{w:?} {m:?}");
        assert!(w.p99_us > w.p50_us && w.p50_us > 30_000 && w.p50_us < 40_000, "ln 2 / 20 s: {w:?}");
    }

    #[test]
    fn quantiles_of_a_known_run_and_of_none() {
        let mut times = Times::default();
        assert_eq!(times.summary(), Summary::default());
        (1..=1000).for_each(|us| times.record(us));
        times.record_n(u64::MAX, 1);
        let seen = times.summary();
        assert_eq!((seen.count, seen.p50_us, seen.p99_us), (1001, 501, 991));
        assert!(seen.max_us >= MAX_US);
    }
}
