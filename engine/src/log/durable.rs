//! The durable log as a shard sees it: a shard pushes entries in order and without waiting, and polls news.
//!
//! Why apart from `memory`: memory answers at once, a disk later. A room of durability `disk` is kept in
//! both: its newest batches in memory, as every room's, and its whole history in the durable log.
//!
//! An implementation guarantees the following, and a shard relies on it:
//!
//! - **Order.** Entries of one shard are kept in the order in which they were pushed. Each has a
//!   [`Position`], one above that of the entry before. [`News::Durable`] names the position up to which
//!   everything is synced and so survives a power cut.
//! - **Shown means remembered.** When [`DurableLog::push`] returns, the entry survives the death of this
//!   process (kill -9), though not yet a power cut. So a shard pushes a batch before it shows it, and a
//!   restarted node goes on exactly at the viewers' position. After a power cut, batches that were shown and
//!   not yet synced may be lost. Then every room that could have lost anything gets a new epoch, and
//!   [`StoredRoom::previous`] says how much of the old one was kept.
//! - **Nothing waits.** `push` never waits for the disk. [`DurableLog::check`] bounds the queue: a shard
//!   calls it before it accepts anything that it would have to push, and refuses with its answer.
//! - **Acknowledged means synced.** A shard acknowledges a publication to a room of durability `disk` only
//!   after the news.
//!
//! Not here: SQLite, threads, recovery, backups (`grandstand-store`); when a shard answers whom (`shard`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::{Durability, Phase};
use grandstand_queue::Doorbell;

use crate::link::{Alias, Batch, Lineage, PageOf, RoomSettings, ShardId, UserId};

/// Number of an entry in one shard's sequence of entries: 1 for the first entry of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(pub u64);

/// One entry of the durable log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// What a tick sealed in a room: its chat, its changes of state, or both. Batches with neither are not
    /// kept.
    Batch(Box<BatchEntry>),
    /// A room was made, or an operator changed it.
    Room(RoomEntry),
    /// A room was removed, with all its messages.
    Removed {
        /// Its name.
        room: Arc<str>,
        /// Its log.
        epoch: u64,
    },
}

/// See [`Entry::Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEntry {
    /// The room's name.
    pub room: Arc<str>,
    /// Its log.
    pub epoch: u64,
    /// The batch as it was sealed. Its `wire` holds the room's alias.
    pub batch: Arc<Batch>,
    /// Its chat in full, header and frame, when the batch does not show all of it.
    pub full: Option<Bytes>,
    /// The author and nonce of each message: one for each offset of the batch, in order.
    pub nonces: Box<[(UserId, u64)]>,
    /// The changes of state in the batch.
    pub state: Option<StateEntry>,
}

/// Changes of a room's state, without the viewer count, which the node sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// The room's version after them.
    pub version: u64,
    /// Changed keys, each once; `None` removes the key.
    pub changes: Vec<(Box<str>, Option<Bytes>)>,
}

/// A room's description, see [`Entry::Room`]. The latest one is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomEntry {
    /// The room's name.
    pub room: Arc<str>,
    /// Its log.
    pub epoch: u64,
    /// Its next offset, at which its next batch begins. Above 0 when a room of durability `memory` becomes
    /// one of `disk`: its earlier messages are not kept. Of a head: its next offset as of this description.
    pub next_offset: u64,
    /// Its slot within its shard, which determines its alias. `None`: a version that did not record slots
    /// stored it, and the shard chooses one.
    pub slot: Option<u32>,
    /// Does it stay without viewers, because an operator made it?
    pub is_operators: bool,
    /// Is only its head in the log: its description and its state, without its chat? See
    /// [`DurableLog::keeps_heads`].
    pub is_head: bool,
    /// Its phase.
    pub phase: Phase,
    /// Settings of its own.
    pub settings: RoomSettings,
}

/// Why the log accepts nothing now: it is full, read-only, or further behind than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// When to try again.
    pub retry_after_ms: u32,
}

/// A request for a page of a room's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The request's number, returned with the page.
    pub request: u64,
    /// The room's name.
    pub room: Arc<str>,
    /// Its alias, which the batches of the page will contain.
    pub alias: Alias,
    /// First offset wanted.
    pub from: u64,
    /// Batches as they were shown, or in full.
    pub of: PageOf,
    /// The most batches in the page.
    pub batches_max: usize,
    /// The most bytes in the page; the first batch may exceed it.
    pub bytes_max: usize,
}

/// News from a durable log to its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Everything up to this position is synced.
    Durable(Position),
    /// Answer to [`DurableLog::read`]: batches with chat from the one that covers the offset asked for, or
    /// the oldest kept, oldest first and without gaps. Batches pushed before the request are included. Empty
    /// when no batch from that offset on is kept, or when the stored ones are damaged. Their `seq` has no
    /// meaning.
    Page {
        /// The number of the request.
        request: u64,
        /// The batches.
        batches: Vec<Arc<Batch>>,
    },
    /// Retention removed the oldest messages of a room.
    Trimmed {
        /// The room's name.
        room: Arc<str>,
        /// Its log.
        epoch: u64,
        /// First offset that is still kept; the room's next offset when none is.
        oldest_offset: u64,
    },
}

/// A log that outlives the process, as one shard uses it.
pub trait DurableLog: Send {
    /// How safe an entry is once [`News::Durable`] covers it: the durability that rooms in this log promise.
    fn level(&self) -> Durability;

    /// Does it keep the heads of rooms of durability `memory`, so that the next owner of the shard has the
    /// same rooms? A log that one node alone writes does not: such rooms end with the process.
    fn keeps_heads(&self) -> bool {
        false
    }

    /// May more be pushed?
    ///
    /// # Errors
    /// The log accepts nothing now. Entries that are pushed all the same are kept in order and in memory
    /// until the log can write them.
    fn check(&self) -> Result<(), Unavailable>;

    /// Keep an entry. Never waits for the disk.
    fn push(&mut self, entry: Entry) -> Position;

    /// Begin to read; answered by [`News::Page`].
    fn read(&mut self, request: ReadRequest);

    /// The next news.
    fn poll(&mut self) -> Option<News>;
}

/// A room as the log found it. All of it is synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRoom {
    /// Its latest description.
    pub room: RoomEntry,
    /// The earlier epochs of its log: one more after each power cut.
    pub previous: Lineage,
    /// First offset that is kept.
    pub oldest_offset: u64,
    /// Next offset.
    pub next_offset: u64,
    /// Time of the last batch with chat, milliseconds since 1970; 0 when no chat is kept.
    pub time_ms: u64,
    /// Its state.
    pub state: Vec<(Box<str>, Bytes)>,
    /// Version of its state as it was stored. Higher versions may have been shown, since the viewer count is
    /// not stored.
    pub state_version: u64,
    /// The authors and nonces of the latest messages, oldest first: for the offsets that end with
    /// `next_offset`, without gaps.
    pub nonces: Vec<StoredNonce>,
    /// Its newest batches with chat, ending with `next_offset`, oldest first. `wire` may contain another
    /// alias than the room's; [`grandstand_protocol::batch`] says how to replace it.
    pub newest: Vec<(Arc<Batch>, Option<Bytes>)>,
}

/// A publication that was accepted before the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredNonce {
    /// The publisher.
    pub user: UserId,
    /// Chosen by the client.
    pub nonce: u64,
    /// Time of its batch, milliseconds since 1970.
    pub time_ms: u64,
}

/// Opens the logs of an engine's shards. A log is opened when an owner takes its seat, and closed when the
/// shard is released, while the other logs stay open.
pub trait LogSource {
    /// Open the log of one shard, with the rooms that it owns. The log rings `bell` when news waits.
    ///
    /// # Panics
    /// If the shard's log is open.
    fn open(
        &mut self,
        shard: ShardId,
        owns: &dyn Fn(&str) -> bool,
        bell: Arc<Doorbell>,
    ) -> (Box<dyn DurableLog>, Vec<StoredRoom>);

    /// Close the log of a shard whose [`DurableLog`] was dropped. It may be opened again, and then has every
    /// entry that was pushed.
    fn close(&mut self, shard: ShardId);
}
