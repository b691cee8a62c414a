//! A secret key of 128 bits, and what the core derives from it: session numbers and the hashing of strangers'
//! input.
//!
//! Why a keyed function: a client sees its own session number, and chooses the names that it sends. From
//! these it must learn nothing of other numbers, and it must not find names that fall together in a table.
//! SipHash (Aumasson and Bernstein 2012) is a pseudorandom function for as long as its key is secret:
//! SipHash-2-4 for numbers that clients see, SipHash-1-3 for tables.
//! Invariant: a key does the same for ever, so a test or a simulation that fixes it is repeatable.
//! Not here: where keys come from. A node draws them from the kernel, anew in each process and for each
//! worker.

use std::hash::{BuildHasher, Hasher};

use siphasher::sip::{SipHasher13, SipHasher24};

/// See the module's head.
#[derive(Clone, Copy)]
pub struct Key([u8; 16]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Of these bytes, which nobody else may know.
    pub const fn new(bytes: [u8; 16]) -> Key {
        Key(bytes)
    }

    /// A key that anybody can repeat, for tests and simulations.
    pub const fn from_seed(seed: u64) -> Key {
        Key((seed as u128).to_le_bytes())
    }

    /// The number at a place of this key's sequence.
    pub fn number(&self, place: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&place.to_le_bytes());
        hasher.finish()
    }
}

/// For tables that are keyed by strangers' input.
impl BuildHasher for Key {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use grandstand_protocol::random::{GOLDEN_STEP, Random};

    use super::*;

    /// The key, an input and the output of the reference implementation (`vectors_sip64`, its ninth line).
    #[test]
    fn numbers_are_those_of_the_reference_implementation() {
        let key = Key::new(std::array::from_fn(|at| at as u8));
        assert_eq!(key.number(0x0706_0504_0302_0100), 0x93f5_f579_9a93_2462);
    }

    /// What SplitMix64 made of its counter.
    fn counter_of(number: u64) -> u64 {
        let z = (number ^ (number >> 31) ^ (number >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
        let z = (z ^ (z >> 27) ^ (z >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
        z ^ (z >> 30) ^ (z >> 60)
    }

    #[test]
    fn two_consecutive_numbers_do_not_give_the_next_as_splitmix_did() {
        let mut splitmix = Random::new(5);
        let (first, second) = (splitmix.next_u64(), splitmix.next_u64());
        assert_eq!(counter_of(second).wrapping_sub(counter_of(first)), GOLDEN_STEP, "the test can tell");

        let key = Key::from_seed(5);
        let steps: std::collections::BTreeSet<u64> = (0..1_000)
            .map(|n| counter_of(key.number(n + 1)).wrapping_sub(counter_of(key.number(n))))
            .collect();
        assert_eq!(steps.len(), 1_000, "no step is repeated");
        assert!(
            (0..1_000).all(|n| key.number(n) != Key::from_seed(6).number(n)),
            "another key, other numbers"
        );
    }
}
