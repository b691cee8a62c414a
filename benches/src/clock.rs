//! The clock that all processes of a bench share: the system's monotonic one, in nanoseconds.
//!
//! Why not `Instant`: a publisher writes a time into a message, and another process reads it.
//! Not here: dates (`machine`).

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds since some moment before the machine's processes began; the same in every process.
#[must_use]
pub fn now_ns() -> u64 {
    let at = clock_gettime(ClockId::Monotonic);
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}

/// Sleeps until `at_ns`; returns at once when that is past.
pub fn sleep_until(at_ns: u64) {
    let now = now_ns();
    if at_ns > now {
        std::thread::sleep(Duration::from_nanos(at_ns - now));
    }
}
