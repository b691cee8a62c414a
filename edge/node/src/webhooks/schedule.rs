//! The schedule: what an endpoint's answer means, and when a message is sent again.
//!
//! Why over three days: an application that breaks on a Friday evening has its events on Monday.
//! Invariants: a message is tried ten times, never sooner than the endpoint asked for. A redirect is a
//! failure, since the next server was not meant.
//! Not here: which message is next (`lanes`), sending (`thread`).

use std::time::Duration;

/// Waits before each attempt, in seconds, as Standard Webhooks recommends.
const WAITS_S: [u64; 10] = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Longest time that an endpoint's `Retry-After` is honoured for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The endpoint has it.
    Delivered,
    /// It does not, and says or shows why.
    Failed {
        why: String,
        /// When the endpoint wants to be asked again.
        after: Option<Duration>,
        /// It has too much to do: nothing else is sent to it meanwhile either.
        is_throttled: bool,
    },
    /// The endpoint is no more: nothing is sent to it again.
    Gone,
}

/// What a status of HTTP means.
pub(super) fn judge(status: u16, retry_after: Option<Duration>) -> Outcome {
    let after = retry_after.map(|after| after.min(RETRY_AFTER_MAX));
    let failed = |why: String, is_throttled| Outcome::Failed { why, after, is_throttled };
    match status {
        200..=299 => Outcome::Delivered,
        300..=399 => failed(format!("it answered {status}, a redirect, which is not followed"), false),
        410 => Outcome::Gone,
        429 | 502 | 504 => failed(format!("it answered {status}"), true),
        _ => failed(format!("it answered {status}"), false),
    }
}

/// Waits between attempts, in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Schedule(Vec<u64>);

impl Schedule {
    /// The one of Standard Webhooks.
    pub(super) fn standard() -> Schedule {
        Schedule(WAITS_S.iter().map(|s| s * 1_000).collect())
    }

    #[cfg(test)]
    pub(super) fn of(waits_ms: &[u64]) -> Schedule {
        Schedule(waits_ms.to_vec())
    }

    /// How long to wait after so many attempts, at least so long if the endpoint asked for it; `None`: it was
    /// the last one. `random` spreads messages that failed together.
    pub(super) fn wait_ms(&self, attempts: u32, after: Option<Duration>, random: u64) -> Option<u64> {
        let wait_ms = *self.0.get(attempts as usize)?;
        let wait_ms = wait_ms.max(after.map_or(0, |after| after.as_millis() as u64));
        Some(wait_ms + random % (wait_ms / 5 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_means_what_the_specification_says() {
        for status in 100..600 {
            let outcome = judge(status, None);
            assert_eq!(outcome == Outcome::Delivered, (200..300).contains(&status), "{status}");
            assert_eq!(outcome == Outcome::Gone, status == 410, "{status}");
            let is_throttled = matches!(outcome, Outcome::Failed { is_throttled: true, .. });
            assert_eq!(is_throttled, [429, 502, 504].contains(&status), "{status}");
        }
        let far = judge(503, Some(Duration::MAX));
        assert!(matches!(far, Outcome::Failed { after: Some(RETRY_AFTER_MAX), .. }), "{far:?}");
    }

    #[test]
    fn ten_attempts_come_over_three_days_with_a_fifth_of_jitter() {
        let schedule = Schedule::standard();
        let mut least_ms = 0;
        for attempts in 1..10 {
            let wait_ms = schedule.wait_ms(attempts, None, 0).unwrap();
            least_ms += wait_ms;
            for random in [1, wait_ms / 5, u64::MAX] {
                let spread_ms = schedule.wait_ms(attempts, None, random).unwrap();
                assert!((wait_ms..=wait_ms + wait_ms / 5).contains(&spread_ms));
            }
            let asked = Some(Duration::from_secs(100_000));
            assert!(schedule.wait_ms(attempts, asked, 7).unwrap() >= 100_000_000, "as the endpoint asked");
        }
        assert_eq!(schedule.wait_ms(10, None, 0), None);
        assert!((72..96).contains(&(least_ms / 3_600_000)), "{least_ms}");
    }
}
