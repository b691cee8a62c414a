//! Timers of many connections in one heap.
//!
//! Why lazily: a connection's deadline moves with every packet, nearly always to later. An entry that fires
//! early is set again; only a deadline that moves to an earlier time costs a push.
//! Not here: the handling of a deadline (`process`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// See the file's head. `armed` of each connection is kept by its owner.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Timers {
    /// Makes sure that `index` is looked at by `deadline`.
    #[inline]
    pub(super) fn arm(&mut self, index: usize, deadline: Option<Instant>, armed: &mut Option<Instant>) {
        if let Some(deadline) = deadline
            && armed.is_none_or(|at| deadline < at)
        {
            *armed = Some(deadline);
            self.heap.push(Reverse((deadline, index)));
        }
    }

    /// When the next entry rings.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// An index to look at, and the time for which it was armed.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(usize, Instant)> {
        let Reverse((at, index)) = *self.heap.peek()?;
        (at <= now).then(|| {
            self.heap.pop();
            (index, at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_an_earlier_deadline_costs_an_entry() {
        let (mut timers, mut armed, now) = (Timers::default(), None, Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        for ms in [20, 30, 10, 15] {
            timers.arm(7, Some(at(ms)), &mut armed);
        }
        assert_eq!((timers.heap.len(), timers.next(), armed), (2, Some(at(10)), Some(at(10))));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(
            (timers.pop(at(20)), timers.pop(at(20)), timers.pop(at(20))),
            (Some((7, at(10))), Some((7, at(20))), None)
        );
    }
}
