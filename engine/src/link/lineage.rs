//! The lineage of a room's log: the log's earlier epochs, and the offset up to which the present log
//! continues each.
//!
//! Why: after a power cut, or an unclean change of owner, a room gets a new epoch. A viewer that returns with
//! an old epoch misses nothing if it read no further than the part that was kept. Two such changes within one
//! absence must not cost a viewer its place, so several epochs are kept.
//! Invariants: the newest comes first. There are at most [`Lineage::EPOCHS_MAX`]. No epoch is valid up to a
//! higher offset than a newer one.

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

#[cfg(test)]
mod tests {
    use super::*;

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
