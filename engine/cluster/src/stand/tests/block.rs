//! Block: three nodes with several shards each, their network and their logs, in virtual time.
//!
//! Why beside the hall: which node owns which shard shows only where there are several, and nobody needs to
//! watch their rooms.
//! Not here: what viewers see (`hall`).

#![expect(clippy::disallowed_types, reason = "wires are shared between a node and the block")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use grandstand_engine::config::ShardConfig;
use grandstand_engine::link::{Now, ShardId};
use grandstand_engine::runtime::Stand;
use grandstand_engine::runtime::clock::START_US;
use grandstand_protocol::frame::Durability;
use grandstand_queue::{Doorbell, Sender, inbox};

use super::super::{
    Arrived, Board, ClusterStand, FromWire, MoveCause, StandConfig, StandParts, StandStatus, ToWire,
};
use super::hall::{Disk, Log};
use crate::appender::AppenderConfig;
use crate::flight::Reply;
use crate::id::{Incarnation, NodeId, Position};
use crate::link::{DownFrame, Message, UpFrame};
use crate::membership::{Config, Facts, Heartbeat, Membership, ShardReport, Versions};
use crate::order::Outcome;
use crate::time::OwnTime;

pub(super) const NODES: usize = 3;
pub(super) const SHARDS: u16 = 6;

struct Shard {
    stand: ClusterStand,
    wire: Arc<Mutex<VecDeque<ToWire>>>,
    arrivals: Sender<Arrived>,
    report: Option<ShardReport>,
}

pub(super) struct Node {
    shards: Vec<Shard>,
    board: Board,
    membership: Membership,
    is_draining: bool,
}

impl Node {
    pub(super) fn agree(&mut self, version: u16) {
        self.membership.agree(version);
    }
}

#[derive(Default)]
struct Stream {
    records: Vec<Bytes>,
    ids: BTreeMap<String, u64>,
}

/// See the file's head.
pub(super) struct Block {
    pub(super) ms: u64,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) versions: [Versions; NODES],
    /// The version that the cluster agreed on, for nodes that start.
    pub(super) agreed: u16,
    pub(super) rebalances: bool,
    disks: Vec<Vec<Disk>>,
    lives: u64,
    streams: Vec<Stream>,
    flying: BTreeMap<(u64, u64), (usize, usize, u64, FromWire)>,
    order: u64,
    pub(super) outcomes: BTreeMap<u64, Outcome>,
    /// When which node owned which shard first, in order.
    pub(super) changes: Vec<(u64, u16, usize)>,
    owners: BTreeMap<u16, usize>,
    /// A node whose requests to the log nobody answers.
    pub(super) log_out_of_reach: Option<usize>,
    /// By which versions frames were written last: from, to, version.
    pub(super) written: BTreeMap<(usize, usize), u16>,
}

impl Block {
    pub(super) fn new() -> Block {
        Block::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Block)) -> Block {
        let mut block = Block {
            ms: 10_000,
            nodes: (0..NODES).map(|_| None).collect(),
            versions: [Versions { min: 1, max: 1 }; NODES],
            agreed: 1,
            rebalances: true,
            disks: (0..NODES).map(|_| (0..SHARDS).map(|_| Disk::default()).collect()).collect(),
            lives: 0,
            streams: (0..SHARDS).map(|_| Stream::default()).collect(),
            flying: BTreeMap::new(),
            order: 0,
            outcomes: BTreeMap::new(),
            changes: Vec::new(),
            owners: BTreeMap::new(),
            log_out_of_reach: None,
            written: BTreeMap::new(),
        };
        change(&mut block);
        (0..NODES).for_each(|node| block.start(node));
        block
    }

    fn now(&self) -> Now {
        Now { us: START_US + self.ms * 1000, unix_ms: 1_700_000_000_000 + self.ms }
    }

    pub(super) fn start(&mut self, node: usize) {
        self.lives += 1;
        let config = Config {
            me: NodeId(node as u8),
            incarnation: Incarnation(self.lives),
            nodes: (0..NODES as u8).map(NodeId).collect(),
            facts: Facts { seed: 1, shards: SHARDS, ticket_key_print: 2 },
            versions: self.versions[node],
        };
        let membership = || {
            let mut membership = Membership::new(OwnTime(self.ms), config.clone()).unwrap();
            membership.agree(self.agreed);
            membership
        };
        let board = Board::default();
        let rooms = ShardConfig {
            durability: Durability::Replicated,
            answer_within_ms: 10_000,
            ..ShardConfig::for_tests()
        };
        let shards = (0..SHARDS).map(|shard| {
            let (arrivals, receiver) = inbox(8192, Doorbell::new(|| {}));
            let wire = Arc::new(Mutex::new(VecDeque::new()));
            let parts = StandParts {
                membership: membership(),
                copy: Box::new(self.disks[node][usize::from(shard)].clone()),
                wire: Box::new(Log(wire.clone())),
                arrivals: receiver,
                board: board.clone(),
            };
            let config = StandConfig {
                shard: ShardId(shard),
                shards: SHARDS,
                seed: 1,
                rooms: rooms.clone(),
                appender: AppenderConfig::default(),
                give_up_ms: 10_000,
                rebalances: self.rebalances,
            };
            Shard { stand: ClusterStand::new(self.now(), config, parts), wire, arrivals, report: None }
        });
        let shards = shards.collect();
        self.nodes[node] = Some(Node { shards, board, membership: membership(), is_draining: false });
    }

    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
        self.owners.retain(|_, owner| *owner != node);
    }

    /// An empty machine takes the place of a dead node.
    pub(super) fn empty(&mut self, node: usize) {
        self.disks[node] = (0..SHARDS).map(|_| Disk::default()).collect();
    }

    pub(super) fn board(&self, node: usize) -> Vec<StandStatus> {
        self.nodes[node].as_ref().unwrap().board.statuses()
    }

    /// How many moves the living nodes began for a cause.
    pub(super) fn moved(&self, cause: MoveCause) -> u64 {
        let of = |node: usize| self.board(node).into_iter().map(move |shard| shard.moved[cause as usize]);
        (0..NODES).filter(|node| self.nodes[*node].is_some()).flat_map(of).sum()
    }

    /// The node that owns a shard and may act.
    pub(super) fn owner(&self, shard: u16) -> Option<usize> {
        let acts = |node: &Option<Node>| {
            let of = node.as_ref().map(|node| &node.shards[usize::from(shard)].stand);
            of.is_some_and(|stand| stand.acts(OwnTime(self.ms)))
        };
        self.nodes.iter().position(acts)
    }

    pub(super) fn counts(&self) -> [usize; NODES] {
        let mut counts = [0; NODES];
        (0..SHARDS).filter_map(|shard| self.owner(shard)).for_each(|node| counts[node] += 1);
        counts
    }

    pub(super) fn is_whole(&self) -> bool {
        (0..SHARDS).all(|shard| self.owner(shard).is_some())
    }

    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms / 2 {
            self.ms += 2;
            self.step();
        }
    }

    pub(super) fn run_until(&mut self, most_ms: u64, holds: impl Fn(&Block) -> bool) -> u64 {
        let began = self.ms;
        while !holds(self) {
            assert!(
                self.ms - began < most_ms,
                "did not come to hold within {most_ms} ms: {:?}",
                self.counts()
            );
            self.run(2);
        }
        self.ms - began
    }

    pub(super) fn order(&mut self, node: usize, shard: u16, to: usize) -> u64 {
        self.order += 1;
        let order = self.order;
        self.fly(node, usize::from(shard), 0, FromWire::HandOver { to: NodeId(to as u8), order });
        order
    }

    /// All stands of a node are told something.
    pub(super) fn tell(&mut self, node: usize, message: &FromWire) {
        if let FromWire::Drain(is_draining) = message {
            self.nodes[node].as_mut().unwrap().is_draining = *is_draining;
        }
        (0..usize::from(SHARDS)).for_each(|shard| self.fly(node, shard, 0, message.clone()));
    }

    fn step(&mut self) {
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.ms) {
            let (to, shard, life, message) = entry.remove();
            let at = OwnTime(self.ms);
            let Some(node) = &mut self.nodes[to] else { continue };
            if node.membership.incarnation().0 != life {
                continue;
            }
            if let FromWire::Heartbeat(heartbeat) = &message {
                let _ = node.membership.handle_heartbeat(at, heartbeat);
            }
            assert!(node.shards[shard].arrivals.try_send(Arrived { at, message }).is_ok());
        }
        for node in 0..NODES {
            self.turn(node);
            self.beat(node);
        }
        for shard in 0..SHARDS {
            if let Some(owner) = self.owner(shard)
                && self.owners.insert(shard, owner) != Some(owner)
            {
                self.changes.push((self.ms, shard, owner));
            }
        }
    }

    fn turn(&mut self, node: usize) {
        let now = self.now();
        for shard in 0..usize::from(SHARDS) {
            let Some(of) = self.nodes[node].as_mut().map(|node| &mut node.shards[shard]) else { return };
            let is_due = of.stand.poll_timeout().is_some_and(|due| due <= now.us);
            if !of.stand.has_news() && !is_due {
                continue;
            }
            of.stand.handle_news(now);
            of.stand.handle_timeout(now);
            while of.stand.poll_output().is_some() {}
            let sent: Vec<ToWire> = of.wire.lock().unwrap().drain(..).collect();
            sent.into_iter().for_each(|message| self.carry(node, shard, message));
        }
    }

    /// Heartbeats five times a second, pings ten times.
    fn beat(&mut self, node: usize) {
        let Some(member) = &mut self.nodes[node] else { return };
        if (self.ms + node as u64 * 40).is_multiple_of(200) {
            member.membership.set_draining(member.is_draining);
            let reports = member.shards.iter().filter_map(|shard| shard.report).collect();
            let heartbeat: Arc<Heartbeat> = Arc::new(member.membership.heartbeat(OwnTime(self.ms), reports));
            for to in (0..NODES).filter(|to| *to != node) {
                for shard in 0..usize::from(SHARDS) {
                    self.fly(to, shard, 1, FromWire::Heartbeat(heartbeat.clone()));
                }
            }
        }
        if (self.ms + node as u64 * 30).is_multiple_of(100) {
            for other in (0..NODES).filter(|other| *other != node) {
                let id = NodeId(other as u8);
                let is_there = self.nodes[other].is_some();
                let heard = if is_there { FromWire::Pong(id) } else { FromWire::NoResponders(id) };
                (0..usize::from(SHARDS)).for_each(|shard| self.fly(node, shard, 2, heard.clone()));
            }
        }
    }

    fn fly(&mut self, to: usize, shard: usize, delay: u64, message: FromWire) {
        self.order += 1;
        let life = self.nodes[to].as_ref().map_or(0, |node| node.membership.incarnation().0);
        self.flying.insert((self.ms + delay, self.order), (to, shard, life, message));
    }

    fn pass_to_others(&mut self, node: usize, shard: usize, message: &FromWire) {
        (0..NODES).filter(|to| *to != node).for_each(|to| self.fly(to, shard, 1, message.clone()));
    }

    fn carry(&mut self, node: usize, shard: usize, message: ToWire) {
        let is_out_of_reach = self.log_out_of_reach == Some(node);
        match message {
            ToWire::Report(report) => {
                self.nodes[node].as_mut().unwrap().shards[shard].report = Some(report);
            }
            ToWire::AskAll(ask) => self.pass_to_others(node, shard, &FromWire::Ask(ask)),
            ToWire::Answer { to, answer } => self.fly(usize::from(to.0), shard, 1, FromWire::Answer(answer)),
            ToWire::Announce { term, position } => {
                self.pass_to_others(node, shard, &FromWire::Announce { term, position });
            }
            ToWire::Append(_) | ToWire::Read { .. } if is_out_of_reach => {}
            ToWire::Append(append) => {
                let stream = &mut self.streams[shard];
                let reply = if let Some(position) = stream.ids.get(&append.message_id) {
                    Reply::Acknowledged(Position(*position))
                } else if stream.records.len() as u64 == append.expected_last.0 {
                    stream.records.push(append.bytes);
                    stream.ids.insert(append.message_id, stream.records.len() as u64);
                    Reply::Acknowledged(Position(stream.records.len() as u64))
                } else {
                    Reply::WrongLast
                };
                self.fly(node, shard, 2, FromWire::Reply { attempt: append.attempt, reply });
            }
            ToWire::Read { from } => {
                let records = &self.streams[shard].records;
                let end = Position(records.len() as u64);
                let at = |position: u64| (Position(position), records[position as usize - 1].clone());
                let messages = (from.0..=end.0).map(at).collect();
                self.fly(node, shard, 2, FromWire::Read { from, messages, end });
            }
            ToWire::Up { to, frame } => {
                assert!(UpFrame::decode(&frame).is_ok());
                self.written.insert((node, usize::from(to.0)), crate::link::version_of(&frame));
                self.fly(usize::from(to.0), shard, 1, FromWire::Up(frame));
            }
            ToWire::Down { to, frame } => {
                assert!(DownFrame::decode(&frame).is_ok());
                self.written.insert((node, usize::from(to.0)), crate::link::version_of(&frame));
                self.fly(usize::from(to.0), shard, 1, FromWire::Down(frame));
            }
            ToWire::Outcome { order, outcome } => {
                self.outcomes.insert(order, outcome);
            }
        }
    }

    /// The records of a shard's log.
    pub(super) fn records(&self, shard: u16) -> &[Bytes] {
        &self.streams[usize::from(shard)].records
    }

    /// Puts a record there that no node of this test wrote.
    pub(super) fn append_foreign(&mut self, shard: u16, record: Bytes) {
        self.streams[usize::from(shard)].records.push(record);
    }
}
