//! The event queue: what happens next, in virtual time.
//!
//! Invariant: time never goes back, and events of one moment happen in the order in which they were planned.
//! So a run is a function of what was planned.
//! Not here: what an event does (`world`).

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// See the file's head.
#[derive(Debug)]
pub struct Queue<E> {
    us: u64,
    planned: u64,
    taken: u64,
    events: BinaryHeap<Reverse<Planned<E>>>,
}

#[derive(Debug)]
struct Planned<E> {
    us: u64,
    seq: u64,
    event: E,
}

impl<E> Queue<E> {
    /// An empty queue at this time.
    pub fn new(us: u64) -> Queue<E> {
        Queue { us, planned: 0, taken: 0, events: BinaryHeap::new() }
    }

    /// Virtual time, microseconds.
    pub fn now_us(&self) -> u64 {
        self.us
    }

    /// Events taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Plan an event.
    pub fn push(&mut self, after_us: u64, event: E) {
        self.planned += 1;
        self.events.push(Reverse(Planned { us: self.us + after_us, seq: self.planned, event }));
    }

    /// The next event up to a time, and time moves to it. `None`: there is none, and time moves to
    /// `until_us`.
    pub fn pop(&mut self, until_us: u64) -> Option<E> {
        if self.events.peek().is_none_or(|Reverse(planned)| planned.us > until_us) {
            self.us = self.us.max(until_us);
            return None;
        }
        let Reverse(planned) = self.events.pop()?;
        self.us = planned.us;
        self.taken += 1;
        Some(planned.event)
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.us, self.seq).cmp(&(other.us, other.seq))
    }
}
