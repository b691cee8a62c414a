//! The cluster: how several nodes agree on the owner of a shard and on the records of its log, and what a
//! node does as an owner and as a follower.
//!
//! Why a crate of its own: ownership, leases and the log's validity are decisions, and decisions are tested
//! in virtual time. Nothing here reads a clock, starts a thread or knows a socket: inputs, the node's own
//! time and the answers of the log go in, and what to do comes out.
//! Invariants: the last valid term record of a shard's log names its owner, and nothing else does. A record
//! is kept when the log said so for exactly its bytes, and a kept record is valid for every reader.
//! Not here: NATS (`grandstand-nats`), threads and sockets (the node), what an entry means
//! (`grandstand-store`).

pub mod appender;
pub mod flight;
pub mod house;
pub mod id;
pub mod link;
pub mod log_watch;
pub mod membership;
pub mod order;
pub mod placement;
#[cfg(any(test, feature = "planted"))]
pub mod planted;
#[cfg(not(any(test, feature = "planted")))]
#[allow(unreachable_pub, reason = "the same source is public where faults can be planted")]
mod planted;
pub mod record;
pub mod seat;
pub mod stand;
pub mod time;

// `cargo xtask schema --check` compares this file with the compiled schema, byte by byte, so nothing may
// reformat it.
#[rustfmt::skip]
#[allow(unsafe_code, unsafe_op_in_unsafe_fn, missing_docs, unreachable_pub, dead_code, deprecated, unused_imports, mismatched_lifetime_syntaxes, clippy::all, clippy::undocumented_unsafe_blocks)]
#[path = "generated/cluster.rs"]
mod generated_code;
use generated_code::grandstand::cluster as generated;

// The bodies of fuzz targets name the crate, and are tests of it too.
#[cfg(test)]
extern crate self as grandstand_cluster;
#[cfg(test)]
mod tests;
