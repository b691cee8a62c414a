//! A durable log that the test controls: which entries were pushed, which of them are synced, and what a
//! shard finds after a restart.
//!
//! It has the three levels of `grandstand_engine::log`. Pushed entries survive the process ([`Disk::kill`]),
//! synced entries survive a power cut ([`Disk::cut_power`]), and nothing else survives.
//! Not here: commits in virtual time, slow and full disks (`grandstand-sim`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use grandstand_engine::link::ShardId;
use grandstand_engine::log::{
    DurableLog, Entry, LogSource, News, Position, ReadRequest, StoredRoom, Unavailable,
};
use grandstand_protocol::frame::Durability;
use grandstand_queue::Doorbell;

use crate::stored::StoredLog;

/// Batches of one page: few, so that a reader has to ask again.
const PAGE_BATCHES_MAX: usize = 3;

/// A disk; its clones share it.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    is_prompt: bool,
    is_failing: bool,
    holds_reads: bool,
    position: u64,
    // Entries that were pushed and not synced.
    queue: VecDeque<Entry>,
    synced: StoredLog,
    news: VecDeque<News>,
    reads: VecDeque<ReadRequest>,
    read_count: usize,
    bell: Option<Arc<Doorbell>>,
}

impl Disk {
    /// A disk that syncs each entry as soon as it is pushed.
    pub fn prompt() -> Disk {
        let disk = Disk::default();
        disk.inner().is_prompt = true;
        disk
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics with it")
    }

    /// The log of a shard that begins now.
    pub fn log(&self) -> DiskLog {
        let mut inner = self.inner();
        (inner.position, inner.news, inner.reads) = Default::default();
        DiskLog(self.clone())
    }

    /// Sync this number of waiting entries.
    pub fn sync(&self, entries: usize) {
        let mut inner = self.inner();
        inner.sync(entries);
        let bell = inner.bell.clone();
        drop(inner);
        bell.inspect(|bell| bell.ring());
    }

    /// Entries that wait.
    pub fn waiting(&self) -> usize {
        self.inner().queue.len()
    }

    /// Accept nothing from now on, or accept entries again.
    pub fn fail(&self, is_failing: bool) {
        self.inner().is_failing = is_failing;
    }

    /// Leave reads unanswered from now on.
    pub fn hold_reads(&self) {
        self.inner().holds_reads = true;
    }

    /// Answer the waiting reads, and each later one at once.
    pub fn answer_reads(&self) {
        let mut inner = self.inner();
        inner.holds_reads = false;
        let reads = std::mem::take(&mut inner.reads);
        reads.iter().for_each(|request| inner.answer(request));
    }

    /// Number of reads so far.
    pub fn read_count(&self) -> usize {
        self.inner().read_count
    }

    /// The process is killed: pushed entries are on the disk when it starts again.
    pub fn kill(&self) {
        let mut inner = self.inner();
        inner.is_failing = false;
        inner.sync(usize::MAX);
    }

    /// The power is cut: entries that are not synced are lost, and every room gets a new epoch.
    pub fn cut_power(&self, epoch: u64) {
        let mut inner = self.inner();
        inner.is_failing = false;
        inner.queue.clear();
        inner.synced.renew(|_| epoch);
    }

    /// Retention removes the oldest batches of a room, until `left` remain.
    pub fn trim(&self, room: &str, left: usize) {
        let mut inner = self.inner();
        let news = inner.synced.trim(room, left);
        inner.news.extend(news);
    }

    /// Store a room as versions without recorded slots did.
    pub fn forget_slot(&self, room: &str) {
        self.inner().synced.forget_slot(room);
    }

    /// A room as the synced log holds it.
    pub fn room(&self, name: &str) -> Option<StoredRoom> {
        self.inner().synced.room(name)
    }

    /// The rooms that a shard finds at its start.
    pub fn stored(&self) -> Vec<StoredRoom> {
        self.inner().synced.rooms(|_| true)
    }
}

impl LogSource for Disk {
    fn open(
        &mut self,
        _: ShardId,
        owns: &dyn Fn(&str) -> bool,
        bell: Arc<Doorbell>,
    ) -> (Box<dyn DurableLog>, Vec<StoredRoom>) {
        let log = self.log();
        self.inner().bell = Some(bell);
        (Box::new(log), self.inner().synced.rooms(owns))
    }

    /// The process has ended: pushed entries are on the disk when the log is opened again.
    fn close(&mut self, _: ShardId) {
        self.kill();
    }
}

impl Inner {
    fn sync(&mut self, entries: usize) {
        if self.is_failing || self.queue.is_empty() || entries == 0 {
            return;
        }
        for entry in self.queue.drain(..entries.min(self.queue.len())) {
            self.synced.apply(&entry);
        }
        let position = Position(self.position - self.queue.len() as u64);
        self.news.push_back(News::Durable(position));
    }

    fn answer(&mut self, request: &ReadRequest) {
        let batches = self.synced.page(request, PAGE_BATCHES_MAX);
        self.news.push_back(News::Page { request: request.request, batches });
    }
}

/// One shard's handle of the disk.
#[derive(Debug)]
pub struct DiskLog(Disk);

impl DurableLog for DiskLog {
    fn level(&self) -> Durability {
        Durability::Disk
    }

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
