//! A room of a copy in memory: the end of its log, its latest nonces and its newest batches, kept while
//! entries are applied.
//!
//! Why: at a claim a node takes over all rooms of a shard at once, and must not read each from the disk.
//! Invariant: it holds what `restore` would read from the database, as long as no bound of all rooms
//! (`newest`) takes batches away.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::Batch;
use grandstand_engine::log::{BatchEntry, Entry, StoredNonce, StoredRoom};

use crate::config::StoreConfig;
use crate::record::{Record, Sealed};
use crate::room_state::RoomState;

/// Bounds of what one room keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    nonces_max: usize,
    nonce_window_ms: u64,
    batches_max: usize,
    bytes_max: usize,
}

impl Bounds {
    pub(super) fn of(config: &StoreConfig) -> Bounds {
        Bounds {
            // One more than a room remembers, as in `restore`.
            nonces_max: config.nonces_max.saturating_add(1),
            nonce_window_ms: config.nonce_window_ms,
            batches_max: config.newest_batches_max,
            bytes_max: config.newest_bytes_max,
        }
    }
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct CopiedRoom {
    /// Different for each room that was ever begun here, also under one name.
    pub(super) id: u64,
    pub(super) state: RoomState,
    nonces: VecDeque<StoredNonce>,
    newest: VecDeque<(Arc<Batch>, Option<Bytes>)>,
    newest_bytes: usize,
    /// Batches that left `newest` and are still in the order of all rooms: the oldest of this room there.
    pub(super) gone: usize,
}

fn bytes_of((batch, full): &(Arc<Batch>, Option<Bytes>)) -> usize {
    batch.wire.len() + full.as_ref().map_or(0, Bytes::len)
}

/// How a record changed the newest batches of a room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    /// Bytes of the batch that came, if one did.
    pub(super) came: Option<usize>,
    /// Batches that left, and their bytes.
    pub(super) left: usize,
    pub(super) left_bytes: usize,
}

impl CopiedRoom {
    /// A room at the end of these records.
    pub(super) fn new(id: u64, state: RoomState) -> CopiedRoom {
        CopiedRoom { id, state, nonces: VecDeque::new(), newest: VecDeque::new(), newest_bytes: 0, gone: 0 }
    }

    /// The same, as `restore` read it. Returns the bytes of its newest batches, oldest first.
    pub(super) fn restore(id: u64, state: RoomState, stored: StoredRoom) -> (CopiedRoom, Vec<usize>) {
        let mut room = CopiedRoom::new(id, state);
        room.nonces = stored.nonces.into();
        room.newest = stored.newest.into();
        let bytes: Vec<usize> = room.newest.iter().map(bytes_of).collect();
        room.newest_bytes = bytes.iter().sum();
        (room, bytes)
    }

    /// Go on by a record. `None`: it does not follow, and nothing changed.
    pub(super) fn take(&mut self, sealed: &Sealed, bounds: Bounds) -> Option<Change> {
        let due = self.state.next_offset;
        if !self.state.go_on(sealed) {
            return None;
        }
        let mut change = Change::default();
        if let Record::Entry(Entry::Batch(entry)) = &sealed.record {
            self.own_values(entry);
            if entry.batch.has_chat() {
                if entry.batch.first_offset != due {
                    self.forget(&mut change);
                }
                self.take_batch(entry, bounds, &mut change);
            }
        } else if self.state.next_offset != due {
            // It was kept in memory for a while: what is here does not end with its next offset.
            self.forget(&mut change);
        }
        Some(change)
    }

    /// The state lives long, and must not keep the bytes of whole batches.
    fn own_values(&mut self, entry: &BatchEntry) {
        for (key, _) in entry.state.iter().flat_map(|state| &state.changes) {
            if let Some(value) = self.state.values.get_mut(key) {
                *value = Bytes::copy_from_slice(value);
            }
        }
    }

    fn take_batch(&mut self, entry: &BatchEntry, bounds: Bounds, change: &mut Change) {
        let time_ms = entry.batch.time_ms;
        let covered = entry.batch.next_offset - entry.batch.first_offset;
        if entry.nonces.len() as u64 == covered {
            let nonces = entry.nonces.iter();
            self.nonces.extend(nonces.map(|&(user, nonce)| StoredNonce { user, nonce, time_ms }));
            let oldest_ms = time_ms.saturating_sub(bounds.nonce_window_ms);
            let is_old = |nonce: Option<&StoredNonce>| nonce.is_some_and(|nonce| nonce.time_ms < oldest_ms);
            while self.nonces.len() > bounds.nonces_max || is_old(self.nonces.get(1)) {
                self.nonces.pop_front();
            }
        } else {
            self.nonces.clear();
        }
        let newest = (entry.batch.clone(), entry.full.clone());
        let bytes = bytes_of(&newest);
        self.newest.push_back(newest);
        self.newest_bytes += bytes;
        change.came = Some(bytes);
        while self.newest.len() > bounds.batches_max || self.newest_bytes > bounds.bytes_max {
            self.drop_oldest(change);
        }
    }

    fn drop_oldest(&mut self, change: &mut Change) {
        let Some(oldest) = self.newest.pop_front() else { return };
        let bytes = bytes_of(&oldest);
        self.newest_bytes -= bytes;
        self.gone += 1;
        (change.left, change.left_bytes) = (change.left + 1, change.left_bytes + bytes);
    }

    fn forget(&mut self, change: &mut Change) {
        self.nonces.clear();
        while !self.newest.is_empty() {
            self.drop_oldest(change);
        }
    }

    /// All rooms keep too much: the oldest batch leaves, which is also the first of this room in the order of
    /// all. Returns its bytes.
    pub(super) fn give_up_oldest(&mut self) -> usize {
        self.newest.pop_front().map_or(0, |oldest| {
            let bytes = bytes_of(&oldest);
            self.newest_bytes -= bytes;
            bytes
        })
    }

    /// Retention removed everything before an offset.
    pub(super) fn trim(&mut self, oldest_offset: u64) -> Change {
        let mut change = Change::default();
        self.state.oldest_offset = self.state.oldest_offset.max(oldest_offset).min(self.state.next_offset);
        while self.newest.front().is_some_and(|(batch, _)| batch.next_offset <= oldest_offset) {
            self.drop_oldest(&mut change);
        }
        change
    }

    /// Number of its newest batches, and their bytes.
    pub(super) fn newest(&self) -> (usize, usize) {
        (self.newest.len(), self.newest_bytes)
    }

    /// The room as a shard gets it.
    pub(super) fn stored(&self) -> StoredRoom {
        let state = &self.state;
        let mut room = state.room.clone();
        room.next_offset = state.next_offset;
        StoredRoom {
            room,
            previous: state.previous.clone(),
            oldest_offset: state.oldest_offset,
            next_offset: state.next_offset,
            time_ms: state.time_ms,
            state: state.values.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            state_version: state.state_version,
            nonces: self.nonces.iter().copied().collect(),
            newest: self.newest.iter().cloned().collect(),
        }
    }
}
