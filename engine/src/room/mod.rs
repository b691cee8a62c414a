//! A room: its identity, and a live part from the first join or message on.
//!
//! Why two parts: a node may hold 100,000 rooms of a programme guide, of which a hundred are watched. A
//! dormant room is its name, epoch and phase. Lanes, windows and counts are made when somebody joins or
//! speaks.
//! Invariants: `next_seq` and `next_offset` only grow within an epoch. A room has a time to seal exactly
//! while something waits. Batch times never decrease, even when the wall clock is set back.
//! Not here: sealing and answering (`shard`), the log (`log`).

pub(crate) mod authors;
pub(crate) mod chat;
mod epochs;
pub(crate) mod judge;
mod keeping;
mod nonces;
pub(crate) mod pacing;
pub(crate) mod removals;
pub(crate) mod seal;
pub(crate) mod show;
mod slow_mode;
pub(crate) mod staff;
pub(crate) mod state;
mod tallies;
pub(crate) mod tick;
mod viewers;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use grandstand_protocol::frame::{Durability, Phase};

pub(crate) use self::epochs::Epochs;
pub(crate) use self::keeping::Keeping;
use crate::config::ShardConfig;
use crate::link::{Lineage, Now, PersonId, RoomSettings};
use crate::log::RoomEntry;
use crate::moderation::Moderation;
use crate::moderation::modes::{self, Modes};
use crate::room::authors::Authors;
use crate::room::chat::Chat;
use crate::room::nonces::Nonces;
use crate::room::pacing::Pacing;
use crate::room::removals::Removals;
use crate::room::slow_mode::SlowMode;
use crate::room::staff::Staff;
use crate::room::state::{RESERVED_PREFIX, SLOW_MODE_KEY, State, VIEWERS_KEY};
use crate::room::tallies::Tallies;
use crate::room::tick::{TickBounds, Ticks};
use crate::room::viewers::Viewers;

/// How long a room that holds nothing is kept after everybody has left. People who lose their connection
/// together are back by then, and find another epoch of an empty room if they are not.
const EMPTY_MS: u64 = 30_000;

/// How a room was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// By the first join: it is removed after everybody has left.
    FirstUse,
    /// By an operator: it stays.
    Operator,
}

impl Disk {
    /// Does the message at an offset have to be synced, and is it not synced yet?
    pub(crate) fn is_on_its_way(&self, offset: u64) -> bool {
        offset >= self.synced_offset
    }

    /// Was the message at an offset published while the room was kept in memory only?
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
    /// The dormant part of a room in the durable log.
    pub(crate) dormant: Option<Box<Dormant>>,
    pub(crate) phase: Phase,
    pub(crate) origin: Origin,
    /// The room's own settings; most rooms have none.
    pub(crate) settings: Option<Box<RoomSettings>>,
    pub(crate) keeping: Keeping,
    /// On whose account it was made.
    pub(crate) opener: Account,
}

/// Who opened a room, in the four bytes that a dormant room has left: a fold of the person's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Account(u32);

impl Account {
    /// That of operators and bridges, which has no bound.
    pub(crate) const NODE: Account = Account(0);

    /// That of a person.
    pub(crate) fn of(person: PersonId) -> Account {
        if person == PersonId::NODE {
            Account::NODE
        } else {
            Account((((person.0 >> 32) ^ person.0) as u32).max(1))
        }
    }
}

/// What a dormant room in the durable log still remembers, so that it goes on at the same position.
#[derive(Debug)]
pub(crate) struct Dormant {
    pub(crate) next_seq: u64,
    pub(crate) next_offset: u64,
    /// 0: unknown.
    pub(crate) time_ms: u64,
    pub(crate) disk: Disk,
    pub(crate) state: Box<[(Box<str>, Bytes)]>,
    pub(crate) state_version: u64,
    /// Its chat begins anew here, in an epoch of its own: nothing of it was forgotten.
    pub(crate) begins_anew: bool,
}

/// The state of a room's part of the durable log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    /// Offsets before this one are synced, or were acknowledged as kept in memory. Of a room whose head alone
    /// is in the log: the next offset that its description there has.
    pub(crate) synced_offset: u64,
    /// Offsets before this one were published while the room was kept in memory only.
    pub(crate) since_offset: u64,
    /// First offset that is kept.
    pub(crate) oldest_offset: u64,
    /// Batches that were pushed and are not synced yet.
    pub(crate) unsynced: u32,
    /// See [`crate::log::StoredRoom::previous`].
    pub(crate) previous: Lineage,
}

/// The live part of a room.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) chat: Chat,
    pub(crate) state: State,
    pub(crate) tallies: Tallies,
    pub(crate) nonces: Nonces,
    pub(crate) slow_mode: SlowMode,
    pub(crate) viewers: Viewers,
    pub(crate) staff: Staff,
    /// Who said what is in memory.
    pub(crate) authors: Authors,
    /// What moderators did here, if anything.
    pub(crate) moderation: Option<Box<Moderation>>,
    /// The modes that are on, if any.
    pub(crate) modes: Option<Box<Modes>>,
    /// Valid while the room is in the durable log.
    pub(crate) disk: Disk,
    /// Present while the room is paced.
    pub(crate) pacing: Option<Box<Pacing>>,
    pub(crate) next_seq: u64,
    pub(crate) next_offset: u64,
    pub(crate) bounds: TickBounds,
    /// Time between two batches, as it was planned last.
    pub(crate) tick_us: u64,
    /// Time of the last batch with chat; before the first, the time at which the room became live.
    pub(crate) time_ms: u64,
    /// The latest time that an answer gave for an accepted publication; the time of its batch is not earlier.
    pub(crate) accepted_ms: u64,
    /// When it sealed last.
    pub(crate) sealed_us: Option<u64>,
    /// When it seals next.
    pub(crate) seal_due_us: Option<u64>,
    /// When anybody last joined, left, spoke or reacted.
    pub(crate) active_us: u64,
    /// The time for which its timer is armed.
    pub(crate) armed_us: Option<u64>,
    /// When the room looks at the times of its show next.
    pub(crate) show_due_us: Option<u64>,
    /// The phase that its show had at the last look, and until when.
    pub(crate) show_phase: Option<(Phase, u64)>,
    /// Until when the phase lasts, milliseconds since 1970; 0: that is not known.
    pub(crate) until_ms: u64,
    /// It is in the list of rooms that were empty when everybody left.
    pub(crate) is_listed_empty: bool,
}

impl Room {
    /// The live part, made now if there is none.
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

    /// Is its chat kept in the durable log?
    pub(crate) fn is_on_disk(&self) -> bool {
        self.keeping.keeps_chat()
    }

    /// Are its description and its state kept in the durable log, whatever becomes of its chat?
    pub(crate) fn is_in_log(&self) -> bool {
        self.keeping.keeps_head()
    }

    /// Has anything happened that the next owner of its shard must know?
    pub(crate) fn is_worth_announcing(&self) -> bool {
        self.is_on_disk() || (self.is_in_log() && !self.is_silent())
    }

    /// Does the log, which keeps its head alone, not know how far its chat went by now?
    pub(crate) fn is_ahead_of_head(&self) -> bool {
        let dormant = self.dormant.as_ref().map(|dormant| dormant.disk.synced_offset);
        let noted = self.live.as_ref().map(|live| live.disk.synced_offset).or(dormant);
        self.is_in_log() && !self.is_on_disk() && noted.is_some_and(|noted| noted != self.next_offset())
    }

    /// Must it be announced before what waits in it is sealed? Chat that is not kept does not wait for a log
    /// that accepts nothing.
    pub(crate) fn must_announce(&self, log_accepts: bool) -> bool {
        let says = |live: &Live| {
            live.state.is_to_keep() || live.has_acts() || (live.chat.pending() > 0 && log_accepts)
        };
        let is_due = self.is_on_disk() || self.live.as_deref().is_some_and(says);
        self.is_in_log() && !self.keeping.is_announced() && is_due
    }

    /// The durability of messages in this room.
    pub(crate) fn durability(&self) -> Durability {
        self.keeping.durability()
    }

    /// Next offset.
    pub(crate) fn next_offset(&self) -> u64 {
        let dormant = self.dormant.as_ref().map_or(0, |dormant| dormant.next_offset);
        self.live.as_ref().map_or(dormant, |live| live.next_offset)
    }

    /// The state of its part of the durable log.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        let dormant = self.dormant.as_ref().map(|dormant| &dormant.disk);
        self.live.as_ref().map(|live| &live.disk).or(dormant).filter(|_| self.is_on_disk())
    }

    /// See [`Self::disk`].
    pub(crate) fn disk_mut(&mut self) -> Option<&mut Disk> {
        let dormant = self.dormant.as_mut().map(|dormant| &mut dormant.disk);
        self.live.as_mut().map(|live| &mut live.disk).or(dormant)
    }

    /// The room's description for the durable log.
    pub(crate) fn entry(&self, slot: u32) -> RoomEntry {
        RoomEntry {
            slot: Some(slot),
            room: self.name.clone(),
            epoch: self.epoch,
            next_offset: self.next_offset(),
            is_operators: self.origin == Origin::Operator,
            is_head: self.is_in_log() && !self.is_on_disk(),
            phase: self.phase,
            settings: self.settings(),
        }
    }

    /// May the room be removed: it was made on first use, and nothing of it is kept?
    pub(crate) fn is_forgettable(&self) -> bool {
        let is_empty =
            |dormant: &Dormant| dormant.state.is_empty() && dormant.disk.oldest_offset == dormant.next_offset;
        let is_live_empty =
            |live: &Live| live.state.is_untouched() && live.disk.oldest_offset == live.next_offset;
        self.origin == Origin::FirstUse
            && self.dormant.as_deref().is_none_or(is_empty)
            && self.live.as_deref().is_none_or(is_live_empty)
    }

    /// Does the room hold nothing that anybody would miss? It was made on first use, nobody is in it, and
    /// nothing was ever said.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_silent() && self.live.as_deref().is_none_or(|live| live.viewers.is_unfollowed())
    }

    /// The same, whoever is in it.
    fn is_silent(&self) -> bool {
        let is_silent = |live: &Live| live.free_offset() == 0 && live.state.is_unsaid();
        self.origin == Origin::FirstUse
            && matches!(self.phase, Phase::Open | Phase::PreShow)
            && self.settings.is_none()
            && self.next_offset() == 0
            && self.dormant.as_deref().is_none_or(|dormant| dormant.state.is_empty())
            && self.live.as_deref().is_none_or(is_silent)
    }

    /// What is removed in it.
    pub(crate) fn removals(&self) -> Cow<'_, Removals> {
        match (&self.live, &self.dormant) {
            (Some(live), _) => match &live.moderation {
                Some(moderation) => Cow::Borrowed(&moderation.removals),
                None => Cow::Owned(Removals::default()),
            },
            (None, Some(dormant)) => {
                Cow::Owned(Removals::restored(dormant.state.iter().map(|(key, value)| (&**key, value))))
            }
            (None, None) => Cow::Owned(Removals::default()),
        }
    }

    /// Bytes of its state.
    pub(crate) fn state_bytes(&self) -> usize {
        let dormant =
            self.dormant.as_ref().map_or(0, |d| state::bytes_of(d.state.iter().map(|(k, v)| (k, v))));
        self.live.as_ref().map_or(dormant, |live| live.state.bytes())
    }

    /// The settings that an operator gave it.
    pub(crate) fn settings(&self) -> RoomSettings {
        self.settings.as_deref().copied().unwrap_or_default()
    }

    /// Replace all its settings.
    pub(crate) fn configure(&mut self, settings: RoomSettings, config: &ShardConfig) {
        self.settings = (!settings.is_empty()).then(|| Box::new(settings));
        if let Some(live) = &mut self.live {
            live.bounds = TickBounds::new(config, &settings);
        }
    }

    /// Is the room paced now, and at how many messages per second? Its pacing memory is made when pacing
    /// begins. It is removed when the audience falls below half of the threshold, so that one viewer who
    /// leaves and returns does not clear it.
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

    /// When the room's next action is due.
    pub(crate) fn due_us(&self, config: &ShardConfig) -> Option<u64> {
        let live = self.live.as_ref()?;
        let viewers_us = live.viewers.due_us(config.viewers_every_ms.saturating_mul(1000));
        [live.seal_due_us, viewers_us, live.show_due_us, self.idle_due_us(config)].into_iter().flatten().min()
    }

    /// When the room is removed or becomes dormant, if nothing happens. A room made by an operator becomes
    /// dormant only if it has no messages, so that no position in it can be lost; one whose head is in the
    /// log always. A room on disk becomes dormant whoever made it, once it is synced completely and its
    /// nonces are forgotten.
    pub(crate) fn idle_due_us(&self, config: &ShardConfig) -> Option<u64> {
        let live = self.live.as_ref()?;
        let may_end = match self.origin {
            _ if self.is_on_disk() => live.viewers.is_unfollowed() && live.disk.unsynced == 0,
            Origin::FirstUse => true,
            Origin::Operator if self.is_in_log() => live.viewers.is_unfollowed(),
            Origin::Operator => live.is_unused(),
        };
        let rests = self.is_on_disk() || (self.is_in_log() && self.origin == Origin::Operator);
        let window_ms = if rests { config.nonce_window_ms } else { 0 };
        let idle_ms =
            if self.is_empty() { config.idle_ms.min(EMPTY_MS) } else { config.idle_ms.max(window_ms) };
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
            staff: Staff::default(),
            authors: Authors::new(seed),
            moderation: None,
            modes: None,
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
            show_due_us: None,
            show_phase: None,
            until_ms: 0,
            is_listed_empty: false,
        }
    }

    /// Go on at the position of a dormant room.
    fn go_on(&mut self, now: Now, dormant: Dormant) {
        let slow_ms = dormant.state.iter().find(|(key, _)| &**key == SLOW_MODE_KEY);
        if let Some(interval_ms) = slow_ms.and_then(|(_, digits)| milliseconds(digits)) {
            self.slow_mode.set_interval_ms(interval_ms);
        }
        (self.next_seq, self.next_offset) = (dormant.next_seq, dormant.next_offset);
        if dormant.begins_anew {
            self.nonces.begin(dormant.next_offset);
        } else {
            self.nonces.go_on(dormant.next_offset, dormant.time_ms, now);
        }
        if dormant.time_ms > 0 {
            self.time_ms = dormant.time_ms;
        }
        self.disk = dormant.disk;
        self.state = State::restored(dormant.state, dormant.state_version);
        self.remember_moderation();
    }

    /// What the hidden state says of moderation, after the state was restored.
    pub(crate) fn remember_moderation(&mut self) {
        self.moderation = Moderation::restored(self.state.hidden());
        self.modes = Modes::of(self.state.said());
    }

    /// Does a seal have to do with moderation?
    pub(crate) fn has_acts(&self) -> bool {
        self.moderation.as_ref().is_some_and(|moderation| !moderation.waiting.is_empty())
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
            begins_anew: false,
        }
    }

    /// Something waits: seal at the next tick. With a leading edge, a room that was quiet for a tick seals at
    /// once.
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

    /// The time at which a publication is accepted now. The next batch's time is not earlier, even if the
    /// wall clock is set back.
    pub(crate) fn accept_ms(&mut self, unix_ms: u64) -> u64 {
        self.accepted_ms = unix_ms.max(self.time_ms).max(self.accepted_ms);
        self.accepted_ms
    }

    /// The offset of the next publication.
    pub(crate) fn free_offset(&self) -> u64 {
        self.next_offset + self.chat.pending() as u64
    }

    fn is_unused(&self) -> bool {
        self.next_offset == 0 && self.state.is_untouched() && self.viewers.is_unfollowed()
    }
}

/// Parse the value of [`SLOW_MODE_KEY`]: decimal digits, at most a day.
pub(crate) fn milliseconds(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let ms = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    (ms <= slow_mode::INTERVAL_MS_MAX).then_some(ms)
}

/// Check a change that an operator makes to one of the node's own keys.
///
/// # Errors
/// A sentence that says what was given and what was expected.
pub fn check_reserved(key: &str, value: Option<&[u8]>) -> Result<(), String> {
    match (key, value) {
        (VIEWERS_KEY, _) => Err(format!("{VIEWERS_KEY} is the viewer count: only the node sets it")),
        (SLOW_MODE_KEY, Some(digits)) if milliseconds(digits).is_none() => Err(format!(
            "got {:?} for {SLOW_MODE_KEY}, expected milliseconds as digits, from 0 to {}",
            String::from_utf8_lossy(&digits[..digits.len().min(40)]),
            slow_mode::INTERVAL_MS_MAX
        )),
        (SLOW_MODE_KEY, _) => Ok(()),
        (_, Some(value)) if modes::KEYS.contains(&key) && !modes::is_value(value) => Err(format!(
            "got {:?} for {key}, expected 1 or 0",
            String::from_utf8_lossy(&value[..value.len().min(40)])
        )),
        _ if modes::KEYS.contains(&key) => Ok(()),
        _ if key.starts_with(RESERVED_PREFIX) => {
            let modes = modes::KEYS.join(", ");
            let expected = format!(
                "keys that begin with {RESERVED_PREFIX} are reserved: you can set {SLOW_MODE_KEY}, {modes}"
            );
            Err(format!("got the key {key:?}; {expected}"))
        }
        _ => Ok(()),
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
    fn reserved_keys_take_what_they_mean_and_nothing_else() {
        let slow = |value: &[u8]| check_reserved(SLOW_MODE_KEY, Some(value));
        for good in ["0", "5000", "0005", "86400000"] {
            assert_eq!(slow(good.as_bytes()), Ok(()), "{good}");
        }
        let bad: [&[u8]; 11] = [
            b"",
            b" 5",
            b"5 ",
            b"+5",
            b"-1",
            b"5.0",
            b"5s",
            b"0x10",
            b"86400001",
            b"99999999999999999999999",
            b"\xff",
        ];
        for bad in bad {
            let fault = slow(bad).unwrap_err();
            assert!(fault.contains("from 0 to 86400000"), "{fault}");
        }
        assert_eq!(check_reserved(SLOW_MODE_KEY, None), Ok(()), "removing it returns to the node's");
        for key in ["gs.viewers", "gs.slow", "gs.slow_s", "gs."] {
            assert!(check_reserved(key, Some(b"1")).is_err() && check_reserved(key, None).is_err(), "{key}");
        }
        assert_eq!(check_reserved("pinned", Some(b"")), Ok(()));
    }
}
