//! Seat: the place of one shard of a cluster at one node, as a state machine.
//!
//! ```text
//! Following ── owner missed ──▶ Orphan ── first in rank, a majority heard ──▶ Claiming
//!     ▲ ▲                          ▲                                             │ promises of a majority,
//!     │ └── a term names another ──┼── no majority, or no answer of the log ─────┤ the end of the log,
//!     │                            │                                             │ the term record is kept
//!     │                            └── no support for long ── Frozen ◀─▶ Owning ◀┘
//!     └──────────── the clean term of the next owner is kept ── Handing ◀──┘
//! ```
//!
//! Why one type: who owns a shard, what of its log is valid and what may be sent next are one question, and
//! whoever answers it in parts acts on two answers.
//! Invariants: the seat owns the shard if and only if the last valid term record that it read names this life
//! of this node, and it was not told or forced to stop. It appends under that term only. It acts as owner
//! only while a majority supports it (`Lease`).
//! Every input is judged at the time that it brings; [`Seat::poll`] must be called before anything is shown.
//! Not here: rooms, copies, links, NATS. What they have to do comes out as [`Output`].

mod claim;
mod due;
mod inputs;
mod log;
mod message;
mod owner;
mod promise;
mod reading;
mod shown;
mod turn;
mod watch;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use grandstand_engine::link::ShardId;

use crate::appender::{Appender, AppenderConfig};
use crate::flight::{Attempts, Flight};
use crate::id::{NodeId, Position, Term};
use crate::membership::{Lease, Membership, ShardReport};
use crate::record::{Chain, ChainHead};
use crate::time::OwnTime;
use claim::Claim;
use owner::Owner;
use promise::Promises;
use reading::Reading;
use shown::Shown;
use watch::Watch;

pub use log::{handle_ends, resume, trouble};
pub use message::{Answer, AnswerVerdict, Ask, Output, Refused, ShownEntry, StopCause};
pub use shown::EntryVerdict;
pub use watch::{FORGOTTEN_AFTER_MS, Trouble};

/// Where a seat is, for reports and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Another node owns the shard.
    Following,
    /// The owner is missed, and nobody has claimed the shard yet.
    Orphan,
    /// This node claims it.
    Claiming,
    /// This node owns it.
    Owning,
    /// This node owns it, and no majority hears it: it takes and shows nothing.
    Frozen,
    /// This node owns it, and hands it over.
    Handing,
}

#[derive(Debug)]
enum State {
    Following,
    Orphan { since: OwnTime },
    Claiming(Box<Claim>),
    Owning(Box<Owner>),
}

impl State {
    /// The position of the record in flight.
    fn flight_position(&self) -> Option<Position> {
        match self {
            State::Owning(owner) => owner.flight_position(),
            State::Claiming(claim) => claim.flight().map(|flight| flight.record().place.position),
            State::Following | State::Orphan { .. } => None,
        }
    }

    fn owner_mut(&mut self) -> Option<&mut Owner> {
        match self {
            State::Owning(owner) => Some(owner),
            State::Following | State::Orphan { .. } | State::Claiming(_) => None,
        }
    }

    /// The record in flight that begins a term, or adopts entries before it.
    fn term_flight(&mut self) -> Option<&mut Flight> {
        match self {
            State::Owning(owner) => owner.handing.as_mut().and_then(|handing| handing.flight.as_mut()),
            State::Claiming(claim) => match &mut claim.step {
                claim::Step::Appending(flight) => Some(flight),
                claim::Step::Asking { .. } | claim::Step::Reading => None,
            },
            State::Following | State::Orphan { .. } => None,
        }
    }
}

/// See the file's head.
#[derive(Debug)]
pub struct Seat {
    config: AppenderConfig,
    chain: Chain,
    promises: Promises,
    shown: Shown,
    lease: Lease,
    /// The newest own time that each node echoed, and the term that it said with it.
    echoes: BTreeMap<NodeId, (Term, OwnTime)>,
    state: State,
    /// The highest term that a refusal named.
    refused_term: Term,
    /// Is this node's copy sound?
    is_able: bool,
    /// Does this node give its shards away?
    is_draining: bool,
    /// Until when this node leaves the shard to others.
    withdrawn_until: OwnTime,
    attempts: Attempts,
    reading: Reading,
    watch: Watch,
    /// Since when the current term is known here.
    term_since: OwnTime,
    outputs: VecDeque<Output>,
}

impl Seat {
    /// Of a shard whose log this node's copy has up to `head`.
    #[must_use]
    pub fn new(config: AppenderConfig, shard: ShardId, head: ChainHead, membership: &Membership) -> Self {
        Seat {
            config,
            chain: Chain::resume(shard, head),
            promises: Promises::default(),
            shown: Shown::default(),
            lease: Lease::new(membership.majority()),
            echoes: BTreeMap::new(),
            state: State::Following,
            refused_term: Term(0),
            is_able: true,
            is_draining: false,
            withdrawn_until: OwnTime(0),
            attempts: Attempts::new(membership.incarnation()),
            reading: Reading::begin(),
            watch: Watch::default(),
            term_since: OwnTime(0),
            outputs: VecDeque::new(),
        }
    }

    /// The lowest term of which this node takes anything.
    pub(crate) fn floor(&self) -> Term {
        self.promises.floor(&self.chain)
    }

    /// What the driver has to do next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Where the seat is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Following => Phase::Following,
            State::Orphan { .. } => Phase::Orphan,
            State::Claiming(_) => Phase::Claiming,
            State::Owning(owner) if owner.frozen_since.is_some() => Phase::Frozen,
            State::Owning(owner) if owner.handing.is_some() => Phase::Handing,
            State::Owning(_) => Phase::Owning,
        }
    }

    /// What the heartbeat says of this shard.
    #[must_use]
    pub fn report(&self, now: OwnTime) -> ShardReport {
        let head = self.chain.head();
        ShardReport {
            shard: self.chain.shard(),
            term: self.floor(),
            owns: matches!(self.state, State::Owning(_)),
            claims: matches!(self.state, State::Claiming(_)),
            position: head.position,
            can_own: self.can_own(now),
        }
    }

    /// The log, as this node judges it.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What this owner has to append, for whoever watches the log.
    #[must_use]
    pub fn appender(&self) -> Option<&Appender> {
        let State::Owning(owner) = &self.state else { return None };
        Some(&owner.appender)
    }

    /// Entries that this owner has shown and the log has not, to restate them to a node.
    #[must_use]
    pub fn unkept(&self) -> Vec<ShownEntry> {
        let State::Owning(owner) = &self.state else { return Vec::new() };
        let of = |(index, bytes): (u64, &Bytes)| ShownEntry { term: owner.term, index, bytes: bytes.clone() };
        owner.appender.unkept().map(of).collect()
    }

    /// The term that this node owns the shard under, and may act under now.
    #[must_use]
    pub fn acts_under(&self, now: OwnTime) -> Option<Term> {
        match &self.state {
            State::Owning(owner)
                if owner.frozen_since.is_none() && self.promises.supports(owner.term, &self.lease, now) =>
            {
                Some(owner.term)
            }
            _ => None,
        }
    }

    fn can_own(&self, now: OwnTime) -> bool {
        let is_well =
            self.is_able && !self.is_draining && self.chain.stopped().is_none() && self.watch.is_well();
        is_well && now >= self.withdrawn_until
    }
}

#[cfg(test)]
mod tests;
