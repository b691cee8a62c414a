//! Outputs: messages from a shard to workers.
//!
//! Invariant: everything that a shard sends about one room reaches a worker in the order in which it was
//! sent.
//! Not here: when a shard sends an output (`shard`), the queues to the workers (`runtime`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::{Durability, Phase};
use grandstand_protocol::refusal::Refusal;

use super::act::RoomNotice;
use super::admin::AdminReply;
use super::batch::{Batch, StateImage};
use super::id::{Alias, ConnectionToken};
use super::lineage::Lineage;

/// What a worker gets when it begins to follow a room: the room's position, state and newest batches.
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
    /// The newest batches, oldest first, ending before `next_seq`: without gaps, and within the ring's
    /// bounds.
    pub batches: Vec<Arc<Batch>>,
    /// The state, if any was ever set.
    pub snapshot: Option<Arc<StateImage>>,
    /// The room's phase.
    pub phase: Phase,
    /// Until when it lasts, milliseconds since 1970; 0: that is not known.
    pub until_ms: u64,
    /// The earlier epochs of the log. A resume in one of them is a resume in this log, as far as this log
    /// continues it.
    pub previous: Lineage,
}

/// From a shard to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer to [`Input::Attach`](super::Input::Attach). A second one for a followed room means that batches
    /// were lost on the way. The worker takes it as the room's new ring.
    Attached {
        /// The room's name.
        room: Arc<str>,
        /// The room's position and batches, or why it can't be followed.
        result: Result<Box<Attachment>, Refusal>,
    },
    /// A sealed batch of a room that the worker follows.
    Batch {
        /// The room.
        alias: Alias,
        /// The batch.
        batch: Arc<Batch>,
    },
    /// Answers to publications, state changes and acts.
    Answers(Vec<Answer>),
    /// Messages that pacing omitted, for the connections of the people whom they mention or answer.
    Personals(Vec<Personal>),
    /// What acts mean for persons in rooms that the worker follows.
    Notices(Vec<RoomNotice>),
    /// Answer to [`Input::History`](super::Input::History): one page.
    History {
        /// The number in [`Input::History`](super::Input::History).
        request: u64,
        /// The page. It is boxed because outputs are moved often and pages are rare.
        page: Box<HistoryPage>,
    },
    /// The room's phase changed.
    Phase {
        /// The room.
        alias: Alias,
        /// The phase.
        phase: Phase,
        /// Until when it lasts, milliseconds since 1970; 0: that is not known.
        at_ms: u64,
    },
    /// The room was removed. Another room may get its alias after this.
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
    /// Batches with chat, oldest first and without gaps. The first covers the offset asked for, or is the
    /// oldest one kept. Empty when no batch from that offset on is kept.
    pub batches: Vec<Arc<Batch>>,
    /// Is the epoch of the request still the room's?
    pub same_epoch: bool,
    /// Set when the disk was not read in time: when to ask again. Then `batches` come from memory, which may
    /// begin later.
    pub retry_after_ms: Option<u32>,
}

/// A message that pacing omitted, for one connection whose user it mentions or answers. A connection that has
/// left the room does not get it.
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
    /// A publication has its offset in the log, and is kept as safely as `durability` says.
    Published {
        /// The nonce of the publication.
        nonce: u64,
        /// The log.
        epoch: u64,
        /// Its offset.
        offset: u64,
        /// Time of its batch. Before the batch is sealed, the time of acceptance; the batch's time is not
        /// earlier.
        time_ms: u64,
        /// How safe it is.
        durability: Durability,
        /// Whether the publication was a retry of one that is in the log.
        repeated: bool,
    },
    /// A publication was refused. After `StorageUnavailable` it may be in the log all the same; a retry of
    /// its nonce tells.
    PublishRefused {
        /// The nonce of the publication.
        nonce: u64,
        /// Why.
        reason: Refusal,
        /// When a retry may succeed.
        retry_after_ms: Option<u32>,
    },
    /// A state change took effect.
    StateSet {
        /// The number of the request.
        request: u32,
        /// The version of the state with this change.
        version: u64,
    },
    /// A state change was refused.
    StateRefused {
        /// The number of the request.
        request: u32,
        /// Why.
        reason: Refusal,
        /// When a retry may succeed.
        retry_after_ms: Option<u32>,
    },
    /// An act took effect, and is as safe as a message of the room.
    Acted {
        /// The number of the request.
        request: u32,
        /// The log.
        epoch: u64,
        /// Its offset, if it is an entry of the log.
        offset: Option<u64>,
        /// How many messages it removed.
        count: u64,
    },
    /// An act was refused.
    ActRefused {
        /// The number of the request.
        request: u32,
        /// Why.
        reason: Refusal,
        /// When a retry may succeed.
        retry_after_ms: Option<u32>,
    },
}

#[cfg(test)]
mod tests {
    use super::super::Input;

    /// Inputs and outputs are plain data: no closure, no lock, no borrow. So a codec can write and read each
    /// of them.
    const fn is_plain<T: Clone + PartialEq + Send + Sync + std::panic::UnwindSafe + 'static>() {}

    const _: () = is_plain::<Input>();
    const _: () = is_plain::<super::Output>();

    #[test]
    fn outputs_are_small_enough_to_be_moved_often() {
        assert!(size_of::<super::Output>() <= 48, "{}", size_of::<super::Output>());
        assert!(size_of::<Input>() <= 48, "{}", size_of::<Input>());
    }
}
