//! The mover: takes what the journal holds into the rooms' segments, some rooms at a time.
//!
//! Why: the journal is in the order of time, and whoever reads wants a room. A room is moved once in some seconds or
//! megabytes, so its pages are written once for many commits.
//!
//! A *round* takes everything up to a row of the journal. Each step writes some rooms, within the transaction of a commit or
//! one of its own; a room's row says up to which journal row it was moved, so a crash in the midst of a round is nothing
//! special. When the last room is through, the journal's rows go, but for the newest, which says where each shard stands.
//!
//! Invariant: what a step did to memory is done after its commit, by [`Moved::settle`]; before, nothing has changed.
//! Not here: transactions (`writer`), what is removed for age or size (`retention`).

use std::collections::{HashMap, VecDeque};

use foldhash::quality::RandomState;
use grandstand_engine::durable::Entry;
use rusqlite::Connection;

use crate::head::{Head, Step};
use crate::record::{self, Record};
use crate::rows::{self, Name, RoomRow, Segment};
use crate::tail::{Kept, Shared};

/// A segment is begun anew above this: large enough that its index entry and its row's head cost nothing beside it, small
/// enough that a page of history reads little in vain.
const SEGMENT_BYTES: usize = 128 << 10;

/// Bytes of records that one step moves: some milliseconds of writing.
pub(crate) const STEP_BYTES: usize = 256 << 10;

/// Rooms that one step moves: their rows lie near each other, their index pages do not.
const STEP_ROOMS: usize = 64;

/// The rooms of a database as the log thread knows them, as far as their segments go.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    pub(crate) live: HashMap<Name, RoomRow, RandomState>,
    /// Their names by their ids.
    pub(crate) names: HashMap<i64, Name, RandomState>,
    /// Of all live rooms.
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    /// Removed ones whose rows are still there.
    pub(crate) removed: VecDeque<RoomRow>,
    pub(crate) next_room: i64,
    pub(crate) next_segment: i64,
}

/// One pass over all rooms that have anything in the journal.
#[derive(Debug)]
pub(crate) struct Round {
    /// Newest row of the journal that it takes.
    pub(crate) upto: i64,
    positions: Vec<u64>,
    due: VecDeque<(usize, Name)>,
}

/// What one step wrote: to be settled when it is committed.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    rooms: Vec<(usize, Name, usize, Option<RoomRow>)>,
    removed: Vec<RoomRow>,
    next_room: i64,
    next_segment: i64,
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    pub(crate) faults: Vec<String>,
}

impl Round {
    /// Over everything that is committed now, up to journal row `upto`.
    pub(crate) fn begin(shared: &Shared, upto: i64, positions: Vec<u64>) -> Round {
        let mut due: VecDeque<(usize, Name)> = VecDeque::new();
        for (shard, (side, &position)) in shared.shards.iter().zip(&positions).enumerate() {
            let tail = side.tail();
            let has = |kept: &VecDeque<Kept>| kept.front().is_some_and(|kept| kept.position <= position);
            due.extend(
                tail.rooms.iter().filter(|(_, kept)| has(kept)).map(|(name, _)| (shard, name.clone())),
            );
        }
        Round { upto, positions, due }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.due.is_empty()
    }

    /// Write the next rooms. Nothing in memory changes yet, not even this round.
    pub(crate) fn step(&self, conn: &Connection, shared: &Shared, rooms: &Rooms) -> rusqlite::Result<Moved> {
        let mut moved =
            Moved { next_room: rooms.next_room, next_segment: rooms.next_segment, ..Moved::default() };
        let mut bytes = 0;
        for (shard, name) in self.due.iter().take(STEP_ROOMS) {
            if bytes >= STEP_BYTES {
                break;
            }
            let kept: Vec<Kept> = {
                let tail = shared.shards[*shard].tail();
                let kept = tail.rooms.get(name).into_iter().flatten();
                kept.take_while(|kept| kept.position <= self.positions[*shard]).cloned().collect()
            };
            bytes += kept.iter().map(|kept| kept.bytes.len()).sum::<usize>();
            self.write_room(conn, rooms.live.get(name), &kept, &mut moved)?;
            let row = moved.rooms.pop().and_then(|(.., row)| row);
            moved.rooms.push((*shard, name.clone(), kept.len(), row));
        }
        let was = |name: &Name| rooms.live.contains_key(name);
        let more = moved.rooms.iter().filter(|(_, name, _, row)| row.is_some() && !was(name)).count();
        let less = moved.rooms.iter().filter(|(_, name, _, row)| row.is_none() && was(name)).count();
        if more != less {
            rows::put_room_count(conn, (rooms.live.len() + more - less) as u64)?;
        }
        Ok(moved)
    }

    /// Rooms that a settled step has done.
    pub(crate) fn pass(&mut self, moved: &Moved) {
        self.due.drain(..moved.rooms.len());
    }

    fn write_room(
        &self,
        conn: &Connection,
        row: Option<&RoomRow>,
        kept: &[Kept],
        moved: &mut Moved,
    ) -> rusqlite::Result<()> {
        let removed_from = moved.removed.len();
        let mut id = row.map(|row| row.id);
        let mut head = row.map(|row| row.head.clone());
        let mut last = head.clone();
        let (mut run, mut runs, mut with_state) = (None, Vec::new(), false);
        for kept in kept {
            let sealed = record::read(&kept.bytes).expect("a record in memory is as it was encoded");
            let step = match Head::advance(&mut head, &sealed) {
                Ok(step) => step,
                Err(_) => {
                    let name = sealed.record.room();
                    moved.faults.push(format!("a record of room {name} does not follow; it is left out"));
                    continue;
                }
            };
            if step != Step::On {
                if let (Some(id), Some(head)) = (id, last.take()) {
                    moved.removed.push(self.removed(id, head));
                }
                (run, with_state) = (None, true);
                runs.clear();
                id = Some(moved.next_room);
                moved.next_room += 1;
            }
            if step != Step::Gone {
                let head = head.as_ref().expect("a room that goes on is there");
                if let Record::Entry(Entry::Batch(entry)) = &sealed.record {
                    with_state |= entry.state.is_some();
                }
                append(&mut run, &mut runs, head, &sealed);
            }
            last.clone_from(&head);
        }
        runs.extend(run);
        if head.is_none() && !kept.is_empty() {
            // Its tombstone: the journal still tells of it.
            let Some(first) = kept.first() else { return Ok(()) };
            let sealed = record::read(&first.bytes).expect("a record in memory is as it was encoded");
            let id = id.unwrap_or(moved.next_room);
            moved.next_room = moved.next_room.max(id + 1);
            moved.removed.push(self.removed(id, Head::new(sealed.record.room().clone(), 0, 0)));
        }
        for row in &moved.removed[removed_from..] {
            rows::put_room(conn, row, false)?;
        }
        let row = match (id, head) {
            (Some(id), Some(mut head)) => {
                for mut segment in runs {
                    segment.room = id;
                    rows::insert_segment(conn, moved.next_segment, &segment)?;
                    moved.next_segment += 1;
                    head.segments += 1;
                    head.bytes += segment.data.len() as u64;
                    moved.segments += 1;
                    moved.bytes += segment.data.len() as u64;
                }
                let row = RoomRow { id, is_removed: false, moved: self.upto, head };
                rows::put_room(conn, &row, with_state)?;
                Some(row)
            }
            _ => None,
        };
        moved.rooms.push((0, Name::from(""), 0, row));
        Ok(())
    }

    fn removed(&self, id: i64, head: Head) -> RoomRow {
        RoomRow { id, is_removed: true, moved: self.upto, head }
    }
}

/// Add a record to the run of a segment.
fn append(run: &mut Option<Segment>, runs: &mut Vec<Segment>, head: &Head, sealed: &record::Sealed) {
    if run.as_ref().is_some_and(|run| run.data.len() >= SEGMENT_BYTES) {
        runs.extend(run.take());
    }
    let first_offset = match &sealed.record {
        Record::Entry(Entry::Batch(entry)) => entry.batch.first_offset,
        _ => head.next_offset,
    };
    let run = run.get_or_insert_with(|| Segment {
        room: 0,
        first_offset,
        next_offset: first_offset,
        time_ms: head.time_ms,
        base: sealed.base,
        newest: sealed.sum,
        data: Vec::new(),
    });
    run.next_offset = head.next_offset;
    run.time_ms = head.time_ms;
    run.newest = sealed.sum;
    run.data.extend_from_slice(&sealed.bytes);
}

impl Rooms {
    /// Take a room's row as it is now.
    pub(crate) fn put(&mut self, row: RoomRow) {
        let name = row.head.room.room.clone();
        self.remove(&name);
        self.segments += row.head.segments;
        self.bytes += row.head.bytes;
        self.names.insert(row.id, name.clone());
        self.live.insert(name, row);
    }

    fn remove(&mut self, name: &str) {
        if let Some(row) = self.live.remove(name) {
            self.names.remove(&row.id);
            self.segments -= row.head.segments;
            self.bytes -= row.head.bytes;
        }
    }
}

impl Moved {
    /// The step is committed: the tails let go of what is in segments now, and rooms stand where their rows do.
    pub(crate) fn settle(self, shared: &Shared, rooms: &mut Rooms) {
        (rooms.next_room, rooms.next_segment) = (self.next_room, self.next_segment);
        rooms.removed.extend(self.removed);
        for (shard, name, records, row) in self.rooms {
            match row {
                Some(row) => rooms.put(row),
                None => rooms.remove(&name),
            }
            let mut tail = shared.shards[shard].tail();
            if let Some(kept) = tail.rooms.get_mut(&name) {
                kept.drain(..records);
                if kept.is_empty() {
                    tail.rooms.remove(&name);
                }
            }
        }
    }
}
