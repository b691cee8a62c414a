//! A durable log under the test's hand: what it was given, what of it is synced, and what a shard finds after
//! a restart.
//!
//! Three levels, as `grandstand_engine::log` has them: what was pushed survives the process ([`Disk::kill`]);
//! what was synced survives a power cut ([`Disk::cut_power`]); nothing else survives.
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

/// Batches of one page: few, so that a reader comes back for more.
const PAGE_BATCHES_MAX: usize = 3;

/// A disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    is_prompt: bool,
    is_failing: bool,
    holds_reads: bool,
    position: u64,
    // Pushed and not synced.
    queue: VecDeque<Entry>,
    synced: StoredLog,
    news: VecDeque<News>,
    reads: VecDeque<ReadRequest>,
    read_count: usize,
    bell: Option<Arc<Doorbell>>,
}

impl Disk {
    /// One that syncs each entry as soon as it is pushed.
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

    /// Sync so many of the entries that wait.
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

    /// Take nothing from now on, or everything again.
    pub fn fail(&self, is_failing: bool) {
        self.inner().is_failing = is_failing;
    }

    /// Leave reads unanswered from now on.
    pub fn hold_reads(&self) {
        self.inner().holds_reads = true;
    }

    /// Answer the reads that wait, and each later one at once.
    pub fn answer_reads(&self) {
        let mut inner = self.inner();
        inner.holds_reads = false;
        let reads = std::mem::take(&mut inner.reads);
        reads.iter().for_each(|request| inner.answer(request));
    }

    /// Reads that came.
    pub fn read_count(&self) -> usize {
        self.inner().read_count
    }

    /// The process was killed: what was pushed is on the disk when it starts again.
    pub fn kill(&self) {
        let mut inner = self.inner();
        inner.is_failing = false;
        inner.sync(usize::MAX);
    }

    /// A power cut: what is not synced is lost, and every room has another log from now on.
    pub fn cut_power(&self, epoch: u64) {
        let mut inner = self.inner();
        inner.is_failing = false;
        inner.queue.clear();
        inner.synced.renew(|| epoch);
    }

    /// Retention takes the oldest batches of a room but for so many.
    pub fn trim(&self, room: &str, left: usize) {
        let mut inner = self.inner();
        let news = inner.synced.trim(room, left);
        inner.news.extend(news);
    }

    /// A room is as it was stored before slots were recorded.
    pub fn forget_slot(&self, room: &str) {
        self.inner().synced.forget_slot(room);
    }

    /// What the synced log says of a room.
    pub fn room(&self, name: &str) -> Option<StoredRoom> {
        self.inner().synced.room(name)
    }

    /// What a shard finds at its start.
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

    /// As of a process that has ended: what was pushed is on the disk when the log is opened again.
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

/// The disk as a shard has it.
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
