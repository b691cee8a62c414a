//! Orders: what an operator asks of a node, whichever node was asked first.
//!
//! Why between nodes: an operator must not have to find the owner of a shard first, which may change while
//! they look.
//! Invariant: an order is answered once: it was taken, or why not. Whether it is carried out shows in the log
//! and in heartbeats, at every node.
//! Not here: who carries it out (`stand`), the bytes (`link`).

use std::fmt;

use grandstand_engine::link::ShardId;

use crate::id::NodeId;

/// See the file's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To the owner of a shard: hand it over.
    HandOver {
        /// The shard.
        shard: ShardId,
        /// To which node.
        to: NodeId,
    },
    /// Give all shards away, and get none.
    Drain,
    /// The drain is over: own shards again.
    Serve,
}

/// Whether an order was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Why it was not.
    pub refused: Option<String>,
}

impl Outcome {
    /// It was not taken.
    #[must_use]
    pub fn refused(why: impl fmt::Display) -> Self {
        Outcome { refused: Some(why.to_string()) }
    }
}

/// Why an owner does not hand a shard over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOverRefusal {
    /// Another node owns the shard, or none.
    NotOwner(Option<NodeId>),
    /// No majority hears the owner.
    Frozen,
    /// It is being handed over already.
    Handing(NodeId),
    /// The node owns it.
    Itself(NodeId),
    /// The other node is not heard.
    NotHeard(NodeId),
    /// The other node drains.
    Drains(NodeId),
    /// The other node can own no shard.
    CannotOwn(NodeId),
    /// The other node's copy is so many records behind.
    Behind(NodeId, u64),
}

impl fmt::Display for HandOverRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandOverRefusal::NotOwner(Some(owner)) => write!(f, "{owner} owns the shard now: ask again"),
            HandOverRefusal::NotOwner(None) => write!(f, "no node owns the shard: ask again in a second"),
            HandOverRefusal::Frozen => {
                write!(f, "no majority of nodes hears the owner: ask again when they are back")
            }
            HandOverRefusal::Handing(to) => write!(f, "the shard is being handed over to {to} already"),
            HandOverRefusal::Itself(node) => write!(f, "{node} owns the shard already"),
            HandOverRefusal::NotHeard(node) => write!(f, "{node} is not heard by the owner: start it first"),
            HandOverRefusal::Drains(node) => {
                write!(f, "{node} drains: end that by `grandstand cluster drain {} --undo`", node.0)
            }
            HandOverRefusal::CannotOwn(node) => {
                write!(f, "{node} can own no shard now: `grandstand cluster status` there says why")
            }
            HandOverRefusal::Behind(node, records) => {
                write!(f, "{node} is {records} records behind in the shard's log: ask again when it has them")
            }
        }
    }
}

impl std::error::Error for HandOverRefusal {}
