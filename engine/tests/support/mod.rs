//! What the tests of the engine share: a shard under a clock of the test's, and a reader of sealed batches.
//!
//! Invariant: a [`Follower`] believes nothing: it reads the bytes of every batch and checks that each
//! continues the last.
//! Not here: what a test expects.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::link::*;
use grandstand_engine::{Shard, ShardConfig};
use grandstand_model::Clock;
use grandstand_protocol::batch::{BatchReader, Item, Position};
use grandstand_protocol::frame::{ActKind, Category, Durability, Role, ServerFrame};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, stream};

pub(crate) use grandstand_model::Disk;

/// A message as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) offset: u64,
    pub(crate) time_ms: u64,
    pub(crate) author: String,
    pub(crate) text: String,
    pub(crate) reply_to: Option<u64>,
}

/// A worker that follows one room.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) alias: Alias,
    pub(crate) next_seq: u64,
    pub(crate) at: Position,
    pub(crate) said: Vec<Said>,
    pub(crate) tallies: BTreeMap<String, u64>,
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    pub(crate) version: u64,
}

impl Follower {
    /// Begin at the oldest batch of an attachment.
    pub(crate) fn attach(a: &Attachment) -> Self {
        let first = a.batches.first();
        let at = Position {
            epoch: a.epoch,
            offset: first.map_or(a.next_offset, |b| b.first_offset),
            time_ms: first.map_or(a.time_ms, |b| b.base_time_ms),
        };
        let next_seq = first.map_or(a.next_seq, |b| b.seq);
        let mut follower = Follower {
            alias: a.alias,
            next_seq,
            at,
            said: Vec::new(),
            tallies: BTreeMap::new(),
            state: BTreeMap::new(),
            version: 0,
        };
        a.batches.iter().for_each(|batch| follower.take(batch));
        assert_eq!(
            (follower.next_seq, follower.at.offset),
            (a.next_seq, a.next_offset),
            "the ring ends at the head"
        );
        assert_eq!(follower.at.time_ms, a.time_ms);
        follower.tallies.clear();
        (follower.state, follower.version) =
            a.snapshot.as_ref().map_or((BTreeMap::new(), 0), |i| read_image(i, a));
        follower
    }

    /// Read a batch, which must be the next.
    pub(crate) fn take(&mut self, batch: &Batch) {
        assert_eq!(batch.seq, self.next_seq, "a hole between batches");
        assert_eq!(batch.first_offset, self.at.offset, "a hole between offsets");
        assert_eq!(batch.base_time_ms, self.at.time_ms);
        self.next_seq += 1;
        let body = body_of(&batch.wire);
        let mut reader = BatchReader::new(&body).expect("a batch reads");
        assert_eq!(reader.alias(), self.alias.0);
        assert_eq!(reader.count(), u64::from(batch.messages));
        assert_eq!(reader.has_chat(), batch.has_chat());
        self.at.begin(&reader).expect("the check byte agrees");
        while let Some(item) = reader.next_item().expect("a batch reads to its end") {
            self.item(item);
        }
        assert_eq!(batch.next_offset, self.at.offset);
        assert_eq!(batch.time_ms, self.at.time_ms);
        if let Some(image) = &batch.snapshot {
            assert_eq!(image.version, self.version);
            assert_eq!(entries_of(image).2, self.state, "the image equals the replay of the changes");
        }
    }

    fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Message(m) => {
                let offset = self.at.message(&m);
                self.said.push(Said {
                    offset,
                    time_ms: self.at.time_ms,
                    author: m.author.into(),
                    text: m.text.into(),
                    reply_to: (m.reply_back > 0).then(|| offset - m.reply_back),
                });
            }
            Item::Removed(skip) => drop(self.at.entry(skip)),
            Item::Act(act) => drop(self.at.entry(act.skip)),
            Item::Omitted(n) => self.at.omitted(n),
            Item::Tally { key, count } => *self.tallies.entry(key.into()).or_default() += count,
            Item::StateVersion(version) => {
                assert!(version > self.version || self.version == 0, "versions rise");
                self.version = version;
            }
            Item::State(change) => {
                match change.value {
                    Some(value) => self.state.insert(change.key.into(), value.to_vec()),
                    None => self.state.remove(change.key),
                };
            }
        }
    }
}

fn frame(wire: &Bytes) -> Bytes {
    let (header, len) =
        stream::read_header(wire, limits::SERVER_FRAME_BYTES_MAX).unwrap().expect("a whole header");
    assert_eq!(header + len, wire.len());
    wire.slice(header..)
}

fn body_of(wire: &Bytes) -> Vec<u8> {
    match ServerFrame::decode(&frame(wire)) {
        Ok(ServerFrame::Batch(body)) => body.to_vec(),
        other => panic!("not a batch: {other:?}"),
    }
}

fn entries_of(image: &StateImage) -> (u32, u64, BTreeMap<String, Vec<u8>>) {
    let bytes = frame(&image.wire);
    let Ok(ServerFrame::Snapshot(s)) = ServerFrame::decode(&bytes) else { panic!("not a snapshot") };
    assert_eq!(s.version, image.version);
    let entries = s.entries.iter().map(|(key, value)| (key.to_string(), value.to_vec())).collect();
    (s.alias, s.epoch, entries)
}

fn read_image(image: &StateImage, a: &Attachment) -> (BTreeMap<String, Vec<u8>>, u64) {
    let (alias, epoch, entries) = entries_of(image);
    assert_eq!((alias, epoch), (a.alias.0, a.epoch));
    (entries, image.version)
}

/// A shard that is the only one, under a clock of the test's.
pub(crate) struct Stage {
    pub(crate) shard: Shard,
    pub(crate) clock: Clock,
    /// Outputs that were passed over.
    pub(crate) left: VecDeque<(WorkerId, Output)>,
}

pub(crate) const WORKERS: u16 = 4;

/// Who asks as an operator.
pub(crate) const OPERATOR: ReplyTo =
    ReplyTo { worker: WorkerId::of_node(0), connection: ConnectionToken(77) };

impl Stage {
    pub(crate) fn new(config: ShardConfig) -> Self {
        let shard = Shard::new(config, ShardId(0), 1, 7);
        Stage { shard, clock: Clock::start(), left: VecDeque::new() }
    }

    /// With rooms on a disk that syncs whatever it is given at once.
    pub(crate) fn durable(config: ShardConfig) -> Self {
        Stage::on(&Disk::prompt(), config)
    }

    /// With rooms on this disk, where those that it has come back.
    pub(crate) fn on(disk: &Disk, config: ShardConfig) -> Self {
        Stage::at(disk, config, Clock::start())
    }

    /// The same, begun at this time.
    pub(crate) fn at(disk: &Disk, config: ShardConfig, clock: Clock) -> Self {
        let config = ShardConfig { durability: Durability::Disk, ..config };
        let mut shard = Shard::new(config, ShardId(0), 1, 7).with_durable_log(Box::new(disk.log()));
        shard.restore(clock.now(), disk.stored());
        Stage { shard, clock, left: VecDeque::new() }
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.shard.handle_input(self.now(), input);
        self.shard.handle_news(self.now());
    }

    /// Let time pass, with every timeout at its own time.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        let end_us = self.now().us + ms * 1000;
        while let Some(us) = self.shard.poll_timeout().filter(|&us| us <= end_us) {
            self.clock.move_to_us(us);
            self.shard.handle_timeout(self.now());
            self.shard.handle_news(self.now());
            assert!(self.shard.poll_timeout().is_none_or(|us| us > self.now().us), "what was due is done");
        }
        self.clock.move_to_us(end_us);
    }

    pub(crate) fn outputs(&mut self) -> Vec<(WorkerId, Output)> {
        self.shard.handle_news(self.now());
        let new = std::iter::from_fn(|| self.shard.poll_output());
        self.left.drain(..).chain(new).collect()
    }

    /// Attach and take everything that was waiting; the attachment.
    pub(crate) fn attach(&mut self, worker: u16, room: &str) -> Result<Box<Attachment>, Refusal> {
        self.attach_by(worker, room, Opener::NODE)
    }

    /// As [`Self::attach`], on somebody's account.
    pub(crate) fn attach_by(
        &mut self,
        worker: u16,
        room: &str,
        opener: Opener,
    ) -> Result<Box<Attachment>, Refusal> {
        self.input(Input::Attach { worker: WorkerId(worker), room: room.into(), opener });
        let attached = self.outputs().into_iter().filter_map(|(_, output)| match output {
            Output::Attached { result, .. } => Some(result),
            _ => None,
        });
        attached.last().expect("an attach is answered")
    }

    pub(crate) fn admin(&mut self, request: AdminRequest) -> Result<AdminAnswer, Refusal> {
        self.ask(request);
        self.admin_answer().expect("answered at once")
    }

    pub(crate) fn set(&mut self, change: StateChange) {
        self.input(Input::SetState(Box::new(change)));
    }

    /// Ask as an operator, and leave the answer.
    pub(crate) fn ask(&mut self, request: AdminRequest) {
        self.input(Input::Admin { from: OPERATOR, request: Box::new(request) });
    }

    /// The operator's answer, if it came: other outputs stay.
    pub(crate) fn admin_answer(&mut self) -> Option<Result<AdminAnswer, Refusal>> {
        let outputs = self.outputs();
        self.left.extend(outputs);
        let is_answer = |(_, output): &(WorkerId, Output)| matches!(output, Output::Admin(_));
        let at = self.left.iter().position(is_answer)?;
        let Some((worker, Output::Admin(reply))) = self.left.remove(at) else { return None };
        assert_eq!(ReplyTo { worker, connection: reply.connection }, OPERATOR);
        Some(reply.answer)
    }

    pub(crate) fn room(&mut self, request: AdminRequest) -> RoomInfo {
        match self.admin(request) {
            Ok(AdminAnswer::Room(info)) => info,
            other => panic!("not a room: {other:?}"),
        }
    }

    pub(crate) fn counter(&mut self, name: &str) -> u64 {
        let Ok(AdminAnswer::Counters(list)) = self.admin(AdminRequest::Counters) else {
            panic!("no counters")
        };
        list.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no counter {name}")).1
    }

    /// Every answer that waits, with its worker; other outputs are dropped.
    pub(crate) fn answers(&mut self) -> Vec<(WorkerId, Answer)> {
        let outputs = self.outputs().into_iter();
        let some = outputs.filter_map(|(worker, output)| match output {
            Output::Answers(answers) => Some(answers.into_iter().map(move |answer| (worker, answer))),
            _ => None,
        });
        some.flatten().collect()
    }
}

pub(crate) fn publication(alias: Alias, worker: u16, user: u64, nonce: u64, text: &str) -> Box<Publication> {
    Box::new(Publication {
        from: ReplyTo { worker: WorkerId(worker), connection: ConnectionToken(user << 32 | nonce) },
        alias,
        user: UserId(user),
        person: PersonId::of_user(UserId(user)),
        nonce,
        age_ms: 0,
        author: format!("user {user}").into(),
        role: Role::Viewer,
        text: text.into(),
        attachment: "".into(),
        reply_to: None,
        exempt: false,
        is_bridged: false,
    })
}

pub(crate) fn batches(outputs: Vec<(WorkerId, Output)>, of: u16) -> Vec<Arc<Batch>> {
    let mine = outputs.into_iter().filter(|(worker, _)| *worker == WorkerId(of));
    let batches = mine.filter_map(|(_, output)| match output {
        Output::Batch { batch, .. } => Some(batch),
        _ => None,
    });
    batches.collect()
}

pub(crate) fn fixed() -> ShardConfig {
    ShardConfig { tick_ms: 100, ..ShardConfig::for_tests() }
}

pub(crate) fn stage() -> Stage {
    Stage::new(ShardConfig { viewers_every_ms: 0, ..fixed() })
}

/// A stage with one room that worker 0 follows.
pub(crate) fn followed(config: ShardConfig) -> (Stage, Alias, Follower) {
    follow(Stage::new(config))
}

/// The same over a log that answers for what it keeps.
pub(crate) fn followed_durably(config: ShardConfig) -> (Stage, Alias, Follower) {
    follow(Stage::durable(config))
}

pub(crate) fn follow(mut stage: Stage) -> (Stage, Alias, Follower) {
    let attachment = stage.attach(0, "show").expect("made on first use");
    let follower = Follower::attach(&attachment);
    (stage, attachment.alias, follower)
}

pub(crate) fn say(stage: &mut Stage, alias: Alias, user: u64, nonce: u64, text: &str) {
    stage.input(Input::Publish(publication(alias, 0, user, nonce, text)));
}

pub(crate) fn only_answer(stage: &mut Stage) -> AnswerKind {
    let answers = stage.answers();
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers[0].1.kind
}

pub(crate) fn refusal(kind: AnswerKind) -> (Refusal, Option<u32>) {
    match kind {
        AnswerKind::PublishRefused { reason, retry_after_ms, .. } => (reason, retry_after_ms),
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn offset(kind: AnswerKind) -> (u64, bool) {
    match kind {
        AnswerKind::Published { offset, repeated, .. } => (offset, repeated),
        other => panic!("not published: {other:?}"),
    }
}

/// An act of a moderator.
pub(crate) fn act(alias: Alias, request: u32, act: ActKind, target: Option<u64>) -> ActRequest {
    ActRequest {
        from: ReplyTo { worker: WorkerId(0), connection: ConnectionToken(u64::from(request)) },
        request,
        alias,
        by: Actor { user: UserId(900), person: PersonId(900), name: "Mo".into(), may_moderate: true },
        act,
        epoch: 0,
        target,
        seconds: 0,
        category: Category::Other,
        text: "".into(),
    }
}

/// A message or an act of a batch, with its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Said {
        offset: u64,
        author: String,
        text: String,
    },
    Removed(u64),
    /// With the offsets of the messages that it removes.
    Act(u64, Vec<u64>),
}

/// What a batch holds. Of what its acts remove those in `known`, by author and text.
pub(crate) fn entries(batch: &Batch, known: &BTreeMap<u64, (String, String)>) -> Vec<Entry> {
    let body = body_of(&batch.wire);
    let mut reader = BatchReader::new(&body).expect("a batch reads");
    let (mut all, mut offset) = (Vec::new(), batch.first_offset);
    while let Some(item) = reader.next_item().expect("a batch reads to its end") {
        match item {
            Item::Message(m) => {
                offset += m.skip;
                all.push(Entry::Said { offset, author: m.author.into(), text: m.text.into() });
            }
            Item::Removed(skip) => {
                offset += skip;
                all.push(Entry::Removed(offset));
            }
            Item::Act(act) => {
                offset += act.skip;
                let removal = act.removal(offset);
                let is_removed =
                    |(at, (author, _)): &(&u64, &(String, String))| removal.covers(offset, **at, author);
                let removed = known.iter().filter(is_removed).map(|(at, _)| *at);
                all.push(Entry::Act(offset, removed.collect()));
            }
            _ => continue,
        }
        offset += 1;
    }
    all
}
