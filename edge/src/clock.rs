//! The clock: the one place where the edge and its node read the time.
//!
//! Why one place: the cores take the time as an argument, and their drivers read it here. So a search for
//! this type's name finds all code that depends on time.
//! Invariant: `clippy.toml` bans `Instant::now`, `Instant::elapsed` and `SystemTime::now` everywhere else
//! except in tests.
//! Not here: how far the wall clock is believed (`grandstand_engine::runtime::wall`), waiting (the runtime's
//! timers), the clock of the shards (`grandstand_engine::runtime`).
#![expect(clippy::disallowed_methods, reason = "the one place for clocks")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grandstand_engine::link::Now;
use grandstand_engine::runtime::wall;

/// Reads the monotonic and the wall clock. Copies give the same times.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// The time in two forms: quinn's, and the cores'.
    pub fn now(&self) -> (Instant, Now) {
        let instant = Instant::now();
        // Zero means "never" in some fields, so the clock starts at one second.
        let us = (instant - self.start).as_micros() as u64 + 1_000_000;
        (instant, Now { us, unix_ms: self.unix().as_millis() as u64 })
    }

    /// The monotonic time.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// The time since `since`.
    pub fn elapsed(&self, since: Instant) -> Duration {
        self.instant().saturating_duration_since(since)
    }

    /// The time since this clock started.
    pub fn uptime(&self) -> Duration {
        self.elapsed(self.start)
    }

    /// The time of day, as far as it is plausible.
    pub fn wall(&self) -> SystemTime {
        UNIX_EPOCH + self.unix()
    }

    /// The time of day, since 1970.
    pub fn unix(&self) -> Duration {
        Duration::from_micros(wall::unix_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_time_are_of_one_moment_and_never_zero() {
        let clock = Clock::start();
        let (before, now) = clock.now();
        let (after, later) = clock.now();
        assert!(now.us >= 1_000_000 && later.us >= now.us && later.unix_ms > 0);
        assert!((later.us - now.us).abs_diff((after - before).as_micros() as u64) <= 1);
    }
}
