//! Models of the durable log, the backbone, the clock and a replicated stream. Tests, the simulator and the
//! micro benches put them around the cores of the engine and the edge.
//!
//! Why a crate: three test suites and the simulator drive the same cores. If each wrote a model of its own,
//! each model would promise something else.
//! Invariants: a model checks what it is given: entries that do not continue a room's log are broken promises
//! (a panic). It reads no clock, and draws only from what it is given, so the calls determine the results.
//! Not here: what a test expects; SQLite (`grandstand-store`); network faults (`grandstand-sim`).
//!
//! This crate is a dependency of tests and tools only. It switches the engine's feature `test-support` on,
//! which adds `ShardConfig::for_tests` and `EngineConfig::for_tests`.
#![forbid(unsafe_code)]

mod clock;
mod disk;
mod inboxes;
mod stored;
pub mod stream;

pub use clock::Clock;
pub use disk::{Disk, DiskLog};
pub use inboxes::Inboxes;
pub use stored::{StoredLog, under_alias};
