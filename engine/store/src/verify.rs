//! Verification of a log, end to end: SQLite's own check, every checksum, chain and offset, and every row of
//! a room.
//!
//! Invariant: verification changes nothing, and it continues after a fault, so the report names all faults.
//! Not here: repair.

use std::collections::HashMap;
use std::path::Path;

use foldhash::quality::RandomState;
use grandstand_engine::log::Entry;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::copy_head::CopyHead;
use crate::error::StoreError;
use crate::losses;
use crate::marks::{self, Mark};
use crate::record::{self, Record, Sealed};
use crate::room_state::RoomState;
use crate::schema;
use crate::tables::{self, CopyPart, JournalRow, Name, RoomRow, RowKind};
use crate::wal;

/// Faults that a report describes; the rest is only counted.
const FAULTS_MAX: usize = 100;

/// The contents of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The schema's version.
    pub version: i64,
    /// Rooms.
    pub rooms: u64,
    /// Segments.
    pub segments: u64,
    /// Batches with chat.
    pub batches: u64,
    /// Messages, shown or not.
    pub messages: u64,
    /// Bytes of all records.
    pub bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Descriptions of data that differs from what was written; at most a hundred.
    pub faults: Vec<String>,
    /// Number of all faults.
    pub fault_count: u64,
    /// Whether the last commit was begun and is not there, and something of it may have been written. A node
    /// that serves may be about to finish it; otherwise it is not known whether it was acknowledged.
    pub is_last_unsure: bool,
    /// The log is a cluster node's copies: the position of each shard's copy, if anything was applied.
    pub copies: Option<Vec<Option<u64>>>,
}

/// Check a database, a backup, or a data directory.
///
/// # Errors
/// It cannot be opened as a log at all.
pub fn run(path: &Path) -> Result<Report, StoreError> {
    let path = if path.is_dir() { path.join(schema::DATABASE) } else { path.to_owned() };
    if !path.exists() {
        return Err(StoreError::Missing { path });
    }
    // Before the database: a node may be writing, and a mark is settled after its commit.
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let is_log = path.file_name().is_some_and(|name| name == schema::DATABASE);
    let marks =
        if is_log { marks::read(dir).map_err(StoreError::io(dir, "read the marks in"))? } else { Vec::new() };
    let wal = wal::look(&path).map_err(StoreError::io(&path, "read the write-ahead log of"))?;
    let fault = StoreError::sqlite(&path);
    let conn = schema::open_reader(&path).map_err(&fault)?;
    // The write-ahead log stays as it is, if nobody else has the database open.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&fault)?;
    let version = schema::version(&conn).map_err(&fault)?;
    // Another program's version is beyond the newest here; a damaged one may be below none.
    if !(0..=schema::MIGRATIONS.len() as i64).contains(&version) {
        return Err(StoreError::Newer { path: path.clone(), version });
    }
    let file_bytes = std::fs::metadata(&path).map_or(0, |facts| facts.len());
    let mut walk = Walk { report: Report { version, file_bytes, ..Report::default() }, ..Walk::default() };
    if version == 0 {
        walk.fault("the header of the database says that it is empty (version 0)");
    }
    if schema::refuses_writes(&path).map_err(StoreError::io(&path, "read the header of"))? {
        walk.fault("the header of the database has a format that SQLite does not write");
    }
    let tx = conn.unchecked_transaction().map_err(&fault)?;
    walk.integrity(&tx);
    walk.rooms(&tx);
    let last = walk.journal(&tx);
    walk.copies(last.as_ref());
    walk.marks(&tx, last.as_ref(), marks, wal);
    for (path, text) in losses::read(dir).into_iter().filter(|_| is_log) {
        let text = text.trim_end().replace('\n', "; ");
        walk.fault(format!("{text} (as {} says: remove it when you have taken note)", path.display()));
    }
    // Including rooms that are only in the journal.
    walk.report.rooms = walk.rooms.values().flatten().count() as u64;
    Ok(walk.report)
}

#[derive(Default)]
struct Walk {
    report: Report,
    /// The position of each shard's copy after the rows so far.
    heads: Vec<u64>,
    rooms: HashMap<Name, Option<RoomState>, RandomState>,
    moved: HashMap<Name, i64, RandomState>,
}

impl Walk {
    fn fault(&mut self, text: impl Into<String>) {
        self.report.fault_count += 1;
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(text.into());
        }
    }

    fn integrity(&mut self, conn: &Connection) {
        let check = || -> rusqlite::Result<Vec<String>> {
            let mut check = conn.prepare("PRAGMA integrity_check(100)")?;
            let rows = check.query_map([], |row| row.get(0))?;
            rows.collect()
        };
        match check() {
            Ok(found) if found == ["ok"] => {}
            Ok(found) => found.into_iter().for_each(|text| self.fault(text)),
            Err(error) => self.fault(error.to_string()),
        }
    }

    fn rooms(&mut self, conn: &Connection) {
        let rows = match tables::rooms(conn) {
            Ok(rows) => rows,
            Err(fault) => return self.fault(format!("rooms: {fault}")),
        };
        let mut there = 0;
        for (id, row) in rows {
            match row {
                Ok(row) => {
                    let moved = self.moved.entry(row.state.room.room.clone()).or_default();
                    *moved = row.moved.max(*moved);
                    if !row.is_removed {
                        there += 1;
                        self.room(conn, &row);
                        self.rooms.insert(row.state.room.room.clone(), Some(row.state));
                    }
                }
                Err(fault) => {
                    self.fault(format!("room {id}: {fault}"));
                }
            }
        }
        self.report.rooms = there;
        match tables::meta(conn) {
            Ok((_, count)) if count == there => {}
            Ok((_, count)) => self.fault(format!("{there} rooms are there, and there were {count}")),
            Err(fault) => self.fault(format!("the database's own row: {fault}")),
        }
    }

    fn room(&mut self, conn: &Connection, row: &RoomRow) {
        let name = &row.state.room.room;
        let mut chain: Option<u64> = None;
        let (mut due, mut segments, mut bytes) = (None, 0, 0);
        let ids = match tables::segments_from_all(conn, row.id) {
            Ok(ids) => ids,
            Err(fault) => return self.fault(format!("room {name}: {fault}")),
        };
        for id in ids {
            let read = match tables::segment(conn, id, row.id) {
                Ok(read) => read,
                Err(fault) => {
                    self.fault(format!("room {name}, segment {id}: {fault}"));
                    chain = None;
                    due = None;
                    continue;
                }
            };
            if let Some(text) = &read.fault {
                self.fault(format!("room {name}: {text}"));
            }
            if chain.is_some_and(|chain| chain != read.base) {
                self.fault(format!("room {name}: segment {id} does not follow the one before"));
            }
            // The room was kept in memory for a while, and its description says from where it goes on.
            let goes_on = read.records.first().is_some_and(|sealed| match &sealed.record {
                Record::Entry(Entry::Room(entry)) => entry.next_offset == read.first_offset,
                _ => false,
            });
            let is_hole = match due {
                Some(due) => due != read.first_offset && !(goes_on && due < read.first_offset),
                None => read.first_offset > row.state.oldest_offset,
            };
            if is_hole {
                self.fault(format!("room {name}: offsets before {} are missing", read.first_offset));
            }
            segments += 1;
            bytes += read.bytes;
            chain = Some(read.newest);
            due = due.or(Some(read.first_offset));
            for sealed in &read.records {
                self.count(sealed, name, &mut due);
            }
        }
        self.report.segments += segments;
        let end = due.unwrap_or(row.state.oldest_offset);
        if chain.is_some_and(|chain| chain != row.state.checksum) || end != row.state.next_offset {
            self.fault(format!(
                "room {name}: its segments end at {end}, its row at {}",
                row.state.next_offset
            ));
        }
        if (segments, bytes) != (row.state.segments, row.state.bytes) {
            self.fault(format!(
                "room {name}: {segments} segments are there, and there were {}",
                row.state.segments
            ));
        }
    }

    fn count(&mut self, sealed: &Sealed, name: &str, due: &mut Option<u64>) {
        self.report.bytes += sealed.bytes.len() as u64;
        if let Record::Entry(Entry::Room(entry)) = &sealed.record {
            *due = due.map(|due| due.max(entry.next_offset));
        }
        let Record::Entry(Entry::Batch(entry)) = &sealed.record else { return };
        let batch = &entry.batch;
        if !batch.has_chat() {
            return;
        }
        if due.is_some_and(|due| due != batch.first_offset) {
            self.fault(format!("room {name}: offsets before {} are missing", batch.first_offset));
        }
        self.report.batches += 1;
        self.report.messages += batch.next_offset - batch.first_offset;
        *due = Some(batch.next_offset);
    }

    /// Returns the newest row.
    fn journal(&mut self, conn: &Connection) -> Option<JournalRow> {
        let (rows, end) = tables::journal(conn);
        if let Some(fault) = end {
            self.fault(format!("journal: {fault}"));
        }
        if rows.is_empty() {
            self.fault("journal: it is empty");
        }
        let mut last: Option<(i64, u64)> = None;
        let mut newest = None;
        for (id, row) in rows {
            let row = match row {
                Ok(row) => row,
                Err(fault) => {
                    self.fault(format!("journal, row {id}: {fault}"));
                    continue;
                }
            };
            if !row.is_sound || last.is_some_and(|(id, checksum)| (id + 1, checksum) != (row.id, row.before))
            {
                self.fault(format!("journal: row {id} is rotten, or the one before it is missing"));
            }
            last = Some((row.id, row.checksum));
            self.parts(&row);
            let mut data = row.records.clone();
            for at in 0.. {
                if data.is_empty() {
                    break;
                }
                let Ok(sealed) = record::read(&data) else {
                    self.fault(format!("journal, row {id}: a record is rotten"));
                    break;
                };
                data = data.slice(sealed.bytes.len()..);
                self.journal_record(id, row.shard_of(at), &sealed);
            }
            newest = Some(row);
        }
        newest
    }

    /// Do the copies of a row have all of its records, and do they go on?
    fn parts(&mut self, row: &JournalRow) {
        let Some(parts) = &row.copies else { return };
        self.heads.resize(parts.len(), 0);
        for (shard, part) in parts.iter().enumerate() {
            let position = part.head.as_ref().map_or(0, CopyHead::position);
            // A snapshot that took the place of a copy may be older; its row has no records.
            if position < self.heads[shard] && !row.records.is_empty() {
                let text = format!("the copy of shard {shard} goes back to position {position}");
                self.fault(format!("journal, row {}: {text}", row.id));
            }
            self.heads[shard] = position;
        }
        let records: u64 = parts.iter().map(|part| part.records).sum();
        let count = std::iter::successors(Some(row.records.clone()), |data| {
            record::read(data).ok().map(|sealed| data.slice(sealed.bytes.len()..))
        });
        if count.count() as u64 != records + 1 {
            self.fault(format!("journal, row {}: its records are not those of its copies", row.id));
        }
    }

    /// The copies at the end of the journal.
    fn copies(&mut self, last: Option<&JournalRow>) {
        let Some(parts) = last.and_then(|last| last.copies.as_ref()) else { return };
        for (shard, _) in parts.iter().enumerate().filter(|(_, part)| part.is_damaged) {
            self.fault(format!(
                "the copy of shard {shard} lacks entries, which were damaged or not understood: \
                 restore a backup, or the database of another node"
            ));
        }
        let position = |part: &CopyPart| part.head.as_ref().map(CopyHead::position);
        self.report.copies = Some(parts.iter().map(position).collect());
    }

    /// Are the commits there that were marked as settled?
    fn marks(&mut self, conn: &Connection, last: Option<&JournalRow>, mut marks: Vec<Mark>, wal: wal::Found) {
        let number = tables::meta(conn).map_or(0, |(number, _)| number);
        marks.retain(|mark| mark.number == number);
        let Some(last) = last.filter(|last| last.kind != RowKind::Restored) else { return };
        let losses = losses::find(Some((last.id, last.run)), &last.positions, &marks);
        self.report.is_last_unsure = losses.unsure.is_some() && !losses.is_unwritten(Some(last.id), wal);
        if losses.commits == 0 {
            return;
        }
        let rooms = &self.rooms;
        let next_offset = |name: &str, epoch| match rooms.get(name) {
            Some(Some(state)) if state.room.epoch == epoch => state.next_offset,
            _ => 0,
        };
        let missing = losses::missing(&losses.lost, next_offset);
        let text = format!("{} acknowledged commits are missing", losses.commits);
        self.fault(losses::describe(&text, &missing));
    }

    fn journal_record(&mut self, row: i64, shard: Option<usize>, sealed: &Sealed) {
        let name = sealed.record.room().clone();
        if self.moved.get(&name).is_some_and(|&moved| moved >= row) {
            return;
        }
        let of_row = self.rooms.get(&name).and_then(|state| state.as_ref()?.shard).map(usize::from);
        if let Some(of_row) = of_row.filter(|&of_row| Some(of_row) != shard) {
            self.fault(format!("journal, row {row}: room {name} is of shard {of_row}, and not of another"));
        }
        let state = self.rooms.entry(name.clone()).or_default();
        let mut due = state.as_ref().map(|state| state.next_offset);
        match RoomState::advance(state, sealed) {
            Ok(crate::room_state::Step::On) => self.count(sealed, &name, &mut due),
            Ok(_) => self.count(sealed, &name, &mut None),
            Err(_) => self.fault(format!("journal, row {row}: a record of room {name} does not follow")),
        }
    }
}
