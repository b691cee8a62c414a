//! Restore: the facts, newest batches and recent nonces of each room that a shard gets at a start.
//!
//! Records are read backwards from the newest: first the memtable, then segments, until enough is known.
//! Invariant: batches and nonces end at the room's next offset and have no gaps. Reading stops at a gap or at
//! damage.
//! Not here: pages of history (`reader`).

use std::collections::VecDeque;

use bytes::Bytes;
use grandstand_engine::log::{BatchEntry, Entry, StoredNonce, StoredRoom};
use rusqlite::Connection;

use crate::config::StoreConfig;
use crate::memtable::MemRecord;
use crate::record::{self, Record};
use crate::room_state::RoomState;
use crate::tables::{self, RowFault};

/// Segment ids looked up at a time: most rooms need one.
const SEGMENTS: usize = 4;

/// A room as a shard gets it, and descriptions of the damage found.
pub(crate) fn room(
    conn: &Connection,
    id: Option<i64>,
    state: RoomState,
    memtable: &VecDeque<MemRecord>,
    config: &StoreConfig,
) -> (StoredRoom, Option<String>) {
    let mut back = Back::new(&state, config);
    let mut fault = None;
    let mut wants = true;
    for kept in memtable.iter().rev() {
        wants =
            wants && record::read(&kept.bytes).is_ok_and(|sealed| back.take(sealed.record)) && !kept.begins;
    }
    let mut skip = 0;
    while wants && let Some(id) = id {
        let ids = match tables::segments_newest(conn, id, skip, SEGMENTS) {
            Ok(ids) => ids,
            Err(why) => {
                fault = Some(format!("room {}: {why}", state.room.room));
                break;
            }
        };
        skip += ids.len();
        wants = ids.len() == SEGMENTS;
        for segment in ids {
            let read = tables::segment(conn, segment, id);
            let text = match &read {
                Ok(read) => read.fault.clone(),
                Err(why) => Some(why.to_string()),
            };
            if let Some(text) = text {
                fault = Some(format!("room {}: {text}", state.room.room));
                wants = false;
                break;
            }
            let records = read.map(|read| read.records).unwrap_or_default();
            if !records.into_iter().rev().all(|sealed| back.take(sealed.record)) {
                wants = false;
                break;
            }
        }
    }
    (back.finish(state), fault)
}

/// A room's present state while the log runs: its row, advanced by the records of the memtable. Some of these
/// may have been moved into segments since they were looked up; then the row includes them.
pub(crate) fn state_now(
    conn: &Connection,
    name: &str,
    memtable: &VecDeque<MemRecord>,
) -> Result<(Option<i64>, Option<RoomState>), RowFault> {
    let row = tables::room_whole(conn, name)?;
    let (id, mut state) = row.map_or((None, None), |row| (Some(row.id), Some(row.state)));
    for kept in memtable {
        let Ok(sealed) = record::read(&kept.bytes) else { continue };
        let follows = state.as_ref().is_none_or(|state| sealed.base == state.checksum);
        if follows || (kept.begins && !is_in(&state, memtable)) {
            let _ = RoomState::advance(&mut state, &sealed);
        }
    }
    Ok((id, state))
}

/// Does a state end with a record of the memtable?
fn is_in(state: &Option<RoomState>, memtable: &VecDeque<MemRecord>) -> bool {
    let Some(state) = state else { return false };
    let ends =
        |kept: &MemRecord| record::read(&kept.bytes).is_ok_and(|sealed| sealed.checksum == state.checksum);
    memtable.iter().any(ends)
}

/// Reads records backwards.
struct Back {
    due: u64,
    oldest_ms: u64,
    batches_left: usize,
    bytes_left: usize,
    nonces_left: usize,
    newest: VecDeque<(std::sync::Arc<grandstand_engine::link::Batch>, Option<Bytes>)>,
    /// Newest first.
    nonces: Vec<StoredNonce>,
}

impl Back {
    fn new(state: &RoomState, config: &StoreConfig) -> Back {
        Back {
            due: state.next_offset,
            // By the room's own time, since the clock may have jumped.
            oldest_ms: state.time_ms.saturating_sub(config.nonce_window_ms),
            batches_left: config.newest_batches_max,
            bytes_left: config.newest_bytes_max,
            // One more than a room remembers: its time tells how far back the others are complete.
            nonces_left: config.nonces_max.saturating_add(1),
            newest: VecDeque::new(),
            nonces: Vec::new(),
        }
    }

    /// Take the record before those taken. Returns whether another is needed.
    fn take(&mut self, record: Record) -> bool {
        let Record::Entry(Entry::Batch(entry)) = record else { return true };
        if !entry.batch.has_chat() {
            return true;
        }
        if entry.batch.next_offset > self.due {
            // It was taken from the memtable before, and was moved into a segment since.
            return true;
        }
        if entry.batch.next_offset != self.due {
            return false;
        }
        self.due = entry.batch.first_offset;
        self.take_nonces(&entry);
        let bytes = entry.batch.wire.len() + entry.full.as_ref().map_or(0, Bytes::len);
        if self.batches_left > 0 && bytes <= self.bytes_left {
            (self.batches_left, self.bytes_left) = (self.batches_left - 1, self.bytes_left - bytes);
            self.newest.push_front((entry.batch, entry.full));
        } else {
            self.batches_left = 0;
        }
        self.batches_left > 0 || self.nonces_left > 0
    }

    fn take_nonces(&mut self, entry: &BatchEntry) {
        let time_ms = entry.batch.time_ms;
        let covered = entry.batch.next_offset - entry.batch.first_offset;
        if entry.nonces.len() as u64 != covered {
            self.nonces_left = 0;
        } else if time_ms < self.oldest_ms {
            // Only the newest of those that are too old, for its time.
            self.nonces_left = self.nonces_left.min(1);
        }
        let newest = entry.nonces.iter().rev().take(self.nonces_left);
        let before = self.nonces.len();
        self.nonces.extend(newest.map(|&(user, nonce)| StoredNonce { user, nonce, time_ms }));
        self.nonces_left -= self.nonces.len() - before;
    }

    fn finish(mut self, mut state: RoomState) -> StoredRoom {
        self.nonces.reverse();
        state.room.next_offset = state.next_offset;
        StoredRoom {
            previous: state.previous,
            oldest_offset: state.oldest_offset,
            next_offset: state.next_offset,
            time_ms: state.time_ms,
            state: state.values.into_iter().collect(),
            state_version: state.state_version,
            nonces: self.nonces,
            newest: self.newest.into(),
            room: state.room,
        }
    }
}
