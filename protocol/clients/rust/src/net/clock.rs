//! The clock of the client's process: microseconds that never go back, and that count while the device
//! sleeps.
//!
//! Why sleep counts: a retry tells the node its age (P-3), and a phone may sleep for hours between a first
//! attempt and its retry. With the time awake alone the node takes an old retry for a young one, and the
//! message is in the log twice. A node that was silent for the whole sleep must be probed, too.
//! Invariant: all threads of a process read the same clock.
//! Not here: timers, which run by tokio's clock, so that they may be late by the time of a sleep.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// Microseconds since the first call in this process. The same for all threads.
pub fn now_us() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    let reading_us = reading_us();
    reading_us.saturating_sub(*START.get_or_init(|| reading_us))
}

/// The instant of `at_us` on this clock.
pub(super) fn instant(at_us: u64) -> Instant {
    // A year stands for "never", and cannot overflow.
    let left_us = at_us.saturating_sub(now_us()).min(31_536_000_000_000);
    Instant::now() + Duration::from_micros(left_us)
}

/// Linux and Android have a monotonic clock that counts sleep; that of Apple's systems does (the standard
/// library reads another one there).
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn reading_us() -> u64 {
    let now = rustix::time::clock_gettime(CLOCK);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
#[cfg(target_vendor = "apple")]
const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn reading_us() -> u64 {
    use std::sync::{Mutex, PoisonError};
    use std::time::SystemTime;

    static CLOCK: OnceLock<(Instant, SystemTime, Mutex<TwoClocks>)> = OnceLock::new();
    let (instant, wall, clocks) = CLOCK.get_or_init(|| (Instant::now(), SystemTime::now(), Mutex::default()));
    let awake_us = instant.elapsed().as_micros() as i64;
    let wall_us = match SystemTime::now().duration_since(*wall) {
        Ok(later) => later.as_micros() as i64,
        Err(earlier) => -(earlier.duration().as_micros() as i64),
    };
    clocks.lock().unwrap_or_else(PoisonError::into_inner).read(awake_us, wall_us)
}

/// For systems without such a clock: the time awake, and what the wall clock is ahead by when the device
/// wakes. A wall clock that is set ahead counts as sleep too; one that is set back does not count.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android", target_vendor = "apple"))))]
#[derive(Debug, Default)]
struct TwoClocks {
    awake_us: i64,
    wall_us: i64,
    total_us: u64,
}

#[cfg(any(test, not(any(target_os = "linux", target_os = "android", target_vendor = "apple"))))]
impl TwoClocks {
    /// Less than this is the drift of two clocks, and no sleep.
    const SLEEP_MIN_US: i64 = 1_000_000;

    fn read(&mut self, awake_us: i64, wall_us: i64) -> u64 {
        // Threads may read in one order and arrive in another.
        let awake = (awake_us - self.awake_us).max(0);
        let wall = wall_us - self.wall_us;
        let passed = if wall > awake + Self::SLEEP_MIN_US { wall } else { awake };
        (self.awake_us, self.wall_us) = (self.awake_us.max(awake_us), wall_us);
        self.total_us += passed as u64;
        self.total_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_clock_is_the_one_that_counts_sleep() {
        let boot_us = || {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
        };
        let (before_us, reading_us, after_us) = (boot_us(), reading_us(), boot_us());
        assert!((before_us..=after_us).contains(&reading_us));
        assert_eq!(CLOCK, rustix::time::ClockId::Boottime);
        let (first_us, then_us) = (now_us(), now_us());
        assert!(first_us <= then_us && then_us < 60_000_000);
    }

    #[test]
    fn of_two_clocks_the_one_that_counted_sleep_decides() {
        let mut clocks = TwoClocks::default();
        assert_eq!(clocks.read(5_000_000, 5_000_400), 5_000_000, "drift");
        assert_eq!(clocks.read(6_000_000, 3_606_000_000), 3_605_999_600, "an hour of sleep");
        assert_eq!(clocks.read(7_000_000, 1_000_000), 3_606_999_600, "the wall clock is set back");
        assert_eq!(clocks.read(8_000_000, 2_000_000), 3_607_999_600);
        assert_eq!(clocks.read(7_500_000, 2_000_000), 3_607_999_600, "never back");
    }
}
