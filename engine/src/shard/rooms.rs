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

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::timers::Timers;
use crate::config::ShardConfig;
use crate::link::{Alias, Directory, Opener, ShardId};
use crate::room::{Account, Live, Room};

/// Rest of a slot. An input waits in a shard's inbox for milliseconds, or for seconds if the inbox is full.
const SLOT_REST_US: u64 = 30_000_000;

/// How many rooms a shard may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// All of them.
    rooms_max: usize,
    /// Those that strangers opened: the rest is for operators and bridges.
    strangers_max: usize,
    /// Those that one person opened, or one address without a token.
    opened_max: usize,
}

/// Slots that are left free behind those of the durable log, where an owner before may have had more rooms.
const SPARE_SLOTS: usize = 1024;

/// Entries of removed rooms that the list of empty rooms may hold beside as many as there are rooms.
const STALE_MAX: usize = 1024;

/// Rooms that one person may open on any node: a session follows as many.
const OPENED_LEAST: usize = 32;

impl Bounds {
    /// The share of one of so many shards.
    pub(crate) fn new(config: &ShardConfig, shards: u16) -> Bounds {
        let rooms_max = config.rooms_max.div_ceil(usize::from(shards));
        let strangers_max = rooms_max - rooms_max * config.rooms_reserved_percent as usize / 100;
        let share = config.rooms_opened_max.div_ceil(usize::from(shards));
        // On a small node one person holds at most a tenth.
        let opened_max = share.min((strangers_max / 10).max(OPENED_LEAST));
        Bounds { rooms_max, strangers_max, opened_max }
    }
}

/// Why there is no space for a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The person has opened as many as one may.
    ForPerson,
    /// There are as many as this opener may fill.
    ForAll,
    /// As many rooms as allowed were removed within the rest of their slots.
    Slots,
}

/// A shard's rooms.
#[derive(Debug)]
pub(crate) struct Rooms {
    slots: Vec<Option<Room>>,
    names: BTreeMap<Arc<str>, u32>,
    // Slots without a room, with the time since when, in that order.
    free: VecDeque<(u32, u64)>,
    timers: Timers,
    bounds: Bounds,
    // Rooms that strangers opened, in all and by person.
    strangers: usize,
    opened: HashMap<Account, u32, FixedState>,
    // Rooms that were empty when everybody left, the longest ago first, with their epoch. Each once.
    empty: VecDeque<(u32, u64)>,
    id: ShardId,
    directory: Directory,
}

impl Rooms {
    /// No rooms yet. `seed` keeps strangers from choosing names that collide in a table.
    pub(crate) fn new(bounds: Bounds, id: ShardId, directory: Directory, seed: u64) -> Self {
        Rooms {
            slots: Vec::new(),
            names: BTreeMap::new(),
            free: VecDeque::new(),
            timers: Timers::default(),
            bounds,
            strangers: 0,
            opened: HashMap::with_hasher(FixedState::with_seed(seed)),
            empty: VecDeque::new(),
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

    /// Is there space for one more room of this opener?
    ///
    /// # Errors
    /// What is full.
    pub(crate) fn check_space(&self, opener: Opener, now_us: u64) -> Result<(), Full> {
        let Bounds { rooms_max, strangers_max, opened_max } = self.bounds;
        let opened = self.opened.get(&Account::of(opener.person)).map_or(0, |&count| count as usize);
        if !opener.is_trusted && opened >= opened_max {
            return Err(Full::ForPerson);
        }
        let has_rested = self.has_rested(now_us);
        // The trusted have as many slots more.
        if !has_rested && self.slots.len() >= rooms_max * if opener.is_trusted { 3 } else { 2 } {
            return Err(Full::Slots);
        }
        let is_full = self.len() >= rooms_max || (!opener.is_trusted && self.strangers >= strangers_max);
        if is_full { Err(Full::ForAll) } else { Ok(()) }
    }

    /// Everybody left a room: if it holds nothing, it goes first when there is no space.
    pub(crate) fn note_empty(&mut self, slot: u32) {
        let Some(room) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let (is_empty, epoch) = (room.is_empty(), room.epoch);
        let live = room.live.as_mut().filter(|live| is_empty && !live.is_listed_empty);
        if let Some(live) = live {
            live.is_listed_empty = true;
            self.empty.push_back((slot, epoch));
        }
        // Entries of rooms that were removed meanwhile must not add up.
        if self.empty.len() > 2 * self.names.len() + STALE_MAX {
            let slots = &self.slots;
            let is_there = |slot: u32, epoch| slots[slot as usize].as_ref().is_some_and(|r| r.epoch == epoch);
            self.empty.retain(|&(slot, epoch)| is_there(slot, epoch));
        }
    }

    /// The room that holds nothing since longest ago, to be removed.
    pub(crate) fn pop_empty(&mut self) -> Option<u32> {
        while let Some((slot, epoch)) = self.empty.pop_front() {
            let room = self.slots.get_mut(slot as usize).and_then(Option::as_mut);
            let Some(room) = room.filter(|room| room.epoch == epoch) else { continue };
            if let Some(live) = room.live.as_mut() {
                live.is_listed_empty = false;
            }
            if room.is_empty() {
                return Some(slot);
            }
        }
        None
    }

    /// A room is its operator's from now on.
    pub(crate) fn adopt(&mut self, slot: u32) {
        let Some(room) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let opener = std::mem::replace(&mut room.opener, Account::NODE);
        self.count_out(opener);
    }

    fn count_in(&mut self, opener: Account) {
        if opener != Account::NODE {
            self.strangers += 1;
            *self.opened.entry(opener).or_default() += 1;
        }
    }

    fn count_out(&mut self, opener: Account) {
        if opener == Account::NODE {
            return;
        }
        self.strangers -= 1;
        if let Entry::Occupied(mut entry) = self.opened.entry(opener) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// Add a room whose name is new, and for which there is space. Returns its slot.
    pub(crate) fn insert(&mut self, room: Room, now_us: u64) -> u32 {
        let rested = self.has_rested(now_us);
        let slot = match self.free.pop_front_if(|_| rested) {
            Some((slot, _)) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
        };
        self.put(slot, room);
        slot
    }

    /// As [`Self::insert`], in the slot that the room had under an earlier owner, if that is free.
    pub(crate) fn insert_at(&mut self, before: Option<Alias>, room: Room, now_us: u64) -> u32 {
        let is_here = |alias: &Alias| self.directory.shard_of_alias(*alias) == self.id;
        let slot = before.filter(is_here).map(|alias| self.directory.slot(alias));
        let placed = match slot {
            Some(slot) => self.restore_at(slot, room, now_us),
            None => Err(room),
        };
        placed.unwrap_or_else(|room| self.insert(room, now_us))
    }

    /// Leave free slots behind those of restored rooms: rooms that are not in the log may have had them under
    /// the owner before, and whoever follows them says so within a moment.
    pub(crate) fn leave_space(&mut self, now_us: u64) {
        let spare = SPARE_SLOTS.min(self.bounds.rooms_max / 2);
        for _ in 0..spare {
            self.free.push_back((self.slots.len() as u32, now_us));
            self.slots.push(None);
        }
    }

    /// Has the slot that is free since longest ago rested?
    fn has_rested(&self, now_us: u64) -> bool {
        self.free.front().is_some_and(|&(_, us)| us.saturating_add(SLOT_REST_US) <= now_us)
    }

    /// Restore a room in the slot that the durable log recorded, even above the number of rooms allowed. The
    /// room comes back if the slot is taken, or is no slot of a table of this size.
    pub(crate) fn restore_at(&mut self, slot: u32, room: Room, now_us: u64) -> Result<u32, Room> {
        let at = slot as usize;
        let is_far = at >= self.slots.len() && at >= 3 * self.bounds.rooms_max.max(self.len());
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
        self.count_in(room.opener);
        self.slots[slot as usize] = Some(room);
    }

    /// Remove a room.
    pub(crate) fn remove(&mut self, slot: u32, now_us: u64) -> Option<Room> {
        let room = self.slots.get_mut(slot as usize)?.take()?;
        self.names.remove(&*room.name);
        self.count_out(room.opener);
        self.free.push_back((slot, now_us));
        Some(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Now, PersonId};
    use crate::room::{Keeping, Origin};
    use grandstand_protocol::frame::Phase;
    use grandstand_protocol::refusal::Refusal;

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
            opener: Account::NODE,
        }
    }

    /// As a shard adds one of an operator.
    fn insert(rooms: &mut Rooms, name: &str, now_us: u64) -> Result<u32, Refusal> {
        let by = Opener { is_trusted: false, ..Opener::NODE };
        rooms.check_space(by, now_us).map_err(|_| Refusal::Overloaded)?;
        Ok(rooms.insert(room(name), now_us))
    }

    fn rooms_of(rooms_max: usize) -> Rooms {
        let config = ShardConfig { rooms_max, ..ShardConfig::for_tests() };
        Rooms::new(Bounds::new(&config, 1), ShardId(0), Directory::new(1, 0), 0)
    }

    #[test]
    fn a_restored_room_has_its_slot_and_the_slots_between_rest() {
        let mut rooms = rooms_of(4);
        assert_eq!(rooms.restore_at(2, room("a"), 10).ok(), Some(2));
        assert_eq!(rooms.restore_at(1, room("b"), 10).ok(), Some(1));
        assert!(rooms.restore_at(2, room("c"), 10).is_err(), "taken");
        assert!(rooms.restore_at(u32::MAX, room("c"), 10).is_err(), "no table is so large");
        assert_eq!(rooms.restore(room("c")), 3);
        assert_eq!(insert(&mut rooms, "d", 11), Ok(4));
        rooms.remove(4, 11);
        assert_eq!(insert(&mut rooms, "d", SLOT_REST_US + 10), Ok(0), "free since the restart");
    }

    #[test]
    fn slots_rest_before_they_are_given_again() {
        let mut rooms = rooms_of(2);
        assert_eq!(insert(&mut rooms, "a", 0), Ok(0));
        rooms.remove(0, 10);
        assert_eq!(insert(&mut rooms, "b", 11), Ok(1));
        assert_eq!(insert(&mut rooms, "c", SLOT_REST_US + 10), Ok(0));
        assert_eq!(insert(&mut rooms, "d", SLOT_REST_US + 10), Err(Refusal::Overloaded));
        assert_eq!((rooms.find("a"), rooms.find("c"), rooms.len()), (None, Some(0), 2));
    }

    #[test]
    fn rooms_that_come_and_go_are_bounded() {
        let mut rooms = rooms_of(2);
        for i in 0..4 {
            let slot = insert(&mut rooms, "a", i).unwrap();
            rooms.remove(slot, i);
        }
        assert_eq!(insert(&mut rooms, "a", 5), Err(Refusal::Overloaded));
        assert!(insert(&mut rooms, "a", 5 + SLOT_REST_US).is_ok());
    }

    #[test]
    fn pages_are_in_name_order() {
        let mut rooms = rooms_of(9);
        for name in ["b/2", "a", "b/1", "c", "b"] {
            insert(&mut rooms, name, 0).unwrap();
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

    fn of_stranger(name: &str, opener: u64) -> Room {
        let mut room = Room { origin: Origin::FirstUse, opener: Account::of(PersonId(opener)), ..room(name) };
        room.wake(Now::default(), &ShardConfig::for_tests(), 0);
        room
    }

    #[test]
    fn strangers_fill_their_part_and_one_of_them_a_tenth() {
        let mut rooms = rooms_of(1000);
        let by = |person| Opener { person: PersonId(person), is_trusted: false };
        let mut made = 0;
        for person in 1..=20 {
            let mut own = 0;
            while rooms.check_space(by(person), 0).is_ok() {
                rooms.insert(of_stranger(&format!("{person}/{own}"), person), 0);
                own += 1;
            }
            assert!(own <= 90, "a tenth of the strangers' part: {own}");
            made += own;
        }
        assert_eq!(made, 900);
        assert_eq!(rooms.check_space(by(1), 0), Err(Full::ForPerson));
        assert_eq!(rooms.check_space(by(21), 0), Err(Full::ForAll));
        for n in 0..100 {
            assert_eq!(rooms.check_space(Opener::NODE, 0), Ok(()));
            rooms.insert(room(&format!("operator/{n}")), 0);
        }
        assert_eq!(rooms.check_space(Opener::NODE, 0), Err(Full::ForAll));
        // What an operator takes over is the stranger's no longer.
        rooms.adopt(0);
        assert_eq!(rooms.check_space(by(1), 0), Err(Full::ForAll), "the node is full");
        for slot in 0..rooms.slots.len() as u32 {
            rooms.remove(slot, 0);
        }
        assert_eq!((rooms.strangers, rooms.opened.len()), (0, 0));
    }

    #[test]
    fn the_list_of_empty_rooms_does_not_grow_by_rooms_that_come_and_go() {
        let mut rooms = rooms_of(100_000);
        for n in 0..50_000u64 {
            let epoch = n + 1;
            let slot = rooms.insert(Room { epoch, ..of_stranger("r", 1) }, n * SLOT_REST_US);
            rooms.note_empty(slot);
            rooms.note_empty(slot);
            assert!(rooms.empty.len() <= STALE_MAX + 3, "{}", rooms.empty.len());
            rooms.remove(slot, n * SLOT_REST_US);
        }
        assert_eq!(rooms.pop_empty(), None);
        let first = rooms.insert(Room { epoch: 1, ..of_stranger("a", 1) }, 0);
        rooms.insert(Room { epoch: 2, ..of_stranger("b", 1) }, 0);
        rooms.note_empty(first);
        assert_eq!((rooms.pop_empty(), rooms.pop_empty()), (Some(first), None), "who was left goes, once");
    }
}
