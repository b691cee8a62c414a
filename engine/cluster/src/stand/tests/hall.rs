//! Hall: three nodes, each with the stand of one shard, their network and the log, in virtual time.
//!
//! Why with the real shard: what a viewer sees over an owner change is decided by seat, shard, front and copy
//! together.
//! Not here: a nasty log (`crate::tests` has it), what must hold (`mod`).

#![expect(clippy::disallowed_types, reason = "disks and wires are shared between a node and the hall")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use grandstand_engine::config::ShardConfig;
use grandstand_engine::link::{
    Alias, Answer, AnswerKind, Batch, ConnectionToken, Input, Now, Opener, Output, PersonId, Publication,
    ReplyTo, ShardId, UserId, WorkerId,
};
use grandstand_engine::log::{Entry, News, ReadRequest, StoredRoom};
use grandstand_engine::runtime::Stand;
use grandstand_engine::runtime::clock::START_US;
use grandstand_model::StoredLog;
use grandstand_protocol::batch::{BatchReader, Item};
use grandstand_protocol::frame::{Durability, Role, ServerFrame};
use grandstand_protocol::stream;
use grandstand_queue::{Doorbell, Sender, inbox};

use super::super::{Arrived, Board, ClusterStand, Copy, FromWire, StandConfig, StandParts, ToWire, Wire};
use crate::appender::AppenderConfig;
use crate::flight::Reply;
use crate::id::{Incarnation, NodeId, Position};
use crate::membership::{Config, Facts, Membership, ShardReport, Versions};
use crate::time::OwnTime;

pub(super) const NODES: usize = 3;
const SHARD: ShardId = ShardId(0);
pub(super) const ROOM: &str = "show";

/// What a worker of a node has seen of the room.
#[derive(Debug, Default)]
pub(super) struct Viewer {
    pub(super) alias: Option<Alias>,
    pub(super) epoch: u64,
    next_seq: Option<u64>,
    /// Texts by offset.
    pub(super) seen: BTreeMap<u64, String>,
    /// Accepted publications: offset and durability by nonce.
    pub(super) accepted: BTreeMap<u64, (u64, Durability)>,
    pub(super) refused: BTreeMap<u64, grandstand_protocol::refusal::Refusal>,
    pub(super) attached: usize,
    /// When it saw the last batch.
    pub(super) last_ms: u64,
    /// The longest time without a batch.
    pub(super) pause_ms: u64,
    /// Everything that it was told, of all rooms.
    pub(super) told: Vec<Output>,
    /// The room's viewer count, as its state says.
    pub(super) count: Option<u64>,
}

pub(super) struct Log(pub(super) Arc<Mutex<VecDeque<ToWire>>>);

impl Wire for Log {
    fn send(&mut self, message: ToWire) {
        self.0.lock().unwrap().push_back(message);
    }
}

/// The disk of a node: its copy outlives the process.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    log: StoredLog,
    head: Option<Bytes>,
    news: VecDeque<News>,
    /// It takes nothing more, and is not sound.
    is_full: bool,
    /// How many records it was given while it was full.
    too_many: usize,
}

/// Entries travel as numbers of this table.
static ENTRIES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

fn entry_of(bytes: &Bytes) -> Entry {
    let number = u64::from_le_bytes(bytes[4..12].try_into().unwrap());
    ENTRIES.lock().unwrap()[number as usize].clone()
}

impl Copy for Disk {
    fn encode(&self, entry: &Entry) -> Bytes {
        let mut entries = ENTRIES.lock().unwrap();
        entries.push(entry.clone());
        // As long as a real one.
        let chat = match entry {
            Entry::Batch(batch) => batch.batch.wire.len(),
            Entry::Room(_) | Entry::Removed { .. } => 0,
        };
        let mut bytes = [&[0; 4][..], &(entries.len() as u64 - 1).to_le_bytes(), &vec![0; chat]].concat();
        let length = bytes.len() as u32 - 4;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes.into()
    }

    fn head(&self) -> Option<Bytes> {
        self.0.lock().unwrap().head.clone()
    }

    fn apply(&mut self, _: u64, head: Bytes, entries: &[Bytes]) {
        let mut stored = self.0.lock().unwrap();
        stored.too_many += usize::from(stored.is_full);
        entries.iter().for_each(|entry| stored.log.apply(&entry_of(entry)));
        stored.head = Some(head);
    }

    fn begin_term(&mut self, _: u64, head: Bytes, term: u64, is_clean: bool, adopted: &[Bytes]) {
        let mut stored = self.0.lock().unwrap();
        adopted.iter().for_each(|entry| stored.log.apply(&entry_of(entry)));
        if !is_clean {
            stored.log.renew(|_| 1_000_000 + term);
        }
        stored.head = Some(head);
    }

    fn rooms(&mut self) -> Vec<StoredRoom> {
        self.0.lock().unwrap().log.rooms(|_| true)
    }

    fn read(&mut self, request: ReadRequest) {
        let mut stored = self.0.lock().unwrap();
        let batches = stored.log.page(&request, usize::MAX);
        stored.news.push_back(News::Page { request: request.request, batches });
    }

    fn poll(&mut self) -> Option<News> {
        self.0.lock().unwrap().news.pop_front()
    }

    fn is_sound(&self) -> bool {
        !self.0.lock().unwrap().is_full
    }

    fn accepts(&self) -> bool {
        let stored = self.0.lock().unwrap();
        !stored.is_full || stored.too_many < WAITING_MAX
    }
}

/// Records that may wait for a full disk.
pub(super) const WAITING_MAX: usize = 60;

impl Disk {
    pub(super) fn set_full(&self, is_full: bool) {
        self.0.lock().unwrap().is_full = is_full;
    }

    /// How many records it was given while it was full.
    pub(super) fn too_many(&self) -> usize {
        self.0.lock().unwrap().too_many
    }
}

pub(super) struct Process {
    pub(super) stand: ClusterStand,
    board: Board,
    wire: Arc<Mutex<VecDeque<ToWire>>>,
    arrivals: Sender<Arrived>,
    /// What the node's own thread knows.
    membership: Membership,
    report: Option<ShardReport>,
    pub(super) viewer: Viewer,
}

/// The key of a room's viewer count.
const VIEWERS_KEY: &str = "gs.viewers";

/// See the file's head.
pub(super) struct Hall {
    pub(super) rooms: ShardConfig,
    pub(super) ms: u64,
    pub(super) nodes: Vec<Option<Process>>,
    pub(super) disks: Vec<Disk>,
    lives: [u64; NODES],
    /// Messages of the stream.
    pub(super) stream: Vec<Bytes>,
    ids: BTreeMap<String, u64>,
    /// Nobody leads the log until then.
    pub(super) no_leader_until: u64,
    flying: BTreeMap<(u64, u64), (usize, u64, FromWire)>,
    order: u64,
    /// Loses the next frames between nodes.
    pub(super) lose_frames: usize,
    /// From, to: nothing arrives.
    pub(super) cut: Vec<(usize, usize)>,
    nonce: u64,
}

impl Hall {
    pub(super) fn new() -> Hall {
        Hall::of(Durability::Replicated)
    }

    /// Rooms are kept like this, unless they have a setting of their own.
    pub(super) fn of(durability: Durability) -> Hall {
        let mut hall = Hall {
            rooms: ShardConfig { durability, answer_within_ms: 10_000, ..ShardConfig::for_tests() },
            ms: 10_000,
            nodes: (0..NODES).map(|_| None).collect(),
            disks: (0..NODES).map(|_| Disk::default()).collect(),
            lives: [0; NODES],
            stream: Vec::new(),
            ids: BTreeMap::new(),
            no_leader_until: 0,
            flying: BTreeMap::new(),
            order: 0,
            lose_frames: 0,
            cut: Vec::new(),
            nonce: 0,
        };
        (0..NODES).for_each(|node| hall.start(node));
        hall
    }

    pub(super) fn now(&self) -> Now {
        Now { us: START_US + self.ms * 1000, unix_ms: 1_700_000_000_000 + self.ms }
    }

    pub(super) fn start(&mut self, node: usize) {
        self.lives[node] += 1;
        let config = Config {
            me: NodeId(node as u8),
            incarnation: Incarnation(self.lives[node]),
            nodes: (0..NODES as u8).map(NodeId).collect(),
            facts: Facts { seed: 1, shards: 1, ticket_key_print: 2 },
            versions: Versions { min: 1, max: 1 },
        };
        let membership = || Membership::new(OwnTime(self.ms), config.clone()).unwrap();
        let (sender, arrivals) = inbox(8192, Doorbell::new(|| {}));
        let wire = Arc::new(Mutex::new(VecDeque::new()));
        let board = Board::default();
        let parts = StandParts {
            membership: membership(),
            copy: Box::new(self.disks[node].clone()),
            wire: Box::new(Log(wire.clone())),
            arrivals,
            board: board.clone(),
        };
        let config = StandConfig {
            shard: SHARD,
            shards: 1,
            seed: 1,
            rooms: self.rooms.clone(),
            appender: AppenderConfig::default(),
            give_up_ms: 10_000,
            rebalances: true,
        };
        let mut stand = ClusterStand::new(self.now(), config, parts);
        let worker = WorkerId::new(node as u8, 0);
        stand.handle_input(self.now(), Input::Attach { worker, room: ROOM.into(), opener: Opener::NODE });
        let viewer = Viewer::default();
        let membership = membership();
        self.nodes[node] =
            Some(Process { stand, board, wire, arrivals: sender, membership, report: None, viewer });
    }

    /// Kill a node's process.
    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    pub(super) fn owner(&self) -> Option<usize> {
        let owns = |node: &Option<Process>| node.as_ref().is_some_and(|n| n.stand.acts(OwnTime(self.ms)));
        self.nodes.iter().position(owns)
    }

    pub(super) fn viewer(&mut self, node: usize) -> &mut Viewer {
        &mut self.nodes[node].as_mut().unwrap().viewer
    }

    /// An input of a node's worker.
    pub(super) fn input(&mut self, node: usize, input: Input) {
        let now = self.now();
        self.nodes[node].as_mut().unwrap().stand.handle_input(now, input);
    }

    /// Publish at a node. Returns the nonce, which is the text too.
    pub(super) fn publish(&mut self, node: usize) -> u64 {
        self.nonce += 1;
        let (now, nonce) = (self.now(), self.nonce);
        let process = self.nodes[node].as_mut().unwrap();
        let publication = Publication {
            from: ReplyTo { worker: WorkerId::new(node as u8, 0), connection: ConnectionToken(7) },
            alias: process.viewer.alias.expect("attached"),
            user: UserId(100 + node as u64),
            person: PersonId(100 + node as u64),
            nonce,
            age_ms: 0,
            author: "a".into(),
            role: Role::default(),
            text: nonce.to_string().into(),
            attachment: "".into(),
            reply_to: None,
            exempt: true,
            is_bridged: false,
        };
        process.stand.handle_input(now, Input::Publish(Box::new(publication)));
        nonce
    }

    /// A node's worker has so many members of the room, if it is attached.
    pub(super) fn count(&mut self, node: usize, count: u32) {
        let (now, worker) = (self.now(), WorkerId::new(node as u8, 0));
        let process = self.nodes[node].as_mut().unwrap();
        if let Some(alias) = process.viewer.alias {
            process.stand.handle_input(now, Input::Viewers { worker, alias, count });
        }
    }

    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            self.step();
        }
    }

    /// Run until this holds, at most so long.
    pub(super) fn run_until(&mut self, most_ms: u64, holds: impl Fn(&Hall) -> bool) -> u64 {
        for waited in 0..most_ms {
            if holds(self) {
                return waited;
            }
            self.run(1);
        }
        panic!("did not come to hold within {most_ms} ms")
    }

    fn step(&mut self) {
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.ms) {
            let (to, life, message) = entry.remove();
            if self.lives[to] != life {
                continue;
            }
            let Some(process) = &mut self.nodes[to] else { continue };
            if let FromWire::Heartbeat(heartbeat) = &message {
                let _ = process.membership.handle_heartbeat(OwnTime(self.ms), heartbeat);
            }
            assert!(process.arrivals.try_send(Arrived { at: OwnTime(self.ms), message }).is_ok());
        }
        for node in 0..NODES {
            self.turn(node);
            self.beat(node);
        }
    }

    fn turn(&mut self, node: usize) {
        let now = self.now();
        let Some(process) = &mut self.nodes[node] else { return };
        process.stand.handle_news(now);
        process.stand.handle_timeout(now);
        while let Some((worker, output)) = process.stand.poll_output() {
            assert_eq!(worker.node(), node as u8);
            process.viewer.handle(self.ms, output);
        }
        let sent: Vec<ToWire> = process.wire.lock().unwrap().drain(..).collect();
        sent.into_iter().for_each(|message| self.carry(node, message));
    }

    /// Heartbeats five times a second, pings ten times.
    fn beat(&mut self, node: usize) {
        let Some(process) = &self.nodes[node] else { return };
        if (self.ms + node as u64 * 40).is_multiple_of(200) {
            let reports = process.report.into_iter().collect();
            let heartbeat = Arc::new(process.membership.heartbeat(OwnTime(self.ms), reports));
            self.pass_to_others(node, &FromWire::Heartbeat(heartbeat));
        }
        if (self.ms + node as u64 * 30).is_multiple_of(100) {
            for other in (0..NODES).filter(|other| *other != node) {
                let id = NodeId(other as u8);
                let is_there = self.nodes[other].is_some();
                let is_cut = self.cut.contains(&(node, other)) || self.cut.contains(&(other, node));
                if is_there && is_cut {
                    continue;
                }
                let heard = if is_there { FromWire::Pong(id) } else { FromWire::NoResponders(id) };
                self.fly(node, 2, heard);
            }
        }
    }

    fn fly(&mut self, to: usize, delay: u64, message: FromWire) {
        self.order += 1;
        self.flying.insert((self.ms + delay, self.order), (to, self.lives[to], message));
    }

    fn pass(&mut self, from: usize, to: usize, message: FromWire) {
        if self.cut.contains(&(from, to)) {
            return;
        }
        let is_frame = matches!(message, FromWire::Up(_) | FromWire::Down(_));
        if is_frame && self.lose_frames > 0 {
            self.lose_frames -= 1;
            return;
        }
        self.fly(to, 1, message);
    }

    fn pass_to_others(&mut self, from: usize, message: &FromWire) {
        for to in (0..NODES).filter(|to| *to != from) {
            self.pass(from, to, message.clone());
        }
    }

    fn carry(&mut self, node: usize, message: ToWire) {
        match message {
            ToWire::Report(report) => self.nodes[node].as_mut().unwrap().report = Some(report),
            ToWire::AskAll(ask) => self.pass_to_others(node, &FromWire::Ask(ask)),
            ToWire::Answer { to, answer } => self.pass(node, usize::from(to.0), FromWire::Answer(answer)),
            ToWire::Announce { term, position } => {
                self.pass_to_others(node, &FromWire::Announce { term, position });
            }
            ToWire::Append(append) => {
                let reply = if self.ms < self.no_leader_until {
                    Reply::NoResponders
                } else if let Some(position) = self.ids.get(&append.message_id) {
                    Reply::Acknowledged(Position(*position))
                } else if self.stream.len() as u64 == append.expected_last.0 {
                    self.stream.push(append.bytes);
                    self.ids.insert(append.message_id, self.stream.len() as u64);
                    Reply::Acknowledged(Position(self.stream.len() as u64))
                } else {
                    Reply::WrongLast
                };
                self.fly(node, 2, FromWire::Reply { attempt: append.attempt, reply });
            }
            ToWire::Read { from } if self.ms >= self.no_leader_until => {
                let end = Position(self.stream.len() as u64);
                let at = |position: u64| (Position(position), self.stream[position as usize - 1].clone());
                let messages = (from.0..=end.0).map(at).collect();
                self.fly(node, 2, FromWire::Read { from, messages, end });
            }
            ToWire::Read { .. } | ToWire::Outcome { .. } => {}
            ToWire::Up { to, frame } => self.pass(node, usize::from(to.0), FromWire::Up(frame)),
            ToWire::Down { to, frame } => self.pass(node, usize::from(to.0), FromWire::Down(frame)),
        }
    }

    pub(super) fn hand_over(&mut self, from: usize, to: usize) {
        self.fly(from, 0, FromWire::HandOver { to: NodeId(to as u8), order: 0 });
    }

    /// All nodes hear whether the log keeps what it acknowledges.
    pub(super) fn set_replicated(&mut self, is_replicated: bool) {
        (0..NODES).for_each(|node| self.fly(node, 0, FromWire::Replicated(is_replicated)));
    }

    /// How long ago a node heard of an owner that may act.
    pub(super) fn unheard_ms(&self, node: usize) -> u64 {
        let statuses = self.nodes[node].as_ref().unwrap().board.statuses();
        OwnTime(self.ms).since(statuses[0].heard)
    }

    pub(super) fn boards(&self) -> Vec<Vec<super::super::StandStatus>> {
        self.nodes.iter().flatten().map(|node| node.board.statuses()).collect()
    }
}

impl Viewer {
    fn handle(&mut self, now_ms: u64, output: Output) {
        self.told.push(output.clone());
        match output {
            Output::Attached { room, .. } if &*room != ROOM => {}
            Output::Batch { alias, .. } if Some(alias) != self.alias => {}
            Output::Attached { result, .. } => {
                let attachment = result.expect("the room is there");
                self.alias = Some(attachment.alias);
                self.attached += 1;
                self.epoch = attachment.epoch;
                // As an audience does: everything from its own offset on.
                if let Some(image) = &attachment.snapshot {
                    self.read_state(&image.wire);
                }
                attachment.batches.iter().for_each(|batch| self.read(batch));
                self.next_seq = Some(attachment.next_seq);
            }
            Output::Batch { batch, .. } => {
                let expected = self.next_seq.expect("attached before");
                assert_eq!(batch.seq, expected, "a batch is missing or came twice");
                self.next_seq = Some(expected + 1);
                self.read(&batch);
                if self.last_ms > 0 {
                    self.pause_ms = self.pause_ms.max(now_ms - self.last_ms);
                }
                self.last_ms = now_ms;
            }
            Output::Answers(answers) => answers.into_iter().for_each(|answer| self.answered(answer)),
            _ => {}
        }
    }

    fn answered(&mut self, Answer { kind, .. }: Answer) {
        match kind {
            AnswerKind::Published { nonce, offset, durability, .. } => {
                let before = self.accepted.insert(nonce, (offset, durability));
                assert_eq!(before, None, "{nonce} was answered twice");
            }
            AnswerKind::PublishRefused { nonce, reason, .. } => {
                self.refused.insert(nonce, reason);
            }
            _ => {}
        }
    }

    fn read(&mut self, batch: &Batch) {
        let (header, _) = stream::read_header(&batch.wire, usize::MAX).unwrap().unwrap();
        let mut reader = BatchReader::new(&batch.wire[header + 1..]).unwrap();
        let mut offset = batch.first_offset;
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Message(message) = item {
                let text = message.text.to_owned();
                if let Some(before) = self.seen.insert(offset, text.clone()) {
                    assert_eq!(before, text, "offset {offset} is another message now");
                }
                offset += 1;
            } else if let Item::State(change) = item
                && change.key == VIEWERS_KEY
            {
                self.count = change.value.and_then(number);
            }
        }
    }

    fn read_state(&mut self, wire: &[u8]) {
        let (header, _) = stream::read_header(wire, usize::MAX).unwrap().unwrap();
        let Ok(ServerFrame::Snapshot(snapshot)) = ServerFrame::decode(&wire[header..]) else {
            panic!("no snapshot")
        };
        let count = snapshot.entries.iter().find(|(key, _)| *key == VIEWERS_KEY);
        self.count = count.and_then(|(_, value)| number(value));
    }
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
