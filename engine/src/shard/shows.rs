//! Shows: a shard's rooms follow the times of their shows.
//!
//! Invariants: a room asks its calendar when somebody comes, when a phase ends, when an operator says that
//! times have changed, and at least once a minute while people are in it, since the wall clock may be set.
//! A phase is set when the show's own phase changes, so what an operator set holds until then.
//! Not here: the phases of a show (`room::show`).

use grandstand_protocol::frame::Phase;
use grandstand_protocol::refusal::Refusal;

use super::Shard;
use crate::link::{Now, Output};
use crate::room::show::Stage;

/// The longest time between two looks at the calendar, so that a clock that is set, and times that changed
/// without a word, take effect.
const LOOK_EVERY_MS: u64 = 60_000;

/// A shard's rooms as rooms of shows.
pub(super) struct Shows<'a>(pub(super) &'a mut Shard);

impl Shows<'_> {
    /// May this room be made on first use?
    pub(super) fn may_begin(&self, now: Now, name: &str) -> Result<(), Refusal> {
        let is_allowed = match self.0.config.calendar.times(name) {
            Some(times) => matches!(times.stage(now.unix_ms), Stage::Present { .. }),
            None => self.0.config.allows_on_first_use(name),
        };
        if is_allowed { Ok(()) } else { Err(Refusal::UnknownRoom) }
    }

    /// Look up the show of a live room: its phase may have ended. Returns whether the room is still there.
    pub(super) fn follow_show(&mut self, now: Now, slot: u32) -> bool {
        let Some(room) = self.0.rooms.get_mut(slot) else { return false };
        let Some(live) = room.live.as_mut() else { return true };
        live.show_due_us = None;
        let Some(times) = self.0.config.calendar.times(&room.name) else { return true };
        let (phase, until_ms) = match times.stage(now.unix_ms) {
            Stage::Present { phase, until_ms } => (phase, until_ms),
            // It was moved to a later time while people were there.
            Stage::Announced => (Phase::PreShow, times.begins_ms),
            Stage::Gone => {
                self.0.remove(slot, now);
                return false;
            }
        };
        let wait_ms = until_ms.saturating_sub(now.unix_ms).min(LOOK_EVERY_MS);
        live.show_due_us = Some(now.us.saturating_add(wait_ms.saturating_mul(1000)));
        if live.show_phase != Some((phase, until_ms)) {
            live.show_phase = Some((phase, until_ms));
            self.set_phase(now, slot, phase, until_ms);
        }
        self.0.rooms.arm(slot, &self.0.config);
        true
    }

    /// Set the phase of a room, and tell its followers until when it lasts; 0: that is not known.
    pub(super) fn set_phase(&mut self, now: Now, slot: u32, phase: Phase, until_ms: u64) {
        self.0.seal_now(slot, now);
        let alias = self.0.rooms.alias(slot);
        let Some(room) = self.0.rooms.get_mut(slot) else { return };
        let is_new = std::mem::replace(&mut room.phase, phase) != phase;
        if let Some(live) = room.live.as_mut()
            && (std::mem::replace(&mut live.until_ms, until_ms) != until_ms || is_new)
        {
            for worker in live.viewers.followers() {
                self.0.outbox.push(worker, Output::Phase { alias, phase, at_ms: until_ms });
            }
        }
        if is_new {
            self.0.announce(slot);
        }
    }
}
