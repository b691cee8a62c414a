//! Messages and outputs of a seat: what it asks, answers and tells its driver.
//!
//! Why plain data: the driver encodes them for a network, a test carries them in virtual time.
//! Not here: when each is sent (`Seat`).

use std::fmt;

use bytes::Bytes;

use crate::appender::PushRefusal;
use crate::flight::Append;
use crate::id::{Incarnation, NodeId, Position, Term};
use crate::record::{ChainHead, Record, VoidCause};
use crate::time::PeerTime;

/// A node asks for promises of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who would own the shard.
    pub candidate: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
    /// Under which term.
    pub term: Term,
    /// When it asked, by its own clock; the answer returns it.
    pub sent: PeerTime,
}

/// An entry that an owner showed, with its index in the term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownEntry {
    /// Of which term.
    pub term: Term,
    /// Its index: entries of a term are counted from 1.
    pub index: u64,
    /// Its bytes, with their length in front.
    pub bytes: Bytes,
}

/// The answer to [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who answers.
    pub from: NodeId,
    /// To which term.
    pub term: Term,
    /// When it was asked, by the candidate's clock.
    pub asked: PeerTime,
    /// What it says.
    pub verdict: AnswerVerdict,
}

/// What a node says to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerVerdict {
    /// It promises: nothing of a lower term reaches its viewers any more. With it go the entries that it
    /// showed and does not know to be kept.
    Promised(Vec<ShownEntry>),
    /// It hears the owner, or the node that it promised.
    Hears(NodeId),
    /// It started too recently: it may have supported the owner in its last life, and does not know the log.
    NotReady,
    /// The term is not higher than one that it knows.
    OldTerm(Term),
}

/// Why a node stops owning a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The log has a higher term.
    Replaced,
    /// It handed the shard over.
    HandedOver,
    /// No majority supports its term any more: it must claim again.
    Unsupported,
    /// It was told to.
    Abdicated,
    /// The log has a record of a later release, so nothing can follow it from here.
    NotUnderstood,
    /// The log has lost records that this node has.
    Forgotten,
}

/// What a driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send to all other nodes.
    AskAll(Ask),
    /// Send to one node.
    Answer {
        /// Whom.
        to: NodeId,
        /// What.
        answer: Answer,
    },
    /// Read messages by the stream's leader, from this position to its end.
    Read {
        /// The first.
        from: Position,
    },
    /// Append to the log.
    Append(Append),
    /// Tell all other nodes that the log has a term.
    Announce {
        /// Which.
        term: Term,
        /// Where.
        position: Position,
    },
    /// A valid record, in the order of the log, and the chain's head behind it: apply it to the copy.
    Apply(Record, ChainHead),
    /// A message of the log is void. Raise an alarm if that is not expected of a sound log.
    Void {
        /// Where.
        position: Position,
        /// Why.
        cause: VoidCause,
    },
    /// The log has a record of a later release: this node cannot follow any further.
    NotUnderstood {
        /// Where.
        position: Position,
    },
    /// This node owns the shard: start its rooms. Entries that are adopted were applied before.
    Own {
        /// Under which term.
        term: Term,
    },
    /// This node no longer owns the shard.
    Stop {
        /// Which term ended.
        term: Term,
        /// Why.
        cause: StopCause,
    },
    /// Take nothing and show nothing: no majority hears this node.
    Freeze,
    /// Go on.
    Thaw,
    /// Entries are kept: answer their publishers, tell the other nodes.
    Kept {
        /// Of which term.
        term: Term,
        /// Up to which index.
        through: u64,
        /// In which record.
        position: Position,
    },
    /// Refuse the publishers of entries up to an index: the log has not kept them in time.
    Overdue {
        /// Of which term.
        term: Term,
        /// Up to which index.
        through: u64,
    },
}

/// Why a seat takes no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another node owns the shard, or none.
    NotOwner,
    /// No majority hears this node.
    Frozen {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The shard is being handed over: the entry waits for the next owner.
    Handing,
    /// The log takes no more.
    Log(PushRefusal),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NotOwner => write!(f, "another node owns the shard: retry there"),
            Refused::Frozen { retry_after_ms } => {
                write!(f, "no majority of nodes is heard: retry in {retry_after_ms} ms")
            }
            Refused::Handing => write!(f, "the shard moves to another node: retry at once"),
            Refused::Log(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}
