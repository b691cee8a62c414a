//! Stand: one shard of a cluster at one node, whether the node owns the shard or follows it.
//!
//! Why one object for both: workers submit to the shard's inbox and read its outputs, and must not notice who
//! owns the shard.
//! Not here: who owns the shard (`seat`), the network (`wire` is its border).

mod wire;

pub use wire::{Arrived, FromWire, ToWire, Wire};
