//! The store's copy of a shard's log, as a stand uses it.
//!
//! Not here: SQLite (`grandstand_store`), when a record is applied (`grandstand_cluster::stand`).

use bytes::Bytes;
use grandstand_cluster::stand::Copy;
use grandstand_engine::log::{Entry, News, ReadRequest, StoredRoom};
use grandstand_store::{CopyHead, ShardCopy, encode_entry};

/// See the file's head.
pub(super) struct StoreCopy(pub(super) ShardCopy);

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
        self.0.is_sound()
    }
}
