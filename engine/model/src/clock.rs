//! A test's clock: both of its times advance together, and only when the test says so.
//!
//! The wall clock can be stepped, as in production. The monotonic clock begins anew with each process.
//! Not here: clocks that drift (`grandstand-sim`).

use grandstand_engine::link::Now;

/// The first time of every clock: high enough for a test to look back.
const BEGIN_US: u64 = 1_000_000;

/// 2023-11-14, an arbitrary date.
const BEGIN_WALL_US: u64 = 1_700_000_000_000_000;

/// A monotonic and a wall clock in the hands of a test.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    us: u64,
    wall_us: u64,
}

impl Clock {
    /// A clock at its beginning.
    pub fn start() -> Clock {
        Clock { us: BEGIN_US, wall_us: BEGIN_WALL_US }
    }

    /// The time.
    pub fn now(&self) -> Now {
        Now { us: self.us, unix_ms: self.wall_us / 1000 }
    }

    /// Advance to a monotonic time; an earlier one is ignored.
    pub fn move_to_us(&mut self, us: u64) {
        self.wall_us += us.max(self.us) - self.us;
        self.us = us.max(self.us);
    }

    /// Let time pass.
    pub fn pass_ms(&mut self, ms: u64) {
        self.move_to_us(self.us + ms * 1000);
    }

    /// Step the wall clock.
    pub fn step_wall_ms(&mut self, ms: i64) {
        self.wall_us = self.wall_us.saturating_add_signed(ms.saturating_mul(1000));
    }

    /// The same wall clock under the monotonic clock of a process that begins now.
    #[must_use]
    pub fn of_next_process(&self) -> Clock {
        Clock { us: BEGIN_US, ..*self }
    }
}
