//! Retention: removes the oldest segments when they are too old or too large in all, a few at a time.
//!
//! Why whole segments: a room's chain of checksums continues from its oldest segment, whose row has its base.
//! Order: segments of removed rooms, then those that are too old, then the oldest of the node while it keeps
//! too many bytes, then the oldest of a room that keeps too many.
//! Invariant: a room loses its oldest segments first, so the rest has no holes. A step removes at most
//! [`STEP`] segments.
//! Not here: transactions (`committer`).

use grandstand_engine::log::News;
use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::{may_expire, unix_ms};
use crate::compaction::Rooms;
use crate::config::Retention;
use crate::memtable::Shared;
use crate::tables::{self, RoomRow};

/// Segments that a step removes: two megabytes at most, whose pages go to the free list.
const STEP: usize = 16;

/// Free pages that stay in the file for reuse: a second of a loaded node.
const FREE_PAGES_KEPT: u64 = 1024;

/// The work for the next step.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    pub(crate) is_due: bool,
    /// Free pages to give back to the file system in the next step.
    pub(crate) vacuum_pages: u32,
    /// Segments up to this one belong to rooms that are kept aside, or to no room.
    after: i64,
}

/// The removals of one step, settled after its commit.
#[derive(Debug, Default)]
pub(crate) struct Trimmed {
    rows: Vec<RoomRow>,
    segments: u64,
    /// The first of the removed rooms has no segments left.
    forgotten: bool,
    after: i64,
    pub(crate) vacuumed: bool,
    is_more: bool,
}

/// Is more kept than allowed?
pub(crate) fn is_over(rooms: &Rooms, retention: Retention) -> bool {
    let is_over = |bytes: u64, max: u64| max > 0 && bytes > max;
    is_over(rooms.bytes, retention.node_bytes_max)
        || rooms.live.values().any(|row| is_over(row.state.bytes, retention.room_bytes_max))
}

/// One step. `journal` is the oldest row of the journal.
pub(crate) fn step(
    conn: &Connection,
    rooms: &Rooms,
    cursor: &Cursor,
    retention: Retention,
    journal: i64,
) -> rusqlite::Result<Trimmed> {
    let mut trimmed = Trimmed { after: cursor.after, ..Trimmed::default() };
    if let Some(room) = rooms.removed.front() {
        forget(conn, room, journal, &mut trimmed)?;
        if trimmed.is_more {
            return Ok(trimmed);
        }
    }
    let mut bytes = rooms.bytes;
    let by_age = retention.age_ms > 0 && may_expire();
    let cutoff_ms = if by_age { unix_ms().saturating_sub(retention.age_ms) } else { 0 };
    for _ in 0..STEP {
        let Some(oldest) = oldest_of_all(conn, trimmed.after)? else { break };
        let is_old = oldest.time_ms < cutoff_ms;
        let is_over = retention.node_bytes_max > 0 && bytes > retention.node_bytes_max;
        if !is_old && !is_over {
            break;
        }
        trimmed.is_more = true;
        match rooms.names.get(&oldest.room).and_then(|name| rooms.live.get(name)) {
            Some(row) => {
                bytes = bytes.saturating_sub(oldest.bytes);
                trimmed.remove(conn, row, &oldest)?;
            }
            None => trimmed.after = oldest.id,
        }
    }
    if !trimmed.is_more {
        largest(conn, rooms, retention, &mut trimmed)?;
    }
    if !trimmed.is_more && cursor.vacuum_pages > 0 {
        let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({})", cursor.vacuum_pages))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        let free: i64 = conn.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
        trimmed.is_more = free as u64 > FREE_PAGES_KEPT;
        trimmed.vacuumed = true;
    }
    trimmed.rows.iter().try_for_each(|row| tables::put_room(conn, row, false))?;
    Ok(trimmed)
}

/// Remove segments of a removed room. After the last, its rows are deleted once the journal has no record of
/// it.
fn forget(conn: &Connection, room: &RoomRow, journal: i64, trimmed: &mut Trimmed) -> rusqlite::Result<()> {
    let sql = "DELETE FROM segments WHERE id IN (SELECT id FROM segments WHERE room = ?1 LIMIT ?2)";
    let gone = conn.execute(sql, params![room.id, STEP as i64])?;
    trimmed.segments += gone as u64;
    trimmed.is_more = gone > 0;
    if gone == 0 && room.moved < journal {
        conn.execute("DELETE FROM states WHERE room = ?1", [room.id])?;
        conn.execute("DELETE FROM rooms WHERE id = ?1", [room.id])?;
        (trimmed.forgotten, trimmed.is_more) = (true, true);
    }
    Ok(())
}

/// The oldest segments of a room that keeps too much.
fn largest(
    conn: &Connection,
    rooms: &Rooms,
    retention: Retention,
    trimmed: &mut Trimmed,
) -> rusqlite::Result<()> {
    let max = retention.room_bytes_max;
    let Some(row) = rooms.live.values().find(|row| max > 0 && row.state.bytes > max) else { return Ok(()) };
    let mut bytes = row.state.bytes;
    while bytes > max && trimmed.segments < STEP as u64 {
        let Some(oldest) = oldest_of_room(conn, row.id)? else { break };
        bytes = bytes.saturating_sub(oldest.bytes);
        trimmed.remove(conn, row, &oldest)?;
        trimmed.is_more = true;
    }
    Ok(())
}

struct Oldest {
    id: i64,
    room: i64,
    next_offset: u64,
    time_ms: u64,
    bytes: u64,
}

const OLDEST: &str = "SELECT id, room, next_offset, time_ms, length(data) FROM segments";

fn oldest_of_all(conn: &Connection, after: i64) -> rusqlite::Result<Option<Oldest>> {
    conn.query_row(&format!("{OLDEST} WHERE id > ?1 ORDER BY id LIMIT 1"), [after], oldest).optional()
}

fn oldest_of_room(conn: &Connection, room: i64) -> rusqlite::Result<Option<Oldest>> {
    let sql = format!("{OLDEST} WHERE room = ?1 ORDER BY next_offset, id LIMIT 1");
    conn.query_row(&sql, [room], oldest).optional()
}

fn oldest(row: &rusqlite::Row<'_>) -> rusqlite::Result<Oldest> {
    let unsigned = |at: usize| row.get::<_, i64>(at).map(|n| n as u64);
    Ok(Oldest {
        id: row.get(0)?,
        room: row.get(1)?,
        next_offset: unsigned(2)?,
        time_ms: unsigned(3)?,
        bytes: unsigned(4)?,
    })
}

impl Trimmed {
    fn remove(&mut self, conn: &Connection, row: &RoomRow, oldest: &Oldest) -> rusqlite::Result<()> {
        conn.execute("DELETE FROM segments WHERE id = ?1", [oldest.id])?;
        let at = self.rows.iter().position(|trimmed| trimmed.id == row.id).unwrap_or_else(|| {
            self.rows.push(row.clone());
            self.rows.len() - 1
        });
        let state = &mut self.rows[at].state;
        state.oldest_offset = state.oldest_offset.max(oldest.next_offset);
        state.segments = state.segments.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(oldest.bytes);
        self.segments += 1;
        Ok(())
    }

    /// The step is committed: tell the shards what was removed.
    pub(crate) fn settle(self, shared: &Shared, rooms: &mut Rooms, cursor: &mut Cursor) {
        shared.status.trimmed.fetch_add(self.segments, std::sync::atomic::Ordering::Relaxed);
        (cursor.is_due, cursor.after) = (self.is_more, self.after);
        if self.vacuumed && !self.is_more {
            cursor.vacuum_pages = 0;
        }
        if self.forgotten {
            rooms.removed.pop_front();
        }
        for row in self.rows {
            let (room, epoch) = (row.state.room.room.clone(), row.state.room.epoch);
            let oldest_offset = row.state.oldest_offset;
            rooms.put(row);
            if let Some(shard) = shared.owner(&room) {
                shared.shards[shard].tell(News::Trimmed { room, epoch, oldest_offset });
            }
        }
    }
}
