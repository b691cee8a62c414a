//! The turn of a seat: what follows from the time that passed.
//!
//! Why one order: the lease is looked at before anything is sent, so that an owner that was paused stops
//! before it acts.

use super::claim::{ASK_EVERY_MS, CLAIM_WITHIN_MS, Claim, PROMISED_WITHIN_MS, Step};
use super::message::{AnswerVerdict, Output, StopCause};
use super::promise::is_lost;
use super::{Seat, State};
use crate::flight::{Flight, FlightAction};
use crate::id::NodeId;
use crate::membership::{Membership, SILENCE_MS, ShardReport};
use crate::record::{Body, Cause, ChainHead, Entries, Place, TermBody, encode};
use crate::time::OwnTime;

/// A read that was not answered is asked again after this time.
const READ_WITHIN_MS: u64 = 250;
/// Each rank waits this much longer before it claims, and a failed claim for this long before the next.
const RANK_MS: u64 = 200;

/// Does the log name this life of this node as the owner?
fn is_mine(head: &ChainHead, membership: &Membership) -> bool {
    head.owner == Some((membership.me(), membership.incarnation()))
}

impl Seat {
    /// Everything that is due. `mine` is what this node says of all its shards.
    pub fn poll(&mut self, now: OwnTime, membership: &Membership, mine: &[ShardReport]) {
        match &self.state {
            State::Following => self.poll_following(now, membership),
            State::Orphan { .. } => self.poll_orphan(now, membership, mine),
            State::Claiming(_) => {}
            State::Owning(_) => self.poll_owning(now, membership),
        }
        if matches!(self.state, State::Claiming(_)) {
            self.poll_claiming(now, membership);
        }
        if self.wants_read && self.read_asked.is_none_or(|asked| now.since(asked) >= READ_WITHIN_MS) {
            self.read_asked = Some(now);
            self.outputs.push_back(Output::Read { from: self.chain.next() });
        }
    }

    fn poll_following(&mut self, now: OwnTime, membership: &Membership) {
        let is_lost = is_lost(now, self.chain.shard(), self.owned(), membership);
        if is_lost || is_mine(self.chain.head(), membership) {
            self.state = State::Orphan { since: now };
        }
    }

    fn poll_orphan(&mut self, now: OwnTime, membership: &Membership, mine: &[ShardReport]) {
        let State::Orphan { since } = self.state else { return };
        let shard = self.chain.shard();
        if !is_mine(self.chain.head(), membership) && !is_lost(now, shard, self.owned(), membership) {
            self.state = State::Following;
            return;
        }
        let is_waiting = self.promises.is_waiting(now, self.chain.head().term, shard, membership);
        if is_waiting || !self.can_own(now) || !membership.hears_majority(now) || !self.has_read {
            return;
        }
        let ranks = membership.ranks(now, shard, mine);
        let Some(rank) = ranks.iter().position(|node| *node == membership.me()) else { return };
        if now < since.plus(rank as u64 * RANK_MS) {
            return;
        }
        let term = self.floor().max(self.refused_term).next();
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
            self.promise_itself(now, &ask, membership);
        }
        let State::Claiming(claim) = &mut self.state else { return };
        if matches!(claim.step, Step::Asking { .. }) && claim.has_majority(membership) {
            claim.step = Step::Reading;
            (self.wants_read, self.read_asked) = (true, None);
        }
        if let Step::Appending(flight) = &mut claim.step {
            let action = flight.poll(now, &mut self.attempts);
            self.act(action);
        }
    }

    /// A candidate's own promise follows the rules of all others.
    fn promise_itself(&mut self, now: OwnTime, ask: &super::Ask, membership: &Membership) {
        let verdict = self.judge_ask(now, ask, membership);
        if let (AnswerVerdict::Promised(_), State::Claiming(claim)) = (verdict, &mut self.state) {
            claim.promise(membership.me(), now);
        }
    }

    fn poll_owning(&mut self, now: OwnTime, membership: &Membership) {
        let State::Owning(owner) = &self.state else { return };
        let holds = self.is_supported(now, owner.term);
        let able = self.can_own(now);
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
            // one any more. It claims a term above theirs.
            Some(since) if now.since(since) >= SILENCE_MS && membership.hears_majority(now) && able => {
                self.stop(StopCause::Unsupported);
                self.state = State::Orphan { since: now };
                return;
            }
            _ => {}
        }
        if let Some(through) = owner.appender.take_overdue(now) {
            self.outputs.push_back(Output::Overdue { term: owner.term, through });
        }
        let is_handing = owner.handing.is_some();
        let chain = (!self.is_behind).then_some(&self.chain);
        let action = owner.appender.poll(now, chain, is_handing, &mut self.attempts);
        self.act(action);
        self.poll_handing(now, membership);
    }

    /// When everything is kept, the owner itself writes the term of the next one.
    fn poll_handing(&mut self, now: OwnTime, membership: &Membership) {
        let State::Owning(owner) = &mut self.state else { return };
        let Some(handing) = &mut owner.handing else { return };
        if handing.flight.is_none() {
            let Some(incarnation) = membership.incarnation_of(handing.to) else { return };
            if membership.misses(now, handing.to, incarnation) {
                owner.handing = None;
                return;
            }
            if !owner.appender.is_idle() || self.is_behind {
                return;
            }
            let head = self.chain.head();
            let term = owner.term.max(self.promises.term()).next();
            let body = TermBody {
                version: membership.version(),
                owner: handing.to,
                incarnation,
                cause: Cause::Clean,
                previous: owner.term,
                adopted: Entries::default(),
            };
            let place =
                Place { shard: self.chain.shard(), term, position: self.chain.next(), base: head.sum };
            let record = encode(place, &Body::Term(body)).expect("nothing is adopted");
            handing.flight = Some(Flight::begin(now, record));
        }
        let action = handing.flight.as_mut().and_then(|flight| flight.poll(now, &mut self.attempts));
        self.act(action);
    }

    fn act(&mut self, action: Option<FlightAction>) {
        match action {
            None => {}
            Some(FlightAction::Append(append)) => self.outputs.push_back(Output::Append(append)),
            Some(FlightAction::Read(_)) => (self.wants_read, self.read_asked) = (true, None),
        }
    }

    /// To which node the shard is being handed over.
    #[must_use]
    pub fn handing_to(&self) -> Option<NodeId> {
        let State::Owning(owner) = &self.state else { return None };
        owner.handing.as_ref().map(|handing| handing.to)
    }
}
