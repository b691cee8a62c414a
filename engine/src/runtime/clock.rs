//! The clocks: where the engine reads the time, once for both kinds.
//!
//! Why one: batches and acknowledgements of a node are ordered by its times.

#![expect(clippy::disallowed_methods, reason = "the one place of the engine that reads clocks")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::link::Now;

/// The monotonic clock since it was started, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Clock { start: Instant::now() }
    }

    pub(super) fn now(self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { us: self.start.elapsed().as_micros() as u64, unix_ms: unix.as_millis() as u64 }
    }
}
