//! Rooms on disk: which are kept, what the durable log says, and how they come back.
//!
//! A room is kept if its setting says so, or, where it has none, the node's. That is decided when the room is
//! made and when it is configured: a room that the log holds goes on being kept after a restart, whatever the
//! node's default is then.
//!
//! - memory to disk: from then on kept, state included. Offsets before are not on disk, nor are their nonces:
//!   said again after a restart, such a message is refused, for it may stand. Their acknowledgements go on
//!   saying `memory`.
//! - disk to memory: what is stored goes, so that no later start finds the room as it once was.
//! - A room that nobody is in goes dormant: of it stays a record of its head and state, its nonces being
//!   forgotten by then, and up to [`DORMANT_BYTES_MAX`] of its newest batches, as far as the node's history
//!   has room. One that came on first use and of which nothing is kept any more (nobody ever spoke, or
//!   retention took it all) is removed. At `rooms_max`, new rooms are refused: a dormant room's head must not
//!   be forgotten, or its offsets would begin anew.
//!
//! Not here: answers that wait (`pending_acks`), reading (`history`), pushing batches (`timeouts`).

use std::sync::Arc;

use grandstand_protocol::batch;
use grandstand_protocol::frame::Durability;
use grandstand_protocol::refusal::Refusal;

use super::Shard;
use crate::link::{Alias, Batch, Compressed, Now, RoomSettings};
use crate::log::{DurableLog, Entry, News, StoredRoom};
use crate::room::{Disk, Dormant, Keeping, Origin, Room};

/// What a dormant room's newest batches may take: some dozens of messages for the next who joins.
const DORMANT_BYTES_MAX: usize = 16 << 10;

/// Versions of the state that may have been shown and not stored: those of the viewer count alone, which
/// changes once a millisecond at the most; so this is twelve days, and decades at the default. Eight million
/// restarts stay below 2^53.
const VERSIONS_UNSTORED_MAX: u64 = 1 << 30;

impl Shard {
    /// With a log that outlives the process, from the start.
    #[must_use]
    pub fn with_durable_log(mut self, log: Box<dyn DurableLog>) -> Self {
        self.pending_acks.set_log(log);
        self
    }

    /// Take the rooms that the durable log found. They come alive when somebody joins or speaks; those in
    /// which somebody spoke lately, at once, to remember nonces.
    ///
    /// # Panics
    /// If there is no durable log, or rooms were made before.
    pub fn restore(&mut self, now: Now, rooms: Vec<StoredRoom>) {
        assert!(
            self.pending_acks.is_there() && self.rooms.len() == 0,
            "rooms are restored first, and from a log"
        );
        rooms.into_iter().for_each(|room| self.restore_room(now, room));
    }

    fn restore_room(&mut self, now: Now, stored: StoredRoom) {
        let entry = stored.room;
        assert!(self.directory.shard_of(&entry.room) == self.id, "a room of another shard");
        let disk = Disk {
            synced_offset: stored.next_offset,
            since_offset: 0,
            oldest_offset: stored.oldest_offset,
            unsynced: 0,
            previous: stored.previous,
        };
        let slot = self.rooms.restore(Room {
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
            })),
            phase: entry.phase,
            origin: if entry.is_operators { Origin::Operator } else { Origin::FirstUse },
            settings: (!entry.settings.is_empty()).then(|| Box::new(entry.settings)),
            keeping: Keeping::Disk,
        });
        let alias = self.alias(slot);
        for (seq, (batch, full)) in (0..).zip(stored.newest) {
            let batch = Arc::new(Batch {
                seq,
                wire: renamed(&batch.wire, alias),
                compressed: Compressed::default(),
                snapshot: None,
                ..(*batch).clone()
            });
            self.log.append(alias, entry.epoch, &batch, full.map(|full| renamed(&full, alias)));
        }
        if !stored.nonces.is_empty() {
            let room = self.rooms.get_mut(slot).expect("just restored");
            let live = room.wake(now, &self.config, self.seed);
            live.nonces.restore(stored.next_offset, &stored.nonces, now);
            self.arm(slot);
        }
    }

    /// Take what the durable log has to say.
    pub fn handle_news(&mut self, now: Now) {
        while let Some(news) = self.pending_acks.poll_news() {
            match news {
                News::Durable(position) => {
                    self.pending_acks.handle_synced(position, &mut self.outbox);
                    self.note_synced(now);
                }
                News::Page { ticket, batches } => self.handle_page(ticket, batches),
                News::Trimmed { room, epoch, oldest_offset } => {
                    self.note_trimmed(now, &room, epoch, oldest_offset);
                }
            }
        }
    }

    /// Is there news for [`Self::handle_news`]? To be asked before a thread sleeps.
    pub fn has_news(&mut self) -> bool {
        self.pending_acks.has_news()
    }

    /// Is everything synced that was to be kept, and every answer given that waited for that?
    pub fn is_flushed(&self) -> bool {
        self.pending_acks.is_flushed()
    }

    /// Wait for the disk no longer: refuse what still waits for an answer.
    pub fn give_up_answers(&mut self) {
        self.pending_acks.give_up(&mut self.outbox);
        self.end_late_reads(u64::MAX);
    }

    fn note_synced(&mut self, now: Now) {
        while let Some(batch) = self.pending_acks.poll_synced() {
            let Some(room) = self.rooms.get_mut(batch.slot).filter(|room| room.epoch == batch.epoch) else {
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
                self.arm(batch.slot);
            }
        }
    }

    fn note_trimmed(&mut self, now: Now, name: &str, epoch: u64, oldest_offset: u64) {
        let Some(slot) = self.rooms.find(name) else { return };
        let Some(room) = self.rooms.get_mut(slot).filter(|room| room.epoch == epoch) else { return };
        if let Some(disk) = room.disk_mut() {
            disk.oldest_offset = disk.oldest_offset.max(oldest_offset);
        }
        if room.live.is_none() && room.is_forgettable() {
            self.remove(slot, now);
        }
    }

    /// Is a room with these settings kept in the durable log?
    ///
    /// # Errors
    /// `StorageUnavailable`: they ask for what the node does not have.
    pub(super) fn is_kept_with(&self, settings: &RoomSettings) -> Result<bool, Refusal> {
        match settings.durability {
            Some(Durability::Memory) => Ok(false),
            Some(Durability::Disk) if self.pending_acks.is_there() => Ok(true),
            Some(_) => Err(Refusal::StorageUnavailable),
            None => Ok(self.pending_acks.is_there() && self.config.durability != Durability::Memory),
        }
    }

    /// Give a room settings of its own.
    pub(super) fn configure(&mut self, now: Now, slot: u32, settings: RoomSettings) -> Result<(), Refusal> {
        let is_kept = self.is_kept_with(&settings)?;
        let was_kept = self.rooms.get(slot).ok_or(Refusal::UnknownRoom)?.is_on_disk();
        if is_kept && !was_kept {
            self.pending_acks.check().map_err(|_| Refusal::StorageUnavailable)?;
        }
        if is_kept != was_kept {
            // What was accepted so far was accepted as the room was.
            self.seal_now(slot, now);
        }
        self.rooms.get_mut(slot).expect("just found").configure(settings, &self.config);
        match (was_kept, is_kept) {
            (false, true) => self.begin_to_keep(slot, now),
            (true, false) => self.end_keeping(slot, now),
            (true, true) => self.announce(slot),
            (false, false) => {}
        }
        Ok(())
    }

    /// Tell the durable log what is said of a room now, if it is kept there.
    pub(super) fn announce(&mut self, slot: u32) {
        let Some(room) = self.rooms.get_mut(slot).filter(|room| room.is_on_disk()) else { return };
        room.keeping = Keeping::Disk;
        self.pending_acks.push(Entry::Room(room.entry()));
    }

    fn begin_to_keep(&mut self, slot: u32, now: Now) {
        let room = self.rooms.get_mut(slot).expect("configured");
        room.keeping = Keeping::Disk;
        if let Some(live) = &mut room.live {
            let here = live.next_offset;
            live.disk =
                Disk { synced_offset: here, since_offset: here, oldest_offset: here, ..Disk::default() };
        }
        self.announce(slot);
        let room = self.rooms.get_mut(slot).expect("configured");
        if let Some(live) = &mut room.live {
            live.state.restate();
            if live.state.is_changed() {
                live.plan_seal(now.us, &self.config, &mut self.ticks);
            }
        }
        self.seal_now(slot, now);
        self.arm(slot);
    }

    fn end_keeping(&mut self, slot: u32, now: Now) {
        let room = self.rooms.get_mut(slot).expect("configured");
        let (name, epoch) = (room.name.clone(), room.epoch);
        if std::mem::replace(&mut room.keeping, Keeping::Memory) == Keeping::Disk {
            self.pending_acks.push(Entry::Removed { room: name, epoch });
        }
        // Alive, so that it goes as rooms in memory go.
        room.wake(now, &self.config, self.seed);
        self.arm(slot);
    }

    /// Nobody is there: keep the room's head, and give the rest back.
    pub(super) fn make_dormant_on_disk(&mut self, slot: u32) {
        let alias = self.alias(slot);
        let room = self.rooms.get_mut(slot).expect("only rooms go dormant");
        if let Some(live) = room.live.take() {
            self.timers.arm(slot, live.armed_us, None);
            room.dormant = Some(Box::new(live.rest()));
        }
        self.log.shrink(alias, DORMANT_BYTES_MAX);
    }
}

fn renamed(wire: &bytes::Bytes, alias: Alias) -> bytes::Bytes {
    batch::with_alias(wire, alias.0).expect("the log checked what it gave back")
}
