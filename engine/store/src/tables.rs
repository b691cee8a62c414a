//! Rows of the database: reading and writing, each with its checksum.
//!
//! Invariant: every row that is handed out was verified. A row that differs from what was written is an
//! error.
//! Not here: when rows are written (`committer`, `compaction`, `retention`), the handling of a damaged row
//! (`recovery`, `reader`).

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, params};

use crate::checksum::checksum;
use crate::codec::{Decoder, Malformed, put_sized, put_varint};
use crate::copy_head::CopyHead;
use crate::error::is_damage;
use crate::record::{self, Sealed};
use crate::room_state::RoomState;

/// Why a row cannot be used.
#[derive(Debug)]
pub(crate) enum RowFault {
    /// It differs from what was written.
    Rotten(String),
    /// SQLite could not read it; a later read may succeed.
    Unreadable(rusqlite::Error),
}

impl From<rusqlite::Error> for RowFault {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) { RowFault::Rotten(error.to_string()) } else { RowFault::Unreadable(error) }
    }
}

impl From<Malformed> for RowFault {
    fn from(Malformed(expected): Malformed) -> Self {
        RowFault::Rotten(format!("expected {expected}"))
    }
}

impl std::fmt::Display for RowFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RowFault::Rotten(text) => f.write_str(text),
            RowFault::Unreadable(error) => write!(f, "{error}"),
        }
    }
}

fn rotten<T>(text: impl Into<String>) -> Result<T, RowFault> {
    Err(RowFault::Rotten(text.into()))
}

/// The kind of a row of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// A commit.
    Commit = 0,
    /// A process opened the log: entries that it recovered, and epochs that it made.
    Opened = 1,
    /// A process closed the log, and nothing is outstanding.
    Closed = 2,
    /// The log is a restored backup.
    Restored = 3,
}

/// A row of the journal.
#[derive(Clone, Debug)]
pub(crate) struct JournalRow {
    pub(crate) id: i64,
    pub(crate) checksum: u64,
    /// Checksum of the row before it.
    pub(crate) before: u64,
    /// Is its checksum right?
    pub(crate) is_sound: bool,
    pub(crate) bytes: u64,
    pub(crate) kind: RowKind,
    /// The run of the process that wrote it.
    pub(crate) run: u64,
    /// The committed position of each shard.
    pub(crate) positions: Vec<u64>,
    /// The part of each shard's copy. `None`: the log of a single node.
    pub(crate) copies: Option<Vec<CopyPart>>,
    /// The records, those of the first shard first.
    pub(crate) records: Bytes,
}

impl JournalRow {
    /// The shard whose copy has the row's record number `at`.
    pub(crate) fn shard_of(&self, at: u64) -> Option<usize> {
        let mut end = 0;
        self.copies.as_ref()?.iter().position(|part| {
            end += part.records;
            at < end
        })
    }
}

/// What a row says of one shard's copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CopyPart {
    /// Up to where the shard's log is applied with this row. `None`: nothing was applied yet.
    pub(crate) head: Option<CopyHead>,
    /// Something of the copy is not as it was written, or could not be understood.
    pub(crate) is_damaged: bool,
    /// Number of the row's records that are the shard's.
    pub(crate) records: u64,
}

/// Added to the kind of a row that has the parts of copies.
const WITH_COPIES: u8 = 0x80;

fn put_copies(copies: &[CopyPart], out: &mut Vec<u8>) {
    put_varint(copies.len() as u64, out);
    for part in copies {
        out.push(u8::from(part.head.is_some()) | u8::from(part.is_damaged) << 1);
        if let Some(head) = &part.head {
            put_varint(head.position(), out);
            put_sized(head.bytes(), out);
        }
        put_varint(part.records, out);
    }
}

fn take_copies(source: &mut Decoder) -> Result<Vec<CopyPart>, Malformed> {
    let mut copies = Vec::new();
    for _ in 0..source.count(2, "a count of copies")? {
        let flags = source.u8("flags of a copy")?;
        let head = if flags & 1 == 0 {
            None
        } else {
            let (position, bytes) = (source.varint("a position")?, source.sized("a head")?);
            Some(CopyHead::try_new(position, bytes).ok_or(Malformed("a head"))?)
        };
        let records = source.varint("a count of records")?;
        copies.push(CopyPart { head, is_damaged: flags & 2 != 0, records });
    }
    Ok(copies)
}

/// The header of a row's data; records follow. `before` is the checksum of the row before.
pub(crate) fn journal_header(
    kind: RowKind,
    run: u64,
    positions: &[u64],
    before: u64,
    copies: Option<&[CopyPart]>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.push(kind as u8 | if copies.is_some() { WITH_COPIES } else { 0 });
    out.extend_from_slice(&before.to_le_bytes());
    out.extend_from_slice(&run.to_le_bytes());
    put_varint(positions.len() as u64, &mut out);
    positions.iter().for_each(|&position| put_varint(position, &mut out));
    if let Some(copies) = copies {
        put_copies(copies, &mut out);
    }
    out
}

/// Insert a row. Returns its checksum.
pub(crate) fn insert_journal(conn: &Connection, id: i64, data: &[u8]) -> rusqlite::Result<u64> {
    let own = checksum(id as u64, data);
    conn.execute("INSERT INTO journal (id, sum, data) VALUES (?1, ?2, ?3)", params![id, own as i64, data])?;
    Ok(own)
}

/// A row's parts, and whether its checksum is right. Its records have checksums of their own.
fn journal_row(id: i64, own: i64, data: Vec<u8>) -> Result<JournalRow, RowFault> {
    let is_sound = checksum(id as u64, &data) == own as u64;
    let bytes = data.len() as u64;
    let mut source = Decoder::new(Bytes::from(data));
    let kind = source.u8("a kind")?;
    let has_copies = kind & WITH_COPIES != 0;
    let kind = match kind & !WITH_COPIES {
        0 => RowKind::Commit,
        1 => RowKind::Opened,
        2 => RowKind::Closed,
        3 => RowKind::Restored,
        _ => return rotten("a row of the journal of no known kind"),
    };
    let before = source.u64("a sum")?;
    let run = source.u64("a run")?;
    let mut positions = Vec::new();
    for _ in 0..source.count(1, "a count of shards")? {
        positions.push(source.varint("a position")?);
    }
    let copies = if has_copies { Some(take_copies(&mut source)?) } else { None };
    let left = source.left();
    let records = source.take(left, "records")?;
    Ok(JournalRow {
        id,
        checksum: own as u64,
        before,
        is_sound,
        bytes,
        kind,
        run,
        positions,
        copies,
        records,
    })
}

/// One row of the journal as it was read.
pub(crate) type JournalRead = (i64, Result<JournalRow, RowFault>);

/// All rows of the journal, in order. A row that can't be read at all is an error in its place.
///
/// # Errors
/// The table cannot be read, or no further: the rows until then are returned.
pub(crate) fn journal(conn: &Connection) -> (Vec<JournalRead>, Option<RowFault>) {
    let mut all = Vec::new();
    let end = walk_journal(conn, &mut all).err();
    (all, end)
}

fn walk_journal(conn: &Connection, all: &mut Vec<JournalRead>) -> Result<(), RowFault> {
    let mut journal = conn.prepare("SELECT id, sum, data FROM journal ORDER BY id")?;
    let mut rows = journal.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let parts = row.get(1).and_then(|own: i64| Ok((own, row.get::<_, Vec<u8>>(2)?)));
        all.push((id, parts.map_err(RowFault::from).and_then(|(own, data)| journal_row(id, own, data))));
    }
    Ok(())
}

/// A row of `rooms`, with the state.
#[derive(Clone, Debug)]
pub(crate) struct RoomRow {
    pub(crate) id: i64,
    pub(crate) is_removed: bool,
    /// The journal's rows up to this one are in its segments.
    pub(crate) moved: i64,
    pub(crate) state: RoomState,
}

fn room_checksum(id: i64, is_removed: bool, moved: i64, name: &str, facts: &[u8]) -> u64 {
    let mut all = Vec::with_capacity(facts.len() + name.len() + 32);
    all.extend_from_slice(&id.to_le_bytes());
    all.push(u8::from(is_removed));
    all.extend_from_slice(&moved.to_le_bytes());
    put_sized(name.as_bytes(), &mut all);
    all.extend_from_slice(facts);
    checksum(0, &all)
}

/// Write a room's row, and its state if `with_state`.
pub(crate) fn put_room(conn: &Connection, row: &RoomRow, with_state: bool) -> rusqlite::Result<()> {
    let (name, facts) = (&*row.state.room.room, row.state.facts());
    let own = room_checksum(row.id, row.is_removed, row.moved, name, &facts);
    conn.execute(
        "INSERT INTO rooms (id, name, is_removed, moved, facts, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (id) DO UPDATE SET name = ?2, is_removed = ?3, moved = ?4, facts = ?5, sum = ?6",
        params![row.id, name, row.is_removed, row.moved, facts, own as i64],
    )?;
    if with_state {
        let data = row.state.values_bytes();
        let own = checksum(row.id as u64, &data);
        conn.execute(
            "INSERT OR REPLACE INTO states (room, data, sum) VALUES (?1, ?2, ?3)",
            params![row.id, data, own as i64],
        )?;
    }
    Ok(())
}

/// One row of `rooms` as it was read, verified or not.
pub(crate) type RoomRead = (i64, Result<RoomRow, RowFault>);

/// A room's row by its name, without the state.
pub(crate) fn room(conn: &Connection, name: &str) -> Result<Option<RoomRow>, RowFault> {
    let mut room = conn.prepare(
        "SELECT id, name, is_removed, moved, facts, sum, NULL, NULL FROM rooms WHERE name = ?1 AND is_removed = 0",
    )?;
    let mut rows = room.query([name])?;
    match rows.next()? {
        Some(row) => facts_row(row).map(|(row, _)| Some(row)),
        None => Ok(None),
    }
}

/// A room's row by its name, with its state.
pub(crate) fn room_whole(conn: &Connection, name: &str) -> Result<Option<RoomRow>, RowFault> {
    let mut room = conn.prepare(
        "SELECT r.id, r.name, r.is_removed, r.moved, r.facts, r.sum, s.data, s.sum FROM rooms r \
         LEFT JOIN states s ON s.room = r.id WHERE r.name = ?1 AND r.is_removed = 0",
    )?;
    let mut rows = room.query([name])?;
    rows.next()?.map(room_row).transpose()
}

/// All rows of `rooms` with their states, in the order of their ids, except those kept apart (`is_removed` 2:
/// damaged).
///
/// # Errors
/// The table cannot be read. A damaged row is an error in its place.
pub(crate) fn rooms(conn: &Connection) -> Result<Vec<RoomRead>, RowFault> {
    let mut rooms = conn.prepare(
        "SELECT r.id, r.name, r.is_removed, r.moved, r.facts, r.sum, s.data, s.sum FROM rooms r \
         LEFT JOIN states s ON s.room = r.id WHERE r.is_removed < 2 ORDER BY r.id",
    )?;
    let mut rows = rooms.query([])?;
    let mut all: Vec<RoomRead> = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if all.last().is_some_and(|(before, _)| *before >= id) {
            return rotten("rooms are out of order");
        }
        all.push((id, room_row(row)));
    }
    Ok(all)
}

/// A row, and the number of keys in its state.
fn facts_row(row: &rusqlite::Row<'_>) -> Result<(RoomRow, u64), RowFault> {
    let (id, name, is_removed, moved): (i64, String, bool, i64) =
        (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    let (facts, own): (Vec<u8>, i64) = (row.get(4)?, row.get(5)?);
    if room_checksum(id, is_removed, moved, &name, &facts) != own as u64 {
        return rotten(format!("room {id} has another checksum"));
    }
    let (state, keys) = RoomState::from_facts(name.into(), facts.into())?;
    Ok((RoomRow { id, is_removed, moved, state }, keys))
}

fn room_row(row: &rusqlite::Row<'_>) -> Result<RoomRow, RowFault> {
    let (RoomRow { id, is_removed, moved, mut state }, keys) = facts_row(row)?;
    if let Some(data) = row.get::<_, Option<Vec<u8>>>(6)? {
        let own: Option<i64> = row.get(7)?;
        if own != Some(checksum(id as u64, &data) as i64) {
            return rotten(format!("the state of room {id} has another checksum"));
        }
        state.values = RoomState::values_from(data.into())?;
    }
    if state.values.len() as u64 != keys && !is_removed {
        return rotten(format!("the state of room {id} has {} keys and not {keys}", state.values.len()));
    }
    Ok(RoomRow { id, is_removed, moved, state })
}

/// A run of a room's records.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) room: i64,
    pub(crate) first_offset: u64,
    pub(crate) next_offset: u64,
    /// Time of its newest batch with chat.
    pub(crate) time_ms: u64,
    /// Checksum before its first record.
    pub(crate) base: u64,
    /// Checksum of its last record.
    pub(crate) newest: u64,
    pub(crate) data: Vec<u8>,
}

fn segment_checksum(id: i64, segment: &Segment) -> u64 {
    let mut all = [0; 56];
    let fields = [
        id as u64,
        segment.room as u64,
        segment.first_offset,
        segment.next_offset,
        segment.time_ms,
        segment.base,
        segment.data.len() as u64,
    ];
    for (at, n) in fields.iter().enumerate() {
        all[8 * at..8 * at + 8].copy_from_slice(&n.to_le_bytes());
    }
    checksum(segment.newest, &all)
}

/// Insert a segment under an id greater than all before.
pub(crate) fn insert_segment(conn: &Connection, id: i64, segment: &Segment) -> rusqlite::Result<()> {
    let (first, next) = (segment.first_offset as i64, segment.next_offset as i64);
    let (base, newest) = (segment.base as i64, segment.newest as i64);
    let own = segment_checksum(id, segment) as i64;
    conn.execute(
        "INSERT INTO segments (id, room, first_offset, next_offset, time_ms, base, newest, sum, data) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![id, segment.room, first, next, segment.time_ms as i64, base, newest, own, segment.data],
    )?;
    Ok(())
}

/// Ids of a room's segments that hold records from an offset on, in order.
pub(crate) fn segments_from(
    conn: &Connection,
    room: i64,
    from: u64,
    count_max: usize,
) -> Result<Vec<i64>, RowFault> {
    let mut ids = conn.prepare(
        "SELECT id FROM segments WHERE room = ?1 AND next_offset > ?2 ORDER BY next_offset, id LIMIT ?3",
    )?;
    let ids = ids.query_map(params![room, from as i64, count_max as i64], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// Ids of all of a room's segments, in order.
pub(crate) fn segments_from_all(conn: &Connection, room: i64) -> Result<Vec<i64>, RowFault> {
    let mut ids = conn.prepare("SELECT id FROM segments WHERE room = ?1 ORDER BY next_offset, id")?;
    let ids = ids.query_map([room], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// Ids of a room's newest segments, the newest first, after skipping `skip` of them.
pub(crate) fn segments_newest(
    conn: &Connection,
    room: i64,
    skip: usize,
    count_max: usize,
) -> Result<Vec<i64>, RowFault> {
    let mut ids = conn.prepare(
        "SELECT id FROM segments WHERE room = ?1 ORDER BY next_offset DESC, id DESC LIMIT ?3 OFFSET ?2",
    )?;
    let ids = ids.query_map(params![room, skip as i64, count_max as i64], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// A segment as it is, its own checksum compared.
///
/// # Errors
/// It cannot be read, or was changed.
pub(crate) fn segment_whole(conn: &Connection, id: i64) -> Result<Segment, RowFault> {
    let mut segment = conn.prepare(
        "SELECT room, first_offset, next_offset, time_ms, base, newest, data, sum FROM segments WHERE id = ?1",
    )?;
    let (segment, own) = segment.query_row([id], segment_row)?;
    if segment_checksum(id, &segment) != own {
        return rotten(format!("segment {id} has another checksum"));
    }
    Ok(segment)
}

fn segment_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Segment, u64)> {
    let unsigned = |at: usize| row.get::<_, i64>(at).map(|n| n as u64);
    let segment = Segment {
        room: row.get(0)?,
        first_offset: unsigned(1)?,
        next_offset: unsigned(2)?,
        time_ms: unsigned(3)?,
        base: unsigned(4)?,
        newest: unsigned(5)?,
        data: row.get(6)?,
    };
    Ok((segment, unsigned(7)?))
}

/// A segment that was read: its sound records, and the fault of the others.
#[derive(Debug)]
pub(crate) struct SegmentRead {
    pub(crate) first_offset: u64,
    pub(crate) next_offset: u64,
    pub(crate) base: u64,
    pub(crate) newest: u64,
    pub(crate) bytes: u64,
    pub(crate) records: Vec<Sealed>,
    pub(crate) fault: Option<String>,
}

/// Read a segment and verify it.
///
/// # Errors
/// It cannot be read at all, or belongs to another room.
pub(crate) fn segment(conn: &Connection, id: i64, room: i64) -> Result<SegmentRead, RowFault> {
    let mut segment = conn.prepare(
        "SELECT room, first_offset, next_offset, time_ms, base, newest, data, sum FROM segments WHERE id = ?1",
    )?;
    let (segment, own) = segment.query_row([id], segment_row)?;
    if segment.room != room {
        return rotten(format!("segment {id} is of room {} and not {room}", segment.room));
    }
    let mut fault = None;
    if segment_checksum(id, &segment) != own {
        fault = Some(format!("segment {id} has another checksum"));
    }
    let (first_offset, next_offset) = (segment.first_offset, segment.next_offset);
    let (base, newest) = (segment.base, segment.newest);
    let bytes = segment.data.len() as u64;
    let (records, second) = records(Bytes::from(segment.data), base, newest);
    let fault = fault.or_else(|| second.map(|text| format!("segment {id}: {text}")));
    Ok(SegmentRead { first_offset, next_offset, base, newest, bytes, records, fault })
}

/// The sound records of a run, and its first fault: each record must follow the one before.
fn records(mut data: Bytes, base: u64, newest: u64) -> (Vec<Sealed>, Option<String>) {
    let (mut sound, mut fault, mut before) = (Vec::new(), None, base);
    while !data.is_empty() {
        match record::read(&data) {
            Ok(sealed) => {
                if sealed.base != before {
                    fault.get_or_insert(format!(
                        "a record does not follow, {} bytes before the end",
                        data.len()
                    ));
                }
                before = sealed.checksum;
                data = data.slice(sealed.bytes.len()..);
                sound.push(sealed);
            }
            Err(why) => {
                fault.get_or_insert(format!(
                    "a record is rotten, {} bytes before the end ({why:?})",
                    data.len()
                ));
                let (record::RecordFault::Checksum { bytes } | record::RecordFault::Malformed { bytes, .. }) =
                    why
                else {
                    break;
                };
                data = data.slice(bytes..);
            }
        }
    }
    if before != newest {
        fault.get_or_insert("its last record is not the one that was written".to_owned());
    }
    (sound, fault)
}

/// The database's own random number, and the number of rooms.
pub(crate) fn meta(conn: &Connection) -> Result<(u64, u64), RowFault> {
    let (number, made_ms, rooms, own): (i64, i64, i64, i64) =
        conn.query_row("SELECT number, made_ms, rooms, sum FROM meta WHERE id = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
    if meta_checksum(number, made_ms, rooms) != own {
        return rotten("the database's own row has another checksum");
    }
    Ok((number as u64, rooms as u64))
}

fn meta_checksum(number: i64, made_ms: i64, rooms: i64) -> i64 {
    checksum(1, &[number.to_le_bytes(), made_ms.to_le_bytes(), rooms.to_le_bytes()].concat()) as i64
}

/// Write the database's own row.
pub(crate) fn put_meta(conn: &Connection, number: u64, made_ms: u64) -> rusqlite::Result<()> {
    let (number, made_ms) = (number as i64, made_ms as i64);
    let own = meta_checksum(number, made_ms, 0);
    conn.execute(
        "INSERT OR REPLACE INTO meta (id, number, made_ms, rooms, sum) VALUES (1, ?1, ?2, 0, ?3)",
        [number, made_ms, own],
    )?;
    Ok(())
}

/// Write the number of rooms.
pub(crate) fn put_room_count(conn: &Connection, rooms: u64) -> rusqlite::Result<()> {
    let (number, made_ms): (i64, i64) =
        conn.query_row("SELECT number, made_ms FROM meta WHERE id = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let own = meta_checksum(number, made_ms, rooms as i64);
    conn.execute("UPDATE meta SET rooms = ?1, sum = ?2 WHERE id = 1", [rooms as i64, own])?;
    Ok(())
}

/// Give the database another number, which makes it another log.
pub(crate) fn renumber(conn: &Connection, number: u64) -> rusqlite::Result<()> {
    let (made_ms, rooms): (i64, i64) =
        conn.query_row("SELECT made_ms, rooms FROM meta WHERE id = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let own = meta_checksum(number as i64, made_ms, rooms);
    conn.execute("UPDATE meta SET number = ?1, sum = ?2 WHERE id = 1", [number as i64, own])?;
    Ok(())
}

/// A room's name, shared between rows.
pub(crate) type Name = Arc<str>;
