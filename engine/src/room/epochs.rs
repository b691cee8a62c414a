//! Epochs: the identities of rooms' logs.
//!
//! Invariant: no two epochs of a shard are equal, over rooms, restarts and seeds, but for a chance of 2^-64.
//! Not here: when a log begins anew (`shard`).

use grandstand_protocol::random::Random;

/// Makes epochs: never 0, and different over rooms, restarts and seeds.
#[derive(Debug)]
pub(crate) struct Epochs {
    seed: u64,
    made: u64,
}

impl Epochs {
    /// A maker with a shard's seed.
    pub(crate) fn new(seed: u64) -> Self {
        Epochs { seed, made: 0 }
    }

    /// Make other epochs, by a number that no other maker of the seed has.
    pub(crate) fn vary(&mut self, by: u64) {
        self.seed = Random::new(self.seed ^ by.rotate_left(17)).next_u64();
    }

    /// Make the next epoch.
    pub(crate) fn make(&mut self, unix_ms: u64) -> u64 {
        self.made += 1;
        let mixed = |n| Random::new(n).next_u64();
        mixed(mixed(self.seed ^ unix_ms).wrapping_add(self.made)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_differ() {
        let mut all: Vec<u64> = [1, 2]
            .iter()
            .flat_map(|&seed| {
                let mut epochs = Epochs::new(seed);
                (0..1000).map(move |i| epochs.make(i / 10))
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2000);
        assert!(all[0] > 0);
    }
}
