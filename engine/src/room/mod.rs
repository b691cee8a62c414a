//! A room: an identity, and, once anything happens in it, everything that is alive.
//!
//! Why two parts: a node may hold 100,000 rooms of a programme guide of which a hundred are watched. A
//! dormant room is its name, epoch and phase; lanes, windows and counts begin when somebody joins or speaks.
//! Invariants: `next_seq` and `next_offset` only grow within an epoch. A room has a time to seal exactly
//! while something waits. Batch times never go back, even when the wall clock does.
//! Not here: sealing and answering (`shard`), the log (`log`).

pub(crate) mod chat;
pub(crate) mod judge;
mod nonces;
pub(crate) mod pacing;
pub(crate) mod seal;
mod slow_mode;
pub(crate) mod state;
mod tallies;
pub(crate) mod tick;
mod viewers;

use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::{Durability, Phase};
use grandstand_protocol::random::Random;

use crate::config::ShardConfig;
use crate::link::{Lineage, Now, RoomSettings};
use crate::log::RoomEntry;
use crate::room::chat::Chat;
use crate::room::nonces::Nonces;
use crate::room::pacing::Pacing;
use crate::room::slow_mode::SlowMode;
use crate::room::state::{SLOW_MODE_KEY, State};
use crate::room::tallies::Tallies;
use crate::room::tick::{TickBounds, Ticks};
use crate::room::viewers::Viewers;

/// How a room came into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody joined: it goes when everybody has.
    FirstUse,
    /// An operator made it: it stays.
    Operator,
}

/// Is a room in the durable log, and how safe is what that has?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// No.
    Memory,
    /// It will be, from the first batch that has to be kept on: the log took nothing when it was made.
    Unannounced(Durability),
    /// Yes.
    Logged(Durability),
}

impl Disk {
    /// Is what stands at an offset not synced yet, and has to be?
    pub(crate) fn is_on_its_way(&self, offset: u64) -> bool {
        offset >= self.synced_offset
    }

    /// Was what stands at an offset said while the room was kept in memory only?
    pub(crate) fn is_before(&self, offset: u64) -> bool {
        offset < self.since_offset
    }
}

/// A room.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) name: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) live: Option<Box<Live>>,
    /// Of a room on disk, while it is dormant.
    pub(crate) dormant: Option<Box<Dormant>>,
    pub(crate) phase: Phase,
    pub(crate) origin: Origin,
    /// Of its own; none in most rooms.
    pub(crate) settings: Option<Box<RoomSettings>>,
    pub(crate) keeping: Keeping,
}

/// What a dormant room on disk still knows, so that it goes on where it stood.
#[derive(Debug)]
pub(crate) struct Dormant {
    pub(crate) next_seq: u64,
    pub(crate) next_offset: u64,
    /// 0: not known.
    pub(crate) time_ms: u64,
    pub(crate) disk: Disk,
    pub(crate) state: Box<[(Box<str>, Bytes)]>,
    pub(crate) state_version: u64,
}

/// What is known of a room's part of the durable log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    /// Offsets before this one are synced, or were acknowledged as being in memory.
    pub(crate) synced_offset: u64,
    /// Offsets before this one were said while the room was kept in memory only.
    pub(crate) since_offset: u64,
    /// First offset that is kept.
    pub(crate) oldest_offset: u64,
    /// Batches on their way.
    pub(crate) unsynced: u32,
    /// See [`crate::log::StoredRoom::previous`].
    pub(crate) previous: Lineage,
}

/// What a room has once it is alive.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) chat: Chat,
    pub(crate) state: State,
    pub(crate) tallies: Tallies,
    pub(crate) nonces: Nonces,
    pub(crate) slow_mode: SlowMode,
    pub(crate) viewers: Viewers,
    /// Means something while the room is on disk.
    pub(crate) disk: Disk,
    /// While it is paced.
    pub(crate) pacing: Option<Box<Pacing>>,
    pub(crate) next_seq: u64,
    pub(crate) next_offset: u64,
    pub(crate) bounds: TickBounds,
    /// Time between two batches, as it was last planned.
    pub(crate) tick_us: u64,
    /// Time of the last batch with chat; before the first, of coming alive.
    pub(crate) time_ms: u64,
    /// Latest time at which an answer said that a publication was accepted: its batch's time is not before
    /// it.
    pub(crate) accepted_ms: u64,
    /// When it sealed last.
    pub(crate) sealed_us: Option<u64>,
    /// When it seals next.
    pub(crate) seal_due_us: Option<u64>,
    /// When anybody last joined, left, spoke or reacted.
    pub(crate) active_us: u64,
    /// For when its timer stands.
    pub(crate) armed_us: Option<u64>,
}

impl Room {
    /// The live part, which begins now if there is none.
    pub(crate) fn wake(&mut self, now: Now, config: &ShardConfig, seed: u64) -> &mut Live {
        let settings = self.settings();
        let dormant = &mut self.dormant;
        self.live.get_or_insert_with(|| {
            let mut live = Live::new(now, config, &settings, seed);
            if let Some(dormant) = dormant.take() {
                live.go_on(now, *dormant);
            }
            Box::new(live)
        })
    }

    /// Is it kept in the durable log?
    pub(crate) fn is_on_disk(&self) -> bool {
        self.keeping != Keeping::Memory
    }

    /// How safe the room makes what is said in it.
    pub(crate) fn durability(&self) -> Durability {
        match self.keeping {
            Keeping::Memory => Durability::Memory,
            Keeping::Unannounced(level) | Keeping::Logged(level) => level,
        }
    }

    /// Next offset.
    pub(crate) fn next_offset(&self) -> u64 {
        let dormant = self.dormant.as_ref().map_or(0, |dormant| dormant.next_offset);
        self.live.as_ref().map_or(dormant, |live| live.next_offset)
    }

    /// What is known of its part of the durable log.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        let dormant = self.dormant.as_ref().map(|dormant| &dormant.disk);
        self.live.as_ref().map(|live| &live.disk).or(dormant).filter(|_| self.is_on_disk())
    }

    /// See [`Self::disk`].
    pub(crate) fn disk_mut(&mut self) -> Option<&mut Disk> {
        let dormant = self.dormant.as_mut().map(|dormant| &mut dormant.disk);
        self.live.as_mut().map(|live| &mut live.disk).or(dormant)
    }

    /// What the durable log is told of it.
    pub(crate) fn entry(&self, slot: u32) -> RoomEntry {
        RoomEntry {
            slot: Some(slot),
            room: self.name.clone(),
            epoch: self.epoch,
            next_offset: self.next_offset(),
            is_operators: self.origin == Origin::Operator,
            phase: self.phase,
            settings: self.settings(),
        }
    }

    /// Would nobody miss it: it came on first use, and nothing is kept of it?
    pub(crate) fn is_forgettable(&self) -> bool {
        let is_empty =
            |dormant: &Dormant| dormant.state.is_empty() && dormant.disk.oldest_offset == dormant.next_offset;
        let is_live_empty =
            |live: &Live| live.state.is_untouched() && live.disk.oldest_offset == live.next_offset;
        self.origin == Origin::FirstUse
            && self.dormant.as_deref().is_none_or(is_empty)
            && self.live.as_deref().is_none_or(is_live_empty)
    }

    /// What an operator set for it.
    pub(crate) fn settings(&self) -> RoomSettings {
        self.settings.as_deref().copied().unwrap_or_default()
    }

    /// Take settings in place of all before.
    pub(crate) fn configure(&mut self, settings: RoomSettings, config: &ShardConfig) {
        self.settings = (!settings.is_empty()).then(|| Box::new(settings));
        if let Some(live) = &mut self.live {
            live.bounds = TickBounds::new(config, &settings);
        }
    }

    /// Is the room paced now, and at how many messages per second? What it remembers for that begins when it
    /// is first, and goes when half the audience that it takes is gone, so that one who comes and goes does
    /// not wipe it.
    pub(crate) fn pace(&mut self, now: Now, config: &ShardConfig, seed: u64) -> Option<u32> {
        let own = self.settings().pacing_per_s;
        let per_s = own.unwrap_or(config.pacing_per_s);
        let live = self.live.as_mut()?;
        let above = if own.is_some() { 0 } else { config.pacing_above_viewers };
        let viewers = live.viewers.total();
        if per_s > 0 && viewers > above {
            live.pacing.get_or_insert_with(|| Box::new(Pacing::new(per_s, now.us, seed)));
            return Some(per_s);
        }
        if per_s == 0 || viewers <= above / 2 {
            live.pacing = None;
        }
        None
    }

    /// When something is due next.
    pub(crate) fn due_us(&self, config: &ShardConfig) -> Option<u64> {
        let live = self.live.as_ref()?;
        let viewers_us = live.viewers.due_us(config.viewers_every_ms.saturating_mul(1000));
        [live.seal_due_us, viewers_us, self.idle_due_us(config)].into_iter().flatten().min()
    }

    /// When the room goes, or goes dormant, if nothing happens. A room made by an operator goes dormant only
    /// if it was never spoken in, so that no position in it can be lost; one on disk goes dormant whoever
    /// made it, once all of it is synced and its nonces are forgotten.
    pub(crate) fn idle_due_us(&self, config: &ShardConfig) -> Option<u64> {
        let live = self.live.as_ref()?;
        let may_end = match self.origin {
            _ if self.is_on_disk() => live.viewers.is_unfollowed() && live.disk.unsynced == 0,
            Origin::FirstUse => true,
            Origin::Operator => live.is_unused(),
        };
        let window_ms = if self.is_on_disk() { config.nonce_window_ms } else { 0 };
        let idle_ms = config.idle_ms.max(window_ms);
        let is_idle =
            config.idle_ms > 0 && may_end && live.viewers.total() == 0 && live.seal_due_us.is_none();
        is_idle.then(|| live.active_us.saturating_add(idle_ms.saturating_mul(1000)))
    }
}

impl Live {
    fn new(now: Now, config: &ShardConfig, settings: &RoomSettings, seed: u64) -> Self {
        let bounds = TickBounds::new(config, settings);
        Live {
            chat: Chat::default(),
            state: State::default(),
            tallies: Tallies::default(),
            nonces: Nonces::new(config.nonces_max, config.nonce_window_ms, seed),
            slow_mode: SlowMode::new(config.slow_mode_ms, seed),
            viewers: Viewers::default(),
            disk: Disk::default(),
            pacing: None,
            next_seq: 0,
            next_offset: 0,
            bounds,
            tick_us: bounds.min_us,
            time_ms: now.unix_ms,
            accepted_ms: 0,
            sealed_us: None,
            seal_due_us: None,
            active_us: now.us,
            armed_us: None,
        }
    }

    /// Go on where a dormant room stood.
    fn go_on(&mut self, now: Now, dormant: Dormant) {
        let slow_ms = dormant.state.iter().find(|(key, _)| &**key == SLOW_MODE_KEY);
        if let Some(interval_ms) = slow_ms.and_then(|(_, digits)| milliseconds(digits)) {
            self.slow_mode.set_interval_ms(interval_ms);
        }
        (self.next_seq, self.next_offset) = (dormant.next_seq, dormant.next_offset);
        self.nonces.go_on(dormant.next_offset, dormant.time_ms, now);
        if dormant.time_ms > 0 {
            self.time_ms = dormant.time_ms;
        }
        self.disk = dormant.disk;
        self.state = State::restored(dormant.state, dormant.state_version);
    }

    /// What the room keeps when it becomes dormant.
    pub(crate) fn rest(&self) -> Dormant {
        let state = self.state.said().map(|(key, value)| (key.into(), value.clone()));
        Dormant {
            next_seq: self.next_seq,
            next_offset: self.next_offset,
            time_ms: self.time_ms,
            disk: self.disk.clone(),
            state: state.collect(),
            state_version: self.state.version(),
        }
    }

    /// Something waits: seal at the next tick. With a leading edge that is at once, if the room was quiet for
    /// a tick.
    pub(crate) fn plan_seal(&mut self, now_us: u64, config: &ShardConfig, ticks: &mut Ticks) {
        if self.seal_due_us.is_some() {
            return;
        }
        let spacing_us = self.pacing.as_ref().map_or(0, |pacing| pacing.spacing_us());
        let tick_us = ticks.plan_us(self.viewers.members(), self.bounds).max(spacing_us);
        self.tick_us = tick_us;
        let due_us = match self.sealed_us {
            _ if !config.leading_edge => now_us.saturating_add(tick_us),
            None => now_us,
            Some(sealed_us) => now_us.max(sealed_us.saturating_add(tick_us)),
        };
        self.seal_due_us = Some(due_us);
    }

    /// The time at which a publication is accepted now; the next batch's time is not before it, whatever the
    /// wall clock does.
    pub(crate) fn accept_ms(&mut self, unix_ms: u64) -> u64 {
        self.accepted_ms = unix_ms.max(self.time_ms).max(self.accepted_ms);
        self.accepted_ms
    }

    /// The offset that the next publication will stand at.
    pub(crate) fn free_offset(&self) -> u64 {
        self.next_offset + self.chat.pending() as u64
    }

    fn is_unused(&self) -> bool {
        self.next_offset == 0 && self.state.is_untouched() && self.viewers.is_unfollowed()
    }
}

/// The value of [`SLOW_MODE_KEY`].
pub(crate) fn milliseconds(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Makes epochs: never 0, and unlike each other over rooms, restarts and seeds.
#[derive(Debug)]
pub(crate) struct Epochs {
    seed: u64,
    made: u64,
}

impl Epochs {
    /// From a shard's seed.
    pub(crate) fn new(seed: u64) -> Self {
        Epochs { seed, made: 0 }
    }

    /// The next one.
    pub(crate) fn make(&mut self, unix_ms: u64) -> u64 {
        self.made += 1;
        let mixed = |n| Random::new(n).next_u64();
        mixed(mixed(self.seed ^ unix_ms).wrapping_add(self.made)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(config: &ShardConfig) -> (Live, Ticks) {
        (Live::new(Now::default(), config, &RoomSettings::default(), 0), Ticks::new(config))
    }

    #[test]
    fn a_quiet_room_seals_at_once_and_a_busy_one_at_its_tick() {
        let config = ShardConfig { tick_ms: 100, ..ShardConfig::for_tests() };
        let (mut live, mut ticks) = live(&config);
        live.plan_seal(50, &config, &mut ticks);
        assert_eq!(live.seal_due_us, Some(50));
        live.plan_seal(60, &config, &mut ticks);
        assert_eq!(live.seal_due_us, Some(50), "planned once");
        (live.seal_due_us, live.sealed_us) = (None, Some(50));
        live.plan_seal(70, &config, &mut ticks);
        assert_eq!(live.seal_due_us, Some(100_050));
        live.seal_due_us = None;
        live.plan_seal(300_000, &config, &mut ticks);
        assert_eq!(live.seal_due_us, Some(300_000));
    }

    #[test]
    fn without_a_leading_edge_a_room_waits_a_tick() {
        let config = ShardConfig { tick_ms: 100, leading_edge: false, ..ShardConfig::for_tests() };
        let (mut live, mut ticks) = live(&config);
        live.plan_seal(50, &config, &mut ticks);
        assert_eq!(live.seal_due_us, Some(100_050));
    }

    #[test]
    fn epochs_differ() {
        let mut all: Vec<u64> = [1, 2]
            .iter()
            .flat_map(|&seed| {
                let mut epochs = Epochs::new(seed);
                (0..1000).map(move |i| epochs.make(i / 10))
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2000);
        assert!(all[0] > 0);
    }
}
