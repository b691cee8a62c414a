//! DrainProgress: each client is told when to go, and closed when it has not gone.
//!
//! Why spread: clients that come back at once are a wave for whoever takes them in. The moments are those of
//! the sequence n/φ mod 1 (Weyl's, for the golden ratio), which is even over the whole time and over every
//! part of it, however many clients there are: so the rate of leaving is flat, on each worker and in all, and
//! neighbours in the table, who mostly came together and watch the same room, leave apart. It depends on
//! nothing but the number of the session.
//! Invariants: a session is told once; a connection that was told is closed at its own deadline; what a shard
//! answered before is written before the close.
//! Not here: who decides that the node leaves (`node::drain`), who takes it over (`node::handover`), refusing
//! new connections (`worker`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use grandstand_engine::link::{ConnectionToken, Now};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::{GoAway, ServerFrame};
use grandstand_protocol::random::GOLDEN_STEP;

use super::Audience;
use super::connection::slot;

/// Where the sequences of the workers begin, apart from each other: 2^64 (√2 - 1).
const STEP_OF_WORKER: u64 = 0x6a09_e667_f3bc_c909;

/// Where and when clients go while a node drains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Another node's address; empty for the same one.
    pub where_to: String,
    /// Clients leave evenly over this time.
    pub spread_ms: u32,
    /// A connection is closed so long after its own moment.
    pub grace_ms: u32,
    /// Another process has the sockets: who says hello on a connection that stands is welcomed and sent
    /// there, not refused.
    pub is_handed_over: bool,
}

/// A drain under way.
#[derive(Debug)]
pub(super) struct DrainProgress {
    pub(super) drain: Drain,
    ends_us: u64,
    /// Of the next session that is told.
    moment: u64,
    /// When whom to close, by the number of its token.
    due: BinaryHeap<Reverse<(u64, u64)>>,
}

impl DrainProgress {
    /// After how many milliseconds the next client is to leave: a time within the rest of the spread.
    fn next_after_ms(&mut self, now: Now) -> u32 {
        let left_us = self.ends_us.saturating_sub(now.us);
        let after_us = (u128::from(self.moment) * u128::from(left_us)) >> 64;
        self.moment = self.moment.wrapping_add(GOLDEN_STEP);
        (after_us / 1_000) as u32
    }
}

impl Audience {
    /// Send everybody away: where, and each when. A second drain changes nothing.
    pub fn handle_drain(&mut self, now: Now, drain: &Drain) {
        if self.drain_progress.is_some() {
            return;
        }
        let ends_us = now.us + u64::from(drain.spread_ms) * 1_000;
        let moment = u64::from(self.settings.worker.0).wrapping_mul(STEP_OF_WORKER);
        let leaving = DrainProgress { drain: drain.clone(), ends_us, moment, due: BinaryHeap::new() };
        self.drain_progress = Some(Box::new(leaving));
        for ix in self.connection_slots() {
            if self.connections[ix as usize].session.is_some() {
                self.tell_to_go(now, ix);
            }
        }
    }

    /// The shards take nothing any more: what would be for them is left without an answer, for the client to
    /// say again over its next connection, under the same nonce. What they have answered still goes out.
    pub fn handle_released(&mut self) {
        self.shards.release();
    }

    /// One session's moment; a session that comes while a drain is under way is told in its turn.
    pub(super) fn tell_to_go(&mut self, now: Now, ix: u32) {
        let Some(leaving) = self.drain_progress.as_mut() else { return };
        let after_ms = leaving.next_after_ms(now);
        let deadline_ms = after_ms.saturating_add(leaving.drain.grace_ms);
        let token = self.connections[ix as usize].token(ix);
        leaving.due.push(Reverse((now.us + u64::from(deadline_ms) * 1_000, token.0)));
        let where_to = std::mem::take(&mut leaving.drain.where_to);
        let (detail, to) = ("the node is draining", &*where_to);
        self.send_control(ix, &ServerFrame::GoAway(GoAway { where_to: to, after_ms, deadline_ms, detail }));
        self.drain_progress.as_mut().expect("it was there").drain.where_to = where_to;
    }

    /// A hello that is not welcomed any more: what it is told. `None`: it is.
    pub(super) fn turned_down(&self) -> Option<String> {
        let drain = &self.drain_progress.as_ref()?.drain;
        (!drain.is_handed_over)
            .then(|| format!("the node is draining {}", drain.where_to).trim_end().to_owned())
    }

    /// Close who is still here past its deadline.
    pub(super) fn close_overdue(&mut self, now: Now) {
        while let Some(leaving) = self.drain_progress.as_mut()
            && leaving.due.peek().is_some_and(|Reverse((due_us, _))| *due_us <= now.us)
            && let Some(Reverse((_, token))) = leaving.due.pop()
        {
            let (token, ix) = (ConnectionToken(token), slot(ConnectionToken(token)));
            if self.connections.get(ix as usize).is_some_and(|c| c.is(token)) {
                self.close(ix, CloseCode::GoingAway, "");
            }
        }
    }

    /// When the next one is overdue.
    pub(super) fn next_overdue_us(&self) -> Option<u64> {
        self.drain_progress.as_ref()?.due.peek().map(|Reverse((due_us, _))| *due_us)
    }
}
