//! Tests of compaction: a large room is moved in parts.
//!
//! Why: a commit must never wait until all messages of one room are moved.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::{Batch, Compressed};
use grandstand_engine::log::BatchEntry;
use grandstand_queue::thread_bell;

use super::*;
use crate::journal::Journal;
use crate::schema;

/// Messages of 1 KB, one a batch, each committed by itself.
struct Hall {
    shared: Arc<Shared>,
    journal: Journal,
    conn: Connection,
    rooms: Rooms,
    /// Next offset and newest sum.
    stands: HashMap<&'static str, (u64, u64)>,
}

impl Hall {
    fn new() -> Hall {
        let mut conn = Connection::open_in_memory().unwrap();
        schema::migrate(&mut conn, Path::new("a test's"), schema::MIGRATIONS, |_| Ok(())).unwrap();
        tables::put_meta(&conn, 1, 1).unwrap();
        Hall {
            shared: Shared::new(1, usize::MAX, thread_bell().0, false),
            journal: Journal::empty(1),
            conn,
            rooms: Rooms { next_room: 1, next_segment: 1, ..Rooms::default() },
            stands: HashMap::new(),
        }
    }

    fn say(&mut self, room: &'static str) {
        let (offset, base) = self.stands.get(room).copied().unwrap_or_default();
        let batch = Batch {
            seq: offset,
            first_offset: offset,
            next_offset: offset + 1,
            messages: 1,
            base_time_ms: 5,
            time_ms: 5,
            wire: Bytes::from(vec![b'.'; 1024]),
            has_acts: false,
            compressed: Compressed::default(),
            snapshot: None,
        };
        let (room_name, nonces) = (Name::from(room), Box::default());
        let entry =
            BatchEntry { room: room_name, epoch: 7, batch: Arc::new(batch), full: None, nonces, state: None };
        let (bytes, checksum) = record::encode(&Record::Entry(Entry::Batch(Box::new(entry))), base);
        let position = self.journal.positions[0] + 1;
        self.journal.settle(0, bytes.len() as u64, vec![position]);
        self.shared.shards[0].memtable().keep(room.into(), position, bytes, base == 0, offset + 1);
        self.stands.insert(room, (offset + 1, checksum));
    }

    /// One step, committed. Returns the bytes that it wrote.
    fn step(&mut self, round: &mut Round) -> u64 {
        let moved = round.step(&self.conn, &self.shared, &self.rooms).unwrap();
        assert_eq!(moved.faults, Vec::<String>::new());
        let bytes = moved.bytes;
        round.pass(&moved);
        moved.settle(&self.shared, &mut self.rooms);
        bytes
    }

    /// The offsets of a room's segments, and the number of records in its memtable.
    fn stored(&self, room: &str) -> (Vec<(u64, u64)>, usize) {
        let row = tables::room(&self.conn, room).unwrap().unwrap();
        let ids = tables::segments_from_all(&self.conn, row.id).unwrap();
        let segments = ids.into_iter().map(|id| tables::segment(&self.conn, id, row.id).unwrap());
        let runs = segments.map(|segment| {
            assert_eq!(segment.fault, None);
            let offsets: Vec<u64> = segment.records.iter().map(|s| s.record.next_offset()).collect();
            (offsets[0] - 1, *offsets.last().unwrap())
        });
        (runs.collect(), self.shared.shards[0].memtable().rooms.get(room).map_or(0, VecDeque::len))
    }
}

#[test]
fn a_large_room_is_moved_in_parts_and_each_part_is_all_that_a_start_must_know() {
    let mut hall = Hall::new();
    for n in 0..2000 {
        hall.say("large");
        if n % 100 == 0 {
            hall.say("small");
        }
    }
    let mut round = Round::begin(&hall.shared, hall.journal.take_marks());
    hall.say("large");
    let mut steps = 0;
    while !round.is_done() {
        let bytes = hall.step(&mut round);
        // A part is cut at a mark, and one more may fit before the budget's end.
        assert!(bytes <= 2 * STEP_BYTES as u64, "{bytes} bytes in step {steps}");
        steps += 1;
        for room in ["large", "small"] {
            let Some(row) = tables::room(&hall.conn, room).unwrap() else { continue };
            // The rows after `moved`, which a start takes from the journal, are exactly the memtable's
            // records.
            let positions = hall.shared.shards[0].memtable();
            let left = positions.rooms.get(room).and_then(|kept| kept.front().map(|kept| kept.position));
            assert!(left.is_none_or(|position| position as i64 > row.moved), "{room}: {left:?}");
        }
    }
    assert!(steps >= 7, "{steps} steps");
    let (runs, left) = hall.stored("large");
    assert_eq!((runs[0].0, runs.last().unwrap().1, left), (0, 2000, 1));
    assert!(runs.windows(2).all(|pair| pair[0].1 == pair[1].0), "{runs:?}");
    assert_eq!(hall.stored("small").1, 0);
    assert_eq!(tables::room(&hall.conn, "large").unwrap().unwrap().moved, round.upto());
}
