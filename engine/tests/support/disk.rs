//! A model of the durable log: what it was given, what of it is synced, and what a shard finds after a
//! restart.
//!
//! Invariant: it takes nothing for granted: entries that do not continue the log fail the test.
//! Not here: what a test expects.
#![allow(clippy::disallowed_types, reason = "a log must be Send, and the test keeps a hand on it")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use grandstand_engine::link::*;
use grandstand_engine::log::*;
use grandstand_queue::Doorbell;

/// How many nonces and newest batches come back.
const BACK_MAX: usize = 8;

/// A disk under the test's hand; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    is_prompt: bool,
    is_failing: bool,
    holds_reads: bool,
    position: u64,
    // In the crash log and not synced.
    queue: VecDeque<Entry>,
    rooms: BTreeMap<Arc<str>, Kept>,
    news: VecDeque<News>,
    reads: VecDeque<ReadRequest>,
    read_count: usize,
    bell: Option<Arc<Doorbell>>,
}

/// A room as it is synced.
#[derive(Clone, Debug)]
struct Kept {
    entry: RoomEntry,
    previous: Option<PreviousEpoch>,
    next_offset: u64,
    time_ms: u64,
    state: BTreeMap<Box<str>, Bytes>,
    state_version: u64,
    nonces: VecDeque<StoredNonce>,
    chat: VecDeque<(Arc<Batch>, Option<Bytes>)>,
}

impl Disk {
    /// Syncs at once.
    pub(crate) fn prompt() -> Disk {
        let disk = Disk::default();
        disk.inner().is_prompt = true;
        disk
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics with it")
    }

    pub(crate) fn log(&self) -> DiskLog {
        let mut inner = self.inner();
        (inner.position, inner.news, inner.reads) = Default::default();
        DiskLog(self.clone())
    }

    /// Sync so many of the entries that wait.
    pub(crate) fn sync(&self, entries: usize) {
        let mut inner = self.inner();
        inner.sync(entries);
        let bell = inner.bell.clone();
        drop(inner);
        bell.inspect(|bell| bell.ring());
    }

    /// Entries that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.inner().queue.len()
    }

    /// Take nothing from now on, or everything again.
    pub(crate) fn fail(&self, is_failing: bool) {
        self.inner().is_failing = is_failing;
    }

    /// Keep reads without an answer from now on.
    pub(crate) fn hold_reads(&self) {
        self.inner().holds_reads = true;
    }

    /// Answer the reads that were kept.
    pub(crate) fn answer_reads(&self) {
        let mut inner = self.inner();
        inner.holds_reads = false;
        let reads = std::mem::take(&mut inner.reads);
        reads.iter().for_each(|request| inner.answer(request));
    }

    /// Reads that came.
    pub(crate) fn read_count(&self) -> usize {
        self.inner().read_count
    }

    /// The process was killed: what is in the crash log is on the disk when it starts again.
    pub(crate) fn kill(&self) {
        let mut inner = self.inner();
        inner.is_failing = false;
        inner.sync(usize::MAX);
    }

    /// A power cut: what is not synced is lost, and every room has another log from now on.
    pub(crate) fn cut_power(&self, epoch: u64) {
        let mut inner = self.inner();
        inner.is_failing = false;
        inner.queue.clear();
        for kept in inner.rooms.values_mut() {
            kept.previous = Some(PreviousEpoch { epoch: kept.entry.epoch, next_offset: kept.next_offset });
            kept.entry.epoch = epoch;
        }
    }

    /// Retention takes the oldest batches of a room but for so many.
    pub(crate) fn trim(&self, room: &str, left: usize) {
        let mut inner = self.inner();
        let Some(kept) = inner.rooms.get_mut(room) else { return };
        while kept.chat.len() > left {
            kept.chat.pop_front();
        }
        let oldest_offset = kept.oldest_offset();
        let (room, epoch) = (kept.entry.room.clone(), kept.entry.epoch);
        inner.news.push_back(News::Trimmed { room, epoch, oldest_offset });
    }

    /// What the synced log says of a room.
    pub(crate) fn room(&self, name: &str) -> Option<StoredRoom> {
        self.inner().rooms.get(name).map(Kept::stored)
    }

    /// What a shard finds at its start.
    pub(crate) fn stored(&self) -> Vec<StoredRoom> {
        self.inner().rooms.values().map(Kept::stored).collect()
    }
}

impl LogSource for Disk {
    fn shard_log(
        &mut self,
        _: ShardId,
        owns: &dyn Fn(&str) -> bool,
        bell: Arc<Doorbell>,
    ) -> (Box<dyn DurableLog>, Vec<StoredRoom>) {
        let log = self.log();
        self.inner().bell = Some(bell);
        let rooms = self.stored().into_iter().filter(|room| owns(&room.room.room)).collect();
        (Box::new(log), rooms)
    }
}

impl Inner {
    fn sync(&mut self, entries: usize) {
        if self.is_failing || self.queue.is_empty() || entries == 0 {
            return;
        }
        let entries = entries.min(self.queue.len());
        let synced: Vec<Entry> = self.queue.drain(..entries).collect();
        synced.into_iter().for_each(|entry| self.keep(entry));
        let position = Position(self.position - self.queue.len() as u64);
        self.news.push_back(News::Durable(position));
    }

    fn keep(&mut self, entry: Entry) {
        match entry {
            Entry::Room(entry) => {
                let kept = self.rooms.entry(entry.room.clone()).or_insert_with(|| Kept::new(entry.clone()));
                assert_eq!(kept.entry.epoch, entry.epoch, "another log without the removal of this one");
                assert_eq!(kept.next_offset, entry.next_offset);
                kept.entry = entry;
            }
            Entry::Removed { room, epoch } => {
                let kept = self.rooms.remove(&room).expect("it was there");
                assert_eq!(kept.entry.epoch, epoch);
            }
            Entry::Batch(batch) => {
                self.rooms.get_mut(&batch.room).expect("announced first").append(*batch);
            }
        }
    }

    fn answer(&mut self, request: &ReadRequest) {
        let kept = self.rooms.get(&request.room);
        let renamed = |(batch, full): &(Arc<Batch>, Option<Bytes>)| {
            let is_full = matches!(request.of, PageOf::Full { .. });
            let wire = full.as_ref().filter(|_| is_full).unwrap_or(&batch.wire);
            let wire = under_alias(wire, request.alias);
            // A number that nobody may use.
            Arc::new(Batch { seq: u64::MAX / 2, wire, snapshot: None, ..(**batch).clone() })
        };
        let from = |kept: &Kept| {
            let reaches = kept.chat.iter().filter(|(batch, _)| batch.next_offset > request.from);
            reaches.take(request.batches_max.min(3)).map(renamed).collect()
        };
        let batches = kept.map(from).unwrap_or_default();
        self.news.push_back(News::Page { ticket: request.ticket, batches });
    }
}

impl Kept {
    fn new(entry: RoomEntry) -> Kept {
        Kept {
            next_offset: entry.next_offset,
            entry,
            previous: None,
            time_ms: 0,
            state: BTreeMap::new(),
            state_version: 0,
            nonces: VecDeque::new(),
            chat: VecDeque::new(),
        }
    }

    fn append(&mut self, entry: BatchEntry) {
        let BatchEntry { epoch, batch, full, nonces, state, .. } = entry;
        assert_eq!(epoch, self.entry.epoch);
        assert!(batch.has_chat() || state.is_some(), "nothing to keep");
        assert_eq!(batch.first_offset, self.next_offset, "a hole between offsets");
        assert_eq!(nonces.len() as u64, batch.next_offset - batch.first_offset, "one for each offset");
        self.next_offset = batch.next_offset;
        for &(user, nonce) in &nonces {
            self.nonces.push_back(StoredNonce { user, nonce, time_ms: batch.time_ms });
        }
        if batch.has_chat() {
            assert!(batch.time_ms >= self.time_ms, "times go back");
            self.time_ms = batch.time_ms;
            self.chat.push_back((batch, full));
        }
        if let Some(StateEntry { version, changes }) = state {
            assert!(version > self.state_version, "a version given twice");
            self.state_version = version;
            for (key, value) in changes {
                assert_ne!(&*key, grandstand_engine::VIEWERS_KEY);
                match value {
                    Some(value) => self.state.insert(key, value),
                    None => self.state.remove(&key),
                };
            }
        }
    }

    fn oldest_offset(&self) -> u64 {
        self.chat.front().map_or(self.next_offset, |(batch, _)| batch.first_offset)
    }

    fn stored(&self) -> StoredRoom {
        let newest = self.chat.iter().skip(self.chat.len().saturating_sub(BACK_MAX));
        let newest = newest.map(|(batch, full)| {
            let alias = Alias(u32::MAX);
            let wire = under_alias(&batch.wire, alias);
            let batch = Batch { seq: u64::MAX / 2, wire, snapshot: None, ..(**batch).clone() };
            (Arc::new(batch), full.as_ref().map(|full| under_alias(full, alias)))
        });
        StoredRoom {
            room: self.entry.clone(),
            previous: self.previous,
            oldest_offset: self.oldest_offset(),
            next_offset: self.next_offset,
            time_ms: self.time_ms,
            state: self.state.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            state_version: self.state_version,
            nonces: self.nonces.iter().copied().collect(),
            newest: newest.collect(),
        }
    }
}

/// The disk as a shard has it.
#[derive(Debug)]
pub(crate) struct DiskLog(Disk);

impl DurableLog for DiskLog {
    fn check(&self) -> Result<(), Unavailable> {
        if self.0.inner().is_failing { Err(Unavailable { retry_after_ms: 1234 }) } else { Ok(()) }
    }

    fn push(&mut self, entry: Entry) -> Position {
        let mut inner = self.0.inner();
        inner.position += 1;
        inner.queue.push_back(entry);
        let position = Position(inner.position);
        if inner.is_prompt {
            inner.sync(usize::MAX);
        }
        position
    }

    fn read(&mut self, request: ReadRequest) {
        let mut inner = self.0.inner();
        inner.read_count += 1;
        if inner.holds_reads {
            inner.reads.push_back(request);
        } else {
            inner.answer(&request);
        }
    }

    fn poll(&mut self) -> Option<News> {
        self.0.inner().news.pop_front()
    }
}

/// The same batch, naming another alias.
fn under_alias(wire: &Bytes, alias: Alias) -> Bytes {
    grandstand_protocol::batch::with_alias(wire, alias.0).expect("a batch that a shard sealed")
}
