//! Moves of a shard: an operator's order, a drain, or equal numbers for all nodes.
//!
//! Why the first shard's stand decides for all: placement is of the node, and whoever decides alone never
//! contradicts itself. It notes its wish on the board, and the stand of that shard carries it out.
//! Invariants: a move that cannot be done is refused before anything stops. While the node drains nothing is
//! moved for equal numbers.
//! Not here: where shards belong (`placement`), the hand-over itself (`seat`).

use grandstand_engine::link::Now;

use super::board::{MoveCause, Notice};
use super::turn::UNSOUND_MS;
use super::{ClusterStand, own};
use crate::id::NodeId;
use crate::order::{HandOverRefusal, Outcome};
use crate::placement::{drain_to, may_hand_over};
use crate::stand::ToWire;
use crate::time::OwnTime;

impl ClusterStand {
    /// What is due: a drain, and what placement wants.
    pub(super) fn move_shards(&mut self, now: Now) {
        let (at, shard) = (own(now), self.config.shard);
        let gives_away = self.gives_away();
        self.seat.set_draining(gives_away);
        self.membership.set_draining(gives_away);
        self.wish(at);
        let wished = self.board.take_wish(shard).filter(|_| !gives_away);
        if !self.acts(at) {
            return;
        }
        let reports = self.board.reports();
        // A disk that fails for a moment is no reason to move.
        let is_unsound = self.unsound_since.is_some_and(|since| at.since(since) >= UNSOUND_MS);
        if gives_away || is_unsound {
            let cause = if gives_away { MoveCause::Drained } else { MoveCause::Rebalanced };
            if let Some(heir) = drain_to(at, &self.membership, &reports, shard) {
                self.begin_move(now, heir, cause);
            }
        } else if let Some(to) = wished
            && may_hand_over(at, &self.membership, &reports, (shard, to)).is_ok()
        {
            self.begin_move(now, to, MoveCause::Rebalanced);
        }
    }

    fn gives_away(&self) -> bool {
        self.is_ending || self.is_draining
    }

    /// Which shard of this node should move, if this stand is the one that says so.
    fn wish(&mut self, at: OwnTime) {
        let (reports, gives_away) = (self.board.reports(), self.gives_away());
        let Some(placement) = &mut self.placement else { return };
        if reports.len() < usize::from(self.config.shards) {
            return;
        }
        let wanted = placement.next_move(at, &self.membership, &reports);
        if let Some((shard, to)) = wanted.filter(|_| self.config.rebalances && !gives_away) {
            self.board.wish(shard, to);
        }
    }

    /// An operator's order.
    pub(super) fn handle_order(&mut self, now: Now, to: NodeId, order: u64) {
        let verdict = self.judge_order(own(now), to);
        if verdict.is_ok() {
            self.begin_move(now, to, MoveCause::Ordered);
        }
        let outcome = verdict.map_or_else(Outcome::refused, |()| Outcome::default());
        self.wire.send(ToWire::Outcome { order, outcome });
    }

    fn judge_order(&self, at: OwnTime, to: NodeId) -> Result<(), HandOverRefusal> {
        let Some(owner) = &self.owner else {
            let of_log = self.seat.chain().head().owner.map(|(node, _)| node);
            let others = of_log.filter(|node| *node != self.membership.me());
            return Err(HandOverRefusal::NotOwner(others));
        };
        if owner.is_handing {
            return Err(HandOverRefusal::Handing(self.seat.handing_to().unwrap_or(to)));
        }
        if !self.acts(at) {
            return Err(HandOverRefusal::Frozen);
        }
        may_hand_over(at, &self.membership, &self.board.reports(), (self.config.shard, to))
    }

    /// The shard seals what waits, and takes no more.
    fn begin_move(&mut self, now: Now, to: NodeId, cause: MoveCause) {
        self.counts.moved[cause as usize] += 1;
        self.board.note(Notice::HandsOver { shard: self.config.shard, to, cause });
        self.hand_over(now, to);
    }

    /// Others reach the log, and this node does not: it leaves the shard to them.
    pub(super) fn withdraw(&mut self, at: OwnTime) {
        if self.owner.is_some() {
            self.counts.withdrawn += 1;
            self.board.note(Notice::Withdrew { shard: self.config.shard });
            self.seat.abdicate(at);
        }
    }
}
