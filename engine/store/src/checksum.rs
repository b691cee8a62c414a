//! Checksums of everything stored: XXH3-64, chained by the seed.
//!
//! Why XXH3: damage on a disk and torn writes are accidents, not attacks. It runs at memory speed, also for a
//! record of a hundred bytes.
//! Invariant: the function never changes, since its results are on disk.

use twox_hash::XxHash3_64;

/// The checksum of `bytes` that follow the bytes whose checksum is `seed`.
pub(crate) fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_is_the_published_one() {
        // Vectors of the reference implementation: the empty input, with seed 0.
        assert_eq!(super::checksum(0, b""), 0x2d06_8005_38d3_94c2);
        assert_ne!(super::checksum(1, b"a"), super::checksum(0, b"a"));
    }
}
