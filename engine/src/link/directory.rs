//! The directory: maps a room's name to its shard, and its slot to its alias.
//!
//! Invariants: all holders of the same seed and number of shards place a name on the same shard. An alias
//! contains its shard (`alias = slot * shards + shard`), so a frame finds its shard without a look-up.
//! Not here: moving rooms between nodes, which slot is free (`rooms`).

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use crate::link::{Alias, ShardId};

/// Maps rooms to shards.
#[derive(Clone, Debug)]
pub struct Directory {
    shards: u16,
    hash: FixedState,
}

impl Directory {
    /// A directory over `shards` shards.
    pub fn new(shards: u16, seed: u64) -> Self {
        assert!(shards > 0, "a node has at least one shard");
        Directory { shards, hash: FixedState::with_seed(seed) }
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The shard of a name.
    pub fn shard_of(&self, room: &str) -> ShardId {
        let mut hasher = self.hash.build_hasher();
        hasher.write(room.as_bytes());
        // The high half of the product spreads names evenly, without a division.
        ShardId(((u128::from(hasher.finish()) * u128::from(self.shards)) >> 64) as u16)
    }

    /// The shard of an alias.
    pub fn shard_of_alias(&self, alias: Alias) -> ShardId {
        ShardId((alias.0 % u32::from(self.shards)) as u16)
    }

    /// The alias of a shard's slot.
    pub(crate) fn alias(&self, shard: ShardId, slot: u32) -> Alias {
        Alias(slot * u32::from(self.shards) + u32::from(shard.0))
    }

    /// Has a shard's slot an alias?
    pub(crate) fn has_alias(&self, shard: ShardId, slot: u32) -> bool {
        let alias = u64::from(slot) * u64::from(self.shards) + u64::from(shard.0);
        // The highest number is reserved: edges use it for a room that does not exist.
        alias < u64::from(u32::MAX)
    }

    /// The slot of an alias within its shard.
    pub(crate) fn slot(&self, alias: Alias) -> u32 {
        alias.0 / u32::from(self.shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_spread_evenly_and_stay() {
        let (p, q) = (Directory::new(5, 7), Directory::new(5, 7));
        let mut counts = [0; 5];
        for i in 0..10_000 {
            let name = format!("show/{i}");
            counts[usize::from(p.shard_of(&name).0)] += 1;
            assert_eq!(p.shard_of(&name), q.shard_of(&name));
        }
        assert!(counts.iter().all(|&n| (1800..2200).contains(&n)), "{counts:?}");
    }

    #[test]
    fn an_alias_names_its_shard_and_slot() {
        let p = Directory::new(3, 0);
        for (shard, slot) in [(0, 0), (2, 0), (1, 7), (2, 1_000_000)] {
            let alias = p.alias(ShardId(shard), slot);
            assert_eq!((p.shard_of_alias(alias), p.slot(alias)), (ShardId(shard), slot));
        }
    }
}
