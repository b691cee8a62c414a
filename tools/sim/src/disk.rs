//! The disk of a node: the model of a durable log, with commits in virtual time and ends of all kinds.
//!
//! Three levels, as `grandstand_engine::log` has them. What was pushed is in the crash log and survives the
//! process. What was synced, some time later and many entries at once, survives a power cut; a commit that
//! was under way when the power went did happen or did not. Nothing else survives. The disk can be slow or
//! full: then commits wait, and the log takes no more once too much waits. Retention takes the oldest rows of
//! a room.
//! Not here: what entries make of a room (`grandstand_model::StoredLog`, which panics over one that does not
//! continue its room's log), SQLite and files (`grandstand-store`), when commits are (`node`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use grandstand_engine::log::{DurableLog, Entry, News, Position, ReadRequest, StoredRoom, Unavailable};
use grandstand_model::StoredLog;
use grandstand_protocol::frame::Durability;

use crate::process::Fuse;
use crate::story::DiskMood;

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
    pushed: StoredLog,
    /// Everything that is synced.
    synced: StoredLog,
    /// What is pushed and not synced: shards, positions and entries.
    queue: VecDeque<(usize, u64, Entry)>,
    /// Entries of the commit that is under way, and when it is through.
    commit: Option<(usize, u64)>,
    /// When each page is there, and who asked for it.
    reads: VecDeque<(u64, usize, ReadRequest)>,
    news: Vec<VecDeque<News>>,
    removed: Vec<u64>,
}

impl Disk {
    /// An empty disk.
    pub fn new(queue_max: usize, rows_max: usize) -> Disk {
        Disk(Arc::new(Mutex::new(State { queue_max, rows_max, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("one thread")
    }

    /// It is slow, full or well from now on.
    pub fn set_mood(&self, mood: DiskMood) {
        self.state().mood = mood;
    }

    /// The log of one shard of a process.
    pub fn log(&self, shard: usize, fuse: Arc<Fuse>) -> ShardLog {
        ShardLog { disk: self.clone(), shard, fuse, position: 0 }
    }

    /// A process begins, with so many shards. What the last one had pushed is synced first.
    pub fn open(&self, shards: usize) {
        let mut state = self.state();
        state.mood = DiskMood::Well;
        state.synced = state.pushed.clone();
        state.queue.clear();
        state.reads.clear();
        state.commit = None;
        state.news = (0..shards).map(|_| VecDeque::new()).collect();
    }

    /// The power goes. The commit that is under way is through, or not. Each room goes on under a new epoch:
    /// the result has that epoch, the one before, and the offset at which it forks.
    pub fn cut_power(&self, is_through: bool, mut epoch: impl FnMut() -> u64) -> Vec<(u64, u64, u64)> {
        let mut state = self.state();
        if let Some((entries, _)) = state.commit.take().filter(|_| is_through) {
            state.sync(entries);
        }
        state.queue.clear();
        state.synced.renew(|_| epoch());
        state.pushed = state.synced.clone();
        let fork = |stored: StoredRoom| {
            let previous = stored.previous.epochs()[0];
            (stored.room.epoch, previous.epoch, previous.next_offset)
        };
        state.synced.rooms(|_| true).into_iter().map(fork).collect()
    }

    /// What a process finds of the rooms of one of its shards.
    pub fn stored(&self, owns: impl Fn(&str) -> bool) -> Vec<StoredRoom> {
        self.state().synced.rooms(owns)
    }

    /// Begin what is to be done, and end what is through; when to come again, and which shards have news.
    pub fn handle_timeout(&self, now_us: u64, sync_us: u64) -> (Option<u64>, Vec<usize>) {
        let mut state = self.state();
        while let Some((_, shard, request)) = state.reads.pop_front_if(|(due_us, ..)| *due_us <= now_us) {
            let batches = state.pushed.page(&request, usize::MAX);
            state.news[shard].push_back(News::Page { request: request.request, batches });
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
            self.synced.apply(&entry);
            through.insert(shard, position);
        }
        for (shard, position) in through {
            self.news[shard].push_back(News::Durable(Position(position)));
            self.trim(shard);
        }
    }

    /// Retention. A shard that hears of another's room takes no notice.
    fn trim(&mut self, shard: usize) {
        for (room, rows) in self.synced.batch_counts() {
            if rows <= self.rows_max {
                continue;
            }
            let Some(news) = self.synced.trim(&room, rows - self.rows_max / 2) else { continue };
            if let News::Trimmed { room, epoch, oldest_offset } = &news {
                self.pushed.forget_before(room, *epoch, *oldest_offset);
            }
            self.news[shard].push_back(news);
        }
    }
}

/// The disk as one shard of one process has it.
#[derive(Debug)]
pub struct ShardLog {
    disk: Disk,
    shard: usize,
    fuse: Arc<Fuse>,
    position: u64,
}

impl DurableLog for ShardLog {
    fn level(&self) -> Durability {
        Durability::Disk
    }

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
            state.pushed.apply(&entry);
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
