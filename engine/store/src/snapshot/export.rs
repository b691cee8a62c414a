//! Export: writes one shard of a database that serves into a file of its own.
//!
//! Invariants: the source is read in one transaction and never written. The file gets its name when it was
//! checked and synced.
//! Not here: who takes the file (`adopt`).

use std::fs::{self, File};
use std::path::Path;

use rusqlite::Connection;

use crate::clock::unix_ms;
use crate::compaction::{Compacted, write_room};
use crate::copy_head::CopyHead;
use crate::error::StoreError;
use crate::recovery::{self, Survey};
use crate::schema;
use crate::tables::{self, CopyPart, Name, RoomRow, RowKind};
use crate::verify;

/// What a snapshot has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Up to where it has the shard's log.
    pub head: CopyHead,
    /// Its rooms.
    pub rooms: u64,
    /// Bytes of its file.
    pub bytes: u64,
}

/// Write a snapshot of one shard's copy into the file `to`. `from` is a data directory, in use or not, or a
/// backup. A file that is there is replaced.
///
/// # Errors
/// The copy is damaged or empty, or the disk has no room.
pub fn export(from: &Path, shard: u16, to: &Path) -> Result<Exported, StoreError> {
    let source = if from.is_dir() { from.join(schema::DATABASE) } else { from.to_owned() };
    let part = to.with_extension("part");
    remove(&part);
    let result = write(&source, shard, &part).and_then(|head| {
        let report = verify::run(&part)?;
        if let Some(fault) = report.faults.first() {
            return Err(StoreError::corrupt(&part, fault.clone()));
        }
        fs::rename(&part, to).map_err(StoreError::io(to, "rename to"))?;
        Ok(Exported { head, rooms: report.rooms, bytes: report.file_bytes })
    });
    if result.is_err() {
        remove(&part);
    }
    result
}

/// A file, and what SQLite may have left beside it.
fn remove(path: &Path) {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        let _ = fs::remove_file(name);
    }
}

fn write(source: &Path, shard: u16, to: &Path) -> Result<CopyHead, StoreError> {
    let survey = Survey::of(source)?;
    let own = survey.copies.as_ref().and_then(|parts| parts.get(usize::from(shard)));
    let Some(own) = own else {
        return Err(StoreError::corrupt(source, format!("it is no copy of a shard {shard}")));
    };
    if own.is_damaged {
        return Err(StoreError::corrupt(source, format!("the copy of shard {shard} is damaged")));
    }
    let Some(head) = own.head.clone() else {
        return Err(StoreError::corrupt(source, format!("the copy of shard {shard} is empty")));
    };
    let fault = StoreError::sqlite(to);
    let mut conn = Connection::open(to).map_err(&fault)?;
    // One file, whose writes need no order: it is synced before it gets its name.
    conn.pragma_update(None, "journal_mode", "MEMORY").map_err(&fault)?;
    conn.pragma_update(None, "synchronous", "OFF").map_err(&fault)?;
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(&fault)?;
    schema::migrate(&mut conn, to, schema::MIGRATIONS, |_| Ok(()))?;
    tables::put_meta(&conn, recovery::number(), unix_ms()).map_err(&fault)?;
    let mut written = Compacted::at(1, 1);
    let mut count = 0;
    let mut names: Vec<&Name> = survey.views.keys().collect();
    names.sort_unstable();
    for name in names.into_iter().filter(|name| survey.shard_of(name) == Some(usize::from(shard))) {
        let tx = conn.transaction().map_err(&fault)?;
        written = write_one(&survey, (name, shard), &tx, written)?.0;
        tx.commit().map_err(&fault)?;
        count += 1;
    }
    let mut parts = vec![CopyPart::default(); survey.copies.as_ref().map_or(0, Vec::len)];
    parts[usize::from(shard)] = CopyPart { head: Some(head.clone()), ..CopyPart::default() };
    let header = tables::journal_header(RowKind::Restored, 0, &[], 0, Some(&parts));
    tables::insert_journal(&conn, 1, &header).map_err(&fault)?;
    tables::put_room_count(&conn, count).map_err(&fault)?;
    drop(conn);
    File::open(to).and_then(|file| file.sync_all()).map_err(StoreError::io(to, "sync"))?;
    Ok(head)
}

/// Write one room: its segments as they are, and what follows them as a segment more. Returns its row.
pub(super) fn write_one(
    survey: &Survey,
    (name, shard): (&Name, u16),
    conn: &Connection,
    mut written: Compacted,
) -> Result<(Compacted, Option<RoomRow>), StoreError> {
    let rotten = |text: String| StoreError::corrupt(&survey.path, format!("room {name}: {text}"));
    let fault = StoreError::sqlite(&survey.path);
    let (row, kept) = survey.parts(name);
    let mut row = match row {
        Some(row) => {
            let (id, mut next) = written.next();
            let ids =
                tables::segments_from_all(&survey.conn, row.id).map_err(|why| rotten(why.to_string()))?;
            for segment in ids {
                let segment = tables::segment_whole(&survey.conn, segment);
                let mut segment = segment.map_err(|why| rotten(why.to_string()))?;
                segment.room = id;
                tables::insert_segment(conn, next, &segment).map_err(&fault)?;
                next += 1;
            }
            written = Compacted::at(id + 1, next);
            let mut state = row.state.clone();
            state.shard = Some(shard);
            let row = RoomRow { id, is_removed: false, moved: 0, state };
            tables::put_room(conn, &row, true).map_err(&fault)?;
            Some(row)
        }
        None => None,
    };
    if !kept.is_empty() {
        write_room(conn, (row.as_ref(), 0), (&kept, Some(shard)), &mut written).map_err(&fault)?;
        row = written.take_row();
    }
    let (next_room, next_segment) = written.next();
    Ok((Compacted::at(next_room, next_segment), row))
}
