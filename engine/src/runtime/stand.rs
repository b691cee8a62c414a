//! Stand: whoever sits in a seat and handles one shard's inputs: its owner, or on a node of a cluster the
//! shard's stand, which owns the shard at some times and follows it at others.
//!
//! Why a trait: the seat has a thread, queues and outlets, and must not know who owns the shard. A single
//! node seats a [`Shard`].
//! Invariant: `handle_*` never waits. After it, the seat takes outputs until there are none.
//! Not here: the seat's turn (`seat`), a cluster's stand (`grandstand-cluster`).

use crate::link::{Input, Now, Output, WorkerId};
use crate::log::HandedRoom;
use crate::shard::{Followed, Shard};

/// See the file's head.
pub trait Stand: Send {
    /// May inputs be handed in now? While not, they wait in the inbox.
    fn is_taking(&self) -> bool {
        true
    }

    /// Take an input of one of this node's workers, or of the node itself.
    fn handle_input(&mut self, now: Now, input: Input);

    /// Take what came by the seat's doorbell and not through the inbox.
    fn handle_news(&mut self, now: Now);

    /// Does something wait for [`Self::handle_news`]?
    fn has_news(&mut self) -> bool;

    /// Do what is due.
    fn handle_timeout(&mut self, now: Now);

    /// The time of the next [`Self::handle_timeout`], by the monotonic clock of [`Now`].
    fn poll_timeout(&self) -> Option<u64>;

    /// The next output, and the worker of this node that gets it.
    fn poll_output(&mut self) -> Option<(WorkerId, Output)>;

    /// Outputs that had to wait for a worker, and those for workers that are gone: for the counters.
    fn count_outputs(&mut self, overflowed: u64, dropped: u64);

    /// A worker of this node has ended.
    fn handle_worker_gone(&mut self, now: Now, worker: WorkerId);

    /// Workers follow rooms of the shard since before this stand sat down.
    fn handle_followed(&mut self, now: Now, followed: &Followed);

    /// The rooms that workers follow, for whoever sits here next.
    fn followed(&self) -> Vec<Followed>;

    /// Seal what waits, and take no more inputs: whoever sits here next takes them.
    fn handle_handing(&mut self, now: Now);

    /// After [`Self::handle_handing`]: is everything kept and answered?
    fn is_handed(&self) -> bool;

    /// Has the log everything?
    fn is_flushed(&self) -> bool;

    /// Refuse every request that still waits for an answer.
    fn give_up_answers(&mut self);

    /// After [`Self::handle_handing`]: the rooms, for an owner in another process.
    fn hand_rooms(&self, now: Now) -> Vec<HandedRoom>;
}

impl Stand for Shard {
    fn handle_input(&mut self, now: Now, input: Input) {
        Shard::handle_input(self, now, input);
    }

    fn handle_news(&mut self, now: Now) {
        Shard::handle_news(self, now);
    }

    fn has_news(&mut self) -> bool {
        Shard::has_news(self)
    }

    fn handle_timeout(&mut self, now: Now) {
        Shard::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<u64> {
        Shard::poll_timeout(self)
    }

    fn poll_output(&mut self) -> Option<(WorkerId, Output)> {
        Shard::poll_output(self)
    }

    fn count_outputs(&mut self, overflowed: u64, dropped: u64) {
        Shard::count_outputs(self, overflowed, dropped);
    }

    fn handle_worker_gone(&mut self, now: Now, worker: WorkerId) {
        Shard::handle_worker_gone(self, now, worker);
    }

    fn handle_followed(&mut self, now: Now, followed: &Followed) {
        Shard::handle_followed(self, now, followed);
    }

    fn followed(&self) -> Vec<Followed> {
        Shard::followed(self)
    }

    fn handle_handing(&mut self, now: Now) {
        Shard::handle_handing(self, now);
    }

    fn is_handed(&self) -> bool {
        Shard::is_handed(self)
    }

    fn is_flushed(&self) -> bool {
        Shard::is_flushed(self)
    }

    fn give_up_answers(&mut self) {
        Shard::give_up_answers(self);
    }

    fn hand_rooms(&self, now: Now) -> Vec<HandedRoom> {
        Shard::hand_rooms(self, now)
    }
}
