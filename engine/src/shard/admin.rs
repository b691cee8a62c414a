//! Administration: a shard's handling of operators' requests.
//!
//! Invariant: before a phase changes or a room is removed, everything that waits in it is sealed, so an
//! accepted message never comes after the change.
//! Not here: requests to all shards (`runtime::admin`), who may ask (edge).

use bytes::Bytes;
use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, rules};

use super::Shard;
use super::acts::Acts;
use super::shows::Shows;
use crate::link::{AdminAnswer, AdminRequest, Moderated, Now, Opener, ReplyTo, RoomInfo, RoomSettings};
use crate::log::Entry;
use crate::moderation::modes::{self, Modes};
use crate::room::state::SLOW_MODE_KEY;
use crate::room::tick::TickBounds;
use crate::room::{Disk, Keeping, Live, Origin, Room, check_reserved, milliseconds};

/// A room is busy if it sealed within this time: twice the longest default tick.
const BUSY_US: u64 = 2_000_000;

/// A shard's operations for its operators.
pub(super) struct Administration<'a>(pub(super) &'a mut Shard);

impl Administration<'_> {
    /// Handle a request, and answer once the durable log has the change.
    pub(super) fn handle(&mut self, now: Now, from: ReplyTo, request: AdminRequest) {
        let pushed = self.0.acks.pushed();
        let answer = self.answer(now, request);
        let shard = &mut *self.0;
        match answer {
            Ok(AdminAnswer::Room(info)) if shard.acks.pushed() > pushed || is_logged(shard, &info) => {
                shard.acks.reply(now, from, AdminAnswer::Room(info), &mut shard.outbox);
            }
            answer => shard.outbox.reply(from, answer),
        }
    }

    fn answer(&mut self, now: Now, request: AdminRequest) -> Result<AdminAnswer, Refusal> {
        match request {
            AdminRequest::Create { room, settings } => self.create(now, &room, settings),
            AdminRequest::Open { room } => self.set_phase(now, &room, Phase::Open),
            AdminRequest::Close { room } => self.set_phase(now, &room, Phase::Closed),
            AdminRequest::FollowShow { room } => {
                let slot = self.find(&room)?;
                let info = self.info(slot)?;
                if Shows(self.0).follow_show(now, slot) {
                    self.info(slot).map(AdminAnswer::Room)
                } else {
                    Ok(AdminAnswer::Room(info))
                }
            }
            AdminRequest::Remove { room } => {
                let slot = self.find(&room)?;
                let info = self.info(slot)?;
                self.0.remove(slot, now);
                Ok(AdminAnswer::Room(info))
            }
            AdminRequest::SetState { room, key, value } => self.operate(now, &room, &key, value),
            AdminRequest::Configure { room, settings } => {
                let slot = self.find(&room)?;
                self.configure(now, slot, settings)?;
                self.info(slot).map(AdminAnswer::Room)
            }
            AdminRequest::List { prefix, after, limit } => {
                let page = self.0.rooms.page(&prefix, &after).take(limit);
                page.map(|slot| self.info(slot)).collect::<Result<_, _>>().map(AdminAnswer::Rooms)
            }
            AdminRequest::Moderation { room } => self.moderation(now, &room),
            AdminRequest::Lift { room, person } => {
                let slot = self.find(&room)?;
                Acts(self.0).lift(now, slot, &[person])?;
                self.0.seal_now(slot, now);
                self.info(slot).map(AdminAnswer::Room)
            }
            AdminRequest::State { room } => self.state(&room),
            AdminRequest::Counters => Ok(AdminAnswer::Counters(self.count(now))),
        }
    }

    fn find(&self, name: &str) -> Result<u32, Refusal> {
        self.0.rooms.find(name).ok_or(Refusal::UnknownRoom)
    }

    /// Who is held in a room, and what is reported there.
    fn moderation(&mut self, now: Now, name: &str) -> Result<AdminAnswer, Refusal> {
        let slot = self.find(name)?;
        let room = self.0.rooms.get_mut(slot).expect("just found");
        let live = room.wake(now, &self.0.config, self.0.seed);
        let lists = live.moderation.as_ref().map(|moderation| Moderated {
            held: moderation.people.list(now.unix_ms),
            reported: moderation.reports.list(),
        });
        self.0.rooms.arm(slot, &self.0.config);
        Ok(AdminAnswer::Moderation(lists.unwrap_or_default()))
    }

    /// Make a room that stays. A room made on first use stays from now on, with the settings that it has.
    /// A log that takes nothing refuses only what it would keep.
    fn create(&mut self, now: Now, name: &str, settings: RoomSettings) -> Result<AdminAnswer, Refusal> {
        rules::check_room_name(name, limits::ROOM_NAME_BYTES_MAX)?;
        let found = self.0.rooms.find(name);
        let is_kept = match found {
            Some(slot) => self.0.rooms.get(slot).expect("just found").is_in_log(),
            None => self.0.acks.keeping_for(&settings, self.0.config.durability)?.keeps_head(),
        };
        if is_kept {
            self.0.acks.check().map_err(|_| Refusal::StorageUnavailable)?;
        }
        let slot = match found {
            Some(slot) => slot,
            None => self.0.make(now, name.into(), (Origin::Operator, Opener::NODE), settings, None)?,
        };
        let room = self.0.rooms.get_mut(slot).expect("just made");
        if found.is_some() && room.origin != Origin::Operator {
            room.origin = Origin::Operator;
            self.0.rooms.adopt(slot);
            self.0.announce(slot);
        }
        self.0.rooms.arm(slot, &self.0.config);
        self.info(slot).map(AdminAnswer::Room)
    }

    fn set_phase(&mut self, now: Now, name: &str, phase: Phase) -> Result<AdminAnswer, Refusal> {
        let slot = self.find(name)?;
        Shows(self.0).set_phase(now, slot, phase, 0);
        self.info(slot).map(AdminAnswer::Room)
    }

    /// Set state as an operator, who may set the node's own keys except the viewer count.
    fn operate(
        &mut self,
        now: Now,
        name: &str,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<AdminAnswer, Refusal> {
        let slot = self.find(name)?;
        check_reserved(key, value.as_deref()).map_err(|_| {
            let is_known = key == SLOW_MODE_KEY || modes::KEYS.contains(&key);
            if is_known { Refusal::BadText } else { Refusal::Forbidden }
        })?;
        let interval_ms = (key == SLOW_MODE_KEY)
            .then(|| value.as_deref().and_then(milliseconds).unwrap_or(self.0.config.slow_mode_ms));
        self.0
            .change_state(now, slot, key.into(), value.map(Bytes::from), true)
            .map_err(|refused| refused.0)?;
        let live = self.0.rooms.get_mut(slot).and_then(|room| room.live.as_mut());
        if let (Some(live), Some(interval_ms)) = (live, interval_ms) {
            live.slow_mode.set_interval_ms(interval_ms);
        }
        let live = self.0.rooms.get_mut(slot).and_then(|room| room.live.as_mut());
        if let Some(live) = live.filter(|_| modes::KEYS.contains(&key)) {
            live.modes = Modes::of(live.state.after_changes());
        }
        if self.0.rooms.get(slot).is_some_and(Room::is_in_log) {
            // The operator's answer waits for the disk, so the change must be pushed now.
            self.0.seal_now(slot, now);
        }
        self.0.rooms.arm(slot, &self.0.config);
        self.info(slot).map(AdminAnswer::Room)
    }

    /// Give a room settings of its own, which replace all its earlier ones.
    fn configure(&mut self, now: Now, slot: u32, settings: RoomSettings) -> Result<(), Refusal> {
        let shard = &mut *self.0;
        let keeping = shard.acks.keeping_for(&settings, shard.config.durability)?;
        let was_kept = shard.rooms.get(slot).ok_or(Refusal::UnknownRoom)?.is_on_disk();
        if keeping.keeps_chat() && !was_kept {
            shard.acks.check().map_err(|_| Refusal::StorageUnavailable)?;
        }
        if keeping.keeps_chat() != was_kept {
            // Publications accepted so far are kept under the earlier settings.
            shard.seal_now(slot, now);
        }
        shard.rooms.get_mut(slot).expect("just found").configure(settings, &shard.config);
        match (was_kept, keeping.keeps_chat()) {
            (false, true) => self.begin_to_keep(slot, now, keeping),
            (true, false) => self.end_keeping(slot, now),
            _ => shard.announce(slot),
        }
        Ok(())
    }

    fn begin_to_keep(&mut self, slot: u32, now: Now, keeping: Keeping) {
        let shard = &mut *self.0;
        let room = shard.rooms.get_mut(slot).expect("configured");
        if room.is_in_log() {
            room.wake(now, &shard.config, shard.seed);
        }
        room.keeping = keeping;
        if let Some(live) = &mut room.live {
            let here = live.next_offset;
            let previous = std::mem::take(&mut live.disk.previous);
            live.disk =
                Disk { synced_offset: here, since_offset: here, oldest_offset: here, unsynced: 0, previous };
        }
        shard.announce(slot);
        self.keep_state(slot, now);
    }

    /// The log gets a room's whole state, and whatever else waits.
    fn keep_state(&mut self, slot: u32, now: Now) {
        let shard = &mut *self.0;
        let room = shard.rooms.get_mut(slot).expect("configured");
        if let Some(live) = &mut room.live {
            live.state.restate();
            if live.state.is_changed() {
                live.plan_seal(now.us, &shard.config, &mut shard.ticks);
            }
        }
        shard.seal_now(slot, now);
        shard.rooms.arm(slot, &shard.config);
    }

    fn end_keeping(&mut self, slot: u32, now: Now) {
        let shard = &mut *self.0;
        let room = shard.rooms.get_mut(slot).expect("configured");
        let (name, epoch) = (room.name.clone(), room.epoch);
        // Live, so that it is removed as other rooms in memory are.
        room.wake(now, &shard.config, shard.seed);
        let in_memory = shard.acks.in_memory();
        if std::mem::replace(&mut room.keeping, in_memory).is_announced() {
            shard.acks.push(Entry::Removed { room: name, epoch });
        }
        if in_memory.keeps_head() {
            shard.announce(slot);
            return self.keep_state(slot, now);
        }
        shard.rooms.arm(slot, &shard.config);
    }

    /// The sealed state: what a viewer that comes now is shown.
    fn state(&self, name: &str) -> Result<AdminAnswer, Refusal> {
        let room = self.0.rooms.get(self.find(name)?).ok_or(Refusal::UnknownRoom)?;
        let owned = |(key, value): (&str, &Bytes)| (key.to_owned(), value.to_vec());
        let (version, entries) = match (&room.live, &room.dormant) {
            (Some(live), _) => (live.state.sealed_version(), live.state.said().map(owned).collect()),
            (None, Some(dormant)) => {
                let entries = dormant.state.iter().map(|(key, value)| owned((key, value)));
                (dormant.state_version, entries.collect())
            }
            (None, None) => (0, Vec::new()),
        };
        Ok(AdminAnswer::State { version, entries })
    }

    fn info(&self, slot: u32) -> Result<RoomInfo, Refusal> {
        let room = self.0.rooms.get(slot).ok_or(Refusal::UnknownRoom)?;
        let (alias, live) = (self.0.rooms.alias(slot), room.live.as_ref());
        let next_offset = room.next_offset();
        let in_memory = self.0.log.oldest_offset(alias).unwrap_or(next_offset);
        Ok(RoomInfo {
            name: room.name.to_string(),
            alias,
            epoch: room.epoch,
            phase: room.phase,
            next_offset,
            oldest_offset: room.disk().map_or(in_memory, |disk| disk.oldest_offset.min(in_memory)),
            viewers: live.map_or(0, |live| live.viewers.total()),
            history_bytes: self.0.log.bytes(alias) as u64,
            state_version: match (live, &room.dormant) {
                (Some(live), _) => live.state.sealed_version(),
                (None, dormant) => dormant.as_ref().map_or(0, |dormant| dormant.state_version),
            },
            tick_ms: self.tick_us(room).div_ceil(1000),
            settings: room.settings(),
            durability: room.durability(),
        })
    }

    /// The room's present tick.
    fn tick_us(&self, room: &Room) -> u64 {
        match &room.live {
            Some(live) => self.0.ticks.tick_us(live.viewers.members(), live.bounds),
            None => TickBounds::new(&self.0.config, &room.settings()).min_us,
        }
    }

    fn count(&self, now: Now) -> Vec<(&'static str, u64)> {
        let live = || self.0.rooms.iter().filter_map(|(_, room)| room.live.as_ref());
        let is_busy = |live: &Live| live.sealed_us.is_some_and(|us| us + BUSY_US >= now.us);
        let busy = || live().filter(|live| is_busy(live));
        let mut list = vec![
            ("rooms", self.0.rooms.len() as u64),
            ("rooms_live", live().count() as u64),
            ("viewers", live().map(|live| live.viewers.total()).sum()),
            ("history_bytes", self.0.log.bytes_total() as u64),
            ("state_bytes", self.0.state_bytes as u64),
            ("rooms_busy", busy().count() as u64),
            ("largest_tick_us", busy().map(|live| live.tick_us).max().unwrap_or(0)),
            ("largest_stretch_permille", self.0.ticks.stretch_permille()),
        ];
        let (held, refused_late) = self.0.acks.counts();
        let (reads, reads_late) = self.0.pages.counts();
        list.extend([
            ("rooms_on_disk", self.0.rooms.iter().filter(|(_, room)| room.is_on_disk()).count() as u64),
            ("answers_held", held),
            ("answers_late", refused_late),
            ("disk_pages", reads),
            ("disk_pages_late", reads_late),
        ]);
        list.extend(self.0.counters.list());
        list
    }
}

fn is_logged(shard: &Shard, info: &RoomInfo) -> bool {
    let slot = shard.rooms.slot(info.alias);
    slot.and_then(|slot| shard.rooms.get(slot)).is_some_and(Room::is_in_log)
}
