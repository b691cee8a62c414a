//! The engine's clock: the one place where the engine reads the monotonic and the wall clock.
//!
//! Why one place: the order of a node's batches and acknowledgements depends on these times.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the clock of the shards")]

use std::time::Instant;

use super::wall;
use crate::link::Now;

/// The time at which an engine's clock starts: rooms that another process handed over remember times before
/// this engine's start, a day of slow mode at most.
pub const START_US: u64 = 2 * 24 * 3_600 * 1_000_000;

/// The monotonic clock, which starts at [`START_US`] with the engine, and the wall clock as it is believed.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Clock { start: Instant::now() }
    }

    /// When it started.
    #[must_use]
    pub fn started(self) -> Instant {
        self.start
    }

    /// The time.
    #[must_use]
    pub fn now(self) -> Now {
        Now { us: START_US + self.start.elapsed().as_micros() as u64, unix_ms: wall::unix_ms() }
    }
}
