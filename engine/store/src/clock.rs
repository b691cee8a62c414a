//! The store's clocks: the one place where this crate reads the time.
//!
//! Why: a clock is believed as far as it is plausible, also over a restart. Pauses, ages and durations come
//! from the monotonic clock; names of files and retention use the wall clock. The callers of [`now`] and
//! [`unix_ms`] are all the places where time affects the store.
//! Not here: the times of batches; those come from shards.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use grandstand_engine::runtime::wall::{self, Reading};

use crate::checksum::checksum;

/// The file of the last times, in the data directory: wall clock, time since boot, boot, checksum.
const FILE: &str = "log.clock";

/// A clock that is this much ahead of the log's last time, after a boot, may be wrong.
const AHEAD_MS: u64 = 24 * 3_600_000;

/// A clock that is this much behind it is wrong, or was.
const BEHIND_MS: u64 = 60_000;

/// The monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How long ago `since` was.
pub(crate) fn elapsed(since: Instant) -> Duration {
    now().saturating_duration_since(since)
}

/// The wall clock as it is believed, milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    wall::unix_ms()
}

/// May something be deleted for its age?
pub(crate) fn may_expire() -> bool {
    wall::may_expire()
}

/// Compare the clock with the last times of the log. In the boot of the last process its time goes on. After
/// another boot only the log's newest message tells the time: a clock that is far from it is described, and
/// nothing is deleted for its age until it has run for a while.
pub(crate) fn begin(dir: &Path, newest_ms: u64) -> Option<String> {
    let text = fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    if let [wall_us, boot_us, boot, sum] = words[..]
        && boot == boot_id()
        && sum == sum_of(wall_us, boot_us, boot)
        && let (Ok(wall_us), Ok(boot_us)) = (wall_us.parse(), boot_us.parse())
    {
        wall::go_on(Reading { wall_us, boot_us });
        return None;
    }
    let now_ms = unix_ms();
    let (ahead_ms, behind_ms) = (now_ms.saturating_sub(newest_ms), newest_ms.saturating_sub(now_ms));
    if newest_ms == 0 || ahead_ms <= AHEAD_MS && behind_ms <= BEHIND_MS {
        return None;
    }
    wall::hold();
    let (off_ms, way) = if behind_ms > 0 { (behind_ms, "behind") } else { (ahead_ms, "ahead of") };
    Some(format!(
        "the wall clock is {} s {way} the newest message: nothing is deleted for its age for {} s, \
         or until POST /clock/accept",
        off_ms / 1_000,
        wall::CONFIRM_US / 1_000_000
    ))
}

/// Keep the times, as the last ones. They are not synced: they are for the next process of this boot.
pub(crate) fn record(dir: &Path) {
    let Reading { wall_us, boot_us } = wall::believed();
    let part = dir.join("log.clock.part");
    let (wall_us, boot_us, boot) = (wall_us.to_string(), boot_us.to_string(), boot_id());
    let sum = sum_of(&wall_us, &boot_us, &boot);
    let written = fs::write(&part, format!("{wall_us} {boot_us} {boot} {sum}\n"));
    // Without it the next process compares with the newest message.
    let _ = written.and_then(|()| fs::rename(&part, dir.join(FILE)));
}

/// A damaged time would be believed: the file is from this boot.
fn sum_of(wall_us: &str, boot_us: &str, boot: &str) -> String {
    format!("{:016x}", checksum(0, format!("{wall_us} {boot_us} {boot}").as_bytes()))
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
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
