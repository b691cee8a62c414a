//! Viewers: the workers that follow a room, and the number of its members on each.
//!
//! Why one list: a batch goes once to each worker that follows, and the count is the sum over the same
//! workers.
//! Invariants: a worker is in the list at most once. The published count is exact up to 1,000 and has three
//! significant digits above. It changes at most once per interval, so a join costs O(1), however large the
//! room.
//! Not here: where the count is published (`state`), who the members are (edge).

use crate::link::WorkerId;

/// Counts up to this are published exactly.
const EXACT_MAX: u64 = 1000;

/// Followers of one room.
#[derive(Debug, Default)]
pub(crate) struct Viewers {
    followers: Vec<Follower>,
    total: u64,
    published: u64,
    published_us: Option<u64>,
    /// No count is published before.
    held_until_us: u64,
}

#[derive(Debug)]
struct Follower {
    worker: WorkerId,
    members: u32,
}

impl Viewers {
    /// A worker follows the room; harmless when it does already.
    pub(crate) fn follow(&mut self, worker: WorkerId) {
        if !self.followers.iter().any(|f| f.worker == worker) {
            self.followers.push(Follower { worker, members: 0 });
        }
    }

    /// A worker stops following. Returns whether it followed before.
    pub(crate) fn leave(&mut self, worker: WorkerId) -> bool {
        let Some(i) = self.followers.iter().position(|f| f.worker == worker) else { return false };
        self.total -= u64::from(self.followers.swap_remove(i).members);
        true
    }

    /// Set the number of members of a worker that follows. A worker that does not follow is ignored, for its
    /// members would never be subtracted again.
    pub(crate) fn count(&mut self, worker: WorkerId, members: u32) {
        if let Some(f) = self.followers.iter_mut().find(|f| f.worker == worker) {
            self.total = self.total - u64::from(f.members) + u64::from(members);
            f.members = members;
        }
    }

    /// The workers that follow.
    pub(crate) fn followers(&self) -> impl Iterator<Item = WorkerId> {
        self.followers.iter().map(|f| f.worker)
    }

    /// The workers that follow, with their numbers of members.
    pub(crate) fn members(&self) -> impl Iterator<Item = (WorkerId, u32)> + Clone {
        self.followers.iter().map(|f| (f.worker, f.members))
    }

    /// Does no worker follow?
    pub(crate) fn is_unfollowed(&self) -> bool {
        self.followers.is_empty()
    }

    /// Members over all workers.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// When the count has to be published next; `None` while the published count is right.
    pub(crate) fn due_us(&self, every_us: u64) -> Option<u64> {
        let due_us = self.published_us.map_or(0, |us| us.saturating_add(every_us));
        (every_us > 0 && rounded(self.total) != self.published).then_some(due_us.max(self.held_until_us))
    }

    /// Publish nothing before this time.
    pub(crate) fn hold_until(&mut self, us: u64) {
        self.held_until_us = us;
    }

    /// The count to publish now.
    pub(crate) fn publish(&mut self, now_us: u64) -> u64 {
        self.published = rounded(self.total);
        self.published_us = Some(now_us);
        self.published
    }
}

/// Three significant digits above [`EXACT_MAX`].
fn rounded(count: u64) -> u64 {
    if count <= EXACT_MAX {
        return count;
    }
    let unit = 10u64.pow(count.ilog10() - 2);
    count / unit * unit + if count % unit >= unit.div_ceil(2) { unit } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_the_workers_that_follow() {
        let mut v = Viewers::default();
        v.count(WorkerId(0), 5);
        assert_eq!(v.total(), 0, "does not follow");
        v.follow(WorkerId(0));
        v.follow(WorkerId(1));
        v.follow(WorkerId(0));
        v.count(WorkerId(0), 5);
        v.count(WorkerId(1), 7);
        v.count(WorkerId(0), 3);
        assert_eq!((v.total(), v.followers().count()), (10, 2));
        assert!(v.leave(WorkerId(1)) && !v.leave(WorkerId(1)));
        assert_eq!(v.total(), 3);
    }

    #[test]
    fn publishing_is_paced() {
        let mut v = Viewers::default();
        v.follow(WorkerId(0));
        assert_eq!(v.due_us(100), None);
        v.count(WorkerId(0), 1);
        assert_eq!((v.due_us(100), v.due_us(0)), (Some(0), None));
        assert_eq!(v.publish(50), 1);
        assert_eq!(v.due_us(100), None);
        v.count(WorkerId(0), 2);
        assert_eq!(v.due_us(100), Some(150));
        v.count(WorkerId(0), 1);
        assert_eq!(v.due_us(100), None, "back to what is published");
    }

    #[test]
    fn large_counts_have_three_digits() {
        let cases = [
            (999, 999),
            (1000, 1000),
            (1004, 1000),
            (1005, 1010),
            (12_349, 12_300),
            (12_350, 12_400),
            (999_999, 1_000_000),
        ];
        for (count, told) in cases {
            assert_eq!(rounded(count), told, "{count}");
        }
    }
}
