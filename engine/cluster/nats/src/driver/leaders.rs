//! Leaders: the leader of a shard's log is kept away from the server of the node that owns the shard.
//!
//! Why: the death of a machine takes its node and its server together. If that server leads the shard's log,
//! nobody can take the shard over before another one is elected, which takes 4 to 8 s (measured); if it does
//! not, 0.1 s.
//! A leader whose disk is slow is moved too, and one that this node does not reach while others do is reached
//! through another server (`grandstand_cluster::log_watch`).
//! Invariants: only the owner moves the leader, to a server that has everything, and one stream a second. A
//! node that drains moves every leader off its own server, whoever owns the shard: the server ends with it,
//! and nobody moves one there.
//! Not here: who owns a shard (reports of stands).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Message, ServerAddr};
use bytes::Bytes;
use grandstand_cluster::id::NodeId;
use grandstand_cluster::log_watch::{Act, Seen};
use grandstand_cluster::stand::FromWire;
use grandstand_engine::link::ShardId;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use super::Driver;
use crate::replies;
use crate::subjects::Answered;

/// Streams of other owners are looked at once in so many seconds, for the status.
const OTHERS_EVERY_S: u64 = 2;
/// A server greets within milliseconds.
const GREETED_WITHIN: Duration = Duration::from_secs(1);
/// The first line of a server is shorter.
const GREETING_MAX: u64 = 64 << 10;

/// What is known of servers that lead.
#[derive(Debug)]
pub(super) struct Leaders {
    me: NodeId,
    /// The server beside each node: host and port.
    servers: BTreeMap<NodeId, (String, u16)>,
    /// Their names, once they were heard.
    names: Arc<Mutex<BTreeMap<NodeId, String>>>,
    second: u64,
    has_moved: bool,
}

impl Leaders {
    /// `servers` in the order in which this node tries them: its own first, and then those of the nodes that
    /// follow it.
    pub(super) fn new(me: NodeId, nodes: &[NodeId], servers: &[ServerAddr]) -> Self {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        let own = nodes.iter().position(|node| *node == me).unwrap_or(0);
        nodes.rotate_left(own);
        let address = |server: &ServerAddr| (server.host().to_owned(), server.port());
        let servers = nodes.into_iter().zip(servers.iter().map(address)).collect();
        Leaders { me, servers, names: Arc::default(), second: 0, has_moved: false }
    }

    fn own_name(&self) -> Option<String> {
        names(&self.names).get(&self.me).cloned()
    }

    /// The server that shall lead a shard's log, of those that have everything: not this node's own, and none
    /// beside a node that drains.
    fn next(&self, shard: ShardId, current: &[String], drains: impl Fn(NodeId) -> bool) -> Option<String> {
        let known = names(&self.names);
        let unfit = |name: &String| {
            known.iter().any(|(node, known)| known == name && (*node == self.me || drains(*node)))
        };
        let fit: Vec<&String> = current.iter().filter(|name| !unfit(name)).collect();
        // Shards of one owner go to different servers.
        fit.get(usize::from(shard.0) % fit.len().max(1)).map(|name| (*name).clone())
    }
}

impl Driver {
    /// Once a second: asks who leads the streams of the shards that this node owns, and at times the others.
    pub(super) fn ask_leaders(&mut self) {
        self.leaders.second += 1;
        self.leaders.has_moved = false;
        self.learn_names();
        let reports = self.shared.reports();
        let owns = |shard: ShardId| reports.iter().any(|report| report.shard == shard && report.owns);
        for shard in (0..self.shards.len() as u16).map(ShardId) {
            if owns(shard)
                || self.shared.is_draining()
                || (self.leaders.second + u64::from(shard.0)).is_multiple_of(OTHERS_EVERY_S)
            {
                let reply = Answered::Leader(shard).subject(&self.inbox);
                let _ = self.request(self.subjects.info(shard), reply, Bytes::new());
            }
        }
    }

    /// The first line that a server sends to anybody names it.
    fn learn_names(&self) {
        let known = names(&self.leaders.names);
        for (&node, server) in self.leaders.servers.iter().filter(|(node, _)| !known.contains_key(node)) {
            let (server, heard) = (server.clone(), self.leaders.names.clone());
            tokio::spawn(async move {
                if let Ok(Some(name)) = tokio::time::timeout(GREETED_WITHIN, greeting(server)).await {
                    names(&heard).insert(node, name);
                }
            });
        }
    }

    pub(super) fn handle_leader(&mut self, shard: ShardId, message: &Message) {
        let end = if message.status.is_some() { None } else { replies::of_info(&message.payload) };
        self.show_stream(shard, end.as_ref());
        // A quiet shard reads nothing, and must notice all the same that its log has lost something.
        self.deliver_ends(shard, end.as_ref(), message);
        let Some(end) = end else { return };
        let now = self.now();
        if let Some(known) = self.shards.get_mut(usize::from(shard.0)) {
            known.leader_seen = end.leader.as_ref().map(|_| now);
            known.others.clone_from(&end.others);
        }
        let is_own = end.leader.is_some() && end.leader == self.leaders.own_name();
        self.shared.lock().note_leading(shard, is_own);
        let owns = self.shared.reports().iter().any(|report| report.shard == shard && report.owns);
        if is_own && (self.shared.is_draining() || owns && !self.leaders.has_moved) {
            self.leaders.has_moved = true;
            step_down(self, shard);
        }
    }
}

/// Asks the leader of a shard's stream to step down in favour of another one.
fn step_down(driver: &Driver, shard: ShardId) {
    let Some(known) = driver.shards.get(usize::from(shard.0)) else { return };
    let drains = |node| driver.membership.drains(node);
    let Some(to) = driver.leaders.next(shard, &known.others, drains) else { return };
    driver.shared.lock().leaders_moved += 1;
    let body = json!({ "placement": { "preferred": to } }).to_string();
    let (client, subject) = (driver.client.clone(), driver.subjects.step_down(shard));
    tokio::spawn(async move {
        // Whether it moved shows at the next look.
        let _ = client.request(subject, body.into()).await;
    });
}

fn names(names: &Mutex<BTreeMap<NodeId, String>>) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ten times a second: logs that are slow, or out of reach from here.
pub(super) fn watch_logs(driver: &mut Driver) {
    let now = driver.now();
    let heard = driver.shared.lock().leaders_heard_by_others(now);
    let reports = driver.shared.reports();
    let seen = |(ix, shard): (usize, &super::Shard)| Seen {
        owns: reports.iter().any(|report| usize::from(report.shard.0) == ix && report.owns),
        has_other: !shard.others.is_empty(),
        is_heard_by_others: heard >> (ix & 63) & 1 == 1,
    };
    let seen: Vec<Seen> = driver.shards.iter().enumerate().map(seen).collect();
    for act in driver.log_watch.poll(now, &seen) {
        match act {
            Act::StepDown(shard) => {
                driver.shared.lock().slow_leaders += 1;
                step_down(driver, shard);
            }
            Act::MoveConnection => move_connection(driver),
            Act::Withdraw(shard) => {
                driver.deliver(shard, FromWire::Withdraw);
            }
        }
    }
    for (stream, shard) in driver.shared.lock().streams.iter_mut().zip(0..) {
        stream.acknowledged_ms = driver.log_watch.half_ms(ShardId(shard));
    }
}

/// Connects to the next server: this one takes no record of this node, while others reach the log.
fn move_connection(driver: &Driver) {
    let (client, mut servers) = (driver.client.clone(), driver.servers.clone());
    let mut status = driver.shared.lock();
    status.connections_moved += 1;
    let turn = status.connections_moved as usize % servers.len().max(1);
    servers.rotate_left(turn);
    drop(status);
    tokio::spawn(async move {
        // Both only tell the client's own task, which ends with the client.
        let _ = client.set_server_pool(servers.as_slice()).await;
        let _ = client.force_reconnect().await;
    });
}

#[derive(Deserialize)]
struct Greeting {
    server_name: String,
}

async fn greeting(server: (String, u16)) -> Option<String> {
    use tokio::io::AsyncReadExt;
    let stream = TcpStream::connect(server).await.ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(GREETING_MAX)).read_line(&mut line).await.ok()?;
    let greeting: Greeting = serde_json::from_str(line.strip_prefix("INFO ")?).ok()?;
    Some(greeting.server_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_goes_to_no_server_of_its_own_node_or_of_one_that_drains() {
        let servers = ["nats://b:1", "nats://c:1", "nats://a:1"].map(|server| server.parse().unwrap());
        let nodes = [NodeId(0), NodeId(1), NodeId(2)];
        let leaders = Leaders::new(NodeId(1), &nodes, &servers);
        assert_eq!(leaders.servers[&NodeId(0)].0, "a");
        assert_eq!(leaders.servers[&NodeId(1)].0, "b");
        let current = ["gs-0", "gs-1", "gs-2"].map(str::to_owned);
        names(&leaders.names).extend(nodes.into_iter().zip(current.clone()));
        let next =
            |shard, drains: &[NodeId]| leaders.next(ShardId(shard), &current, |node| drains.contains(&node));
        assert_eq!((next(0, &[]), next(1, &[])), (Some("gs-0".into()), Some("gs-2".into())));
        for shard in 0..4 {
            assert_eq!(next(shard, &[NodeId(0)]), Some("gs-2".into()));
            assert_eq!(next(shard, &[NodeId(0), NodeId(2)]), None, "it stays where it is");
        }
    }
}
