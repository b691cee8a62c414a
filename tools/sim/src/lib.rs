//! A whole node and its audience in one process, in virtual time, from a seed; and a checker of everything it
//! promises.
//!
//! Why: what goes wrong between a crash, a slow viewer and a full queue does so once in a hundred thousand
//! times, and can't be seen again. Here the real cores (shards, audiences, client sessions) run in a world in
//! which every delay, break and death is drawn from a seed, so that a fault found once is found again, and
//! made small.
//!
//! - [`plan`], [`story`]: the world of a seed, and what happens in it, as a list of steps;
//! - [`world`]: plays it, over [`process`] (a node's threads and queues), [`client`] (an app over the client
//!   core), [`disk`] and the network;
//! - [`checker`]: what must hold, independent of the code under test;
//! - [`shrink`]: leaves out of a story what its fault does not need; [`fleet`]: many seeds.
//!
//! Not here: sockets, threads, real disks (`cargo xtask soak`).
#![forbid(unsafe_code)]

pub mod checker;
pub mod client;
pub mod disk;
pub mod fleet;
pub mod plan;
pub mod process;
pub mod random;
pub mod shrink;
pub mod story;
pub mod world;
