//! The clock of the client's process: microseconds that never go back.
//!
//! Why: the core needs times of one monotonic clock, whichever task drives it.

use std::sync::OnceLock;

use tokio::time::Instant;

/// Microseconds since the first call in this process. The same for all threads.
pub fn now_us() -> u64 {
    start().elapsed().as_micros() as u64
}

/// The instant of `at_us` on this clock.
pub(super) fn instant(at_us: u64) -> Instant {
    // A year stands for "never", and cannot overflow.
    start() + std::time::Duration::from_micros(at_us.min(31_536_000_000_000))
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}
