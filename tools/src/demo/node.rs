//! The demo's node: a child process on loopback, which reports its addresses and ends with its parent.
//!
//! Not here: the node itself (`grandstand`).

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow};
use grandstand::Node;
use grandstand_client::net::Url;
use grandstand_edge::config::{Config, Right};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::member::Member;
use crate::load::capacity::VIEWERS_MAX;
use crate::load::start_self;
use grandstand_harness::numbers::integer;

/// The hidden subcommand of the node's process.
pub(crate) const NODE_COMMAND: &str = "node";

/// Longest wait for the node to report its addresses.
const START_WAIT: Duration = Duration::from_secs(60);

/// Longest wait for the node to end; then it is killed.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Most people who join the show besides the viewers.
const GUESTS_MAX: usize = 1_000;

/// Arguments of the hidden subcommand.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Number of viewers that will connect.
    #[arg(value_parser = integer(2, VIEWERS_MAX, "those of `gs demo`"))]
    viewers: usize,
    /// The node's place in the demo's cluster, as JSON.
    member: Option<String>,
}

/// Where a node serves, as it reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Address {
    pub(super) pid: u32,
    pub(super) ws: SocketAddr,
    pub(super) quic: SocketAddr,
    pub(super) fingerprint: String,
    /// The admin port of a node of a cluster.
    pub(super) admin: Option<SocketAddr>,
}

impl Address {
    pub(super) fn ws_url(&self) -> Url {
        format!("ws://{}/v1", self.ws).parse().expect("an address makes a URL")
    }

    pub(super) fn quic_url(&self) -> Url {
        format!("quic://{}", self.quic).parse().expect("an address makes a URL")
    }
}

/// The process of a running node.
pub(super) struct NodeProcess {
    pub(super) address: Address,
    child: Child,
}

impl NodeProcess {
    /// Start a node that admits this number of viewers.
    pub(super) async fn start(viewers: usize, member: Option<&Member>) -> anyhow::Result<NodeProcess> {
        let member = member.map(serde_json::to_string).transpose()?;
        let arguments: Vec<String> = [viewers.to_string()].into_iter().chain(member).collect();
        let mut child = start_self(NODE_COMMAND, &arguments)?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(START_WAIT, lines.next_line())
            .await
            .context("the node does not start in time")??;
        let line = line.context("the node ended at its start")?;
        let address = serde_json::from_str(&line).context("the node did not report its addresses")?;
        Ok(NodeProcess { address, child })
    }

    /// Kill the node, as a machine dies.
    pub(super) async fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }

    /// End the node, and kill it if it does not end in time.
    pub(super) async fn stop(mut self) {
        drop(self.child.stdin.take());
        if tokio::time::timeout(STOP_WAIT, self.child.wait()).await.is_err() {
            // Dropped, and so killed.
            crate::say::notice("the demo's node did not end by itself");
        }
    }
}

/// Run the node in this process until standard input ends.
///
/// # Errors
/// When the node does not start.
pub(crate) fn run_node(args: &NodeArgs) -> anyhow::Result<()> {
    grandstand_harness::process::raise_file_limit();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::default();
    config.node.name = "demo".into();
    config.ws.listen = Some(any);
    config.wss.listen = None;
    config.quic.listen = Some(any);
    config.admin.listen = None;
    config.limits.connections_max = config.limits.connections_max.max(args.viewers + GUESTS_MAX);
    // The demo's publisher speaks in many names, and its viewers are many people on one machine.
    config.auth.open_may = Right::ALL.to_vec();
    config.limits.people_per_address = 65_535;
    if let Some(member) = &args.member {
        let member: Member = serde_json::from_str(member).context("not a place in a cluster")?;
        member.configure(&mut config);
        config.ws.listen = Some(member.address().parse().context("not an address")?);
        config.quic.listen = Some(member.address().parse().context("not an address")?);
        config.admin.listen = Some(any);
    }
    let node = Node::start(config).map_err(|error| anyhow!("{error}; {}", error.hint()))?;
    let addresses = node.addresses();
    let hello = Address {
        pid: std::process::id(),
        ws: addresses.ws.context("the node does not listen for WebSocket")?,
        quic: addresses.quic.context("the node does not listen for QUIC")?,
        fingerprint: node.fingerprint().to_owned(),
        admin: addresses.admin,
    };
    println!("{}", serde_json::to_string(&hello)?);
    // The parent holds the other end: when it is gone, however that came, this ends.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    node.stop();
    Ok(())
}
