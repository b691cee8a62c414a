//! Retry times: each refused client is told a time of its own to come back.
//!
//! Why: clients that are all told the same time come back all at once. Clients that are told times as far
//! apart as they can be served come back as a queue that nobody has to store: the schedule remembers only
//! when the last of them is due.
//! Invariants: within the horizon, times rise and lie at least as far apart as clients can be served. Beyond
//! it they are spread evenly over its second half, since a time that is far away would be wrong anyway.
//! Not here: how long a handshake takes (`queue`); the jitter that clients add.

use grandstand_protocol::random::Random;

/// No client is told less: it would be back before anything has changed.
const AFTER_US_MIN: u64 = 500_000;

/// No client is told more: clients themselves wait half a minute at most.
const AFTER_US_MAX: u64 = 30_000_000;

/// See the file's head.
#[derive(Debug)]
pub struct RetrySchedule {
    last_us: u64,
    random: Random,
}

impl RetrySchedule {
    /// No client has been told a time.
    pub fn new(seed: u64) -> Self {
        RetrySchedule { last_us: 0, random: Random::new(seed) }
    }

    /// Give one more client a time: those that wait already take `wait_us`, this one takes `step_us`. Returns
    /// the microseconds from now.
    pub fn book(&mut self, now_us: u64, wait_us: u64, step_us: u64) -> u64 {
        // A quarter is left for clients that come without having been told.
        let at_us = self.last_us.max(now_us + wait_us.max(AFTER_US_MIN)) + step_us + step_us / 4;
        let after_us = at_us - now_us;
        if after_us <= AFTER_US_MAX {
            self.last_us = at_us;
            return after_us;
        }
        AFTER_US_MAX / 2 + self.random.next_u64() % (AFTER_US_MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_rise_by_what_one_takes() {
        let mut schedule = RetrySchedule::new(1);
        let told: Vec<u64> = (0..4).map(|_| schedule.book(0, 1_000_000, 400)).collect();
        assert_eq!(told, [1_000_500, 1_001_000, 1_001_500, 1_002_000]);
        assert_eq!(schedule.book(1_002_000, 0, 400), AFTER_US_MIN + 500, "the past is forgotten");
    }

    #[test]
    fn beyond_the_horizon_they_are_spread() {
        let mut schedule = RetrySchedule::new(7);
        let told: Vec<u64> = (0..1_000).map(|_| schedule.book(0, 40_000_000, 1_000)).collect();
        assert!(told.iter().all(|after_us| (AFTER_US_MAX / 2..AFTER_US_MAX).contains(after_us)));
        let mean = told.iter().sum::<u64>() / 1_000;
        assert!((21_500_000..23_500_000).contains(&mean), "{mean}");
        assert!(schedule.last_us == 0, "they take nobody's time");
    }
}
