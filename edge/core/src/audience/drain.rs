//! Draining an audience: each client is told when to go, and closed when it has not gone.
//!
//! Why spread: clients that come back at once are a wave for whoever takes them in. The moments are those of
//! the sequence n/φ mod 1 (Weyl's, for the golden ratio), which is even over the whole time and over every
//! part of it, however many clients there are: so the rate of leaving is flat, on each worker and in all, and
//! neighbours in the table, who mostly came together and watch the same room, leave apart. It depends on
//! nothing but the number of the session.
//! Why heirs: where several nodes can take the clients, each gets a part of them by the same kind of
//! sequence, with another step, so that every part of the time and of the table is divided in the same way.
//! Invariants: a session is told once in a drain; a connection that was told is closed at its own deadline,
//! unless the drain is over before; what a shard
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

/// Where the sequences of the workers begin, apart from each other: 2^64 (√2 - 1).
const STEP_OF_WORKER: u64 = 0x6a09_e667_f3bc_c909;

/// The step of the sequence by which clients are given to heirs: 2^64 / ρ², of the plastic number ρ. With the
/// golden step of the moments it is even in both dimensions.
const STEP_OF_HEIRS: u64 = 0x91e1_0da5_c79e_7b1d;

/// A node that takes a part of the clients of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heir {
    /// Its address.
    pub where_to: String,
    /// How many it gets, in proportion to the others.
    pub weight: u32,
}

/// Where and when clients go while a node drains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Another node's address; empty for the same one.
    pub where_to: String,
    /// Nodes among which the clients are divided; none: all go to `where_to`.
    pub heirs: Vec<Heir>,
    /// Clients leave evenly over this time.
    pub spread_ms: u32,
    /// A connection is closed so long after its own moment.
    pub grace_ms: u32,
    /// Another process has the listening sockets: a hello on an established connection is welcomed, and its
    /// client told when to go there, not refused.
    pub is_handed_over: bool,
}

/// A drain under way.
#[derive(Debug)]
pub(super) struct DrainProgress {
    drain: Drain,
    ends_us: u64,
    /// Of the next session that is told.
    moment: u64,
    /// Of the next session that is given to an heir.
    turn: u64,
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

    /// Where the next client is to go.
    fn next_where(&mut self) -> usize {
        let heirs = &self.drain.heirs;
        let all: u64 = heirs.iter().map(|heir| u64::from(heir.weight)).sum();
        let mut at = ((u128::from(self.turn) * u128::from(all)) >> 64) as u64;
        self.turn = self.turn.wrapping_add(STEP_OF_HEIRS);
        let is_its = |heir: &Heir| {
            let is_its = at < u64::from(heir.weight);
            at = at.saturating_sub(u64::from(heir.weight));
            is_its
        };
        heirs.iter().position(is_its).unwrap_or(0)
    }

    /// A connection that is past its deadline, if any.
    fn pop_overdue(&mut self, now: Now) -> Option<ConnectionToken> {
        self.due.peek().filter(|Reverse((due_us, _))| *due_us <= now.us)?;
        let Reverse((_, token)) = self.due.pop()?;
        Some(ConnectionToken(token))
    }

    /// When the next one is overdue.
    pub(super) fn next_overdue_us(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due_us, _))| *due_us)
    }

    /// A hello that is not welcomed any more: what it is told. `None`: it is.
    pub(super) fn turned_down(&self) -> Option<String> {
        let says = || format!("the node is draining {}", self.drain.where_to).trim_end().to_owned();
        (!self.drain.is_handed_over).then(says)
    }
}

impl Audience {
    /// Send everybody away: where, and each when. A second drain changes nothing.
    pub fn handle_drain(&mut self, now: Now, drain: &Drain) {
        if self.drain_progress.is_some() {
            return;
        }
        let ends_us = now.us + u64::from(drain.spread_ms) * 1_000;
        let moment = u64::from(self.subscriptions.settings.worker.0).wrapping_mul(STEP_OF_WORKER);
        let leaving =
            DrainProgress { drain: drain.clone(), ends_us, moment, turn: moment, due: BinaryHeap::new() };
        self.drain_progress = Some(Box::new(leaving));
        for ix in self.subscriptions.connections.slots() {
            if self.subscriptions.connections[ix].session.is_some() {
                self.tell_to_go(now, ix);
            }
        }
    }

    /// The drain is over, and the node goes on: who was told to go goes, or stays; nobody else is told, and
    /// nobody is closed.
    pub fn handle_drain_over(&mut self) {
        self.drain_progress = None;
    }

    /// The shards take nothing any more: requests for them get no answer. The client retries them over its
    /// next connection, under the same nonces. What shards have answered is still sent.
    pub fn handle_released(&mut self) {
        self.subscriptions.shards.release();
    }

    /// One session's moment; a session that comes while a drain is under way is told in its turn.
    pub(super) fn tell_to_go(&mut self, now: Now, ix: u32) {
        let Some(leaving) = self.drain_progress.as_mut() else { return };
        let after_ms = leaving.next_after_ms(now);
        let deadline_ms = after_ms.saturating_add(leaving.drain.grace_ms);
        let token = self.subscriptions.connections[ix].token(ix);
        leaving.due.push(Reverse((now.us + u64::from(deadline_ms) * 1_000, token.0)));
        let heir = leaving.next_where();
        let where_to = leaving.drain.heirs.get(heir).map_or(&*leaving.drain.where_to, |heir| &*heir.where_to);
        let detail = "the node is draining";
        let go_away = GoAway { where_to, after_ms, deadline_ms, detail };
        self.subscriptions.send_control(ix, &ServerFrame::GoAway(go_away));
    }
}

/// Close who is still here past its deadline.
pub(super) fn close_overdue(audience: &mut Audience, now: Now) {
    let Some(leaving) = audience.drain_progress.as_mut() else { return };
    while let Some(token) = leaving.pop_overdue(now) {
        if let Some((ix, _)) = audience.subscriptions.connections.named(token) {
            audience.subscriptions.close(ix, CloseCode::GoingAway, "");
        }
    }
}
