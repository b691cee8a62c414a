//! The doorbell: wakes one sleeping consumer, never too seldom and never twice.
//!
//! Why: the wake itself (an eventfd write, `Thread::unpark`) is a system call, far more expensive than a
//! push. A consumer that is awake looks at its queues anyway. So producers ring only for a sleeping consumer,
//! and only one of them rings.
//!
//! # Protocol
//!
//! ```text
//! consumer                                 producer
//! prepare_park()   state = PARKED          publish the value (the ring does)
//!                  fence(SeqCst)           ring():  fence(SeqCst)
//! look at every queue again                         if state == PARKED, swap it to AWAKE;
//!   something there: cancel_park()                  whoever swapped calls the closure
//!   nothing: block on the device, finish_park()
//! ```
//!
//! # Why no wake-up is lost
//!
//! Each side writes one word and then reads the other's (Dekker): the consumer writes `state` and reads the
//! queue, the producer writes the queue and reads `state`. Release and acquire alone allow both reads to
//! return the old value, since a store may still sit in the store buffer while the load after it completes:
//! the consumer would sleep on a full queue. The two `SeqCst` fences have one total order. If the consumer's
//! comes first, the producer's read sees `PARKED` or something later; if the producer's comes first, the
//! consumer's second look sees the value. One of the two always notices. "Something later" than `PARKED` is
//! `AWAKE`, written either by another producer, which then calls the closure for both, or by the consumer
//! itself, which is then awake and looks at its queues before it parks again.
//!
//! # Why none is repeated
//!
//! The closure is called only after a compare-exchange from `PARKED` to `AWAKE`, and only `prepare_park`
//! writes `PARKED`: there are never more calls than parks. A producer may be slow between its exchange and
//! its call. Then the call comes late, possibly into the consumer's next park: it is spurious there, and a
//! consumer must look at its queues after every wake.
//!
//! # What the device must do
//!
//! Remember a ring that comes before the block (an eventfd counts, `unpark` leaves a token), since a ring can
//! fall between the consumer's second look and its block. The closure must not panic and must not block.
//!
//! Invariant: one thread at a time acts as the consumer of a doorbell.
//! Not here: blocking (the caller's device; `parker` for plain threads), the queues.

use std::fmt;

use crossbeam::utils::CachePadded;

use crate::sync::{Arc, AtomicU32, Ordering, fence};

/// The consumer is running, or someone has already rung for it.
const AWAKE: u32 = 0;
/// The consumer sleeps or is about to: the next one to ring must call the closure.
const PARKED: u32 = 1;

/// Wakes one consumer; shared by every queue that it reads.
pub struct Doorbell {
    // Alone on its cache line: producers read it at every push, and it changes only when the consumer parks.
    state: CachePadded<AtomicU32>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Doorbell {
    /// A doorbell whose real wake is `ring`. It is called at most once per park, from the thread that rings,
    /// and must neither block nor panic.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { state: CachePadded::new(AtomicU32::new(AWAKE)), wake: Box::new(ring) })
    }

    /// Producer: call after publishing. Calls the closure if the consumer is parked or about to, and if no
    /// one else has rung since it said so.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) == PARKED {
            self.ring_parked();
        }
    }

    /// Consumer: announces that it is about to block. Look at every queue again after this, then either
    /// [`cancel_park`](Self::cancel_park) or block, and [`finish_park`](Self::finish_park) after waking.
    #[inline]
    pub fn prepare_park(&self) {
        self.state.store(PARKED, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Consumer: takes the announcement back, because the second look found something. Returns whether
    /// someone has rung since; then a wake-up is on its way to the device, and the next block may return at
    /// once.
    #[inline]
    pub fn cancel_park(&self) -> bool {
        self.awake()
    }

    /// Consumer: the block returned. Returns whether someone rang; `false` is a timeout, a spurious return,
    /// or a wake by something else that the device watches.
    #[inline]
    pub fn finish_park(&self) -> bool {
        self.awake()
    }

    // Relaxed is enough wherever the state alone changes hands: the fences order it against the queues, and
    // the queues' own stamps carry the values.
    fn awake(&self) -> bool {
        self.state.swap(AWAKE, Ordering::Relaxed) == AWAKE
    }

    #[cold]
    fn ring_parked(&self) {
        if self.state.compare_exchange(PARKED, AWAKE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            (self.wake)();
        }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parked = self.state.load(Ordering::Relaxed) == PARKED;
        f.debug_struct("Doorbell").field("parked", &parked).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::AtomicUsize;

    fn counted() -> (Arc<Doorbell>, Arc<AtomicUsize>) {
        let rings = Arc::new(AtomicUsize::new(0));
        let inside = rings.clone();
        let bell = Doorbell::new(move || {
            inside.fetch_add(1, Ordering::Relaxed);
        });
        (bell, rings)
    }

    #[test]
    fn only_the_first_ring_of_a_park_reaches_the_device() {
        let (bell, rings) = counted();
        bell.ring();
        assert_eq!(rings.load(Ordering::Relaxed), 0, "nobody sleeps");
        bell.prepare_park();
        bell.ring();
        bell.ring();
        assert_eq!(rings.load(Ordering::Relaxed), 1);
        assert!(bell.finish_park());
        bell.ring();
        assert_eq!(rings.load(Ordering::Relaxed), 1, "awake again");
        bell.prepare_park();
        bell.ring();
        assert_eq!(rings.load(Ordering::Relaxed), 2, "each park has its own ring");
    }

    #[test]
    fn a_cancelled_park_is_not_rung_for() {
        let (bell, rings) = counted();
        bell.prepare_park();
        assert!(!bell.cancel_park());
        bell.ring();
        assert_eq!(rings.load(Ordering::Relaxed), 0);
        bell.prepare_park();
        bell.ring();
        assert!(bell.cancel_park(), "the ring came first, and the caller is told");
    }
}
