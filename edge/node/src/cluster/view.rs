//! The view of a cluster that a node shows: to operators as JSON, to monitors as numbers, and to probes as a
//! fault.
//!
//! Why from the age of the owner's last frame: a node that hears nothing of a shard's owner delivers nothing,
//! whatever else works.
//! Not here: the admin port's paths (`http::admin`).

use std::time::Duration;

use grandstand_cluster::id::NodeId;
use grandstand_cluster::seat::{Phase, Trouble};
use grandstand_cluster::stand::{Arrived, FromWire, own};
use grandstand_cluster::time::OwnTime;
use serde_json::{Value, json};

use super::Cluster;
use crate::http::admin::ClusterControl;
use crate::metrics::ClusterNumber;

/// How long a shard may be without an owner that is heard, before the node asks for no more sessions.
const UNHEARD: Duration = Duration::from_secs(10);

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
    pub(super) fn now(&self) -> OwnTime {
        own(self.clock.now())
    }
}

impl Cluster {
    /// Give all shards away: the node drains.
    pub(crate) fn drain(&self) {
        for orders in &self.orders {
            // A stand that is too busy gives its shard away at the stop.
            let _ = orders.try_send(Arrived { at: self.now(), message: FromWire::Drain });
        }
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
                let leader = network.streams.get(usize::from(shard.shard.0)).and_then(|of| of.leader.clone());
                json!({
                    "shard": shard.shard.0,
                    "phase": word(shard.phase),
                    "owner": shard.owner.map(|node| node.0),
                    "term": shard.term.0,
                    "position": shard.position.0,
                    "owner_heard_ms": now.since(shard.heard),
                    "unkept_bytes": shard.unkept_bytes,
                    "void_records": shard.void_records,
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
                })
            })
            .collect();
        json!({
            "cluster": self.name,
            "node": self.node,
            "server": network.server,
            "problem": network.problem,
            "faults": network.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
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
        let faults = self.network().faults.iter().map(ToString::to_string).collect::<Vec<_>>();
        let troubles = self.board.statuses().into_iter().filter_map(|status| {
            let text = format!("shard {}: {}", status.shard.0, status.trouble?);
            let note = self.notes.of(status.shard.0).map_or_else(String::new, |note| format!(" ({note})"));
            Some(text + &note)
        });
        faults.into_iter().chain(troubles).collect()
    }

    fn numbers(&self) -> Vec<ClusterNumber> {
        let (now, network) = (self.now(), self.network());
        let mut numbers = Vec::new();
        for shard in self.board.statuses() {
            let mut number = |name, help, value| {
                numbers.push(ClusterNumber { name, help, shard: Some(shard.shard.0), value });
            };
            let owns = matches!(shard.phase, Phase::Owning | Phase::Handing);
            number(
                "grandstand_cluster_owns",
                "1 if this node owns the shard and may act.",
                f64::from(u8::from(owns)),
            );
            number(
                "grandstand_cluster_term",
                "The term under which the shard is owned.",
                shard.term.0 as f64,
            );
            number(
                "grandstand_cluster_position",
                "The last record of the shard's log that this node has.",
                shard.position.0 as f64,
            );
            let trouble = match shard.trouble {
                None => 0.0,
                Some(Trouble::Behind { .. }) => 1.0,
                Some(Trouble::Forgotten { .. }) => 2.0,
                Some(Trouble::Differs { .. }) => 3.0,
            };
            number(
                "grandstand_cluster_trouble",
                "Whether this node can follow the log: 0 yes, 1 it is behind, 2 the log lost records, 3 copies differ.",
                trouble,
            );
            number(
                "grandstand_cluster_snapshots_taken_total",
                "Snapshots of other nodes that took the place of this node's copy.",
                self.notes.taken(shard.shard.0) as f64,
            );
            number(
                "grandstand_cluster_owner_heard_seconds",
                "Time since a frame of the shard's owner came; 0 at the owner.",
                now.since(shard.heard) as f64 / 1e3,
            );
            number(
                "grandstand_cluster_unkept_bytes",
                "Bytes that viewers may have and the log has not.",
                shard.unkept_bytes as f64,
            );
            number(
                "grandstand_cluster_void_records_total",
                "Messages of the log that are void: of replaced owners, or damaged.",
                shard.void_records as f64,
            );
            number(
                "grandstand_cluster_handed_over_total",
                "Owner changes by a hand-over, as this node read them.",
                shard.handed_over as f64,
            );
            number(
                "grandstand_cluster_claimed_total",
                "Owner changes by a claim, as this node read them.",
                shard.claimed as f64,
            );
            number(
                "grandstand_cluster_malformed_frames_total",
                "Frames of other nodes that could not be decoded.",
                shard.malformed as f64,
            );
            number(
                "grandstand_cluster_restatements_total",
                "Times that this node told an owner everything again: after an owner change, or a lost frame.",
                shard.restatements as f64,
            );
        }
        let mut number = |name, help, value| numbers.push(ClusterNumber { name, help, shard: None, value });
        number(
            "grandstand_cluster_connected",
            "1 while the node is connected to a NATS server.",
            f64::from(u8::from(network.server.is_some())),
        );
        number(
            "grandstand_cluster_connects_total",
            "Connections to NATS servers, the first one included.",
            network.connects as f64,
        );
        number(
            "grandstand_cluster_unsent_total",
            "Messages that the network did not take and that were lost.",
            network.counters.unsent as f64,
        );
        number(
            "grandstand_cluster_undelivered_total",
            "Messages of the network that a shard did not take in time and that were lost.",
            network.counters.undelivered as f64,
        );
        numbers
    }

    fn hand_over(&self, shard: u16, to: u8) -> Result<(), String> {
        let statuses = self.board.statuses();
        let status = statuses.iter().find(|status| status.shard.0 == shard);
        let status = status.ok_or_else(|| format!("there is no shard {shard}"))?;
        if status.phase != Phase::Owning {
            let owner = status.owner.map_or("nobody".to_owned(), |node| node.to_string());
            return Err(format!("this node does not own shard {shard}; {owner} does"));
        }
        if to == self.node || usize::from(to) >= self.nodes.len() {
            return Err(format!("node {to} is not another node of this cluster"));
        }
        let order = Arrived { at: self.now(), message: FromWire::HandOver { to: NodeId(to) } };
        self.orders[usize::from(shard)]
            .try_send(order)
            .map_err(|_| "the shard is too busy: try again".to_owned())
    }
}
