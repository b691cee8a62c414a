//! Random numbers from a seed: SplitMix64, for jitter and for repeatable runs.
//!
//! Why one place: clients add jitter to their retries, edges spread the retry times that they give, shards
//! make epochs, and simulations repeat a run from its seed. All of them use this generator.
//! Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014. Eight bytes
//! of state, one period through all 2^64 states.
//! Invariant: each number depends only on the seed and the number of draws before it. Seeds of simulations
//! and tests rely on that, so the sequence never changes.
//! Not here: secrets. Anybody who knows one number can compute all later ones. Values that nobody may guess
//! come from the operating system or from a keyed function.

/// 2^64 divided by the golden ratio, made odd: the step of the state. Its multiples modulo 2^64 are spread
/// evenly over the range, for any number of them (Weyl's sequence).
pub const GOLDEN_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of random numbers. Not for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// The sequence that a seed gives.
    pub const fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_STEP);
        mix(self.0)
    }

    /// The next number, uniform in `0..bound`; 0 when `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }
}

/// The function from state to number: each bit of the input changes half of the output's bits. It maps 0 to
/// 0.
pub const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference implementation in C (Vigna, 2015).
    #[test]
    fn it_is_splitmix64() {
        let mut random = Random::new(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| random.next_u64()).collect();
        let reference = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(drawn, reference);
    }

    #[test]
    fn below_is_even_and_keeps_to_its_bound() {
        let mut random = Random::new(7);
        let mut counts = [0u32; 10];
        (0..10_000).for_each(|_| counts[random.below(10) as usize] += 1);
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
        assert_eq!(random.below(0), 0);
    }
}
