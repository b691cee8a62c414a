//! The memtable: entries that were pushed and are not yet in a segment, in memory.
//!
//! Why: a page of history must hold the messages shown a moment ago, and the disk may be slow. So the newest
//! part of a room is read from here, committed or not, without waiting for a disk. Shards, the committer and
//! the reader share memtables.
//! Invariants: a lock is held while references are moved, never during a read, a write or a sync. The records
//! of one room are in the order of the push, and each follows the one before.
//! Not here: when records leave (`compaction`), pages (`reader`).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use crossbeam::queue::SegQueue;
use foldhash::quality::RandomState;
use grandstand_engine::log::{News, Position};
use grandstand_queue::Doorbell;

use crate::adoption::Adoptions;
use crate::copy_head::CopyHead;
use crate::shard_end::ShardEnd;
use crate::status::Status;
use crate::tables::{CopyPart, Name};

/// A record in a memtable.
#[derive(Clone, Debug)]
pub(crate) struct MemRecord {
    /// 0 for a record of an earlier process.
    pub(crate) position: u64,
    pub(crate) bytes: Bytes,
    /// It begins or ends the room's log: nothing before it belongs to the log.
    pub(crate) begins: bool,
    /// Offset after it.
    pub(crate) next_offset: u64,
}

/// The memtable of one shard.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    /// Records that the committer has not taken yet.
    pub(crate) queue: VecDeque<(u64, Bytes)>,
    /// Of a copy: the heads after these records. A head has a position of its own, and is committed with the
    /// records before it.
    pub(crate) heads: VecDeque<(u64, CopyHead)>,
    /// Records that are not yet in segments.
    pub(crate) rooms: HashMap<Name, VecDeque<MemRecord>, RandomState>,
}

impl Memtable {
    /// Add a room's next record. A record without an offset takes that of the record before.
    pub(crate) fn keep(&mut self, name: Name, position: u64, bytes: Bytes, begins: bool, next_offset: u64) {
        keep(self.rooms.entry(name).or_default(), position, bytes, begins, next_offset);
    }
}

impl Memtable {
    /// Take records of a copy, each head with all records before it, until there are `bytes_max` or more.
    /// Returns the position reached, and the bytes.
    pub(crate) fn take_copied(
        &mut self,
        part: &mut CopyPart,
        records: &mut Vec<Bytes>,
        bytes_max: usize,
    ) -> Option<(u64, usize)> {
        let (mut reached, mut bytes) = (None, 0);
        while bytes < bytes_max
            && let Some((at, head)) = self.heads.pop_front()
        {
            while self.queue.front().is_some_and(|&(position, _)| position < at)
                && let Some((_, record)) = self.queue.pop_front()
            {
                bytes += record.len();
                part.records += 1;
                records.push(record);
            }
            (part.head, reached) = (Some(head), Some(at));
        }
        reached.map(|reached| (reached, bytes))
    }
}

/// See [`Memtable::keep`].
pub(crate) fn keep(
    room: &mut VecDeque<MemRecord>,
    position: u64,
    bytes: Bytes,
    begins: bool,
    next_offset: u64,
) {
    let before = room.back().filter(|_| !begins).map_or(0, |kept| kept.next_offset);
    room.push_back(MemRecord { position, bytes, begins, next_offset: next_offset.max(before) });
}

/// The state of one shard that the shard, the committer and the reader share.
#[derive(Debug, Default)]
pub(crate) struct ShardSide {
    memtable: Mutex<Memtable>,
    /// Pages and retention, for the shard. Durable positions need no queue: see `durable`.
    news: SegQueue<News>,
    bell: OnceLock<Arc<Doorbell>>,
    /// Position up to which everything is synced. The shard compares it with the one that it saw last. After
    /// several commits between two of its turns it sees the newest.
    durable: AtomicU64,
    /// The end of the log that a released owner left for the next.
    left: Mutex<Option<ShardEnd>>,
    /// Of a copy: something of it is not as it was written, or could not be understood.
    is_damaged: AtomicBool,
}

impl ShardSide {
    pub(crate) fn memtable(&self) -> MutexGuard<'_, Memtable> {
        self.memtable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_bell(&self, bell: Arc<Doorbell>) {
        let _ = self.bell.set(bell);
    }

    /// Everything up to `position` is synced.
    pub(crate) fn set_durable(&self, position: u64) {
        self.durable.store(position, Ordering::Release);
        self.ring();
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Everything up to `position` is committed, which the holder of a copy need not hear.
    pub(crate) fn set_committed(&self, position: u64) {
        self.durable.store(position, Ordering::Release);
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn set_damaged(&self) {
        self.is_damaged.store(true, Ordering::Relaxed);
    }

    /// The copy was replaced by a sound one.
    pub(crate) fn clear_damaged(&self) {
        self.is_damaged.store(false, Ordering::Relaxed);
    }

    /// Wake the holder.
    pub(crate) fn wake(&self) {
        self.ring();
    }

    /// Store the end of a released owner's log.
    pub(crate) fn leave(&self, end: ShardEnd) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// Has an owner been released, and no other come since?
    pub(crate) fn has_left(&self) -> bool {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The end that the previous owner left; `None`: there was no owner, or it was not released.
    pub(crate) fn take_left(&self) -> Option<ShardEnd> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Leave news for the shard.
    pub(crate) fn tell(&self, news: News) {
        self.news.push(news);
        self.ring();
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }

    /// The next news, for a shard whose last durable position is `told`.
    pub(crate) fn poll(&self, told: &mut u64) -> Option<News> {
        let durable = self.durable();
        if durable > *told {
            *told = durable;
            return Some(News::Durable(Position(durable)));
        }
        self.news.pop()
    }

    /// The next news, for a copy.
    pub(crate) fn poll_copied(&self) -> Option<News> {
        self.news.pop()
    }
}

/// The state that all of a store's threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) shards: Box<[ShardSide]>,
    /// Records that the last process left in the journal, for rooms that no shard has asked for yet.
    pub(crate) unclaimed: Mutex<HashMap<Name, VecDeque<MemRecord>, RandomState>>,
    /// The shard that owns each room, which is told what retention removes.
    pub(crate) owners: Mutex<HashMap<Name, usize, RandomState>>,
    pub(crate) status: Arc<Status>,
    /// Wakes the committer.
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) stop: AtomicBool,
    pub(crate) queue_bytes_max: u64,
    /// After a fault: when the committer retries, milliseconds since the store was opened; 0: no fault.
    pub(crate) retry_ms: AtomicU64,
    /// The shards' logs are copies, and not this node's own.
    pub(crate) is_copy: bool,
    /// Snapshots on their way into copies.
    pub(crate) adoptions: Adoptions,
}

impl Shared {
    pub(crate) fn new(
        shards: u16,
        queue_bytes_max: usize,
        bell: Arc<Doorbell>,
        is_copy: bool,
    ) -> Arc<Shared> {
        Arc::new(Shared {
            is_copy,
            adoptions: Adoptions::default(),
            shards: (0..shards.max(1)).map(|_| ShardSide::default()).collect(),
            unclaimed: Mutex::default(),
            owners: Mutex::default(),
            status: Arc::default(),
            bell,
            stop: AtomicBool::new(false),
            queue_bytes_max: queue_bytes_max as u64,
            retry_ms: AtomicU64::new(0),
        })
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.status.now_us()
    }

    /// Has any shard entries for the committer?
    pub(crate) fn is_waiting(&self) -> bool {
        self.status.queue_entries.load(Ordering::Acquire) > 0
    }

    /// The shard that owns a room, if it is known.
    pub(crate) fn owner(&self, room: &str) -> Option<usize> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(room).copied()
    }

    pub(crate) fn set_owner(&self, room: &Name, shard: usize) {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).insert(room.clone(), shard);
    }
}
