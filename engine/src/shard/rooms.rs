//! The rooms of a shard: by slot (the part of an alias within the shard), by name, and by the time at which
//! something is due.
//!
//! Why a sorted index of names: operators list rooms by name, clients choose names, and lookups are rare
//! (once per worker and room).
//! Invariants: a slot is reused at the earliest [`SLOT_REST_US`] after its room was removed, so an input on
//! its way to the old room does not reach the new one. A room whose slot is recorded in the durable log has
//! that slot after every restart.
//! A dormant room takes 56 bytes of slot, 24 of index, 16 and its name. Both tables grow by doubling or
//! splitting.
//! Not here: what a room is (`room`), which shard it belongs to (`link::Directory`).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use grandstand_protocol::refusal::Refusal;

use super::timers::Timers;
use crate::config::ShardConfig;
use crate::link::{Alias, Directory, ShardId};
use crate::room::{Live, Room};

/// Rest of a slot. An input waits in a shard's inbox for milliseconds, or for seconds if the inbox is full.
const SLOT_REST_US: u64 = 30_000_000;

/// A shard's rooms.
#[derive(Debug)]
pub(crate) struct Rooms {
    slots: Vec<Option<Room>>,
    names: BTreeMap<Arc<str>, u32>,
    // Slots without a room, with the time since when, in that order.
    free: VecDeque<(u32, u64)>,
    timers: Timers,
    rooms_max: usize,
    id: ShardId,
    directory: Directory,
}

impl Rooms {
    /// No rooms yet; at most `rooms_max` in this shard.
    pub(crate) fn new(rooms_max: usize, id: ShardId, directory: Directory) -> Self {
        Rooms {
            slots: Vec::new(),
            names: BTreeMap::new(),
            free: VecDeque::new(),
            timers: Timers::default(),
            rooms_max,
            id,
            directory,
        }
    }

    /// Does a room of this name belong to this shard?
    pub(crate) fn owns(&self, name: &str) -> bool {
        self.directory.shard_of(name) == self.id
    }

    /// The alias of a slot.
    pub(crate) fn alias(&self, slot: u32) -> Alias {
        self.directory.alias(self.id, slot)
    }

    /// The slot of a room that lives here under this alias.
    pub(crate) fn slot(&self, alias: Alias) -> Option<u32> {
        let slot = self.directory.slot(alias);
        (self.directory.shard_of_alias(alias) == self.id && self.get(slot).is_some()).then_some(slot)
    }

    /// Set a room's timer by what is due in it.
    pub(crate) fn arm(&mut self, slot: u32, config: &ShardConfig) {
        let Some(room) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let due_us = room.due_us(config);
        if let Some(live) = &mut room.live {
            self.timers.arm(slot, live.armed_us, due_us);
            live.armed_us = due_us;
        }
    }

    /// Take out the live part of a room in which nothing is due any more.
    pub(crate) fn take_live(&mut self, slot: u32) -> Option<Box<Live>> {
        let live = self.slots.get_mut(slot as usize)?.as_mut()?.live.take()?;
        self.timers.arm(slot, live.armed_us, None);
        Some(live)
    }

    /// When something is due next in any room.
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.timers.next_us()
    }

    /// A room in which something is due now; it stays armed.
    pub(crate) fn due(&self, now_us: u64) -> Option<u32> {
        self.timers.due(now_us)
    }

    /// The slots of all rooms.
    pub(crate) fn slots(&self) -> Vec<u32> {
        self.iter().map(|(slot, _)| slot).collect()
    }

    /// The slot of a name.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// The room in a slot.
    pub(crate) fn get(&self, slot: u32) -> Option<&Room> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The room in a slot.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Room> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Number of rooms.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Every room with its slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Room)> {
        self.slots.iter().enumerate().filter_map(|(slot, room)| Some((slot as u32, room.as_ref()?)))
    }

    /// Slots of rooms whose names begin with `prefix` and come after `after`, in name order.
    pub(crate) fn page<'a>(&'a self, prefix: &'a str, after: &'a str) -> impl Iterator<Item = u32> + 'a {
        let from = if after >= prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
        let names = self.names.range::<str, _>((from, Bound::Unbounded));
        names.take_while(move |(name, _)| name.starts_with(prefix)).map(|(_, &slot)| slot)
    }

    /// Add a room whose name is new.
    ///
    /// # Errors
    /// `Overloaded`: there are as many rooms as allowed, or as many again were removed within the rest of
    /// their slots.
    pub(crate) fn insert(&mut self, room: Room, now_us: u64) -> Result<u32, Refusal> {
        let rested = self.free.front().is_some_and(|&(_, us)| us.saturating_add(SLOT_REST_US) <= now_us);
        if self.len() >= self.rooms_max || (!rested && self.slots.len() >= 2 * self.rooms_max) {
            return Err(Refusal::Overloaded);
        }
        let slot = match self.free.pop_front_if(|_| rested) {
            Some((slot, _)) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
        };
        self.put(slot, room);
        Ok(slot)
    }

    /// Restore a room in the slot that the durable log recorded, even above the number of rooms allowed. The
    /// room comes back if the slot is taken, or is no slot of a table of this size.
    pub(crate) fn restore_at(&mut self, slot: u32, room: Room, now_us: u64) -> Result<u32, Room> {
        let at = slot as usize;
        let is_far = at >= self.slots.len() && at >= 2 * self.rooms_max.max(self.len());
        if is_far || !self.directory.has_alias(self.id, slot) || self.get(slot).is_some() {
            return Err(room);
        }
        while self.slots.len() <= at {
            // The rooms of the slots between may have been removed just before the restart.
            self.free.push_back((self.slots.len() as u32, now_us));
            self.slots.push(None);
        }
        self.free.retain(|&(free, _)| free != slot);
        self.put(slot, room);
        Ok(slot)
    }

    /// Restore a room of the durable log in a slot behind all others.
    pub(crate) fn restore(&mut self, room: Room) -> u32 {
        let slot = self.slots.len() as u32;
        self.slots.push(None);
        self.put(slot, room);
        slot
    }

    fn put(&mut self, slot: u32, room: Room) {
        let before = self.names.insert(room.name.clone(), slot);
        assert!(before.is_none() && self.slots[slot as usize].is_none(), "a room inserted twice");
        self.slots[slot as usize] = Some(room);
    }

    /// Remove a room.
    pub(crate) fn remove(&mut self, slot: u32, now_us: u64) -> Option<Room> {
        let room = self.slots.get_mut(slot as usize)?.take()?;
        self.names.remove(&*room.name);
        self.free.push_back((slot, now_us));
        Some(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Keeping, Origin};
    use grandstand_protocol::frame::Phase;

    fn room(name: &str) -> Room {
        Room {
            name: name.into(),
            epoch: 1,
            live: None,
            dormant: None,
            keeping: Keeping::Memory,
            phase: Phase::Open,
            origin: Origin::Operator,
            settings: None,
        }
    }

    fn rooms_of(rooms_max: usize) -> Rooms {
        Rooms::new(rooms_max, ShardId(0), Directory::new(1, 0))
    }

    #[test]
    fn a_restored_room_has_its_slot_and_the_slots_between_rest() {
        let mut rooms = rooms_of(4);
        assert_eq!(rooms.restore_at(2, room("a"), 10).ok(), Some(2));
        assert_eq!(rooms.restore_at(1, room("b"), 10).ok(), Some(1));
        assert!(rooms.restore_at(2, room("c"), 10).is_err(), "taken");
        assert!(rooms.restore_at(u32::MAX, room("c"), 10).is_err(), "no table is so large");
        assert_eq!(rooms.restore(room("c")), 3);
        assert_eq!(rooms.insert(room("d"), 11), Ok(4));
        rooms.remove(4, 11);
        assert_eq!(rooms.insert(room("d"), SLOT_REST_US + 10), Ok(0), "free since the restart");
    }

    #[test]
    fn slots_rest_before_they_are_given_again() {
        let mut rooms = rooms_of(2);
        assert_eq!(rooms.insert(room("a"), 0), Ok(0));
        rooms.remove(0, 10);
        assert_eq!(rooms.insert(room("b"), 11), Ok(1));
        assert_eq!(rooms.insert(room("c"), SLOT_REST_US + 10), Ok(0));
        assert_eq!(rooms.insert(room("d"), SLOT_REST_US + 10), Err(Refusal::Overloaded));
        assert_eq!((rooms.find("a"), rooms.find("c"), rooms.len()), (None, Some(0), 2));
    }

    #[test]
    fn rooms_that_come_and_go_are_bounded() {
        let mut rooms = rooms_of(2);
        for i in 0..4 {
            let slot = rooms.insert(room("a"), i).unwrap();
            rooms.remove(slot, i);
        }
        assert_eq!(rooms.insert(room("a"), 5), Err(Refusal::Overloaded));
        assert!(rooms.insert(room("a"), 5 + SLOT_REST_US).is_ok());
    }

    #[test]
    fn pages_are_in_name_order() {
        let mut rooms = rooms_of(9);
        for name in ["b/2", "a", "b/1", "c", "b"] {
            rooms.insert(room(name), 0).unwrap();
        }
        let page = |prefix, after| {
            let slots = rooms.page(prefix, after);
            slots.map(|slot| rooms.get(slot).unwrap().name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(page("", ""), ["a", "b", "b/1", "b/2", "c"]);
        assert_eq!(page("b", ""), ["b", "b/1", "b/2"]);
        assert_eq!(page("b/", "b/1"), ["b/2"]);
        assert_eq!(page("b", "c"), [""; 0]);
    }
}
