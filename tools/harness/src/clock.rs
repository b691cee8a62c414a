//! The clock that all processes of a machine share: the system's monotonic clock.
//!
//! Why not `Instant`: a publisher writes a time into a message, and another process reads that time.
//! Why not wall time: somebody may set it during a run, and a latency must not jump with it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since an instant before the machine's processes began; the same instant in every process.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// [`monotonic_ns`] in microseconds.
#[must_use]
pub fn monotonic_us() -> u64 {
    monotonic_ns() / 1000
}

/// Sleeps until `at_ns`; returns at once when that is past.
pub fn sleep_until(at_ns: u64) {
    let now = monotonic_ns();
    if at_ns > now {
        std::thread::sleep(Duration::from_nanos(at_ns - now));
    }
}
