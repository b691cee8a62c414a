//! The rooms of a copy in memory, and the bound of the batches that all of them keep.
//!
//! Why a bound of all: a node follows shards with thousands of rooms, and most will never be restored from
//! here. A room whose batches were taken away reads them from the database when they are wanted.
//! Invariants: the batches that were applied the longest ago leave first. `order` names every batch that a
//! room keeps, once, and may name some that are gone.

use std::collections::{HashMap, VecDeque};

use foldhash::quality::RandomState;

use super::room::{Bounds, Change, CopiedRoom};
use crate::record::Sealed;
use crate::room_state::RoomState;
use crate::tables::Name;

/// Names of batches that are gone are swept out when they are more than those of batches that are there, and
/// more than this.
pub(super) const SWEEP_MIN: usize = 1024;

/// See the file's head.
#[derive(Debug)]
pub(super) struct CopiedRooms {
    by_name: HashMap<Name, CopiedRoom, RandomState>,
    bounds: Bounds,
    /// The batches of all rooms by their rooms, the first applied first.
    order: VecDeque<(Name, u64)>,
    /// Batches that rooms keep, and their bytes.
    batches: usize,
    bytes: usize,
    bytes_max: usize,
    next_id: u64,
}

impl CopiedRooms {
    pub(super) fn new(bounds: Bounds, bytes_max: usize) -> CopiedRooms {
        CopiedRooms {
            by_name: HashMap::default(),
            bounds,
            order: VecDeque::new(),
            batches: 0,
            bytes: 0,
            bytes_max,
            next_id: 0,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<(&Name, &CopiedRoom)> {
        self.by_name.get_key_value(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.by_name.keys()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &CopiedRoom> {
        self.by_name.values()
    }

    #[cfg(test)]
    pub(super) fn order_len(&self) -> usize {
        self.order.len()
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A room begins.
    pub(super) fn begin(&mut self, state: RoomState) {
        let id = self.next_id();
        self.by_name.insert(state.room.room.clone(), CopiedRoom::new(id, state));
    }

    /// A room is there as the database has it. Rooms are put in the order of their times.
    pub(super) fn restore(&mut self, state: RoomState, stored: grandstand_engine::log::StoredRoom) {
        let (id, name) = (self.next_id(), state.room.room.clone());
        let (room, batches) = CopiedRoom::restore(id, state, stored);
        self.by_name.insert(name.clone(), room);
        for bytes in batches {
            self.order.push_back((name.clone(), id));
            (self.batches, self.bytes) = (self.batches + 1, self.bytes + bytes);
        }
        self.shrink();
    }

    /// The same, with values that do not keep the bytes of a whole row.
    pub(super) fn restore_owned(&mut self, mut state: RoomState, stored: grandstand_engine::log::StoredRoom) {
        for value in state.values.values_mut() {
            *value = bytes::Bytes::copy_from_slice(value);
        }
        self.restore(state, stored);
    }

    /// A room goes on by a record. `false`: the record does not follow.
    pub(super) fn take(&mut self, name: &Name, sealed: &Sealed) -> bool {
        let Some(room) = self.by_name.get_mut(name) else { return false };
        let id = room.id;
        let Some(change) = room.take(sealed, self.bounds) else { return false };
        if let Some(bytes) = change.came {
            self.order.push_back((name.clone(), id));
            (self.batches, self.bytes) = (self.batches + 1, self.bytes + bytes);
        }
        self.note_left(change);
        self.shrink();
        true
    }

    /// A room is removed.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(room) = self.by_name.remove(name) {
            let (left, left_bytes) = room.newest();
            self.note_left(Change { came: None, left, left_bytes });
        }
    }

    /// Retention removed the oldest messages of one of a room's logs. Returns its present epoch, if it goes
    /// on that log.
    pub(super) fn trim(&mut self, name: &str, epoch: u64, oldest_offset: u64) -> Option<u64> {
        let room = self.by_name.get_mut(name)?;
        let state = &room.state;
        let goes_on = state.room.epoch == epoch
            || state.previous.epochs().iter().any(|previous| previous.epoch == epoch);
        if !goes_on {
            return None;
        }
        let epoch = state.room.epoch;
        let change = room.trim(oldest_offset);
        self.note_left(change);
        Some(epoch)
    }

    fn note_left(&mut self, change: Change) {
        (self.batches, self.bytes) = (self.batches - change.left, self.bytes - change.left_bytes);
    }

    /// Keep the bound of all rooms, and the order short.
    fn shrink(&mut self) {
        while self.bytes > self.bytes_max
            && let Some((name, id)) = self.order.pop_front()
        {
            match self.by_name.get_mut(&name).filter(|room| room.id == id) {
                Some(room) if room.gone > 0 => room.gone -= 1,
                Some(room) => {
                    self.bytes -= room.give_up_oldest();
                    self.batches -= 1;
                }
                None => {}
            }
        }
        if self.order.len() > 2 * self.batches + SWEEP_MIN {
            let rooms = &mut self.by_name;
            self.order.retain(|(name, id)| match rooms.get_mut(name).filter(|room| room.id == *id) {
                Some(room) if room.gone > 0 => {
                    room.gone -= 1;
                    false
                }
                Some(_) => true,
                None => false,
            });
        }
    }
}
