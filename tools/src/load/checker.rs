//! A checker of one viewer in one room. Every offset since the join is delivered, announced as missing, not
//! read yet, or lost.
//!
//! Why beside the client's own faults: the client drops duplicates. This file checks whether the delivery was
//! complete, from only the offsets that reached the application.
//! Invariant: `delivered + gapped + omitted + unread + lost == next - start`, or
//! [`Checker::is_balanced`] says no.
//! Not here: the contents of messages (`expected`), latencies (`viewer`).

/// How a message fits to those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The next one, or one behind a hole that is now counted as lost.
    New,
    /// Behind its place: it fills a hole, so it was not lost, but out of order.
    Late,
    /// It was there before.
    Again,
}

/// The accounts of one viewer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checker {
    epoch: u64,
    start: u64,
    next: u64,
    pub(crate) delivered: u64,
    pub(crate) gapped: u64,
    pub(crate) omitted: u64,
    pub(crate) lost: u64,
    /// Not read yet at the end, by a viewer that was still connected.
    pub(crate) unread: u64,
    pub(crate) duplicated: u32,
    pub(crate) out_of_order: u32,
    /// Ranges counted as lost. Empty in a good run.
    holes: Vec<(u64, u64)>,
}

impl Checker {
    /// A subscription begins or goes on. `false`: the log is another one, and what the old one still had is
    /// unknown.
    pub(crate) fn handle_subscribed(&mut self, epoch: u64, offset: u64) -> bool {
        if self.epoch == epoch {
            return true;
        }
        let is_first = *self == Checker::default();
        if is_first {
            (self.epoch, self.start, self.next) = (epoch, offset, offset);
        } else {
            // The accounts of the old log are closed; those of the new one go on from here.
            let accounted = self.next.wrapping_sub(self.start);
            (self.epoch, self.next) = (epoch, offset);
            self.start = offset.wrapping_sub(accounted);
        }
        is_first
    }

    /// A message reached the application, or came again and was dropped before it.
    pub(crate) fn handle_message(&mut self, offset: u64) -> Fit {
        if offset < self.next {
            return if self.fill(offset) { Fit::Late } else { self.again() };
        }
        self.miss_until(offset);
        self.next = offset + 1;
        self.delivered += 1;
        Fit::New
    }

    /// Offsets that pacing left out.
    pub(crate) fn handle_omitted(&mut self, from: u64, to: u64) {
        self.miss_until(from);
        self.omitted += to.saturating_sub(from.max(self.next));
        self.next = self.next.max(to);
    }

    /// The node says what is missing.
    pub(crate) fn handle_gap(&mut self, from: u64, to: u64, count: u64) {
        self.miss_until(from);
        self.gapped += count;
        self.next = self.next.max(to);
    }

    /// The end: an accepted offset before `head` without an account is lost, or unread by a
    /// viewer that is still connected and behind.
    pub(crate) fn finish(&mut self, head: Option<u64>, is_behind: bool) {
        let Some(head) = head else { return };
        if is_behind {
            self.unread += head.saturating_sub(self.next);
            self.next = self.next.max(head);
        } else {
            self.miss_until(head);
        }
    }

    /// The room's log continues under another epoch, exactly here or after a gap; so do the accounts.
    pub(crate) fn handle_continued(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// The log that it is in.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The next offset that is not accounted for.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Does every offset have one account?
    pub(crate) fn is_balanced(&self) -> bool {
        self.delivered + self.gapped + self.omitted + self.unread + self.lost
            == self.next.wrapping_sub(self.start)
    }

    fn miss_until(&mut self, offset: u64) {
        if offset > self.next {
            self.lost += offset - self.next;
            self.holes.push((self.next, offset));
            self.next = offset;
        }
    }

    fn fill(&mut self, offset: u64) -> bool {
        let Some(at) = self.holes.iter().position(|&(from, to)| (from..to).contains(&offset)) else {
            return false;
        };
        let (from, to) = self.holes.swap_remove(at);
        self.holes.extend([(from, offset), (offset + 1, to)].into_iter().filter(|(from, to)| from < to));
        self.lost -= 1;
        self.delivered += 1;
        self.out_of_order += 1;
        true
    }

    fn again(&mut self) -> Fit {
        self.duplicated += 1;
        Fit::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(offset: u64) -> Checker {
        let mut checker = Checker::default();
        assert!(checker.handle_subscribed(7, offset));
        checker
    }

    fn totals(c: &Checker) -> (u64, u64, u64, u64, u32, u32) {
        assert!(c.is_balanced(), "{c:?}");
        (c.delivered, c.gapped, c.omitted, c.lost, c.duplicated, c.out_of_order)
    }

    #[test]
    fn a_complete_log_with_a_resume() {
        let mut c = joined(10);
        (10..15).for_each(|n| assert_eq!(c.handle_message(n), Fit::New));
        assert!(c.handle_subscribed(7, 15));
        (15..20).for_each(|n| assert_eq!(c.handle_message(n), Fit::New));
        c.finish(Some(20), false);
        assert_eq!(totals(&c), (10, 0, 0, 0, 0, 0));
    }

    #[test]
    fn gaps_and_omissions_are_accounted_for_and_holes_are_lost() {
        let mut c = joined(0);
        c.handle_message(0);
        c.handle_gap(1, 5, 4);
        c.handle_omitted(5, 7);
        c.handle_message(7);
        c.handle_message(10);
        c.handle_gap(12, 13, 1);
        c.finish(Some(15), false);
        assert_eq!(totals(&c), (3, 5, 2, 5, 0, 0));
    }

    #[test]
    fn what_a_connected_viewer_did_not_read_yet_is_not_lost() {
        let mut c = joined(0);
        c.handle_message(0);
        c.handle_message(2);
        c.finish(Some(9), true);
        assert_eq!((totals(&c), c.unread), ((2, 0, 0, 1, 0, 0), 6));
    }

    #[test]
    fn what_comes_again_is_a_duplicate_and_what_comes_late_is_out_of_order() {
        let mut c = joined(0);
        for (offset, fit) in
            [(0, Fit::New), (0, Fit::Again), (3, Fit::New), (2, Fit::Late), (2, Fit::Again), (1, Fit::Late)]
        {
            assert_eq!(c.handle_message(offset), fit, "{offset}");
        }
        assert_eq!(totals(&c), (4, 0, 0, 0, 2, 2));
    }

    #[test]
    fn a_gap_that_miscounts_or_overlaps_does_not_balance() {
        let mut c = joined(0);
        c.handle_gap(0, 5, 4);
        assert!(!c.is_balanced());
        let mut c = joined(0);
        for n in 0..4 {
            c.handle_message(n);
        }
        c.handle_gap(2, 6, 4);
        assert!(!c.is_balanced());
    }

    #[test]
    fn another_log_is_told_and_the_accounts_go_on() {
        let mut c = joined(100);
        c.handle_message(100);
        assert!(!c.handle_subscribed(8, 0));
        c.handle_message(0);
        assert_eq!((c.delivered, c.next()), (2, 1));
    }
}
