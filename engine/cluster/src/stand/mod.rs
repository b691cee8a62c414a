//! Stand: one shard of a cluster at one node, whether the node owns the shard or follows it.
//!
//! Why one object for both: workers submit to the shard's inbox and read its outputs, and must not notice who
//! owns the shard. The *front* stands between them and the owner, the *seat* says who that is, the *owner*'s
//! part is there while it is this node, and the *copy* has what the log has kept.
//!
//! **A turn.** Inputs go to the front. What arrived from the network changes the seat. Then everything that
//! follows is done in one order: the seat's outputs, the shard's inputs, its entries, its outputs, the frames
//! for other nodes. So an entry is on its way to the log and to the other nodes before anybody here sees it.
//!
//! Invariants: nothing here waits or reads a clock. While the lease does not hold, the shard takes nothing,
//! does nothing and shows nothing. An output of an owner reaches a worker only if it is of the term that this
//! node follows.
//! Not here: who owns the shard (`seat`), the network (`wire` is its border), SQLite (`Copy`'s
//! implementation).

mod board;
mod copy;
mod follow;
mod front;
mod handed;
mod log;
mod moves;
mod owner;
mod turn;
mod wire;

use std::collections::{BTreeMap, VecDeque};

use grandstand_engine::config::ShardConfig;
use grandstand_engine::link::{Input, Now, Output, ShardId, WorkerId};
use grandstand_engine::log::{HandedRoom, News};
use grandstand_engine::runtime::Stand;
use grandstand_engine::runtime::clock::START_US;
use grandstand_engine::shard::Followed;
use grandstand_queue::Receiver;

pub use board::{Board, MoveCause, Notice, StandStatus};
pub use copy::Copy;
pub use wire::{Arrived, FromWire, ToWire, Wire};

use crate::appender::AppenderConfig;
use crate::id::Position;
use crate::link::UpFrame;
use crate::membership::{Membership, ShardReport};
use crate::placement::Placement;
use crate::record::{Cause, ChainHead};
use crate::seat::Seat;
use crate::time::OwnTime;
use follow::Follow;
use front::Front;
use handed::Handed;
use owner::Owner;

/// The configuration of a stand.
#[derive(Clone, Debug)]
pub struct StandConfig {
    /// Its shard.
    pub shard: ShardId,
    /// How many shards the cluster has.
    pub shards: u16,
    /// The cluster's seed, by which names belong to shards.
    pub seed: u64,
    /// The configuration of the rooms.
    pub rooms: ShardConfig,
    /// How entries are gathered for the log.
    pub appender: AppenderConfig,
    /// How long a worker's request waits for an owner; then it is refused.
    pub give_up_ms: u64,
    /// Are shards moved so that nodes own equal numbers?
    pub rebalances: bool,
}

/// What a stand uses.
pub struct StandParts {
    /// How this node hears the others.
    pub membership: Membership,
    /// The node's copy of the shard's log.
    pub copy: Box<dyn Copy>,
    /// To the network.
    pub wire: Box<dyn Wire>,
    /// From the network.
    pub arrivals: Receiver<Arrived>,
    /// What the node's stands say.
    pub board: Board,
}

/// See the file's head.
pub struct ClusterStand {
    config: StandConfig,
    membership: Membership,
    seat: Seat,
    front: Front,
    follow: Follow,
    owner: Option<Owner>,
    copy: Box<dyn Copy>,
    /// Pages that the present owner's shard asked the copy for: by the copy's number, the shard's.
    reads: BTreeMap<u64, u64>,
    read_number: u64,
    news: VecDeque<News>,
    wire: Box<dyn Wire>,
    arrivals: Receiver<Arrived>,
    board: Board,
    reported: Option<ShardReport>,
    outputs: VecDeque<(WorkerId, Output)>,
    /// Frames of followers that know of this node's term before it does.
    early: Vec<UpFrame>,
    /// What the owner that hands over to this node sent of its memory.
    handed: Handed,
    /// Why the present term began.
    cause: Option<Cause>,
    counts: Counts,
    next_turn: OwnTime,
    /// Was the shard's turn part of the last one?
    is_acting: bool,
    /// The node ends.
    is_ending: bool,
    /// Since when the copy is not sound.
    unsound_since: Option<OwnTime>,
    /// The node gives its shards away, until it is told otherwise.
    is_draining: bool,
    /// Of the node: the stand of the first shard works out which shard should move.
    placement: Option<Placement>,
    /// Does the log keep what it acknowledges?
    is_replicated: bool,
}

#[derive(Debug, Default)]
struct Counts {
    handed_over: u64,
    claimed: u64,
    moved: [u64; 3],
    withdrawn: u64,
    not_understood: Option<Position>,
    malformed: u64,
    restatements: u64,
}

impl std::fmt::Debug for ClusterStand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterStand").field("shard", &self.config.shard).finish_non_exhaustive()
    }
}

impl ClusterStand {
    /// The stand of a shard, which follows at first.
    ///
    /// # Panics
    /// If the copy's head is not of this version: check a copy before it is used.
    #[must_use]
    pub fn new(now: Now, config: StandConfig, parts: StandParts) -> Self {
        let StandParts { membership, copy, wire, arrivals, board } = parts;
        let head = copy.head().map(|bytes| ChainHead::decode(&bytes).expect("the copy's head was checked"));
        let seat = Seat::new(config.appender, config.shard, head.unwrap_or_default(), &membership);
        let own = own(now);
        let me = (membership.me(), membership.incarnation());
        ClusterStand {
            front: Front::new(config.give_up_ms),
            follow: Follow::new(own, me),
            owner: None,
            reads: BTreeMap::new(),
            read_number: 0,
            news: VecDeque::new(),
            reported: None,
            outputs: VecDeque::new(),
            early: Vec::new(),
            handed: Handed::default(),
            cause: None,
            counts: Counts::default(),
            next_turn: own,
            is_acting: false,
            is_ending: false,
            unsound_since: None,
            is_draining: false,
            placement: (config.shard == ShardId(0)).then(|| Placement::new(own)),
            is_replicated: true,
            config,
            membership,
            seat,
            copy,
            wire,
            arrivals,
            board,
        }
    }
}

/// The node's own time: milliseconds since its clock started.
#[must_use]
pub fn own(now: Now) -> OwnTime {
    OwnTime(now.us.saturating_sub(START_US) / 1000)
}

/// The same as the engine has it.
fn engine_us(own: OwnTime) -> u64 {
    START_US + own.0 * 1000
}

impl Stand for ClusterStand {
    fn handle_input(&mut self, now: Now, input: Input) {
        self.front.handle_input(own(now).0, input);
    }

    fn handle_news(&mut self, now: Now) {
        while let Some(arrived) = self.arrivals.pop() {
            self.handle_arrived(now, arrived);
        }
        while let Some(news) = self.next_news() {
            self.handle_copy_news(news);
        }
    }

    fn has_news(&mut self) -> bool {
        if self.news.is_empty()
            && let Some(news) = self.copy.poll()
        {
            self.news.push_back(news);
        }
        !self.news.is_empty() || !self.arrivals.is_empty()
    }

    fn handle_timeout(&mut self, now: Now) {
        self.turn(now);
    }

    fn poll_timeout(&self) -> Option<u64> {
        // While no majority supports the owner, its shard does nothing, whatever is due in it.
        let shard = self.owner.as_ref().filter(|_| self.is_acting);
        let shard_us = shard.and_then(|owner| owner.shard.poll_timeout());
        let front_us = self.front.due_ms().map(|ms| engine_us(OwnTime(ms)));
        [shard_us, front_us, Some(engine_us(self.next_turn))].into_iter().flatten().min()
    }

    fn poll_output(&mut self) -> Option<(WorkerId, Output)> {
        self.outputs.pop_front().or_else(|| self.front.next_output())
    }

    fn count_outputs(&mut self, overflowed: u64, dropped: u64) {
        if let Some(owner) = &mut self.owner {
            owner.shard.count_outputs(overflowed, dropped);
        }
    }

    fn handle_worker_gone(&mut self, _: Now, worker: WorkerId) {
        self.front.handle_worker_gone(worker);
    }

    fn handle_followed(&mut self, _: Now, _: &Followed) {}

    fn followed(&self) -> Vec<Followed> {
        Vec::new()
    }

    fn handle_handing(&mut self, now: Now) {
        self.is_ending = true;
        self.turn(now);
    }

    fn is_handed(&self) -> bool {
        self.owner.is_none() && self.front.is_idle()
    }

    fn is_flushed(&self) -> bool {
        self.owner.is_none()
    }

    fn give_up_answers(&mut self) {
        self.front.give_up();
    }

    fn hand_rooms(&self, _: Now) -> Vec<HandedRoom> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
