//! Numbers of a cluster for monitors, from the stands and the network of this node.
//!
//! Invariant: every number has its help and its unit in its name; counters end in `_total` and only rise.
//! Not here: how they are written (`metrics`), the view for operators (`view`).

use std::sync::atomic::Ordering;

use grandstand_cluster::record::VoidCause;
use grandstand_cluster::seat::{Phase, Trouble};
use grandstand_cluster::stand::{MoveCause, StandStatus};

use super::Cluster;
use crate::metrics::ClusterNumber;

/// Numbers of one shard, one node, or the whole.
#[derive(Default)]
struct Numbers {
    all: Vec<ClusterNumber>,
    shard: Option<u16>,
}

impl Numbers {
    fn add(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.all.push(ClusterNumber { name, help, shard: self.shard, label: None, value });
    }

    fn of(&mut self, name: &'static str, help: &'static str, label: (&'static str, String), value: f64) {
        self.all.push(ClusterNumber { name, help, shard: self.shard, label: Some(label), value });
    }
}

impl Cluster {
    pub(super) fn all_numbers(&self) -> Vec<ClusterNumber> {
        let (now, network) = (self.now(), self.network());
        let mut n = Numbers::default();
        for shard in self.board.statuses() {
            n.shard = Some(shard.shard.0);
            of_shard(&mut n, &shard, now.since(shard.heard));
            n.add(
                "grandstand_cluster_snapshots_taken_total",
                "Snapshots of other nodes that took the place of this node's copy.",
                self.notes.taken(shard.shard.0) as f64,
            );
            let stream = network.streams.get(usize::from(shard.shard.0));
            let half_ms = stream.and_then(|stream| stream.acknowledged_ms).unwrap_or(0);
            n.add(
                "grandstand_cluster_acknowledge_seconds",
                "Within which time half of this owner's last records were acknowledged by the log; 0 elsewhere.",
                half_ms as f64 / 1e3,
            );
        }
        n.shard = None;
        for (node, peer) in &network.peers {
            let label = || ("node", node.0.to_string());
            let heard_ms = peer.heard.map_or(f64::INFINITY, |heard| now.since(heard) as f64);
            n.of(
                "grandstand_cluster_node_heard_seconds",
                "Time since a heartbeat of another node came.",
                label(),
                heard_ms / 1e3,
            );
            n.of(
                "grandstand_cluster_node_clock_ahead_seconds",
                "How far the wall clock of another node is ahead of this node's.",
                label(),
                peer.clock_ahead_ms.ms().unwrap_or(0) as f64 / 1e3,
            );
            n.of(
                "grandstand_cluster_node_refused",
                "1 while another node's heartbeats are refused: its set-up differs.",
                label(),
                f64::from(u8::from(peer.refused.is_some())),
            );
        }
        let flag = |is: bool| f64::from(u8::from(is));
        let counters = &network.counters;
        let left_out = self.copies.left_out.load(Ordering::Relaxed);
        for (name, help, value) in [
            (
                "grandstand_cluster_connected",
                "1 while the node is connected to a NATS server.",
                flag(network.server.is_some()),
            ),
            (
                "grandstand_cluster_draining",
                "1 while an operator drains this node.",
                flag(network.is_draining),
            ),
            (
                "grandstand_cluster_written_version",
                "The version by which the cluster writes.",
                f64::from(network.written),
            ),
            (
                "grandstand_cluster_faults",
                "Faults of streams, servers, clocks and nodes that last; GET /cluster names them.",
                self.lasting_faults().len() as f64,
            ),
            (
                "grandstand_cluster_connects_total",
                "Connections to NATS servers, the first one included.",
                network.connects as f64,
            ),
            (
                "grandstand_cluster_connections_moved_total",
                "Moves to another NATS server, since this one did not reach a log that others reached.",
                network.connections_moved as f64,
            ),
            (
                "grandstand_cluster_leaders_moved_total",
                "Leaders of logs that this node asked to step down.",
                network.leaders_moved as f64,
            ),
            (
                "grandstand_cluster_slow_leaders_total",
                "Those of them that acknowledged slowly.",
                network.slow_leaders as f64,
            ),
            (
                "grandstand_cluster_appends_acknowledged_total",
                "Records that the log acknowledged.",
                counters.acknowledged as f64,
            ),
            (
                "grandstand_cluster_appends_rejected_total",
                "Records that the log answered by anything else.",
                counters.rejected as f64,
            ),
            (
                "grandstand_cluster_unsent_total",
                "Messages that the network did not take and that were lost.",
                counters.unsent as f64,
            ),
            (
                "grandstand_cluster_undelivered_total",
                "Messages of the network that a shard did not take in time and that were lost.",
                counters.undelivered as f64,
            ),
            (
                "grandstand_cluster_dropped_total",
                "Times that the client dropped messages, since this node read too slowly.",
                counters.dropped as f64,
            ),
            (
                "grandstand_cluster_malformed_total",
                "Messages of other nodes that could not be read.",
                counters.malformed as f64,
            ),
            (
                "grandstand_cluster_left_out_total",
                "Entries of logs that this node's copies left out, since they do not continue their room.",
                left_out as f64,
            ),
        ] {
            n.add(name, help, value);
        }
        n.all
    }
}

fn of_shard(n: &mut Numbers, shard: &StandStatus, heard_ms: u64) {
    let flag = |is: bool| f64::from(u8::from(is));
    let owns = matches!(shard.phase, Phase::Owning | Phase::Handing);
    let owner = shard.owner.map_or(-1.0, |node| f64::from(node.0));
    for (name, help, value) in [
        ("grandstand_cluster_owns", "1 if this node owns the shard and may act.", flag(owns)),
        (
            "grandstand_cluster_owner",
            "The node that owns the shard, as this node read it; -1 before the first.",
            owner,
        ),
        (
            "grandstand_cluster_can_own",
            "1 if this node could own the shard: its copy is sound, and it does not drain.",
            flag(shard.can_own),
        ),
        ("grandstand_cluster_term", "The term under which the shard is owned.", shard.term.0 as f64),
        (
            "grandstand_cluster_position",
            "The last record of the shard's log that this node has.",
            shard.position.0 as f64,
        ),
        (
            "grandstand_cluster_owner_heard_seconds",
            "Time since a frame of the shard's owner came; 0 at the owner.",
            heard_ms as f64 / 1e3,
        ),
        (
            "grandstand_cluster_unkept_bytes",
            "Bytes that viewers may have and the log has not.",
            shard.unkept_bytes as f64,
        ),
        (
            "grandstand_cluster_handed_over_total",
            "Owner changes by a hand-over, as this node read them.",
            shard.handed_over as f64,
        ),
        (
            "grandstand_cluster_claimed_total",
            "Owner changes by a claim, as this node read them.",
            shard.claimed as f64,
        ),
        (
            "grandstand_cluster_withdrawn_total",
            "Times that this node left the shard to others, since it did not reach the log.",
            shard.withdrawn as f64,
        ),
        (
            "grandstand_cluster_not_understood",
            "1 if the shard's log has a record that this release does not understand.",
            flag(shard.not_understood.is_some()),
        ),
        (
            "grandstand_cluster_malformed_frames_total",
            "Frames of other nodes that could not be decoded.",
            shard.malformed as f64,
        ),
        (
            "grandstand_cluster_restatements_total",
            "Times that this node told an owner everything again: after an owner change, or a lost frame.",
            shard.restatements as f64,
        ),
    ] {
        n.add(name, help, value);
    }
    let trouble = match shard.trouble {
        None => 0.0,
        Some(Trouble::Behind { .. }) => 1.0,
        Some(Trouble::Forgotten { .. }) => 2.0,
        Some(Trouble::Differs { .. }) => 3.0,
    };
    n.add(
        "grandstand_cluster_trouble",
        "Whether this node can follow the log: 0 yes, 1 it is behind, 2 the log lost records, 3 copies differ.",
        trouble,
    );
    for cause in MoveCause::ALL {
        let moved = shard.moved[cause as usize] as f64;
        let help = "Hand-overs that this node began, by cause.";
        n.of("grandstand_cluster_moves_total", help, ("cause", cause.word().to_owned()), moved);
    }
    for cause in VoidCause::ALL {
        let help = "Messages of the log that are void, by cause: old_term and begun_term are expected after a claim.";
        let voids = shard.voids.of(cause) as f64;
        n.of("grandstand_cluster_void_records_total", help, ("cause", cause.word().to_owned()), voids);
    }
}
