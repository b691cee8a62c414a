//! Promises: to whom this node gave its word, and whether it may give it again.
//!
//! Why: a promise keeps a node that sees badly from disturbing a shard that others see well, and it ends the
//! support of the old owner. Which claim succeeds is decided by the log alone.
//! Invariants: a term is promised once. While the owner is heard, or the node that was promised before,
//! nobody else is promised anything; giving a promise counts as hearing its receiver. The receiver may
//! withdraw: then the promise no longer binds, and the node follows the owner that is there. What it shows
//! from then on is adopted by a later claim of the receiver, or by none that was begun before. The receiver
//! may die: then it binds until the log has gone on, or for as long as a dead node's last record may take.
//! Not here: promises that this node asked for (`claim`).

use grandstand_engine::link::ShardId;

use super::message::{AnswerVerdict, Ask};
use crate::id::{Incarnation, NodeId, Position, Term};
use crate::membership::{ALIVE_MS, Lease, Membership, SILENCE_MS};
use crate::record::Chain;
use crate::time::{OwnTime, PeerTime};

/// So long a record of a life that is over may still come into the log: a leader that lost its majority
/// proposes for 10 s (measured), and the next one may keep it.
const ON_ITS_WAY_MS: u64 = 15_000;

#[derive(Clone, Copy, Debug)]
struct Given {
    to: NodeId,
    incarnation: Incarnation,
    at: OwnTime,
    asked: PeerTime,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Promises {
    term: Term,
    given: Option<Given>,
    /// May the receiver still make use of it?
    binds: bool,
    /// Where the log ended, and when, as another life of the receiver was heard.
    past: Option<(Position, OwnTime)>,
}

/// What the log says of the owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned {
    pub(super) term: Term,
    pub(super) owner: Option<(NodeId, Incarnation)>,
    /// Since when this node knows of the term.
    pub(super) since: OwnTime,
}

impl Owned {
    pub(super) fn of(chain: &Chain, since: OwnTime) -> Self {
        let head = chain.head();
        Owned { term: head.term, owner: head.owner, since }
    }
}

impl Promises {
    /// The highest term that was promised.
    pub(super) fn term(&self) -> Term {
        self.term
    }

    /// The lowest term of which this node follows entries. A promise that came to nothing does not make it
    /// deaf for an owner that a majority supports without it.
    pub(super) fn floor(&self, chain: &Chain) -> Term {
        let promised = if self.binds { self.term } else { Term(0) };
        chain.head().term.max(promised)
    }

    /// Look whether the receiver withdrew, or has died. `claims`: this node itself is claiming the shard.
    pub(super) fn poll(
        &mut self,
        now: OwnTime,
        shard: ShardId,
        end: Position,
        membership: &Membership,
        claims: bool,
    ) {
        let Some(given) = self.given.filter(|_| self.binds) else { return };
        if given.to == membership.me() {
            self.binds = claims;
        } else if given.is_past(membership) {
            // Its term record may still be on its way to the end that it expected.
            let (past_end, since) = *self.past.get_or_insert((end, now));
            self.binds = end == past_end && now.since(since) < ON_ITS_WAY_MS;
        } else {
            self.binds = !given.is_withdrawn(self.term, shard, membership);
        }
    }

    /// Does a majority support an owner of this term? An owner that promised a higher one no longer does
    /// itself.
    pub(super) fn supports(&self, term: Term, lease: &Lease, now: OwnTime) -> bool {
        lease.holds(now) && self.term <= term
    }

    /// Why not, or nothing: then it is promised.
    pub(super) fn judge(
        &mut self,
        now: OwnTime,
        shard: ShardId,
        ask: &Ask,
        owned: Owned,
        membership: &Membership,
    ) -> Result<(), AnswerVerdict> {
        if ask.term <= owned.term {
            return Err(AnswerVerdict::OldTerm(owned.term));
        }
        let is_same = |given: &Given| given.to == ask.candidate && given.incarnation == ask.incarnation;
        let is_again = ask.term == self.term && self.given.as_ref().is_some_and(is_same);
        if ask.term <= self.term && !is_again {
            return Err(AnswerVerdict::OldTerm(self.term));
        }
        if let Some(owner) =
            membership.heard_owner(now, shard, owned.term).filter(|owner| *owner != ask.candidate)
        {
            return Err(AnswerVerdict::Hears(owner));
        }
        let is_other = |node: NodeId, incarnation| (node, incarnation) != (ask.candidate, ask.incarnation);
        // This node asks nobody whether it owns the shard: `Seat` answers as an owner before.
        let owner = owned.owner.filter(|(node, life)| is_other(*node, *life) && *node != membership.me());
        if let Some((owner, _)) = owner.filter(|_| !is_lost(now, shard, owned, membership)) {
            return Err(AnswerVerdict::Hears(owner));
        }
        if let Some(given) = self.given.filter(|given| is_other(given.to, given.incarnation))
            && self.term > owned.term
            && given.is_heard(now, self.term, shard, membership)
        {
            return Err(AnswerVerdict::Hears(given.to));
        }
        self.term = ask.term;
        let Ask { candidate: to, incarnation, sent: asked, .. } = *ask;
        self.given = Some(Given { to, incarnation, at: now, asked });
        (self.binds, self.past) = (true, None);
        Ok(())
    }

    /// Does this node wait for the claim of another that it promised?
    pub(super) fn is_waiting(
        &self,
        now: OwnTime,
        owned: Term,
        shard: ShardId,
        membership: &Membership,
    ) -> bool {
        let is_others = |given: &&Given| given.to != membership.me();
        self.term > owned
            && self
                .given
                .as_ref()
                .filter(is_others)
                .is_some_and(|given| given.is_heard(now, self.term, shard, membership))
    }
}

impl Given {
    fn is_heard(&self, now: OwnTime, term: Term, shard: ShardId, membership: &Membership) -> bool {
        if self.to == membership.me() {
            return false;
        }
        let is_missed = membership.misses(now, self.to, self.incarnation);
        let is_fresh = now.since(self.at) < SILENCE_MS && !membership.is_gone(self.to, self.incarnation);
        !self.is_withdrawn(term, shard, membership) && (!is_missed || is_fresh)
    }

    /// It gave up: it said later that it neither claims the shard nor owns it under the promised term.
    fn is_withdrawn(&self, term: Term, shard: ShardId, membership: &Membership) -> bool {
        membership.report(self.to, shard).is_some_and(|(last, report)| {
            let is_owner = report.owns && report.term >= term;
            last.sent > self.asked && !is_owner && !report.claims
        })
    }

    /// Another life of it is there, which knows nothing of the promise.
    fn is_past(&self, membership: &Membership) -> bool {
        membership.incarnation_of(self.to).is_some_and(|life| life > self.incarnation)
    }
}

/// Is the owner that the log names no longer there, or has it stopped owning the shard? What it said before
/// the term was known here counts for nothing: it may not have known of it.
pub(super) fn is_lost(now: OwnTime, shard: ShardId, owned: Owned, membership: &Membership) -> bool {
    let Some((owner, incarnation)) = owned.owner else { return true };
    let released = membership
        .report(owner, shard)
        .is_some_and(|(_, report)| report.term >= owned.term && !report.owns && !report.claims);
    let is_news = membership.heard_at(owner).is_some_and(|heard| heard >= owned.since.plus(ALIVE_MS));
    released && is_news || membership.misses(now, owner, incarnation)
}
