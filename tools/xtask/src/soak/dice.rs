//! Dice: random numbers from a seed, so that a run can be repeated as far as a real machine repeats itself.
//!
//! SplitMix64 (Steele, Lea, Flood 2014).
//! Not here: what is decided by them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A sequence of random numbers.
pub(super) struct Dice(u64);

/// A seed that nobody chose.
pub(super) fn seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ since.as_secs()
}

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly below `bound`; 0 when that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Evenly between two times.
    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + Duration::from_micros(self.below(most.saturating_sub(least).as_micros() as u64))
    }
}
