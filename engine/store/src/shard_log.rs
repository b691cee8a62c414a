//! A shard's handle of the log: it pushes without waiting, asks for pages, and receives news.
//!
//! Invariants: a push writes memory only (the file of the crash log and the memtable). The records of each
//! room are chained here, so their order is the order of the pushes.
//! Not here: the disk (`committer`), pages (`reader`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::channel::Sender;
use grandstand_engine::log::{DurableLog, Entry, News, Position, ReadRequest, Unavailable};
use grandstand_protocol::frame::Durability;

use crate::crash_log::CrashLog;
use crate::memtable::Shared;
use crate::reader::Ask;
use crate::record::{self, Record};
use crate::shard_end::ShardEnd;
use crate::status::Health;
use crate::tables::Name;

/// Time to retry after the queue was full: by then the committer has made many commits.
const RETRY_MS: u32 = 500;

/// The high bits of a request's number distinguish an owner's requests from those of earlier owners.
const GENERATION_SHIFT: u32 = 48;

#[derive(Debug)]
pub(crate) struct ShardLog {
    pub(crate) shard: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) end: ShardEnd,
    pub(crate) asks: Sender<Ask>,
}

impl ShardLog {
    /// The checksum that a record follows (0 if it begins its room's log), and the room's shared name.
    fn base(&self, record: &Record) -> (Name, u64) {
        match self.end.checksums.get_key_value(record.room()) {
            Some((name, &(epoch, checksum))) if epoch == record.epoch() => (name.clone(), checksum),
            Some((name, _)) => (name.clone(), 0),
            None => (record.room().clone(), 0),
        }
    }
}

impl DurableLog for ShardLog {
    fn level(&self) -> Durability {
        Durability::Disk
    }

    fn check(&self) -> Result<(), Unavailable> {
        let (shared, status) = (&self.shared, &self.shared.status);
        let retry_ms = shared.retry_ms.load(Ordering::Relaxed);
        if retry_ms > 0 {
            let now_ms = shared.now_us() / 1000;
            return Err(Unavailable { retry_after_ms: (retry_ms.saturating_sub(now_ms) as u32).max(100) });
        }
        let is_long = status.is_commit_long();
        let is_full = status.queue_bytes.load(Ordering::Relaxed) >= shared.queue_bytes_max;
        if (is_long || is_full) && status.health() == Health::Good {
            // Slow until the next commit is complete.
            status.set_health(Health::Slow);
        }
        if is_long || is_full || !self.end.crash_log.as_ref().is_some_and(CrashLog::is_on) {
            return Err(Unavailable { retry_after_ms: RETRY_MS });
        }
        Ok(())
    }

    fn push(&mut self, entry: Entry) -> Position {
        let record = Record::Entry(entry);
        let (name, base) = self.base(&record);
        let (bytes, checksum) = record::encode(&record, base);
        self.end.position += 1;
        let side = &self.shared.shards[self.shard];
        let crash_log = self.end.crash_log.as_mut().expect("an open log has one");
        crash_log.write(self.end.position, &bytes, side.durable());
        let is_removed = matches!(record, Record::Entry(Entry::Removed { .. }));
        if is_removed {
            self.end.checksums.remove(&name);
        } else if self.end.checksums.insert(name.clone(), (record.epoch(), checksum)).is_none() {
            self.shared.set_owner(&name, self.shard);
        }
        let status = &self.shared.status;
        status.queue_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let begins = base == 0 || is_removed;
        {
            let mut memtable = side.memtable();
            memtable.queue.push_back((self.end.position, bytes.clone()));
            memtable.keep(name, self.end.position, bytes, begins, record.next_offset());
            // Counted before the committer can take it; otherwise the committer would subtract first.
            status.queue_entries.fetch_add(1, Ordering::Release);
        }
        self.shared.bell.ring();
        Position(self.end.position)
    }

    fn read(&mut self, mut request: ReadRequest) {
        request.request |= u64::from(self.end.generation) << GENERATION_SHIFT;
        // The reader ends only when the store is being closed, and then no page is needed.
        let _ = self.asks.send(Ask { shard: self.shard, request });
    }

    fn poll(&mut self) -> Option<News> {
        loop {
            let news = self.shared.shards[self.shard].poll(&mut self.end.told)?;
            let News::Page { request, batches } = news else { return Some(news) };
            if request >> GENERATION_SHIFT == u64::from(self.end.generation) {
                let request = request & ((1 << GENERATION_SHIFT) - 1);
                return Some(News::Page { request, batches });
            }
        }
    }
}

impl Drop for ShardLog {
    fn drop(&mut self) {
        let end = ShardEnd {
            checksums: std::mem::take(&mut self.end.checksums),
            crash_log: self.end.crash_log.take(),
            ..self.end
        };
        self.shared.shards[self.shard].leave(end);
    }
}
