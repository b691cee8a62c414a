//! Watch: whether this node can follow the log that is there, and why not.
//!
//! Why: the log may have dropped its oldest records while this node was away, and the servers may lose what
//! they acknowledged. Nothing arrives in both cases, which looks like silence, so each is found out by
//! comparing: this copy with the log's two ends, and with what the other nodes say that they have.
//! Invariants: a log that seems to end too early is believed to have forgotten only after
//! [`FORGOTTEN_AFTER_MS`], since a server that was replaced as the leader names an old end for a while. Until
//! then nobody claims the shard. A trouble ends when the log and this copy fit again.
//! Not here: what is done against it (the node), who owns the shard (`Seat`).

use std::fmt;

use grandstand_engine::link::ShardId;

use crate::id::{NodeId, Position};
use crate::membership::Membership;
use crate::record::{Chain, Renewal};
use crate::time::OwnTime;

/// A leader that was replaced and does not know it answers for up to 10 s (measured).
pub const FORGOTTEN_AFTER_MS: u64 = 15_000;

/// Why this node cannot follow a shard's log. Each says what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The log begins behind what this copy has: a snapshot of another node is needed.
    Behind {
        /// The first position that this copy lacks.
        next: Position,
        /// The first that the log has.
        first: Position,
        /// What a log that was made anew goes on from.
        renewed: Option<Renewal>,
    },
    /// The log ends before records that this copy, or another node, has.
    Forgotten {
        /// The last position that the log has.
        end: Position,
        /// The last valid position that a copy has.
        known: Position,
    },
    /// Another node has valid records where this one has none: their copies differ.
    Differs {
        /// Which node.
        node: NodeId,
        /// Its last valid position.
        position: Position,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Behind { next, first, .. } => write!(
                f,
                "this node's copy lacks the log from position {} on, and the log begins at {}: it takes a \
                 snapshot of another node",
                next.0, first.0
            ),
            Trouble::Forgotten { end, known } => write!(
                f,
                "the log ends at position {}, and copies have records up to {}: the NATS servers lost them. \
                 Nothing is accepted; run `grandstand cluster repair`",
                end.0, known.0
            ),
            Trouble::Differs { node, position } => write!(
                f,
                "node {} has valid records up to position {} that do not follow what this node has: their \
                 copies differ; run `grandstand cluster repair`",
                node.0, position.0
            ),
        }
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Watch {
    behind: Option<(Position, Option<Renewal>)>,
    short: Option<Short>,
}

#[derive(Clone, Copy, Debug)]
struct Short {
    since: OwnTime,
    end: Position,
    known: Position,
    is_believed: bool,
}

impl Watch {
    /// The log's ends, by its leader. Returns whether it was just found to have forgotten.
    pub(super) fn look(
        &mut self,
        now: OwnTime,
        (first, end): (Position, Position),
        renewed: Option<Renewal>,
        chain: &Chain,
        membership: &Membership,
    ) -> bool {
        let is_behind = chain.next() < first && chain.next() <= end;
        self.behind = is_behind.then_some((first, renewed));
        let others = reports(now, chain.shard(), membership).map(|(_, position)| position);
        let known = others.fold(chain.head().position, Position::max);
        if end >= known {
            self.short = None;
            return false;
        }
        let short = self.short.get_or_insert(Short { since: now, end, known, is_believed: false });
        (short.end, short.known) = (end, known);
        let was_believed = short.is_believed;
        short.is_believed |= now.since(short.since) >= FORGOTTEN_AFTER_MS;
        short.is_believed && !was_believed
    }

    /// Does the log seem to end too early, believed or not?
    pub(super) fn is_short(&self) -> bool {
        self.short.is_some()
    }

    /// Another copy took the place of this one.
    pub(super) fn clear(&mut self) {
        *self = Watch::default();
    }

    /// Why this node cannot follow the log.
    pub(super) fn trouble(&self, now: OwnTime, chain: &Chain, membership: &Membership) -> Option<Trouble> {
        if let Some(Short { end, known, .. }) = self.short.filter(|short| short.is_believed) {
            return Some(Trouble::Forgotten { end, known });
        }
        if let Some((first, renewed)) = self.behind {
            return Some(Trouble::Behind { next: chain.next(), first, renewed });
        }
        // It judged that far, and found nothing valid where another node did.
        let (head, next) = (chain.head().position, chain.next());
        let differs = |position: Position| position > head && position < next;
        let mut others = reports(now, chain.shard(), membership);
        let (node, position) = others.find(|(_, position)| differs(*position))?;
        Some(Trouble::Differs { node, position })
    }

    /// Could this node own the shard?
    pub(super) fn is_well(&self) -> bool {
        self.behind.is_none() && !self.short.is_some_and(|short| short.is_believed)
    }
}

/// The last valid positions of the other nodes that are heard.
fn reports(
    now: OwnTime,
    shard: ShardId,
    membership: &Membership,
) -> impl Iterator<Item = (NodeId, Position)> {
    membership.live(now).filter_map(move |(node, reports)| {
        let report = reports.iter().find(|report| report.shard == shard)?;
        Some((node, report.position))
    })
}
