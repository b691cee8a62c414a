//! Rates of API keys: how many requests a key may send, and the headers that announce it.
//!
//! The headers are those of the draft draft-ietf-httpapi-ratelimit-headers-10, which may change.
//! Invariant: a table that strangers can't fill: only valid keys are counted, and full buckets are forgotten.
//! Not here: limits of what clients do over their connections (`limits`). Each node counts by itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Keys whose buckets are kept before full ones are forgotten.
const KEPT_MAX: usize = 1_024;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Rates {
    per_s: u32,
    burst: u32,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Thousandths of a request.
    left: u64,
    at: Duration,
}

/// What a key has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) wait_ms: Option<u32>,
    left: u32,
    full_in_s: u32,
    per_s: u32,
    burst: u32,
}

impl Rates {
    pub(super) fn new(per_s: u32, burst: u32) -> Rates {
        Rates { per_s, burst, buckets: Mutex::default() }
    }

    /// Count a request of this key, at this time.
    pub(super) fn take(&self, key: &str, now: Duration) -> Answer {
        let full = u64::from(self.burst) * 1_000;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEPT_MAX && !buckets.contains_key(key) {
            buckets.retain(|_, bucket| self.refill(bucket, now) < full);
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { left: full, at: now });
        bucket.left = self.refill(bucket, now);
        bucket.at = now;
        let wait_ms = match bucket.left.checked_sub(1_000) {
            Some(left) => {
                bucket.left = left;
                None
            }
            None => Some((1_000 - bucket.left).div_ceil(u64::from(self.per_s)).max(1) as u32),
        };
        let (per_s, burst) = (self.per_s, self.burst);
        let full_in_s = (full - bucket.left).div_ceil(u64::from(per_s) * 1_000) as u32;
        Answer { wait_ms, left: (bucket.left / 1_000) as u32, full_in_s, per_s, burst }
    }

    fn refill(&self, bucket: &Bucket, now: Duration) -> u64 {
        // A thousandth of a request comes back in 1 / per_s milliseconds.
        let back = now.saturating_sub(bucket.at).as_micros() * u128::from(self.per_s) / 1_000;
        (u128::from(bucket.left) + back).min(u128::from(self.burst) * 1_000) as u64
    }
}

impl Answer {
    pub(super) fn into_headers(self, headers: &mut HeaderMap) {
        let Answer { left, full_in_s, per_s, burst, .. } = self;
        let window_s = burst.div_ceil(per_s).max(1);
        let mut set = |name, value: String| {
            let value = HeaderValue::from_str(&value).expect("digits and ASCII signs");
            headers.insert(HeaderName::from_static(name), value);
        };
        set("ratelimit-policy", format!("\"burst\";q={burst};w={window_s}"));
        set("ratelimit", format!("\"burst\";r={left};t={full_in_s}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_burst_and_then_its_rate() {
        let rates = Rates::new(10, 3);
        let at = |ms| rates.take("a", Duration::from_millis(ms)).wait_ms;
        assert_eq!([at(0), at(0), at(0)], [None; 3]);
        assert_eq!(at(0), Some(100));
        assert_eq!([at(50), at(99)], [Some(50), Some(1)], "a refused request takes nothing");
        assert_eq!([at(100), at(101)], [None, Some(99)]);
        assert_eq!(rates.take("b", Duration::ZERO).wait_ms, None, "each key has its own");
        let idle = rates.take("a", Duration::from_secs(60));
        assert_eq!((idle.left, idle.full_in_s), (2, 1), "no more than the burst comes back");
        let mut headers = HeaderMap::new();
        idle.into_headers(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"burst\";q=3;w=1");
        assert_eq!(headers["ratelimit"], "\"burst\";r=2;t=1");
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let rates = Rates::new(1, 1);
        for key in 0..KEPT_MAX {
            rates.take(&key.to_string(), Duration::ZERO);
        }
        rates.take("late", Duration::from_secs(2));
        assert_eq!(rates.buckets.lock().unwrap().len(), 1);
    }
}
