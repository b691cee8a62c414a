//! What passes between edges and shards: the engine's whole vocabulary.
//!
//! Why one file: both sides, the in-process queues and a network backbone speak exactly this.
//! Invariants: everything a shard sends about one room reaches a worker in the order in which it was sent; a
//! batch is shared by reference and never copied. Every bounded queue gives back what it could not take.
//! Not here: what a shard does with it (`shard`), how it travels (`backbone`, `node`).

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use grandstand_protocol::compress::Compressor;
use grandstand_protocol::frame::{Durability, Phase, Role};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::stream;

use crate::durable::PreviousEpoch;
use crate::room_settings::RoomSettings;

/// A worker: one edge thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// A shard: one engine thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A room on this node, as frames name it. Unique over the node's shards while the room lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Alias(pub u32);

/// Who publishes, across reconnects: the scope of nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub u64);

/// A connection of one worker, with its generation, so that an answer to a closed one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionToken(pub u64);

/// The time, passed in: cores know no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, microseconds since any fixed point.
    pub us: u64,
    /// Wall clock, milliseconds since 1970; may step.
    pub unix_ms: u64,
}

/// A sealed, encoded run of one room: the same bytes for everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of the batch within the epoch, without holes.
    pub seq: u64,
    /// First offset that it covers.
    pub first_offset: u64,
    /// Offset after the last that it covers; equal to `first_offset` when it holds no chat.
    pub next_offset: u64,
    /// Messages in it; less than the offsets covered when some were left out.
    pub messages: u32,
    /// Time of the last batch with chat before this one: what a reader that begins here adds to.
    pub base_time_ms: u64,
    /// Time of the last batch with chat, this one included.
    pub time_ms: u64,
    /// Stream header and frame, ready for any transport.
    pub wire: Bytes,
    /// The same, compressed, once a worker has made it for all of the node.
    pub compressed: Compressed,
    /// The room's state after this batch, if the batch changes it.
    pub snapshot: Option<Arc<StateImage>>,
}

/// A batch's compressed form: not made yet, or not smaller, or there. It follows from the batch's bytes, so
/// all are equal.
#[derive(Clone, Debug, Default)]
pub struct Compressed(OnceLock<Option<Bytes>>);

impl PartialEq for Compressed {
    fn eq(&self, _: &Compressed) -> bool {
        true
    }
}

impl Eq for Compressed {}

impl Batch {
    /// Does it cover any offsets?
    pub fn has_chat(&self) -> bool {
        self.first_offset != self.next_offset
    }

    /// Make the compressed form, unless another worker has; `true` when it was this one that made it.
    pub fn compress(&self, compressor: &mut Compressor) -> bool {
        let mut is_new = false;
        self.compressed.0.get_or_init(|| {
            is_new = true;
            let (header, _) = stream::read_header(&self.wire, usize::MAX).ok()??;
            compressor.batch_framed(&self.wire[header + 1..])
        });
        is_new
    }

    /// Stream header and compressed frame, if it was made and is smaller.
    pub fn compressed(&self) -> Option<&Bytes> {
        self.compressed.0.get()?.as_ref()
    }

    /// Bytes that it keeps at the most: its compressed form, which is smaller, may come later.
    pub fn kept_bytes(&self) -> usize {
        2 * self.wire.len()
    }
}

/// A room's whole state, encoded once per change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateImage {
    /// Version of the state.
    pub version: u64,
    /// Header and `Snapshot` frame.
    pub wire: Bytes,
}

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

/// A chat message on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Where the answer goes.
    pub worker: WorkerId,
    /// Where the answer goes.
    pub connection: ConnectionToken,
    /// The room.
    pub alias: Alias,
    /// Scope of the nonce.
    pub user: UserId,
    /// Chosen by the client.
    pub nonce: u64,
    /// How long ago it was said first, where it is said again; 0: not before.
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

/// From a worker to a shard.
#[derive(Debug)]
pub enum Input {
    /// Begin to follow a room; answered by [`Output::Attached`]. Repeating it is harmless and is answered
    /// again.
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
    /// A chat message; answered by [`Output::Answers`].
    Publish(Box<Publication>),
    /// Reactions that a worker added up.
    React {
        /// The room.
        alias: Alias,
        /// Reaction and count, each key once.
        tallies: Vec<(Box<str>, u64)>,
    },
    /// Set or remove a key of the state; answered by [`Output::Answers`].
    SetState {
        /// Where the answer goes.
        worker: WorkerId,
        /// Where the answer goes.
        connection: ConnectionToken,
        /// Comes back in the answer.
        request: u32,
        /// The room.
        alias: Alias,
        /// The key.
        key: Box<str>,
        /// The value; `None` removes.
        value: Option<Bytes>,
    },
    /// Batches older than a worker's ring; answered by [`Output::History`].
    History {
        /// Where the answer goes.
        worker: WorkerId,
        /// Comes back in the answer.
        ticket: u64,
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
    /// From the admin API.
    Admin(AdminRequest, AdminReply),
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

/// What an operator asks of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// Make a room, or find it.
    Create {
        /// Its name.
        room: String,
    },
    /// Take publications (again).
    Open {
        /// Its name.
        room: String,
    },
    /// Take none from now on; viewers stay.
    Close {
        /// Its name.
        room: String,
    },
    /// Forget the room and send its members away.
    Remove {
        /// Its name.
        room: String,
    },
    /// Set a key of its state.
    SetState {
        /// Its name.
        room: String,
        /// The key.
        key: String,
        /// The value; `None` removes.
        value: Option<Vec<u8>>,
    },
    /// Give a room settings of its own, in place of all that it had.
    Configure {
        /// Its name.
        room: String,
        /// The settings, checked ([`RoomSettings::check`]).
        settings: RoomSettings,
    },
    /// This shard's rooms whose names begin with `prefix`, in name order, after `after`, at most `limit`.
    List {
        /// Beginning of the names.
        prefix: String,
        /// Names after this one.
        after: String,
        /// At most so many.
        limit: usize,
    },
    /// This shard's counters.
    Counters,
}

/// Where an [`AdminRequest`] is answered; called once, on the shard's thread, and must not block.
pub struct AdminReply(pub Box<dyn FnOnce(Result<AdminAnswer, Refusal>) + Send>);

impl std::fmt::Debug for AdminReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminReply")
    }
}

/// See [`AdminRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAnswer {
    /// One room.
    Room(RoomInfo),
    /// Rooms.
    Rooms(Vec<RoomInfo>),
    /// Counters of the shard, by metric name.
    Counters(Vec<(&'static str, u64)>),
}

/// A room as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomInfo {
    /// Its name.
    pub name: String,
    /// Its alias.
    pub alias: Alias,
    /// Its log.
    pub epoch: u64,
    /// Its phase.
    pub phase: Phase,
    /// Next offset: how many messages it ever took.
    pub next_offset: u64,
    /// Oldest offset still kept.
    pub oldest_offset: u64,
    /// Members over all workers.
    pub viewers: u64,
    /// Bytes of history kept.
    pub history_bytes: u64,
    /// Version of its state.
    pub state_version: u64,
    /// Shortest time between two of its batches, as it is now.
    pub tick_ms: u64,
    /// Settings of its own.
    pub settings: RoomSettings,
    /// Where its log is kept.
    pub durability: Durability,
}
