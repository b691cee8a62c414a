//! Three nodes and three NATS servers for the demo, on loopback, and the death of one of them in the middle.
//!
//! Why the owner of the show's room dies: every other death is noticed less.
//! Invariants: nothing outlives the demo, and what it wrote is removed at its end.
//! Not here: one node (`node`), what viewers saw (`load`).

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use grandstand_edge::config::Config;
use grandstand_engine::link::Directory;
use grandstand_harness::http;
use grandstand_harness::nats::{PASSWORD, Servers};
use grandstand_harness::wait;
use serde_json::Value;

use super::member::Member;
use super::node::NodeProcess;
use crate::say;

/// How many nodes.
pub(super) const NODES: usize = 3;

/// Shards of the demo's cluster.
const SHARDS: u16 = 6;

/// How long the nodes may take until each shard has an owner.
const OWNED_WITHIN: Duration = Duration::from_secs(15);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// See the file's head.
pub(super) struct ThreeNodes {
    pub(super) nodes: Vec<Option<NodeProcess>>,
    servers: Servers,
    members: Vec<Member>,
    viewers: usize,
    folder: PathBuf,
    directory: Directory,
}

/// What a death cost.
pub(super) struct Death {
    /// The node that died.
    pub(super) node: usize,
    /// The node that owned the show after that.
    pub(super) heir: u64,
    /// Until the others had read of the new owner.
    pub(super) took: Duration,
}

impl ThreeNodes {
    /// Start servers, cluster and nodes.
    pub(super) async fn start(viewers: usize) -> anyhow::Result<ThreeNodes> {
        say::notice("starting three NATS servers and three nodes");
        let folder = std::env::temp_dir().join(format!("grandstand-demo-{}", std::process::id()));
        let servers = {
            let folder = folder.join("nats");
            tokio::task::spawn_blocking(move || Servers::start_in(NODES, folder)).await??
        };
        fs::write(folder.join("nats.password"), PASSWORD)?;
        let key: String = (0..4).map(|_| format!("{:016x}", grandstand_client::net::seed())).collect();
        fs::write(folder.join("tickets.key"), key)?;
        let addresses: Vec<String> = (0..NODES).map(|_| wait::free_port().to_string()).collect();
        let member = |number| Member {
            number,
            nodes: addresses.clone(),
            servers: servers.addresses(),
            folder: folder.clone(),
        };
        let mut config = Config::default();
        member(0).configure(&mut config);
        let facts = tokio::task::spawn_blocking(move || grandstand::cluster_command::make(&config, SHARDS))
            .await?
            .map_err(|fault| anyhow!(fault))?;
        let mut nodes = Vec::new();
        let members: Vec<Member> = (0..NODES).map(member).collect();
        for member in &members {
            nodes.push(Some(NodeProcess::start(viewers, Some(member)).await?));
        }
        let directory = Directory::new(facts.shards, facts.seed);
        let three = ThreeNodes { nodes, servers, members, viewers, folder, directory };
        let began = Instant::now();
        while !three.is_owned().await {
            anyhow::ensure!(began.elapsed() < OWNED_WITHIN, "the shards of the demo's cluster get no owners");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(three)
    }

    /// Has every shard an owner, as every node sees it?
    async fn is_owned(&self) -> bool {
        for node in 0..NODES {
            let Ok(view) = self.view(node).await else { return false };
            let shards = view["shards"].as_array();
            let is_owned = |shard: &Value| !shard["owner"].is_null();
            let all = usize::from(SHARDS);
            if !shards.is_some_and(|shards| shards.len() == all && shards.iter().all(is_owned)) {
                return false;
            }
        }
        true
    }

    async fn view(&self, node: usize) -> anyhow::Result<Value> {
        let at = self.nodes[node].as_ref().and_then(|node| node.address.admin).context("the node is gone")?;
        let body = tokio::task::spawn_blocking(move || http::request(at, "GET", "/cluster")).await??;
        Ok(serde_json::from_str(&body)?)
    }

    async fn owner(&self, seen_by: usize, shard: u16) -> anyhow::Result<u64> {
        let view = self.view(seen_by).await?;
        view["shards"][usize::from(shard)]["owner"].as_u64().context("the shard has no owner")
    }

    /// Kill the node that owns a room, with its NATS server.
    pub(super) async fn kill_owner(&mut self, room: &str) -> anyhow::Result<Death> {
        let shard = self.directory.shard_of(room).0;
        let node = self.owner(0, shard).await? as usize;
        let witness = (node + 1) % NODES;
        let began = Instant::now();
        if let Some(process) = self.nodes[node].take() {
            process.kill().await;
        }
        self.servers.kill(node)?;
        loop {
            if let Ok(heir) = self.owner(witness, shard).await
                && heir != node as u64
            {
                return Ok(Death { node, heir, took: began.elapsed() });
            }
            anyhow::ensure!(began.elapsed() < OWNED_WITHIN, "nobody took the show over");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Start a node again that died, and its server.
    pub(super) async fn revive(&mut self, node: usize) -> anyhow::Result<()> {
        self.servers.restart(node)?;
        self.nodes[node] = Some(NodeProcess::start(self.viewers, Some(&self.members[node])).await?);
        Ok(())
    }

    /// End everything.
    pub(super) async fn stop(self) {
        let ThreeNodes { nodes, servers, folder, .. } = self;
        for node in nodes.into_iter().flatten() {
            node.kill().await;
        }
        drop(servers);
        // What stays is in the system's folder for temporary files.
        let _ = fs::remove_dir_all(folder);
    }
}
