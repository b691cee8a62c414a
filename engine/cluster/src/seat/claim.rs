//! Claim: the steps of one attempt to own a shard: promises, the end of the log, adopted entries, the term
//! record.
//!
//! Why steps: each waits for others, and each may find that there is nothing to claim.
//! Adopted entries that do not fit into the term record are written before it, in records of the last term:
//! what the last owner would have appended is appended for it. So they have the epochs under which they were
//! shown, at every copy, and whoever claims after a claim that ended in between goes on behind them. The last
//! owner, if it still runs, finds entries of its term in the log that it has not appended, and stops.
//! Invariants: nothing is sent before a majority promised the term. What is adopted continues the entries
//! that the log has of the last term, without a gap.
//! Not here: whether to claim (`Seat`), what others promise (`promise`).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::message::Ask;
use super::shown::Shown;
use crate::flight::Flight;
use crate::id::{NodeId, Term};
use crate::membership::Membership;
use crate::planted::{self, Fault};
use crate::record::{BODY_BYTES_MAX, Body, Cause, Chain, EntriesBuilder, Place, TermBody, encode};
use crate::time::{OwnTime, PeerTime};

/// The time between two rounds of asking.
pub(super) const ASK_EVERY_MS: u64 = 50;
/// A claim that a majority has not promised by then is given up.
pub(super) const PROMISED_WITHIN_MS: u64 = 500;
/// A claim that the log has not taken by then is given up: elections of the log take 4 to 9 s.
pub(super) const CLAIM_WITHIN_MS: u64 = 12_000;

/// Where a claim is.
#[derive(Debug)]
pub(super) enum Step {
    Asking { next_ask: OwnTime },
    Reading,
    Appending(Flight),
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) term: Term,
    pub(super) began: OwnTime,
    pub(super) step: Step,
    /// Who promised, and when it was asked.
    pub(super) promised: BTreeMap<NodeId, OwnTime>,
    /// Somebody knows of a term that is not lower.
    pub(super) is_outdone: bool,
}

impl Claim {
    pub(super) fn begin(now: OwnTime, term: Term) -> Self {
        Claim {
            term,
            began: now,
            step: Step::Asking { next_ask: now },
            promised: BTreeMap::new(),
            is_outdone: false,
        }
    }

    pub(super) fn ask(&self, now: OwnTime, membership: &Membership) -> Ask {
        Ask {
            candidate: membership.me(),
            incarnation: membership.incarnation(),
            term: self.term,
            sent: PeerTime::of_own(now),
        }
    }

    /// A node promised, asked at this own time.
    pub(super) fn promise(&mut self, from: NodeId, asked: OwnTime) {
        let last = self.promised.entry(from).or_insert(asked);
        *last = asked.max(*last);
    }

    /// The record in flight.
    pub(super) fn flight(&self) -> Option<&Flight> {
        match &self.step {
            Step::Appending(flight) => Some(flight),
            Step::Asking { .. } | Step::Reading => None,
        }
    }

    pub(super) fn has_majority(&self, membership: &Membership) -> bool {
        let needed = if planted::is(Fault::ClaimWithoutMajority) { 1 } else { membership.majority() };
        self.promised.len() >= needed
    }

    /// The log was read to its end: in a claim that a majority promised, adopted entries and the term record
    /// follow there.
    pub(super) fn go_on(&mut self, now: OwnTime, chain: &Chain, shown: &Shown, membership: &Membership) {
        if matches!(self.step, Step::Reading) && chain.stopped().is_none() {
            self.step = Step::Appending(self.record(now, chain, shown, membership));
        }
    }

    /// The next record at the end of the log: adopted entries that do not fit into the term record, or the
    /// term record with the rest of them.
    fn record(&self, now: OwnTime, chain: &Chain, shown: &Shown, membership: &Membership) -> Flight {
        let head = chain.head();
        let run = shown.run(head.term, head.entries_in_term + 1);
        let place = Place { shard: chain.shard(), term: self.term, position: chain.next(), base: head.sum };
        let is_last = run.iter().map(Bytes::len).sum::<usize>() <= TermBody::ADOPTED_BYTES_MAX;
        let bytes_max = if is_last { TermBody::ADOPTED_BYTES_MAX } else { BODY_BYTES_MAX };
        let mut adopted = EntriesBuilder::default();
        for bytes in run {
            if adopted.push(&bytes, bytes_max) != Ok(true) {
                break;
            }
        }
        if !is_last {
            let place = Place { term: head.term, ..place };
            let record = encode(place, &Body::Entries(adopted.finish())).expect("entries are bounded");
            return Flight::begin(now, record);
        }
        let body = TermBody {
            version: membership.version(),
            owner: membership.me(),
            incarnation: membership.incarnation(),
            cause: if head.owner.is_none() { Cause::First } else { Cause::Claim },
            previous: head.term,
            adopted: adopted.finish(),
        };
        let record = encode(place, &Body::Term(body)).expect("adopted entries are bounded");
        Flight::begin(now, record)
    }
}
