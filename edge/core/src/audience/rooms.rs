//! The rooms that one worker follows: by key, name and alias, those with news, and what is due to shards.
//!
//! Why a type: looking a room up and noting news about it touch no connection, so that a caller may hold one
//! meanwhile.
//! Invariants: each room has one name; `by_alias` holds exactly the rooms that are attached; a room is in the
//! queue of rooms with news at most once.
//! Not here: who is in a room (`subscriptions`), what its members are sent (`fanout`).

use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use foldhash::fast::RandomState;
use grandstand_engine::link::Alias;
use slab::Slab;

use super::room::{Attached, Member, Room, RoomKey};
use crate::key::Key;

/// Rooms with something for their shard, and when it is handed on.
#[derive(Default)]
pub(super) struct DueRooms {
    rooms: Vec<RoomKey>,
    due_us: u64,
}

impl DueRooms {
    pub(super) fn push(&mut self, key: RoomKey) {
        self.rooms.push(key);
    }

    /// The rooms, if they are due; the next ones are due after `every_us`.
    pub(super) fn take_due(&mut self, now_us: u64, every_us: u64) -> Vec<RoomKey> {
        if self.rooms.is_empty() || now_us < self.due_us {
            return Vec::new();
        }
        self.due_us = now_us + every_us;
        std::mem::take(&mut self.rooms)
    }

    /// When they are due; `None` when there are none.
    pub(super) fn due_us(&self) -> Option<u64> {
        (!self.rooms.is_empty()).then_some(self.due_us)
    }
}

/// See the file's head.
pub(super) struct Rooms {
    pub(super) slab: Slab<Room>,
    /// Keyed by strangers: they choose the names.
    pub(super) by_name: HashMap<Arc<str>, RoomKey, Key>,
    pub(super) by_alias: HashMap<Alias, RoomKey, RandomState>,
    /// Rooms with news, in the order in which the news came.
    pub(super) dirty: VecDeque<RoomKey>,
    /// Rooms with reactions.
    pub(super) reacted: DueRooms,
    /// Rooms whose count of members is no longer what the shard knows.
    pub(super) recount: DueRooms,
}

impl Index<RoomKey> for Rooms {
    type Output = Room;

    #[inline]
    fn index(&self, key: RoomKey) -> &Room {
        &self.slab[key.0 as usize]
    }
}

impl IndexMut<RoomKey> for Rooms {
    #[inline]
    fn index_mut(&mut self, key: RoomKey) -> &mut Room {
        &mut self.slab[key.0 as usize]
    }
}

impl Rooms {
    pub(super) fn new(key: Key) -> Self {
        Rooms {
            slab: Slab::new(),
            by_name: HashMap::with_hasher(key),
            by_alias: HashMap::with_hasher(RandomState::default()),
            dirty: VecDeque::new(),
            reacted: DueRooms::default(),
            recount: DueRooms::default(),
        }
    }

    #[inline]
    pub(super) fn get(&self, key: RoomKey) -> Option<&Room> {
        self.slab.get(key.0 as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: RoomKey) -> Option<&mut Room> {
        self.slab.get_mut(key.0 as usize)
    }

    pub(super) fn named(&self, name: &str) -> Option<RoomKey> {
        self.by_name.get(name).copied()
    }

    #[inline]
    pub(super) fn with_alias(&self, alias: Alias) -> Option<RoomKey> {
        self.by_alias.get(&alias).copied()
    }

    /// A room of this name, not yet attached.
    pub(super) fn insert(&mut self, name: Arc<str>) -> RoomKey {
        let key = RoomKey(self.slab.insert(Room::new(name.clone())) as u32);
        self.by_name.insert(name, key);
        key
    }

    pub(super) fn remove(&mut self, key: RoomKey) -> Room {
        let room = self.slab.remove(key.0 as usize);
        self.by_name.remove(&room.name);
        if let Some(attached) = &room.attached {
            self.by_alias.remove(&attached.alias);
        }
        room
    }

    /// Take what the shard tells of a room. Returns what it told before. No other room has the alias.
    pub(super) fn attach(&mut self, key: RoomKey, attached: Attached) -> Option<Attached> {
        let room = &mut self.slab[key.0 as usize];
        room.asks_at = None;
        room.bans.forget();
        if let Some(before) = &room.attached {
            self.by_alias.remove(&before.alias);
        }
        self.by_alias.insert(attached.alias, key);
        room.attached.replace(attached)
    }

    /// What the shard has told of a room that has members.
    #[inline]
    pub(super) fn attached(&self, key: RoomKey) -> &Attached {
        self[key].attached.as_ref().expect("members have an attached room")
    }

    /// A member, and what the shard has told of its room.
    #[inline]
    pub(super) fn member(&mut self, key: RoomKey, at: u32) -> (&mut Member, &Attached) {
        let room = &mut self[key];
        let attached = room.attached.as_ref().expect("members have an attached room");
        (&mut room.members[at as usize], attached)
    }

    /// The head of a room moved: walk it.
    #[inline]
    pub(super) fn mark_dirty(&mut self, key: RoomKey) {
        let room = &mut self[key];
        room.walk_again = true;
        if !std::mem::replace(&mut room.is_dirty, true) {
            self.dirty.push_back(key);
        }
    }

    /// The number of a room's members changed: its shard is told when that is due.
    pub(super) fn mark_recount(&mut self, key: RoomKey) {
        if !std::mem::replace(&mut self[key].is_recount_due, true) {
            self.recount.push(key);
        }
    }
}
