//! The engine: rooms and the shards that own them. It takes publications, seals batches and keeps logs.
//!
//! Why a crate of its own: what a room is does not depend on how clients are connected. Edges see the
//! vocabulary in [`link`], a [`Backbone`] to which they submit inputs, and a [`WorkerPort`] from which they
//! take outputs.
//!
//! - [`link`]: what passes between edges and shards;
//! - [`log`]: the log in memory, and the contract of a log that outlives the process;
//! - `room`: one room: its lanes `chat`, `state` and `tallies`, what judges publications (`judge`, `nonces`,
//!   `slow_mode`), its `viewers`, its `tick`, its `seal` and its `pacing`;
//! - `moderation`: what moderators did in a room, and what follows;
//! - [`shard`]: a set of rooms, `handle_*` in, `poll_*` out;
//! - [`filter`]: the word lists that all shards ask;
//! - [`runtime`]: threads, queues and clocks around shards.
//!
//! Arrows point one way: `runtime` to `shard` to `room` to `log` to `link`; all may use [`config`], and it
//! [`filter`].
//! Invariant: everything but `runtime` is a function of its inputs, the times passed in and the seed.
//! Not here: connections, sessions, cursors, fan-out (edge), bytes of frames (protocol), lock-free queues
//! (queue).
#![forbid(unsafe_code)]

pub mod config;
pub mod filter;
pub mod link;
pub mod log;
mod moderation;
mod room;
pub mod runtime;
pub mod shard;

pub use config::ShardConfig;
pub use link::{Backbone, RoomSettings};
pub use room::check_reserved;
pub use room::show::{Calendar, Schedule, ShowTimes};
pub use room::state::{SLOW_MODE_KEY, VIEWERS_KEY};
pub use runtime::{Engine, EngineConfig, WorkerPort};
pub use shard::{Shard, counters::counter_name, handing::take_rooms};
