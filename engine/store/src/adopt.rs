//! Adoption: the committer puts a snapshot in place of one shard's copy.
//!
//! Why one transaction: a crash, a power cut or a full disk in the middle leaves the copy that was there. The
//! write-ahead log grows by the snapshot, and other shards' commits wait that long; their records wait in
//! memory within their bound.
//! Invariants: records of the old copy are in the journal still, and are never applied again: each of its
//! rooms has a row that says that the journal is behind it up to here. Nothing else of the database changes.
//! Not here: when (`committer`), what the copy has in memory (`copy`).

use rusqlite::{Connection, Transaction};

use crate::adoption::Adoption;
use crate::compaction::Rooms;
use crate::error::StoreError;
use crate::journal::Journal;
use crate::recovery::Survey;
use crate::room_state::RoomState;
use crate::tables::{self, CopyPart, Name, RoomRow, RowKind};

/// What the adoption changed, settled after its commit.
#[derive(Debug)]
pub(crate) struct Adopted {
    rows: Vec<RoomRow>,
    gone: Vec<RoomRow>,
    next: (i64, i64),
    parts: Vec<CopyPart>,
    positions: Vec<u64>,
    row: (u64, u64),
    /// Bytes that were written.
    pub(crate) bytes: u64,
}

/// Replace a shard's copy, and commit. `unwritten` are names of its rooms that only the journal has.
///
/// # Errors
/// The snapshot is not readable any more, or the disk does not take it: nothing changed.
pub(crate) fn adopt(
    conn: &mut Connection,
    (rooms, journal): (&Rooms, &Journal),
    adoption: &Adoption,
    unwritten: Vec<Name>,
) -> Result<Adopted, StoreError> {
    let from = Survey::of(&adoption.path)?;
    let fault = StoreError::sqlite(&adoption.path);
    let shard = adoption.shard as u16;
    let tx = conn.transaction().map_err(&fault)?;
    let moved = journal.next_id;
    let mut next = (rooms.next_room, rooms.next_segment);
    let is_mine = |row: &&RoomRow| row.state.shard == Some(shard);
    let mut gone: Vec<RoomRow> = rooms.live.values().filter(is_mine).cloned().collect();
    for name in unwritten.into_iter().filter(|name| !rooms.live.contains_key(name)) {
        let state = RoomState { shard: Some(shard), ..RoomState::new(name, 0, 0) };
        gone.push(RoomRow { id: next.0, is_removed: true, moved, state });
        next.0 += 1;
    }
    for row in &mut gone {
        (row.is_removed, row.moved) = (true, moved);
        tables::put_room(&tx, row, false).map_err(&fault)?;
    }
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for name in from.views.keys() {
        let (row, more) = copy_room(&from, (name, shard, moved), &tx, &mut next)?;
        rows.push(row);
        bytes += more;
    }
    let live = rooms.live.len() - rooms.live.values().filter(is_mine).count() + rows.len();
    tables::put_room_count(&tx, live as u64).map_err(&fault)?;
    let mut parts = journal.copies.clone().unwrap_or_default();
    parts[adoption.shard] = CopyPart { head: Some(adoption.head.clone()), ..CopyPart::default() };
    let mut positions = journal.positions.clone();
    positions[adoption.shard] = adoption.position;
    let data = journal.header_of(RowKind::Commit, &positions, Some(&parts));
    let checksum = tables::insert_journal(&tx, journal.next_id, &data).map_err(&fault)?;
    tx.commit().map_err(&fault)?;
    Ok(Adopted { rows, gone, next, parts, positions, row: (checksum, data.len() as u64), bytes })
}

fn copy_room(
    from: &Survey,
    (name, shard, moved): (&Name, u16, i64),
    tx: &Transaction<'_>,
    next: &mut (i64, i64),
) -> Result<(RoomRow, u64), StoreError> {
    let corrupt = |text: String| StoreError::corrupt(&from.path, format!("room {name}: {text}"));
    let fault = StoreError::sqlite(&from.path);
    let (Some(found), records) = from.parts(name) else {
        return Err(corrupt("it has no row".to_owned()));
    };
    if !records.is_empty() {
        return Err(corrupt("it has records in the journal: it is no snapshot".to_owned()));
    }
    let mut bytes = 0;
    for id in tables::segments_from_all(&from.conn, found.id).map_err(|why| corrupt(why.to_string()))? {
        let mut segment = tables::segment_whole(&from.conn, id).map_err(|why| corrupt(why.to_string()))?;
        segment.room = next.0;
        bytes += segment.data.len() as u64;
        tables::insert_segment(tx, next.1, &segment).map_err(&fault)?;
        next.1 += 1;
    }
    let mut state = found.state.clone();
    state.shard = Some(shard);
    let row = RoomRow { id: next.0, is_removed: false, moved, state };
    tables::put_room(tx, &row, true).map_err(&fault)?;
    next.0 += 1;
    Ok((row, bytes))
}

impl Adopted {
    /// It is committed: memory follows.
    pub(crate) fn settle(self, rooms: &mut Rooms, journal: &mut Journal) {
        for row in self.gone {
            rooms.remove(&row.state.room.room);
            rooms.removed.push_back(row);
        }
        self.rows.into_iter().for_each(|row| rooms.put(row));
        (rooms.next_room, rooms.next_segment) = self.next;
        journal.settle_copies(Some(self.parts));
        let (checksum, bytes) = self.row;
        journal.settle(checksum, bytes, self.positions);
    }
}
