//! Slow mode: the shortest time between two messages of one user in a room.
//!
//! Invariants: only users whose wait is not over are remembered, and at most [`USERS_MAX`] of them. Above
//! that, the user who spoke longest ago is forgotten and may speak early. A room without slow mode remembers
//! nobody.
//! Not here: who is exempt (`judge`), rates of a session over all rooms (edge).

use std::collections::{HashMap, VecDeque};

use foldhash::quality::FixedState;

use crate::link::UserId;

/// Users remembered in a room: 30 s of slow mode at 2,000 messages a second, in some 3 MB.
const USERS_MAX: usize = 65_536;

/// Slow mode of one room.
#[derive(Debug)]
pub(crate) struct SlowMode {
    interval_us: u64,
    // When each user spoke last.
    spoke_us: HashMap<UserId, u64, FixedState>,
    // The same, sorted by time; an entry that differs from the map is out of date.
    order: VecDeque<(u64, UserId)>,
}

impl SlowMode {
    /// Slow mode with an interval; 0 for none.
    pub(crate) fn new(interval_ms: u64, seed: u64) -> Self {
        let spoke_us = HashMap::with_hasher(FixedState::with_seed(seed));
        SlowMode { interval_us: interval_ms.saturating_mul(1000), spoke_us, order: VecDeque::new() }
    }

    /// Set the interval, from now on.
    pub(crate) fn set_interval_ms(&mut self, interval_ms: u64) {
        self.interval_us = interval_ms.saturating_mul(1000);
        if interval_ms == 0 {
            self.spoke_us = HashMap::with_hasher(self.spoke_us.hasher().clone());
            self.order = VecDeque::new();
        }
    }

    /// The user's remaining wait, rounded up; `None` if there is none.
    pub(crate) fn wait_ms(&mut self, user: UserId, now_us: u64) -> Option<u32> {
        if self.interval_us == 0 {
            return None;
        }
        self.forget(now_us);
        let free_us = self.spoke_us.get(&user)?.saturating_add(self.interval_us);
        let wait_us = free_us.checked_sub(now_us).filter(|&us| us > 0)?;
        Some(u32::try_from(wait_us.div_ceil(1000)).unwrap_or(u32::MAX))
    }

    /// A user spoke.
    pub(crate) fn spoke(&mut self, user: UserId, now_us: u64) {
        if self.interval_us > 0 {
            self.spoke_us.insert(user, now_us);
            self.order.push_back((now_us, user));
            self.forget(now_us);
        }
    }

    fn forget(&mut self, now_us: u64) {
        while let Some(&(us, user)) = self.order.front() {
            let is_over = us.saturating_add(self.interval_us) <= now_us;
            if !is_over && self.order.len() <= USERS_MAX {
                break;
            }
            self.order.pop_front();
            if self.spoke_us.get(&user) == Some(&us) {
                self.spoke_us.remove(&user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_waits_for_the_interval_and_nobody_else_does() {
        let mut slow = SlowMode::new(10, 1);
        assert_eq!(slow.wait_ms(UserId(1), 0), None);
        slow.spoke(UserId(1), 0);
        assert_eq!(slow.wait_ms(UserId(1), 1), Some(10), "rounded up");
        assert_eq!(slow.wait_ms(UserId(2), 1), None);
        assert_eq!(slow.wait_ms(UserId(1), 9_999), Some(1));
        assert_eq!(slow.wait_ms(UserId(1), 10_000), None);
        assert!(slow.spoke_us.is_empty() && slow.order.is_empty(), "and is forgotten");
    }

    #[test]
    fn without_slow_mode_nobody_is_remembered() {
        let mut slow = SlowMode::new(0, 1);
        slow.spoke(UserId(1), 0);
        assert_eq!(slow.wait_ms(UserId(1), 0), None);
        slow.set_interval_ms(5);
        slow.spoke(UserId(1), 0);
        assert_eq!(slow.wait_ms(UserId(1), 0), Some(5));
        slow.set_interval_ms(0);
        assert!(slow.order.is_empty());
    }

    #[test]
    fn what_was_said_last_counts() {
        let mut slow = SlowMode::new(10, 1);
        slow.spoke(UserId(1), 0);
        slow.spoke(UserId(1), 5_000); // exempt
        assert_eq!(slow.wait_ms(UserId(1), 10_000), Some(5));
        assert_eq!(slow.wait_ms(UserId(1), 15_000), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut slow = SlowMode::new(1_000_000, 1);
        for i in 0..USERS_MAX as u64 + 5 {
            slow.spoke(UserId(i), i);
        }
        assert_eq!(slow.spoke_us.len(), USERS_MAX);
        assert_eq!(slow.wait_ms(UserId(0), 100_000), None);
    }
}
