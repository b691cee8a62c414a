//! Random numbers from a seed, so that a run can be repeated.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): eight bytes of state, good enough to spread viewers and arrivals.
//! Not here: anything that must not be guessed.

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly below `bound`; 0 when that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Evenly above 0 and up to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// The pause before the next of arrivals that come independently, `per_s` a second in the mean.
    pub(crate) fn arrival_s(&mut self, per_s: f64) -> f64 {
        -self.unit().ln() / per_s
    }
}
