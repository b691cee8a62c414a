//! The store's clocks: the one place where this crate reads the time.
//!
//! Why: pauses, ages and durations come from the monotonic clock; names of files and retention use the wall
//! clock. The callers of [`now`] and [`unix_ms`] are all the places where time affects the store.
//! Not here: the times of batches; those come from shards.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How long ago `since` was.
pub(crate) fn elapsed(since: Instant) -> Duration {
    now().saturating_duration_since(since)
}

/// The wall clock, milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A time for the name of a file, in UTC: `20261125-204501.250`. Such names sort by time.
pub(crate) fn stamp(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Days since 0000-03-01, in eras of 400 years: a year ends with February, so a leap day is its last.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}{month:02}{day:02}-{h:02}{m:02}{s:02}.{:03}", ms % 1000)
}

#[cfg(test)]
mod tests {
    #[test]
    fn stamps_are_dates() {
        assert_eq!(super::stamp(0), "19700101-000000.000");
        assert_eq!(super::stamp(951_782_400_000), "20000229-000000.000");
        assert_eq!(super::stamp(1_795_639_501_250), "20261125-204501.250");
    }
}
