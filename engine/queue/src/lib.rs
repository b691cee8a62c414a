//! Grandstand's lock-free parts: the bounded rings and the wake-ups between workers (threads that hold
//! connections) and shards (threads that own rooms).
//!
//! | part | shape | algorithm |
//! |---|---|---|
//! | [`mod@inbox`] | many producers, one consumer | Vyukov's bounded queue: a sequence stamp in each slot |
//! | [`spsc`] | one producer, one consumer | Lamport's ring, each side with a cached copy of the other's index |
//! | [`doorbell`] | many ringers, one sleeper | Dekker's store-then-load on one word, `SeqCst` fences on both sides |
//! | [`parker`] | the doorbell of a thread that sleeps in `std::thread::park` | one `unpark` per park |
//! | [`mod@prefetch`] | a hint to the CPU | one prefetch per cache line |
//!
//! **Which queue is used where.** Workers send publications to a shard through its inbox. A shard sends
//! sealed batches to each worker through one `spsc` channel per pair. The ring carries a reference to the
//! batch, so fan-out from one shard to many workers has no contended word at all. A consumer owns one
//! [`Doorbell`], shared by all the rings that it reads.
//!
//! **A full ring answers at once.** Nothing here blocks, grows, or drops. A push into a full ring gives the
//! value back in [`SendError::Full`], and the caller decides: refuse the client, count and skip, or try at
//! the next turn. A push to a consumer that is gone gives the value back in [`SendError::Closed`].
//!
//! **Order.** Values of one producer arrive in the order in which it pushed them. Values of several producers
//! arrive in the order in which the producers claimed slots.
//!
//! **Memory.** All of it is allocated when the ring is made. Capacities are rounded up to a power of two, at
//! least 2; `capacity()` tells the real one. With `T` of size *s* and alignment *a*, a slot costs *s* bytes
//! in `spsc` and *s* + 8, rounded up to a multiple of max(*a*, 8), in `inbox`; an inbox of 1,024 references
//! is 16 KiB. Beside the slots a ring costs two padded indices (128 bytes each on `x86_64`) and a few words.
//!
//! **Cost of a push.** One claim (inbox only), one store, and the bell's fence; a system call only if the
//! consumer sleeps, and then for one producer only.
//!
//! **Own code rather than crossbeam's queues**, because loom cannot see into those, and the doorbell's proof
//! spans the ring's publishing store. crossbeam gives them the padding of their indices; its queues and
//! channels serve the control plane (`grandstand-store`).
//!
//! **Checks.** Every atomic, cell and park goes through one private module (`sync`), which loom replaces:
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p grandstand-queue --release --lib` runs
//! the models in `loom_tests`. `tests/properties.rs` compares the rings with a `VecDeque`, `tests/stress.rs`
//! runs them on real threads. The counts shrink under miri: `cargo +nightly miri test -p grandstand-queue`.
//!
//! Invariant: this is the only crate of the workspace with hand-written `unsafe` code, and only
//! [`mod@inbox`], [`spsc`] and [`mod@prefetch`] have any.
//! Not here: the type of the values (generic), what to do when a ring is full (the caller), waiting for free
//! space (poll at the next turn).

#![deny(unsafe_code)]

pub mod doorbell;
pub mod error;
pub mod inbox;
pub mod parker;
pub mod prefetch;
pub mod spsc;
mod sync;

#[cfg(all(test, loom))]
mod loom_tests;

pub use doorbell::Doorbell;
pub use error::SendError;
pub use inbox::{Receiver, Sender, inbox};
pub use parker::{Parker, thread_bell};
pub use prefetch::prefetch;

/// The number of slots of a ring for `capacity` values: the next power of two, so that masking a position
/// gives its slot. It is at least 2, since with one slot the inbox's stamps "filled" and "free again" are the
/// same number.
fn slots_for(capacity: usize) -> usize {
    capacity.max(2).next_power_of_two()
}

#[cfg(test)]
mod tests {
    #[test]
    fn capacity_rounds_up_to_a_power_of_two_and_never_below_two() {
        for (asked, given) in [(0, 2), (1, 2), (2, 2), (3, 4), (1000, 1024), (1024, 1024)] {
            assert_eq!(super::slots_for(asked), given);
        }
    }
}
