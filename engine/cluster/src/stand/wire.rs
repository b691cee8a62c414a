//! The wire of a stand: what passes between one shard's stand and the network's thread of the node.
//!
//! Why plain data: the network's thread knows sockets and NATS, a test knows neither, and a stand knows both
//! only as this.
//! Invariants: nothing here waits. What is sent may get lost, except that the answers to an append and to a
//! read name what they answer. Frames stay bytes until the stand's own thread decodes them.
//! Not here: subjects, streams and servers (`grandstand-nats`), what a frame holds (`link`).

use std::sync::Arc;

use bytes::Bytes;

use crate::flight::{Append, Attempt, Reply};
use crate::id::{NodeId, Position, Term};
use crate::membership::{Heartbeat, ShardReport};
use crate::order::Outcome;
use crate::record::Renewal;
use crate::seat::{Answer, Ask};
use crate::time::OwnTime;

/// From the stand of a shard to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWire {
    /// What the next heartbeats say of the shard. It comes before everything that follows from it, so that no
    /// heartbeat is sent with an older one after a promise.
    Report(ShardReport),
    /// Ask all other nodes.
    AskAll(Ask),
    /// Answer one node.
    Answer {
        /// Whom.
        to: NodeId,
        /// What.
        answer: Answer,
    },
    /// Tell all other nodes that the log has a term.
    Announce {
        /// Which.
        term: Term,
        /// Where.
        position: Position,
    },
    /// Append to the shard's stream; answered by [`FromWire::Reply`], or not at all.
    Append(Append),
    /// Read from this position to the end, by the stream's leader; answered by [`FromWire::Read`], or not at
    /// all.
    Read {
        /// The first.
        from: Position,
    },
    /// A frame of a follower for the owner.
    Up {
        /// The owner.
        to: NodeId,
        /// The encoded `UpFrame`.
        frame: Bytes,
    },
    /// The answer to [`FromWire::HandOver`].
    Outcome {
        /// Which order.
        order: u64,
        /// Whether it was taken.
        outcome: Outcome,
    },
    /// A frame of the owner for a follower.
    Down {
        /// The follower.
        to: NodeId,
        /// The encoded `DownFrame`.
        frame: Bytes,
    },
}

/// Takes what a stand sends. It never waits: what it cannot take is lost, and counted.
pub trait Wire: Send {
    /// Send, in order.
    fn send(&mut self, message: ToWire);
}

/// From the network to the stand of a shard, with the time of its arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// When the network's thread had it. Silence and leases are counted from here, however late the stand
    /// looks.
    pub at: OwnTime,
    /// What came.
    pub message: FromWire,
}

/// See [`Arrived`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromWire {
    /// A heartbeat of another node.
    Heartbeat(Arc<Heartbeat>),
    /// Another node asks for a promise.
    Ask(Ask),
    /// Another node answers.
    Answer(Answer),
    /// Another node says that the log has a term at this position.
    Announce {
        /// Which.
        term: Term,
        /// Where.
        position: Position,
    },
    /// A node answered a ping.
    Pong(NodeId),
    /// Nobody could receive a ping to this node.
    NoResponders(NodeId),
    /// The log answered an append.
    Reply {
        /// Which attempt.
        attempt: Attempt,
        /// The answer.
        reply: Reply,
    },
    /// The log was read: a part of it, from the asked position on, without gaps but for messages that the log
    /// no longer has.
    Read {
        /// Where the reading began.
        from: Position,
        /// Messages with their positions.
        messages: Vec<(Position, Bytes)>,
        /// The last position of the stream, by its leader.
        end: Position,
    },
    /// What the log has, by its leader. It comes with each answer to a read, before it, and at times alone.
    Ends {
        /// The first position that is still there.
        first: Position,
        /// The last.
        end: Position,
        /// What a log that was made anew goes on from.
        renewed: Option<Renewal>,
    },
    /// An operator hands the shard over.
    HandOver {
        /// To which node.
        to: NodeId,
        /// The number of the order, which the answer names.
        order: u64,
    },
    /// Do the streams and servers of the log keep what they acknowledge? Not if one was changed to a single
    /// replica, or does not sync.
    Replicated(bool),
    /// This node drains: it gives its shards away, claims none and gets none; or it does so no longer.
    Drain(bool),
    /// The log takes nothing of this node while other nodes hear its leader: leave the shard to them.
    Withdraw,
    /// The cluster agreed on a version of what is written.
    Agreed(u16),
    /// A frame of a follower.
    Up(Bytes),
    /// A frame of the owner.
    Down(Bytes),
}
