//! The copy: this node's own view of a shard's log, as a stand uses it.
//!
//! Why a trait: the store keeps it in SQLite, a test in memory.
//! Invariants: what was applied is visible at once, and after a crash the copy is as it was after some
//! earlier record, whose head it names. It never waits for the disk.
//! Not here: which records are valid (`record::Chain`), what an entry's bytes are (the store).

use bytes::Bytes;
use grandstand_engine::log::{Entry, News, ReadRequest, StoredRoom};

/// See the file's head.
pub trait Copy: Send {
    /// The bytes of an entry, with their length in front.
    fn encode(&self, entry: &Entry) -> Bytes;

    /// The head that came with the last record.
    fn head(&self) -> Option<Bytes>;

    /// Apply the entries of a record that the log has kept.
    fn apply(&mut self, position: u64, head: Bytes, entries: &[Bytes]);

    /// Apply a record that begins a term: first the adopted entries, then, unless the last owner handed the
    /// shard over, every room gets another epoch that continues the old one.
    fn begin_term(&mut self, position: u64, head: Bytes, term: u64, is_clean: bool, adopted: &[Bytes]);

    /// The rooms, as of all that was applied.
    fn rooms(&mut self) -> Vec<StoredRoom>;

    /// Begin to read a page; answered by [`News::Page`].
    fn read(&mut self, request: ReadRequest);

    /// The next news.
    fn poll(&mut self) -> Option<News>;

    /// May more be applied without memory growing beyond its bound? The log has what is not applied.
    fn accepts(&self) -> bool {
        true
    }

    /// Did a snapshot of another node take the place of the copy since the last question? Its head then.
    fn take_replaced(&mut self) -> Option<Bytes> {
        None
    }

    /// Can it be believed, and be written? A node whose copy is not sound owns no shard.
    fn is_sound(&self) -> bool;
}
