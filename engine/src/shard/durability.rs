//! Rooms on disk: which rooms are kept in the durable log, and how they are restored.
//!
//! A room is kept in the log if its own setting says so, or, if it has none, the node's. That is decided when
//! the room is made and when it is configured. A room in the log is still kept there after a restart,
//! whatever the node's default is then.
//!
//! - From memory to disk: the room is kept in the log from then on, with its state. Earlier offsets and their
//!   nonces are not on disk. So a retry of such a message after a restart is refused, because the message may
//!   be in the log. Acknowledgements of such messages go on saying `memory`.
//! - From disk to memory: the stored room is removed, so that no later start finds an old copy.
//! - A log that keeps heads has the description and the state of a room in memory too, so that the next owner
//!   of the shard, at another node, has the same room. Its chat is not there. Such a room is in the log from
//!   the first time that anybody said or set anything, or that an operator touched it: rooms that people only
//!   look into do not fill the log.
//! - A room without viewers becomes dormant. It keeps a record of its head and state; its nonces are
//!   forgotten by then. It also keeps up to [`DORMANT_BYTES_MAX`] of its newest batches, as far as the node's
//!   history has room. It is removed if it was made on first use and nothing of it is kept (nobody spoke, or
//!   retention removed everything). At `rooms_max`, new rooms are refused. A dormant room's head must not be
//!   forgotten, or its offsets would begin anew.
//!
//! Not here: answers that wait (`pending_acks`), reading (`history`), pushing batches (`timeouts`).

use std::sync::Arc;

use grandstand_protocol::batch;

use super::Shard;
use super::acts::restore_authors;
use super::history::Past;
use crate::link::{Alias, Batch, Compressed, Now, PersonId};
use crate::log::{DurableLog, Entry, News, StoredRoom};
use crate::room::{Account, Disk, Dormant, Keeping, Origin, Room};

/// Versions of the state that may have been shown and not stored. Only the viewer count makes them, which
/// changes once a millisecond at most. So this is twelve days, and decades at the default interval. Eight
/// million restarts stay below 2^53.
const VERSIONS_UNSTORED_MAX: u64 = 1 << 30;

impl Shard {
    /// Use a log that outlives the process, from the start.
    #[must_use]
    pub fn with_durable_log(mut self, log: Box<dyn DurableLog>) -> Self {
        self.acks.set_log(log);
        self
    }

    /// Restore the rooms of the durable log, each in the slot that the log recorded. A room without a slot,
    /// or whose slot is taken, gets another, which is recorded now. Rooms become live when somebody joins or
    /// speaks. Rooms in which somebody spoke lately become live at once, to remember nonces.
    ///
    /// # Panics
    /// If there is no durable log, or rooms were made before.
    pub fn restore(&mut self, now: Now, rooms: Vec<StoredRoom>) {
        assert!(self.acks.level().is_some() && self.rooms.len() == 0, "rooms are restored first, from a log");
        let (with_slot, without): (Vec<_>, Vec<_>) =
            rooms.into_iter().partition(|stored| stored.room.slot.is_some());
        with_slot.into_iter().chain(without).for_each(|stored| Logged(self).restore_room(now, stored));
        if self.acks.keeps_heads() {
            self.rooms.leave_space(now.us);
        }
    }

    /// Take the news of the durable log.
    pub fn handle_news(&mut self, now: Now) {
        while let Some(news) = self.acks.poll_news() {
            match news {
                News::Durable(position) => {
                    self.acks.handle_synced(position, &mut self.outbox);
                    Logged(self).note_synced(now);
                }
                News::Page { request, batches } => {
                    let past = Past { rooms: &self.rooms, log: &*self.log };
                    self.pages.handle_page(request, batches, past, &mut self.outbox);
                    self.start_reads();
                }
                News::Trimmed { room, epoch, oldest_offset } => {
                    Logged(self).note_trimmed(now, &room, epoch, oldest_offset);
                }
            }
        }
    }

    /// Is there news for [`Self::handle_news`]? Check this before the thread sleeps.
    pub fn has_news(&mut self) -> bool {
        self.acks.has_news()
    }

    /// Is everything synced that was pushed, and is every answer given that waited for it?
    pub fn is_flushed(&self) -> bool {
        self.acks.is_flushed()
    }

    /// Stop waiting for the disk: refuse every request that still waits for an answer.
    pub fn give_up_answers(&mut self) {
        self.acks.give_up(&mut self.outbox);
        let past = Past { rooms: &self.rooms, log: &*self.log };
        self.pages.end_late(u64::MAX, past, &mut self.outbox);
    }

    pub(super) fn start_reads(&mut self) {
        if let Some(log) = self.acks.log_mut() {
            self.pages.start(&self.rooms, log);
        }
    }

    /// Push a room's present description to the durable log, if the room is kept there.
    pub(super) fn announce(&mut self, slot: u32) {
        let Some(room) = self.rooms.get_mut(slot) else { return };
        if !room.is_in_log() {
            return;
        }
        room.keeping = room.keeping.announced();
        let entry = room.entry(slot);
        if let Some(disk) = room.disk_mut().filter(|_| entry.is_head) {
            disk.synced_offset = entry.next_offset;
        }
        self.acks.push(Entry::Room(entry));
    }
}

/// A shard's handling of its durable log.
struct Logged<'a>(&'a mut Shard);

impl Logged<'_> {
    fn restore_room(&mut self, now: Now, stored: StoredRoom) {
        let entry = stored.room;
        assert!(self.0.rooms.owns(&entry.room), "a room of another shard");
        let level = self.0.acks.level().expect("asked before");
        let disk = Disk {
            synced_offset: stored.next_offset,
            since_offset: 0,
            oldest_offset: stored.oldest_offset,
            unsynced: 0,
            previous: stored.previous,
        };
        let room = Room {
            name: entry.room,
            epoch: entry.epoch,
            live: None,
            dormant: Some(Box::new(Dormant {
                next_seq: stored.newest.len() as u64,
                next_offset: stored.next_offset,
                time_ms: stored.time_ms,
                disk,
                state: stored.state.into_boxed_slice(),
                state_version: stored.state_version + VERSIONS_UNSTORED_MAX,
                begins_anew: entry.is_head && self.0.begins_anew,
            })),
            phase: entry.phase,
            origin: if entry.is_operators { Origin::Operator } else { Origin::FirstUse },
            opener: if entry.is_operators { Account::NODE } else { Account::of(PersonId::UNKNOWN) },
            settings: (!entry.settings.is_empty()).then(|| Box::new(entry.settings)),
            keeping: if entry.is_head { Keeping::Head } else { Keeping::Logged(level) },
        };
        let is_unused = entry.is_head && !entry.is_operators;
        self.0.state_bytes += room.state_bytes();
        let slot = self.take_slot(now, entry.slot, room);
        let alias = self.0.rooms.alias(slot);
        let newest = stored.newest;
        for (seq, (batch, full)) in (0..).zip(newest.iter().cloned()) {
            let batch = Arc::new(Batch {
                seq,
                wire: renamed(&batch.wire, alias),
                compressed: Compressed::default(),
                snapshot: None,
                ..(*batch).clone()
            });
            self.0.log.append(alias, entry.epoch, &batch, full.map(|full| renamed(&full, alias)));
        }
        let room = self.0.rooms.get_mut(slot).expect("just restored");
        if !stored.nonces.is_empty() {
            let live = room.wake(now, &self.0.config, self.0.seed);
            live.nonces.restore(stored.next_offset, &stored.nonces, now);
            restore_authors(live, &stored.nonces, newest.iter());
            self.0.rooms.arm(slot, &self.0.config);
        } else if is_unused {
            // Live, so that it is removed as other rooms in memory are, if nobody comes back.
            room.wake(now, &self.0.config, self.0.seed);
            self.0.rooms.arm(slot, &self.0.config);
        }
    }

    /// A slot for a restored room: the recorded one, or another, which is recorded now.
    fn take_slot(&mut self, now: Now, recorded: Option<u32>, room: Room) -> u32 {
        let placed = match recorded {
            Some(slot) => self.0.rooms.restore_at(slot, room, now.us),
            None => Err(room),
        };
        placed.unwrap_or_else(|room| {
            let slot = self.0.rooms.restore(room);
            self.0.announce(slot);
            slot
        })
    }

    fn note_synced(&mut self, now: Now) {
        while let Some(batch) = self.0.acks.poll_synced() {
            let Some(room) = self.0.rooms.get_mut(batch.slot).filter(|room| room.epoch == batch.epoch) else {
                continue;
            };
            let Some(live) = room.live.as_mut() else { continue };
            let from = live.disk.synced_offset;
            live.disk.unsynced = live.disk.unsynced.saturating_sub(1);
            if batch.next_offset > from {
                live.disk.synced_offset = batch.next_offset;
                live.nonces.synced(from, batch.next_offset, now.us);
            }
            if live.disk.unsynced == 0 {
                self.0.rooms.arm(batch.slot, &self.0.config);
            }
        }
    }

    fn note_trimmed(&mut self, now: Now, name: &str, epoch: u64, oldest_offset: u64) {
        let Some(slot) = self.0.rooms.find(name) else { return };
        let Some(room) = self.0.rooms.get_mut(slot).filter(|room| room.epoch == epoch) else { return };
        if let Some(disk) = room.disk_mut() {
            disk.oldest_offset = disk.oldest_offset.max(oldest_offset);
        }
        if room.live.is_none() && room.is_forgettable() {
            self.0.remove(slot, now);
        }
    }
}

/// The same batch under the room's alias. It is copied only if it was stored under another.
pub(super) fn renamed(wire: &bytes::Bytes, alias: Alias) -> bytes::Bytes {
    if batch::alias_of(wire) == Some(alias.0) {
        return wire.clone();
    }
    batch::with_alias(wire, alias.0).expect("the log checked what it gave back")
}
