//! The engine's clocks: the one place where the engine reads the monotonic and the wall clock.
//!
//! Why one place: the order of a node's batches and acknowledgements depends on these times.

#![expect(clippy::disallowed_methods, reason = "the one place of the engine that reads clocks")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::link::Now;

/// The monotonic clock since the engine's start, and the wall clock.
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
