//! What operators ask of a shard.
//!
//! Invariant: before a phase changes or a room goes, what waits in it is sealed, so that nothing accepted
//! before comes after.
//! Not here: requests to all shards (`runtime::admin`), who may ask (edge).

use bytes::Bytes;
use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, rules};

use super::Shard;
use crate::link::{AdminAnswer, AdminRequest, Now, Output, RoomInfo, RoomSettings};
use crate::room::state::{SLOW_MODE_KEY, VIEWERS_KEY};
use crate::room::tick::TickBounds;
use crate::room::{Live, Origin, Room, milliseconds};

/// A room is busy if it sealed so lately: twice the longest tick by default.
const BUSY_US: u64 = 2_000_000;

impl Shard {
    pub(super) fn administer(&mut self, now: Now, request: AdminRequest) -> Result<AdminAnswer, Refusal> {
        match request {
            AdminRequest::Create { room } => self.create(now, &room),
            AdminRequest::Open { room } => self.set_phase(now, &room, Phase::Open),
            AdminRequest::Close { room } => self.set_phase(now, &room, Phase::Closed),
            AdminRequest::Remove { room } => {
                let slot = self.find(&room)?;
                let info = self.info(slot)?;
                self.remove(slot, now);
                Ok(AdminAnswer::Room(info))
            }
            AdminRequest::SetState { room, key, value } => self.operate(now, &room, &key, value),
            AdminRequest::Configure { room, settings } => {
                let slot = self.find(&room)?;
                self.configure(now, slot, settings)?;
                self.info(slot).map(AdminAnswer::Room)
            }
            AdminRequest::List { prefix, after, limit } => {
                let page = self.rooms.page(&prefix, &after).take(limit);
                page.map(|slot| self.info(slot)).collect::<Result<_, _>>().map(AdminAnswer::Rooms)
            }
            AdminRequest::Counters => Ok(AdminAnswer::Counters(self.count(now))),
        }
    }

    fn find(&self, name: &str) -> Result<u32, Refusal> {
        self.rooms.find(name).ok_or(Refusal::UnknownRoom)
    }

    /// Make a room that stays; one that came on first use stays from now on.
    fn create(&mut self, now: Now, name: &str) -> Result<AdminAnswer, Refusal> {
        rules::check_room_name(name, limits::ROOM_NAME_BYTES_MAX)?;
        let found = self.rooms.find(name);
        let is_kept = match found {
            Some(slot) => self.rooms.get(slot).expect("just found").is_on_disk(),
            None => self.is_kept_with(&RoomSettings::default())?,
        };
        if is_kept {
            self.pending_acks.check().map_err(|_| Refusal::StorageUnavailable)?;
        }
        let slot = match found {
            Some(slot) => slot,
            None => self.make(now, name.into(), Origin::Operator)?,
        };
        let room = self.rooms.get_mut(slot).expect("just made");
        if found.is_some() && room.origin != Origin::Operator {
            room.origin = Origin::Operator;
            self.announce(slot);
        }
        self.arm(slot);
        self.info(slot).map(AdminAnswer::Room)
    }

    fn set_phase(&mut self, now: Now, name: &str, phase: Phase) -> Result<AdminAnswer, Refusal> {
        let slot = self.find(name)?;
        self.seal_now(slot, now);
        let alias = self.alias(slot);
        let room = self.rooms.get_mut(slot).expect("just found");
        let is_new = room.phase != phase;
        room.phase = phase;
        if let Some(live) = room.live.as_ref().filter(|_| is_new) {
            for worker in live.viewers.followers() {
                self.outbox.push(worker, Output::Phase { alias, phase, at_ms: now.unix_ms });
            }
        }
        if is_new {
            self.announce(slot);
        }
        self.info(slot).map(AdminAnswer::Room)
    }

    /// Set state as an operator, who may use the node's own keys but for the viewer count.
    fn operate(
        &mut self,
        now: Now,
        name: &str,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<AdminAnswer, Refusal> {
        let slot = self.find(name)?;
        let interval_ms = match (key, &value) {
            (VIEWERS_KEY, _) => return Err(Refusal::Forbidden),
            (SLOW_MODE_KEY, None) => Some(self.config.slow_mode_ms),
            (SLOW_MODE_KEY, Some(digits)) => Some(milliseconds(digits).ok_or(Refusal::BadText)?),
            _ => None,
        };
        self.change_state(now, slot, key.into(), value.map(Bytes::from)).map_err(|refused| refused.0)?;
        let live = self.rooms.get_mut(slot).and_then(|room| room.live.as_mut());
        if let (Some(live), Some(interval_ms)) = (live, interval_ms) {
            live.slow_mode.set_interval_ms(interval_ms);
        }
        if self.rooms.get(slot).is_some_and(Room::is_on_disk) {
            // The operator's answer waits for the disk, so the change must be on its way.
            self.seal_now(slot, now);
        }
        self.arm(slot);
        self.info(slot).map(AdminAnswer::Room)
    }

    fn info(&self, slot: u32) -> Result<RoomInfo, Refusal> {
        let room = self.rooms.get(slot).ok_or(Refusal::UnknownRoom)?;
        let (alias, live) = (self.alias(slot), room.live.as_ref());
        let next_offset = room.next_offset();
        let in_memory = self.log.oldest_offset(alias).unwrap_or(next_offset);
        Ok(RoomInfo {
            name: room.name.to_string(),
            alias,
            epoch: room.epoch,
            phase: room.phase,
            next_offset,
            oldest_offset: room.disk().map_or(in_memory, |disk| disk.oldest_offset.min(in_memory)),
            viewers: live.map_or(0, |live| live.viewers.total()),
            history_bytes: self.log.bytes(alias) as u64,
            state_version: match (live, &room.dormant) {
                (Some(live), _) => live.state.sealed_version(),
                (None, dormant) => dormant.as_ref().map_or(0, |dormant| dormant.state_version),
            },
            tick_ms: self.tick_us(room).div_ceil(1000),
            settings: room.settings(),
            durability: room.durability(),
        })
    }

    /// The tick that a room would have now.
    fn tick_us(&self, room: &Room) -> u64 {
        match &room.live {
            Some(live) => self.ticks.tick_us(live.viewers.members(), live.bounds),
            None => TickBounds::new(&self.config, &room.settings()).min_us,
        }
    }

    fn count(&self, now: Now) -> Vec<(&'static str, u64)> {
        let live = || self.rooms.iter().filter_map(|(_, room)| room.live.as_ref());
        let is_busy = |live: &Live| live.sealed_us.is_some_and(|us| us + BUSY_US >= now.us);
        let busy = || live().filter(|live| is_busy(live));
        let mut list = vec![
            ("rooms", self.rooms.len() as u64),
            ("rooms_live", live().count() as u64),
            ("viewers", live().map(|live| live.viewers.total()).sum()),
            ("history_bytes", self.log.bytes_total() as u64),
            ("rooms_busy", busy().count() as u64),
            ("largest_tick_us", busy().map(|live| live.tick_us).max().unwrap_or(0)),
            ("largest_stretch_permille", self.ticks.stretch_permille()),
        ];
        let (held, refused_late) = self.pending_acks.counts();
        let (reads, reads_late) = self.reads.counts();
        list.extend([
            ("rooms_on_disk", self.rooms.iter().filter(|(_, room)| room.is_on_disk()).count() as u64),
            ("answers_held", held),
            ("answers_late", refused_late),
            ("disk_pages", reads),
            ("disk_pages_late", reads_late),
        ]);
        list.extend(self.counters.list());
        list
    }
}
