//! Conversion of the client library's and tokio's times to the clock that all processes share.
//!
//! Why: the client library counts from the start of its process, but latencies span processes.
//! Not here: the shared clock (`grandstand_harness::clock`).

use grandstand_harness::clock::monotonic_us;
use tokio::time::Instant;

/// What to add to a time of the client library, which counts from the start of its process, to have one of
/// the shared clock. Constant within a process.
pub(crate) fn client_offset_us() -> u64 {
    let client_us = grandstand_client::net::now_us();
    monotonic_us() - client_us
}

/// The instant of a time of the shared clock, for tokio's timers.
pub(crate) fn instant(at_us: u64) -> Instant {
    Instant::now() + std::time::Duration::from_micros(at_us.saturating_sub(monotonic_us()))
}
