//! A scan of one room's messages in a database, for tools: in order, with nothing changed.
//!
//! Why not the reader's pages: a tool has no shard, and reads beside a running node or a backup.
//! Invariants: the scan sees the database at one moment; every record that it passes on is verified. What is
//! not in the database yet (the crash log) is left out.
//! Not here: damage in general (`verify`).

use std::path::Path;

use bytes::Bytes;
use grandstand_engine::log::{BatchEntry, Entry};
use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::frame::ServerFrame;
use grandstand_protocol::{limits, stream};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::error::StoreError;
use crate::record::{self, Record, Sealed};
use crate::schema;
use crate::tables;

/// A message of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned<'a> {
    /// Its offset.
    pub offset: u64,
    /// When it was sealed, in milliseconds since 1970.
    pub time_ms: u64,
    /// The name that it was shown under.
    pub author: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Pass on every message of `room` that was sealed at `since_ms` or later. Returns `false` if there is no
/// such room.
///
/// # Errors
/// The database cannot be opened, or a part of the room cannot be read.
pub fn messages(
    path: &Path,
    room: &str,
    since_ms: u64,
    mut each: impl FnMut(Scanned<'_>),
) -> Result<bool, StoreError> {
    let path = if path.is_dir() { path.join(schema::DATABASE) } else { path.to_owned() };
    if !path.exists() {
        return Err(StoreError::Missing { path });
    }
    let fault = StoreError::sqlite(&path);
    let conn = schema::open_reader(&path).map_err(&fault)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&fault)?;
    let tx = conn.unchecked_transaction().map_err(&fault)?;
    let rotten = |text: String| StoreError::corrupt(&path, format!("room {room}: {text}"));
    let row = tables::room(&tx, room).map_err(|fault| rotten(fault.to_string()))?;
    let journal = journal(&tx, room).map_err(&rotten)?;
    // Where the room was removed, what was before is gone.
    let removed = journal.iter().rposition(|(_, sealed)| is_removal(sealed));
    let row = if removed.is_some() { None } else { row };
    let mut at = Place::default();
    let mut pass = |sealed: &Sealed| {
        if let Record::Entry(Entry::Batch(entry)) = &sealed.record
            && &*entry.room == room
            && at.is_new(entry)
            && entry.batch.time_ms >= since_ms
        {
            read(entry, &mut each);
        }
    };
    if let Some(row) = &row {
        let ids = tables::segments_from_all(&tx, row.id).map_err(|fault| rotten(fault.to_string()))?;
        for id in ids {
            let segment = tables::segment(&tx, id, row.id).map_err(|fault| rotten(fault.to_string()))?;
            if let Some(text) = segment.fault {
                return Err(rotten(text));
            }
            segment.records.iter().for_each(&mut pass);
        }
    }
    let moved = row.as_ref().map_or(0, |row| row.moved);
    let rest = &journal[removed.map_or(0, |at| at + 1)..];
    let rest = rest.iter().filter(|(id, _)| *id > moved);
    let mut is_there = row.is_some();
    for (_, sealed) in rest {
        is_there = true;
        pass(sealed);
    }
    Ok(is_there)
}

/// Up to where the scan is.
#[derive(Default)]
struct Place {
    epoch: u64,
    next_offset: u64,
}

impl Place {
    /// Is this batch behind what was passed on? A room that begins anew has another epoch.
    fn is_new(&mut self, entry: &BatchEntry) -> bool {
        if entry.epoch != self.epoch {
            *self = Place { epoch: entry.epoch, next_offset: 0 };
        }
        let is_new = entry.batch.next_offset > self.next_offset;
        self.next_offset = self.next_offset.max(entry.batch.next_offset);
        is_new
    }
}

fn is_removal(sealed: &Sealed) -> bool {
    matches!(&sealed.record, Record::Entry(Entry::Removed { .. }))
}

/// The records of a room in the journal, each with its row.
fn journal(tx: &Connection, room: &str) -> Result<Vec<(i64, Sealed)>, String> {
    let (rows, end) = tables::journal(tx);
    if let Some(fault) = end {
        return Err(fault.to_string());
    }
    let mut all = Vec::new();
    for (id, row) in rows {
        let row = row.map_err(|fault| format!("journal, row {id}: {fault}"))?;
        let mut data = row.records.clone();
        while !data.is_empty() {
            let sealed = record::read(&data).map_err(|_| format!("journal, row {id}: a record is rotten"))?;
            data = data.slice(sealed.bytes.len()..);
            if &**sealed.record.room() == room {
                all.push((id, sealed));
            }
        }
    }
    Ok(all)
}

/// The messages of a batch, with those that pacing left out.
fn read(entry: &BatchEntry, each: &mut impl FnMut(Scanned<'_>)) {
    let wire: &Bytes = entry.full.as_ref().unwrap_or(&entry.batch.wire);
    let Ok(Some((header, _))) = stream::read_header(wire, limits::SERVER_FRAME_BYTES_MAX) else { return };
    let Ok(ServerFrame::Batch(body)) = ServerFrame::decode(&wire[header..]) else { return };
    let Ok(mut reader) = BatchReader::new(body) else { return };
    let (offset, time_ms) = (entry.batch.first_offset, entry.batch.base_time_ms);
    let mut at = Position { epoch: entry.epoch, offset, time_ms };
    if at.begin(&reader).is_err() {
        return;
    }
    while let Ok(Some(item)) = reader.next_item() {
        match item {
            Item::Message(message) => {
                let offset = at.message(&message);
                each(Scanned { offset, time_ms: at.time_ms, author: message.author, text: message.text });
            }
            Item::Removed(skip) => _ = at.entry(skip),
            Item::Act(act) => _ = at.entry(act.skip),
            Item::Omitted(count) => at.omitted(count),
            _ => {}
        }
    }
}
