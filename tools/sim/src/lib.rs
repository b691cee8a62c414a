//! The simulator: the real cores of nodes and clients in one process, in virtual time, from a seed, with a
//! checker of everything that they promise.
//!
//! Why: a fault between a crash, a slow viewer and a full queue shows once in a hundred thousand times, and
//! cannot be seen again. Here the real cores (shards, audiences, client sessions) run in a world in which
//! every delay, break and death is drawn from a seed. A fault that was found once is found again, and made
//! small.
//!
//! A world has one to three nodes. Each has processes, a disk and a clock of its own. They know nothing of
//! each other, or they are one cluster: then rooms and viewers are everybody's, and shards move.
//!
//! - [`plan`], [`story`]: the world of a seed, and what happens in it, as a list of steps;
//! - [`world`]: plays a story; [`queue`]: events in virtual time; [`network`]: connections;
//! - [`process`]: a node's threads and queues; [`disk`]: what a node's log keeps; [`client`]: an app over the
//!   client core;
//! - `cluster`: what joins the nodes of a cluster, servers and logs;
//! - [`checker`]: what must hold, independent of the code under test;
//! - [`shrink`]: leaves out of a story what its fault does not need; [`fleet`]: many seeds.
//!
//! Not here: sockets, threads, real disks (`cargo xtask soak`).
#![forbid(unsafe_code)]

pub mod checker;
pub mod client;
mod cluster;
pub mod disk;
pub mod fleet;
pub mod network;
mod node;
mod people;
pub mod plan;
#[cfg(feature = "planted")]
pub mod planted;
pub mod process;
pub mod queue;
pub mod random;
mod scene;
pub mod shrink;
pub mod story;
mod verdict;
pub mod world;
