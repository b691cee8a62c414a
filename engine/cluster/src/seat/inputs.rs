//! Inputs of a seat: other nodes, the log, the shard.
//!
//! Why apart from the turn: an input changes what is known and asks for the next look; what follows from the
//! time alone is in `turn`.

use bytes::Bytes;

use super::claim::{Claim, Step};
use super::message::{Answer, AnswerVerdict, Ask, Output, Refused, ShownEntry, StopCause};
use super::owner::{Handing, Owner};
use super::promise::Owned;
use super::shown::EntryVerdict;
use super::{Seat, State};
use crate::flight::{Attempt, Outcome, Reply};
use crate::id::{NodeId, Position, Term};
use crate::membership::{Heartbeat, Membership, SILENCE_MS};
use crate::planted::{self, Fault};
use crate::time::OwnTime;

/// How long a node that gave up leaves a shard to others.
const WITHDRAWN_MS: u64 = 5_000;

impl Seat {
    /// A node that membership accepted was heard.
    pub fn handle_heartbeat(&mut self, heartbeat: &Heartbeat, membership: &Membership) {
        let Some(report) = heartbeat.report(self.chain.shard()) else { return };
        let head = self.chain.head();
        if report.position >= self.chain.next() || report.term > head.term {
            self.reading.want();
        }
        let Some(echo) = heartbeat.echo_of(membership.me(), membership.incarnation()) else { return };
        self.echoes.insert(heartbeat.node, (report.term, echo.into_own()));
        let State::Owning(owner) = &self.state else { return };
        if report.term <= owner.term || planted::is(Fault::EchoOfPromised) {
            self.lease.support(heartbeat.node, echo.into_own());
        }
    }

    /// A node asks for a promise.
    pub fn handle_ask(&mut self, now: OwnTime, ask: &Ask, membership: &Membership) {
        let verdict = self.judge_ask(now, ask, membership);
        let answer = Answer { from: membership.me(), term: ask.term, asked: ask.sent, verdict };
        self.outputs.push_back(Output::Answer { to: ask.candidate, answer });
    }

    pub(super) fn judge_ask(&mut self, now: OwnTime, ask: &Ask, membership: &Membership) -> AnswerVerdict {
        let shard = self.chain.shard();
        let me = membership.me();
        // A log that seems to end too early is not known either.
        if !self.reading.has_read() || membership.age(now) < SILENCE_MS || self.watch.is_short() {
            return AnswerVerdict::NotReady;
        }
        // An owner that a majority supports, or a claim that a majority promised, is heard by this node too.
        let is_promised = |claim: &Claim| !matches!(claim.step, Step::Asking { .. });
        let claims = matches!(&self.state, State::Claiming(claim) if is_promised(claim));
        if (claims || self.acts_under(now).is_some()) && ask.candidate != me {
            return AnswerVerdict::Hears(me);
        }
        let owned = Owned::of(&self.chain, self.term_since);
        if let Err(verdict) = self.promises.judge(now, shard, ask, owned, membership) {
            return verdict;
        }
        if ask.candidate != me && matches!(self.state, State::Claiming(_)) {
            self.state = State::Orphan { since: now };
        }
        let mut entries = self.shown.all();
        entries.extend(self.unkept());
        AnswerVerdict::Promised(entries)
    }

    /// A node answered.
    pub fn handle_answer(&mut self, answer: Answer) {
        match answer.verdict {
            AnswerVerdict::OldTerm(term) => {
                self.refused_term = self.refused_term.max(term);
                if let State::Claiming(claim) = &mut self.state {
                    claim.is_outdone |= term >= claim.term;
                }
            }
            AnswerVerdict::Hears(_) | AnswerVerdict::NotReady => {}
            AnswerVerdict::Promised(entries) => {
                if let State::Claiming(claim) = &mut self.state
                    && claim.term == answer.term
                {
                    claim.promise(answer.from, answer.asked.into_own());
                }
                let floor = self.chain.head().term;
                self.shown.remember(entries.into_iter().filter(|entry| entry.term >= floor).collect());
            }
        }
    }

    /// A node says that the log has a record at this position: an owner that a record is kept, a new one its
    /// term. It is looked up; nobody is believed.
    pub fn handle_announce(&mut self, position: Position) {
        if position >= self.chain.next() {
            self.reading.want();
        }
    }

    /// The log answered an attempt to append.
    pub fn handle_reply(&mut self, now: OwnTime, attempt: Attempt, reply: Reply, membership: &Membership) {
        match &mut self.state {
            State::Owning(owner) => {
                if let Some(handing) = &mut owner.handing
                    && let Some(flight) = &mut handing.flight
                {
                    let outcome = flight.handle_reply(now, attempt, reply);
                    let record = flight.record().clone();
                    return self.end_term_flight(now, outcome, &record, membership);
                }
                let progress = owner.appender.handle_reply(now, attempt, reply);
                self.handle_progress(now, progress, membership);
            }
            State::Claiming(claim) => {
                if let Step::Appending(flight) = &mut claim.step {
                    let outcome = flight.handle_reply(now, attempt, reply);
                    let record = flight.record().clone();
                    self.end_term_flight(now, outcome, &record, membership);
                }
            }
            State::Following | State::Orphan { .. } => {}
        }
    }

    /// A record of a claim or a hand-over ended its flight: where it is kept, the chain says who owns the
    /// shard, or the claim goes on behind it.
    pub(super) fn end_term_flight(
        &mut self,
        now: OwnTime,
        outcome: Option<Outcome>,
        record: &crate::record::Encoded,
        membership: &Membership,
    ) {
        match outcome {
            None => {}
            Some(Outcome::Kept) => {
                let position = record.place.position;
                self.judge(now, position, &record.bytes, membership);
                if let State::Claiming(claim) = &mut self.state {
                    claim.step = Step::Reading;
                    if self.chain.head().position == position {
                        claim.go_on(now, &self.chain, &self.shown, membership);
                    } else {
                        self.reading.want_now();
                    }
                }
            }
            Some(Outcome::Taken) => {
                self.reading.fall_behind();
                match &mut self.state {
                    State::Claiming(claim) => claim.step = Step::Reading,
                    State::Owning(owner) => {
                        if let Some(handing) = &mut owner.handing {
                            handing.flight = None;
                        }
                    }
                    State::Following | State::Orphan { .. } => {}
                }
            }
        }
    }

    /// An entry that an owner showed came over a link.
    pub fn handle_entry(&mut self, entry: ShownEntry) -> EntryVerdict {
        let floor = self.promises.floor(&self.chain);
        self.shown.take(entry, floor)
    }

    /// An owner restated: the log has its entries before `first`.
    pub fn handle_restated(&mut self, term: Term, first: u64) {
        if term >= self.promises.floor(&self.chain) {
            self.shown.restate(term, first);
        }
    }

    /// An entry that the shard sealed, with its length in front. Returns its term and index: show it and send
    /// it to the other nodes.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn push(&mut self, now: OwnTime, entry: Bytes) -> Result<(Term, u64), Refused> {
        self.takes(now)?;
        let owner = self.state.owner_mut().ok_or(Refused::NotOwner)?;
        let index = owner.appender.push(now, entry).map_err(Refused::Log)?;
        Ok((owner.term, index))
    }

    /// What [`Seat::push`] would say of one more entry, so that a shard asks before it accepts anything.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn may_push(&self, now: OwnTime) -> Result<(), Refused> {
        self.takes(now)?.appender.may_push(now).map_err(Refused::Log)
    }

    /// As [`Seat::push`], for an entry of what the shard accepted after [`Seat::may_push`] let it: how much
    /// waits for the log does not count any more, since its publisher was told nothing else.
    ///
    /// # Errors
    /// If this node no longer owns the shard, no majority hears it, or the shard is being handed over; and if
    /// the bytes are not one entry.
    pub fn push_accepted(&mut self, now: OwnTime, entry: Bytes) -> Result<(Term, u64), Refused> {
        self.takes(now)?;
        let owner = self.state.owner_mut().ok_or(Refused::NotOwner)?;
        let index = owner.appender.push_accepted(now, entry).map_err(Refused::Log)?;
        Ok((owner.term, index))
    }

    fn takes(&self, now: OwnTime) -> Result<&Owner, Refused> {
        let State::Owning(owner) = &self.state else { return Err(Refused::NotOwner) };
        if self.acts_under(now).is_none() {
            return Err(Refused::Frozen { retry_after_ms: 1_000 });
        }
        owner.takes().map(|()| &**owner)
    }

    /// Hand the shard over to a node. Nothing happens if this node does not own it, or does not hear the
    /// other.
    pub fn hand_over(&mut self, now: OwnTime, to: NodeId, membership: &Membership) -> bool {
        let State::Owning(owner) = &mut self.state else { return false };
        let may = owner.handing.is_none() && to != membership.me() && membership.hears(now, to);
        if may {
            owner.handing = Some(Handing { to, flight: None });
        }
        may
    }

    /// Stop owning or claiming the shard, and leave it to others for a while: this node does not reach the
    /// log.
    pub fn abdicate(&mut self, now: OwnTime) {
        self.withdrawn_until = now.plus(WITHDRAWN_MS);
        self.stop(StopCause::Abdicated);
        self.state = State::Orphan { since: self.withdrawn_until };
    }

    /// Is this node's copy of the log sound, so that it could own the shard? An owner that is not goes on:
    /// [`Seat::hand_over`] gives the shard to a node that is.
    pub fn set_able(&mut self, is_able: bool) {
        self.is_able = is_able;
    }

    /// Does this node give its shards away? Then it claims none, and nobody hands one to it.
    pub fn set_draining(&mut self, is_draining: bool) {
        self.is_draining = is_draining;
    }

    /// If this node owns the shard: it does no more, and remembers what it showed.
    pub(super) fn stop(&mut self, cause: StopCause) {
        let State::Owning(owner) = &self.state else { return };
        let term = owner.term;
        self.shown.remember(self.unkept());
        self.outputs.push_back(Output::Stop { term, cause });
        self.lease.clear();
    }
}
