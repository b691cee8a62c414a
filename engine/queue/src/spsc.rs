//! One producer, one consumer: the bounded ring from one shard to one worker.
//!
//! Why: a sealed batch goes to every worker. With a ring per pair no word is written by two threads, and a
//! worker that lags fills its own ring only.
//!
//! Algorithm: Leslie Lamport's ring, with cached indices, as the `rtrb` crate has them. Positions count up
//! for ever; the slot of a position is its low bits. Each side owns one index and publishes it with release;
//! it reads the other's (acquire, a cache miss) only when its remembered copy says that the ring is full, or
//! empty.
//!
//! Invariant: exactly the slots of `head..tail` are initialised, and `tail - head` never exceeds the number
//! of slots.
//! Invariant: only the producer moves `tail`, only the consumer moves `head`; a remembered copy is never
//! ahead of the truth.
//!
//! Not here: sharing one value among many rings (send an `Arc`), waiting for space.

#![allow(unsafe_code)]

use std::fmt;
use std::mem::MaybeUninit;

use crossbeam::utils::CachePadded;

use crate::doorbell::Doorbell;
use crate::error::SendError;
use crate::slots_for;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell};

/// A ring for at least `capacity` values (rounded up to a power of two, at least 2) whose pushes ring `bell`.
/// A consumer shares its one bell among all the rings that it reads.
pub fn channel<T>(capacity: usize, bell: Arc<Doorbell>) -> (Producer<T>, Consumer<T>) {
    let ring = Arc::new(Ring::new(slots_for(capacity), bell));
    let producer = Producer { ring: ring.clone(), tail: 0, head_seen: 0 };
    (producer, Consumer { ring, head: 0, tail_seen: 0 })
}

/// The pushing side.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    // The authoritative tail; `Ring::tail` is its published copy.
    tail: usize,
    // The consumer's head when last read.
    head_seen: usize,
}

/// The popping side.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    // The authoritative head; `Ring::head` is its published copy.
    head: usize,
    // The producer's tail when last read.
    tail_seen: usize,
}

impl<T> Producer<T> {
    /// Pushes `value` and rings the bell if the consumer sleeps. Never blocks.
    ///
    /// # Errors
    /// [`SendError::Full`] if every slot holds a value, [`SendError::Closed`] if the consumer is gone; the
    /// value is inside. A value pushed while the consumer is being dropped may be accepted; it is dropped
    /// with the producer.
    #[inline]
    pub fn try_push(&mut self, value: T) -> Result<(), SendError<T>> {
        if self.is_closed() {
            return Err(SendError::Closed(value));
        }
        if !self.has_room() {
            return Err(SendError::Full(value));
        }
        // SAFETY: this is the only producer, and there is room at `tail`.
        unsafe { self.ring.write(self.tail, value) };
        self.tail = self.tail.wrapping_add(1);
        self.ring.tail.store(self.tail, Ordering::Release);
        self.ring.bell.ring();
        Ok(())
    }

    /// How many pushes will find room, at least: only the consumer can change it, and only upwards.
    pub fn free(&self) -> usize {
        // Relaxed: only a count; the push that finds the ring full by its copy reads the head again.
        let head = self.ring.head.load(Ordering::Relaxed);
        self.capacity() - self.tail.wrapping_sub(head)
    }

    /// How many values fit.
    pub fn capacity(&self) -> usize {
        self.ring.slots.len()
    }

    /// Whether the consumer is gone.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.ring.consumer_gone.load(Ordering::Relaxed)
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        let full = self.ring.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == full {
            // Acquire: the consumer has moved the old value out before it published this head.
            self.head_seen = self.ring.head.load(Ordering::Acquire);
        }
        self.tail.wrapping_sub(self.head_seen) != full
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest value, if there is one.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            // Acquire: the producer has written the value before it published this tail.
            self.tail_seen = self.ring.tail.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                return None;
            }
        }
        // SAFETY: this is the only consumer, and `head` is before a tail that was published.
        let value = unsafe { self.ring.read(self.head) };
        self.head = self.head.wrapping_add(1);
        self.ring.head.store(self.head, Ordering::Release);
        Some(value)
    }

    /// Whether a pop would find nothing now.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many pops will find a value, at least: only the producer can change it, and only upwards.
    #[inline]
    pub fn len(&self) -> usize {
        // Relaxed: only a count; the pop that finds the ring empty by its copy reads the tail again.
        self.ring.tail.load(Ordering::Relaxed).wrapping_sub(self.head)
    }

    /// How many values fit.
    pub fn capacity(&self) -> usize {
        self.ring.slots.len()
    }

    /// Whether the producer is gone. If so, the values that pops still find are the last. The producer rings
    /// as it goes.
    pub fn is_closed(&self) -> bool {
        self.ring.producer_gone.load(Ordering::Acquire)
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // Release, so that a consumer that reads it also sees every push. (The bell's fence in each push
        // would do, too.)
        self.ring.producer_gone.store(true, Ordering::Release);
        self.ring.bell.ring();
    }
}

impl<T> Drop for Consumer<T> {
    /// Drops what is there, so that it is not held for as long as the producer lives.
    fn drop(&mut self) {
        self.ring.consumer_gone.store(true, Ordering::Relaxed);
        while let Some(value) = self.pop() {
            drop(value);
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("free", &self.free()).field("capacity", &self.capacity()).finish()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("len", &self.len()).field("capacity", &self.capacity()).finish()
    }
}

/// What the two sides share.
struct Ring<T> {
    // The next position to write; stored by the producer.
    tail: CachePadded<AtomicUsize>,
    // The next position to read; stored by the consumer.
    head: CachePadded<AtomicUsize>,
    // From here on nothing changes while the ring is in use, so the lines stay shared in both cores' caches.
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    bell: Arc<Doorbell>,
    producer_gone: AtomicBool,
    consumer_gone: AtomicBool,
}

// SAFETY: the ring hands values from thread to thread, so `T: Send`; it never lends one, so `T: Sync` is not
// needed. The cells are reached only by the one side that owns them, which the indices tell.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    fn new(slots: usize, bell: Arc<Doorbell>) -> Self {
        Self {
            tail: CachePadded::new(AtomicUsize::new(0)),
            head: CachePadded::new(AtomicUsize::new(0)),
            slots: (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            bell,
            producer_gone: AtomicBool::new(false),
            consumer_gone: AtomicBool::new(false),
        }
    }

    /// # Safety
    /// By the producer, at a position that is `tail`, in a ring that is not full.
    #[inline]
    unsafe fn write(&self, position: usize, value: T) {
        self.slot(position).with_mut(|cell| {
            // SAFETY: outside `head..tail` a slot is the producer's.
            unsafe { (*cell).write(value) };
        });
    }

    /// # Safety
    /// By the consumer, once for each position, in `head..tail`.
    #[inline]
    unsafe fn read(&self, position: usize) -> T {
        // SAFETY: inside `head..tail` a slot is initialised and the consumer's.
        self.slot(position).with(|cell| unsafe { (*cell).assume_init_read() })
    }

    #[inline]
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        // The number of slots is a power of two, so this is in bounds.
        &self.slots[position & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Ring<T> {
    /// Drops what came after the consumer went.
    fn drop(&mut self) {
        let tail = self.tail.load(Ordering::Relaxed);
        let mut position = self.head.load(Ordering::Relaxed);
        while position != tail {
            // SAFETY: `&mut self`: neither side is left, so this is the one reader.
            drop(unsafe { self.read(position) });
            position = position.wrapping_add(1);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn quiet<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
        channel(capacity, Doorbell::new(|| {}))
    }

    #[test]
    fn a_full_ring_gives_the_value_back_and_takes_it_later() {
        let (mut producer, mut consumer) = quiet(2);
        assert_eq!(producer.free(), 2);
        producer.try_push(1).expect("room");
        producer.try_push(2).expect("room");
        assert_eq!(producer.try_push(3), Err(SendError::Full(3)));
        assert_eq!((producer.free(), consumer.len()), (0, 2));
        assert_eq!(consumer.pop(), Some(1));
        assert_eq!(producer.free(), 1);
        producer.try_push(3).expect("room again");
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(2), Some(3), None));
        assert!(consumer.is_empty());
    }

    #[test]
    fn a_dropped_consumer_closes_the_ring_and_drops_what_waits() {
        let (mut producer, consumer) = quiet(4);
        let value = Arc::new(());
        producer.try_push(value.clone()).expect("room");
        drop(consumer);
        assert_eq!(Arc::strong_count(&value), 1, "not held until the producer goes");
        assert!(producer.try_push(value).expect_err("closed").is_closed());
    }

    #[test]
    fn the_consumer_learns_that_the_producer_is_gone() {
        let (mut producer, mut consumer) = quiet(2);
        producer.try_push(7).expect("room");
        assert!(!consumer.is_closed());
        drop(producer);
        assert!(consumer.is_closed());
        assert_eq!((consumer.pop(), consumer.pop()), (Some(7), None));
    }

    #[test]
    fn a_slot_costs_the_value_alone() {
        assert_eq!(size_of::<UnsafeCell<MaybeUninit<u64>>>(), 8);
    }
}
