//! Chance from a seed: the only source of it in a simulation.
//!
//! Why a stream for each step of a story: a story with a step less draws the same in all others.
//! Invariant: what is drawn follows from the seed and the calls before.
//! Not here: the generator (`grandstand_protocol::random`).

use grandstand_protocol::random;
pub use grandstand_protocol::random::mix;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(random::Random);

impl Random {
    /// The stream of a seed. Seeds that differ by little give streams that have nothing in common.
    pub fn new(seed: u64) -> Random {
        Random(random::Random::new(mix(seed ^ 0x5eed_5eed_5eed_5eed)))
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Evenly from 0 to before `end`; 0 for an empty range.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    /// As [`Random::below`], for indices.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Evenly from `first` to `last`.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True in `percent` of a hundred calls.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}
