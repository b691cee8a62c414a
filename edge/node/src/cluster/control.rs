//! Control: an operator's orders at this node, whichever node they are for.
//!
//! Why here: the network carries an order to the node that can do it, and each node reads in the log whether
//! it was done.
//! Invariant: an order ends within [`DONE_WITHIN_MS`]: done, refused with the reason, or still under way.
//! Not here: what an order does (`grandstand_cluster::stand`), the admin port's paths (`http::admin`).

use std::sync::PoisonError;
use std::time::Duration;

use grandstand_cluster::id::NodeId;
use grandstand_cluster::link::VERSIONS;
use grandstand_cluster::order::{Order, Outcome};
use grandstand_cluster::seat::Phase;
use grandstand_cluster::time::OwnTime;
use grandstand_engine::link::ShardId;
use grandstand_nats::admin::{self, Agreed};
use tokio::time::{sleep, timeout};

use super::Cluster;
use crate::http::admin::Moved;

/// Longest wait for an answer of another node.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// Longest wait until a move is in the log. A request lives for 10 s.
const DONE_WITHIN_MS: u64 = 6_000;
/// Between two looks at the log.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// A node that was heard this long ago lives.
const LIVES_MS: u64 = 1_000;
/// How many times a move follows an owner that changes meanwhile.
const TRIES: usize = 3;

impl Cluster {
    /// Give all shards away, or own some again.
    pub(crate) fn set_draining(&self, is_draining: bool) {
        let nats = self.nats.lock().unwrap_or_else(PoisonError::into_inner);
        nats.iter().for_each(|nats| nats.drain(is_draining));
    }

    /// Are shards given away, and leaders moved off this node's server?
    pub(crate) fn has_given_away(&self) -> bool {
        let owns = |phase| matches!(phase, Phase::Owning | Phase::Frozen | Phase::Handing | Phase::Claiming);
        let network = self.network();
        let leads = network.server.is_some() && !network.leads.is_empty();
        !leads && !self.board.statuses().iter().any(|shard| owns(shard.phase))
    }

    async fn ask(&self, node: NodeId, order: Order) -> Outcome {
        let asked = {
            let nats = self.nats.lock().unwrap_or_else(PoisonError::into_inner);
            nats.as_ref().map(|nats| nats.order(node, order))
        };
        let Some(asked) = asked else { return Outcome::refused("this node is stopping: ask another one") };
        match timeout(ANSWERED_WITHIN, asked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Outcome::refused(format!("{node} does not answer: see GET /cluster")),
        }
    }

    /// The owner and the term of a shard, as this node read them.
    fn owner_of(&self, shard: u16) -> Option<(Option<NodeId>, u64)> {
        let statuses = self.board.statuses();
        let status = statuses.iter().find(|status| status.shard.0 == shard)?;
        Some((status.owner, status.term.0))
    }

    pub(super) async fn move_shard(&self, shard: u16, to: u8) -> Result<Moved, String> {
        if shard >= self.shards {
            return Err(format!("there is no shard {shard}: the cluster has {}, from 0", self.shards));
        }
        if to >= self.nodes() {
            return Err(format!("there is no node {to}: the cluster has {}, from 0", self.nodes()));
        }
        let began = self.now();
        let mut why = String::new();
        for _ in 0..TRIES {
            let (owner, term) = self.owner_of(shard).ok_or("the node is starting: try again")?;
            let owner = owner.ok_or("no node owns the shard: try again in a second")?;
            let order = Order::HandOver { shard: ShardId(shard), to: NodeId(to) };
            match self.ask(owner, order).await.refused {
                None => return Ok(self.follow_move((shard, term), to, began).await),
                Some(refused) => why = refused,
            }
            if self.owner_of(shard) == Some((Some(owner), term)) {
                break;
            }
        }
        Err(why)
    }

    /// Until the log names the next owner.
    async fn follow_move(&self, (shard, term): (u16, u64), to: u8, began: OwnTime) -> Moved {
        while self.now().since(began) < DONE_WITHIN_MS {
            if let Some((owner, now)) = self.owner_of(shard).filter(|(_, now)| *now > term) {
                let took_ms = self.now().since(began);
                return if owner == Some(NodeId(to)) {
                    Moved::Done { took_ms }
                } else {
                    Moved::Elsewhere { owner: owner.map(|node| node.0), term: now }
                };
            }
            sleep(LOOK_EVERY).await;
        }
        Moved::UnderWay
    }

    pub(super) async fn drain_node(&self, node: u8, undo: bool) -> Result<(), String> {
        if node >= self.nodes() {
            return Err(format!("there is no node {node}: the cluster has {}, from 0", self.nodes()));
        }
        let order = if undo { Order::Serve } else { Order::Drain };
        self.ask(NodeId(node), order).await.refused.map_or(Ok(()), Err)
    }

    /// Raises the version that the cluster writes to the highest of this release.
    pub(super) async fn raise_version(&self) -> Result<u16, String> {
        let (now, network) = (self.now(), self.network());
        let mut lacking = Vec::new();
        for node in (0..self.nodes()).filter(|node| *node != self.node) {
            let peer = network.peers.get(&NodeId(node)).copied().unwrap_or_default();
            let is_heard = peer.heard.is_some_and(|heard| now.since(heard) < LIVES_MS);
            match peer.versions.map(|versions| versions.max) {
                Some(max) if is_heard && max < VERSIONS.max => {
                    lacking.push(format!("node {node} writes version {max} at most: upgrade it"));
                }
                Some(_) if is_heard && peer.refused.is_none() => {}
                _ => lacking
                    .push(format!("node {node} is not heard: start it, or what it can write is not known")),
            }
        }
        if !lacking.is_empty() {
            return Err(format!("version {} is not for all nodes yet: {}", VERSIONS.max, lacking.join("; ")));
        }
        let servers = self.servers.clone();
        let raise = move || admin::raise(&servers, Agreed { version: VERSIONS.max, nodes: 0 });
        let agreed = tokio::task::spawn_blocking(raise).await.map_err(|error| error.to_string())?;
        let agreed = agreed.map_err(|fault| fault.to_string())?;
        let nats = self.nats.lock().unwrap_or_else(PoisonError::into_inner);
        nats.iter().for_each(|nats| nats.agree(agreed.version));
        Ok(agreed.version)
    }
}
