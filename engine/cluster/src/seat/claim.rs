//! Claim: the steps of one attempt to own a shard: promises, the end of the log, the term record.
//!
//! Why steps: each waits for others, and each may find that there is nothing to claim.
//! Invariants: no term record is sent before a majority promised its term. What is adopted continues the
//! entries that the log has of the last term, without a gap.
//! Not here: whether to claim (`Seat`), what others promise (`promise`).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::message::Ask;
use super::shown::Shown;
use crate::flight::Flight;
use crate::id::{NodeId, Term};
use crate::membership::Membership;
use crate::planted::{self, Fault};
use crate::record::{Body, Cause, Chain, EntriesBuilder, Place, TermBody, encode};
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

    /// The term record in flight.
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

    /// The term record at the end of the log, and the adopted entries that did not fit into it.
    pub(super) fn record(
        &self,
        now: OwnTime,
        chain: &Chain,
        shown: &Shown,
        membership: &Membership,
    ) -> (Flight, Vec<Bytes>) {
        let head = chain.head();
        let mut adopted = EntriesBuilder::default();
        let mut left = Vec::new();
        for bytes in shown.run(head.term, head.entries_in_term + 1) {
            let fits = left.is_empty() && adopted.push(&bytes, TermBody::ADOPTED_BYTES_MAX) == Ok(true);
            if !fits {
                left.push(bytes);
            }
        }
        let place = Place { shard: chain.shard(), term: self.term, position: chain.next(), base: head.sum };
        let body = TermBody {
            version: membership.version(),
            owner: membership.me(),
            incarnation: membership.incarnation(),
            cause: if head.owner.is_none() { Cause::First } else { Cause::Claim },
            previous: head.term,
            adopted: adopted.finish(),
        };
        let record = encode(place, &Body::Term(body)).expect("adopted entries are bounded");
        (Flight::begin(now, record), left)
    }
}
