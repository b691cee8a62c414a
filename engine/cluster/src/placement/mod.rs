//! Placement: which node shall own which shard, as each node works it out for itself.
//!
//! Why no coordinator: a coordinator is one more thing that dies and whose state goes stale. Each node sees
//! the reports of all live nodes, and from the same reports all work out the same.
//! How: shards are spread in equal numbers. Which shard goes to which node is decided by rendezvous, a score
//! of shard and node that never changes, so that nodes agree and a shard tends to the same node again.
//! A shard moves only to make numbers equal or because its owner must give it away: a hand-over pauses
//! viewers for some milliseconds, and a better score is not worth that.
//! Invariants: only an owner moves a shard, and only to a node that is heard, could own it and has its log
//! almost to the end. Of excess and need each is paired once, so two nodes never fill the same place, and of
//! all pairs the first one moves alone. A node begins a move only if it has seen no node come or go for
//! [`STABLE_MS`] and no owner change for [`BETWEEN_MOVES_MS`]. While a node drains, numbers are not made
//! equal: its shards are on their way.
//! Not here: the hand-over itself (`seat`). The load of a shard is not weighed: reports do not hold it.

mod view;

use grandstand_engine::link::ShardId;

use crate::id::NodeId;
use crate::membership::{Membership, ShardReport};
use crate::order::HandOverRefusal;
use crate::time::OwnTime;
use view::View;

/// Nodes must have been the same for this long before shards move to make numbers equal: a node that restarts
/// is back by then.
pub const STABLE_MS: u64 = 15_000;
/// The least time between two owner changes that placement wants.
pub const BETWEEN_MOVES_MS: u64 = 1_000;
/// A node whose copy is at most this many records behind has the log almost to the end: what a busy shard
/// writes in two heartbeats and a little.
const BEHIND_MAX: u64 = 64;

/// What this node saw of the cluster, and since when it is so.
#[derive(Debug)]
pub struct Placement {
    view: View,
    nodes_since: OwnTime,
    owners_since: OwnTime,
}

impl Placement {
    /// Of a node that starts now.
    #[must_use]
    pub fn new(now: OwnTime) -> Self {
        Placement { view: View::default(), nodes_since: now, owners_since: now }
    }

    /// The shard that this node should hand over now, and to whom. `mine` is what this node says of all its
    /// shards. To be asked at least as often as heartbeats are sent, since it notices here what has changed;
    /// the answer stays the same until the move shows in `mine`, or a second has passed.
    pub fn next_move(
        &mut self,
        now: OwnTime,
        membership: &Membership,
        mine: &[ShardReport],
    ) -> Option<(ShardId, NodeId)> {
        let view = View::of(now, membership, mine);
        if !view.has_nodes_of(&self.view) {
            self.nodes_since = now;
        }
        if !view.has_owners_of(&self.view) {
            self.owners_since = now;
        }
        self.view = view;
        let is_stable = now.since(self.nodes_since) >= STABLE_MS;
        let is_quiet = now.since(self.owners_since) >= BETWEEN_MOVES_MS;
        let wanted = next_move(&self.view, membership.me()).filter(|_| is_stable && is_quiet)?;
        // Whoever does not carry it out is told again after a second, not at every look.
        self.owners_since = now;
        Some(wanted)
    }
}

/// The move that a node should make, of a cluster that is as in this view. Of a cluster in which a shard has
/// no owner, or two, there is none: an owner change is on its way.
fn next_move(view: &View, me: NodeId) -> Option<(ShardId, NodeId)> {
    if !view.is_whole() {
        return None;
    }
    let unfit = view.shards_of(me).find(|shard| !view.can_own(me, *shard));
    if let Some(shard) = unfit {
        return Some((shard, view.best(shard, me, |node| view.is_near(node, shard))?));
    }
    let quotas = view.quotas();
    let count_of = |node: NodeId| view.shards_of(node).count();
    let too_many = quotas
        .iter()
        .flat_map(|(node, quota)| std::iter::repeat_n(*node, count_of(*node).saturating_sub(*quota)));
    let too_few = quotas
        .iter()
        .flat_map(|(node, quota)| std::iter::repeat_n(*node, quota.saturating_sub(count_of(*node))));
    if view.has_draining() {
        return None;
    }
    // Of all moves that are needed the first that can be done is next, so that two nodes do not move at once.
    let next = too_many.zip(too_few).find_map(|(from, to)| {
        let may_go = view.shards_of(from).filter(|shard| view.is_near(to, *shard));
        Some((from, may_go.max_by_key(|shard| score(*shard, to))?, to))
    });
    next.filter(|(from, ..)| *from == me).map(|(_, shard, to)| (shard, to))
}

/// Where a node that stops hands this shard of its own: to the others in equal numbers. A node whose copy is
/// far behind gets one only if no other can: its viewers would wait until it has read the log.
#[must_use]
pub fn drain_to(
    now: OwnTime,
    membership: &Membership,
    mine: &[ShardReport],
    shard: ShardId,
) -> Option<NodeId> {
    let view = View::of(now, membership, mine);
    let me = membership.me();
    let own: Vec<ShardId> = view.shards_of(me).collect();
    let near = view.heirs(&own, |node, shard| node != me && view.is_near(node, shard));
    near.get(&shard).copied().or_else(|| {
        view.heirs(&[shard], |node, shard| node != me && view.can_own(node, shard)).remove(&shard)
    })
}

/// Why this node does not hand a shard of its own over to that node.
///
/// # Errors
/// See [`HandOverRefusal`].
pub fn may_hand_over(
    now: OwnTime,
    membership: &Membership,
    mine: &[ShardReport],
    (shard, to): (ShardId, NodeId),
) -> Result<(), HandOverRefusal> {
    let view = View::of(now, membership, mine);
    if to == membership.me() {
        return Err(HandOverRefusal::Itself(to));
    }
    if !view.nodes().any(|node| node == to) {
        return Err(HandOverRefusal::NotHeard(to));
    }
    if membership.drains(to) {
        return Err(HandOverRefusal::Drains(to));
    }
    if !view.can_own(to, shard) {
        return Err(HandOverRefusal::CannotOwn(to));
    }
    match view.behind(to, shard) {
        records if records > BEHIND_MAX => Err(HandOverRefusal::Behind(to, records)),
        _ => Ok(()),
    }
}

/// The nodes that may claim a shard without an owner, the first in rank first: the one to which all shards
/// without an owner, spread over the live nodes, fall in this case; then those with the fewest shards.
#[must_use]
pub fn ranks(now: OwnTime, membership: &Membership, shard: ShardId, mine: &[ShardReport]) -> Vec<NodeId> {
    let view = View::of(now, membership, mine);
    let mut orphans = view.orphans();
    if !orphans.contains(&shard) {
        // Somebody says that it owns the shard, under an old term: what others see counts.
        orphans.push(shard);
        orphans.sort_unstable();
    }
    let heirs = view.heirs(&orphans, |node, shard| view.can_own(node, shard));
    let mut ranks: Vec<NodeId> = view.nodes().filter(|node| view.can_own(*node, shard)).collect();
    ranks.sort_by_key(|node| {
        let others = view.shards_of(*node).filter(|owned| *owned != shard).count();
        (heirs.get(&shard) != Some(node), others, *node)
    });
    ranks
}

/// How much a shard belongs to a node: the same number at every node and in every release.
fn score(shard: ShardId, node: NodeId) -> u64 {
    let mut z =
        (u64::from(shard.0) << 8 | u64::from(node.0)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
