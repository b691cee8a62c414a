//! Inputs: messages from workers and operators to a shard.
//!
//! Invariant: an input is complete in itself; a shard needs no other message to handle it.
//! Not here: what a shard does with it (`shard`), how it finds its shard (`backbone`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::Role;
use grandstand_protocol::text::Likeness;

use super::act::ActRequest;
use super::admin::AdminRequest;
use super::id::{Alias, Opener, PersonId, ReplyTo, UserId, WorkerId};

/// A chat message that was not accepted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Where the answer goes.
    pub from: ReplyTo,
    /// The room.
    pub alias: Alias,
    /// Scope of the nonce.
    pub user: UserId,
    /// Whom slow mode holds besides the user: what a reconnect does not change. The same number for a named
    /// user.
    pub person: PersonId,
    /// Chosen by the client.
    pub nonce: u64,
    /// The time since the first attempt, for a retry; 0 for a first attempt.
    pub age_ms: u32,
    /// Display name.
    pub author: Box<str>,
    /// The author's role.
    pub role: Role,
    /// Text.
    pub text: Box<str>,
    /// Attachment reference; empty for none.
    pub attachment: Box<str>,
    /// The offset of the message that this one answers.
    pub reply_to: Option<u64>,
    /// Exempt from slow mode (a bridge, a moderator).
    pub exempt: bool,
    /// Whether the client named the author and the role (a bridge). Then they are part of the content for
    /// which the nonce stands.
    pub is_bridged: bool,
}

/// A change of a room's state that was not accepted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Where the answer goes.
    pub from: ReplyTo,
    /// The request's number, returned in the answer.
    pub request: u32,
    /// The room.
    pub alias: Alias,
    /// The key.
    pub key: Box<str>,
    /// The value; `None` removes.
    pub value: Option<Bytes>,
}

/// A message from a worker to a shard. Large contents are boxed, since an inbox has a slot for each input
/// that it can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Begin to follow a room; answered by [`Output::Attached`](super::Output::Attached). A repeated attach
    /// is harmless and is answered again.
    Attach {
        /// Who follows.
        worker: WorkerId,
        /// The room's name.
        room: Arc<str>,
        /// On whose account the room is made if it does not exist.
        opener: Opener,
    },
    /// As `Attach`, to another owner than before: a room that must be made again gets the alias that it had,
    /// so that nobody loses a subscription to it.
    Reattach {
        /// Who follows.
        worker: WorkerId,
        /// The room's name.
        room: Arc<str>,
        /// On whose account the room is made if it does not exist.
        opener: Opener,
        /// The alias that the room had.
        alias: Alias,
    },
    /// Stop following a room. No batch follows after those already on the way.
    Detach {
        /// The worker that stops following.
        worker: WorkerId,
        /// The room.
        alias: Alias,
    },
    /// The number of members that a worker has in a room now.
    Viewers {
        /// The worker.
        worker: WorkerId,
        /// The room.
        alias: Alias,
        /// Members.
        count: u32,
    },
    /// What the names of a worker's members with a role look like now. Nobody else is shown under them.
    Staff {
        /// The worker.
        worker: WorkerId,
        /// The room.
        alias: Alias,
        /// All of them.
        names: Box<[Likeness]>,
    },
    /// A chat message; answered by [`Output::Answers`](super::Output::Answers).
    Publish(Box<Publication>),
    /// Reactions, added up by a worker.
    React {
        /// The room.
        alias: Alias,
        /// Reaction and count, each key once.
        tallies: Vec<(Box<str>, u64)>,
    },
    /// Set or remove a key of the state; answered by [`Output::Answers`](super::Output::Answers).
    SetState(Box<StateChange>),
    /// Keep order; answered by [`Output::Answers`](super::Output::Answers).
    Act(Box<ActRequest>),
    /// Batches older than a worker's ring; answered by [`Output::History`](super::Output::History).
    History {
        /// Where the answer goes.
        worker: WorkerId,
        /// The request's number, returned in the answer.
        request: u64,
        /// The room.
        alias: Alias,
        /// The epoch that the reader has.
        epoch: u64,
        /// First offset wanted.
        from: u64,
        /// What the page holds.
        of: PageOf,
    },
    /// The time that a worker's fan-out took lately. This input may get lost.
    Load {
        /// The worker.
        worker: WorkerId,
        /// The load since the worker's last report.
        load: Load,
    },
    /// An operator's request; answered by [`Output::Admin`](super::Output::Admin).
    Admin {
        /// Where the answer goes.
        from: ReplyTo,
        /// What is asked.
        request: Box<AdminRequest>,
    },
}

/// The time that a worker's fan-out took during some period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Length of the period.
    pub elapsed_us: u64,
    /// The part of it in which the worker wrote batches.
    pub fanout_us: u64,
    /// Writes of batches to connections.
    pub writes: u64,
}

/// What a page of history holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageOf {
    /// Batches as viewers see them, for viewers that catch up.
    Shown,
    /// Batches in full, with what pacing omitted, until they hold the number of messages asked for.
    Full {
        /// The most messages in the page. The batch that passes this number is included whole.
        messages_max: u32,
    },
}
