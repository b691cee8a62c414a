//! The log that is not open: stands in while the disk does not let the durable log be opened.
//!
//! Why: rooms in memory, and everybody who watches, must not wait for a disk. Publications to rooms on disk
//! are refused with a time to retry, as they are when a disk fills up while the node runs.
//! Invariant: it accepts nothing. What is pushed all the same (that a room was removed) is of rooms that were
//! never stored.
//! Not here: when the real log is opened (`retry`).

use std::collections::VecDeque;
use std::sync::Arc;

use grandstand_engine::link::ShardId;
use grandstand_engine::log::{
    DurableLog, Entry, LogSource, News, Position, ReadRequest, StoredRoom, Unavailable,
};
use grandstand_protocol::frame::Durability;
use grandstand_queue::Doorbell;

/// Time after which a refused publication may retry: the log is tried again meanwhile.
const RETRY_MS: u32 = 2_000;

/// Opens logs that are closed.
pub(crate) struct ClosedLogs;

impl LogSource for ClosedLogs {
    fn open(
        &mut self,
        _: ShardId,
        _: &dyn Fn(&str) -> bool,
        bell: Arc<Doorbell>,
    ) -> (Box<dyn DurableLog>, Vec<StoredRoom>) {
        (Box::new(ClosedLog { pushed: Position(0), news: VecDeque::new(), bell }), Vec::new())
    }

    fn close(&mut self, _: ShardId) {}
}

struct ClosedLog {
    pushed: Position,
    news: VecDeque<News>,
    bell: Arc<Doorbell>,
}

impl DurableLog for ClosedLog {
    fn level(&self) -> Durability {
        Durability::Disk
    }

    fn check(&self) -> Result<(), Unavailable> {
        Err(Unavailable { retry_after_ms: RETRY_MS })
    }

    fn push(&mut self, _: Entry) -> Position {
        self.pushed.0 += 1;
        self.news.retain(|news| !matches!(news, News::Durable(_)));
        self.news.push_back(News::Durable(self.pushed));
        self.bell.ring();
        self.pushed
    }

    /// Nothing is stored, so every page is empty.
    fn read(&mut self, request: ReadRequest) {
        self.news.push_back(News::Page { request: request.request, batches: Vec::new() });
        self.bell.ring();
    }

    fn poll(&mut self) -> Option<News> {
        self.news.pop_front()
    }
}
