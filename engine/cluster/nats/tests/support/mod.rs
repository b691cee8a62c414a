//! What the tests of this crate share: servers with streams, and nodes without stands.
//!
//! Invariants: servers and nodes end with the test.

#![allow(dead_code)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use grandstand_cluster::flight::{Append, Attempt, Reply};
use grandstand_cluster::id::{Incarnation, NodeId, Position};
use grandstand_cluster::membership::{self, Facts, Versions};
use grandstand_cluster::stand::{Arrived, FromWire, ToWire, Wire};
use grandstand_engine::link::ShardId;
use grandstand_harness::nats::{PASSWORD, Servers, USER, servers_or_skip};
use grandstand_nats::{Config, Credentials, Nats, Plan, admin};
use grandstand_queue::{Doorbell, Receiver, inbox};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn facts(shards: u16) -> Facts {
    Facts { seed: 0x5eed, shards, ticket_key_print: 0xbeef }
}

pub(crate) fn config(servers: &Servers) -> Config {
    Config {
        cluster: "test".to_owned(),
        servers: servers.addresses(),
        credentials: Credentials::Password { user: USER.to_owned(), password: PASSWORD.to_owned() },
        tls: false,
        tls_ca: None,
        plan: Plan { replicas: servers.count(), log_bytes: 64 << 20 },
        origin: Instant::now(),
    }
}

/// Servers with the streams of so many shards; `None` if this machine has none.
pub(crate) fn cluster(count: usize, shards: u16) -> Option<Servers> {
    cluster_with(count, shards, |config| config)
}

pub(crate) fn cluster_with(count: usize, shards: u16, change: impl Fn(Config) -> Config) -> Option<Servers> {
    let servers = servers_or_skip(count)?;
    admin::init(&change(config(&servers)), &facts(shards), &mut |_| {}).expect("the cluster is made");
    Some(servers)
}

/// A node without stands: a test plays them.
pub(crate) struct Node {
    pub(crate) nats: Nats,
    pub(crate) id: NodeId,
    pub(crate) wires: Vec<Box<dyn Wire>>,
    pub(crate) arrived: Vec<Receiver<Arrived>>,
    attempts: u64,
}

impl Node {
    pub(crate) fn start(config: Config, id: u8, shards: u16) -> Node {
        Node::start_as(config, id, 1, facts(shards))
    }

    pub(crate) fn start_as(config: Config, id: u8, life: u64, facts: Facts) -> Node {
        let membership = membership::Config {
            me: NodeId(id),
            incarnation: Incarnation(life),
            nodes: (0..3).map(NodeId).collect(),
            facts,
            versions: Versions { min: 1, max: 1 },
        };
        let shards = facts.shards;
        let (outlets, arrived) = (0..shards).map(|_| inbox(8_192, Doorbell::new(|| {}))).unzip();
        let nats = Nats::start(config, membership, outlets).expect("it starts");
        let wires = (0..shards).map(|shard| nats.wire(ShardId(shard))).collect();
        let node = Node { nats, id: NodeId(id), wires, arrived, attempts: 0 };
        node.until("a connection", |node| node.nats.status().server.is_some());
        node
    }

    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Node) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < PATIENCE, "not in time: {what}; {:?}", self.nats.status());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn send(&mut self, shard: usize, message: ToWire) {
        self.wires[shard].send(message);
    }

    /// The next message of a shard for which `wanted` has a value, within a time.
    pub(crate) fn next<T>(
        &mut self,
        shard: usize,
        within: Duration,
        mut wanted: impl FnMut(FromWire) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + within;
        loop {
            match self.arrived[shard].pop() {
                Some(arrived) => {
                    if let Some(value) = wanted(arrived.message) {
                        return Some(value);
                    }
                }
                None if Instant::now() > deadline => return None,
                None => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }

    pub(crate) fn begin_append(
        &mut self,
        shard: usize,
        expected: u64,
        id: &str,
        bytes: impl Into<Bytes>,
    ) -> Attempt {
        self.attempts += 1;
        let attempt = Attempt { life: Incarnation(1), number: self.attempts };
        let append = Append {
            attempt,
            expected_last: Position(expected),
            message_id: id.to_owned(),
            bytes: bytes.into(),
        };
        self.send(shard, ToWire::Append(append));
        attempt
    }

    /// One attempt, and its answer within a time.
    pub(crate) fn append(
        &mut self,
        shard: usize,
        expected: u64,
        id: &str,
        bytes: impl Into<Bytes>,
        within: Duration,
    ) -> Option<Reply> {
        let mine = self.begin_append(shard, expected, id, bytes);
        self.next(shard, within, |message| match message {
            FromWire::Reply { attempt, reply } if attempt == mine => Some(reply),
            _ => None,
        })
    }

    /// As a stand: until the record is kept, under the same identity.
    pub(crate) fn keep(&mut self, shard: usize, expected: u64, id: &str, bytes: &Bytes) -> Position {
        let began = Instant::now();
        loop {
            let reply = self.append(shard, expected, id, bytes.clone(), Duration::from_millis(250));
            if let Some(Reply::Acknowledged(position)) = reply {
                return position;
            }
            assert!(began.elapsed() < PATIENCE, "{reply:?}; {:?}", self.nats.status());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The stream of a shard is seen, with a leader.
    pub(crate) fn leader(&self, shard: usize) -> String {
        self.until("a leader", |node| node.nats.status().streams[shard].leader.is_some());
        self.nats.status().streams[shard].leader.clone().expect("it has one")
    }

    /// One part.
    pub(crate) fn read(&mut self, shard: usize, first: u64) -> (Vec<(Position, Bytes)>, Position) {
        let began = Instant::now();
        loop {
            self.send(shard, ToWire::Read { from: Position(first) });
            let part = self.next(shard, Duration::from_millis(300), |message| match message {
                FromWire::Read { from, messages, end } if from == Position(first) => Some((messages, end)),
                _ => None,
            });
            if let Some(part) = part {
                return part;
            }
            assert!(began.elapsed() < PATIENCE, "no answer to a read; {:?}", self.nats.status());
        }
    }

    /// Everything from a position on.
    pub(crate) fn read_all(&mut self, shard: usize, first: u64) -> Vec<(Position, Bytes)> {
        let mut all = Vec::new();
        let mut from = first;
        loop {
            let (messages, end) = self.read(shard, from);
            let Some((last, _)) = messages.last() else { return all };
            from = last.0 + 1;
            all.extend(messages);
            if from > end.0 {
                return all;
            }
        }
    }
}
