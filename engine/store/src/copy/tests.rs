//! Tests of the bound of all rooms, with batches of given sizes.
//!
//! Why: the order of all rooms is swept by halves, and must agree with a plain list.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::RoomSettings;
use grandstand_engine::link::{Batch, Compressed};
use grandstand_engine::log::{BatchEntry, Entry, RoomEntry};
use grandstand_protocol::frame::Phase;
use proptest::prelude::*;

use super::room::Bounds;
use super::rooms::CopiedRooms;
use crate::config::StoreConfig;
use crate::record::{self, Record, Sealed};
use crate::room_state::RoomState;
use crate::tables::Name;

fn sealed(entry: Entry, base: u64) -> Sealed {
    let (bytes, _) = record::encode(&Record::Entry(entry), base);
    record::read(&bytes).unwrap()
}

fn begin(rooms: &mut CopiedRooms, name: &Name) {
    let settings = RoomSettings::default();
    let phase = Phase::Open;
    let entry = RoomEntry {
        room: name.clone(),
        epoch: 1,
        next_offset: 0,
        slot: None,
        is_operators: false,
        is_head: false,
        phase,
        settings,
    };
    let mut state = None;
    RoomState::advance(&mut state, &sealed(Entry::Room(entry), 0)).unwrap();
    rooms.begin(state.unwrap());
}

fn say(rooms: &mut CopiedRooms, name: &Name, bytes: usize) {
    let Some((_, room)) = rooms.get(name) else { return };
    let (offset, base) = (room.state.next_offset, room.state.checksum);
    let batch = Batch {
        seq: 0,
        first_offset: offset,
        next_offset: offset + 1,
        messages: 1,
        base_time_ms: 0,
        time_ms: 0,
        wire: Bytes::from(vec![0; bytes]),
        has_acts: false,
        compressed: Compressed::default(),
        snapshot: None,
    };
    let nonces = Box::from([(grandstand_engine::link::UserId(1), offset)]);
    let (room, epoch, batch) = (name.clone(), 1, Arc::new(batch));
    let entry = BatchEntry { room, epoch, batch, full: None, nonces, state: None };
    assert!(rooms.take(name, &sealed(Entry::Batch(Box::new(entry)), base)));
}

fn kept(rooms: &CopiedRooms) -> HashMap<Name, Vec<u64>> {
    let of = |room: &super::room::CopiedRoom| {
        let stored = room.stored();
        let offsets: Vec<u64> = stored.newest.iter().map(|(batch, _)| batch.first_offset).collect();
        let ends = offsets.iter().rev().zip((0..stored.next_offset).rev()).all(|(at, due)| *at == due);
        assert!(ends, "a room keeps its newest: {offsets:?} of {}", stored.next_offset);
        (stored.room.room, offsets)
    };
    rooms.all().map(of).collect()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(usize),
    Say(usize, usize),
    Remove(usize),
    Trim(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0usize..5).prop_map(Step::Begin),
        12 => (0usize..5, 0usize..120).prop_map(|(room, bytes)| Step::Say(room, bytes)),
        1 => (0usize..5).prop_map(Step::Remove),
        1 => (0usize..5, 0u64..20).prop_map(|(room, offset)| Step::Trim(room, offset)),
    ]
}

fn bounds(batches_max: usize, bytes_max: usize) -> Bounds {
    let config = StoreConfig::for_tests("nowhere");
    Bounds::of(&StoreConfig { newest_batches_max: batches_max, newest_bytes_max: bytes_max, ..config })
}

proptest! {
    #[test]
    fn all_rooms_together_keep_their_bound_and_the_newest(
        steps in prop::collection::vec(step(), 1..200),
        bytes_max in 100usize..2000,
    ) {
        let mut rooms = CopiedRooms::new(bounds(6, 400), bytes_max);
        // The batches that a list in order of all rooms keeps.
        let mut order: Vec<(usize, u64, usize)> = Vec::new();
        for step in steps {
            let name = |at: usize| Name::from(format!("{at}"));
            match step {
                Step::Begin(at) if rooms.get(&name(at)).is_none() => begin(&mut rooms, &name(at)),
                Step::Begin(_) => {}
                Step::Say(at, bytes) => {
                    let Some((_, room)) = rooms.get(&name(at)) else { continue };
                    order.push((at, room.state.next_offset, bytes));
                    say(&mut rooms, &name(at), bytes);
                    let of = |order: &[(usize, u64, usize)]| {
                        let own = order.iter().filter(|&&(room, ..)| room == at);
                        own.fold((0, 0), |(count, sum), (.., bytes)| (count + 1, sum + bytes))
                    };
                    while { let (count, sum) = of(&order); count > 6 || sum > 400 } {
                        let oldest = order.iter().position(|&(room, ..)| room == at).unwrap();
                        order.remove(oldest);
                    }
                    while order.iter().map(|(.., bytes)| bytes).sum::<usize>() > bytes_max {
                        order.remove(0);
                    }
                }
                Step::Remove(at) => {
                    rooms.remove(&name(at));
                    order.retain(|&(room, ..)| room != at);
                }
                Step::Trim(at, offset) => {
                    rooms.trim(&name(at), 1, offset);
                    order.retain(|&(room, first, _)| room != at || first >= offset);
                }
            }
            let mut expected: HashMap<Name, Vec<u64>> =
                rooms.names().map(|name| (name.clone(), Vec::new())).collect();
            order.iter().for_each(|&(at, first, _)| expected.get_mut(&name(at)).unwrap().push(first));
            prop_assert_eq!(kept(&rooms), expected);
        }
    }
}

#[test]
fn the_order_of_all_rooms_does_not_grow_with_what_was_said() {
    let mut rooms = CopiedRooms::new(bounds(4, 1 << 20), 1 << 20);
    let names: Vec<Name> = (0..3).map(|at| Name::from(format!("{at}"))).collect();
    names.iter().for_each(|name| begin(&mut rooms, name));
    for turn in 0..20_000usize {
        say(&mut rooms, &names[turn % 3], 10);
        assert!(rooms.order_len() <= 2 * 12 + super::rooms::SWEEP_MIN + 1);
    }
    for turn in 0..20_000usize {
        let name = Name::from(format!("short lived {turn}"));
        begin(&mut rooms, &name);
        say(&mut rooms, &name, 10);
        rooms.remove(&name);
        assert!(rooms.order_len() <= 2 * 13 + super::rooms::SWEEP_MIN + 1);
    }
    assert!(kept(&rooms).values().all(|offsets| offsets.len() == 4));
}
