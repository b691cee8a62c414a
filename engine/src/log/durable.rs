//! The durable log as a shard sees it: entries go in, in order and without waiting; news comes back.
//!
//! Why apart from `log`: memory answers at once, a disk later. A room of durability `disk` is kept in both:
//! its newest batches in memory, as every room's, and everything that was said in the durable log.
//!
//! What a shard may rely on, and what whoever implements this holds to:
//!
//! - **Order.** Entries of one shard are kept in the order in which they were pushed; each has a
//!   [`Position`], one above the one before. [`News::Durable`] names a position up to which everything is
//!   synced: it survives a power cut.
//! - **Shown means remembered.** When [`DurableLog::push`] returns, the entry survives the death of this
//!   process (kill -9), though not yet a power cut. So a shard pushes first and shows after, and a restarted
//!   node goes on exactly where viewers stood. After a power cut what was shown and not yet synced may be
//!   gone: then every room that could have lost anything comes back under a new epoch, with
//!   [`StoredRoom::previous`] saying what still holds of the old one.
//! - **Nothing waits.** `push` never waits for the disk. What is queued is bounded by [`DurableLog::check`]:
//!   a shard asks it before it takes anything that it would have to push, and refuses with what it answers.
//! - **Acknowledged means synced.** A shard tells a publisher of `disk` only after the news.
//!
//! Not here: SQLite, threads, recovery, backups (`grandstand-store`); who is told what, when (`shard`).

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::{Durability, Phase};
use grandstand_queue::Doorbell;

use crate::link::{Alias, Batch, Lineage, PageOf, RoomSettings, ShardId, UserId};

/// Place of an entry in one shard's sequence of entries: 1 for the first of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(pub u64);

/// One thing to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// What a tick sealed in a room: its chat, its changes of state, or both. Batches with neither are not
    /// kept.
    Batch(Box<BatchEntry>),
    /// A room came into being, or what an operator says of it changed.
    Room(RoomEntry),
    /// A room is gone, with everything that was said in it.
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
    /// As it was sealed. Its `wire` holds the room's alias.
    pub batch: Arc<Batch>,
    /// Its chat in full, header and frame, where the batch does not show all of it.
    pub full: Option<Bytes>,
    /// Who said each message, and under which nonce: one for each offset of the batch, in order.
    pub nonces: Box<[(UserId, u64)]>,
    /// Changes of state that it carries.
    pub state: Option<StateEntry>,
}

/// Changes of a room's state, without the node's own viewer count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// The room's version after them.
    pub version: u64,
    /// Keys, each once; `None` removes.
    pub changes: Vec<(Box<str>, Option<Bytes>)>,
}

/// See [`Entry::Room`]. The last one holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomEntry {
    /// The room's name.
    pub room: Arc<str>,
    /// Its log.
    pub epoch: u64,
    /// Its next offset: the next batch that is pushed begins there. Above 0 for a log that is new here when a
    /// room of durability `memory` becomes one of `disk`: what was said before is not kept.
    pub next_offset: u64,
    /// Its slot within its shard, and so its alias. `None`: it was stored by a version that did not record
    /// slots, and the shard chooses one.
    pub slot: Option<u32>,
    /// Does it stay when nobody is there (an operator made it)?
    pub is_operators: bool,
    /// Its phase.
    pub phase: Phase,
    /// Settings of its own.
    pub settings: RoomSettings,
}

/// Why the log takes nothing now: it is full, read-only, or further behind than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// When it is worth another try.
    pub retry_after_ms: u32,
}

/// A page of a room's past that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Comes back with the page.
    pub request: u64,
    /// The room's name.
    pub room: Arc<str>,
    /// Its alias: what the batches of the page will name.
    pub alias: Alias,
    /// First offset wanted.
    pub from: u64,
    /// Batches as they were shown, or in full.
    pub of: PageOf,
    /// At most so many batches.
    pub batches_max: usize,
    /// At most so many bytes, but for the first batch.
    pub bytes_max: usize,
}

/// What a durable log has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Everything up to here is synced.
    Durable(Position),
    /// Answer to [`DurableLog::read`]: batches with chat from the one that covers the offset asked for, or
    /// the oldest there is, oldest first and without holes; those pushed before the request are among them.
    /// Empty when nothing from there on is kept, or what is kept can't be read soundly. `seq` means nothing
    /// in them.
    Page {
        /// Of the request.
        request: u64,
        /// The batches.
        batches: Vec<Arc<Batch>>,
    },
    /// Retention took the oldest of a room.
    Trimmed {
        /// The room's name.
        room: Arc<str>,
        /// Its log.
        epoch: u64,
        /// First offset that is still kept; the room's next offset when none is.
        oldest_offset: u64,
    },
}

/// A log that outlives the process, as one shard has it.
pub trait DurableLog: Send {
    /// How safe an entry is that it has named in [`News::Durable`]: what rooms that are kept here promise.
    fn level(&self) -> Durability;

    /// May more be pushed?
    ///
    /// # Errors
    /// Not now; what is pushed all the same is kept in order and in memory until the log can take it.
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
    /// What was last said of it.
    pub room: RoomEntry,
    /// The logs that it had before: one more after each power cut.
    pub previous: Lineage,
    /// First offset that is kept.
    pub oldest_offset: u64,
    /// Next offset.
    pub next_offset: u64,
    /// Time of the last batch with chat, milliseconds since 1970; 0 when none is kept.
    pub time_ms: u64,
    /// Its state.
    pub state: Vec<(Box<str>, Bytes)>,
    /// Version of its state as it was stored. Versions above may have been shown (the viewer count is not
    /// stored).
    pub state_version: u64,
    /// Who said what lately: for the offsets that end with `next_offset`, without holes, oldest first.
    pub nonces: Vec<StoredNonce>,
    /// Its newest batches with chat, ending with `next_offset`, oldest first; `wire` may
    /// name another alias than the room has, see [`grandstand_protocol::batch`] for how it is given that.
    pub newest: Vec<(Arc<Batch>, Option<Bytes>)>,
}

/// A publication that was taken before the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredNonce {
    /// Whose.
    pub user: UserId,
    /// Chosen by the client.
    pub nonce: u64,
    /// Time of its batch, milliseconds since 1970.
    pub time_ms: u64,
}

/// Where an engine gets its shards' logs from: a log is opened when an owner takes its seat, and closed when
/// the shard is released, while the others go on.
pub trait LogSource {
    /// Open the log of one shard, with the rooms that it owns. `bell` is rung when news waits.
    ///
    /// # Panics
    /// If the shard's log is open.
    fn open(
        &mut self,
        shard: ShardId,
        owns: &dyn Fn(&str) -> bool,
        bell: Arc<Doorbell>,
    ) -> (Box<dyn DurableLog>, Vec<StoredRoom>);

    /// Close the log of a shard whose [`DurableLog`] was dropped: it may be opened again, and finds
    /// everything that was pushed.
    fn close(&mut self, shard: ShardId);
}
