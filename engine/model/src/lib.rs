//! Models of the durable log, the backbone and the clock: what the engine's and the edge's cores have around
//! them in tests, in the simulator and in the micro benches.
//!
//! Why a crate: three test suites and the simulator drive the same cores, and a model that each of them had
//! written would promise something else each time.
//! Invariants: a model takes nothing for granted: entries that do not continue a room's log are broken
//! promises (a panic). It reads no clock and draws no random number: what happens is a function of the calls.
//! Not here: what a test expects; SQLite (`grandstand-store`); network faults (`grandstand-sim`).
//!
//! This crate is a dependency of tests and tools only. It switches the engine's feature `test-support` on,
//! which adds `ShardConfig::for_tests` and `EngineConfig::for_tests`.
#![forbid(unsafe_code)]

mod clock;
mod disk;
mod inboxes;
mod stored;

pub use clock::Clock;
pub use disk::{Disk, DiskLog};
pub use inboxes::Inboxes;
pub use stored::{StoredLog, under_alias};
