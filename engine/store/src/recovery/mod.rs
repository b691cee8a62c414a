//! Recovery: builds the rooms from the database and the crash log at a start.
//!
//! The order: the rows of rooms; the journal, record by record, each only if it follows; the crash log of the
//! run that wrote the journal's last row. Then the result is committed as one row under a new run, before
//! anybody is served.
//!
//! - *Closed*: nothing was outstanding.
//! - *Crashed*: the crash log exists and continues at the end of the journal. Epochs stay, and everything
//!   that a viewer was shown is still there.
//! - *Power cut*: the crash log is gone, or something between the two is missing. Messages that were shown
//!   and not synced may be lost. So every room gets a new epoch, its offsets continue, and the old epoch is
//!   valid up to the fork.
//! - A damaged (*rotten*) record, or one that does not follow, is cut off its room, which gets a new epoch.
//!   The record is kept in a file.
//!
//! Invariant: nothing is deleted before it was copied or found to be useless. A database that cannot be read
//! to its end is an error.
//! A copy of the cluster's logs is recovered by `copies`, which gives no new epochs.
//! Not here: threads (`store`), byte layouts (`record`, `tables`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use foldhash::quality::RandomState;
use grandstand_engine::link::PreviousEpoch;
use grandstand_engine::log::Entry;
use rusqlite::Connection;

use crate::clock::{stamp, unix_ms};
use crate::compaction::Rooms;
use crate::crash_log::CrashLogFiles;
use crate::error::{LogKind, StoreError};
use crate::journal::Journal;
use crate::losses;
use crate::marks::Mark;
use crate::memtable::{self, MemRecord};
use crate::record::{self, Record, RecordFault, Sealed};
use crate::room_state::RoomState;
use crate::tables::{self, JournalRow, Name, RoomRow, RowFault, RowKind};
use crate::wal;

mod copies;
mod survey;

pub(crate) use copies::{RecoveredCopies, ShardRooms, recover_copies};
pub(crate) use survey::Survey;

/// The condition in which the log was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There was no log.
    New,
    /// The last process closed it.
    Clean,
    /// The last process died. The crash log had entries that the database did not have.
    Crashed {
        /// Entries taken from the crash log.
        recovered: u64,
    },
    /// The last process died, and its crash log is gone or does not fit. Rooms get new epochs.
    PowerCut,
    /// A backup was put in place. Rooms get new epochs.
    Restored,
}

/// The result of opening a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opening {
    /// The condition in which the log was found.
    pub found: Found,
    /// Number of rooms.
    pub rooms: u64,
    /// Rooms that got a new epoch.
    pub new_epochs: u64,
    /// Records at the journal's end that were damaged or did not follow. They are in `kept_aside`.
    pub cut: u64,
    /// File with the records that were cut off.
    pub kept_aside: Option<PathBuf>,
    /// Acknowledged commits that are not there, though they were marked.
    pub lost_commits: u64,
    /// Acknowledged messages of them, by room, as far as they are known.
    pub missing: Vec<Missing>,
    /// Description of a commit that is not there and was under way: whether it was acknowledged is not known.
    pub unsure: Option<String>,
    /// Description of a commit that is not there, was under way, and had not reached the disk: it was not
    /// acknowledged.
    pub unwritten: Option<String>,
    /// Description of a wall clock that is far from the log's newest time.
    pub clock: Option<String>,
    /// Descriptions of damaged data, none of which is served.
    pub rotten: Vec<String>,
    /// The earlier version of the schema, if it was migrated.
    pub migrated_from: Option<i64>,
    /// How long opening took.
    pub took_ms: u64,
}

/// Messages of a room that were acknowledged and are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The room.
    pub room: Name,
    /// The first offset that is missing.
    pub from: u64,
    /// The offset after the last.
    pub to: u64,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "room {}: offsets {} to {}", self.room, self.from, self.to.saturating_sub(1))
    }
}

/// The rooms after recovery.
pub(crate) struct Recovered {
    pub(crate) rooms: Rooms,
    /// Each room with all its records, also those that are not in segments.
    pub(crate) views: HashMap<Name, RoomState, RandomState>,
    pub(crate) memtables: HashMap<Name, VecDeque<MemRecord>, RandomState>,
    pub(crate) journal: Journal,
    pub(crate) opening: Opening,
}

/// The state of a recovery under way.
struct Work {
    views: HashMap<Name, Option<RoomState>, RandomState>,
    memtables: HashMap<Name, VecDeque<MemRecord>, RandomState>,
    /// The newest journal row that a name's segments include.
    moved: HashMap<Name, i64, RandomState>,
    /// Rooms that lost records.
    cut: HashSet<Name, RandomState>,
    aside: Vec<u8>,
    /// Rooms that were rebuilt from their segments.
    rebuilt: Vec<RoomRow>,
    opening: Opening,
    /// The shards whose copies have these names, as far as the journal says it.
    shards: HashMap<Name, usize, RandomState>,
    /// Records are missing, and it is unknown of which room.
    is_lost: bool,
}

/// Recover the log, under `run`. `runs` are the runs of which one must have written last, if they are known.
/// `prepare` is called with that last run after reading and before anything is written. It makes the new
/// run's crash log.
pub(crate) fn recover(
    conn: &mut Connection,
    path: &Path,
    (place, run, shards): (&CrashLogFiles, u64, u16),
    (is_new, wal, marks): (bool, wal::Found, &[Mark]),
    runs: Option<&[u64]>,
    prepare: impl FnOnce(u64) -> Result<(), StoreError>,
) -> Result<Recovered, StoreError> {
    let mut work = Work::new();
    let mut rooms = Rooms::default();
    let aside = work.take_rooms(conn, path, &mut rooms)?;
    let (journal, last) = work.take_journal(conn);
    if let Some(copies) = last.as_ref().and_then(|last| last.copies.as_ref()) {
        let (found, expected) = (LogKind::Copies(copies.len() as u16), LogKind::Own);
        return Err(StoreError::OtherKind { path: path.to_owned(), found, expected });
    }
    if let (Some(last), Some(runs)) = (&last, runs)
        && !runs.contains(&last.run)
    {
        work.lose("the database is older than log.id says: its newest part is missing");
    }
    let is_closed = last.as_ref().is_some_and(|last| last.kind == RowKind::Closed);
    let is_clean = is_closed && !work.is_lost && wal.lost == 0;
    if wal.lost > 0 {
        let text =
            format!("the write-ahead log is torn: {} frames are sound, {} are lost", wal.sound, wal.lost);
        work.opening.rotten.push(text);
    }
    let mut data = Vec::new();
    let mut reached = last.as_ref().map_or_else(Vec::new, |last| last.positions.clone());
    work.opening.found = match &last {
        None if is_new => Found::New,
        None => work.lose("the journal is empty"),
        Some(_) if is_clean => Found::Clean,
        Some(last) if last.kind == RowKind::Restored => Found::Restored,
        Some(last) => match place.found(last.run, &last.positions) {
            Some(left) => {
                for (reached, found) in reached.iter_mut().zip(&left.shards) {
                    *reached = found.last().map_or(*reached, |&(position, _)| position);
                }
                if let Some(damage) = left.damage {
                    work.lose(&format!("the crash log: {damage}"));
                }
                let found = left.shards.into_iter().flatten().map(|(_, bytes)| bytes);
                Found::Crashed { recovered: work.take_recorded(found, &mut data) }
            }
            None => Found::PowerCut,
        },
    };
    if !matches!(work.opening.found, Found::New | Found::Restored) {
        work.compare(last.as_ref(), &reached, marks, wal);
    }
    let all = matches!(work.opening.found, Found::PowerCut | Found::Restored) || work.is_lost;
    work.begin_epochs(all, &mut data);
    let rewrite = work.opening.cut > 0 || work.is_lost;
    work.keep_aside(path)?;
    losses::write(path, &work.opening)?;
    prepare(last.map_or(0, |last| last.run))?;
    let journal =
        work.commit(conn, path, journal, (run, shards), (rewrite, &aside, rooms.live.len()), data)?;
    Ok(work.finish(rooms, journal))
}

impl Work {
    fn new() -> Work {
        let opening = Opening {
            found: Found::New,
            rooms: 0,
            new_epochs: 0,
            cut: 0,
            kept_aside: None,
            lost_commits: 0,
            missing: Vec::new(),
            unsure: None,
            unwritten: None,
            clock: None,
            rotten: Vec::new(),
            migrated_from: None,
            took_ms: 0,
        };
        Work {
            views: HashMap::default(),
            memtables: HashMap::default(),
            moved: HashMap::default(),
            cut: HashSet::default(),
            aside: Vec::new(),
            rebuilt: Vec::new(),
            opening,
            shards: HashMap::default(),
            is_lost: false,
        }
    }

    fn lose(&mut self, text: &str) -> Found {
        self.is_lost = true;
        self.opening.rotten.push(text.to_owned());
        Found::PowerCut
    }

    /// Take the rooms of the rows. Returns damaged rows, which are kept apart and not served.
    fn take_rooms(
        &mut self,
        conn: &Connection,
        path: &Path,
        rooms: &mut Rooms,
    ) -> Result<Vec<i64>, StoreError> {
        let found = tables::rooms(conn).map_err(|fault| row_error(path, fault))?;
        let count = tables::meta(conn).map_err(|fault| row_error(path, fault))?.1;
        let mut aside = Vec::new();
        let mut there = 0;
        for (id, row) in found {
            rooms.next_room = rooms.next_room.max(id + 1);
            match row {
                Ok(row) if row.is_removed => {
                    self.note_moved(&row);
                    rooms.removed.push_back(row);
                }
                Ok(row) => {
                    there += 1;
                    self.note_moved(&row);
                    self.views.insert(row.state.room.room.clone(), Some(row.state.clone()));
                    rooms.put(row);
                }
                Err(RowFault::Unreadable(error)) => return Err(StoreError::sqlite(path)(error)),
                Err(RowFault::Rotten(text)) => {
                    there += 1;
                    self.opening.rotten.push(text);
                    self.rebuild(conn, id, rooms, &mut aside);
                }
            }
        }
        if there < count {
            self.lose(&format!("{} of {count} rooms are missing", count - there));
        }
        rooms.next_room = rooms.next_room.max(1);
        let newest: Option<i64> = conn
            .query_row("SELECT max(id) FROM segments", [], |row| row.get(0))
            .map_err(StoreError::sqlite(path))?;
        rooms.next_segment = newest.unwrap_or(0) + 1;
        Ok(aside)
    }

    fn note_moved(&mut self, row: &RoomRow) {
        let moved = self.moved.entry(row.state.room.room.clone()).or_default();
        *moved = row.moved.max(*moved);
    }

    /// Rebuild a room whose row or state is damaged from its newest segment. Its log goes on, its facts begin
    /// anew.
    fn rebuild(&mut self, conn: &Connection, id: i64, rooms: &mut Rooms, aside: &mut Vec<i64>) {
        let newest = tables::segments_newest(conn, id, 0, 1).ok().and_then(|ids| ids.first().copied());
        let read = newest.and_then(|newest| tables::segment(conn, newest, id).ok());
        let last = read.filter(|read| read.fault.is_none()).and_then(|read| read.records.into_iter().last());
        let taken = |work: &Work, sealed: &Sealed| work.views.contains_key(sealed.record.room());
        let Some(sealed) = last.filter(|sealed| !taken(self, sealed)) else {
            self.is_lost = true;
            return aside.push(id);
        };
        let name = sealed.record.room().clone();
        let mut state = RoomState::new(name.clone(), sealed.record.epoch(), sealed.record.next_offset());
        if let Record::Entry(Entry::Batch(entry)) = &sealed.record {
            state.time_ms = entry.batch.time_ms;
        }
        state.checksum = sealed.checksum;
        state.oldest_offset = 0;
        let sizes = "SELECT count(*), coalesce(sum(length(data)), 0), coalesce(min(first_offset), 0) FROM segments \
                     WHERE room = ?1";
        let sizes = conn.query_row(sizes, [id], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        if let Ok((segments, bytes, oldest)) = sizes {
            (state.segments, state.bytes, state.oldest_offset) =
                (segments as u64, bytes as u64, oldest as u64);
        }
        // The chain of checksums shows which journal records are in the segments: see `take_record`.
        self.cut.insert(name.clone());
        self.views.insert(name, Some(state.clone()));
        let row = RoomRow { id, is_removed: false, moved: 0, state };
        self.rebuilt.push(row.clone());
        rooms.put(row);
    }

    /// Read the journal's rows: their records, the positions, and the newest row.
    fn take_journal(&mut self, conn: &Connection) -> (Journal, Option<JournalRow>) {
        let (found, end) = tables::journal(conn);
        let mut journal = Journal::empty(0);
        let mut last: Option<JournalRow> = None;
        for (id, row) in found {
            let row = match row {
                Ok(row) => row,
                Err(fault) => {
                    self.lose(&format!("row {id} of the journal: {fault}"));
                    continue;
                }
            };
            let follows =
                last.as_ref().is_none_or(|last| (last.id + 1, last.checksum) == (row.id, row.before));
            if !row.is_sound || !follows {
                self.lose(&format!("row {id} of the journal is rotten, or the one before it is missing"));
            }
            journal.add(id, row.checksum, row.bytes);
            self.take_row(&row);
            last = Some(row);
        }
        if let Some(fault) = end {
            self.lose(&format!("the journal can't be read to its end: {fault}"));
        }
        (journal, last)
    }

    fn take_row(&mut self, row: &JournalRow) {
        let mut data = row.records.clone();
        for at in 0.. {
            if data.is_empty() {
                break;
            }
            match record::read(&data) {
                Ok(sealed) => {
                    data = data.slice(sealed.bytes.len()..);
                    if let Some(shard) = row.shard_of(at) {
                        self.shards.insert(sealed.record.room().clone(), shard);
                    }
                    if self.moved.get(sealed.record.room()).is_none_or(|&moved| moved < row.id) {
                        self.take_record(&sealed);
                    }
                }
                Err(RecordFault::Checksum { bytes } | RecordFault::Malformed { bytes, .. }) => {
                    self.cut_off(&data[..bytes], None);
                    data = data.slice(bytes..);
                }
                Err(RecordFault::Short) => return self.cut_off(&data, None),
            }
        }
    }

    /// Add a record to its room, or keep it aside.
    fn take_record(&mut self, sealed: &Sealed) -> bool {
        let name = sealed.record.room().clone();
        let view = self.views.entry(name.clone()).or_default();
        let Ok(step) = RoomState::advance(view, sealed) else {
            if !self.memtables.contains_key(&name) && self.cut.contains(&name) {
                // A record of a rebuilt room that its segments already have.
                return false;
            }
            self.cut_off(&sealed.bytes, Some(name));
            return false;
        };
        let begins = step != crate::room_state::Step::On;
        let kept = self.memtables.entry(name).or_default();
        memtable::keep(kept, 0, sealed.bytes.clone(), begins, sealed.record.next_offset());
        true
    }

    fn cut_off(&mut self, bytes: &[u8], room: Option<Name>) {
        self.opening.cut += 1;
        self.aside.extend_from_slice(bytes);
        match room {
            Some(room) => {
                self.cut.insert(room);
            }
            None => self.is_lost = true,
        }
    }

    /// Take the records of the crash log that are not in the journal.
    fn take_recorded(&mut self, found: impl Iterator<Item = Bytes>, data: &mut Vec<u8>) -> u64 {
        let mut recovered = 0;
        for bytes in found {
            match record::read(&bytes) {
                Ok(sealed) => {
                    if self.take_record(&sealed) {
                        data.extend_from_slice(&sealed.bytes);
                        recovered += 1;
                    }
                }
                Err(_) => self.cut_off(&bytes, None),
            }
        }
        recovered
    }

    /// Compare what is there with the marks of commits. `reached` are the positions with the crash log's.
    fn compare(&mut self, last: Option<&JournalRow>, reached: &[u64], marks: &[Mark], wal: wal::Found) {
        let losses = losses::find(last.map(|last| (last.id, last.run)), reached, marks);
        let views = &self.views;
        let next_offset = |name: &str, epoch| match views.get(name) {
            Some(Some(state)) if state.room.epoch == epoch => state.next_offset,
            _ => 0,
        };
        if let Some(unsure) = losses.unsure {
            let rooms = losses::missing(&[unsure], next_offset);
            if !self.is_lost && losses.is_unwritten(last.map(|last| last.id), wal) {
                self.opening.unwritten = Some(losses::describe(losses::UNWRITTEN, &rooms));
            } else {
                self.opening.unsure = Some(losses::describe(losses::UNSURE, &rooms));
            }
        }
        if losses.commits == 0 {
            return;
        }
        let missing = losses::missing(&losses.lost, next_offset);
        let text = format!("{} acknowledged commits are missing: the log has lost messages", losses.commits);
        let text = losses::describe(&text, &missing);
        (self.opening.missing, self.opening.lost_commits) = (missing, losses.commits);
        self.lose(&text);
    }

    /// Give new epochs to all rooms, or to those that lost records.
    fn begin_epochs(&mut self, all: bool, data: &mut Vec<u8>) {
        let names: Vec<Name> =
            self.views.keys().filter(|name| all || self.cut.contains(*name)).cloned().collect();
        for name in names {
            let Some(Some(state)) = self.views.get(&name) else { continue };
            let previous = PreviousEpoch { epoch: state.room.epoch, next_offset: state.next_offset };
            let record = Record::Epoch { room: name.clone(), epoch: number(), previous };
            let (bytes, _) = record::encode(&record, state.checksum);
            data.extend_from_slice(&bytes);
            let sealed = record::read(&bytes).expect("a record that was just encoded");
            self.take_record(&sealed);
            self.opening.new_epochs += 1;
        }
    }

    /// Copy the records that were cut off, and the database of a torn write-ahead log, unchanged.
    fn keep_aside(&mut self, path: &Path) -> Result<(), StoreError> {
        if self.aside.is_empty() {
            return Ok(());
        }
        let aside = path.with_file_name(format!("aside-{}.bin", stamp(unix_ms())));
        fs::write(&aside, &self.aside).map_err(StoreError::io(&aside, "keep what was cut off in"))?;
        self.opening.kept_aside = Some(aside);
        Ok(())
    }

    /// Commit one synced row that records the new run and the recovered records.
    fn commit(
        &self,
        conn: &mut Connection,
        path: &Path,
        mut journal: Journal,
        (run, shards): (u64, u16),
        (rewrite, aside, rooms): (bool, &[i64], usize),
        mut records: Vec<u8>,
    ) -> Result<Journal, StoreError> {
        let fault = StoreError::sqlite(path);
        let tx = conn.transaction().map_err(&fault)?;
        for id in aside {
            tx.execute("UPDATE rooms SET is_removed = 2 WHERE id = ?1", [id]).map_err(&fault)?;
        }
        for row in &self.rebuilt {
            tables::put_room(&tx, row, true).map_err(&fault)?;
        }
        if !aside.is_empty() || self.is_lost {
            tables::put_room_count(&tx, rooms as u64).map_err(&fault)?;
        }
        if rewrite {
            tx.execute("DELETE FROM journal", []).map_err(&fault)?;
            journal.clear();
            records.clear();
            self.memtables.values().flatten().for_each(|kept| records.extend_from_slice(&kept.bytes));
        }
        (journal.run, journal.positions) = (run, vec![0; usize::from(shards.max(1))]);
        let mut data = journal.header(RowKind::Opened, &journal.positions);
        data.extend_from_slice(&records);
        let checksum = tables::insert_journal(&tx, journal.next_id, &data).map_err(&fault)?;
        journal.add(journal.next_id, checksum, data.len() as u64);
        tx.commit().map_err(&fault)?;
        Ok(journal)
    }

    fn finish(mut self, rooms: Rooms, journal: Journal) -> Recovered {
        let views: HashMap<Name, RoomState, RandomState> =
            self.views.into_iter().filter_map(|(name, state)| Some((name, state?))).collect();
        self.opening.rooms = views.len() as u64;
        Recovered { rooms, views, memtables: self.memtables, journal, opening: self.opening }
    }
}

fn row_error(path: &Path, fault: RowFault) -> StoreError {
    match fault {
        RowFault::Rotten(text) => StoreError::corrupt(path, text),
        RowFault::Unreadable(error) => StoreError::sqlite(path)(error),
    }
}

/// A random number that is not 0, for an epoch, a run or a database.
pub(crate) fn number() -> u64 {
    let number = getrandom::u64().expect("the system's random numbers");
    // Epochs and rows store it in 63 bits of SQLite's integers.
    (number >> 1).max(1)
}
