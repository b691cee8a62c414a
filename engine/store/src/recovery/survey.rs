//! Survey: the rooms of a database at one moment, read and not changed, while a process may serve from it.
//!
//! Why: a snapshot and an import read what a start would find, and must leave the database as it is.
//! Invariant: anything that is damaged or missing makes an error. Part of a log is never taken for the whole.
//! Not here: what is done with the rooms (`snapshot`).

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use foldhash::quality::RandomState;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::Work;
use crate::compaction::Rooms;
use crate::error::StoreError;
use crate::journal::Journal;
use crate::memtable::MemRecord;
use crate::room_state::RoomState;
use crate::schema;
use crate::tables::{CopyPart, Name, RoomRow, RowKind};

/// A database at one moment.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) path: PathBuf,
    /// In a read transaction that lasts as long as this value.
    pub(crate) conn: Connection,
    pub(crate) rooms: Rooms,
    /// Each room with all its records.
    pub(crate) views: HashMap<Name, RoomState, RandomState>,
    /// Records that are not in segments.
    pub(crate) memtables: HashMap<Name, VecDeque<MemRecord>, RandomState>,
    /// The shards of rooms of which the journal has records.
    shards: HashMap<Name, usize, RandomState>,
    /// The parts of copies. `None`: the log of a single node.
    pub(crate) copies: Option<Vec<CopyPart>>,
    /// How the last process left it.
    pub(crate) kind: RowKind,
    /// Its journal, at the newest row.
    pub(crate) journal: Journal,
}

impl Survey {
    /// Look at the database of this file.
    ///
    /// # Errors
    /// It cannot be read, or something of it is damaged.
    pub(crate) fn of(path: &Path) -> Result<Survey, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        let fault = StoreError::sqlite(path);
        let conn = schema::open_reader(path).map_err(&fault)?;
        let version = schema::version(&conn).map_err(&fault)?;
        let newest = schema::MIGRATIONS.len() as i64;
        if version > newest {
            return Err(StoreError::Newer { path: path.to_owned(), version });
        }
        if version < newest {
            let text = format!("its form is version {version}: start a node of this release on it once");
            return Err(StoreError::corrupt(path, text));
        }
        // It stays as it is, if nobody else has it open.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&fault)?;
        conn.execute_batch("BEGIN").map_err(&fault)?;
        let (mut work, mut rooms) = (Work::new(), Rooms::default());
        work.take_rooms(&conn, path, &mut rooms)?;
        let (mut journal, last) = work.take_journal(&conn);
        let corrupt = |text: &str| StoreError::corrupt(path, text.to_owned());
        if let Some(text) = work.opening.rotten.first() {
            return Err(corrupt(text));
        }
        if work.is_lost || work.opening.cut > 0 {
            return Err(corrupt("records of its journal do not follow"));
        }
        let Some(last) = last else { return Err(corrupt("its journal is empty")) };
        let views = work.views.into_iter().filter_map(|(name, state)| Some((name, state?))).collect();
        Ok(Survey {
            path: path.to_owned(),
            conn,
            rooms,
            views,
            memtables: work.memtables,
            shards: work.shards,
            kind: last.kind,
            journal: {
                (journal.run, journal.positions) = (last.run, last.positions);
                journal
            },
            copies: last.copies,
        })
    }

    /// The shard whose copy has a room.
    pub(crate) fn shard_of(&self, name: &Name) -> Option<usize> {
        let of_row = |name| self.views.get(name)?.shard.map(usize::from);
        self.shards.get(name).copied().or_else(|| of_row(name))
    }

    /// A room's row, unless its log began anew behind it; and the records that follow.
    pub(crate) fn parts(&self, name: &Name) -> (Option<&RoomRow>, Vec<MemRecord>) {
        let kept = self.memtables.get(name).map(|kept| kept.iter().cloned().collect::<Vec<_>>());
        let mut kept = kept.unwrap_or_default();
        match kept.iter().rposition(|record| record.begins) {
            Some(at) => (None, kept.split_off(at)),
            None => (self.rooms.live.get(name), kept),
        }
    }
}
