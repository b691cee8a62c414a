//! The log as a seat reads it: each message is judged, and a valid term decides who owns the shard.
//!
//! Why one place: an acknowledged record of this node and a record that another node wrote go through the
//! same judgement, in the order of the log.

use bytes::Bytes;

use super::message::{Output, StopCause};
use super::owner::Owner;
use super::{Seat, State, Trouble};
use crate::appender::{Appender, Progress};
use crate::id::{Incarnation, NodeId, Position, Term};
use crate::membership::Membership;
use crate::record::{Body, ChainHead, Record, Renewal, Verdict};
use crate::time::OwnTime;

impl Seat {
    /// The stream's leader returned these messages from the asked position on, and named the end of the
    /// stream.
    pub fn handle_read(
        &mut self,
        now: OwnTime,
        messages: &[(Position, Bytes)],
        end: Position,
        membership: &Membership,
    ) {
        for (position, bytes) in messages {
            self.judge(now, *position, bytes, membership);
            self.settle(now, *position, Some(bytes), membership);
            self.note_adopted(now);
        }
        let has_more = self.chain.next() <= end && self.chain.stopped().is_none();
        self.reading.handle_answer(has_more);
        if has_more {
            return;
        }
        if self.watch.is_short() {
            // Asked again until it is certain, one way or the other.
            self.reading.want_later(now);
        }
        if let Some(position) = self.state.flight_position().filter(|position| *position > end) {
            self.settle(now, position, None, membership);
        }
        if let State::Claiming(claim) = &mut self.state
            && !self.watch.is_short()
        {
            claim.go_on(now, &self.chain, &self.shown, membership);
        }
    }

    /// Has another node appended entries of this owner's term for it? Then it is being replaced.
    fn note_adopted(&mut self, now: OwnTime) {
        let State::Owning(owner) = &self.state else { return };
        let head = self.chain.head();
        if head.term == owner.term && head.entries_in_term > owner.appender.kept() {
            self.stop(StopCause::Replaced);
            self.state = State::Orphan { since: now };
        }
    }

    /// A message of the log at its position.
    pub(super) fn judge(&mut self, now: OwnTime, position: Position, bytes: &Bytes, membership: &Membership) {
        match self.chain.judge(position, bytes) {
            Err(_) => self.reading.want(),
            Ok(Verdict::Known) => {}
            Ok(Verdict::Void(cause)) => self.outputs.push_back(Output::Void { position, cause }),
            Ok(Verdict::NotUnderstood { position }) => {
                self.outputs.push_back(Output::NotUnderstood { position });
                self.stop(StopCause::NotUnderstood);
                if matches!(self.state, State::Owning(_) | State::Claiming(_)) {
                    self.state = State::Orphan { since: now };
                }
            }
            Ok(Verdict::Valid(record)) => {
                let head = *self.chain.head();
                self.shown.drop_kept(head.term, head.entries_in_term);
                let term = record.place.term;
                let begun = match &record.body {
                    Body::Term(body) => Some((body.owner, body.incarnation)),
                    _ => None,
                };
                self.outputs.push_back(Output::Apply(record.clone(), *self.chain.head()));
                if let Some((owner, incarnation)) = begun {
                    self.begin_term(now, term, (owner, incarnation), &record, membership);
                }
            }
        }
    }

    /// The log has a new term.
    fn begin_term(
        &mut self,
        now: OwnTime,
        term: Term,
        owner: (NodeId, Incarnation),
        record: &Record,
        membership: &Membership,
    ) {
        let position = record.place.position;
        let was_handing = matches!(&self.state, State::Owning(owner) if owner.handing.is_some());
        let cause = if was_handing { StopCause::HandedOver } else { StopCause::Replaced };
        self.stop(cause);
        if was_handing {
            self.outputs.push_back(Output::Announce { term, position });
        }
        self.shown.drop_kept(term, 0);
        self.term_since = now;
        let claim = match std::mem::replace(&mut self.state, State::Following) {
            State::Claiming(claim) if claim.term == term => Some(claim),
            _ => None,
        };
        if owner != (membership.me(), membership.incarnation()) {
            return;
        }
        // Those who promised heard this node when it asked, and support it from then on. After a hand-over
        // nobody was asked: those who heard this node lately and promised nothing higher support it, so it
        // need not wait for the next heartbeat.
        self.lease.clear();
        if claim.is_none() {
            for (node, (said, heard)) in &self.echoes {
                if *said <= term {
                    self.lease.support(*node, *heard);
                }
            }
        }
        for (node, asked) in claim.iter().flat_map(|claim| &claim.promised) {
            if *node != membership.me() {
                self.lease.support(*node, *asked);
            }
        }
        let appender = Appender::new(self.config, self.chain.shard(), term);
        self.state = State::Owning(Box::new(Owner::begin(term, appender)));
        self.outputs.push_back(Output::Announce { term, position });
        self.outputs.push_back(Output::Own { term });
    }

    /// What the log has at a position, for the record in flight there.
    fn settle(&mut self, now: OwnTime, position: Position, found: Option<&Bytes>, membership: &Membership) {
        if self.state.flight_position() != Some(position) {
            return;
        }
        if let Some(flight) = self.state.term_flight() {
            let outcome = flight.handle_read(now, found);
            let record = flight.record().clone();
            self.end_term_flight(now, outcome, &record, membership);
        } else if let State::Owning(owner) = &mut self.state {
            let progress = owner.appender.handle_read(now, position, found);
            self.handle_progress(now, progress, membership);
        }
    }

    /// What came of the owner's record in flight.
    pub(super) fn handle_progress(
        &mut self,
        now: OwnTime,
        progress: Option<Progress>,
        membership: &Membership,
    ) {
        match progress {
            None => {}
            // Whatever took the place: the next record goes behind it, if this node owns the shard still.
            Some(Progress::Taken { .. }) => self.reading.fall_behind(),
            Some(Progress::Kept { position, bytes, through }) => {
                let State::Owning(owner) = &self.state else { return };
                self.outputs.push_back(Output::Kept { term: owner.term, through, position });
                self.judge(now, position, &bytes, membership);
            }
        }
    }
}

/// The log's leader says what the log has: its first and last position, and, if it was made anew, what it
/// goes on from. Call it with each answer to a read, before [`Seat::handle_read`], and at times
/// without one.
pub fn handle_ends(
    seat: &mut Seat,
    now: OwnTime,
    ends: (Position, Position),
    renewed: Option<Renewal>,
    membership: &Membership,
) {
    if let Some(renewal) = renewed {
        seat.chain.pass_over(&renewal);
    }
    let has_forgotten = seat.watch.look(now, ends, renewed, &seat.chain, membership);
    if has_forgotten {
        seat.stop(StopCause::Forgotten);
        if matches!(seat.state, State::Owning(_) | State::Claiming(_)) {
            seat.state = State::Orphan { since: now };
        }
    }
    if seat.watch.is_short() {
        // Asked again until it is certain, one way or the other.
        seat.reading.want_later(now);
    }
}

/// This node's copy was replaced by another one, up to this head. A node that owns or claims the shard
/// has its copy for what it is, so nothing changes there: `false`.
pub fn resume(seat: &mut Seat, now: OwnTime, head: ChainHead) -> bool {
    if matches!(seat.state, State::Owning(_) | State::Claiming(_)) {
        return false;
    }
    seat.chain = seat.chain.replaced(head);
    seat.watch.clear();
    seat.state = State::Following;
    seat.term_since = now;
    seat.reading.want_now();
    true
}

/// Why this node cannot follow the log, if it cannot.
#[must_use]
pub fn trouble(seat: &Seat, now: OwnTime, membership: &Membership) -> Option<Trouble> {
    seat.watch.trouble(now, &seat.chain, membership)
}
