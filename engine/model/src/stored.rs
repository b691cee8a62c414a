//! A model of a durable log's contents: the state of each room after its entries.
//!
//! Invariant: an entry that does not continue its room's log is a broken promise, and panics.
//! Not here: when an entry is synced, which entries survive a crash (`disk`, `grandstand-sim`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::{Alias, Batch, Compressed, Lineage, PageOf, PreviousEpoch};
use grandstand_engine::log::{
    BatchEntry, Entry, News, ReadRequest, RoomEntry, StateEntry, StoredNonce, StoredRoom,
};

/// Newest batches of a room that a shard gets at its start.
const NEWEST_MAX: usize = 8;

/// The rooms of a log.
#[derive(Clone, Debug, Default)]
pub struct StoredLog {
    rooms: BTreeMap<Arc<str>, Stored>,
}

#[derive(Clone, Debug)]
struct Stored {
    entry: RoomEntry,
    previous: Lineage,
    next_offset: u64,
    time_ms: u64,
    state: BTreeMap<Box<str>, Bytes>,
    state_version: u64,
    nonces: VecDeque<StoredNonce>,
    chat: VecDeque<(Arc<Batch>, Option<Bytes>)>,
}

impl StoredLog {
    /// Take the next entry.
    ///
    /// # Panics
    /// If it does not continue its room's log.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Room(entry) => {
                let stored =
                    self.rooms.entry(entry.room.clone()).or_insert_with(|| Stored::new(entry.clone()));
                let room = &entry.room;
                assert_eq!(
                    stored.entry.epoch, entry.epoch,
                    "another log of {room} without the removal of this one"
                );
                let goes_on = stored.next_offset == entry.next_offset;
                // The chat of a head is not kept, and its offsets go on all the same.
                let is_ahead = stored.entry.is_head && stored.next_offset < entry.next_offset;
                assert!(goes_on || is_ahead, "next offset of {room}");
                stored.next_offset = entry.next_offset;
                stored.entry = entry.clone();
            }
            Entry::Removed { room, epoch } => {
                let stored = self.rooms.remove(room).expect("only what is there is removed");
                assert_eq!(stored.entry.epoch, *epoch, "removed another log of {room}");
            }
            Entry::Batch(batch) => {
                self.rooms.get_mut(&batch.room).expect("a room is announced first").append(batch);
            }
        }
    }

    /// Does an entry continue its room's log? [`StoredLog::apply`] panics over one that does not. A cluster's
    /// copies leave such an entry out.
    pub fn continues(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Room(entry) => self.rooms.get(&entry.room).is_none_or(|stored| {
                let is_ahead = stored.entry.is_head && stored.next_offset < entry.next_offset;
                stored.entry.epoch == entry.epoch && (stored.next_offset == entry.next_offset || is_ahead)
            }),
            Entry::Removed { room, epoch } => {
                self.rooms.get(room).is_some_and(|stored| stored.entry.epoch == *epoch)
            }
            Entry::Batch(entry) => {
                let BatchEntry { room, epoch, batch, state, .. } = &**entry;
                self.rooms.get(room).is_some_and(|stored| {
                    let is_newer = |state: &StateEntry| state.version > stored.state_version;
                    let is_head = stored.entry.is_head;
                    stored.entry.epoch == *epoch
                        && (stored.next_offset == batch.first_offset || is_head)
                        && !(is_head && batch.has_chat())
                        && (!batch.has_chat() || batch.time_ms >= stored.time_ms)
                        && state.as_ref().is_none_or(is_newer)
                })
            }
        }
    }

    /// The batches of a requested page, at most `batches_max`.
    pub fn page(&self, request: &ReadRequest, batches_max: usize) -> Vec<Arc<Batch>> {
        let Some(stored) = self.rooms.get(&request.room) else { return Vec::new() };
        let mut bytes = 0;
        let renamed = |(batch, full): &(Arc<Batch>, Option<Bytes>)| {
            let is_full = matches!(request.of, PageOf::Full { .. });
            let wire = full.as_ref().filter(|_| is_full).unwrap_or(&batch.wire);
            anonymous(batch, under_alias(wire, request.alias))
        };
        let fits = |(batch, _): &&(Arc<Batch>, Option<Bytes>)| {
            let is_first = bytes == 0;
            bytes += batch.wire.len();
            is_first || bytes <= request.bytes_max
        };
        let reaching = stored.chat.iter().skip_while(|(batch, _)| batch.next_offset <= request.from);
        reaching.take(request.batches_max.min(batches_max)).take_while(fits).map(renamed).collect()
    }

    /// Retention removes the oldest batches of a room, until `left` remain. Returns the news for the shard.
    pub fn trim(&mut self, room: &str, left: usize) -> Option<News> {
        let stored = self.rooms.get_mut(room)?;
        stored.chat.drain(..stored.chat.len().saturating_sub(left));
        let (room, epoch) = (stored.entry.room.clone(), stored.entry.epoch);
        Some(News::Trimmed { room, epoch, oldest_offset: stored.oldest_offset() })
    }

    /// Number of batches with chat of each room.
    pub fn batch_counts(&self) -> Vec<(Arc<str>, usize)> {
        self.rooms.iter().map(|(name, stored)| (name.clone(), stored.chat.len())).collect()
    }

    /// Remove the batches of a room's log that end at an offset or before it.
    pub fn forget_before(&mut self, room: &str, epoch: u64, offset: u64) {
        if let Some(stored) = self.rooms.get_mut(room).filter(|stored| stored.entry.epoch == epoch) {
            stored.chat.retain(|(batch, _)| batch.next_offset > offset);
        }
    }

    /// Give every room a new epoch, made from the one before, as after a power cut.
    pub fn renew(&mut self, mut epoch: impl FnMut(u64) -> u64) {
        for stored in self.rooms.values_mut() {
            let before = PreviousEpoch { epoch: stored.entry.epoch, next_offset: stored.next_offset };
            stored.previous = stored.previous.continued(before);
            stored.entry.epoch = epoch(before.epoch);
        }
    }

    /// Store a room as versions without recorded slots did.
    pub fn forget_slot(&mut self, room: &str) {
        if let Some(stored) = self.rooms.get_mut(room) {
            stored.entry.slot = None;
        }
    }

    /// A room as a shard finds it at its start.
    pub fn room(&self, name: &str) -> Option<StoredRoom> {
        self.rooms.get(name).map(Stored::found)
    }

    /// The rooms that a shard finds at its start, if it owns these names.
    pub fn rooms(&self, owns: impl Fn(&str) -> bool) -> Vec<StoredRoom> {
        self.rooms.iter().filter(|(name, _)| owns(name)).map(|(_, stored)| stored.found()).collect()
    }
}

impl Stored {
    fn new(entry: RoomEntry) -> Stored {
        Stored {
            next_offset: entry.next_offset,
            entry,
            previous: Lineage::default(),
            time_ms: 0,
            state: BTreeMap::new(),
            state_version: 0,
            nonces: VecDeque::new(),
            chat: VecDeque::new(),
        }
    }

    fn append(&mut self, entry: &BatchEntry) {
        let BatchEntry { epoch, batch, full, nonces, state, .. } = entry;
        assert_eq!(*epoch, self.entry.epoch, "a batch of another log");
        assert!(batch.has_chat() || state.is_some(), "nothing to keep");
        let is_head = self.entry.is_head;
        assert!(!is_head || !batch.has_chat(), "a head has no chat");
        assert!(batch.first_offset == self.next_offset || is_head, "a hole between offsets");
        assert_eq!(nonces.len() as u64, batch.next_offset - batch.first_offset, "a nonce for each offset");
        if batch.has_chat() {
            self.next_offset = batch.next_offset;
        }
        let stored = |&(user, nonce): &_| StoredNonce { user, nonce, time_ms: batch.time_ms };
        self.nonces.extend(nonces.iter().map(stored));
        if batch.has_chat() {
            assert!(batch.time_ms >= self.time_ms, "times go back");
            self.time_ms = batch.time_ms;
            self.chat.push_back((batch.clone(), full.clone()));
        }
        if let Some(StateEntry { version, changes }) = state {
            assert!(*version > self.state_version, "a version of the state given twice");
            self.state_version = *version;
            for (key, value) in changes {
                assert_ne!(&**key, grandstand_engine::VIEWERS_KEY, "the viewer count is not kept");
                match value {
                    Some(value) => self.state.insert(key.clone(), value.clone()),
                    None => self.state.remove(key),
                };
            }
        }
    }

    fn oldest_offset(&self) -> u64 {
        self.chat.front().map_or(self.next_offset, |(batch, _)| batch.first_offset)
    }

    fn found(&self) -> StoredRoom {
        let nobody = Alias(u32::MAX);
        let newest = self.chat.iter().skip(self.chat.len().saturating_sub(NEWEST_MAX));
        let newest = newest.map(|(batch, full)| {
            let full = full.as_ref().map(|full| under_alias(full, nobody));
            (anonymous(batch, under_alias(&batch.wire, nobody)), full)
        });
        StoredRoom {
            room: RoomEntry { next_offset: self.next_offset, ..self.entry.clone() },
            previous: self.previous.clone(),
            oldest_offset: self.oldest_offset(),
            next_offset: self.next_offset,
            time_ms: self.time_ms,
            state: self.state.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            state_version: self.state_version,
            nonces: self.nonces.iter().copied().collect(),
            newest: newest.collect(),
        }
    }
}

/// A batch as a log returns it: its number must not be used.
fn anonymous(batch: &Batch, wire: Bytes) -> Arc<Batch> {
    let (seq, compressed) = (u64::MAX / 2, Compressed::default());
    Arc::new(Batch { seq, wire, compressed, snapshot: None, ..batch.clone() })
}

/// The same batch under another alias.
///
/// # Panics
/// If `wire` is not a batch that a shard sealed.
pub fn under_alias(wire: &Bytes, alias: Alias) -> Bytes {
    grandstand_protocol::batch::with_alias(wire, alias.0).expect("a batch that a shard sealed")
}
