//! Frames between the owner of a shard and a node that follows it.
//!
//! Why an item for everything: a frame is a queue's content at one moment, in its order.
//! Invariants: the numbers of a direction's frames rise by one within a term, from 1. A frame that begins a
//! run makes everything before it unimportant: its sender restates all of it from there on.
//! Not here: the bytes, and the order of frames at their receiver (`receiver`).

use grandstand_engine::link::{Input, Output, WorkerId};
use grandstand_engine::log::HandedRoom;

use crate::id::{Incarnation, NodeId, Position, Term};
use crate::seat::ShownEntry;

/// From a node that follows a shard to the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpFrame {
    /// The node that follows.
    pub node: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
    /// The owner's term, as the node knows it.
    pub term: Term,
    /// The number of the frame in this term, from 1.
    pub seq: u64,
    /// Does it begin a run?
    pub begins: bool,
    /// What it says, in order.
    pub items: Vec<UpItem>,
    /// Items of later releases that were passed over at decoding. Encoding ignores this.
    pub passed_over: u32,
}

/// See [`UpFrame`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpItem {
    /// An input of one of the node's workers, or of the node itself.
    Input(Input),
    /// The node missed frames: say everything again.
    Restate {
        /// The term of the last entry that the node has.
        have_term: Term,
        /// The index of that entry; 0: none of the term.
        have_index: u64,
    },
}

/// From the owner of a shard to a node that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownFrame {
    /// The owner.
    pub node: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
    /// Under which term.
    pub term: Term,
    /// The number of the frame for this receiver in this term, from 1.
    pub seq: u64,
    /// Does it begin a run?
    pub begins: bool,
    /// What it says, in order.
    pub items: Vec<DownItem>,
    /// Items of later releases that were passed over at decoding. Encoding ignores this.
    pub passed_over: u32,
}

/// See [`DownFrame`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownItem {
    /// An entry, before or as anybody sees it.
    Entry(ShownEntry),
    /// The answer to [`UpItem::Restate`]: the entries from here on follow, and then every room that the node
    /// follows.
    Restated {
        /// Of which term.
        term: Term,
        /// The index of the first of them.
        first: u64,
    },
    /// Entries are in the log.
    Kept {
        /// Of which term.
        term: Term,
        /// Up to which index.
        through: u64,
        /// In which record.
        position: Position,
    },
    /// An output for some of the node's workers.
    Output {
        /// Which: at least one, each once.
        workers: Box<[WorkerId]>,
        /// The output.
        output: Output,
    },
    /// The owner missed frames of the node: the node must say everything again.
    Restate,
    /// The node is to own the shard next: a room, or a part of one, as this owner's memory has it at its end.
    Handed(Box<HandedRoom>),
}
