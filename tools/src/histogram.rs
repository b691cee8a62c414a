//! Times in microseconds, counted in a histogram that adds up over processes.
//!
//! Three digits up to ten minutes; what is longer counts as ten minutes, and the maximum says so.
//! Invariant: merging what processes report gives the same percentiles as counting everything in one.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest time told apart: no run waits longer for one message.
const TIME_MAX_US: u64 = 600_000_000;

/// Counted times.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Times {
        // The arguments are constants: it cannot fail.
        Times(Histogram::new_with_bounds(1, TIME_MAX_US, 3).expect("valid bounds"))
    }
}

impl Times {
    pub(crate) fn record(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    pub(crate) fn add(&mut self, other: &Times) {
        self.0 += &other.0;
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that this share (0 to 1) does not exceed; 0 when nothing was counted.
    pub(crate) fn quantile_us(&self, share: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_quantile(share).min(self.max_us()) }
    }

    pub(crate) fn max_us(&self) -> u64 {
        self.0.max()
    }

    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }

    pub(crate) fn summary(&self) -> Summary {
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

/// The percentiles that are reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
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
            times.0.saturating_record_n(value, count);
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
    fn nothing_counted_and_times_beyond_the_bound() {
        let mut times = Times::default();
        assert_eq!(times.summary(), Summary::default());
        times.record(u64::MAX);
        assert!(times.max_us() >= TIME_MAX_US && times.count() == 1);
    }
}
