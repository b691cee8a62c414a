//! The clock: the one place where the edge and its node read time.
//!
//! Why one: the cores take time as an argument, and whoever drives them gets it here. What depends on time is
//! then found by this type's name.
//! Invariant: `clippy.toml` bans `Instant::now`, `Instant::elapsed` and `SystemTime::now` everywhere else but
//! in tests.
//! Not here: waiting (the runtime's timers), the clock of the shards (`grandstand_engine::runtime`).
#![expect(clippy::disallowed_methods, reason = "the one place for clocks")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grandstand_engine::link::Now;

/// See the file's head. Copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Both forms of the time: quinn's, and the cores'.
    pub fn now(&self) -> (Instant, Now) {
        let instant = Instant::now();
        // Zero means "never" to some; a monotonic clock that starts a second in avoids it.
        let us = (instant - self.start).as_micros() as u64 + 1_000_000;
        (instant, Now { us, unix_ms: self.unix().as_millis() as u64 })
    }

    /// The monotonic time.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// How long ago that was.
    pub fn elapsed(&self, since: Instant) -> Duration {
        self.instant().saturating_duration_since(since)
    }

    /// How long this clock has run.
    pub fn uptime(&self) -> Duration {
        self.elapsed(self.start)
    }

    /// The time of day.
    pub fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    /// The time of day, since 1970.
    pub fn unix(&self) -> Duration {
        self.wall().duration_since(UNIX_EPOCH).unwrap_or_default()
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
