//! Recovery of copies: the rooms of each shard as the database has them, which may be an earlier position
//! than that of the last process.
//!
//! Why apart: what a copy lacks is in the cluster's log, and its holder applies it again. So nothing is lost,
//! no room gets a new epoch here, and there is neither a crash log nor a mark to compare with. Damage is
//! another matter: what was applied once and cannot be read comes from nowhere again. The copy serves what is
//! sound, and says that it is damaged, also after later starts.
//! Not here: reading rows and records (the module above), the copies themselves (`copy`).

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use foldhash::quality::RandomState;
use rusqlite::Connection;

use super::{Found, Opening, Work};
use crate::compaction::Rooms;
use crate::error::{LogKind, StoreError};
use crate::journal::Journal;
use crate::memtable::MemRecord;
use crate::room_state::RoomState;
use crate::tables::{self, CopyPart, Name, RowKind};
use crate::wal;

/// The rooms of one shard's copy.
#[derive(Debug, Default)]
pub(crate) struct ShardRooms {
    /// Each room with all its records, also those that are not in segments.
    pub(crate) views: Vec<RoomState>,
    pub(crate) memtables: HashMap<Name, VecDeque<MemRecord>, RandomState>,
}

/// Copies after recovery.
pub(crate) struct RecoveredCopies {
    pub(crate) rooms: Rooms,
    /// With the head of each copy.
    pub(crate) journal: Journal,
    pub(crate) shards: Vec<ShardRooms>,
    pub(crate) opening: Opening,
}

/// Recover copies of this number of shards, under `run`.
pub(crate) fn recover_copies(
    conn: &mut Connection,
    path: &Path,
    (run, shards): (u64, u16),
    is_new: bool,
    wal: wal::Found,
) -> Result<RecoveredCopies, StoreError> {
    let mut work = Work::new();
    let mut rooms = Rooms::default();
    let aside = work.take_rooms(conn, path, &mut rooms)?;
    let (mut journal, last) = work.take_journal(conn);
    let expected = LogKind::Copies(shards);
    let kind = last.as_ref().map(|last| match &last.copies {
        Some(copies) => LogKind::Copies(copies.len() as u16),
        None => LogKind::Own,
    });
    if let Some(found) = kind.filter(|&found| found != expected) {
        return Err(StoreError::OtherKind { path: path.to_owned(), found, expected });
    }
    // A power cut before the first commit leaves tables without rows.
    let is_empty = rooms.live.is_empty() && rooms.removed.is_empty() && work.memtables.is_empty();
    work.opening.found = match &last {
        None if is_new || is_empty && !work.is_lost => Found::New,
        None => work.lose("the journal is empty"),
        Some(last) if last.kind == RowKind::Restored => Found::Restored,
        Some(last) if last.kind == RowKind::Closed && wal.lost == 0 => Found::Clean,
        Some(_) => Found::Crashed { recovered: 0 },
    };
    let is_damaged = work.is_lost || !aside.is_empty() || !work.cut.is_empty() || work.opening.cut > 0;
    work.keep_aside(path)?;
    let mut copies = last.and_then(|last| last.copies).unwrap_or_default();
    copies.resize(usize::from(shards), CopyPart::default());
    for part in &mut copies {
        (part.records, part.is_damaged) = (0, part.is_damaged || is_damaged);
    }
    (journal.run, journal.positions) = (run, vec![0; usize::from(shards)]);
    journal.copies = Some(copies);
    begin_run(conn, path, &mut journal, (&aside, &rooms))?;
    let shards = work.by_shard(usize::from(shards));
    work.opening.rooms = shards.iter().map(|rooms| rooms.views.len() as u64).sum();
    Ok(RecoveredCopies { rooms, journal, shards, opening: work.opening })
}

/// Commit a row that records the new run.
fn begin_run(
    conn: &mut Connection,
    path: &Path,
    journal: &mut Journal,
    (aside, rooms): (&[i64], &Rooms),
) -> Result<(), StoreError> {
    let fault = StoreError::sqlite(path);
    let tx = conn.transaction().map_err(&fault)?;
    for id in aside {
        tx.execute("UPDATE rooms SET is_removed = 2 WHERE id = ?1", [id]).map_err(&fault)?;
    }
    if !aside.is_empty() {
        tables::put_room_count(&tx, rooms.live.len() as u64).map_err(&fault)?;
    }
    let data = journal.header(RowKind::Opened, &journal.positions);
    let checksum = tables::insert_journal(&tx, journal.next_id, &data).map_err(&fault)?;
    journal.add(journal.next_id, checksum, data.len() as u64);
    tx.commit().map_err(&fault)
}

impl Work {
    /// The rooms of each shard. A room whose shard is not known any more is of none.
    fn by_shard(&mut self, shards: usize) -> Vec<ShardRooms> {
        let mut all: Vec<ShardRooms> = (0..shards).map(|_| ShardRooms::default()).collect();
        for (name, state) in self.views.drain() {
            let known = self.shards.get(&name).copied();
            let shard = known.or_else(|| state.as_ref()?.shard.map(usize::from));
            let Some((at, rooms)) = shard.and_then(|at| Some((at, all.get_mut(at)?))) else { continue };
            if let Some(memtable) = self.memtables.remove(&name) {
                rooms.memtables.insert(name, memtable);
            }
            if let Some(mut state) = state {
                state.shard = Some(at as u16);
                rooms.views.push(state);
            }
        }
        all
    }
}
