//! Node: one node of a world: its seat and membership behind a clock of its own.
//!
//! Why the clock: rates differ by up to 3 %, and each life of a node counts from another point.

use bytes::Bytes;
use grandstand_engine::link::ShardId;

use super::chance::Chance;
use crate::appender::AppenderConfig;
use crate::id::{Incarnation, NodeId, Position, Term};
use crate::membership::{Config, Facts, Membership, Versions};
use crate::planted::{self, Fault};
use crate::record::ChainHead;
use crate::seat::{Output, Phase, Seat, ShownEntry};
use crate::time::OwnTime;

pub(super) const NODES: usize = 3;
pub(super) const SHARD: ShardId = ShardId(0);

/// See the file's head.
pub(super) struct Node {
    pub(super) id: usize,
    pub(super) seat: Seat,
    pub(super) membership: Membership,
    pub(super) is_alive: bool,
    pub(super) paused_until: u64,
    /// What arrived during a pause.
    pub(super) waiting: Vec<super::world::Message>,
    pub(super) life: u64,
    rate_ppm: u64,
    started_us: u64,
    pub(super) next_heartbeat: u64,
    pub(super) next_ping: u64,
    pub(super) next_push: u64,
    pub(super) restate_asked: u64,
    outputs: Vec<Output>,
    /// When the seat said that it is due, if nothing came since.
    due: Option<OwnTime>,
    /// Why a driver that sleeps until then would be wrong.
    pub(super) overslept: Option<String>,
    /// The copy: valid records, by position and sum, with the head after each.
    pub(super) copy: Vec<ChainHead>,
    /// What its viewers saw in this life, from other owners: term and content.
    pub(super) shown: Vec<(Term, u64)>,
    /// What was pushed under the present term, by index.
    pub(super) pushed: Vec<u64>,
}

impl Node {
    pub(super) fn new(id: usize, now_us: u64, life: u64, copy: Vec<ChainHead>, chance: &mut Chance) -> Self {
        let facts = Facts { seed: 1, shards: 1, ticket_key_print: 2 };
        let config = Config {
            me: NodeId(id as u8),
            incarnation: Incarnation(life),
            nodes: (0..NODES as u8).map(NodeId).collect(),
            facts,
            versions: Versions { min: 1, max: 1 },
        };
        let rate_ppm = chance.between(970_000, 1_030_000);
        let started = OwnTime(chance.between(0, 1_000_000));
        let membership = Membership::new(started, config).unwrap();
        let head = copy.last().copied().unwrap_or_default();
        let seat = Seat::new(AppenderConfig::default(), SHARD, head, &membership);
        Node {
            id,
            seat,
            membership,
            is_alive: true,
            paused_until: 0,
            waiting: Vec::new(),
            life,
            rate_ppm,
            started_us: now_us.wrapping_sub(started.0 * 1_000_000_000 / rate_ppm),
            next_heartbeat: now_us,
            next_ping: now_us,
            next_push: now_us,
            restate_asked: 0,
            outputs: Vec::new(),
            due: None,
            overslept: None,
            copy,
            shown: Vec::new(),
            pushed: Vec::new(),
        }
    }

    /// Its own time.
    pub(super) fn own(&self, now_us: u64) -> OwnTime {
        OwnTime(
            (u128::from(now_us.wrapping_sub(self.started_us)) * u128::from(self.rate_ppm) / 1_000_000_000)
                as u64,
        )
    }

    pub(super) fn runs(&self, now_us: u64) -> bool {
        self.is_alive && now_us >= self.paused_until
    }

    pub(super) fn acts(&self, now_us: u64) -> bool {
        self.runs(now_us) && self.seat.acts_under(self.own(now_us)).is_some()
    }

    /// A turn without an input before its time must find nothing to do; after one the seat is due later.
    pub(super) fn poll(&mut self, now_us: u64) {
        let own = self.own(now_us);
        let mine = [self.seat.report(own)];
        let phase = self.seat.phase();
        self.seat.poll(own, &self.membership, &mine);
        self.outputs.extend(std::iter::from_fn(|| self.seat.next_output()));
        // A node that waits to claim is looked at again and again; a planted appender sends more than is due.
        let may_judge = phase != Phase::Orphan && !planted::is(Fault::TwoInFlight);
        let is_early = self.due.take().is_some_and(|due| own < due);
        if is_early && may_judge && (!self.outputs.is_empty() || phase != self.seat.phase()) {
            let (to, outputs) = (self.seat.phase(), &self.outputs);
            self.overslept =
                Some(format!("node {}: before it was due, {phase:?} to {to:?}: {outputs:?}", self.id));
        }
        let due = self.seat.due(own, &self.membership);
        if due <= own && !planted::is(Fault::TwoInFlight) {
            self.overslept = Some(format!("node {}: due at {due:?} after a turn at {own:?}", self.id));
        }
        self.due = Some(due);
    }

    /// Something came: what was due before means nothing now.
    pub(super) fn wake(&mut self) {
        self.due = None;
    }

    pub(super) fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// An entry with this content, if this node may act.
    pub(super) fn push(&mut self, now_us: u64, content: u64) -> Option<ShownEntry> {
        let bytes = entry(content);
        self.wake();
        let (term, index) = self.seat.push(self.own(now_us), bytes.clone()).ok()?;
        Some(ShownEntry { term, index, bytes })
    }
}

/// An entry is a number.
pub(super) fn entry(content: u64) -> Bytes {
    [&8_u32.to_le_bytes()[..], &content.to_le_bytes()].concat().into()
}

/// The number of an entry.
pub(super) fn content(entry: &[u8]) -> u64 {
    u64::from_le_bytes(entry[4..].try_into().unwrap())
}

/// The place of a record, for comparisons of copies.
pub(super) fn place(head: &ChainHead) -> (Position, u64) {
    (head.position, head.sum)
}
