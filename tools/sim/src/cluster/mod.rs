//! The cluster of a world: three machines with a node and a NATS server each, and the logs of the shards.
//!
//! Nodes are real: stands with seats and shards, and in front of them the real audiences. What joins them is
//! modelled, in virtual time.
//!
//! - [`network`]: servers and links; [`logs`]: who leads a log, and who reaches it;
//! - [`copy`]: a node's copy of a log;
//! - [`witness`]: what the logs say, read by a reader of its own.
//!
//! Invariant: the witness of a log sees a message before any node does.
//! Not here: a node's part in it (`node::member`), connections of viewers (`crate::network`), faults
//! (`crate::story`).

mod clock;
mod copy;
mod logs;
mod network;
mod witness;

use std::collections::BTreeMap;

use bytes::Bytes;
use grandstand_cluster::flight::{Append, Reply};
use grandstand_cluster::id::{NodeId, Position};
use grandstand_cluster::seat::Phase;
use grandstand_cluster::stand::{FromWire, StandStatus};
use grandstand_engine::link::{Alias, Output};
use grandstand_model::stream::{Answered, Offer, Verdict};

pub(crate) use clock::Clock;
pub(crate) use copy::{CopyDisk, EntryTable};
use logs::{Log, Token};
pub(crate) use network::MACHINES;
use network::{Net, Server};
use witness::{Life, Shown, Witness};

use crate::checker::Checker;
use crate::plan::Plan;
use crate::queue::Queue;
use crate::random::Random;

/// Two nodes may act for one shard for as long as a lease lasts, and a little for clocks that differ.
const OVERLAP_US_MAX: u64 = 1_100_000;

/// What reaches a node from the network.
#[derive(Clone, Debug)]
pub(crate) enum FromNet {
    /// For all of its stands, and for its own thread.
    All(FromWire),
    /// For the stand of a shard.
    One(usize, FromWire),
    /// A promise of a node in this life, for the candidate's stand.
    Promise(usize, u64, FromWire),
}

/// What happens between servers and nodes at a time.
#[derive(Debug)]
pub(crate) enum NetEvent {
    /// Links or servers may have changed.
    Look,
    /// A server that was down starts.
    Start { machine: usize },
    /// The log of a shard has something to do.
    Log { shard: usize },
    /// A record reaches the server that its sender takes for the leader's.
    Append { shard: usize, node: usize, life: u64, server: usize, append: Append },
    /// A question for messages does.
    Read { shard: usize, node: usize, life: u64, server: usize, from: Position },
}

/// What the cluster has planned.
#[derive(Debug)]
pub(crate) enum Later {
    /// Between servers and nodes.
    Net(NetEvent),
    /// A message reaches a node in this life.
    Arrival { node: usize, life: u64, message: FromNet },
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) net: Net,
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    pub(crate) table: EntryTable,
    shown: Shown,
    /// By node, its life and alias: a room and its epoch.
    aliases: BTreeMap<(Life, Alias), (String, u64)>,
    /// By node: its life and its server, once its process is connected.
    nodes: [Option<(u64, Option<usize>)>; MACHINES],
    /// Until when a node's process stands still.
    paused_until_us: [u64; MACHINES],
    /// By shard: which nodes act, and since when more than one does.
    acting: Vec<([bool; MACHINES], Option<u64>)>,
}

impl Cluster {
    pub(crate) fn new(plan: &Plan) -> Cluster {
        let shards = usize::from(plan.shards);
        Cluster {
            net: Net::default(),
            logs: (0..shards).map(|shard| Log::new(shard % MACHINES)).collect(),
            witnesses: (0..shards).map(|_| Witness::default()).collect(),
            table: EntryTable::default(),
            shown: Shown::default(),
            aliases: BTreeMap::new(),
            nodes: [None; MACHINES],
            paused_until_us: [0; MACHINES],
            acting: vec![([false; MACHINES], None); shards],
        }
    }

    /// A node's process begins, or has ended.
    pub(crate) fn set_life(&mut self, node: usize, life: Option<u64>) {
        self.nodes[node] = life.map(|life| (life, None));
        self.acting.iter_mut().for_each(|(acting, _)| acting[node] = false);
    }

    /// Until when a node's process stands still.
    pub(crate) fn paused_until_us(&self, node: usize) -> u64 {
        self.paused_until_us[node]
    }

    /// A node's process stands still until a time.
    pub(crate) fn pause(&mut self, node: usize, until_us: u64) {
        self.paused_until_us[node] = self.paused_until_us[node].max(until_us);
        self.acting.iter_mut().for_each(|(acting, _)| acting[node] = false);
    }

    /// A shard's thread of a node stands still.
    pub(crate) fn hold(&mut self, node: usize, shard: usize) {
        self.acting[shard].0[node] = false;
    }

    /// Each commit of a log takes so much longer.
    pub(crate) fn set_slow(&mut self, shard: usize, us: u64) {
        self.logs[shard].stream.set_slow(us);
    }

    /// A follower of a log's leader missed it: another is elected.
    pub(crate) fn elect(&mut self, shard: usize, (now_us, random): (u64, &mut Random)) {
        self.logs[shard].elect(&self.net, now_us, random);
    }

    /// Links or servers have changed.
    pub(crate) fn look(&mut self, (now_us, random): (u64, &mut Random)) {
        for log in &mut self.logs {
            log.look(&self.net, now_us, random);
        }
    }

    /// Plan the turns of the logs.
    pub(crate) fn plan_logs(&mut self, queue: &mut Queue<impl From<Later>>) {
        let now_us = queue.now_us();
        for (shard, log) in self.logs.iter_mut().enumerate() {
            if let Some(due_us) = log.stream.due().map(|us| us.max(now_us)).filter(|us| *us < log.planned_us)
            {
                log.planned_us = due_us;
                queue.push(due_us - now_us, Later::Net(NetEvent::Log { shard }).into());
            }
        }
    }

    /// Something between servers and nodes.
    pub(crate) fn handle(
        &mut self,
        event: NetEvent,
        queue: &mut Queue<impl From<Later>>,
        (random, checker): (&mut Random, &mut Checker),
    ) {
        let now_us = queue.now_us();
        match event {
            NetEvent::Look => self.look((now_us, random)),
            NetEvent::Start { machine } => {
                self.net.servers[machine] = Server::default();
                self.look((now_us, random));
            }
            NetEvent::Log { shard } => {
                let log = &mut self.logs[shard];
                if log.planned_us <= now_us {
                    log.planned_us = u64::MAX;
                }
                let answers = log.stream.turn(now_us, random);
                self.bear_witness(shard, checker);
                answers.into_iter().for_each(|answer| self.answer(shard, answer, queue, random));
            }
            NetEvent::Append { shard, node, life, server, append } => {
                let Append { attempt, expected_last, message_id: id, bytes } = append;
                let token = (node, life, attempt);
                let log = &mut self.logs[shard];
                let answer = match log.reach(&self.net, now_us, server) {
                    None => Some(Answered { token, verdict: Verdict::NoResponders, late_us: 0 })
                        .filter(|_| random.chance(70)),
                    Some((reach, _)) => {
                        let offer = Offer { token, expected_last: expected_last.0, id, bytes };
                        log.stream.offer(now_us, reach, offer, random)
                    }
                };
                answer.into_iter().for_each(|answer| self.answer(shard, answer, queue, random));
            }
            NetEvent::Read { shard, node, life, server, from } => {
                let log = &self.logs[shard];
                let most = random.between(1, 200) as usize;
                let reached = log.reach(&self.net, now_us, server);
                let read =
                    reached.and_then(|(reach, at)| Some((log.stream.read(now_us, reach, from.0, most)?, at)));
                let Some(((messages, end), at)) = read else { return };
                let messages = messages.into_iter().map(|(at, bytes)| (Position(at), bytes)).collect();
                let read = FromWire::Read { from, messages, end: Position(end) };
                self.send_from(at, (node, life), FromNet::One(shard, read), 0, queue, random);
            }
        }
        self.plan_logs(queue);
    }

    /// The witness reads what was committed.
    fn bear_witness(&mut self, shard: usize, checker: &mut Checker) {
        let log = &mut self.logs[shard];
        let committed = log.stream.committed();
        while let Some(bytes) = committed.get(log.witnessed) {
            log.witnessed += 1;
            let known = (&self.table, &self.shown);
            self.witnesses[shard].commit(log.witnessed as u64, bytes, known, checker);
        }
    }

    fn answer(
        &mut self,
        shard: usize,
        Answered { token, verdict, late_us }: Answered<Token>,
        queue: &mut Queue<impl From<Later>>,
        random: &mut Random,
    ) {
        let (node, life, attempt) = token;
        let reply = match verdict {
            Verdict::Acknowledged(position) => Reply::Acknowledged(Position(position)),
            Verdict::WrongLast => Reply::WrongLast,
            Verdict::InProcess => Reply::InProcess,
            Verdict::NoResponders => Reply::NoResponders,
        };
        let from = match verdict {
            Verdict::NoResponders => self.nodes[node].and_then(|(_, server)| server),
            _ => Some(self.logs[shard].leader),
        };
        let message = FromNet::One(shard, FromWire::Reply { attempt, reply });
        if let Some(from) = from {
            self.send_from(from, (node, life), message, late_us, queue, random);
        }
    }

    /// A server sends something to a node.
    fn send_from(
        &mut self,
        from: usize,
        (node, life): (usize, u64),
        message: FromNet,
        late_us: u64,
        queue: &mut Queue<impl From<Later>>,
        random: &mut Random,
    ) {
        let now_us = queue.now_us();
        let Some((_, Some(server))) = self.nodes[node].filter(|(lives, _)| *lives == life) else { return };
        if let Some(at_us) = self.net.arrival_from_server(now_us + late_us, (from, server, node), random) {
            queue.push(at_us - now_us, Later::Arrival { node, life, message }.into());
        }
    }

    /// What a node shows to its workers.
    pub(crate) fn handle_shown(&mut self, life: Life, output: &Output) {
        match output {
            Output::Attached { room, result: Ok(attachment) } => {
                let (name, epoch) = (room.to_string(), attachment.epoch);
                if let Some(batch) = attachment.batches.iter().rfind(|batch| batch.has_chat()) {
                    self.note_shown(life, (name.clone(), epoch), batch.next_offset);
                }
                self.aliases.insert((life, attachment.alias), (name, epoch));
            }
            Output::Batch { alias, batch } if batch.has_chat() => {
                if let Some(log) = self.aliases.get(&(life, *alias)).cloned() {
                    self.note_shown(life, log, batch.next_offset);
                }
            }
            _ => {}
        }
    }

    fn note_shown(&mut self, life: Life, log: (String, u64), next_offset: u64) {
        let next = self.shown.entry(life).or_default().entry(log).or_default();
        *next = next_offset.max(*next);
    }

    /// What a stand says after its turn: who acts.
    pub(crate) fn handle_status(
        &mut self,
        now_us: u64,
        life: Life,
        status: &StandStatus,
        checker: &mut Checker,
    ) {
        let shard = usize::from(status.shard.0);
        let acts = status.phase == Phase::Owning;
        if acts && status.owner == Some(NodeId(life.0 as u8)) {
            let owner = self.witnesses[shard].owner(status.term.0);
            if owner != Some(life) {
                let detail = format!("{life:?} acts under {}, whose owner is {owner:?}", status.term);
                checker.violate("owners", detail);
            }
        }
        let (acting, since) = &mut self.acting[shard];
        acting[life.0] = acts;
        if acting.iter().filter(|acts| **acts).count() < 2 {
            *since = None;
            return;
        }
        let since = *since.get_or_insert(now_us);
        if now_us - since > OVERLAP_US_MAX {
            let detail = format!("{acting:?} act for shard {shard} for {} us", now_us - since);
            checker.violate("owners", detail);
        }
    }

    /// Everything works from now on, or when its pause is over.
    pub(crate) fn heal(&mut self, queue: &mut Queue<impl From<Later>>, random: &mut Random) {
        let now_us = queue.now_us();
        let paused_until_us = self.net.heal();
        for log in &mut self.logs {
            log.heal(now_us);
        }
        self.look((now_us, random));
        queue.push(paused_until_us.saturating_sub(now_us) + 1, Later::Net(NetEvent::Look).into());
        self.plan_logs(queue);
    }

    /// How a node's copy differs from the log.
    pub(crate) fn difference(&self, node: usize, shard: usize, copy: &CopyDisk) -> Option<String> {
        let witness = &self.witnesses[shard];
        let (position, rooms) = copy.stored();
        let head = witness.head();
        (position != head || rooms != witness.rooms()).then(|| {
            format!("the copy of shard {shard} at node {node} ends at {position}, the log at {head}")
        })
    }

    /// A record leaves a node.
    pub(crate) fn handle_sent(&mut self, shard: usize, from: Life, bytes: &Bytes, checker: &mut Checker) {
        self.witnesses[shard].sends(from, bytes, checker);
    }

    /// A promise reaches a candidate.
    pub(crate) fn handle_promise(&mut self, shard: usize, candidate: Life, term: u64, from: Life) {
        self.witnesses[shard].promise(candidate, term, from);
    }

    // What nodes ask of the network.

    /// A node's thread is connected to a server, or to none.
    pub(crate) fn connect(&mut self, node: usize, server: Option<usize>) {
        if let Some((_, at)) = &mut self.nodes[node] {
            *at = server;
        }
    }

    /// The server that a node is connected to.
    pub(crate) fn server_of(&self, node: usize) -> Option<usize> {
        self.nodes[node]?.1
    }

    /// A node's life and its server.
    pub(crate) fn place_of(&self, node: usize) -> Option<(u64, usize)> {
        let (life, server) = self.nodes[node]?;
        Some((life, server?))
    }

    /// The server that leads a shard's log, as a server knows it.
    pub(crate) fn leader_for(&self, shard: usize, server: usize, now_us: u64) -> Option<usize> {
        self.logs[shard].reach(&self.net, now_us, server).map(|(_, leader)| leader)
    }

    /// The owner of a shard is on this machine: its log's leader goes elsewhere.
    pub(crate) fn keep_leader_away(
        &mut self,
        shard: usize,
        node: usize,
        (now_us, random): (u64, &mut Random),
    ) {
        let log = &mut self.logs[shard];
        if log.leader == node {
            log.move_leader(&self.net, now_us, random);
        }
    }
}
