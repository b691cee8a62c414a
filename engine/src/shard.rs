//! A shard: the one owner of a set of rooms. Inputs and the time go in by `handle_*`, outputs come out by
//! `poll_*`.
//!
//! After any `handle_*`, take outputs until there are none, then ask [`Shard::poll_timeout`] when to come
//! again.
//!
//! Invariants: what it does is a function of its inputs, the times and the seed. What is sent about one room
//! leaves in the order in which it happened. Every publication, state change and attach is answered exactly
//! once: an accepted publication at once where the room is kept in memory, for its place is certain and a
//! seal would make it no safer; in a room on disk when it is synced (`keeper`). Nothing here waits or grows
//! without a bound of [`ShardConfig`].
//! Not here: threads, queues and clocks (`node`), routing (`backbone`).

mod admin;
mod keep;
mod keeper;
mod past;
mod turn;

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;

use crate::admission::{self, Verdict};
use crate::config::ShardConfig;
use crate::counters::Counters;
use crate::durable::{Position, Unavailable};
use crate::log::{Log, MemoryLog};
use crate::message::{
    AdminAnswer, Alias, Answer, AnswerKind, Attachment, ConnectionToken, Input, Now, Output, Publication,
    RoomInfo, ShardId, WorkerId,
};
use crate::outbox::Outbox;
use crate::pacing::Selector;
use crate::placement::Placement;
use crate::room::{Epochs, Keeping, Origin, Room};
use crate::room_settings::RoomSettings;
use crate::rooms::Rooms;
use crate::seal::Sealer;
use crate::state::{RESERVED_PREFIX, Waiter};
use crate::tick::Ticks;
use crate::timers::Timers;
use keeper::Keeper;
use past::{Reads, Wanted};

/// A shard.
pub struct Shard {
    config: ShardConfig,
    id: ShardId,
    placement: Placement,
    workers: u16,
    seed: u64,
    rooms: Rooms,
    timers: Timers,
    ticks: Ticks,
    epochs: Epochs,
    sealer: Sealer,
    selector: Selector,
    log: Box<dyn Log>,
    keeper: Keeper,
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
    /// A shard with a log in memory. `seed` is the node's: placement and epochs follow from it.
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
            placement: Placement::new(shards, seed),
            workers,
            seed,
            rooms: Rooms::new(config.rooms_max.div_ceil(usize::from(shards))),
            timers: Timers::default(),
            ticks: Ticks::new(&config, workers),
            epochs: Epochs::new(seed ^ u64::from(id.0).rotate_left(48)),
            sealer: Sealer::default(),
            selector: Selector::default(),
            log,
            keeper: Keeper::new(&config),
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
                let pushed = self.keeper.pushed();
                match self.administer(now, request) {
                    Ok(answer) if self.waits_for_disk(&answer, pushed) => {
                        self.keeper.reply(now, reply, answer, &mut self.outbox);
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
            AdminAnswer::Room(info) => self.keeper.pushed() > pushed_before || is_on_disk(info),
            _ => false,
        }
    }

    /// When [`Self::handle_timeout`] has something to do next, by the monotonic clock of [`Now`].
    pub fn poll_timeout(&self) -> Option<u64> {
        [self.timers.next_us(), self.keeper.due_us(), self.reads.due_us()].into_iter().flatten().min()
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
        self.placement.alias(self.id, slot)
    }

    /// The slot of a room that lives here under this alias.
    fn slot(&self, alias: Alias) -> Option<u32> {
        let slot = self.placement.slot(alias);
        (self.placement.shard_of_alias(alias) == self.id && self.rooms.get(slot).is_some()).then_some(slot)
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
        admission::check_room_name(name)?;
        match self.rooms.find(name) {
            Some(slot) => Ok(slot),
            None if admission::is_allowed_on_first_use(&self.config.on_first_use, name) => {
                self.make(now, name.clone(), Origin::FirstUse)
            }
            None => Err(Refusal::UnknownRoom),
        }
    }

    fn make(&mut self, now: Now, name: Arc<str>, origin: Origin) -> Result<u32, Refusal> {
        assert!(self.placement.shard_of(&name) == self.id, "a room of another shard");
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
        if is_kept && self.keeper.check().is_ok() {
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

    fn publish(&mut self, now: Now, p: Box<Publication>) {
        let (worker, connection, nonce) = (self.known(p.worker), p.connection, p.nonce);
        let Some(slot) = self.slot(p.alias) else {
            return self.refuse_publication(worker, connection, nonce, Refusal::UnknownRoom, None);
        };
        let room = self.rooms.get_mut(slot).expect("just found");
        let (phase, epoch, durability, at_once) =
            (room.phase, room.epoch, room.durability(), !room.is_on_disk());
        let live = room.wake(now, &self.config, self.seed);
        let published = |offset, time_ms, durability, repeated| Answer {
            connection,
            kind: AnswerKind::Published { nonce, epoch, offset, time_ms, durability, repeated },
        };
        match admission::judge(live, phase, &p, now, at_once, &self.config) {
            Verdict::Accepted if !at_once && self.keeper.check().is_err() => {
                self.refuse_for_disk(worker, connection, nonce);
            }
            Verdict::Accepted => {
                let offset = live.free_offset();
                live.nonces.take(p.user, nonce, offset, now.us);
                live.slow_mode.spoke(p.user, now.us);
                live.chat.push(p);
                live.active_us = now.us;
                live.plan_seal(now.us, &self.config, &mut self.ticks);
                self.counters.publications_accepted += 1;
                if at_once {
                    let time_ms = live.accept_ms(now.unix_ms);
                    self.outbox.answer(worker, published(offset, time_ms, durability, false));
                }
            }
            Verdict::Waits { offset } if at_once => {
                let time_ms = live.accept_ms(now.unix_ms);
                self.counters.publications_repeated += 1;
                self.outbox.answer(worker, published(offset, time_ms, durability, true));
            }
            Verdict::Waits { offset } => live.chat.repeat(offset, &p),
            Verdict::Repeated { offset, .. }
                if live.disk.is_on_its_way(offset) && self.keeper.is_full() && !at_once =>
            {
                self.refuse_for_disk(worker, connection, nonce);
            }
            Verdict::Repeated { offset, time_ms } => {
                self.counters.publications_repeated += 1;
                let durability = if at_once { durability } else { live.disk.durability_of(offset) };
                let answer = published(offset, time_ms, durability, true);
                if !at_once && live.disk.is_on_its_way(offset) {
                    self.keeper.answer(now, worker, answer, &mut self.outbox);
                } else {
                    self.outbox.answer(worker, answer);
                }
            }
            Verdict::Refused { reason, retry_after_ms } => {
                self.refuse_publication(worker, connection, nonce, reason, retry_after_ms);
            }
        }
        self.arm(slot);
    }

    fn refuse_for_disk(&mut self, worker: WorkerId, connection: ConnectionToken, nonce: u64) {
        let retry_after_ms = Some(self.keeper.retry_after_ms());
        self.refuse_publication(worker, connection, nonce, Refusal::StorageUnavailable, retry_after_ms);
    }

    fn refuse_publication(
        &mut self,
        worker: WorkerId,
        connection: ConnectionToken,
        nonce: u64,
        reason: Refusal,
        retry_after_ms: Option<u32>,
    ) {
        self.counters.refuse_publication(reason);
        let kind = AnswerKind::PublishRefused { nonce, reason, retry_after_ms };
        self.outbox.answer(worker, Answer { connection, kind });
    }

    fn react(&mut self, now: Now, alias: Alias, tallies: Vec<(Box<str>, u64)>) {
        let open =
            self.slot(alias).filter(|&slot| self.rooms.get(slot).is_some_and(|r| r.phase != Phase::Closed));
        let Some(slot) = open else {
            self.counters.reactions_refused += tallies.iter().map(|(_, n)| n).sum::<u64>();
            return;
        };
        let live = self.rooms.get_mut(slot).expect("just found").wake(now, &self.config, self.seed);
        for (key, count) in tallies {
            if count > 0 && admission::is_reaction(&key) {
                live.tallies.add(key, count, self.config.tally_keys_max);
                self.counters.reactions += count;
            } else {
                self.counters.reactions_refused += count;
            }
        }
        if !live.tallies.is_empty() {
            live.active_us = now.us;
            live.plan_seal(now.us, &self.config, &mut self.ticks);
        }
        self.arm(slot);
    }

    fn set_state(
        &mut self,
        now: Now,
        (worker, connection, request): (WorkerId, ConnectionToken, u32),
        alias: Alias,
        key: Box<str>,
        value: Option<Bytes>,
    ) {
        match self.try_set_state(now, alias, key, value) {
            Ok((slot, version)) => {
                let room = self.rooms.get_mut(slot).expect("just set");
                let is_on_disk = room.is_on_disk();
                let live = room.live.as_mut().expect("just set");
                let answer = Answer { connection, kind: AnswerKind::StateSet { request, version } };
                if live.state.is_changed() {
                    live.state.wait(Waiter { worker, connection, request, version });
                } else if is_on_disk && live.disk.unsynced > 0 {
                    self.keeper.answer(now, worker, answer, &mut self.outbox);
                } else {
                    self.outbox.answer(worker, answer);
                }
                self.arm(slot);
            }
            Err((reason, retry_after_ms)) => {
                self.counters.state_refused += 1;
                let kind = AnswerKind::StateRefused { request, reason, retry_after_ms };
                self.outbox.answer(worker, Answer { connection, kind });
            }
        }
    }

    fn try_set_state(
        &mut self,
        now: Now,
        alias: Alias,
        key: Box<str>,
        value: Option<Bytes>,
    ) -> Result<(u32, u64), Refused> {
        let slot = self.slot(alias).ok_or((Refusal::UnknownRoom, None))?;
        if key.starts_with(RESERVED_PREFIX) {
            return Err((Refusal::Forbidden, None));
        }
        Ok((slot, self.change_state(now, slot, key, value)?))
    }

    /// Change a room's state; the version of the change.
    fn change_state(
        &mut self,
        now: Now,
        slot: u32,
        key: Box<str>,
        value: Option<Bytes>,
    ) -> Result<u64, Refused> {
        let never = |reason| (reason, None);
        admission::check_state(&key, value.as_deref(), self.config.state_value_bytes_max).map_err(never)?;
        let room = self.rooms.get_mut(slot).ok_or((Refusal::UnknownRoom, None))?;
        if room.is_on_disk() {
            let later = |u: Unavailable| (Refusal::StorageUnavailable, Some(u.retry_after_ms));
            self.keeper.check().map_err(later)?;
        }
        let live = room.wake(now, &self.config, self.seed);
        if live.state.waiting() >= self.config.pending_messages_max {
            return Err((Refusal::Overloaded, None));
        }
        let version = live.state.set(key, value, self.config.state_keys_max).map_err(never)?;
        self.counters.state_changes += 1;
        live.active_us = now.us;
        if live.state.is_changed() {
            live.plan_seal(now.us, &self.config, &mut self.ticks);
        }
        Ok(version)
    }
}

/// Why not, and when it may be worth another try.
type Refused = (Refusal, Option<u32>);
