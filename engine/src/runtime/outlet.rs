//! An outlet: the queue from one seat to one worker, a ring with a list behind it.
//!
//! Why both: the ring is allocated whole, and holds the burst between two wake-ups of a worker. The list (the
//! overflow) begins empty and grows as far as a worker lags. So an idle seat needs little memory, and
//! [`EngineConfig::overflow_max`](super::EngineConfig::overflow_max) still bounds what waits.
//! Invariant: outputs leave in the order in which they came. While the overflow is not empty, new outputs go
//! behind it.
//! Not here: when a seat stops taking inputs (`seat`).

use std::collections::VecDeque;

use grandstand_queue::{SendError, spsc};

use crate::link::Output;

/// The queue from one seat to one worker.
pub(super) struct Outlet {
    producer: spsc::Producer<Output>,
    overflow: VecDeque<Output>,
    is_gone: bool,
}

/// The result of a send.
pub(super) enum Sent {
    Now,
    Later,
    Never,
}

impl Outlet {
    pub(super) fn new(producer: spsc::Producer<Output>) -> Self {
        Outlet { producer, overflow: VecDeque::new(), is_gone: false }
    }

    /// Push an output to the ring, or behind the overflow.
    pub(super) fn send(&mut self, output: Output) -> Sent {
        if !self.overflow.is_empty() {
            self.overflow.push_back(output);
            return Sent::Later;
        }
        match self.producer.try_push(output) {
            Ok(()) => Sent::Now,
            Err(SendError::Closed(_)) => Sent::Never,
            Err(SendError::Full(output)) => {
                self.overflow.push_back(output);
                Sent::Later
            }
        }
    }

    /// Move waiting outputs to the ring. An overflow that was long gives its memory back.
    pub(super) fn flush(&mut self) {
        if self.overflow.is_empty() {
            return;
        }
        while let Some(output) = self.overflow.pop_front() {
            match self.producer.try_push(output) {
                Ok(()) => {}
                Err(SendError::Full(output)) => return self.overflow.push_front(output),
                Err(SendError::Closed(_)) => {}
            }
        }
        self.overflow = VecDeque::new();
    }

    /// Outputs that wait in the overflow.
    pub(super) fn waiting(&self) -> usize {
        self.overflow.len()
    }

    /// If the worker has gone since the last call: the number of outputs that are dropped.
    pub(super) fn notice_gone(&mut self) -> Option<usize> {
        if self.is_gone || !self.producer.is_closed() {
            return None;
        }
        self.is_gone = true;
        Some(std::mem::take(&mut self.overflow).len())
    }
}
