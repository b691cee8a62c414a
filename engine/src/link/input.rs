//! Inputs: what workers, and operators, send to a shard.
//!
//! Invariant: an input is complete in itself; a shard needs no other message to handle it.
//! Not here: what a shard does with it (`shard`), how it finds its shard (`backbone`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::Role;

use super::admin::AdminRequest;
use super::id::{Alias, ReplyTo, UserId, WorkerId};

/// A chat message on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Where the answer goes.
    pub from: ReplyTo,
    /// The room.
    pub alias: Alias,
    /// Scope of the nonce.
    pub user: UserId,
    /// Chosen by the client.
    pub nonce: u64,
    /// Of a retry: time since the first attempt; 0 for a first attempt.
    pub age_ms: u32,
    /// Display name.
    pub author: Box<str>,
    /// The author's role.
    pub role: Role,
    /// Text.
    pub text: Box<str>,
    /// Attachment reference; empty for none.
    pub attachment: Box<str>,
    /// Offset answered.
    pub reply_to: Option<u64>,
    /// Exempt from slow mode (a bridge, a moderator).
    pub exempt: bool,
}

/// A change of a room's state on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Where the answer goes.
    pub from: ReplyTo,
    /// Comes back in the answer.
    pub request: u32,
    /// The room.
    pub alias: Alias,
    /// The key.
    pub key: Box<str>,
    /// The value; `None` removes.
    pub value: Option<Bytes>,
}

/// From a worker to a shard. What is large is boxed: an inbox has a slot for each input that it could hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Begin to follow a room; answered by [`Output::Attached`](super::Output::Attached). Repeating it is
    /// harmless and is answered again.
    Attach {
        /// Who follows.
        worker: WorkerId,
        /// The room's name.
        room: Arc<str>,
    },
    /// Stop following a room: no further batch of it comes after those already on the way.
    Detach {
        /// Who follows no more.
        worker: WorkerId,
        /// The room.
        alias: Alias,
    },
    /// How many members a worker has in a room now.
    Viewers {
        /// The worker.
        worker: WorkerId,
        /// The room.
        alias: Alias,
        /// Members.
        count: u32,
    },
    /// A chat message; answered by [`Output::Answers`](super::Output::Answers).
    Publish(Box<Publication>),
    /// Reactions that a worker added up.
    React {
        /// The room.
        alias: Alias,
        /// Reaction and count, each key once.
        tallies: Vec<(Box<str>, u64)>,
    },
    /// Set or remove a key of the state; answered by [`Output::Answers`](super::Output::Answers).
    SetState(Box<StateChange>),
    /// Batches older than a worker's ring; answered by [`Output::History`](super::Output::History).
    History {
        /// Where the answer goes.
        worker: WorkerId,
        /// Comes back in the answer.
        request: u64,
        /// The room.
        alias: Alias,
        /// The log that is meant.
        epoch: u64,
        /// First offset wanted.
        from: u64,
        /// What the page holds.
        of: PageOf,
    },
    /// What fan-out took a worker lately. May get lost.
    Load {
        /// The worker.
        worker: WorkerId,
        /// Since its last report.
        load: Load,
    },
    /// From an operator; answered by [`Output::Admin`](super::Output::Admin).
    Admin {
        /// Where the answer goes.
        from: ReplyTo,
        /// What is asked.
        request: Box<AdminRequest>,
    },
}

/// What fan-out took a worker over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The time.
    pub elapsed_us: u64,
    /// Of it, how long the worker wrote batches.
    pub fanout_us: u64,
    /// Writes of batches to connections.
    pub writes: u64,
}

/// What a page of history holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageOf {
    /// Batches as viewers are shown them: for those who catch up.
    Shown,
    /// Batches in full, with what pacing left out, until they hold so many messages.
    Full {
        /// At most so many, but for those of the batch that passes it.
        messages_max: u32,
    },
}
