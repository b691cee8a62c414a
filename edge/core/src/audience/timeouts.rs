//! Timeouts of an audience: silent connections, and reactions and counts that are due.
//!
//! Why in one place: a walk over all connections is dear, so it is made once a second for all of this.

use grandstand_engine::link::Now;
use grandstand_protocol::close::CloseCode;

use super::reattach::Attachments;
use super::subscriptions::Subscriptions;
use super::{Audience, seconds};

/// Connections are looked over this often: timeouts are seconds long, and a look costs nanoseconds a
/// connection.
const SWEEP_US: u64 = 1_000_000;

impl Audience {
    /// Do what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        let subscriptions = &mut self.subscriptions;
        subscriptions.shards.flush();
        // While shards are full, reactions and counts add up here, where they need no more room.
        if subscriptions.shards.deferred() == 0 {
            let (tally_us, recount_us) =
                (subscriptions.settings.tally_flush_ms * 1000, subscriptions.settings.recount_ms * 1000);
            for key in subscriptions.rooms.reacted.take_due(now.us, tally_us) {
                subscriptions.flush_tallies(key);
            }
            for key in subscriptions.rooms.recount.take_due(now.us, recount_us) {
                subscriptions.flush_recount(key);
            }
        }
        super::drain::close_overdue(self, now);
        self.end_expired(now);
        if now.us >= self.sweep_us {
            self.sweep_us = now.us + SWEEP_US;
            self.sweep(now);
            Attachments(&mut self.subscriptions).handle_sweep();
            self.subscriptions.claim_uncounted();
        }
    }

    /// When [`Self::handle_timeout`] is due next, in microseconds of the monotonic clock.
    pub fn poll_timeout(&self) -> u64 {
        let mut due = self.sweep_us;
        let Subscriptions { shards, rooms, .. } = &self.subscriptions;
        let overdue_us = self.drain_progress.as_ref().and_then(|drain| drain.next_overdue_us());
        for other in [rooms.reacted.due_us(), rooms.recount.due_us(), overdue_us, self.endings.due_us()] {
            due = other.map_or(due, |other| due.min(other));
        }
        // A shard that was full empties within its tick.
        if shards.deferred() == 0 { due } else { 0 }
    }

    fn sweep(&mut self, now: Now) {
        let Subscriptions { settings, connections, .. } = &mut self.subscriptions;
        let silence_s = settings.silence_ms.div_ceil(1000) as u32;
        let hello_s = settings.first_frame_timeout_ms.div_ceil(1000) as u32;
        let now_s = seconds(now);
        let mut ended = Vec::new();
        connections.counters.lagging = connections.slab.iter().filter(|(_, c)| c.blocked).count() as u64;
        for (ix, connection) in &connections.slab {
            let quiet_s = now_s.saturating_sub(connection.heard_s);
            match &connection.session {
                _ if connection.closing => {}
                None if quiet_s > hello_s => ended.push((ix as u32, CloseCode::HelloTimeout)),
                Some(_) if quiet_s > silence_s => ended.push((ix as u32, CloseCode::HeartbeatTimeout)),
                _ => {}
            }
        }
        for (ix, code) in ended {
            self.subscriptions.close(ix, code, "");
        }
    }
}
