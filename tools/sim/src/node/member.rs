//! A node's part of the cluster in one life: what its network thread does around the stands.
//!
//! It does what `grandstand_nats` does: heartbeats, pings, answers to pings, appends and reads, all over the
//! connection to one server, and another server when that one is not to be used. An owner moves the leader
//! of its log away from its own machine.
//! Invariant: what arrives is stamped with the node's own time, and goes to the stands in order.
//! Not here: what stands do (`grandstand_cluster`), where things travel (`crate::cluster`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use grandstand_cluster::appender::AppenderConfig;
use grandstand_cluster::flight::{Attempt, Reply};
use grandstand_cluster::id::{Incarnation, NodeId};
use grandstand_cluster::membership::{Config, Facts, Membership, ShardReport, Versions};
use grandstand_cluster::seat::AnswerVerdict;
use grandstand_cluster::stand::{
    Arrived, Board, ClusterStand, FromWire, StandConfig, StandParts, StandStatus, ToWire, Wire, own,
};
use grandstand_engine::link::{Now, ShardId};
use grandstand_engine::runtime::Stand;
use grandstand_queue::{Doorbell, Sender, inbox};

use crate::cluster::{CopyDisk, FromNet, MACHINES, NetEvent};
use crate::plan::Plan;
use crate::scene::{Event, Scene};

/// Between two looks of the thread; heartbeats come with every second one.
const UPKEEP_US: u64 = 100_000;

/// A server that cannot be used is left after this time.
const LEFT_AFTER_US: u64 = 2_000_000;

/// After a connection is made, pings that nobody could receive are not believed for this long.
const UNSETTLED_US: u64 = 1_000_000;

/// A route between servers that carries nothing is closed after this time.
const ROUTE_CLOSED_US: u64 = 2_000_000;

/// Messages of the network that may wait for a stand.
const ARRIVALS_MAX: usize = 2_048;

/// What stands say, until the thread takes it.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<VecDeque<ToWire>>>);

impl Wire for Said {
    fn send(&mut self, message: ToWire) {
        self.0.lock().expect("one thread").push_back(message);
    }
}

/// See the file's head.
pub(crate) struct Member {
    node: usize,
    life: u64,
    membership: Membership,
    reports: Vec<Option<ShardReport>>,
    said: Vec<Said>,
    arrivals: Vec<Sender<Arrived>>,
    latest: Vec<Option<Attempt>>,
    board: Board,
    server: Option<usize>,
    connected_us: u64,
    unusable_since_us: Option<u64>,
    missed: [bool; MACHINES],
    looks: u64,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("node", &self.node).field("life", &self.life).finish_non_exhaustive()
    }
}

impl Member {
    /// The node's part in a new life, and its stands.
    pub(crate) fn new(
        plan: &Plan,
        (node, life): (usize, u64),
        now: Now,
        copies: &[CopyDisk],
    ) -> (Member, Vec<Box<dyn Stand>>) {
        let config = Config {
            me: NodeId(node as u8),
            incarnation: Incarnation(life),
            nodes: (0..MACHINES as u8).map(NodeId).collect(),
            facts: Facts { seed: plan.seed, shards: plan.shards, ticket_key_print: 7 },
            versions: Versions { min: 1, max: 1 },
        };
        let membership = || Membership::new(own(now), config.clone()).expect("three nodes");
        let board = Board::default();
        let (mut said, mut arrivals, mut stands) = (Vec::new(), Vec::new(), Vec::new());
        for (shard, copy) in (0..plan.shards).map(ShardId).zip(copies) {
            let (sender, receiver) = inbox(ARRIVALS_MAX, Doorbell::new(|| {}));
            let wire = Said::default();
            let stand_config = StandConfig {
                shard,
                shards: plan.shards,
                seed: plan.seed,
                rooms: plan.shard.clone(),
                appender: AppenderConfig {
                    answer_within_ms: plan.shard.answer_within_ms,
                    ..AppenderConfig::default()
                },
                give_up_ms: plan.shard.answer_within_ms + 1_000,
                rebalances: true,
            };
            let parts = StandParts {
                membership: membership(),
                copy: Box::new(copy.clone()),
                wire: Box::new(wire.clone()),
                arrivals: receiver,
                board: board.clone(),
            };
            stands.push(Box::new(ClusterStand::new(now, stand_config, parts)) as Box<dyn Stand>);
            said.push(wire);
            arrivals.push(sender);
        }
        let member = Member {
            node,
            life,
            membership: membership(),
            reports: vec![None; said.len()],
            latest: vec![None; said.len()],
            said,
            arrivals,
            board,
            server: None,
            connected_us: 0,
            unusable_since_us: None,
            missed: [false; MACHINES],
            looks: 0,
        };
        (member, stands)
    }

    /// What the stand of a shard says of itself.
    pub(crate) fn status(&self, shard: usize) -> Option<StandStatus> {
        self.board.statuses().into_iter().find(|status| usize::from(status.shard.0) == shard)
    }

    /// Where its stands are, for people.
    pub(crate) fn describe(&self) -> String {
        let one = |status: StandStatus| {
            let StandStatus { shard, phase, term, owner, position, .. } = status;
            format!("shard {} {phase:?} in {term} of {owner:?} at {}", shard.0, position.0)
        };
        let stands: Vec<String> = self.board.statuses().into_iter().map(one).collect();
        format!("node {} by server {:?}: {}", self.node, self.server, stands.join(", "))
    }

    /// The next message of a shard's stand.
    pub(crate) fn next_said(&mut self, shard: usize) -> Option<ToWire> {
        self.said[shard].0.lock().expect("one thread").pop_front()
    }

    // The thread's own work.

    /// Ten times a second.
    pub(crate) fn look(&mut self, scene: &mut Scene<'_>, now: Now) {
        let (node, life) = (self.node, self.life);
        scene.push(UPKEEP_US, Event::Upkeep { node, life });
        self.look_after_connection(scene, now);
        self.looks += 1;
        if self.looks.is_multiple_of(2) {
            self.beat(scene, now);
        }
        for other in (0..MACHINES).filter(|other| *other != node) {
            self.ping(scene, other);
        }
        if self.looks.is_multiple_of(10) {
            self.look_after_leaders(scene);
        }
    }

    fn look_after_connection(&mut self, scene: &mut Scene<'_>, now: Now) {
        let (now_us, node) = (scene.now_us(), self.node);
        let cluster = scene.cluster.as_mut().expect("a cluster's world");
        let net = &cluster.net;
        if let Some(server) = self.server {
            if net.is_usable(now_us, node, server) {
                self.unusable_since_us = None;
                return;
            }
            let since_us = *self.unusable_since_us.get_or_insert(now_us);
            if !net.servers[server].is_down && now_us - since_us < LEFT_AFTER_US {
                return;
            }
            self.server = None;
        }
        let mut servers = (0..MACHINES).map(|next| (node + next) % MACHINES);
        self.server = servers.find(|server| net.is_usable(now_us, node, *server));
        cluster.connect(node, self.server);
        if self.server.is_some() {
            (self.connected_us, self.unusable_since_us) = (now_us, None);
            // Answers to what went by the last server are lost.
            for shard in 0..self.latest.len() {
                if let Some(attempt) = self.latest[shard].take() {
                    let reply = FromWire::Reply { attempt, reply: Reply::NoResponders };
                    self.deliver(now, shard, reply);
                }
            }
        }
    }

    fn beat(&mut self, scene: &mut Scene<'_>, now: Now) {
        let reports = self.reports.iter().flatten().copied().collect();
        let heartbeat = Arc::new(self.membership.heartbeat(own(now), reports));
        self.send_all(scene, &FromNet::All(FromWire::Heartbeat(heartbeat)));
    }

    fn ping(&mut self, scene: &mut Scene<'_>, other: usize) {
        let Some(server) = self.server else { return };
        let now_us = scene.now_us();
        let (node, life) = (self.node, self.life);
        let cluster = scene.cluster.as_mut().expect("a cluster's world");
        let random = &mut scene.random;
        let is_open = |its: &usize| cluster.net.closed_us(now_us, server, *its) < ROUTE_CLOSED_US;
        let id = NodeId(other as u8);
        let (at_us, message) = match cluster.server_of(other).filter(is_open) {
            None => {
                let at_us = cluster.net.arrival_from_server(now_us, (server, server, node), random);
                (at_us, FromWire::NoResponders(id))
            }
            Some(its) => {
                let there_us = cluster.net.arrival_at_node(now_us, (node, server), (other, its), random);
                let back_us = there_us.and_then(|at_us| {
                    let at_us = at_us.max(cluster.paused_until_us(other));
                    cluster.net.arrival_at_node(at_us, (other, its), (node, server), random)
                });
                (back_us, FromWire::Pong(id))
            }
        };
        if let Some(at_us) = at_us {
            scene.push(at_us - now_us, Event::FromNet { node, life, message: FromNet::All(message) });
        }
    }

    fn look_after_leaders(&mut self, scene: &mut Scene<'_>) {
        let now_us = scene.now_us();
        let Some(cluster) = scene.cluster.as_mut().filter(|_| self.server.is_some()) else { return };
        let owned = self.reports.iter().enumerate().filter(|(_, report)| report.is_some_and(|r| r.owns));
        for (shard, _) in owned {
            cluster.keep_leader_away(shard, self.node, (now_us, &mut scene.random));
        }
        cluster.plan_logs(&mut scene.queue);
    }

    // To the network.

    fn send(&mut self, scene: &mut Scene<'_>, to: usize, message: FromNet) {
        let now_us = scene.now_us();
        let (Some(server), Some(cluster)) = (self.server, scene.cluster.as_mut()) else { return };
        let Some((life, its)) = cluster.place_of(to) else { return };
        let way = cluster.net.arrival_at_node(now_us, (self.node, server), (to, its), &mut scene.random);
        if let Some(at_us) = way {
            scene.push(at_us - now_us, Event::FromNet { node: to, life, message });
        }
    }

    fn send_all(&mut self, scene: &mut Scene<'_>, message: &FromNet) {
        let node = self.node;
        for to in (0..MACHINES).filter(|to| *to != node) {
            self.send(scene, to, message.clone());
        }
    }

    /// Carry what a shard's stand says.
    pub(crate) fn carry(&mut self, scene: &mut Scene<'_>, now: Now, shard: usize, message: ToWire) {
        let (node, life) = (self.node, self.life);
        let one = |message| FromNet::One(shard, message);
        match message {
            ToWire::Report(report) => self.reports[shard] = Some(report),
            ToWire::AskAll(ask) => self.send_all(scene, &one(FromWire::Ask(ask))),
            ToWire::Answer { to, answer } => {
                // With it go the reports that it follows from.
                self.beat(scene, now);
                let is_promise = matches!(answer.verdict, AnswerVerdict::Promised(_));
                let message = FromWire::Answer(answer);
                let message = if is_promise { FromNet::Promise(shard, life, message) } else { one(message) };
                self.send(scene, usize::from(to.0), message);
            }
            ToWire::Announce { term, position } => {
                self.send_all(scene, &one(FromWire::Announce { term, position }));
            }
            ToWire::Append(append) => {
                self.latest[shard] = Some(append.attempt);
                let cluster = scene.cluster.as_mut().expect("a cluster's world");
                cluster.handle_sent(shard, (node, life), &append.bytes, &mut scene.checker);
                if !scene.random.chance(1) {
                    self.ask_log(scene, shard, |server| NetEvent::Append {
                        shard,
                        node,
                        life,
                        server,
                        append,
                    });
                }
            }
            ToWire::Read { from } => {
                self.ask_log(scene, shard, |server| NetEvent::Read { shard, node, life, server, from });
            }
            // Orders are not part of these plans but as hand-overs, whose outcome shows.
            ToWire::Outcome { .. } => {}
            ToWire::Up { to, frame } => self.send(scene, usize::from(to.0), one(FromWire::Up(frame))),
            ToWire::Down { to, frame } => self.send(scene, usize::from(to.0), one(FromWire::Down(frame))),
        }
    }

    fn ask_log(&self, scene: &mut Scene<'_>, shard: usize, event: impl FnOnce(usize) -> NetEvent) {
        let now_us = scene.now_us();
        let (Some(server), Some(cluster)) = (self.server, scene.cluster.as_mut()) else { return };
        // Where nobody leads, the node's own server says so.
        let to = cluster.leader_for(shard, server, now_us).unwrap_or(server);
        let way = (self.node, server, to);
        if let Some(at_us) = cluster.net.arrival_at_server(now_us, way, &mut scene.random) {
            scene.push(at_us - now_us, Event::Net(event(server)));
        }
    }

    // From the network.

    /// Something arrives; the shards that it is for.
    pub(crate) fn arrive(&mut self, scene: &mut Scene<'_>, now: Now, message: FromNet) -> Vec<usize> {
        let at = own(now);
        let message = match message {
            FromNet::One(shard, message) => return self.deliver(now, shard, message),
            FromNet::Promise(shard, life, FromWire::Answer(answer)) => {
                let (from, term) = ((usize::from(answer.from.0), life), answer.term.0);
                let cluster = scene.cluster.as_mut().expect("a cluster's world");
                cluster.handle_promise(shard, (self.node, self.life), term, from);
                return self.deliver(now, shard, FromWire::Answer(answer));
            }
            FromNet::Promise(_, _, message) | FromNet::All(message) => message,
        };
        match &message {
            FromWire::Heartbeat(heartbeat) if self.membership.handle_heartbeat(at, heartbeat).is_err() => {
                return Vec::new();
            }
            FromWire::NoResponders(_) if scene.now_us() < self.connected_us + UNSETTLED_US => {
                return Vec::new();
            }
            FromWire::NoResponders(node) => {
                self.membership.handle_no_responders(at, *node);
                self.missed[usize::from(node.0)] = true;
            }
            FromWire::Pong(node) => {
                self.membership.handle_pong(*node);
                if !std::mem::take(&mut self.missed[usize::from(node.0)]) {
                    return Vec::new();
                }
            }
            _ => {}
        }
        (0..self.arrivals.len()).flat_map(|shard| self.deliver(now, shard, message.clone())).collect()
    }

    /// For a stand: its shard, if it takes it.
    pub(crate) fn deliver(&mut self, now: Now, shard: usize, message: FromWire) -> Vec<usize> {
        if let FromWire::Reply { attempt, .. } = &message
            && self.latest[shard] == Some(*attempt)
        {
            self.latest[shard] = None;
        }
        let arrived = Arrived { at: own(now), message };
        if self.arrivals[shard].try_send(arrived).is_ok() { vec![shard] } else { Vec::new() }
    }

    /// To all stands, from the node itself.
    pub(crate) fn order(&mut self, now: Now, message: &FromWire) {
        for shard in 0..self.arrivals.len() {
            self.deliver(now, shard, message.clone());
        }
    }
}
