//! Leaders: the leader of a shard's log is kept away from the server of the node that owns the shard.
//!
//! Why: the death of a machine takes its node and its server together. If that server leads the shard's log,
//! nobody can take the shard over before another one is elected, which takes 4 to 8 s (measured); if it does
//! not, 0.1 s.
//! A leader whose disk is slow is moved too, and one that this node does not reach while others do is reached
//! through another server (`grandstand_cluster::log_watch`).
//! Invariants: only the owner moves the leader, to a server that has everything, and one stream a second. A
//! node that drains moves every leader off its own server, whoever owns the shard: the server ends with it.
//! Not here: who owns a shard (reports of stands).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Message, ServerAddr};
use bytes::Bytes;
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
    /// The node's own server: host and port.
    own: Option<(String, u16)>,
    /// Its name, once it was heard.
    name: Arc<Mutex<Option<String>>>,
    second: u64,
    has_moved: bool,
}

impl Leaders {
    pub(super) fn new(own: Option<&ServerAddr>) -> Self {
        let own = own.map(|server| (server.host().to_owned(), server.port()));
        Leaders { own, name: Arc::default(), second: 0, has_moved: false }
    }

    fn own_name(&self) -> Option<String> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Driver {
    /// Once a second: asks who leads the streams of the shards that this node owns, and at times the others.
    pub(super) fn ask_leaders(&mut self) {
        self.leaders.second += 1;
        self.leaders.has_moved = false;
        if self.leaders.own_name().is_none() {
            self.learn_own_name();
        }
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
    fn learn_own_name(&self) {
        let (Some(own), name) = (self.leaders.own.clone(), self.leaders.name.clone()) else { return };
        tokio::spawn(async move {
            if let Ok(Some(said)) = tokio::time::timeout(GREETED_WITHIN, greeting(own)).await {
                *name.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
            }
        });
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
    let own = driver.leaders.own_name();
    let Some(known) = driver.shards.get(usize::from(shard.0)) else { return };
    let others: Vec<&String> = known.others.iter().filter(|name| Some(*name) != own.as_ref()).collect();
    // Shards of one owner go to different servers.
    let Some(to) = others.get(usize::from(shard.0) % others.len().max(1)) else { return };
    driver.shared.lock().leaders_moved += 1;
    let body = json!({ "placement": { "preferred": to } }).to_string();
    let (client, subject) = (driver.client.clone(), driver.subjects.step_down(shard));
    tokio::spawn(async move {
        // Whether it moved shows at the next look.
        let _ = client.request(subject, body.into()).await;
    });
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
