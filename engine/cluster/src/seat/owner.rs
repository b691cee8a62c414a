//! Owner: what a seat has while its node owns the shard: the appender, the freeze, the hand-over.
//!
//! Why apart: it exists only under a term, and ends with it as a whole.
//! Invariants: while the shard is handed over no entry is taken, and the term record of the next owner is
//! sent when everything before it is kept.
//! Not here: whether a majority supports the owner (`Lease`).

use super::message::Refused;
use super::promise::Promises;
use super::reading::Reading;
use crate::appender::Appender;
use crate::flight::{Attempts, Flight, FlightAction};
use crate::id::{NodeId, Position, Term};
use crate::membership::Membership;
use crate::record::{Body, Cause, Chain, Entries, Place, TermBody, encode};
use crate::time::OwnTime;

/// The hand-over of a shard to another node.
#[derive(Debug)]
pub(super) struct Handing {
    pub(super) to: NodeId,
    pub(super) flight: Option<Flight>,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) term: Term,
    pub(super) appender: Appender,
    pub(super) frozen_since: Option<OwnTime>,
    pub(super) handing: Option<Handing>,
}

impl Owner {
    pub(super) fn begin(term: Term, appender: Appender) -> Self {
        Owner { term, appender, frozen_since: None, handing: None }
    }

    /// Does it take entries? A handing owner leaves them to the next one.
    pub(super) fn takes(&self) -> Result<(), Refused> {
        if self.handing.is_some() { Err(Refused::Handing) } else { Ok(()) }
    }

    /// The term record of the next owner, on its way.
    pub(super) fn term_flight(&self) -> Option<&Flight> {
        self.handing.as_ref()?.flight.as_ref()
    }

    /// The position of the record in flight.
    pub(super) fn flight_position(&self) -> Option<Position> {
        let of_term = self.term_flight().map(|flight| flight.record().place.position);
        of_term.or_else(|| self.appender.in_flight_position())
    }

    /// Entries on their way into the log.
    pub(super) fn poll_appender(
        &mut self,
        now: OwnTime,
        chain: &Chain,
        reading: &Reading,
        attempts: &mut Attempts,
    ) -> Option<FlightAction> {
        let chain = (!reading.is_behind()).then_some(chain);
        self.appender.poll(now, chain, self.handing.is_some(), attempts)
    }

    /// When everything is kept, the owner itself writes the term of the next one.
    pub(super) fn poll_handing(
        &mut self,
        now: OwnTime,
        chain: &Chain,
        (reading, promises): (&Reading, &Promises),
        membership: &Membership,
        attempts: &mut Attempts,
    ) -> Option<FlightAction> {
        let handing = self.handing.as_mut()?;
        if handing.flight.is_none() {
            let incarnation = membership.incarnation_of(handing.to)?;
            if membership.misses(now, handing.to, incarnation) {
                self.handing = None;
                return None;
            }
            if !self.appender.is_idle() || reading.is_behind() {
                return None;
            }
            let body = TermBody {
                version: membership.version(),
                owner: handing.to,
                incarnation,
                cause: Cause::Clean,
                previous: self.term,
                adopted: Entries::default(),
            };
            let place = Place {
                shard: chain.shard(),
                term: self.term.max(promises.term()).next(),
                position: chain.next(),
                base: chain.head().sum,
            };
            let record = encode(place, &Body::Term(body)).expect("nothing is adopted");
            handing.flight = Some(Flight::begin(now, record));
        }
        handing.flight.as_mut()?.poll(now, attempts)
    }

    /// When the log is due next, without what is read of it.
    pub(super) fn due(&self, reading: &Reading, membership: &Membership) -> Option<OwnTime> {
        let next = if let Some(flight) = self.term_flight() {
            Some(flight.due())
        } else if self.appender.in_flight_position().is_none() && reading.is_behind() {
            None
        } else {
            self.appender.due(self.handing.is_some())
        };
        let missed = self.handing.as_ref().filter(|handing| handing.flight.is_none()).and_then(|handing| {
            Some(membership.missed_at(handing.to, membership.incarnation_of(handing.to)?))
        });
        [next, missed, self.appender.overdue_at()].into_iter().flatten().min()
    }
}
