//! Overload: new sessions are refused at their `Hello` while returning clients crowd in.
//!
//! Why at the `Hello`: over plain WebSocket only its ticket shows who is returning. Only while most hellos
//! carry one: in the rush of a first evening none does, and a client that has paid for its handshake is let
//! in.
//! Not here: when the queue is full (`queue`, told by the worker), the `Error` that tells the client
//! (`audience::hello`).

use super::retry_after::RetrySchedule;

/// The handshake queue is full for new connections: what one of them would meet there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// How long it would wait.
    pub wait_us: u64,
    /// How long one handshake takes.
    pub step_us: u64,
}

/// See the file's head.
#[derive(Debug)]
pub struct HelloThrottle {
    overload: Option<Overload>,
    retries: RetrySchedule,
    /// Of the latest hellos, the part with a good ticket, in 65,536ths; the newest has a weight of a
    /// sixteenth.
    returning: u32,
}

impl HelloThrottle {
    /// Nothing is refused yet.
    pub fn new(seed: u64) -> Self {
        HelloThrottle { overload: None, retries: RetrySchedule::new(seed), returning: 0 }
    }

    /// The queue is full for new connections, or no longer.
    pub fn handle_overload(&mut self, overload: Option<Overload>) {
        self.overload = overload;
    }

    /// A `Hello` came: after how many milliseconds the client is to come back, if it is refused.
    pub fn handle_hello(&mut self, now_us: u64, has_ticket: bool) -> Option<u32> {
        let newest = if has_ticket { 65_536 } else { 0 };
        self.returning = (self.returning * 15 + newest) / 16;
        let Overload { wait_us, step_us } = self.overload?;
        if has_ticket || self.returning < 32_768 {
            return None;
        }
        let after_us = self.retries.book(now_us, wait_us, step_us);
        Some(u32::try_from(after_us / 1_000).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLOAD: Option<Overload> = Some(Overload { wait_us: 2_000_000, step_us: 1_000 });

    #[test]
    fn among_returning_clients_new_ones_are_refused() {
        let mut throttle = HelloThrottle::new(1);
        (0..30).for_each(|_| assert_eq!(throttle.handle_hello(0, true), None));
        assert_eq!(throttle.handle_hello(0, false), None, "there is room");
        throttle.overload = OVERLOAD;
        assert_eq!(throttle.handle_hello(0, false), Some(2_001));
        assert_eq!(throttle.handle_hello(0, false), Some(2_002), "each has its time");
        assert_eq!(throttle.handle_hello(0, true), None);
    }

    #[test]
    fn in_a_first_rush_nobody_is_refused() {
        let mut throttle = HelloThrottle { overload: OVERLOAD, ..HelloThrottle::new(1) };
        assert!((0..100).all(|n| throttle.handle_hello(n, n % 3 == 0).is_none()));
    }
}
