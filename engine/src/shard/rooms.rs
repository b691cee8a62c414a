//! The rooms of a shard: by slot, which is the alias's part within the shard, and by name.
//!
//! Why a sorted index: operators list by name, and strangers choose names; lookups are rare (once per worker
//! and room).
//! Invariant: a slot is given again [`SLOT_REST_US`] after its room went at the earliest, so that an input
//! that was on its way for the old room does not find the new one.
//! Memory of a dormant room: 56 bytes of slot, 24 of index, 16 and the name; both tables grow by doubling or
//! splitting.
//! Not here: what a room is (`room`), which shard it belongs to (`directory`).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use grandstand_protocol::refusal::Refusal;

use crate::room::Room;

/// An input waits in a shard's inbox for milliseconds, behind a full one for seconds.
const SLOT_REST_US: u64 = 30_000_000;

/// A shard's rooms.
#[derive(Debug)]
pub(crate) struct Rooms {
    slots: Vec<Option<Room>>,
    names: BTreeMap<Arc<str>, u32>,
    // Slots without a room and since when, in that order.
    free: VecDeque<(u32, u64)>,
    rooms_max: usize,
}

impl Rooms {
    /// None yet.
    pub(crate) fn new(rooms_max: usize) -> Self {
        Rooms { slots: Vec::new(), names: BTreeMap::new(), free: VecDeque::new(), rooms_max }
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

    /// How many there are.
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
    /// `Overloaded` when there are as many as may be, or as many again came and went within the slots' rest.
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
        let before = self.names.insert(room.name.clone(), slot);
        assert!(before.is_none() && self.slots[slot as usize].is_none(), "a room inserted twice");
        self.slots[slot as usize] = Some(room);
        Ok(slot)
    }

    /// Add a room that the durable log had, whether or not there are as many as may be: it is there.
    pub(crate) fn restore(&mut self, room: Room) -> u32 {
        let slot = self.slots.len() as u32;
        let before = self.names.insert(room.name.clone(), slot);
        assert!(before.is_none(), "the log has a name once");
        self.slots.push(Some(room));
        slot
    }

    /// Take a room away.
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

    #[test]
    fn slots_rest_before_they_are_given_again() {
        let mut rooms = Rooms::new(2);
        assert_eq!(rooms.insert(room("a"), 0), Ok(0));
        rooms.remove(0, 10);
        assert_eq!(rooms.insert(room("b"), 11), Ok(1));
        assert_eq!(rooms.insert(room("c"), SLOT_REST_US + 10), Ok(0));
        assert_eq!(rooms.insert(room("d"), SLOT_REST_US + 10), Err(Refusal::Overloaded));
        assert_eq!((rooms.find("a"), rooms.find("c"), rooms.len()), (None, Some(0), 2));
    }

    #[test]
    fn rooms_that_come_and_go_are_bounded() {
        let mut rooms = Rooms::new(2);
        for i in 0..4 {
            let slot = rooms.insert(room("a"), i).unwrap();
            rooms.remove(slot, i);
        }
        assert_eq!(rooms.insert(room("a"), 5), Err(Refusal::Overloaded));
        assert!(rooms.insert(room("a"), 5 + SLOT_REST_US).is_ok());
    }

    #[test]
    fn pages_are_in_name_order() {
        let mut rooms = Rooms::new(9);
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
