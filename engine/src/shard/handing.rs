//! Handing: takes a shard's rooms out for an owner in another process, and puts them in there.
//!
//! Why beside the durable log: a room in memory has no other way into the next process, and slow mode is in
//! no log.
//! Invariants: rooms are taken out after everything was sealed and answered. A room keeps its epoch, offsets
//! and, if its slot is free, its alias. What the next owner's bounds do not hold is forgotten there, the
//! oldest first. A room of which the log has the head goes on where the log says, so chat that was handed is
//! taken only if it ends there, and only into a room that nobody has read or written.
//! Not here: the bytes between processes (the node) and nodes (the cluster), rooms of the durable log
//! (`durability`).

use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::acts::restore_authors;
use super::durability::renamed;
use crate::link::{Batch, Compressed, Now, PersonId};
use crate::log::{HandedLive, HandedNonces, HandedRoom};
use crate::room::state::{SLOW_MODE_KEY, State};
use crate::room::{Account, Dormant, Live, Origin, Room, milliseconds};

impl Shard {
    /// The rooms, for the next owner.
    ///
    /// # Panics
    /// If the shard was not handed over before ([`Self::handle_handing`]).
    pub fn hand_rooms(&self, now: Now) -> Vec<HandedRoom> {
        assert!(self.is_handing, "everything is sealed first");
        let handed = |(slot, room): (u32, &Room)| {
            let is_on_disk = room.is_on_disk();
            HandedRoom {
                room: room.entry(slot),
                is_on_disk,
                live: match (&room.live, &room.dormant) {
                    (Some(live), _) => Some(hand_live(live, now, is_on_disk)),
                    (None, Some(dormant)) if !is_on_disk => Some(hand_dormant(dormant, now)),
                    _ => None,
                },
                batches: if is_on_disk {
                    Vec::new()
                } else {
                    redacted(room, self.log.kept(self.rooms.alias(slot)))
                },
            }
        };
        let is_needed = |room: &HandedRoom| {
            !room.is_on_disk || room.live.as_ref().is_some_and(|live| !live.spoke.is_empty())
        };
        self.rooms.iter().map(handed).filter(is_needed).collect()
    }
}

/// Take the rooms of the owner before, after those of the durable log. They were taken out `elapsed_us` ago.
///
/// # Panics
/// If a room is another shard's.
pub fn take_rooms(shard: &mut Shard, now: Now, elapsed_us: u64, rooms: Vec<HandedRoom>) {
    for handed in rooms {
        assert!(shard.rooms.owns(&handed.room.room), "a room of another shard");
        match shard.rooms.find(&handed.room.room) {
            Some(slot) => Taking(shard).go_on(now, elapsed_us, slot, handed),
            None if handed.is_on_disk => {}
            None => Taking(shard).take_room(now, elapsed_us, handed),
        }
    }
}

/// A shard that takes rooms.
struct Taking<'a>(&'a mut Shard);

impl Taking<'_> {
    /// The log brought the room back, without slow mode's memory, and the head of a room without its chat.
    fn go_on(&mut self, now: Now, elapsed_us: u64, slot: u32, handed: HandedRoom) {
        let shard = &mut *self.0;
        let (Some(from), Some(room)) = (handed.live, shard.rooms.get_mut(slot)) else { return };
        if room.epoch != handed.room.epoch {
            return;
        }
        let is_head = room.is_in_log() && !room.is_on_disk() && !handed.is_on_disk;
        let live = room.wake(now, &shard.config, shard.seed);
        live.slow_mode.take_over(&from.spoke, now.us, elapsed_us);
        let is_untouched = live.next_seq == 0
            && live.viewers.is_unfollowed()
            && live.free_offset() == handed.room.next_offset;
        if is_head && is_untouched {
            live.next_seq = handed.batches.len() as u64;
            (live.time_ms, live.accepted_ms) = (from.time_ms, from.accepted_ms);
            live.nonces.restore(live.next_offset, &from.nonces.entries, now);
            live.nonces.complete_for(from.nonces.complete_for_us, now.us, elapsed_us);
            restore_authors(live, &from.nonces.entries, handed.batches.iter());
            self.take_batches(slot, handed.room.epoch, handed.batches);
        }
        self.0.rooms.arm(slot, &self.0.config);
    }

    fn take_room(&mut self, now: Now, elapsed_us: u64, handed: HandedRoom) {
        let shard = &mut *self.0;
        let (entry, batches) = (handed.room, handed.batches);
        let mut room = Room {
            name: entry.room,
            epoch: entry.epoch,
            live: None,
            dormant: None,
            phase: entry.phase,
            origin: if entry.is_operators { Origin::Operator } else { Origin::FirstUse },
            settings: (!entry.settings.is_empty()).then(|| Box::new(entry.settings)),
            keeping: shard.acks.in_memory(),
            // Whoever opened it is not known here; a room in which somebody speaks is nobody's to fill.
            opener: if entry.is_operators { Account::NODE } else { Account::of(PersonId::UNKNOWN) },
        };
        if let Some(handed) = handed.live {
            let live = room.wake(now, &shard.config, shard.seed);
            (live.next_seq, live.next_offset) = (batches.len() as u64, entry.next_offset);
            let nonces = handed.nonces.entries.clone();
            take_live(live, handed, now, elapsed_us);
            restore_authors(live, &nonces, batches.iter());
        }
        shard.state_bytes += room.state_bytes();
        let placed = match entry.slot {
            Some(slot) => shard.rooms.restore_at(slot, room, now.us),
            None => Err(room),
        };
        let slot = placed.unwrap_or_else(|room| shard.rooms.restore(room));
        self.take_batches(slot, entry.epoch, batches);
        self.0.rooms.arm(slot, &self.0.config);
    }

    fn take_batches(&mut self, slot: u32, epoch: u64, batches: Vec<(Arc<Batch>, Option<Bytes>)>) {
        let shard = &mut *self.0;
        let alias = shard.rooms.alias(slot);
        for (seq, (batch, full)) in (0..).zip(batches) {
            let wire = renamed(&batch.wire, alias);
            let batch =
                Batch { seq, wire, compressed: Compressed::default(), snapshot: None, ..(*batch).clone() };
            shard.log.append(alias, epoch, &Arc::new(batch), full.map(|full| renamed(&full, alias)));
        }
    }
}

type Kept = Vec<(Arc<Batch>, Option<Bytes>)>;

/// What is removed is not handed over.
fn redacted(room: &Room, kept: Kept) -> Kept {
    let removals = room.removals();
    if removals.is_empty() {
        return kept;
    }
    let one = |(batch, full): (Arc<Batch>, Option<Bytes>)| {
        let full = full
            .map(|full| removals.redacted_wire(batch.first_offset, batch.next_offset, &full).unwrap_or(full));
        (removals.redacted(&batch), full)
    };
    kept.into_iter().map(one).collect()
}

fn hand_live(live: &Live, now: Now, is_on_disk: bool) -> HandedLive {
    let spoke = live.slow_mode.hand(now.us);
    if is_on_disk {
        return HandedLive { spoke, ..HandedLive::default() };
    }
    HandedLive {
        time_ms: live.time_ms,
        accepted_ms: live.accepted_ms,
        state: live.state.said().map(|(key, value)| (key.into(), value.clone())).collect(),
        state_version: live.state.version(),
        previous: live.disk.previous.clone(),
        nonces: HandedNonces {
            complete_for_us: live.nonces.complete_for_us(now.us),
            entries: live.nonces.hand(),
        },
        spoke,
    }
}

/// Of a dormant room whose chat is in memory.
fn hand_dormant(dormant: &Dormant, now: Now) -> HandedLive {
    let silent_ms = Some(dormant.time_ms).filter(|ms| *ms > 0).map_or(0, |ms| now.unix_ms.saturating_sub(ms));
    let complete_for_us = i64::try_from(silent_ms.saturating_mul(1000)).unwrap_or(i64::MAX);
    HandedLive {
        time_ms: dormant.time_ms,
        nonces: HandedNonces { complete_for_us: Some(complete_for_us), entries: Vec::new() },
        ..HandedLive::default()
    }
}

fn take_live(live: &mut Live, handed: HandedLive, now: Now, elapsed_us: u64) {
    (live.time_ms, live.accepted_ms) = (handed.time_ms, handed.accepted_ms);
    live.disk.previous = handed.previous;
    let slow_ms = handed.state.iter().find(|(key, _)| &**key == SLOW_MODE_KEY);
    if let Some(interval_ms) = slow_ms.and_then(|(_, digits)| milliseconds(digits)) {
        live.slow_mode.set_interval_ms(interval_ms);
    }
    live.slow_mode.take_over(&handed.spoke, now.us, elapsed_us);
    live.state = State::handed(handed.state, handed.state_version);
    live.remember_moderation();
    live.nonces.restore(live.next_offset, &handed.nonces.entries, now);
    live.nonces.complete_for(handed.nonces.complete_for_us, now.us, elapsed_us);
}
