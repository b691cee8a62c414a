//! Random numbers from a seed, so that a run can be repeated.
//!
//! The sequence is [`grandstand_protocol::random`]'s; this file adds the distributions that tools need.
//! Not here: secrets.

use grandstand_protocol::random;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Random(random::Random);

/// A seed that nobody chose.
#[must_use]
pub fn seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ since.as_secs()
}

impl Random {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(random::Random::new(seed))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Evenly below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    /// Evenly above 0 and up to 1.
    pub fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Evenly from `least` to before `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + Duration::from_micros(self.below(most.saturating_sub(least).as_micros() as usize) as u64)
    }

    /// The pause before the next of arrivals that come independently, `per_s` a second in the mean.
    pub fn arrival_s(&mut self, per_s: f64) -> f64 {
        -self.unit().ln() / per_s
    }
}
