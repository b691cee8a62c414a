//! Rooms: takes publications, seals batches, keeps logs.
//!
//! Why a crate of its own: what a room is does not depend on who is connected how. Edges see the vocabulary
//! in [`message`], a [`backbone::Backbone`] to send it by, and a [`node::WorkerPort`] to hear from.
//!
//! - the core, which knows no clock, thread, lock or socket: [`shard`] (the entry: `handle_*` in, `poll_*`
//!   out) over `room`, its lanes `chat`, `state` and `tallies`, what stands at its door (`admission`,
//!   `nonces`, `slow_mode`), its `viewers`, its `tick`, its `seal` and its `log`;
//! - around it: [`backbone`] (how inputs find their shard), [`admin`] (one request to one or all shards),
//!   [`node`] (threads, queues and clocks).
//!
//! - beside it: [`durable`] (what a shard asks of a log that outlives the process).
//!
//! Invariant: the core is a function of its inputs, the times passed in and the seed.
//! Not here: connections, sessions, cursors, fan-out (edge), bytes of frames (protocol), lock-free queues
//! (queue).
#![forbid(unsafe_code)]

pub mod admin;
pub mod admission;
pub mod backbone;
mod chat;
pub mod config;
mod counters;
pub mod durable;
pub mod log;
pub mod message;
pub mod node;
mod nonces;
mod outbox;
mod pacing;
pub mod placement;
mod room;
pub mod room_settings;
mod rooms;
mod seal;
pub mod shard;
mod slow_mode;
mod state;
mod tallies;
mod tick;
mod timers;
mod viewers;

pub use admission::{check_room_name, check_text};
pub use backbone::Backbone;
pub use config::ShardConfig;
pub use node::{Engine, EngineConfig, WorkerPort};
pub use room_settings::RoomSettings;
pub use shard::Shard;
pub use state::{SLOW_MODE_KEY, VIEWERS_KEY};
