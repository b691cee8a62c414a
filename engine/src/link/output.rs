//! Outputs: what a shard sends to workers.
//!
//! Invariant: everything that a shard sends about one room reaches a worker in the order in which it was sent.
//! Not here: when a shard sends what (`shard`), the queues to the workers (`runtime`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::{Durability, Phase};
use grandstand_protocol::refusal::Refusal;

use super::batch::{Batch, StateImage};
use super::id::{Alias, ConnectionToken, PreviousEpoch};

/// What a worker gets when it begins to follow a room: where the room stands, and its newest batches.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The room's alias.
    pub alias: Alias,
    /// Identity of its log.
    pub epoch: u64,
    /// Number of the next batch.
    pub next_seq: u64,
    /// Next offset.
    pub next_offset: u64,
    /// Time of the last batch with chat.
    pub time_ms: u64,
    /// The newest batches without holes, oldest first, ending before `next_seq`; within the ring's bounds.
    pub batches: Vec<Arc<Batch>>,
    /// The state, if any was ever set.
    pub snapshot: Option<Arc<StateImage>>,
    /// The room's phase.
    pub phase: Phase,
    /// The log that the room had before a power cut, and how much of it still holds: a resume there, before
    /// or at that offset, is one in this log.
    pub previous: Option<PreviousEpoch>,
}

/// From a shard to a worker.
#[derive(Debug)]
pub enum Output {
    /// Answer to [`Input::Attach`]. When it comes again for a room that is followed, batches were lost on the
    /// way and the worker takes it as the room's new ring.
    Attached {
        /// The room's name.
        room: Arc<str>,
        /// Where it stands, or why it can't be followed.
        result: Result<Box<Attachment>, Refusal>,
    },
    /// A sealed batch of a room that the worker follows.
    Batch {
        /// The room.
        alias: Alias,
        /// The batch.
        batch: Arc<Batch>,
    },
    /// Answers to publications and state changes.
    Answers(Vec<Answer>),
    /// Messages that pacing left out, for those whom they mean.
    Personals(Vec<Personal>),
    /// Answer to [`Input::History`]: one page.
    History {
        /// Of the request.
        ticket: u64,
        /// The page, apart: outputs are moved often, and pages are few.
        page: Box<HistoryPage>,
    },
    /// The room's phase changed.
    Phase {
        /// The room.
        alias: Alias,
        /// The phase.
        phase: Phase,
        /// Since or until when.
        at_ms: u64,
    },
    /// The room is gone; its alias may be given again after this.
    Removed {
        /// The room.
        alias: Alias,
    },
}

/// One page of history.
#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    /// Batches without holes, oldest first, none without chat; the first covers the offset asked for, or is
    /// the oldest there is. Empty when nothing from there on is kept.
    pub batches: Vec<Arc<Batch>>,
    /// Is the epoch asked for still the room's?
    pub same_epoch: bool,
    /// The disk could not be read in time: when it may be. Then `batches` are what memory has, which may
    /// begin later.
    pub retry_after_ms: Option<u32>,
}

/// A message that pacing left out, for one connection that it means; nothing to a connection that is not in
/// the room any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Personal {
    /// The room.
    pub alias: Alias,
    /// The connection.
    pub connection: ConnectionToken,
    /// Header and `Personal` frame.
    pub wire: Bytes,
}

/// An answer to one request of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The connection.
    pub connection: ConnectionToken,
    /// The answer.
    pub kind: AnswerKind,
}

/// See [`Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// A publication has its place in the log: as safely as `durability` says, it stands there.
    Published {
        /// Of the publication.
        nonce: u64,
        /// The log.
        epoch: u64,
        /// Where it stands.
        offset: u64,
        /// Time of its batch, or, before that is sealed, when it was accepted: the batch's time is not before
        /// it.
        time_ms: u64,
        /// How safe it is.
        durability: Durability,
        /// Whether the nonce had been seen before.
        repeated: bool,
    },
    /// A publication was refused. With `StorageUnavailable` it may stand all the same; a repetition of its
    /// nonce tells.
    PublishRefused {
        /// Of the publication.
        nonce: u64,
        /// Why.
        reason: Refusal,
        /// When it may succeed.
        retry_after_ms: Option<u32>,
    },
    /// A state change stands.
    StateSet {
        /// Of the request.
        request: u32,
        /// Version with it.
        version: u64,
    },
    /// A state change was refused.
    StateRefused {
        /// Of the request.
        request: u32,
        /// Why.
        reason: Refusal,
        /// When it may succeed.
        retry_after_ms: Option<u32>,
    },
}
