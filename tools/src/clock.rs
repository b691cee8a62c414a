//! The clock that all processes of a machine share: microseconds of CLOCK_MONOTONIC.
//!
//! Why not wall time: it may be set while a run goes on, and a latency must not jump with it.
//! Not here: the client library's own clock, which counts from the start of its process; [`client_offset_us`]
//! leads over.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since an instant that is the same for every process of this machine.
pub(crate) fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// What to add to a time of the client library to have one of [`monotonic_us`]. Constant within a process.
pub(crate) fn client_offset_us() -> u64 {
    let client_us = grandstand_client::net::now_us();
    monotonic_us() - client_us
}

/// The instant of a time of [`monotonic_us`] for tokio's timers.
pub(crate) fn instant(at_us: u64) -> tokio::time::Instant {
    let now = tokio::time::Instant::now();
    now + std::time::Duration::from_micros(at_us.saturating_sub(monotonic_us()))
}
