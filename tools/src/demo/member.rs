//! A member of the demo's cluster: what the process of a node must be told.
//!
//! Why data: the parent process makes the cluster, and a child is one node of it.
//! Not here: servers and processes (`three_nodes`, `node`).

use std::path::PathBuf;

use grandstand_edge::config::Config;
use grandstand_harness::nats::USER;
use serde::{Deserialize, Serialize};

/// A node's place in the demo's cluster, as its process is told it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) number: usize,
    pub(super) nodes: Vec<String>,
    pub(super) servers: Vec<String>,
    pub(super) folder: PathBuf,
}

impl Member {
    /// The address for WebSocket, and for QUIC.
    pub(super) fn address(&self) -> &str {
        &self.nodes[self.number]
    }

    /// Make a node's configuration that of this member.
    pub(super) fn configure(&self, config: &mut Config) {
        config.node.name = format!("demo-{}", self.number);
        config.node.workers = 1;
        config.auth.ticket_key_file = Some(self.folder.join("tickets.key"));
        config.log.dir = Some(self.folder.join(format!("node-{}", self.number)));
        config.cluster.name = "demo".to_owned();
        config.cluster.node = self.number as u64;
        config.cluster.nodes.clone_from(&self.nodes);
        config.cluster.servers.clone_from(&self.servers);
        config.cluster.user = USER.to_owned();
        config.cluster.password_file = Some(self.folder.join("nats.password"));
        config.cluster.log_mb = 64;
    }
}
