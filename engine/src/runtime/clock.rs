//! The engine's clocks: the one place where the engine reads the monotonic and the wall clock.
//!
//! Why one place: the order of a node's batches and acknowledgements depends on these times.

use std::time::Instant;

use super::wall;
use crate::link::Now;

/// The monotonic clock since the engine's start, and the wall clock as it is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Clock { start: Instant::now() }
    }

    pub(super) fn now(self) -> Now {
        Now { us: self.start.elapsed().as_micros() as u64, unix_ms: wall::unix_ms() }
    }
}
