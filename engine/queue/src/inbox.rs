//! The inbox: a bounded queue from many producers to one consumer, with its doorbell built in.
//!
//! Why: every worker hands publications to the shard that owns the room, and none may wait for another or for
//! the shard.
//!
//! Algorithm: Dmitry Vyukov's bounded queue, with the consumer's side reduced to one. Positions count up for
//! ever; the slot of a position is its low bits. Each slot has a stamp. For the position `p` that it will
//! serve next,
//!
//! - stamp `p`: free; the producer that moves the tail from `p` to `p + 1` owns the slot until it stamps
//!   `p + 1`;
//! - stamp `p + 1`: filled; the consumer owns the slot until it stamps `p + slots`, the next position that it
//!   serves.
//!
//! Producers contend on the tail only, and never read the consumer's index: fullness shows in the slot
//! itself.
//!
//! Invariant: a slot's value is initialised exactly when its stamp is one past its position; whoever moves
//! the stamp (release) owned the slot, and whoever acts on it has read the stamp (acquire).
//! Invariant: nothing can fail between a claim and its stamp, so when no producer runs, everything in
//! `head..tail` is filled.
//!
//! A producer that the system suspends between claim and stamp hides what was pushed behind it until it goes
//! on; it holds up no other producer, and it rings when it is done.
//!
//! Not here: waiting for space, priorities, a second consumer.

#![allow(unsafe_code)]

use std::fmt;
use std::mem::MaybeUninit;

use crossbeam::utils::CachePadded;

use crate::doorbell::Doorbell;
use crate::error::SendError;
use crate::slots_for;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell};

/// An inbox for at least `capacity` values (rounded up to a power of two, at least 2) whose pushes ring
/// `bell`. Several inboxes may share one bell.
pub fn inbox<T>(capacity: usize, bell: Arc<Doorbell>) -> (Sender<T>, Receiver<T>) {
    let ring = Arc::new(Ring::new(slots_for(capacity), bell));
    (Sender { ring: ring.clone() }, Receiver { ring, head: 0 })
}

/// A producer's handle. Cloning is one atomic increment; the clones share the ring.
pub struct Sender<T> {
    ring: Arc<Ring<T>>,
}

/// The consumer's handle: the one right to pop.
pub struct Receiver<T> {
    ring: Arc<Ring<T>>,
    // The authoritative head; `Ring::head` is its published copy.
    head: usize,
}

impl<T> Sender<T> {
    /// Pushes `value` and rings the bell if the consumer sleeps. Never blocks.
    ///
    /// # Errors
    /// [`SendError::Full`] if every slot holds a value, [`SendError::Closed`] if the receiver is gone; the
    /// value is inside. A value pushed while the receiver is being dropped may be accepted; it is dropped
    /// with the last handle.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        let ring = &*self.ring;
        if ring.receiver_gone.load(Ordering::Relaxed) {
            return Err(SendError::Closed(value));
        }
        let Some(position) = ring.claim() else {
            return Err(SendError::Full(value));
        };
        // SAFETY: `claim` gave this position to this call alone.
        unsafe { ring.fill(position, value) };
        ring.bell.ring();
        Ok(())
    }

    /// How many values wait, as of a moment ago: for metrics and early refusal. Counts values that are being
    /// pushed.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether nothing waits, as of a moment ago.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values fit.
    pub fn capacity(&self) -> usize {
        self.ring.slots.len()
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.ring.receiver_gone.load(Ordering::Relaxed)
    }
}

impl<T> Receiver<T> {
    /// Takes the oldest value. `None` if there is none, or if its producer has claimed the slot and not yet
    /// filled it.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        // SAFETY: this is the only receiver, and `&mut` makes this the only pop.
        let value = unsafe { self.ring.take(self.head) }?;
        self.head = self.head.wrapping_add(1);
        self.ring.head.store(self.head, Ordering::Relaxed);
        Some(value)
    }

    /// Whether a pop would find nothing now.
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.ring.is_filled(self.head)
    }

    /// How many values wait, as of a moment ago. Counts values that are being pushed, so it can exceed what
    /// pops find.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// How many values fit.
    pub fn capacity(&self) -> usize {
        self.ring.slots.len()
    }

    /// Whether every sender is gone. If so, the values that pops still find are the last. The last sender to
    /// go rings.
    pub fn is_closed(&self) -> bool {
        self.ring.senders.load(Ordering::Acquire) == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        // Relaxed, as in `Arc`: the handle that is cloned keeps the count above zero.
        self.ring.senders.fetch_add(1, Ordering::Relaxed);
        Self { ring: self.ring.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // Release, so that a receiver that reads zero also sees every push. (The bell's fence in each push
        // would do, too.)
        if self.ring.senders.fetch_sub(1, Ordering::Release) == 1 {
            self.ring.bell.ring();
        }
    }
}

impl<T> Drop for Receiver<T> {
    /// Drops what is there, so that it is not held for as long as some sender lives.
    fn drop(&mut self) {
        self.ring.receiver_gone.store(true, Ordering::Relaxed);
        while let Some(value) = self.pop() {
            drop(value);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("len", &self.len()).field("capacity", &self.capacity()).finish()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).field("capacity", &self.capacity()).finish()
    }
}

/// What the handles share.
struct Ring<T> {
    // The next position to claim. Padded: every producer writes it.
    tail: CachePadded<AtomicUsize>,
    // The next position to take; written by the receiver, read only for `len` and at the end.
    head: CachePadded<AtomicUsize>,
    // From here on nothing changes while the ring is in use, so the lines stay shared in every core's cache.
    slots: Box<[Slot<T>]>,
    bell: Arc<Doorbell>,
    receiver_gone: AtomicBool,
    // How many `Sender`s live. Changes only when one is cloned or dropped.
    senders: AtomicUsize,
}

struct Slot<T> {
    stamp: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the ring hands values from thread to thread, so `T: Send`; it never lends one, so `T: Sync` is not
// needed. The cells are reached only by the owner of the slot, which the stamps make unique.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    fn new(slots: usize, bell: Arc<Doorbell>) -> Self {
        let free = |position| Slot {
            stamp: AtomicUsize::new(position),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        };
        Self {
            tail: CachePadded::new(AtomicUsize::new(0)),
            head: CachePadded::new(AtomicUsize::new(0)),
            slots: (0..slots).map(free).collect(),
            bell,
            receiver_gone: AtomicBool::new(false),
            senders: AtomicUsize::new(1),
        }
    }

    /// Takes the next free position for the caller alone, or `None` if its slot still holds the value of a
    /// lap ago.
    #[inline]
    fn claim(&self) -> Option<usize> {
        let mut position = self.tail.load(Ordering::Relaxed);
        loop {
            // Acquire: the consumer has moved the old value out before it stamped the slot free.
            let stamp = self.slot(position).stamp.load(Ordering::Acquire);
            let ahead = stamp.wrapping_sub(position).cast_signed();
            if ahead < 0 {
                return None;
            }
            if ahead > 0 {
                // Someone else has taken this position; the acquire above makes a tail beyond it visible.
                position = self.tail.load(Ordering::Relaxed);
                continue;
            }
            let next = position.wrapping_add(1);
            // Relaxed: the tail only shares out positions, the stamps carry the values.
            match self.tail.compare_exchange_weak(position, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(position),
                Err(moved) => position = moved,
            }
        }
    }

    /// Puts a value into a claimed slot and stamps it filled.
    ///
    /// # Safety
    /// `position` came from `claim`, to this caller, and has not been filled.
    #[inline]
    unsafe fn fill(&self, position: usize, value: T) {
        let slot = self.slot(position);
        slot.value.with_mut(|cell| {
            // SAFETY: the caller owns the slot between claim and stamp.
            unsafe { (*cell).write(value) };
        });
        slot.stamp.store(position.wrapping_add(1), Ordering::Release);
    }

    /// Moves the value of `position` out, if it is there, and stamps the slot free for the next lap.
    ///
    /// # Safety
    /// One caller at a time, `position` being one past the last that was taken.
    #[inline]
    unsafe fn take(&self, position: usize) -> Option<T> {
        if !self.is_filled(position) {
            return None;
        }
        let slot = self.slot(position);
        // SAFETY: filled, so initialised, and the consumer's until the stamp below.
        let value = slot.value.with(|cell| unsafe { (*cell).assume_init_read() });
        slot.stamp.store(position.wrapping_add(self.slots.len()), Ordering::Release);
        Some(value)
    }

    #[inline]
    fn is_filled(&self, position: usize) -> bool {
        self.slot(position).stamp.load(Ordering::Acquire) == position.wrapping_add(1)
    }

    #[inline]
    fn slot(&self, position: usize) -> &Slot<T> {
        // The number of slots is a power of two, so this is in bounds, and the compiler sees that it is.
        &self.slots[position & (self.slots.len() - 1)]
    }

    fn len(&self) -> usize {
        // Two reads at two moments: the difference is clamped to what can be.
        let head = self.head.load(Ordering::Relaxed);
        let ahead = self.tail.load(Ordering::Relaxed).wrapping_sub(head).cast_signed();
        usize::try_from(ahead).unwrap_or(0).min(self.slots.len())
    }
}

impl<T> Drop for Ring<T> {
    /// Drops what came after the receiver went.
    fn drop(&mut self) {
        let tail = self.tail.load(Ordering::Relaxed);
        let mut position = self.head.load(Ordering::Relaxed);
        while position != tail {
            // SAFETY: `&mut self`: no handle is left, so this is the one taker.
            drop(unsafe { self.take(position) });
            position = position.wrapping_add(1);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn quiet<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        inbox(capacity, Doorbell::new(|| {}))
    }

    #[test]
    fn a_full_inbox_gives_the_value_back_and_takes_it_later() {
        let (sender, mut receiver) = quiet(2);
        sender.try_send(1).expect("room");
        sender.try_send(2).expect("room");
        assert_eq!(sender.try_send(3), Err(SendError::Full(3)));
        assert_eq!((sender.len(), sender.capacity()), (2, 2));
        assert_eq!(receiver.pop(), Some(1));
        sender.try_send(3).expect("room again");
        assert_eq!((receiver.pop(), receiver.pop(), receiver.pop()), (Some(2), Some(3), None));
        assert!(receiver.is_empty() && sender.is_empty());
    }

    #[test]
    fn a_dropped_receiver_closes_the_inbox_and_drops_what_waits() {
        let (sender, receiver) = quiet(4);
        let value = Arc::new(());
        sender.try_send(value.clone()).expect("room");
        drop(receiver);
        assert_eq!(Arc::strong_count(&value), 1, "not held until the senders go");
        assert!(sender.is_closed());
        assert!(sender.try_send(value).expect_err("closed").is_closed());
    }

    #[test]
    fn the_receiver_learns_that_every_sender_is_gone() {
        let (sender, mut receiver) = quiet(2);
        let second = sender.clone();
        drop(sender);
        assert!(!receiver.is_closed());
        second.try_send(7).expect("room");
        drop(second);
        assert!(receiver.is_closed());
        assert_eq!((receiver.pop(), receiver.pop()), (Some(7), None));
    }

    #[test]
    fn a_slot_costs_the_value_and_one_word() {
        assert_eq!(size_of::<Slot<u64>>(), 16);
        assert_eq!(size_of::<Slot<[u64; 5]>>(), 48);
    }
}
