//! Appointments: each one who is sent away is told a time of its own to come back.
//!
//! Why: a crowd that is told the same time comes back as the same crowd. One that is told times as far apart
//! as it can be served comes back as a queue that nobody has to keep: all that is remembered is when the last
//! of them is due.
//! Invariants: times that are told within the horizon rise, and never lie closer than they can be served;
//! beyond it they are spread evenly over its second half, for nobody believes in a time that is far away.
//! Not here: how long one takes (`Admission`); the jitter that clients add.

use grandstand_protocol::random::Random;

/// Nobody is sent away for less: it would be back before anything has changed.
const AFTER_US_MIN: u64 = 500_000;

/// Nobody is sent away for longer: clients themselves wait half a minute at most.
const AFTER_US_MAX: u64 = 30_000_000;

/// See the file's head.
#[derive(Debug)]
pub struct Appointments {
    last_us: u64,
    random: Random,
}

impl Appointments {
    /// None so far.
    pub fn new(seed: u64) -> Self {
        Appointments { last_us: 0, random: Random::new(seed) }
    }

    /// One more: those who wait already take `wait_us`, this one `step_us`. From now on, in microseconds.
    pub fn book(&mut self, now_us: u64, wait_us: u64, step_us: u64) -> u64 {
        // A quarter is left for those who come without having been told.
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
        let mut appointments = Appointments::new(1);
        let told: Vec<u64> = (0..4).map(|_| appointments.book(0, 1_000_000, 400)).collect();
        assert_eq!(told, [1_000_500, 1_001_000, 1_001_500, 1_002_000]);
        assert_eq!(appointments.book(1_002_000, 0, 400), AFTER_US_MIN + 500, "the past is forgotten");
    }

    #[test]
    fn beyond_the_horizon_they_are_spread() {
        let mut appointments = Appointments::new(7);
        let told: Vec<u64> = (0..1_000).map(|_| appointments.book(0, 40_000_000, 1_000)).collect();
        assert!(told.iter().all(|after_us| (AFTER_US_MAX / 2..AFTER_US_MAX).contains(after_us)));
        let mean = told.iter().sum::<u64>() / 1_000;
        assert!((21_500_000..23_500_000).contains(&mean), "{mean}");
        assert!(appointments.last_us == 0, "they take nobody's time");
    }
}
