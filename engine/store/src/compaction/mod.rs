//! Compaction: moves entries from the journal into the segments of their rooms, some rooms at a time.
//!
//! Why: the journal is ordered by time, and readers want one room. A room is moved only once in some seconds
//! or megabytes, so its pages are written once for many commits.
//!
//! A *round* moves everything up to a row of the journal. Each step writes some rooms, or a part of a large
//! room up to a mark (`journal`), in the transaction of a commit or in one of its own. The row of a room
//! names the journal row up to which the room was moved, so a crash in the middle of a round needs no repair.
//! After the last room the journal's rows are deleted, except the newest, which has the position of each
//! shard.
//!
//! Invariant: a step changes memory only after its commit, in [`Compacted::settle`].
//! Not here: transactions (`committer`), what is removed for age or size (`retention`).

use std::collections::{HashMap, VecDeque};

use foldhash::quality::RandomState;
use grandstand_engine::log::Entry;
use rusqlite::Connection;

use crate::journal::{Mark, STEP_BYTES};
use crate::memtable::{MemRecord, Shared};
use crate::record::{self, Record};
use crate::room_state::{RoomState, Step};
use crate::tables::{self, Name, RoomRow, Segment};

/// A new segment begins above this size. It is large enough that its index entry and its row's head are
/// negligible, and small enough that a page of history reads little in vain.
const SEGMENT_BYTES: usize = 128 << 10;

/// Rooms moved in one step. Their rows are near each other, their index pages are not.
const STEP_ROOMS: usize = 64;

/// The committer's record of a database's rooms, as far as their segments reach.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    pub(crate) live: HashMap<Name, RoomRow, RandomState>,
    /// Their names by their ids.
    pub(crate) names: HashMap<i64, Name, RandomState>,
    /// Number of segments of all live rooms.
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    /// Removed rooms whose rows still exist.
    pub(crate) removed: VecDeque<RoomRow>,
    pub(crate) next_room: i64,
    pub(crate) next_segment: i64,
}

/// One pass over all rooms that have entries in the journal.
#[derive(Debug)]
pub(crate) struct Round {
    /// Marks at which a room may be cut; the last one is the end.
    marks: Vec<Mark>,
    due: VecDeque<(usize, Name)>,
}

/// The writes of one step, settled after its commit.
#[derive(Debug, Default)]
pub(crate) struct Compacted {
    rooms: Vec<(usize, Name, usize, Option<RoomRow>)>,
    /// Only a part of the last of `rooms` was moved.
    is_partial: bool,
    removed: Vec<RoomRow>,
    next_room: i64,
    next_segment: i64,
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    pub(crate) faults: Vec<String>,
}

impl Round {
    /// A round over everything up to the last of `marks`.
    pub(crate) fn begin(shared: &Shared, marks: Vec<Mark>) -> Round {
        let end = marks.last().expect("the journal's newest row is one");
        let mut due: VecDeque<(usize, Name)> = VecDeque::new();
        for (shard, (side, &position)) in shared.shards.iter().zip(&end.positions).enumerate() {
            let memtable = side.memtable();
            let has = |kept: &VecDeque<MemRecord>| kept.front().is_some_and(|kept| kept.position <= position);
            due.extend(
                memtable.rooms.iter().filter(|(_, kept)| has(kept)).map(|(name, _)| (shard, name.clone())),
            );
        }
        Round { marks, due }
    }

    /// The newest row of the journal in this round.
    pub(crate) fn upto(&self) -> i64 {
        self.marks.last().expect("never empty").row
    }

    pub(crate) fn is_done(&self) -> bool {
        self.due.is_empty()
    }

    /// Write the next rooms. Nothing in memory changes yet, not even this round.
    pub(crate) fn step(
        &self,
        conn: &Connection,
        shared: &Shared,
        rooms: &Rooms,
    ) -> rusqlite::Result<Compacted> {
        let mut moved = Compacted {
            next_room: rooms.next_room,
            next_segment: rooms.next_segment,
            ..Compacted::default()
        };
        let mut bytes = 0;
        for (shard, name) in self.due.iter().take(STEP_ROOMS) {
            if bytes >= STEP_BYTES || moved.is_partial {
                break;
            }
            let (kept, upto) = self.part(shared, *shard, name, STEP_BYTES - bytes);
            bytes += kept.iter().map(|kept| kept.bytes.len()).sum::<usize>();
            moved.is_partial = upto < self.upto();
            let of_copy = shared.is_copy.then_some(*shard as u16);
            write_room(conn, (rooms.live.get(name), upto), (&kept, of_copy), &mut moved)?;
            let row = moved.rooms.pop().and_then(|(.., row)| row);
            moved.rooms.push((*shard, name.clone(), kept.len(), row));
        }
        let was = |name: &Name| rooms.live.contains_key(name);
        let more = moved.rooms.iter().filter(|(_, name, _, row)| row.is_some() && !was(name)).count();
        let less = moved.rooms.iter().filter(|(_, name, _, row)| row.is_none() && was(name)).count();
        if more != less {
            tables::put_room_count(conn, (rooms.live.len() + more - less) as u64)?;
        }
        Ok(moved)
    }

    /// Skip the rooms that a settled step has moved.
    pub(crate) fn pass(&mut self, moved: &Compacted) {
        self.due.drain(..moved.rooms.len() - usize::from(moved.is_partial));
    }

    /// A room's next records, up to the last mark within the budget, but at least up to the first mark; and
    /// that mark's row.
    fn part(&self, shared: &Shared, shard: usize, name: &Name, bytes_max: usize) -> (Vec<MemRecord>, i64) {
        let memtable = shared.shards[shard].memtable();
        let Some(records) = memtable.rooms.get(name) else { return (Vec::new(), self.upto()) };
        let (mut taken, mut bytes, mut upto) = (0, 0, self.upto());
        for mark in &self.marks {
            let is_before = |kept: &&MemRecord| kept.position <= mark.positions[shard];
            let next = records.range(taken..).take_while(is_before).map(|kept| kept.bytes.len());
            let (count, more) = next.fold((0, 0), |(count, more), bytes| (count + 1, more + bytes));
            if taken > 0 && bytes + more > bytes_max {
                break;
            }
            (taken, bytes, upto) = (taken + count, bytes + more, mark.row);
        }
        (records.range(..taken).cloned().collect(), upto)
    }
}

/// Append a room's records to its row; afterwards the room is moved up to row `upto` of the journal.
/// `of_copy` is the shard whose copy has the room.
pub(crate) fn write_room(
    conn: &Connection,
    (row, upto): (Option<&RoomRow>, i64),
    (kept, of_copy): (&[MemRecord], Option<u16>),
    moved: &mut Compacted,
) -> rusqlite::Result<()> {
    let gone = |id, state| RoomRow { id, is_removed: true, moved: upto, state };
    let removed_from = moved.removed.len();
    let mut id = row.map(|row| row.id);
    let mut state = row.map(|row| row.state.clone());
    let mut last = state.clone();
    let (mut run, mut runs, mut with_state) = (None, Vec::new(), false);
    for kept in kept {
        let sealed = record::read(&kept.bytes).expect("a record in memory is as it was encoded");
        let step = match RoomState::advance(&mut state, &sealed) {
            Ok(step) => step,
            Err(_) => {
                let name = sealed.record.room();
                moved.faults.push(format!("a record of room {name} does not follow; it is left out"));
                continue;
            }
        };
        if step != Step::On {
            if let (Some(id), Some(state)) = (id, last.take()) {
                moved.removed.push(gone(id, state));
            }
            (run, with_state) = (None, true);
            runs.clear();
            id = Some(moved.next_room);
            moved.next_room += 1;
        }
        if step != Step::Gone {
            let state = state.as_ref().expect("a room that goes on is there");
            if let Record::Entry(Entry::Batch(entry)) = &sealed.record {
                with_state |= entry.state.is_some();
            }
            append(&mut run, &mut runs, state, &sealed);
        }
        last.clone_from(&state);
    }
    runs.extend(run);
    if state.is_none() && !kept.is_empty() {
        // Its tombstone: the journal still has records of it.
        let Some(first) = kept.first() else { return Ok(()) };
        let sealed = record::read(&first.bytes).expect("a record in memory is as it was encoded");
        let id = id.unwrap_or(moved.next_room);
        moved.next_room = moved.next_room.max(id + 1);
        moved.removed.push(gone(id, RoomState::new(sealed.record.room().clone(), 0, 0)));
    }
    for row in &moved.removed[removed_from..] {
        tables::put_room(conn, row, false)?;
    }
    let row = match (id, state) {
        (Some(id), Some(mut state)) => {
            state.shard = of_copy;
            for mut segment in runs {
                segment.room = id;
                tables::insert_segment(conn, moved.next_segment, &segment)?;
                moved.next_segment += 1;
                state.segments += 1;
                state.bytes += segment.data.len() as u64;
                moved.segments += 1;
                moved.bytes += segment.data.len() as u64;
            }
            let row = RoomRow { id, is_removed: false, moved: upto, state };
            tables::put_room(conn, &row, with_state)?;
            Some(row)
        }
        _ => None,
    };
    moved.rooms.push((0, Name::from(""), 0, row));
    Ok(())
}

/// Add a record to the open run of a segment.
fn append(run: &mut Option<Segment>, runs: &mut Vec<Segment>, state: &RoomState, sealed: &record::Sealed) {
    if run.as_ref().is_some_and(|run| run.data.len() >= SEGMENT_BYTES) {
        runs.extend(run.take());
    }
    let first_offset = match &sealed.record {
        Record::Entry(Entry::Batch(entry)) => entry.batch.first_offset,
        _ => state.next_offset,
    };
    let run = run.get_or_insert_with(|| Segment {
        room: 0,
        first_offset,
        next_offset: first_offset,
        time_ms: state.time_ms,
        base: sealed.base,
        newest: sealed.checksum,
        data: Vec::new(),
    });
    run.next_offset = state.next_offset;
    run.time_ms = state.time_ms;
    run.newest = sealed.checksum;
    run.data.extend_from_slice(&sealed.bytes);
}

impl Rooms {
    /// Remember a room's present row.
    pub(crate) fn put(&mut self, row: RoomRow) {
        let name = row.state.room.room.clone();
        self.remove(&name);
        self.segments += row.state.segments;
        self.bytes += row.state.bytes;
        self.names.insert(row.id, name.clone());
        self.live.insert(name, row);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(row) = self.live.remove(name) {
            self.names.remove(&row.id);
            self.segments -= row.state.segments;
            self.bytes -= row.state.bytes;
        }
    }
}

impl Compacted {
    /// Nothing yet; new rows get these numbers.
    pub(crate) fn at(next_room: i64, next_segment: i64) -> Compacted {
        Compacted { next_room, next_segment, ..Compacted::default() }
    }

    /// The row of the room that was written last.
    pub(crate) fn take_row(&mut self) -> Option<RoomRow> {
        self.rooms.pop()?.3
    }

    /// The numbers that come next, for a room and for a segment.
    pub(crate) fn next(&self) -> (i64, i64) {
        (self.next_room, self.next_segment)
    }

    /// The step is committed: the memtables drop the records that are now in segments, and the rooms'
    /// positions become those of their rows.
    pub(crate) fn settle(self, shared: &Shared, rooms: &mut Rooms) {
        (rooms.next_room, rooms.next_segment) = (self.next_room, self.next_segment);
        rooms.removed.extend(self.removed);
        for (shard, name, records, row) in self.rooms {
            match row {
                Some(row) => rooms.put(row),
                None => rooms.remove(&name),
            }
            let mut memtable = shared.shards[shard].memtable();
            if let Some(kept) = memtable.rooms.get_mut(&name) {
                kept.drain(..records);
                if kept.is_empty() {
                    memtable.rooms.remove(&name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
