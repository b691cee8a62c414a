//! Timeouts of an audience: silent connections, tokens that end, and reactions and counts that are due.
//!
//! Why in one place: a walk over all connections is dear, so it is made once a second for all of this.

use grandstand_engine::link::{Input, Now};
use grandstand_protocol::close::CloseCode;

use super::room::RoomKey;
use super::{Audience, seconds};

/// Connections are looked over this often: timeouts are seconds long, and a look costs nanoseconds a
/// connection.
const SWEEP_US: u64 = 1_000_000;

impl Audience {
    /// Do what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.shards.flush();
        // While shards are full, reactions and counts add up here, where they need no more room.
        let may_submit = self.shards.deferred() == 0;
        if may_submit && !self.reacted.is_empty() && now.us >= self.reacted_flush_us {
            self.reacted_flush_us = now.us + self.settings.tally_flush_ms * 1000;
            for key in std::mem::take(&mut self.reacted) {
                self.flush_tallies(key);
            }
        }
        if may_submit && !self.recount.is_empty() && now.us >= self.recount_flush_us {
            self.recount_flush_us = now.us + self.settings.recount_ms * 1000;
            for key in std::mem::take(&mut self.recount) {
                self.flush_recount(key);
            }
        }
        self.close_overdue(now);
        if now.us >= self.sweep_us {
            self.sweep_us = now.us + SWEEP_US;
            self.sweep(now);
        }
    }

    /// When [`Self::handle_timeout`] is due next, in microseconds of the monotonic clock.
    pub fn poll_timeout(&self) -> u64 {
        let mut due = self.sweep_us;
        if !self.reacted.is_empty() {
            due = due.min(self.reacted_flush_us);
        }
        if !self.recount.is_empty() {
            due = due.min(self.recount_flush_us);
        }
        due = self.next_overdue_us().map_or(due, |overdue| due.min(overdue));
        // A shard that was full empties within its tick.
        if self.shards.deferred() == 0 { due } else { 0 }
    }

    pub(super) fn flush_tallies(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key.0 as usize) else { return };
        let Some(alias) = room.attached.as_ref().map(|a| a.alias).filter(|_| !room.tallies.is_empty()) else {
            return;
        };
        let tallies = std::mem::take(&mut room.tallies);
        self.shards.submit_surely(alias, Input::React { alias, tallies });
    }

    fn flush_recount(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key.0 as usize) else { return };
        if !std::mem::take(&mut room.is_recount_due) {
            return;
        }
        let Some(alias) = room.attached.as_ref().map(|a| a.alias) else { return };
        let (worker, count) = (self.settings.worker, room.members.len() as u32);
        self.shards.submit_surely(alias, Input::Viewers { worker, alias, count });
    }

    fn sweep(&mut self, now: Now) {
        let silence_s = self.settings.silence_ms.div_ceil(1000) as u32;
        let hello_s = self.settings.first_frame_timeout_ms.div_ceil(1000) as u32;
        let now_s = seconds(now);
        let mut ended = Vec::new();
        self.counters.lagging = self.connections.iter().filter(|(_, c)| c.blocked).count() as u64;
        for (ix, connection) in &self.connections {
            let quiet_s = now_s.saturating_sub(connection.heard_s);
            match &connection.session {
                _ if connection.closing => {}
                None if quiet_s > hello_s => ended.push((ix as u32, CloseCode::HelloTimeout)),
                Some(_) if quiet_s > silence_s => ended.push((ix as u32, CloseCode::HeartbeatTimeout)),
                Some(s) if s.expires_unix_ms != 0 && s.expires_unix_ms < now.unix_ms => {
                    ended.push((ix as u32, CloseCode::TokenExpired));
                }
                _ => {}
            }
        }
        for (ix, code) in ended {
            self.close(ix, code, "");
        }
    }
}
