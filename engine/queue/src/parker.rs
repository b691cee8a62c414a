//! The parker: the doorbell of a plain thread, which sleeps in `std::thread::park` and is woken by `unpark`.
//!
//! Why: shard threads wait for nothing but their queues and their next tick, so they need no event loop.
//! Invariant: a `Parker` belongs to the thread that first parks with it.
//! Not here: which queues to look at (the caller's `is_ready`), the ordering argument (`doorbell`).

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::doorbell::Doorbell;
use crate::sync::{Arc, Thread, current, park, park_timeout};

/// A doorbell that wakes a thread, and the right to sleep on it. Make it anywhere, then move the [`Parker`]
/// to the thread that shall sleep.
pub fn thread_bell() -> (Arc<Doorbell>, Parker) {
    // Filled before the first `prepare_park`, hence before anyone can find the bell parked: a plain cell
    // would do, the lock only keeps it safe.
    let sleeper = Arc::new(OnceLock::<Thread>::new());
    let rung = sleeper.clone();
    let bell = Doorbell::new(move || {
        if let Some(thread) = rung.get() {
            thread.unpark();
        }
    });
    (bell.clone(), Parker { bell, sleeper })
}

/// The sleeping side of [`thread_bell`].
#[derive(Debug)]
pub struct Parker {
    bell: Arc<Doorbell>,
    sleeper: Arc<OnceLock<Thread>>,
}

impl Parker {
    /// Parks this thread until `is_ready` says so, the bell rings, or `timeout` has passed (`None`: no
    /// limit).
    ///
    /// `is_ready` must look at everything that the bell may ring for: every queue, and any flag that is set
    /// before a bare [`Doorbell::ring`]. It is asked before each block, never while blocked.
    ///
    /// Returns `false` if the time passed, `true` otherwise. `true` is a hint: a ring may be for something
    /// already taken, so look, and park again. Spurious returns of `park` are slept through.
    ///
    /// # Panics
    /// If an earlier call came from another thread.
    pub fn park_timeout(&mut self, timeout: Option<Duration>, mut is_ready: impl FnMut() -> bool) -> bool {
        self.bind();
        // A deadline beyond what `Instant` can express is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.bell.prepare_park();
            if is_ready() {
                self.bell.cancel_park();
                return true;
            }
            let in_time = block_until(deadline);
            if self.bell.finish_park() {
                return true;
            }
            if !in_time {
                return is_ready();
            }
        }
    }

    fn bind(&self) {
        let owner = self.sleeper.get_or_init(current);
        assert!(owner.id() == current().id(), "a Parker belongs to the thread that first parked with it");
    }
}

/// Blocks until unparked or the deadline; `false` if it had already passed.
fn block_until(deadline: Option<Instant>) -> bool {
    let Some(deadline) = deadline else {
        park();
        return true;
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    park_timeout(left);
    true
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::{AtomicBool, Ordering};

    #[test]
    fn ready_returns_at_once_and_a_timeout_says_so() {
        let (_bell, mut parker) = thread_bell();
        assert!(parker.park_timeout(None, || true));
        assert!(!parker.park_timeout(Some(Duration::ZERO), || false));
        assert!(!parker.park_timeout(Some(Duration::from_millis(2)), || false));
    }

    #[test]
    fn a_stale_token_does_not_end_a_park() {
        let (_bell, mut parker) = thread_bell();
        current().unpark();
        let begun = Instant::now();
        assert!(!parker.park_timeout(Some(Duration::from_millis(5)), || false));
        assert!(begun.elapsed() >= Duration::from_millis(5));
    }

    #[test]
    fn a_ring_ends_a_park_without_a_limit() {
        let (bell, mut parker) = thread_bell();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let sleeper = std::thread::spawn(move || parker.park_timeout(None, || seen.load(Ordering::Relaxed)));
        stop.store(true, Ordering::Relaxed);
        bell.ring();
        assert!(sleeper.join().expect("the sleeper does not panic"));
    }

    #[test]
    #[should_panic(expected = "belongs to the thread")]
    fn a_second_thread_may_not_park() {
        let (_bell, mut parker) = thread_bell();
        parker.park_timeout(Some(Duration::ZERO), || false);
        let outcome = std::thread::spawn(move || parker.park_timeout(Some(Duration::ZERO), || false)).join();
        std::panic::resume_unwind(outcome.expect_err("the second thread panics"));
    }
}
