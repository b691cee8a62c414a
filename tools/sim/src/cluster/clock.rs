//! A node's monotonic clock in one life: it begins with the life, and runs a little faster or slower than the
//! world.
//!
//! Invariant: a time of the world becomes an own time and back without going below what it was.
//! Not here: wall clocks (`node`).

use grandstand_engine::runtime::clock::START_US;

/// See the file's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start_us: u64,
    /// Own microseconds in a second of the world.
    rate: u64,
    /// What it shows at its start.
    shows_us: u64,
}

impl Clock {
    /// That of the world.
    pub(crate) const WORLD: Clock = Clock { start_us: 0, rate: 1_000_000, shows_us: 0 };

    /// One that starts now.
    pub(crate) fn start(now_us: u64, rate: u64) -> Clock {
        Clock { start_us: now_us, rate, shows_us: START_US }
    }

    /// What it shows at a time of the world.
    pub(crate) fn own_us(self, world_us: u64) -> u64 {
        self.shows_us + (world_us - self.start_us) * self.rate / 1_000_000
    }

    /// The first time of the world at which it shows this.
    pub(crate) fn world_us(self, own_us: u64) -> u64 {
        let since = u128::from(own_us.saturating_sub(self.shows_us));
        let world = (since * 1_000_000).div_ceil(u128::from(self.rate));
        self.start_us.saturating_add(world.min(u128::from(u64::MAX)) as u64)
    }
}
