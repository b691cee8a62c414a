//! Outputs: what a shard sends to workers.
//!
//! Invariant: everything that a shard sends about one room reaches a worker in the order in which it was
//! sent.
//! Not here: when a shard sends what (`shard`), the queues to the workers (`runtime`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::{Durability, Phase};
use grandstand_protocol::refusal::Refusal;

use super::admin::AdminReply;
use super::batch::{Batch, StateImage};
use super::id::{Alias, ConnectionToken};
use super::lineage::Lineage;

/// What a worker gets when it begins to follow a room: where the room stands, and its newest batches.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The logs that the room had before: a resume in one of them, as far as it still holds, is one in this
    /// log.
    pub previous: Lineage,
}

/// From a shard to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer to [`Input::Attach`](super::Input::Attach). When it comes again for a room that is followed,
    /// batches were lost on the way and the worker takes it as the room's new ring.
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
    /// Answer to [`Input::History`](super::Input::History): one page.
    History {
        /// Of [`Input::History`](super::Input::History).
        request: u64,
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
    /// Answer to [`Input::Admin`](super::Input::Admin).
    Admin(Box<AdminReply>),
}

/// One page of history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use super::super::Input;

    /// Whatever passes is plain data: no closure, no lock, no borrow, so a codec can write every input and
    /// output down and read it back.
    const fn is_plain<T: Clone + PartialEq + Send + Sync + std::panic::UnwindSafe + 'static>() {}

    const _: () = is_plain::<Input>();
    const _: () = is_plain::<super::Output>();

    #[test]
    fn outputs_are_small_enough_to_be_moved_often() {
        assert!(size_of::<super::Output>() <= 48, "{}", size_of::<super::Output>());
        assert!(size_of::<Input>() <= 48, "{}", size_of::<Input>());
    }
}
