//! Timers of many connections in one heap, armed lazily.
//!
//! Why lazily: a connection's deadline moves with every packet, nearly always to later. An entry that rings early asks
//! the connection again; only a deadline that moves to earlier costs a push.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// See the file's head. `armed` of each connection is kept by its owner.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Timers {
    /// Make sure that `slot` is looked at by `deadline`.
    pub(super) fn arm(&mut self, slot: usize, deadline: Option<Instant>, armed: &mut Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if armed.is_none_or(|at| deadline < at) {
            *armed = Some(deadline);
            self.heap.push(Reverse((deadline, slot)));
        }
    }

    /// When the next entry rings.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A slot to look at, and the time for which it was armed.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(usize, Instant)> {
        let Reverse((at, slot)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some((slot, at))
    }
}
