//! Import: the rooms of another log, of a single node or of a cluster's copy, become rooms of this folder's
//! copies.
//!
//! Why into the copies, and not through the cluster's log: a log may be larger than a stream keeps, and
//! epochs, lineage and nonces must stay as they are so that viewers resume. The other nodes then take
//! snapshots of this copy.
//! How: the rooms are written one by one, each in a transaction of its own. Until [`Importer::finish`] all
//! copies of the folder are marked as damaged, so that a node which starts on half of an import says so and
//! takes another node's copies instead. An import that was cut off is repeated: rooms that are there already
//! are passed over.
//! Invariants: the source is read and never written. A room that is there and is not the same stops the
//! import before anything is written. Memory is bounded by a segment, and by the facts of all rooms.
//! Not here: which shard has a room, what heads mean (the caller).

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::export::write_one;
use crate::compaction::{Compacted, Rooms};
use crate::config::StoreConfig;
use crate::copy_head::CopyHead;
use crate::directory;
use crate::error::{LogKind, StoreError};
use crate::journal::Journal;
use crate::recovery::Survey;
use crate::room_state::RoomState;
use crate::schema;
use crate::store::Store;
use crate::tables::{self, CopyPart, Name, RowKind};
use crate::verify;

/// An import under way.
#[derive(Debug)]
pub struct Importer {
    path: PathBuf,
    conn: Connection,
    _lock: std::fs::File,
    journal: Journal,
    rooms: Rooms,
    next: (i64, i64),
    source: Survey,
    names: Vec<Name>,
    /// The copies as they were before.
    parts: Vec<CopyPart>,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rooms that were written.
    pub rooms: u64,
    /// Rooms that an earlier attempt had written.
    pub known: u64,
}

impl Importer {
    /// Open a folder's copies, which are made if there are none, and the log `from`: a data directory or a
    /// backup. Nothing is changed yet.
    ///
    /// # Errors
    /// A process uses one of them, one is damaged, the log was not closed, or a room is there already.
    pub fn open(config: StoreConfig, shards: u16, from: &Path) -> Result<Importer, StoreError> {
        let is_folder = from.is_dir();
        let file = if is_folder { from.join(schema::DATABASE) } else { from.to_owned() };
        if !file.exists() {
            return Err(StoreError::Missing { path: file });
        }
        // A process that serves from it would go on after what is read here.
        if is_folder && directory::is_held(from) {
            return Err(StoreError::Locked { path: from.to_owned() });
        }
        let report = verify::run(from)?;
        if let Some(fault) = report.faults.first() {
            return Err(StoreError::corrupt(&file, fault.clone()));
        }
        let source = Survey::of(&file)?;
        if is_folder && !matches!(source.kind, RowKind::Closed | RowKind::Restored) {
            let text = "it was not closed: start a node on it once, and stop it; or name a backup";
            return Err(StoreError::corrupt(&file, text.to_owned()));
        }
        let dir = config.dir.clone();
        // A start and a close: everything is in the rooms' segments afterwards.
        let (store, copies) = Store::open_copies(config, shards)?;
        drop(copies);
        store.close();
        let lock = directory::lock(&dir, std::time::Duration::ZERO)?;
        let path = dir.join(schema::DATABASE);
        let own = Survey::of(&path)?;
        let parts = own.copies.clone().unwrap_or_default();
        if parts.len() != usize::from(shards) || !own.memtables.is_empty() {
            let found = LogKind::Copies(parts.len() as u16);
            return Err(StoreError::OtherKind { path, found, expected: LogKind::Copies(shards) });
        }
        let mut names: Vec<Name> = source.views.keys().cloned().collect();
        names.sort_unstable();
        let Survey { rooms, journal, .. } = own;
        let next = (rooms.next_room, rooms.next_segment);
        let conn = schema::open_writer(&path, true).map_err(StoreError::sqlite(&path))?;
        let importer = Importer { path, conn, _lock: lock, journal, rooms, next, source, names, parts };
        let in_the_way = |name: &&Name| importer.rooms.live.contains_key(*name) && !importer.is_known(name);
        let is_known = importer.names.iter().any(|name| importer.is_known(name));
        if importer.is_unfinished() && !is_known {
            let text = "the copies here are damaged: start the node, which takes those of another one";
            return Err(StoreError::corrupt(&importer.path, text.to_owned()));
        }
        if let Some(name) = importer.names.iter().find(in_the_way) {
            let text = format!("room {name} is there already: rename or remove it, or leave it out");
            return Err(StoreError::corrupt(&importer.path, text));
        }
        Ok(importer)
    }

    /// Is a room there as an earlier attempt of this import wrote it?
    fn is_known(&self, name: &Name) -> bool {
        let (own, other) = (self.rooms.live.get(name), self.source.views.get(name));
        own.zip(other).is_some_and(|(own, other)| {
            let end = |state: &RoomState| (state.room.epoch, state.next_offset, state.checksum);
            end(&own.state) == end(other)
        })
    }

    /// Was an earlier attempt cut off?
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.parts.iter().any(|part| part.is_damaged)
    }

    /// Up to where each shard's copy has its log.
    pub fn heads(&self) -> impl Iterator<Item = Option<&CopyHead>> {
        self.parts.iter().map(|part| part.head.as_ref())
    }

    /// How many rooms the log has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// Write the rooms. `adjust` makes a room's description fit the cluster; `shard_of` says whose it is;
    /// `progress` is told how many rooms are done.
    ///
    /// # Errors
    /// The disk does not take them: repeat the import when it does.
    pub fn run(
        &mut self,
        shard_of: &dyn Fn(&str) -> u16,
        adjust: &dyn Fn(&mut grandstand_engine::log::RoomEntry),
        progress: &mut dyn FnMut(usize),
    ) -> Result<Imported, StoreError> {
        let mut parts = self.parts.clone();
        parts.iter_mut().for_each(|part| part.is_damaged = true);
        self.put_row(RowKind::Commit, &parts)?;
        let mut imported = Imported::default();
        for at in 0..self.names.len() {
            let name = self.names[at].clone();
            if self.is_known(&name) {
                imported.known += 1;
            } else {
                self.write(&name, shard_of(&name), adjust)?;
                imported.rooms += 1;
            }
            progress(at + 1);
        }
        Ok(imported)
    }

    fn write(
        &mut self,
        name: &Name,
        shard: u16,
        adjust: &dyn Fn(&mut grandstand_engine::log::RoomEntry),
    ) -> Result<(), StoreError> {
        let fault = StoreError::sqlite(&self.path);
        let tx = self.conn.transaction().map_err(&fault)?;
        let from = Compacted::at(self.next.0, self.next.1);
        let (written, row) = write_one(&self.source, (name, shard), &tx, from)?;
        if let Some(mut row) = row {
            row.moved = self.journal.next_id;
            adjust(&mut row.state.room);
            tables::put_room(&tx, &row, true).map_err(&fault)?;
            self.rooms.put(row);
        }
        tables::put_room_count(&tx, self.rooms.live.len() as u64).map_err(&fault)?;
        tx.commit().map_err(&fault)?;
        self.next = written.next();
        Ok(())
    }

    /// Everything is written: the copies are sound, and those of these shards have these heads.
    ///
    /// # Errors
    /// The disk does not take it, or the result does not verify.
    pub fn finish(mut self, heads: Vec<(u16, CopyHead)>) -> Result<(), StoreError> {
        let mut parts = std::mem::take(&mut self.parts);
        for (shard, head) in heads {
            parts[usize::from(shard)].head = Some(head);
        }
        parts.iter_mut().for_each(|part| part.is_damaged = false);
        self.put_row(RowKind::Closed, &parts)?;
        let fault = StoreError::sqlite(&self.path);
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(&fault)?;
        let report = verify::run(&self.path)?;
        match report.faults.first() {
            None => Ok(()),
            Some(text) => Err(StoreError::corrupt(&self.path, text.clone())),
        }
    }

    fn put_row(&mut self, kind: RowKind, parts: &[CopyPart]) -> Result<(), StoreError> {
        let fault = StoreError::sqlite(&self.path);
        let data = self.journal.header_of(kind, &self.journal.positions, Some(parts));
        let tx = self.conn.transaction().map_err(&fault)?;
        let checksum = tables::insert_journal(&tx, self.journal.next_id, &data).map_err(&fault)?;
        tx.commit().map_err(&fault)?;
        self.journal.add(self.journal.next_id, checksum, data.len() as u64);
        Ok(())
    }
}
