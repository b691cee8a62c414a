//! The house, as the network's thread sees it: the node's part that concerns no shard.
//!
//! Invariants: nothing here waits: the thread has all shards to serve.
//! Not here: subjects and the bucket (`driver::house`), what a ban does (the node).

use grandstand_cluster::house::{Ban, HouseMessage};
use tokio::sync::oneshot;

/// What the thread asks of the node.
pub trait House: Send + Sync {
    /// How many connections the node has. Asked with each heartbeat.
    fn load(&self) -> u32;
    /// Equal for nodes that know the same bans.
    fn digest(&self) -> u64;
    /// All bans, lifted ones too.
    fn bans(&self) -> Vec<Ban>;
    /// What another node said. When this returns, it is in force.
    fn handle(&self, message: &HouseMessage);
    /// What people took here since the last call, and which sessions came.
    fn news(&self) -> (Vec<(u64, u8, u32)>, Vec<u64>);
}

/// What the node wants of the thread.
#[derive(Debug)]
pub enum ToNodes {
    /// Tell all nodes of these. Each answers by a message that answers `asks`.
    Bans {
        /// At most as many as one message takes.
        bans: Vec<Ban>,
        /// Not 0.
        asks: u64,
    },
    /// Put one into the cluster's bucket.
    Keep {
        /// What it ends.
        kind: u8,
        /// Which.
        id: u64,
        /// It is there.
        kept: oneshot::Sender<()>,
    },
}
