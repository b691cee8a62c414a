//! The lineage of a room's log: the log's earlier epochs, and the offset up to which the present log
//! continues each.
//!
//! Why: after a power cut, or an unclean change of owner, a room gets a new epoch. A viewer that returns with
//! an old epoch misses nothing if it read no further than the part that was kept. Two such changes within one
//! absence must not cost a viewer its place, so several epochs are kept.
//! Invariants: the newest comes first. There are at most [`Lineage::EPOCHS_MAX`]. No epoch is valid up to a
//! higher offset than a newer one. After an unclean change of owner every node computes the same new epoch.

use std::sync::Arc;

/// An earlier log of a room, and how much of it the present log continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousEpoch {
    /// The log.
    pub epoch: u64,
    /// Everything before this offset is in the present log too.
    pub next_offset: u64,
}

/// The earlier epochs of a log. Cloning is one atomic increment. A room without earlier epochs owns no memory
/// for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(Option<Arc<[PreviousEpoch]>>);

impl Lineage {
    /// Epochs that are kept; the oldest is forgotten first.
    pub const EPOCHS_MAX: usize = 4;

    /// The lineage of a log that continues another one, whose lineage this is, up to an offset.
    #[must_use]
    pub fn continued(&self, newest: PreviousEpoch) -> Lineage {
        let clamped =
            |p: &PreviousEpoch| PreviousEpoch { next_offset: p.next_offset.min(newest.next_offset), ..*p };
        let older = self.epochs().iter().map(clamped).take(Self::EPOCHS_MAX - 1);
        Lineage(Some(std::iter::once(newest).chain(older).collect()))
    }

    /// The epochs, the newest first.
    pub fn epochs(&self) -> &[PreviousEpoch] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Can a reader of this epoch, up to this offset, go on in the present log without missing anything?
    pub fn holds(&self, epoch: u64, offset: u64) -> bool {
        self.epochs().iter().any(|p| p.epoch == epoch && offset <= p.next_offset)
    }
}

/// Newest first. Epochs above [`Lineage::EPOCHS_MAX`] are ignored.
impl FromIterator<PreviousEpoch> for Lineage {
    fn from_iter<I: IntoIterator<Item = PreviousEpoch>>(epochs: I) -> Self {
        let epochs: Arc<[_]> = epochs.into_iter().take(Self::EPOCHS_MAX).collect();
        Lineage((!epochs.is_empty()).then_some(epochs))
    }
}

/// The epoch of a room's log after a term that began without a clean hand-over. Every node of a cluster
/// computes it from the epoch before, so nobody has to say it. It is never 0 and never the epoch before, and
/// it fits in 63 bits, as every stored epoch does.
pub fn epoch_after(epoch: u64, term: u64) -> u64 {
    // The finaliser of SplitMix64, over the term and then over both: neighbours of either give epochs that
    // have nothing in common.
    let mix = |mut n: u64| {
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    };
    let mut mixed = mix(epoch ^ mix(term.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    loop {
        let next = mixed >> 1;
        if next != 0 && next != epoch {
            return next;
        }
        mixed = mix(mixed.wrapping_add(0x9e37_79b9_7f4a_7c15));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_after_a_term_is_new_fits_and_is_the_same_at_every_node() {
        let mut seen = std::collections::HashSet::new();
        for epoch in (0..200).chain([u64::MAX, u64::MAX >> 1]) {
            for term in 0..50 {
                let next = epoch_after(epoch, term);
                assert!(next != 0 && next != epoch && next >> 63 == 0);
                assert!(seen.insert(next), "{epoch} after {term}");
            }
        }
        // Nodes of different releases serve one cluster: these values never change.
        let fixed = [epoch_after(1, 1), epoch_after(1, 2), epoch_after(7, 3)];
        assert_eq!(fixed, [3_326_293_841_789_889_636, 8_737_326_102_237_630_251, 3_240_433_151_233_911_294]);
    }

    #[test]
    fn four_epochs_are_kept_and_none_holds_further_than_a_newer_one() {
        let mut lineage = Lineage::default();
        assert!(!lineage.holds(1, 0) && lineage.epochs().is_empty());
        for (epoch, next_offset) in [(1, 10), (2, 30), (3, 20), (4, 40)] {
            lineage = lineage.continued(PreviousEpoch { epoch, next_offset });
        }
        let held: Vec<_> = lineage.epochs().iter().map(|p| (p.epoch, p.next_offset)).collect();
        assert_eq!(held, [(4, 40), (3, 20), (2, 20), (1, 10)]);
        assert!(lineage.holds(2, 20) && !lineage.holds(2, 21) && !lineage.holds(5, 0));
        lineage = lineage.continued(PreviousEpoch { epoch: 5, next_offset: 50 });
        assert!(!lineage.holds(1, 5) && lineage.epochs().len() == Lineage::EPOCHS_MAX);
        assert_eq!(lineage.epochs().iter().copied().collect::<Lineage>(), lineage);
    }
}
