//! The log of an owner: what the shard pushes becomes entries of the cluster's log, and what the log has kept
//! comes back as news.
//!
//! Why a queue in between: the shard owns its [`DurableLog`], the stand owns the seat, and both run on one
//! thread. The lock is never contended.
//! A page of history is read from the node's own copy, which has what the log has kept. Batches that were
//! pushed before the request and are not kept yet are put behind it.
//! Invariant: positions of one term count from 1, as the indices of its entries do.
//! Not here: the appender (`appender`), the copy (`Copy`).

#![expect(clippy::disallowed_types, reason = "one lock, never contended: shard and stand share a thread")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grandstand_engine::link::{Batch, PageOf};
use grandstand_engine::log::{BatchEntry, DurableLog, Entry, News, Position, ReadRequest, Unavailable};
use grandstand_protocol::frame::Durability;

/// What the shard and the stand share.
#[derive(Debug)]
struct Shared {
    /// Entries that were pushed and not taken.
    pushed: VecDeque<Entry>,
    last: u64,
    /// Batches that the log has not kept, by position.
    unkept: VecDeque<(u64, BatchEntry)>,
    news: VecDeque<News>,
    reads: VecDeque<ReadRequest>,
    /// What was unkept when a page was asked for, by the number of the request.
    behind: BTreeMap<u64, (ReadRequest, Vec<BatchEntry>)>,
    available: Result<(), Unavailable>,
}

/// The stand's side.
#[derive(Clone, Debug)]
pub(super) struct OwnerLog(Arc<Mutex<Shared>>);

/// The shard's side.
struct ShardLog(Arc<Mutex<Shared>>);

impl OwnerLog {
    /// Of an owner whose term begins.
    pub(super) fn new() -> Self {
        OwnerLog(Arc::new(Mutex::new(Shared {
            pushed: VecDeque::new(),
            last: 0,
            unkept: VecDeque::new(),
            news: VecDeque::new(),
            reads: VecDeque::new(),
            behind: BTreeMap::new(),
            available: Ok(()),
        })))
    }

    /// For the shard.
    pub(super) fn for_shard(&self) -> Box<dyn DurableLog> {
        Box::new(ShardLog(self.0.clone()))
    }

    /// Whether the log takes more.
    pub(super) fn set_available(&self, available: Result<(), Unavailable>) {
        lock(&self.0).available = available;
    }

    /// The next entry that the shard pushed.
    pub(super) fn take_pushed(&self) -> Option<Entry> {
        lock(&self.0).pushed.pop_front()
    }

    /// Entries up to an index are kept.
    pub(super) fn handle_kept(&self, through: u64) {
        let mut shared = lock(&self.0);
        while shared.unkept.pop_front_if(|(position, _)| *position <= through).is_some() {}
        shared.news.push_back(News::Durable(Position(through)));
    }

    /// The next page that the shard asked for.
    pub(super) fn take_read(&self) -> Option<ReadRequest> {
        lock(&self.0).reads.pop_front()
    }

    /// News of the copy.
    pub(super) fn handle_news(&self, news: News) {
        let mut shared = lock(&self.0);
        let news = match news {
            News::Page { request, mut batches } => {
                if let Some((asked, behind)) = shared.behind.remove(&request) {
                    put_behind(&asked, &mut batches, &behind);
                }
                News::Page { request, batches }
            }
            // The copy's positions are its own.
            News::Durable(_) => return,
            News::Trimmed { .. } => news,
        };
        shared.news.push_back(news);
    }
}

/// Continue a page by batches that the copy did not have yet.
fn put_behind(asked: &ReadRequest, page: &mut Vec<Arc<Batch>>, behind: &[BatchEntry]) {
    let mut bytes: usize = page.iter().map(|batch| batch.wire.len()).sum();
    for entry in behind {
        let next = page.last().map(|batch| batch.next_offset);
        let follows = match next {
            Some(next) => entry.batch.first_offset == next,
            None => entry.batch.next_offset > asked.from,
        };
        if !follows {
            continue;
        }
        let wire = match (asked.of, &entry.full) {
            (PageOf::Full { .. }, Some(full)) => full.clone(),
            _ => entry.batch.wire.clone(),
        };
        let is_over = page.len() >= asked.batches_max || bytes + wire.len() > asked.bytes_max;
        if is_over && !page.is_empty() {
            return;
        }
        bytes += wire.len();
        page.push(Arc::new(Batch { wire, snapshot: None, ..(*entry.batch).clone() }));
    }
}

impl DurableLog for ShardLog {
    fn level(&self) -> Durability {
        Durability::Replicated
    }

    fn keeps_heads(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), Unavailable> {
        lock(&self.0).available
    }

    fn push(&mut self, entry: Entry) -> Position {
        let mut shared = lock(&self.0);
        shared.last += 1;
        let position = shared.last;
        if let Entry::Batch(batch) = &entry
            && batch.batch.has_chat()
        {
            shared.unkept.push_back((position, (**batch).clone()));
        }
        shared.pushed.push_back(entry);
        Position(position)
    }

    fn read(&mut self, request: ReadRequest) {
        let mut shared = lock(&self.0);
        let of_room = |entry: &&(u64, BatchEntry)| entry.1.room == request.room;
        let behind: Vec<_> = shared.unkept.iter().filter(of_room).map(|(_, entry)| entry.clone()).collect();
        if !behind.is_empty() {
            shared.behind.insert(request.request, (request.clone(), behind));
        }
        shared.reads.push_back(request);
    }

    fn poll(&mut self) -> Option<News> {
        lock(&self.0).news.pop_front()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
