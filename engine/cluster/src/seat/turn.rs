//! The turn of a seat: what follows from the time that passed.
//!
//! Why one order: the lease is looked at before anything is sent, so that an owner that was paused stops
//! before it acts.

use super::claim::{ASK_EVERY_MS, CLAIM_WITHIN_MS, Claim, PROMISED_WITHIN_MS, Step};
use super::message::{AnswerVerdict, Output, StopCause};
use super::promise::{Owned, is_lost};
use super::{Seat, State};
use crate::id::NodeId;
use crate::membership::{Membership, SILENCE_MS, ShardReport};
use crate::placement;
use crate::record::ChainHead;
use crate::time::OwnTime;

/// What keeps a node from claiming is looked at again after this time.
pub(super) const LOOK_AGAIN_MS: u64 = 20;
/// Each rank waits this much longer before it claims, and a failed claim for this long before the next.
const RANK_MS: u64 = 200;

/// Does the log name this life of this node as the owner?
fn is_mine(head: &ChainHead, membership: &Membership) -> bool {
    head.owner == Some((membership.me(), membership.incarnation()))
}

impl Seat {
    /// Everything that is due. `mine` is what this node says of all its shards.
    pub fn poll(&mut self, now: OwnTime, membership: &Membership, mine: &[ShardReport]) {
        if matches!(self.state, State::Owning(_)) {
            self.poll_owning(now, membership);
        }
        let owned = Owned::of(&self.chain, self.term_since);
        if matches!(self.state, State::Following)
            && (is_mine(self.chain.head(), membership) || is_lost(now, self.chain.shard(), owned, membership))
        {
            self.state = State::Orphan { since: now };
        }
        self.poll_orphan(now, membership, mine);
        self.poll_claiming(now, membership);
        let claims = matches!(self.state, State::Claiming(_));
        let (shard, end) = (self.chain.shard(), self.chain.head().position);
        self.promises.poll(now, shard, end, membership, claims);
        if self.reading.poll(now) {
            self.outputs.push_back(Output::Read { from: self.chain.next() });
        }
    }

    fn poll_orphan(&mut self, now: OwnTime, membership: &Membership, mine: &[ShardReport]) {
        let State::Orphan { since } = self.state else { return };
        let shard = self.chain.shard();
        let owned = Owned::of(&self.chain, self.term_since);
        if !is_mine(self.chain.head(), membership) && !is_lost(now, shard, owned, membership) {
            self.state = State::Following;
            return;
        }
        let is_waiting = self.promises.is_waiting(now, self.chain.head().term, shard, membership);
        if is_waiting || !self.can_own(now) || !membership.hears_majority(now) || !self.reading.has_read() {
            return;
        }
        let ranks = placement::ranks(now, membership, shard, mine);
        let Some(rank) = ranks.iter().position(|node| *node == membership.me()) else { return };
        if now < since.plus(rank as u64 * RANK_MS) {
            return;
        }
        // No term is asked for twice, also if nobody is bound by it any more.
        let floor = self.chain.head().term.max(self.promises.term());
        let term = floor.max(self.refused_term).next();
        self.state = State::Claiming(Box::new(Claim::begin(now, term)));
    }

    fn poll_claiming(&mut self, now: OwnTime, membership: &Membership) {
        let State::Claiming(claim) = &mut self.state else { return };
        let age = now.since(claim.began);
        let is_asking = matches!(claim.step, Step::Asking { .. });
        if age >= CLAIM_WITHIN_MS {
            // The log is out of reach from here: another node may reach it.
            return self.abdicate(now);
        }
        if is_asking && claim.is_outdone {
            self.state = State::Orphan { since: now };
            return;
        }
        if is_asking && age >= PROMISED_WITHIN_MS {
            self.state = State::Orphan { since: now.plus(RANK_MS) };
            return;
        }
        let ask = claim.ask(now, membership);
        if let Step::Asking { next_ask } = claim.step
            && now >= next_ask
        {
            claim.step = Step::Asking { next_ask: now.plus(ASK_EVERY_MS) };
            self.outputs.push_back(Output::AskAll(ask));
            // A candidate's own promise follows the rules of all others.
            let verdict = self.judge_ask(now, &ask, membership);
            if let (AnswerVerdict::Promised(_), State::Claiming(claim)) = (verdict, &mut self.state) {
                claim.promise(membership.me(), now);
            }
        }
        let State::Claiming(claim) = &mut self.state else { return };
        if matches!(claim.step, Step::Asking { .. }) && claim.has_majority(membership) {
            claim.step = Step::Reading;
            self.reading.want_now();
        }
        if let Step::Appending(flight) = &mut claim.step {
            let action = flight.poll(now, &mut self.attempts);
            self.reading.act(action, &mut self.outputs);
        }
    }

    fn poll_owning(&mut self, now: OwnTime, membership: &Membership) {
        let State::Owning(owner) = &self.state else { return };
        let holds = self.promises.supports(owner.term, &self.lease, now);
        let State::Owning(owner) = &mut self.state else { return };
        match owner.frozen_since {
            None if !holds => {
                owner.frozen_since = Some(now);
                self.outputs.push_back(Output::Freeze);
            }
            Some(_) if holds => {
                owner.frozen_since = None;
                self.outputs.push_back(Output::Thaw);
            }
            // Others promised a higher term to a node that did not make use of it, and cannot support this
            // one any more. It claims a term above theirs, or leaves the shard to one of them.
            Some(since) if now.since(since) >= SILENCE_MS && membership.hears_majority(now) => {
                self.stop(StopCause::Unsupported);
                self.state = State::Orphan { since: now };
                return;
            }
            _ => {}
        }
        if let Some(through) = owner.appender.take_overdue(now) {
            self.outputs.push_back(Output::Overdue { term: owner.term, through });
        }
        let action = owner.poll_appender(now, &self.chain, &self.reading, &mut self.attempts);
        self.reading.act(action, &mut self.outputs);
        let State::Owning(owner) = &mut self.state else { return };
        let known = (&self.reading, &self.promises);
        let action = owner.poll_handing(now, &self.chain, known, membership, &mut self.attempts);
        self.reading.act(action, &mut self.outputs);
    }

    /// To which node the shard is being handed over.
    #[must_use]
    pub fn handing_to(&self) -> Option<NodeId> {
        let State::Owning(owner) = &self.state else { return None };
        owner.handing.as_ref().map(|handing| handing.to)
    }
}
