//! House: what nodes tell each other that concerns no shard: bans, and what they share of people.
//!
//! Why no log: an order of an operator is for every node at once, also while nothing can be appended
//! anywhere. Bans are merged, and the rest is news whose loss costs a moment.
//! Not here: what a ban does (`grandstand_edge`), the bytes (`link::house`).

use crate::id::{Incarnation, NodeId};

/// A ban or a revocation, lifted or not, as nodes tell each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ban {
    /// What is ended: 1 a user, 2 a session, 3 a token.
    pub kind: u8,
    /// Which.
    pub id: u64,
    /// When it was decided, microseconds since 1970.
    pub stamp_us: u64,
    /// When the entry ends, milliseconds since 1970.
    pub until_ms: u64,
    /// It is lifted.
    pub is_lifted: bool,
    /// What is ended, as the operator wrote it.
    pub name: Box<str>,
    /// Why.
    pub reason: Box<str>,
}

/// A message to all nodes, or to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HouseMessage {
    /// From whom.
    pub node: NodeId,
    /// From which life of it.
    pub incarnation: Incarnation,
    /// An answer is wanted, with this number; 0: none is.
    pub asks: u64,
    /// It answers what was asked with this number: everything of it is in force. 0: it answers nothing.
    pub answers: u64,
    /// Bans.
    pub bans: Vec<Ban>,
    /// What people took of their limits: who, of which kind, how many.
    pub taken: Vec<(u64, u8, u32)>,
    /// Sessions that came to the node.
    pub moved: Vec<u64>,
}

impl HouseMessage {
    /// Of a node, about nothing yet.
    #[must_use]
    pub fn of(node: NodeId, incarnation: Incarnation) -> Self {
        let (bans, taken, moved) = (Vec::new(), Vec::new(), Vec::new());
        HouseMessage { node, incarnation, asks: 0, answers: 0, bans, taken, moved }
    }
}

/// Bans in one message: each is a table with two texts of 256 bytes.
pub const BANS_PER_MESSAGE: usize = 1_000;
