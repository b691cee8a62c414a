//! The durable log, modelled: what was pushed, what of it is synced, and what a process finds after each kind
//! of end.
//!
//! Three levels, as `grandstand_engine::log` has them. What was pushed is in the crash log and survives
//! the process. What was synced, some time later and many entries at once, survives a power cut; a commit
//! that was under way when the power went did happen or did not. Nothing else survives. The disk can be slow
//! or full: then commits wait, and the log takes no more once too much waits. Retention takes the oldest rows
//! of a room.
//! Invariant: it takes nothing for granted: entries that do not continue a room's log are broken promises (a
//! panic).
//! Not here: SQLite and files (`grandstand-store`), when commits are (`world`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use grandstand_engine::link::PreviousEpoch;
use grandstand_engine::link::{Alias, Batch, Compressed, PageOf};
use grandstand_engine::log::{
    BatchEntry, DurableLog, Entry, News, Position, ReadRequest, RoomEntry, StateEntry, StoredNonce,
    StoredRoom, Unavailable,
};
use grandstand_protocol::frame::Encoder;
use grandstand_protocol::stream;

use crate::process::Fuse;
use crate::story::DiskMood;

/// Newest batches of a room that a process finds at its start.
const NEWEST_MAX: usize = 8;

/// A disk that is full is tried again after this.
const RETRY_US: u64 = 100_000;

/// A disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    mood: DiskMood,
    queue_max: usize,
    rows_max: usize,
    /// Everything that was pushed.
    recorded: BTreeMap<String, Kept>,
    /// Everything that is synced.
    synced: BTreeMap<String, Kept>,
    /// What is recorded and not synced: entries and their places.
    queue: VecDeque<(usize, u64, Entry)>,
    /// Entries of the commit that is under way, and when it is through.
    commit: Option<(usize, u64)>,
    reads: VecDeque<(u64, usize, ReadRequest)>,
    news: Vec<VecDeque<News>>,
    removed: Vec<u64>,
}

/// A room.
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
    /// An empty disk.
    pub fn new(queue_max: usize, rows_max: usize) -> Disk {
        Disk(Arc::new(Mutex::new(State { queue_max, rows_max, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("one thread")
    }

    /// It changes its mood.
    pub fn set_mood(&self, mood: DiskMood) {
        self.state().mood = mood;
    }

    /// The log of one shard of a process.
    pub fn log(&self, shard: usize, fuse: Arc<Fuse>) -> ModelLog {
        ModelLog { disk: self.clone(), shard, fuse, position: 0 }
    }

    /// A process begins, with so many shards. What the last one had recorded is synced first.
    pub fn open(&self, shards: usize) {
        let mut state = self.state();
        state.mood = DiskMood::Well;
        state.synced = state.recorded.clone();
        state.queue.clear();
        state.reads.clear();
        state.commit = None;
        state.news = (0..shards).map(|_| VecDeque::new()).collect();
    }

    /// The power goes. The commit that is under way is through, or not. Each room goes on under a new epoch:
    /// that, the one before, and the offset at which it forks.
    pub fn cut_power(&self, is_through: bool, mut epoch: impl FnMut() -> u64) -> Vec<(u64, u64, u64)> {
        let mut state = self.state();
        if let Some((entries, _)) = state.commit.take().filter(|_| is_through) {
            state.sync(entries);
        }
        state.queue.clear();
        let mut forks = Vec::new();
        for kept in state.synced.values_mut() {
            let (before, next_offset) = (kept.entry.epoch, kept.next_offset);
            kept.previous = Some(PreviousEpoch { epoch: before, next_offset });
            kept.entry.epoch = epoch();
            forks.push((kept.entry.epoch, before, next_offset));
        }
        state.recorded = state.synced.clone();
        forks
    }

    /// What a process finds of the rooms of one of its shards.
    pub fn stored(&self, owns: impl Fn(&str) -> bool) -> Vec<StoredRoom> {
        let state = self.state();
        state.synced.iter().filter(|(name, _)| owns(name)).map(|(_, kept)| kept.stored()).collect()
    }

    /// Begin what is to be done, and end what is through; when to come again, and which shards have news.
    pub fn handle_timeout(&self, now_us: u64, sync_us: u64) -> (Option<u64>, Vec<usize>) {
        let mut state = self.state();
        while let Some((_, shard, request)) = state.reads.pop_front_if(|(due_us, ..)| *due_us <= now_us) {
            let page = state.page(&request);
            state.news[shard].push_back(News::Page { ticket: request.ticket, batches: page });
        }
        if let Some((entries, done_us)) = state.commit.filter(|(_, done_us)| *done_us <= now_us) {
            state.commit = None;
            match state.mood {
                DiskMood::Full => state.commit = Some((entries, done_us + RETRY_US)),
                _ => state.sync(entries),
            }
        }
        if state.commit.is_none() && !state.queue.is_empty() {
            let takes_us = match state.mood {
                DiskMood::Slow(us) => us,
                _ => sync_us,
            };
            state.commit = Some((state.queue.len(), now_us + takes_us));
        }
        for (due_us, ..) in &mut state.reads {
            // Not known when it was asked.
            if *due_us == u64::MAX {
                *due_us = now_us + sync_us;
            }
        }
        let due_us =
            state.commit.map(|(_, us)| us).into_iter().chain(state.reads.front().map(|(us, ..)| *us)).min();
        let has_news = (0..state.news.len()).filter(|&shard| !state.news[shard].is_empty()).collect();
        (due_us, has_news)
    }

    /// Logs that were removed since the last call.
    pub fn take_removed(&self) -> Vec<u64> {
        std::mem::take(&mut self.state().removed)
    }
}

impl State {
    fn sync(&mut self, entries: usize) {
        let mut through: BTreeMap<usize, u64> = BTreeMap::new();
        for _ in 0..entries {
            let Some((shard, position, entry)) = self.queue.pop_front() else { break };
            apply(&mut self.synced, &entry);
            through.insert(shard, position);
        }
        for (shard, position) in through {
            self.news[shard].push_back(News::Durable(Position(position)));
            self.trim(shard);
        }
    }

    /// Retention. Who hears of rooms of other shards takes no notice.
    fn trim(&mut self, shard: usize) {
        for (name, kept) in &mut self.synced {
            if kept.chat.len() <= self.rows_max {
                continue;
            }
            kept.chat.drain(..self.rows_max / 2);
            let (room, epoch, oldest_offset) =
                (kept.entry.room.clone(), kept.entry.epoch, kept.oldest_offset());
            if let Some(recorded) =
                self.recorded.get_mut(name).filter(|recorded| recorded.entry.epoch == epoch)
            {
                recorded.chat.retain(|(batch, _)| batch.next_offset > oldest_offset);
            }
            self.news[shard].push_back(News::Trimmed { room, epoch, oldest_offset });
        }
    }

    fn page(&self, request: &ReadRequest) -> Vec<Arc<Batch>> {
        let Some(kept) = self.recorded.get(&*request.room) else { return Vec::new() };
        let mut bytes = 0;
        let renamed = |(batch, full): &(Arc<Batch>, Option<Bytes>)| {
            let is_full = matches!(request.of, PageOf::Full { .. });
            let wire = full.as_ref().filter(|_| is_full).unwrap_or(&batch.wire);
            let wire = under_alias(wire, request.alias);
            Arc::new(Batch {
                seq: u64::MAX / 2,
                wire,
                compressed: Compressed::default(),
                snapshot: None,
                ..(**batch).clone()
            })
        };
        let fits = |(batch, _): &&(Arc<Batch>, Option<Bytes>)| {
            let is_first = bytes == 0;
            bytes += batch.wire.len();
            is_first || bytes <= request.bytes_max
        };
        let reaching = kept.chat.iter().skip_while(|(batch, _)| batch.next_offset <= request.from);
        reaching.take(request.batches_max).take_while(fits).map(renamed).collect()
    }
}

fn apply(rooms: &mut BTreeMap<String, Kept>, entry: &Entry) {
    match entry {
        Entry::Room(entry) => {
            let kept = rooms.entry(entry.room.to_string()).or_insert_with(|| Kept::new(entry.clone()));
            assert_eq!(
                kept.entry.epoch, entry.epoch,
                "another log of {} without the removal of this one",
                entry.room
            );
            assert_eq!(kept.next_offset, entry.next_offset, "next offset of {}", entry.room);
            kept.entry = entry.clone();
        }
        Entry::Removed { room, epoch } => {
            let kept = rooms.remove(&**room).expect("only what is there is removed");
            assert_eq!(kept.entry.epoch, *epoch, "removed another log of {room}");
        }
        Entry::Batch(batch) => rooms.get_mut(&*batch.room).expect("a room is announced first").append(batch),
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

    fn append(&mut self, entry: &BatchEntry) {
        let BatchEntry { epoch, batch, full, nonces, state, .. } = entry;
        assert_eq!(*epoch, self.entry.epoch, "a batch of another log");
        assert_eq!(batch.first_offset, self.next_offset, "a hole between batches");
        assert_eq!(nonces.len() as u64, batch.next_offset - batch.first_offset, "a nonce for each offset");
        self.next_offset = batch.next_offset;
        let stored = |&(user, nonce): &_| StoredNonce { user, nonce, time_ms: batch.time_ms };
        self.nonces.extend(nonces.iter().map(stored));
        if batch.has_chat() {
            assert!(batch.time_ms >= self.time_ms, "times go back");
            self.time_ms = batch.time_ms;
            self.chat.push_back((batch.clone(), full.clone()));
        }
        if let Some(StateEntry { version, changes }) = state {
            assert!(*version > self.state_version, "a version of the state given twice");
            self.state_version = *version;
            for (key, value) in changes {
                match value {
                    Some(value) => self.state.insert(key.clone(), value.clone()),
                    None => self.state.remove(key),
                };
            }
        }
    }

    fn oldest_offset(&self) -> u64 {
        self.chat.front().map_or(self.next_offset, |(batch, _)| batch.first_offset)
    }

    fn stored(&self) -> StoredRoom {
        let newest = self.chat.iter().skip(self.chat.len().saturating_sub(NEWEST_MAX));
        let newest = newest.map(|(batch, full)| {
            let batch = Batch {
                seq: u64::MAX / 2,
                compressed: Compressed::default(),
                snapshot: None,
                ..(**batch).clone()
            };
            (Arc::new(batch), full.clone())
        });
        StoredRoom {
            room: RoomEntry { next_offset: self.next_offset, ..self.entry.clone() },
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

/// The disk as one shard of one process has it.
#[derive(Debug)]
pub struct ModelLog {
    disk: Disk,
    shard: usize,
    fuse: Arc<Fuse>,
    position: u64,
}

impl DurableLog for ModelLog {
    fn check(&self) -> Result<(), Unavailable> {
        let state = self.disk.state();
        let is_full = state.mood == DiskMood::Full || state.queue.len() >= state.queue_max;
        if is_full { Err(Unavailable { retry_after_ms: 300 }) } else { Ok(()) }
    }

    fn push(&mut self, entry: Entry) -> Position {
        self.position += 1;
        if self.fuse.burn() {
            let state = &mut *self.disk.state();
            if let Entry::Removed { epoch, .. } = &entry {
                state.removed.push(*epoch);
            }
            apply(&mut state.recorded, &entry);
            state.queue.push_back((self.shard, self.position, entry));
        }
        Position(self.position)
    }

    fn read(&mut self, request: ReadRequest) {
        self.disk.state().reads.push_back((u64::MAX, self.shard, request));
    }

    fn poll(&mut self) -> Option<News> {
        self.disk.state().news[self.shard].pop_front()
    }
}

/// The same batch, naming another alias.
fn under_alias(wire: &Bytes, alias: Alias) -> Bytes {
    let header = stream::read_header(wire, usize::MAX).ok().flatten().expect("shards frame their batches").0;
    let body = &wire[header + 1..];
    let rest = body.iter().position(|byte| byte & 0x80 == 0).expect("a body begins with its alias") + 1;
    let mut renamed = Vec::with_capacity(body.len() + 4);
    let mut n = alias.0;
    while n >= 0x80 {
        renamed.push(n as u8 | 0x80);
        n >>= 7;
    }
    renamed.push(n as u8);
    renamed.extend_from_slice(&body[rest..]);
    Encoder::batch_framed(&renamed)
}
