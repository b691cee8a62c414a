//! The pulse: shows that a thread still turns its loop, for all threads of a node.
//!
//! Why: a thread that hangs answers nobody and reports nothing. Each thread adds one to its own counter once
//! a turn, which costs a store; a watchdog sees a counter that stands still. A thread that waits for work
//! turns at least once in [`TURN_EVERY`], so idle threads never look hung. A wait for a disk or another
//! process is marked as one ([`Pulse::wait_outside`]): the thread is not at fault, and a restart would not
//! help. Invariants: a counter has one writer. A pulse that is dropped without [`Pulse::end`] belongs to a
//! thread that died. Not here: when a thread counts as hung, and what follows (the node's `health`).

#![expect(clippy::disallowed_types, reason = "the list of threads is locked when one starts or is looked at")]

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest time from one turn of an idle thread to its next.
pub const TURN_EVERY: Duration = Duration::from_secs(1);

/// The threads of one node. Copies share the list.
#[derive(Clone, Debug, Default)]
pub struct Pulses(Arc<Mutex<Vec<Arc<ThreadPulse>>>>);

/// A thread's own side of its pulse.
#[derive(Debug)]
pub struct Pulse(Arc<ThreadPulse>);

/// The watchdog's side of a thread's pulse.
#[derive(Debug)]
pub struct ThreadPulse {
    name: String,
    turns: AtomicU64,
    is_outside: AtomicBool,
    end: AtomicU8,
    #[cfg(any(test, feature = "test-support"))]
    planted: planted::Hang,
}

/// A wait for a disk, a peer or another process; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the wait ends when this is dropped"]
pub struct OutsideWait(Arc<ThreadPulse>);

/// How a thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadEnd {
    /// It runs.
    Runs,
    /// It ended as it should.
    Ended,
    /// It panicked, or ended with an error.
    Died,
}

impl Pulses {
    /// Add a thread. Names are unique within a node; a thread that begins anew under a name replaces the one
    /// that ended.
    pub fn register(&self, name: impl Into<String>) -> Pulse {
        let pulse = Arc::new(ThreadPulse {
            name: name.into(),
            turns: AtomicU64::new(0),
            is_outside: AtomicBool::new(false),
            end: AtomicU8::new(0),
            #[cfg(any(test, feature = "test-support"))]
            planted: planted::Hang::default(),
        });
        let mut threads = self.threads();
        threads.retain(|thread| thread.name != pulse.name || thread.end() == ThreadEnd::Runs);
        threads.push(pulse.clone());
        Pulse(pulse)
    }

    /// Add the pulse of a thread that is of the process and not of one node.
    pub fn share(&self, thread: Arc<ThreadPulse>) {
        self.threads().push(thread);
    }

    /// All threads but those that ended as they should.
    pub fn all(&self) -> Vec<Arc<ThreadPulse>> {
        let mut threads = self.threads();
        threads.retain(|thread| thread.end() != ThreadEnd::Ended);
        threads.clone()
    }

    fn threads(&self) -> MutexGuard<'_, Vec<Arc<ThreadPulse>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// The thread has turned once more.
    pub fn turn(&self) {
        let turns = self.0.turns.load(Ordering::Relaxed);
        self.0.turns.store(turns.wrapping_add(1), Ordering::Relaxed);
        #[cfg(any(test, feature = "test-support"))]
        self.0.planted.obey();
    }

    /// The thread waits for something outside the process until the guard is dropped.
    pub fn wait_outside(&self) -> OutsideWait {
        self.0.is_outside.store(true, Ordering::Relaxed);
        OutsideWait(self.0.clone())
    }

    /// The thread ends as it should.
    pub fn end(self) {
        self.0.end.store(1, Ordering::Release);
    }

    /// The watchdog's side.
    pub fn watched(&self) -> Arc<ThreadPulse> {
        self.0.clone()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        // It fails only where `end` was called.
        let _ = self.0.end.compare_exchange(0, 2, Ordering::AcqRel, Ordering::Relaxed);
    }
}

impl Drop for OutsideWait {
    fn drop(&mut self) {
        self.0.is_outside.store(false, Ordering::Relaxed);
    }
}

impl ThreadPulse {
    /// The thread's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of its turns so far.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Whether it waits for something outside the process.
    pub fn is_outside(&self) -> bool {
        self.is_outside.load(Ordering::Relaxed)
    }

    /// How it ended, if it did.
    pub fn end(&self) -> ThreadEnd {
        match self.end.load(Ordering::Acquire) {
            0 => ThreadEnd::Runs,
            1 => ThreadEnd::Ended,
            _ => ThreadEnd::Died,
        }
    }
}

/// Test only: a hang that a test plants in a thread's next turn.
#[cfg(any(test, feature = "test-support"))]
mod planted {
    use super::{Mutex, PoisonError, ThreadPulse};
    use std::sync::Condvar;

    #[derive(Debug, Default)]
    pub(super) struct Hang {
        is_hung: Mutex<bool>,
        released: Condvar,
    }

    impl Hang {
        pub(super) fn obey(&self) {
            let mut is_hung = self.is_hung.lock().unwrap_or_else(PoisonError::into_inner);
            while *is_hung {
                is_hung = self.released.wait(is_hung).unwrap_or_else(PoisonError::into_inner);
            }
        }

        fn set(&self, is_hung: bool) {
            *self.is_hung.lock().unwrap_or_else(PoisonError::into_inner) = is_hung;
            self.released.notify_all();
        }
    }

    impl ThreadPulse {
        /// Let the thread hang in its next turn.
        pub fn plant_hang(&self) {
            self.planted.set(true);
        }

        /// Let it go on.
        pub fn release_hang(&self) {
            self.planted.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_well_is_forgotten_and_one_that_dies_is_not() {
        let pulses = Pulses::default();
        let (good, bad) = (pulses.register("good"), pulses.register("bad"));
        good.turn();
        assert_eq!(pulses.all()[0].turns(), 1);
        good.end();
        drop(bad);
        let all = pulses.all();
        assert_eq!((all.len(), all[0].name(), all[0].end()), (1, "bad", ThreadEnd::Died));
        let again = pulses.register("bad");
        assert_eq!(pulses.all()[0].end(), ThreadEnd::Runs, "its successor replaces it");
        again.end();
    }

    #[test]
    fn a_wait_outside_ends_with_its_guard() {
        let pulses = Pulses::default();
        let pulse = pulses.register("disk");
        let wait = pulse.wait_outside();
        assert!(pulse.watched().is_outside());
        drop(wait);
        assert!(!pulse.watched().is_outside());
        pulse.end();
    }
}
