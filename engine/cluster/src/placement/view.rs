//! View: what a node hears of all live nodes and their shards, itself included.
//!
//! Why a copy: placement compares what is with what was, and asks the same question of several nodes.
//! Invariant: nodes are in the order of their numbers, and shards too, so that all nodes count alike.

use std::collections::{BTreeMap, BTreeSet};

use grandstand_engine::link::ShardId;

use super::{BEHIND_MAX, score};
use crate::id::NodeId;
use crate::membership::{Membership, ShardReport};
use crate::time::OwnTime;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct View {
    nodes: BTreeMap<NodeId, BTreeMap<ShardId, ShardReport>>,
    draining: BTreeSet<NodeId>,
}

impl View {
    pub(super) fn of(now: OwnTime, membership: &Membership, mine: &[ShardReport]) -> Self {
        let all = membership.live(now).chain([(membership.me(), mine)]);
        let by_shard =
            |reports: &[ShardReport]| reports.iter().map(|report| (report.shard, *report)).collect();
        let nodes: BTreeMap<_, _> = all.map(|(node, reports)| (node, by_shard(reports))).collect();
        let draining = nodes.keys().copied().filter(|node| membership.drains(*node)).collect();
        View { nodes, draining }
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.keys().copied()
    }

    /// Are the same nodes there, able to own something, and draining?
    pub(super) fn has_nodes_of(&self, other: &View) -> bool {
        let is_same = self.able().eq(other.able()) && self.nodes().eq(other.nodes());
        is_same && self.draining == other.draining
    }

    /// Does a node give its shards away?
    pub(super) fn has_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Has each shard the same owners?
    pub(super) fn has_owners_of(&self, other: &View) -> bool {
        let owned = |view: &View| -> Vec<(NodeId, ShardId)> {
            view.nodes().flat_map(|node| view.shards_of(node).map(move |shard| (node, shard))).collect()
        };
        owned(self) == owned(other)
    }

    /// The shards that a node says it owns.
    pub(super) fn shards_of(&self, node: NodeId) -> impl Iterator<Item = ShardId> {
        let reports = self.nodes.get(&node).into_iter().flatten();
        reports.filter(|(_, report)| report.owns).map(|(shard, _)| *shard)
    }

    pub(super) fn can_own(&self, node: NodeId, shard: ShardId) -> bool {
        self.nodes.get(&node).and_then(|reports| reports.get(&shard)).is_some_and(|report| report.can_own)
    }

    /// Could it own the shard, and has it almost all of its log?
    pub(super) fn is_near(&self, node: NodeId, shard: ShardId) -> bool {
        self.can_own(node, shard) && self.behind(node, shard) <= BEHIND_MAX
    }

    /// How many records of a shard's log a node has not.
    pub(super) fn behind(&self, node: NodeId, shard: ShardId) -> u64 {
        let position = |reports: &BTreeMap<ShardId, ShardReport>| Some(reports.get(&shard)?.position.0);
        let last = self.nodes.values().filter_map(position).max().unwrap_or(0);
        last.saturating_sub(self.nodes.get(&node).and_then(position).unwrap_or(0))
    }

    /// Nodes that can own any shard.
    fn able(&self) -> impl Iterator<Item = NodeId> {
        let is_able =
            |reports: &BTreeMap<ShardId, ShardReport>| reports.values().any(|report| report.can_own);
        self.nodes.iter().filter(move |(_, reports)| is_able(reports)).map(|(node, _)| *node)
    }

    /// How many say that they own each shard.
    fn owners(&self) -> BTreeMap<ShardId, usize> {
        let mut owners = BTreeMap::new();
        for (shard, report) in self.nodes.values().flatten() {
            *owners.entry(*shard).or_insert(0) += usize::from(report.owns);
        }
        owners
    }

    /// Has every shard one owner?
    pub(super) fn is_whole(&self) -> bool {
        self.owners().values().all(|owners| *owners == 1)
    }

    /// Shards that nobody owns.
    pub(super) fn orphans(&self) -> Vec<ShardId> {
        self.owners().into_iter().filter(|(_, owners)| *owners == 0).map(|(shard, _)| shard).collect()
    }

    /// How many shards each node shall own. Equal numbers; where they are not, those that have most keep one
    /// more, so that nothing moves for it.
    pub(super) fn quotas(&self) -> BTreeMap<NodeId, usize> {
        let shards = self.owners().len();
        let mut able: Vec<NodeId> = self.able().collect();
        able.sort_by_key(|node| (usize::MAX - self.shards_of(*node).count(), *node));
        let mut quotas: BTreeMap<NodeId, usize> = self.nodes().map(|node| (node, 0)).collect();
        let nodes = able.len();
        for (ix, node) in able.into_iter().enumerate() {
            quotas.insert(node, shards / nodes + usize::from(ix < shards % nodes));
        }
        quotas
    }

    /// The node to which a shard falls if `may` says so, without the one that has it.
    pub(super) fn best(&self, shard: ShardId, not: NodeId, may: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        self.heirs(&[shard], |node, _| node != not && may(node)).remove(&shard)
    }

    /// Spreads shards over the nodes that may have them: each to the one with the fewest by then, and of
    /// these to the one with the highest score.
    pub(super) fn heirs(
        &self,
        shards: &[ShardId],
        may: impl Fn(NodeId, ShardId) -> bool,
    ) -> BTreeMap<ShardId, NodeId> {
        let owned = |node: NodeId| self.shards_of(node).filter(|shard| !shards.contains(shard)).count();
        let mut counts: BTreeMap<NodeId, usize> = self.nodes().map(|node| (node, owned(node))).collect();
        let mut heirs = BTreeMap::new();
        for shard in shards {
            let able = self.nodes().filter(|node| may(*node, *shard));
            let heir = able.min_by_key(|node| (counts[node], u64::MAX - score(*shard, *node)));
            if let Some(heir) = heir {
                heirs.insert(*shard, heir);
                *counts.entry(heir).or_default() += 1;
            }
        }
        heirs
    }
}
