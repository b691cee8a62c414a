//! Slow mode: the shortest time between two messages of one person in a room.
//!
//! A message holds whom the edge names: a named user, or an anonymous session and its place at its address.
//! So neither another connection nor a session without a ticket ends a wait.
//! Invariants: only people whose wait is not over are remembered, and at most [`PEOPLE_MAX`] of them. Above
//! that, the person who spoke longest ago is forgotten and may speak early. A room without slow mode
//! remembers nobody. An interval is at most [`INTERVAL_MS_MAX`].
//! Not here: who is exempt (`judge`), rates of a session over all rooms (edge).

use std::collections::{HashMap, VecDeque};

use foldhash::quality::FixedState;

use crate::link::PersonId;

/// The longest interval: a day. A longer one is a mistake, or a room that is closed by another name.
pub(crate) const INTERVAL_MS_MAX: u64 = 86_400_000;

/// People remembered in a room: 30 s of slow mode at 1,000 messages a second of anonymous sessions, each of
/// which is remembered twice, in some 3 MB.
const PEOPLE_MAX: usize = 65_536;

/// Slow mode of one room.
#[derive(Debug)]
pub(crate) struct SlowMode {
    interval_us: u64,
    // When each person spoke last.
    spoke_us: HashMap<PersonId, u64, FixedState>,
    // The same, sorted by time; an entry that differs from the map is out of date.
    order: VecDeque<(u64, PersonId)>,
}

impl SlowMode {
    /// Slow mode with an interval; 0 for none.
    pub(crate) fn new(interval_ms: u64, seed: u64) -> Self {
        let spoke_us = HashMap::with_hasher(FixedState::with_seed(seed));
        SlowMode { interval_us: interval_ms.saturating_mul(1000), spoke_us, order: VecDeque::new() }
    }

    /// Set the interval, from now on.
    pub(crate) fn set_interval_ms(&mut self, interval_ms: u64) {
        let interval_ms = interval_ms.min(INTERVAL_MS_MAX);
        self.interval_us = interval_ms.saturating_mul(1000);
        if interval_ms == 0 {
            self.spoke_us = HashMap::with_hasher(self.spoke_us.hasher().clone());
            self.order = VecDeque::new();
        }
    }

    /// The remaining wait of the person whom these numbers name, rounded up; `None` if there is none.
    pub(crate) fn wait_ms(&mut self, names: [PersonId; 2], now_us: u64) -> Option<u32> {
        if self.interval_us == 0 {
            return None;
        }
        self.forget(now_us);
        let spoke_us = names.iter().filter_map(|name| self.spoke_us.get(name)).max()?;
        let free_us = spoke_us.saturating_add(self.interval_us);
        let wait_us = free_us.checked_sub(now_us).filter(|&us| us > 0)?;
        Some(u32::try_from(wait_us.div_ceil(1000)).unwrap_or(u32::MAX))
    }

    /// The person whom these numbers name spoke.
    pub(crate) fn spoke(&mut self, names: [PersonId; 2], now_us: u64) {
        if self.interval_us == 0 {
            return;
        }
        let is_named_once = names[0] == names[1];
        for name in names.into_iter().skip(usize::from(is_named_once)) {
            self.spoke_us.insert(name, now_us);
            self.order.push_back((now_us, name));
        }
        self.forget(now_us);
    }

    /// Who has to wait, and how long ago each spoke, longest first: for another process.
    pub(crate) fn hand(&self, now_us: u64) -> Vec<(PersonId, u64)> {
        let is_last = |(us, user): &&(u64, PersonId)| self.spoke_us.get(user) == Some(us);
        let waits = |us: u64| self.interval_us > 0 && us.saturating_add(self.interval_us) > now_us;
        let last = self.order.iter().filter(is_last).filter(|(us, _)| waits(*us));
        last.map(|&(us, user)| (user, now_us.saturating_sub(us))).collect()
    }

    /// Remember those who spoke in another process, `elapsed_us` before now and earlier.
    pub(crate) fn take_over(&mut self, spoke: &[(PersonId, u64)], now_us: u64, elapsed_us: u64) {
        if self.interval_us == 0 {
            return;
        }
        for &(user, ago_us) in spoke {
            let us = now_us.saturating_sub(ago_us.saturating_add(elapsed_us));
            self.spoke_us.insert(user, us);
            self.order.push_back((us, user));
        }
        self.forget(now_us);
    }

    fn forget(&mut self, now_us: u64) {
        while let Some(&(us, person)) = self.order.front() {
            let is_over = us.saturating_add(self.interval_us) <= now_us;
            if !is_over && self.order.len() <= PEOPLE_MAX {
                break;
            }
            self.order.pop_front();
            if self.spoke_us.get(&person) == Some(&us) {
                self.spoke_us.remove(&person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A named user.
    fn one(user: u64) -> [PersonId; 2] {
        [PersonId(user); 2]
    }

    #[test]
    fn what_a_reconnect_keeps_holds_a_person() {
        let mut slow = SlowMode::new(10, 1);
        let (place, elsewhere) = (PersonId(7), PersonId(8));
        slow.spoke([PersonId(1), place], 0);
        assert_eq!(slow.wait_ms([PersonId(2), place], 1), Some(10), "a new session at the same place");
        assert_eq!(slow.wait_ms([PersonId(1), elsewhere], 1), Some(10), "the same session at another");
        assert_eq!(slow.wait_ms([PersonId(2), elsewhere], 1), None);
        slow.spoke([PersonId(2), elsewhere], 5_000);
        assert_eq!(slow.wait_ms([PersonId(1), elsewhere], 6_000), Some(9), "the longer wait");
        assert_eq!(slow.wait_ms([PersonId(1), place], 15_000), None);
        assert!(slow.spoke_us.is_empty() && slow.order.is_empty());
    }

    #[test]
    fn an_interval_is_at_most_a_day() {
        let mut slow = SlowMode::new(0, 1);
        slow.set_interval_ms(u64::MAX);
        slow.spoke(one(1), 0);
        assert_eq!(slow.wait_ms(one(1), 0), Some(INTERVAL_MS_MAX as u32));
    }

    #[test]
    fn a_user_waits_for_the_interval_and_nobody_else_does() {
        let mut slow = SlowMode::new(10, 1);
        assert_eq!(slow.wait_ms(one(1), 0), None);
        slow.spoke(one(1), 0);
        assert_eq!(slow.wait_ms(one(1), 1), Some(10), "rounded up");
        assert_eq!(slow.wait_ms(one(2), 1), None);
        assert_eq!(slow.wait_ms(one(1), 9_999), Some(1));
        assert_eq!(slow.wait_ms(one(1), 10_000), None);
        assert!(slow.spoke_us.is_empty() && slow.order.is_empty(), "and is forgotten");
    }

    #[test]
    fn without_slow_mode_nobody_is_remembered() {
        let mut slow = SlowMode::new(0, 1);
        slow.spoke(one(1), 0);
        assert_eq!(slow.wait_ms(one(1), 0), None);
        slow.set_interval_ms(5);
        slow.spoke(one(1), 0);
        assert_eq!(slow.wait_ms(one(1), 0), Some(5));
        slow.set_interval_ms(0);
        assert!(slow.order.is_empty());
    }

    #[test]
    fn what_was_said_last_counts() {
        let mut slow = SlowMode::new(10, 1);
        slow.spoke(one(1), 0);
        slow.spoke(one(1), 5_000); // exempt
        assert_eq!(slow.wait_ms(one(1), 10_000), Some(5));
        assert_eq!(slow.wait_ms(one(1), 15_000), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut slow = SlowMode::new(1_000_000, 1);
        for i in 0..PEOPLE_MAX as u64 + 5 {
            slow.spoke(one(i), i);
        }
        assert_eq!(slow.spoke_us.len(), PEOPLE_MAX);
        assert_eq!(slow.wait_ms(one(0), 100_000), None);
    }
}
