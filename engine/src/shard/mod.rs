//! A shard: the one owner of a set of rooms. The caller passes inputs and the time in by `handle_*`, and
//! takes outputs by `poll_*`.
//!
//! After any `handle_*`, take outputs until there are none, then ask [`Shard::poll_timeout`] for the time of
//! the next [`Shard::handle_timeout`].
//!
//! Invariants: what a shard does is a function of its inputs, the times and the seed. Outputs about one room
//! leave in the order of the events. Every publication, state change and attach is answered exactly once. A
//! room in memory answers an accepted publication at once, for its offset is certain and a seal would make it
//! no safer. A room on disk answers when the publication is synced (`pending_acks`). Nothing here waits, or
//! grows without a bound of [`ShardConfig`].
//!
//! A shard is handed over by [`Shard::handle_handing`]: it seals what waits and takes no more inputs. Once
//! the log has everything and every answer has left ([`Shard::is_handed`]), another owner may take it.
//! Not here: threads, queues and clocks (`runtime`), routing (`backbone`).

mod acts;
mod admin;
pub(crate) mod counters;
mod durability;
mod filtering;
pub(crate) mod handing;
mod history;
mod outbox;
mod pending_acks;
mod publish;
mod rooms;
mod shows;
mod timeouts;
mod timers;

use std::sync::Arc;

use grandstand_filter::Scratch;
use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::text::Likeness;
use grandstand_protocol::{limits, rules};

use self::acts::Acts;
use self::admin::Administration;
use self::counters::Counters;
use self::history::{Pages, Past, Wanted};
use self::outbox::Outbox;
use self::pending_acks::PendingAcks;
use self::rooms::{Bounds, Full, Rooms};
use self::shows::Shows;
use crate::config::ShardConfig;
use crate::link::{
    Alias, Attachment, Batch, Directory, Input, Now, Opener, Output, RoomSettings, ShardId, WorkerId,
};
use crate::log::{Log, MemoryLog};
use crate::room::pacing::Selector;
use crate::room::seal::Sealer;
use crate::room::tick::Ticks;
use crate::room::{Account, Epochs, Live, Origin, Room};

/// A shard.
pub struct Shard {
    config: ShardConfig,
    seed: u64,
    rooms: Rooms,
    ticks: Ticks,
    epochs: Epochs,
    sealer: Sealer,
    selector: Selector,
    log: Box<dyn Log>,
    acks: PendingAcks,
    pages: Pages,
    outbox: Outbox,
    counters: Counters,
    /// Memory of the word filter.
    scratch: Scratch,
    /// Bytes of the states of all rooms, and how many there may be.
    state_bytes: usize,
    state_bytes_max: usize,
    is_handing: bool,
    /// Did the owner before leave nothing but the log?
    begins_anew: bool,
    /// No viewer count is published before this time.
    counts_from_us: u64,
}

/// A room that workers follow, with the number of members on each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The room's name.
    pub room: Arc<str>,
    /// The workers that follow it, with their numbers of members.
    pub followers: Vec<(WorkerId, u32)>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}

impl Shard {
    /// A shard with a log in memory. `seed` is the node's; the directory and epochs are derived from it.
    ///
    /// # Panics
    /// If the configuration contradicts itself, or `id` is not below `shards`.
    pub fn new(config: ShardConfig, id: ShardId, shards: u16, seed: u64) -> Self {
        assert!(id.0 < shards, "shard {} of {shards}", id.0);
        assert_eq!(config.check(), Ok(()), "check a configuration before it is used");
        let bounds = Bounds::new(&config, shards);
        Shard {
            seed,
            rooms: Rooms::new(bounds, id, Directory::new(shards, seed), seed),
            ticks: Ticks::new(&config),
            epochs: Epochs::new(seed ^ u64::from(id.0).rotate_left(48)),
            sealer: Sealer::default(),
            selector: Selector::default(),
            log: Box::new(MemoryLog::new(&config, shards)),
            acks: PendingAcks::new(&config),
            pages: Pages::default(),
            outbox: Outbox::default(),
            counters: Counters::default(),
            scratch: Scratch::new(),
            state_bytes: 0,
            state_bytes_max: config.state_bytes_total_max.div_ceil(usize::from(shards)),
            is_handing: false,
            begins_anew: false,
            counts_from_us: 0,
            config,
        }
    }

    /// The owner under a term of a cluster. It makes other epochs than owners of the shard under other terms.
    /// It publishes no viewer count before this time, since nodes tell of their viewers one after another.
    /// If the shard was not handed over, chat that is not in the log begins anew, under the epochs that the
    /// log says.
    #[must_use]
    pub fn under_term(mut self, term: u64, is_clean: bool, counts_from_us: u64) -> Self {
        self.epochs.vary(term);
        (self.begins_anew, self.counts_from_us) = (!is_clean, counts_from_us);
        self
    }

    /// Take an input.
    ///
    /// # Panics
    /// If the shard is being handed over: inputs must wait for the next owner.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        assert!(!self.is_handing, "a shard that is handed over takes nothing");
        match input {
            Input::Attach { worker, room, opener } => self.attach(now, worker, room, opener, None),
            Input::Reattach { worker, room, opener, alias } => {
                self.attach(now, worker, room, opener, Some(alias));
            }
            Input::Detach { worker, alias } => self.detach(now, worker, alias),
            Input::Viewers { worker, alias, count } => self.viewers(now, worker, alias, count),
            Input::Staff { worker, alias, names } => self.staff(worker, alias, &names),
            Input::Publish(publication) => self.publish(now, publication),
            Input::React { alias, tallies } => self.react(now, alias, tallies),
            Input::SetState(change) => self.set_state(now, *change),
            Input::Act(act) => Acts(self).act(now, *act),
            Input::History { worker, request, alias, epoch, from, of } => {
                self.history(now, (worker, request), Wanted { alias, epoch, from, of });
            }
            Input::Load { worker, load } => self.ticks.handle_load(worker, &load),
            Input::Admin { from, request } => Administration(self).handle(now, from, *request),
        }
    }

    /// The time of the next [`Self::handle_timeout`], by the monotonic clock of [`Now`].
    pub fn poll_timeout(&self) -> Option<u64> {
        [self.rooms.next_us(), self.acks.due_us(), self.pages.due_us()].into_iter().flatten().min()
    }

    /// The next output, and the worker that gets it.
    pub fn poll_output(&mut self) -> Option<(WorkerId, Output)> {
        self.outbox.pop()
    }

    /// Outputs that had to wait for a worker, and those for workers that are gone: for the counters.
    pub fn count_outputs(&mut self, overflowed: u64, dropped: u64) {
        self.counters.outputs_overflowed += overflowed;
        self.counters.outputs_dropped += dropped;
    }

    /// `before` is the alias that the room had under an earlier owner: it has it again if it can.
    fn attach(&mut self, now: Now, worker: WorkerId, name: Arc<str>, opener: Opener, before: Option<Alias>) {
        let slot = self.find_or_make(now, &name, opener, before);
        let result = slot.and_then(|slot| self.follow(now, worker, slot).map(Box::new));
        match result {
            Ok(_) => self.counters.attaches += 1,
            Err(_) => self.counters.attaches_refused += 1,
        }
        let slot = result.as_ref().ok().and_then(|attachment| self.rooms.slot(attachment.alias));
        self.outbox.push(worker, Output::Attached { room: name, result });
        if let Some(slot) = slot {
            Acts(self).tell_bans(now, worker, slot);
        }
    }

    fn find_or_make(
        &mut self,
        now: Now,
        name: &Arc<str>,
        opener: Opener,
        before: Option<Alias>,
    ) -> Result<u32, Refusal> {
        rules::check_room_name(name, limits::ROOM_NAME_BYTES_MAX)?;
        match self.rooms.find(name) {
            Some(slot) => Ok(slot),
            None => {
                Shows(self).may_begin(now, name)?;
                let settings = RoomSettings::default();
                self.make(now, name.clone(), (Origin::FirstUse, opener), settings, before)
            }
        }
    }

    fn make(
        &mut self,
        now: Now,
        name: Arc<str>,
        (origin, opener): (Origin, Opener),
        settings: RoomSettings,
        before: Option<Alias>,
    ) -> Result<u32, Refusal> {
        assert!(self.rooms.owns(&name), "a room of another shard");
        let keeping = self.acks.keeping_for(&settings, self.config.durability)?;
        self.make_space(now, opener)?;
        let epoch = self.epochs.make(now.unix_ms);
        let room = Room {
            name,
            epoch,
            live: None,
            dormant: None,
            phase: Phase::Open,
            origin,
            settings: (!settings.is_empty()).then(|| Box::new(settings)),
            opener: Account::of(opener.person),
            keeping,
        };
        let is_announced = room.is_worth_announcing() && self.acks.check().is_ok();
        let slot = self.rooms.insert_at(before, room, now.us);
        if is_announced {
            self.announce(slot);
        }
        self.counters.rooms_created += 1;
        Ok(slot)
    }

    /// Make space for one more room: rooms that hold nothing go first.
    ///
    /// # Errors
    /// `RateLimited`: this person has opened as many as one person may. `Overloaded`: there are as many as
    /// the node, or all but its operators, may open.
    fn make_space(&mut self, now: Now, opener: Opener) -> Result<(), Refusal> {
        loop {
            match self.rooms.check_space(opener, now.us) {
                Ok(()) => return Ok(()),
                Err(Full::ForPerson) => return Err(Refusal::RateLimited),
                Err(Full::Slots) => return Err(Refusal::Overloaded),
                Err(Full::ForAll) => match self.rooms.pop_empty() {
                    Some(slot) => self.remove(slot, now),
                    None => return Err(Refusal::Overloaded),
                },
            }
        }
    }

    fn follow(&mut self, now: Now, worker: WorkerId, slot: u32) -> Result<Attachment, Refusal> {
        let alias = self.rooms.alias(slot);
        self.rooms.get_mut(slot).expect("just found").wake(now, &self.config, self.seed);
        if !Shows(self).follow_show(now, slot) {
            return Err(Refusal::UnknownRoom);
        }
        let room = self.rooms.get_mut(slot).expect("its show is not gone");
        let (epoch, phase) = (room.epoch, room.phase);
        let newest = self.log.newest(alias, self.config.ring_batches_max, self.config.ring_bytes_max);
        let live = room.wake(now, &self.config, self.seed);
        live.viewers.follow(worker);
        if now.us < self.counts_from_us {
            live.viewers.hold_until(self.counts_from_us);
        }
        live.active_us = now.us;
        let attachment = Attachment {
            alias,
            epoch,
            next_seq: live.next_seq,
            next_offset: live.next_offset,
            time_ms: live.time_ms,
            batches: redacted(live, newest),
            snapshot: live.state.image(alias, epoch, &mut self.sealer.encoder),
            phase,
            until_ms: live.until_ms,
            previous: live.disk.previous.clone(),
        };
        self.rooms.arm(slot, &self.config);
        Ok(attachment)
    }

    fn detach(&mut self, now: Now, worker: WorkerId, alias: Alias) {
        let Some(slot) = self.rooms.slot(alias) else { return };
        let Some(live) = self.rooms.get_mut(slot).and_then(|room| room.live.as_mut()) else { return };
        live.staff.set_present(worker, &[]);
        if live.viewers.leave(worker) {
            live.active_us = now.us;
            self.rooms.note_empty(slot);
            self.rooms.arm(slot, &self.config);
        }
    }

    fn staff(&mut self, worker: WorkerId, alias: Alias, names: &[Likeness]) {
        let Some(slot) = self.rooms.slot(alias) else { return };
        let Some(live) = self.rooms.get_mut(slot).and_then(|room| room.live.as_mut()) else { return };
        live.staff.set_present(worker, names);
    }

    fn viewers(&mut self, now: Now, worker: WorkerId, alias: Alias, count: u32) {
        let Some(slot) = self.rooms.slot(alias) else { return };
        let Some(live) = self.rooms.get_mut(slot).and_then(|room| room.live.as_mut()) else { return };
        live.viewers.count(worker, count);
        live.active_us = now.us;
        self.rooms.arm(slot, &self.config);
    }

    fn history(&mut self, now: Now, (worker, request): (WorkerId, u64), wanted: Wanted) {
        self.counters.history_pages += 1;
        let due_us = now.us.saturating_add(self.config.answer_within_ms.saturating_mul(1000));
        let past = Past { rooms: &self.rooms, log: &*self.log };
        match self.pages.ask(wanted, due_us, (worker, request), past) {
            Some(page) => self.outbox.push(worker, Output::History { request, page: Box::new(page) }),
            None => self.start_reads(),
        }
    }
}

/// Batches as a reader may have them.
fn redacted(live: &Live, batches: Vec<Arc<Batch>>) -> Vec<Arc<Batch>> {
    match &live.moderation {
        Some(moderation) => batches.iter().map(|batch| moderation.removals.redacted(batch)).collect(),
        None => batches,
    }
}
