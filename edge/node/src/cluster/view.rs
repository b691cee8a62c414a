//! The view of a cluster that a node shows: to operators as JSON, and to probes as a fault.
//!
//! Why from the age of the owner's last frame: a node that hears nothing of a shard's owner delivers nothing,
//! whatever else works.
//! Not here: numbers for monitors (`numbers`), the admin port's paths (`http::admin`).

use std::time::Duration;

use grandstand_cluster::link::VERSIONS;
use grandstand_cluster::seat::Phase;
use grandstand_cluster::time::OwnTime;
use serde_json::{Value, json};

use super::Cluster;
use crate::http::admin::{Answering, ClusterControl, Moved};
use crate::metrics::ClusterNumber;

/// How long a shard may be without an owner that is heard, before the node asks for no more sessions.
const UNHEARD: Duration = Duration::from_secs(10);

/// Wall clocks that are so far apart are a fault: times of messages, and how long tokens are valid, differ.
const CLOCKS_APART_MS: u64 = 2_000;

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Following => "following",
        Phase::Orphan => "orphan",
        Phase::Claiming => "claiming",
        Phase::Owning => "owning",
        Phase::Frozen => "frozen",
        Phase::Handing => "handing",
    }
}

impl Cluster {
    /// Has an operator ordered this node to drain?
    pub(super) fn is_ordered_to_drain(&self) -> bool {
        self.network().is_draining
    }

    /// Whatever is wrong for as long as it lasts: with streams and servers, clocks, other nodes, records.
    pub(super) fn lasting_faults(&self) -> Vec<String> {
        let network = self.network();
        let mut faults: Vec<String> = network.faults.iter().map(ToString::to_string).collect();
        for (node, peer) in &network.peers {
            if let Some(refused) = peer.refused {
                faults.push(format!("{node} is not heard: {refused}"));
            }
            let apart = peer.clock_ahead_ms.ms().filter(|ms| ms.unsigned_abs() >= CLOCKS_APART_MS);
            if let Some(ahead_ms) = apart.filter(|_| peer.refused.is_none()) {
                let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
                let seconds = ahead_ms.unsigned_abs() / 1_000;
                faults.push(format!(
                    "the wall clock of {node} is {seconds} s {way} this node's: set the clocks of both machines \
                     by NTP"
                ));
            }
        }
        for shard in self.board.statuses() {
            if let Some(trouble) = shard.trouble {
                let note = self.notes.of(shard.shard.0).map_or_else(String::new, |note| format!(" ({note})"));
                faults.push(format!("shard {}: {trouble}{note}", shard.shard.0));
            }
            if let Some(position) = shard.not_understood {
                faults.push(format!(
                    "the log of shard {} has a record of a later release at position {}: upgrade this node",
                    shard.shard.0, position.0
                ));
            }
        }
        faults
    }
}

impl ClusterControl for Cluster {
    fn view(&self) -> Value {
        let (now, network) = (self.now(), self.network());
        let shards: Vec<Value> = self
            .board
            .statuses()
            .iter()
            .map(|shard| {
                let stream = network.streams.get(usize::from(shard.shard.0));
                let leader = stream.and_then(|stream| stream.leader.clone());
                let acknowledged_ms = stream.and_then(|stream| stream.acknowledged_ms);
                json!({
                    "shard": shard.shard.0,
                    "phase": word(shard.phase),
                    "owner": shard.owner.map(|node| node.0),
                    "term": shard.term.0,
                    "position": shard.position.0,
                    "owner_heard_ms": now.since(shard.heard),
                    "unkept_bytes": shard.unkept_bytes,
                    "void_records": shard.voids.total(),
                    "can_own": shard.can_own,
                    "not_understood": shard.not_understood.map(|position| position.0),
                    "acknowledged_ms": acknowledged_ms,
                    "log_leader": leader,
                    "trouble": shard.trouble.map(|trouble| trouble.to_string()),
                    "snapshot": self.notes.of(shard.shard.0),
                })
            })
            .collect();
        let peers: Vec<Value> = network
            .peers
            .iter()
            .map(|(node, peer)| {
                json!({
                    "node": node.0,
                    "heard_ms": peer.heard.map(|heard| now.since(heard)),
                    "connections": peer.load,
                    "refused": peer.refused.map(|refused| refused.to_string()),
                    "draining": peer.about.is_draining,
                    "versions": peer.versions.map(|versions| [versions.min, versions.max]),
                    "clock_ahead_ms": peer.clock_ahead_ms.ms(),
                })
            })
            .collect();
        json!({
            "cluster": self.name,
            "node": self.node,
            "server": network.server,
            "draining": network.is_draining,
            "versions": [VERSIONS.min, VERSIONS.max],
            "written": network.written,
            "problem": network.problem,
            "faults": self.lasting_faults(),
            "fault": self.fault(),
            "peers": peers,
            "shards": shards,
        })
    }

    fn fault(&self) -> Option<String> {
        let now = self.now();
        let troubled =
            self.board.statuses().into_iter().find_map(|shard| Some((shard.shard, shard.trouble?)));
        if let Some((shard, trouble)) = troubled {
            return Some(format!("shard {}: {trouble}", shard.0));
        }
        let is_unheard = |heard: OwnTime| Duration::from_millis(now.since(heard)) >= UNHEARD;
        let unheard = self.board.statuses().into_iter().find(|shard| is_unheard(shard.heard));
        unheard.map(|shard| {
            let seconds = now.since(shard.heard) / 1_000;
            format!("shard {} has no owner that is heard, for {seconds} s: see GET /cluster", shard.shard.0)
        })
    }

    fn degraded(&self) -> Vec<String> {
        self.lasting_faults()
    }

    fn numbers(&self) -> Vec<ClusterNumber> {
        self.all_numbers()
    }

    fn hand_over(&self, shard: u16, to: u8) -> Answering<'_, Moved> {
        Box::pin(self.move_shard(shard, to))
    }

    fn drain(&self, node: u8, undo: bool) -> Answering<'_, ()> {
        Box::pin(self.drain_node(node, undo))
    }

    fn finish_upgrade(&self) -> Answering<'_, u16> {
        Box::pin(self.raise_version())
    }
}
