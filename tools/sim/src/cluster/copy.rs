//! A node's copy of a shard's log, in memory, and what a crash leaves of it.
//!
//! Why a model: the store's copy has threads and SQLite. It is tested against this rule: an entry that does
//! not continue its room's log is left out, and everything else is applied in the order of the log.
//! Entries travel as numbers of a table that all nodes of a world share, each as long as its batch.
//! Invariant: after a crash the copy is as it was after some earlier record.
//! Not here: which records are valid (`grandstand_cluster::record`), what must be in them (`witness`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use grandstand_cluster::stand::Copy;
use grandstand_engine::link::epoch_after;
use grandstand_engine::log::{Entry, News, ReadRequest, StoredRoom};
use grandstand_model::StoredLog;

/// The entries of a world, by number. Clones are the same table.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryTable(Arc<Mutex<Vec<Entry>>>);

impl EntryTable {
    /// An entry as bytes, with its length in front.
    fn put(&self, entry: &Entry) -> Bytes {
        let mut entries = self.0.lock().expect("one thread");
        entries.push(entry.clone());
        let padding = match entry {
            Entry::Batch(batch) => batch.batch.wire.len(),
            Entry::Room(_) | Entry::Removed { .. } => 32,
        };
        let mut bytes = Vec::with_capacity(12 + padding);
        bytes.extend_from_slice(&(8 + padding as u32).to_le_bytes());
        bytes.extend_from_slice(&(entries.len() as u64 - 1).to_le_bytes());
        bytes.resize(12 + padding, 0);
        bytes.into()
    }

    /// The entry of these bytes.
    pub(crate) fn get(&self, bytes: &Bytes) -> Entry {
        let number = u64::from_le_bytes(bytes[4..12].try_into().expect("an entry of this table"));
        self.0.lock().expect("one thread")[number as usize].clone()
    }
}

/// Apply a record's entries to a log; entries that do not continue it are left out.
pub(crate) fn apply(
    log: &mut StoredLog,
    entries: impl IntoIterator<Item = Entry>,
    mut took: impl FnMut(&Entry),
) {
    for entry in entries {
        if log.continues(&entry) {
            log.apply(&entry);
            took(&entry);
        }
    }
}

/// One applied record.
#[derive(Clone, Debug)]
struct Applied {
    position: u64,
    head: Bytes,
    entries: Vec<Bytes>,
    /// The term that it begins, unless the last owner handed the shard over.
    forks: Option<u64>,
}

/// See the file's head. Clones are the same copy; it outlives the process.
#[derive(Clone, Debug)]
pub(crate) struct CopyDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    table: EntryTable,
    log: StoredLog,
    applied: Vec<Applied>,
    news: VecDeque<News>,
    is_sound: bool,
}

impl State {
    fn take(&mut self, record: Applied) {
        if self.applied.last().is_some_and(|last| last.position >= record.position) {
            return;
        }
        self.change(&record);
        self.applied.push(record);
    }

    fn change(&mut self, record: &Applied) {
        let entries = record.entries.iter().map(|bytes| self.table.get(bytes));
        apply(&mut self.log, entries, |_| {});
        if let Some(term) = record.forks {
            self.log.renew(|epoch| epoch_after(epoch, term));
        }
    }
}

impl CopyDisk {
    pub(crate) fn new(table: EntryTable) -> CopyDisk {
        let (log, applied, news) = (StoredLog::default(), Vec::new(), VecDeque::new());
        CopyDisk(Arc::new(Mutex::new(State { table, log, applied, news, is_sound: true })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("one thread")
    }

    /// A process begins. The last one may not have written its newest records.
    pub(crate) fn restart(&self, lost: usize) {
        let mut state = self.state();
        state.news.clear();
        if lost > 0 {
            let left = state.applied.len().saturating_sub(lost);
            state.applied.truncate(left);
            state.log = StoredLog::default();
            for record in state.applied.clone() {
                state.change(&record);
            }
        }
    }

    /// Can it be written?
    pub(crate) fn set_sound(&self, is_sound: bool) {
        self.state().is_sound = is_sound;
    }

    /// Its rooms, and the position of its last record.
    pub(crate) fn stored(&self) -> (u64, Vec<StoredRoom>) {
        let state = self.state();
        (state.applied.last().map_or(0, |last| last.position), state.log.rooms(|_| true))
    }
}

impl Copy for CopyDisk {
    fn encode(&self, entry: &Entry) -> Bytes {
        self.state().table.put(entry)
    }

    fn head(&self) -> Option<Bytes> {
        self.state().applied.last().map(|last| last.head.clone())
    }

    fn apply(&mut self, position: u64, head: Bytes, entries: &[Bytes]) {
        self.state().take(Applied { position, head, entries: entries.to_vec(), forks: None });
    }

    fn begin_term(&mut self, position: u64, head: Bytes, term: u64, is_clean: bool, adopted: &[Bytes]) {
        let forks = (!is_clean).then_some(term);
        self.state().take(Applied { position, head, entries: adopted.to_vec(), forks });
    }

    fn rooms(&mut self) -> Vec<StoredRoom> {
        self.state().log.rooms(|_| true)
    }

    fn read(&mut self, request: ReadRequest) {
        let mut state = self.state();
        let batches = state.log.page(&request, usize::MAX);
        state.news.push_back(News::Page { request: request.request, batches });
    }

    fn poll(&mut self) -> Option<News> {
        self.state().news.pop_front()
    }

    fn is_sound(&self) -> bool {
        self.state().is_sound
    }
}
