//! A shard: the one owner of a set of rooms. Inputs and the time go in by `handle_*`, outputs come out by
//! `poll_*`.
//!
//! After any `handle_*`, take outputs until there are none, then ask [`Shard::poll_timeout`] when to come
//! again.
//!
//! Invariants: what it does is a function of its inputs, the times and the seed. What is sent about one room
//! leaves in the order in which it happened. Every publication, state change and attach is answered exactly
//! once: an accepted publication at once where the room is kept in memory, for its place is certain and a
//! seal would make it no safer; in a room on disk when it is synced (`pending_acks`). Nothing here waits or grows
//! without a bound of [`ShardConfig`].
//! Not here: threads, queues and clocks (`runtime`), routing (`backbone`).

mod admin;
mod counters;
mod durability;
mod history;
mod outbox;
mod pending_acks;
mod publish;
mod rooms;
mod timeouts;
mod timers;

use std::sync::Arc;

use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, rules};

use self::counters::Counters;
use self::history::{Reads, Wanted};
use self::outbox::Outbox;
use self::pending_acks::PendingAcks;
use self::rooms::Rooms;
use self::timers::Timers;
use crate::config::ShardConfig;
use crate::link::{
    AdminAnswer, Alias, Attachment, Directory, Input, Now, Output, RoomInfo, RoomSettings, ShardId, WorkerId,
};
use crate::log::{Log, MemoryLog, Position};
use crate::room::pacing::Selector;
use crate::room::seal::Sealer;
use crate::room::tick::Ticks;
use crate::room::{Epochs, Keeping, Origin, Room};

/// A shard.
pub struct Shard {
    config: ShardConfig,
    id: ShardId,
    directory: Directory,
    workers: u16,
    seed: u64,
    rooms: Rooms,
    timers: Timers,
    ticks: Ticks,
    epochs: Epochs,
    sealer: Sealer,
    selector: Selector,
    log: Box<dyn Log>,
    pending_acks: PendingAcks,
    reads: Reads,
    outbox: Outbox,
    counters: Counters,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("id", &self.id)
            .field("rooms", &self.rooms.len())
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// A shard with a log in memory. `seed` is the node's: directory and epochs follow from it.
    pub fn new(config: ShardConfig, id: ShardId, shards: u16, workers: u16, seed: u64) -> Self {
        let log = Box::new(MemoryLog::new(&config, shards));
        Self::with_log(config, id, shards, workers, seed, log)
    }

    /// A shard with a log of the caller's.
    ///
    /// # Panics
    /// If the configuration does not hold together, or `id` is not below `shards`.
    pub fn with_log(
        config: ShardConfig,
        id: ShardId,
        shards: u16,
        workers: u16,
        seed: u64,
        log: Box<dyn Log>,
    ) -> Self {
        assert!(id.0 < shards, "shard {} of {shards}", id.0);
        assert_eq!(config.check(), Ok(()), "check a configuration before it is used");
        Shard {
            id,
            directory: Directory::new(shards, seed),
            workers,
            seed,
            rooms: Rooms::new(config.rooms_max.div_ceil(usize::from(shards))),
            timers: Timers::default(),
            ticks: Ticks::new(&config, workers),
            epochs: Epochs::new(seed ^ u64::from(id.0).rotate_left(48)),
            sealer: Sealer::default(),
            selector: Selector::default(),
            log,
            pending_acks: PendingAcks::new(&config),
            reads: Reads::default(),
            outbox: Outbox::new(workers),
            counters: Counters::default(),
            config,
        }
    }

    /// Take an input.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::Attach { worker, room } => self.attach(now, self.known(worker), room),
            Input::Detach { worker, alias } => self.detach(now, worker, alias),
            Input::Viewers { worker, alias, count } => self.viewers(now, worker, alias, count),
            Input::Publish(publication) => self.publish(now, publication),
            Input::React { alias, tallies } => self.react(now, alias, tallies),
            Input::SetState { worker, connection, request, alias, key, value } => {
                self.set_state(now, (self.known(worker), connection, request), alias, key, value);
            }
            Input::History { worker, ticket, alias, epoch, from, of } => {
                self.history(now, self.known(worker), ticket, Wanted { alias, epoch, from, of });
            }
            Input::Load { worker, load } => self.ticks.handle_load(self.known(worker), &load),
            Input::Admin(request, reply) => {
                let pushed = self.pending_acks.pushed();
                match self.administer(now, request) {
                    Ok(answer) if self.waits_for_disk(&answer, pushed) => {
                        self.pending_acks.reply(now, reply, answer, &mut self.outbox);
                    }
                    answer => (reply.0)(answer),
                }
            }
        }
    }

    /// Does an operator's answer speak of what has to be synced first?
    fn waits_for_disk(&self, answer: &AdminAnswer, pushed_before: Position) -> bool {
        let is_on_disk = |info: &RoomInfo| {
            self.slot(info.alias).and_then(|slot| self.rooms.get(slot)).is_some_and(Room::is_on_disk)
        };
        match answer {
            AdminAnswer::Room(info) => self.pending_acks.pushed() > pushed_before || is_on_disk(info),
            _ => false,
        }
    }

    /// When [`Self::handle_timeout`] has something to do next, by the monotonic clock of [`Now`].
    pub fn poll_timeout(&self) -> Option<u64> {
        [self.timers.next_us(), self.pending_acks.due_us(), self.reads.due_us()].into_iter().flatten().min()
    }

    /// The next output and the worker that it is for.
    pub fn poll_output(&mut self) -> Option<(WorkerId, Output)> {
        self.outbox.pop()
    }

    /// Outputs that had to wait for a worker, and those for workers that are gone: for the counters.
    pub fn count_outputs(&mut self, overflowed: u64, dropped: u64) {
        self.counters.outputs_overflowed += overflowed;
        self.counters.outputs_dropped += dropped;
    }

    fn known(&self, worker: WorkerId) -> WorkerId {
        assert!(worker.0 < self.workers, "worker {} of {}", worker.0, self.workers);
        worker
    }

    fn alias(&self, slot: u32) -> Alias {
        self.directory.alias(self.id, slot)
    }

    /// The slot of a room that lives here under this alias.
    fn slot(&self, alias: Alias) -> Option<u32> {
        let slot = self.directory.slot(alias);
        (self.directory.shard_of_alias(alias) == self.id && self.rooms.get(slot).is_some()).then_some(slot)
    }

    /// Set the room's timer by what is due in it.
    fn arm(&mut self, slot: u32) {
        let Some(room) = self.rooms.get_mut(slot) else { return };
        let due_us = room.due_us(&self.config);
        if let Some(live) = &mut room.live {
            self.timers.arm(slot, live.armed_us, due_us);
            live.armed_us = due_us;
        }
    }

    fn attach(&mut self, now: Now, worker: WorkerId, name: Arc<str>) {
        let result = self.find_or_make(now, &name).map(|slot| Box::new(self.follow(now, worker, slot)));
        match result {
            Ok(_) => self.counters.attaches += 1,
            Err(_) => self.counters.attaches_refused += 1,
        }
        self.outbox.push(worker, Output::Attached { room: name, result });
    }

    fn find_or_make(&mut self, now: Now, name: &Arc<str>) -> Result<u32, Refusal> {
        rules::check_room_name(name, limits::ROOM_NAME_BYTES_MAX)?;
        match self.rooms.find(name) {
            Some(slot) => Ok(slot),
            None if self.config.allows_on_first_use(name) => self.make(now, name.clone(), Origin::FirstUse),
            None => Err(Refusal::UnknownRoom),
        }
    }

    fn make(&mut self, now: Now, name: Arc<str>, origin: Origin) -> Result<u32, Refusal> {
        assert!(self.directory.shard_of(&name) == self.id, "a room of another shard");
        let epoch = self.epochs.make(now.unix_ms);
        let is_kept = self.is_kept_with(&RoomSettings::default())?;
        let room = Room {
            name,
            epoch,
            live: None,
            dormant: None,
            phase: Phase::Open,
            origin,
            settings: None,
            keeping: if is_kept { Keeping::Unannounced } else { Keeping::Memory },
        };
        let slot = self.rooms.insert(room, now.us)?;
        if is_kept && self.pending_acks.check().is_ok() {
            self.announce(slot);
        }
        self.counters.rooms_created += 1;
        Ok(slot)
    }

    fn follow(&mut self, now: Now, worker: WorkerId, slot: u32) -> Attachment {
        let alias = self.alias(slot);
        let room = self.rooms.get_mut(slot).expect("just found");
        let (epoch, phase) = (room.epoch, room.phase);
        let live = room.wake(now, &self.config, self.seed);
        live.viewers.follow(worker);
        live.active_us = now.us;
        let attachment = Attachment {
            alias,
            epoch,
            next_seq: live.next_seq,
            next_offset: live.next_offset,
            time_ms: live.time_ms,
            batches: self.log.newest(alias, self.config.ring_batches_max, self.config.ring_bytes_max),
            snapshot: live.state.image(alias, epoch, &mut self.sealer.encoder),
            phase,
            previous: live.disk.previous,
        };
        self.arm(slot);
        attachment
    }

    fn detach(&mut self, now: Now, worker: WorkerId, alias: Alias) {
        let Some(slot) = self.slot(alias) else { return };
        let Some(live) = self.rooms.get_mut(slot).and_then(|room| room.live.as_mut()) else { return };
        if live.viewers.leave(worker) {
            live.active_us = now.us;
            self.arm(slot);
        }
    }

    fn viewers(&mut self, now: Now, worker: WorkerId, alias: Alias, count: u32) {
        let Some(slot) = self.slot(alias) else { return };
        let Some(live) = self.rooms.get_mut(slot).and_then(|room| room.live.as_mut()) else { return };
        live.viewers.count(worker, count);
        live.active_us = now.us;
        self.arm(slot);
    }
}
