//! Log watch: what the owner of shards does about a log that is slow, or out of reach from here alone.
//!
//! Why the owner: a server whose disk is slow goes on leading a log, and no election comes of it; and a node
//! that reaches the wrong server waits for acknowledgements while all others would get them.
//! How: of each shard it knows how long the last records waited for their acknowledgement. Where half of them
//! waited for more than [`SLOW_MS`], the log's leader is asked to step down. Where a record waits while other
//! nodes hear the log's leader for [`STUCK_MS`], the node moves its connection to another server first, and
//! then leaves the shard to others. What others heard before the record waited counts for nothing: a leader
//! that has just died is still in their reports.
//! Invariants: a leader is asked to step down at most once in [`PATIENCE_MS`], and less often while that does
//! not help, so a cluster whose disks are all slow is not disturbed. The connection moves at most once in
//! [`MOVE_EVERY_MS`].
//! Not here: the leader on the owner's own server (`grandstand-nats`), the requests themselves.

use std::collections::VecDeque;

use grandstand_engine::link::ShardId;

use crate::time::OwnTime;

/// Half of the acknowledgements above this: slow. A disk that syncs takes 1 to 10 ms.
pub const SLOW_MS: u64 = 50;
/// A record that waits for this long, while other nodes hear the log's leader, is stuck.
pub const STUCK_MS: u64 = 1_000;
/// So long after a leader died other nodes may still say that they hear it: they look every 2 s, believe it
/// for 3 s, and say it with the next heartbeat.
pub const STALE_MS: u64 = 3_500;
/// Between two requests to step down, at first.
pub const PATIENCE_MS: u64 = 30_000;
/// The longest time between two of them.
const PATIENCE_MAX_MS: u64 = 960_000;
/// Between two moves of the connection.
pub const MOVE_EVERY_MS: u64 = 10_000;
/// After a move of the connection, a stuck record has this much time.
const AFTER_MOVE_MS: u64 = 1_500;
/// Acknowledgements that are looked at, and how many there must be.
const SAMPLES: usize = 16;
const SAMPLES_MIN: usize = 8;
/// Older ones say nothing of now.
const FRESH_MS: u64 = 30_000;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ask the leader of a shard's log to step down in favour of another.
    StepDown(ShardId),
    /// Connect to another server.
    MoveConnection,
    /// Leave a shard to other nodes.
    Withdraw(ShardId),
}

/// What is known of a shard beside its acknowledgements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Does this node own it?
    pub owns: bool,
    /// Could another server lead its log?
    pub has_other: bool,
    /// Do other nodes hear the log's leader?
    pub is_heard_by_others: bool,
}

#[derive(Debug, Default)]
struct Shard {
    /// Since when the record in flight waits.
    waits_since: Option<OwnTime>,
    /// Since when it waits although other nodes hear the log's leader.
    heard_since: Option<OwnTime>,
    /// When acknowledgements came, and after how many milliseconds.
    times: VecDeque<(OwnTime, u64)>,
    stepped_down: Option<OwnTime>,
    patience_ms: u64,
}

/// See the file's head.
#[derive(Debug)]
pub struct LogWatch {
    shards: Vec<Shard>,
    moved: Option<OwnTime>,
}

impl LogWatch {
    /// Of so many shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        LogWatch { shards: (0..shards).map(|_| Shard::default()).collect(), moved: None }
    }

    /// A record of a shard is on its way, for the first time or again.
    pub fn handle_append(&mut self, now: OwnTime, shard: ShardId) {
        if let Some(shard) = self.shards.get_mut(usize::from(shard.0)) {
            shard.waits_since.get_or_insert(now);
        }
    }

    /// It was acknowledged.
    pub fn handle_acknowledged(&mut self, now: OwnTime, shard: ShardId) {
        let Some(shard) = self.shards.get_mut(usize::from(shard.0)) else { return };
        let Some(since) = shard.waits_since.take() else { return };
        shard.heard_since = None;
        if shard.times.len() == SAMPLES {
            shard.times.pop_front();
        }
        shard.times.push_back((now, now.since(since)));
    }

    /// How long half of a shard's last records waited at most for their acknowledgement.
    #[must_use]
    pub fn half_ms(&self, shard: ShardId) -> Option<u64> {
        let times = &self.shards.get(usize::from(shard.0))?.times;
        let mut times: Vec<u64> = times.iter().map(|(_, ms)| *ms).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    /// What is to be done now; `seen` is of each shard, in their order.
    pub fn poll(&mut self, now: OwnTime, seen: &[Seen]) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut is_stuck = false;
        for ((ix, shard), seen) in self.shards.iter_mut().enumerate().zip(seen) {
            let id = ShardId(ix as u16);
            if !seen.owns {
                *shard = Shard::default();
                continue;
            }
            if shard.is_slow(now) && seen.has_other && shard.may_step_down(now) {
                acts.push(Act::StepDown(id));
            }
            let waits = shard.waits_since.map_or(0, |since| now.since(since));
            if !shard.is_stuck(now, seen.is_heard_by_others) {
                continue;
            }
            match self.moved.map(|moved| now.since(moved)) {
                // Nobody tried another server yet, in the time of this record.
                moved if moved.is_none_or(|since| since >= MOVE_EVERY_MS.max(waits)) => is_stuck = true,
                Some(since) if since >= AFTER_MOVE_MS => {
                    acts.push(Act::Withdraw(id));
                    (shard.waits_since, shard.heard_since) = (None, None);
                }
                _ => {}
            }
        }
        if is_stuck {
            self.moved = Some(now);
            acts.push(Act::MoveConnection);
        }
        acts
    }
}

impl Shard {
    fn is_stuck(&mut self, now: OwnTime, is_heard_by_others: bool) -> bool {
        let Some(since) = self.waits_since.filter(|_| is_heard_by_others) else {
            self.heard_since = None;
            return false;
        };
        let heard = *self.heard_since.get_or_insert(now);
        now.since(heard.max(since.plus(STALE_MS))) >= STUCK_MS
    }

    fn is_slow(&mut self, now: OwnTime) -> bool {
        while self.times.front().is_some_and(|(at, _)| now.since(*at) >= FRESH_MS) {
            self.times.pop_front();
        }
        let slow = self.times.iter().filter(|(_, ms)| *ms > SLOW_MS).count();
        let is_slow = self.times.len() >= SAMPLES_MIN && slow * 2 > self.times.len();
        // It helped: the next time is the first one again.
        if !is_slow && self.times.len() >= SAMPLES_MIN {
            self.patience_ms = 0;
        }
        is_slow
    }

    fn may_step_down(&mut self, now: OwnTime) -> bool {
        if self.stepped_down.is_some_and(|at| now.since(at) < self.patience_ms.max(PATIENCE_MS)) {
            return false;
        }
        self.patience_ms = (self.patience_ms * 2).clamp(PATIENCE_MS, PATIENCE_MAX_MS);
        self.stepped_down = Some(now);
        // What was measured is of the leader that goes.
        self.times.clear();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(1);
    const STUCK_AT: u64 = STALE_MS + STUCK_MS;
    const OWNED: Seen = Seen { owns: true, has_other: true, is_heard_by_others: true };

    fn seen(of: Seen) -> [Seen; 2] {
        [Seen::default(), of]
    }

    /// Appends for so long, each acknowledged after so many milliseconds; what was done, and when.
    fn acts(watch: &mut LogWatch, from: u64, until: u64, ack_ms: u64, of: Seen) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        let mut now = from;
        while now < until {
            watch.handle_append(OwnTime(now), SHARD);
            now += ack_ms.max(10);
            watch.handle_acknowledged(OwnTime(now), SHARD);
            acts.extend(watch.poll(OwnTime(now), &seen(of)).into_iter().map(|act| (now - from, act)));
        }
        acts
    }

    #[test]
    fn a_slow_leader_steps_down_once_and_then_ever_less_often() {
        let mut watch = LogWatch::new(2);
        assert_eq!(acts(&mut watch, 0, 60_000, SLOW_MS, OWNED), [], "slow is more than that");
        let slow = acts(&mut watch, 100_000, 400_000, SLOW_MS + 10, OWNED);
        let at: Vec<u64> = slow.iter().map(|(at, _)| *at).collect();
        assert!(slow.iter().all(|(_, act)| *act == Act::StepDown(SHARD)));
        assert!(at[0] < 2_000 && at.len() <= 5, "{at:?}");
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= PATIENCE_MS), "{at:?}");
        assert!(at[3] - at[2] > at[1] - at[0], "{at:?}");
        assert_eq!(watch.half_ms(SHARD), Some(SLOW_MS + 10));
        // It helped; much later another one is slow.
        assert_eq!(acts(&mut watch, 500_000, 510_000, 5, OWNED), []);
        assert_eq!(acts(&mut watch, 900_000, 910_000, 80, OWNED).len(), 1);
    }

    #[test]
    fn no_leader_steps_down_where_nobody_else_can_lead_or_few_were_measured() {
        let alone = Seen { has_other: false, ..OWNED };
        assert_eq!(acts(&mut LogWatch::new(2), 0, 60_000, 80, alone), []);
        let of_others = Seen { owns: false, ..OWNED };
        assert_eq!(acts(&mut LogWatch::new(2), 0, 60_000, 80, of_others), []);
        assert_eq!(acts(&mut LogWatch::new(2), 0, 7 * 80, 80, OWNED), []);
    }

    #[test]
    fn a_stuck_record_moves_the_connection_and_then_leaves_the_shard() {
        let mut watch = LogWatch::new(2);
        watch.handle_append(OwnTime(1_000), SHARD);
        let mut acts = Vec::new();
        for now in 1_000..9_000 {
            watch.handle_append(OwnTime(now), SHARD);
            acts.extend(watch.poll(OwnTime(now), &seen(OWNED)).into_iter().map(|act| (now, act)));
            if acts.len() == 2 {
                break;
            }
        }
        assert_eq!(acts, [(5_500, Act::MoveConnection), (7_000, Act::Withdraw(SHARD))]);
        // Acknowledged after the move: it keeps the shard.
        let mut watch = LogWatch::new(2);
        watch.handle_append(OwnTime(0), SHARD);
        assert_eq!(watch.poll(OwnTime(STALE_MS), &seen(OWNED)), []);
        assert_eq!(watch.poll(OwnTime(STUCK_AT), &seen(OWNED)), [Act::MoveConnection]);
        watch.handle_acknowledged(OwnTime(5_200), SHARD);
        assert_eq!(watch.poll(OwnTime(9_000), &seen(OWNED)), []);
        // Nobody hears a leader: there is nothing better anywhere.
        let mut watch = LogWatch::new(2);
        watch.handle_append(OwnTime(0), SHARD);
        let unheard = Seen { is_heard_by_others: false, ..OWNED };
        assert_eq!(watch.poll(OwnTime(60_000), &seen(unheard)), []);
    }

    #[test]
    fn the_death_of_a_leader_and_the_election_of_the_next_disturb_nobody() {
        let mut watch = LogWatch::new(2);
        watch.handle_append(OwnTime(10_000), SHARD);
        for now in 10_000..18_000 {
            // Others say for a while that they hear the one that died, and then hear the next one first.
            let is_heard_by_others = !(13_400..17_100).contains(&now);
            assert_eq!(watch.poll(OwnTime(now), &seen(Seen { is_heard_by_others, ..OWNED })), [], "{now}");
        }
        watch.handle_acknowledged(OwnTime(18_000), SHARD);
    }

    #[test]
    fn the_connection_moves_once_for_all_shards_and_not_again_at_once() {
        let mut watch = LogWatch::new(2);
        let both = [OWNED, OWNED];
        watch.handle_append(OwnTime(0), ShardId(0));
        watch.handle_append(OwnTime(0), SHARD);
        assert_eq!(watch.poll(OwnTime(STALE_MS), &both), []);
        assert_eq!(watch.poll(OwnTime(STUCK_AT), &both), [Act::MoveConnection]);
        let left = watch.poll(OwnTime(STUCK_AT + AFTER_MOVE_MS), &both);
        assert_eq!(left, [Act::Withdraw(ShardId(0)), Act::Withdraw(SHARD)]);
        // The next stuck record, soon after: the other server was tried already.
        watch.handle_append(OwnTime(7_000), SHARD);
        assert_eq!(watch.poll(OwnTime(9_000), &both), []);
        assert_eq!(watch.poll(OwnTime(7_000 + STUCK_AT), &both), [Act::Withdraw(SHARD)]);
        watch.handle_append(OwnTime(30_000), SHARD);
        assert_eq!(watch.poll(OwnTime(31_000), &both), []);
        assert_eq!(watch.poll(OwnTime(30_000 + STUCK_AT), &both), [Act::MoveConnection]);
    }
}
