//! The store's copy of a shard's log, as a stand uses it.
//!
//! Not here: SQLite (`grandstand_store`), when a record is applied (`grandstand_cluster::stand`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use grandstand_cluster::stand::Copy;
use grandstand_engine::log::{Entry, News, ReadRequest, StoredRoom};
use grandstand_store::snapshot::Snapshot;
use grandstand_store::{CopyHead, ShardCopy, encode_entry};

/// See the file's head.
pub(super) struct StoreCopy(pub(super) ShardCopy, pub(super) Arc<Slot>);

/// What passes between a copy, which is on its shard's thread, and whoever brings it a snapshot.
#[derive(Debug, Default)]
pub(super) struct Slot {
    snapshot: Mutex<Option<Snapshot>>,
    end: Mutex<Option<Result<(), String>>>,
    is_damaged: AtomicBool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// Leave a snapshot for the copy.
    pub(super) fn put(&self, snapshot: Snapshot) {
        *lock(&self.end) = None;
        *lock(&self.snapshot) = Some(snapshot);
    }

    /// Did the copy take it?
    pub(super) fn take_end(&self) -> Option<Result<(), String>> {
        lock(&self.end).take()
    }

    /// Is something of the copy not as it was written?
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }
}

impl Copy for StoreCopy {
    fn encode(&self, entry: &Entry) -> Bytes {
        encode_entry(entry)
    }

    fn head(&self) -> Option<Bytes> {
        self.0.head().map(|head| head.bytes().clone())
    }

    fn apply(&mut self, position: u64, head: Bytes, entries: &[Bytes]) {
        self.0.apply(CopyHead::new(position, head), entries);
    }

    fn begin_term(&mut self, position: u64, head: Bytes, term: u64, is_clean: bool, adopted: &[Bytes]) {
        self.0.begin_term(CopyHead::new(position, head), term, is_clean, adopted);
    }

    fn rooms(&mut self) -> Vec<StoredRoom> {
        self.0.rooms()
    }

    fn read(&mut self, request: ReadRequest) {
        self.0.read(request);
    }

    fn poll(&mut self) -> Option<News> {
        self.0.poll()
    }

    fn is_sound(&self) -> bool {
        self.1.is_damaged.store(self.0.is_damaged(), Ordering::Relaxed);
        self.0.is_sound()
    }

    fn accepts(&self) -> bool {
        self.0.accepts()
    }

    fn take_replaced(&mut self) -> Option<Bytes> {
        if let Some(snapshot) = lock(&self.1.snapshot).take() {
            self.0.adopt(snapshot);
        }
        let end = self.0.poll_adoption()?;
        let head = end.as_ref().ok().map(|head| head.bytes().clone());
        *lock(&self.1.end) = Some(end.map(|_| ()));
        head
    }
}
