//! Timers: which rooms have something due, and when.
//!
//! Invariant: a room is armed for at most one time. A room with nothing due, such as a dormant one, costs
//! nothing here.
//! Not here: what is due (`room`), the clock (`runtime`).

use std::collections::BTreeSet;

/// Rooms by the time at which they are due.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(u64, u32)>,
}

impl Timers {
    /// Move a room's timer from one time to another.
    pub(crate) fn arm(&mut self, slot: u32, from_us: Option<u64>, to_us: Option<u64>) {
        if from_us == to_us {
            return;
        }
        if let Some(us) = from_us {
            let was_armed = self.due.remove(&(us, slot));
            assert!(was_armed, "a room knows for when it is armed");
        }
        if let Some(us) = to_us {
            self.due.insert((us, slot));
        }
    }

    /// When the next room is due.
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.due.first().map(|&(us, _)| us)
    }

    /// A room that is due now; it stays armed.
    pub(crate) fn due(&self, now_us: u64) -> Option<u32> {
        self.due.first().filter(|&&(us, _)| us <= now_us).map(|&(_, slot)| slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_come_due_in_order() {
        let mut t = Timers::default();
        t.arm(1, None, Some(30));
        t.arm(2, None, Some(10));
        t.arm(1, Some(30), Some(5));
        assert_eq!((t.next_us(), t.due(4), t.due(5)), (Some(5), None, Some(1)));
        t.arm(1, Some(5), None);
        assert_eq!((t.due(9), t.due(10)), (None, Some(2)));
        t.arm(2, Some(10), Some(10));
        t.arm(2, Some(10), None);
        assert_eq!(t.next_us(), None);
    }
}
