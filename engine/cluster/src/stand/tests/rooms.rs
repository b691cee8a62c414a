//! Rooms over owner changes: whatever changed a room and was acknowledged is there under the next owner.
//!
//! Why by property: a room changes in many ways, is kept in two, and its owner changes in three. A mistake in
//! one combination loses a closing or a pin, and nobody notices until then.
//! Not here: what members are told (`edge/core`), ownership (`seat`).

use std::collections::BTreeMap;

use bytes::Bytes;
use grandstand_engine::SLOW_MODE_KEY;
use grandstand_engine::link::{
    AdminAnswer, AdminRequest, Alias, AnswerKind, Attachment, ConnectionToken, Input, Opener, Output,
    PersonId, Publication, ReplyTo, RoomInfo, RoomSettings, StateChange, UserId, WorkerId,
};
use grandstand_protocol::batch::{BatchReader, Item};
use grandstand_protocol::frame::{Durability, Phase, Role, ServerFrame};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::stream;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::hall::{Hall, NODES};

/// Rooms by name: in memory, replicated, and as the node's default says.
pub(super) const ROOMS: [&str; 3] = ["in memory", "kept", "default"];

const OPENER: Opener = Opener { person: PersonId(5), is_trusted: false };

/// What is done to a room.
#[derive(Clone, Debug)]
enum Step {
    Create(Option<Durability>),
    Remove,
    Close,
    Open,
    Configure(Option<u32>, Option<Durability>),
    SetState(u8, Option<u8>),
    Operate(u8, Option<u8>),
    SlowMode(u32),
    Publish,
}

/// How the owner changes while a step is on its way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    None,
    HandOver,
    /// The owner's process is killed, and comes back.
    Claim,
}

/// What is known of a room from what was acknowledged.
#[derive(Clone, Debug, Default)]
struct Known {
    exists: bool,
    is_closed: bool,
    settings: RoomSettings,
    state: BTreeMap<String, Vec<u8>>,
    /// Epoch, offset and text of each message, and whether it was acknowledged as replicated.
    said: Vec<(u64, u64, String, bool)>,
}

/// What a node's worker sees of a room.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) alias: Option<Alias>,
    pub(super) epoch: u64,
    pub(super) previous: Vec<(u64, u64)>,
    next_seq: u64,
    pub(super) next_offset: u64,
    is_closed: bool,
    state: BTreeMap<String, Vec<u8>>,
    pub(super) texts: BTreeMap<u64, String>,
    pub(super) is_removed: bool,
}

/// A hall with several rooms, and what their viewers see.
pub(super) struct Case {
    pub(super) hall: Hall,
    pub(super) seen: BTreeMap<(usize, &'static str), Seen>,
    known: BTreeMap<&'static str, Known>,
    number: u64,
    admin: BTreeMap<u64, Result<AdminAnswer, Refusal>>,
    pub(super) answers: Vec<AnswerKind>,
    /// Bytes of each text beside its number.
    pub(super) text_bytes: usize,
}

pub(super) fn worker(node: usize) -> WorkerId {
    WorkerId::new(node as u8, 0)
}

impl Case {
    pub(super) fn new(default: Durability) -> Case {
        let mut hall = Hall::of(default);
        hall.run_until(10_000, |hall| {
            hall.owner().is_some() && hall.nodes.iter().flatten().all(|node| node.viewer.alias.is_some())
        });
        let (seen, known, admin) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Case { hall, seen, known, number: 0, admin, answers: Vec::new(), text_bytes: 0 }
    }

    pub(super) fn attach(&mut self, node: usize, room: &'static str) {
        self.seen.insert((node, room), Seen::default());
        self.hall.input(node, Input::Attach { worker: worker(node), room: room.into(), opener: OPENER });
    }

    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.hall.run(1);
            for node in 0..NODES {
                let Some(process) = &mut self.hall.nodes[node] else { continue };
                let told = std::mem::take(&mut process.viewer.told);
                told.into_iter().for_each(|output| self.hear(node, output));
            }
        }
    }

    fn of_alias(&mut self, node: usize, alias: Alias) -> Option<&mut Seen> {
        let mut all = self.seen.iter_mut().filter(|((at, _), _)| *at == node);
        all.find(|(_, seen)| seen.alias == Some(alias) && !seen.is_removed).map(|(_, seen)| seen)
    }

    fn hear(&mut self, node: usize, output: Output) {
        match output {
            Output::Attached { room, result } => {
                let Some(name) = ROOMS.into_iter().find(|name| **name == *room) else { return };
                let Some(seen) = self.seen.get_mut(&(node, name)) else { return };
                match result {
                    Ok(attachment) => seen.attached(&attachment),
                    Err(refusal) => assert!(refusal.may_retry(), "{refusal:?}"),
                }
            }
            Output::Batch { alias, batch } => {
                if let Some(seen) = self.of_alias(node, alias) {
                    assert_eq!(batch.seq, seen.next_seq);
                    seen.next_seq += 1;
                    seen.next_offset = batch.next_offset;
                    seen.read(&batch.wire, batch.first_offset);
                }
            }
            Output::Phase { alias, phase, .. } => {
                if let Some(seen) = self.of_alias(node, alias) {
                    seen.is_closed = phase == Phase::Closed;
                }
            }
            Output::Removed { alias } => {
                if let Some(seen) = self.of_alias(node, alias) {
                    seen.is_removed = true;
                }
            }
            Output::Answers(answers) => self.answers.extend(answers.into_iter().map(|answer| answer.kind)),
            Output::Admin(reply) => {
                self.admin.insert(reply.connection.0, reply.answer);
            }
            Output::Personals(_) | Output::Notices(_) | Output::History { .. } => {}
        }
    }

    pub(super) fn wait_for(&mut self, holds: impl Fn(&Case) -> bool) {
        for _ in 0..15_000 {
            if holds(self) {
                return;
            }
            self.run(1);
        }
    }

    /// Ask as an operator, with the owner changing meanwhile. Was it done?
    pub(super) fn admin(&mut self, node: usize, request: AdminRequest, change: Change) -> bool {
        self.ask(node, request, change).is_some_and(|answer| answer.is_ok())
    }

    fn ask(
        &mut self,
        node: usize,
        request: AdminRequest,
        change: Change,
    ) -> Option<Result<AdminAnswer, Refusal>> {
        self.number += 1;
        let asked = 1_000_000 + self.number;
        let from = ReplyTo { worker: WorkerId::of_node(node as u8), connection: ConnectionToken(asked) };
        self.hall.input(node, Input::Admin { from, request: Box::new(request) });
        self.change(node, change);
        self.wait_for(|case| case.admin.contains_key(&asked));
        self.admin.remove(&asked)
    }

    /// The owner changes, but not away from a node that must not die.
    pub(super) fn change(&mut self, spared: usize, change: Change) {
        let Some(owner) = self.hall.owner() else { return };
        match change {
            Change::None => {}
            Change::HandOver => {
                self.run(self.number % 7);
                self.hall.hand_over(owner, (owner + 1) % NODES);
                self.run(10);
                self.wait_for(|case| case.hall.owner().is_some());
            }
            Change::Claim if owner == spared => {}
            Change::Claim => {
                self.run(self.number % 7);
                self.hall.kill(owner);
                self.run(20);
                self.hall.start(owner);
                self.seen.retain(|(at, _), _| *at != owner);
                self.wait_for(|case| case.hall.owner().is_some());
                for room in ROOMS {
                    if self.seen.contains_key(&((owner + 1) % NODES, room)) {
                        self.attach(owner, room);
                    }
                }
                self.run(300);
            }
        }
    }

    fn attach_all(&mut self, room: &'static str) {
        for at in 0..NODES {
            if !self.seen.contains_key(&(at, room)) && self.hall.nodes[at].is_some() {
                self.attach(at, room);
            }
        }
        self.run(200);
    }

    /// The outcome of a client's request; `false`: it was refused.
    fn outcome(&mut self, node: usize, change: Change, is_it: impl Fn(&AnswerKind) -> bool) -> AnswerKind {
        self.change(node, change);
        self.wait_for(|case| case.answers.iter().any(&is_it));
        let answer = self.answers.iter().find(|kind| is_it(kind));
        *answer.expect("every request has an outcome")
    }

    /// Publish, and wait for nothing.
    pub(super) fn say(&mut self, node: usize, room: &'static str) -> u64 {
        self.number += 1;
        self.say_as(self.number, node, room)
    }

    fn say_as(&mut self, person: u64, node: usize, room: &'static str) -> u64 {
        self.number += 1;
        let alias = self.seen[&(node, room)].alias.expect("attached");
        let mut publication = publication(node, alias, person, self.number);
        publication.text = (publication.text.to_string() + &"x".repeat(self.text_bytes)).into();
        self.hall.input(node, Input::Publish(Box::new(publication)));
        self.number
    }

    /// A person who spoke before publishes again.
    pub(super) fn publish_as(&mut self, person: u64, node: usize, room: &'static str) -> AnswerKind {
        let nonce = self.say_as(person, node, room);
        self.published(node, nonce, Change::None)
    }

    /// Publish as a person of whom nobody has heard. The nonce is the person's number.
    pub(super) fn publish(&mut self, node: usize, room: &'static str, change: Change) -> AnswerKind {
        let nonce = self.say_as(self.number + 1, node, room);
        self.published(node, nonce, change)
    }

    fn published(&mut self, node: usize, nonce: u64, change: Change) -> AnswerKind {
        self.outcome(node, change, |kind| match kind {
            AnswerKind::Published { nonce: of, .. } | AnswerKind::PublishRefused { nonce: of, .. } => {
                *of == nonce
            }
            _ => false,
        })
    }

    fn do_step(&mut self, node: usize, room: &'static str, step: &Step, change: Change) {
        self.number += 1;
        let name = || room.to_owned();
        let mut known = self.known.get(room).cloned().unwrap_or_default();
        let operate = |key: &str, value: &Option<Vec<u8>>| AdminRequest::SetState {
            room: name(),
            key: key.to_owned(),
            value: value.clone(),
        };
        match step {
            Step::Create(durability) => {
                let settings = RoomSettings { durability: *durability, ..RoomSettings::default() };
                let done = self.admin(node, AdminRequest::Create { room: name(), settings }, change);
                if done && !known.exists {
                    known = Known { exists: true, settings, ..Known::default() };
                }
                self.known.insert(room, known);
                return self.attach_all(room);
            }
            _ if !known.exists => return,
            Step::Remove => {
                // A node that did not hear of it says to the next owner that it follows the room, which makes
                // it anew on first use. Then it is removed once more.
                for change in [change, Change::None] {
                    let answer = self.ask(node, AdminRequest::Remove { room: name() }, change);
                    let is_gone = matches!(answer, Some(Ok(_) | Err(Refusal::UnknownRoom)));
                    assert!(is_gone, "{answer:?}");
                    self.run(300);
                }
                known = Known::default();
                self.seen.retain(|(_, of), _| *of != room);
            }
            Step::Close | Step::Open => {
                let is_closed = matches!(step, Step::Close);
                let request = match step {
                    Step::Close => AdminRequest::Close { room: name() },
                    _ => AdminRequest::Open { room: name() },
                };
                let done = self.admin(node, request, change);
                known.is_closed = if done { is_closed } else { self.look(node, room).phase == Phase::Closed };
            }
            Step::Configure(tick_max_ms, durability) => {
                let (tick_max_ms, durability) = (*tick_max_ms, *durability);
                let settings = RoomSettings { tick_max_ms, durability, ..RoomSettings::default() };
                let done = self.admin(node, AdminRequest::Configure { room: name(), settings }, change);
                known.settings = if done { settings } else { self.look(node, room).settings };
                if known.settings.durability != Some(Durability::Replicated) {
                    // What a room in memory holds ends with an owner that dies.
                    known.said.iter_mut().for_each(|(.., is_replicated)| *is_replicated = false);
                }
            }
            Step::Operate(key, value) => {
                let (key, value) = (format!("k{key}"), value.map(|value| vec![value; 3]));
                let done = self.admin(node, operate(&key, &value), change);
                known.set(done, key, value);
            }
            Step::SlowMode(ms) => {
                let value = Some(ms.to_string().into_bytes());
                let done = self.admin(node, operate(SLOW_MODE_KEY, &value), change);
                known.set(done, SLOW_MODE_KEY.to_owned(), value);
            }
            Step::SetState(key, value) => {
                let alias = self.seen[&(node, room)].alias.expect("attached");
                let (key, value) = (format!("k{key}"), value.map(|value| vec![value; 3]));
                let request = self.number as u32;
                let from = ReplyTo { worker: worker(node), connection: ConnectionToken(3) };
                let (said_key, said) = (key.clone().into(), value.clone().map(Bytes::from));
                let set = StateChange { from, request, alias, key: said_key, value: said };
                self.hall.input(node, Input::SetState(Box::new(set)));
                let answer = self.outcome(node, change, |kind| match kind {
                    AnswerKind::StateSet { request: of, .. }
                    | AnswerKind::StateRefused { request: of, .. } => *of == request,
                    _ => false,
                });
                known.set(matches!(answer, AnswerKind::StateSet { .. }), key, value);
            }
            Step::Publish => {
                let answer = self.publish(node, room, change);
                if let AnswerKind::Published { epoch, offset, durability, nonce, .. } = answer {
                    let is_replicated = durability == Durability::Replicated;
                    known.said.push((epoch, offset, format!("text {nonce}"), is_replicated));
                }
            }
        }
        self.known.insert(room, known);
    }

    fn rooms(&mut self, node: usize, prefix: &str) -> Vec<RoomInfo> {
        let list = AdminRequest::List { prefix: prefix.to_owned(), after: String::new(), limit: 9 };
        match self.ask(node, list, Change::None) {
            Some(Ok(AdminAnswer::Rooms(rooms))) => rooms,
            other => panic!("{other:?}"),
        }
    }

    /// The room as its owner has it.
    pub(super) fn look(&mut self, node: usize, room: &str) -> RoomInfo {
        self.rooms(node, room).into_iter().next().expect("the room is there")
    }

    /// Everything that was acknowledged is there, at every node.
    fn check(&mut self, node: usize) {
        self.run(300);
        for (room, known) in self.known.clone() {
            let rooms = self.rooms(node, room);
            assert_eq!(rooms.len(), usize::from(known.exists), "{room}: {rooms:?}");
            let Some(info) = rooms.first() else { continue };
            assert_eq!(info.phase == Phase::Closed, known.is_closed, "{room}");
            assert_eq!(info.settings, known.settings, "{room}");
            for at in 0..NODES {
                let Some(seen) = self.seen.get(&(at, room)) else { continue };
                assert_eq!(seen.alias, Some(info.alias), "{room} at node {at}");
                assert_eq!((seen.epoch, seen.is_closed), (info.epoch, known.is_closed), "{room}");
                for (key, value) in &known.state {
                    assert_eq!(seen.state.get(key), Some(value), "{room}: {key}");
                }
                for (epoch, offset, text, is_replicated) in &known.said {
                    let holds = *epoch == seen.epoch
                        || seen.previous.iter().any(|(of, until)| of == epoch && offset < until);
                    // A lineage has four epochs; what is older is there all the same.
                    assert!(!is_replicated || info.next_offset > *offset, "{room}: {text} is lost");
                    if let Some(found) = seen.texts.get(offset).filter(|_| holds || *is_replicated) {
                        assert_eq!(found, text, "{room}: offset {offset}");
                    }
                }
            }
        }
    }
}

fn publication(node: usize, alias: Alias, person: u64, nonce: u64) -> Publication {
    Publication {
        from: ReplyTo { worker: worker(node), connection: ConnectionToken(3) },
        alias,
        user: UserId(person),
        person: PersonId(person),
        nonce,
        age_ms: 0,
        author: "a".into(),
        role: Role::default(),
        text: format!("text {nonce}").into(),
        attachment: "".into(),
        reply_to: None,
        exempt: false,
        is_bridged: false,
    }
}

impl Known {
    /// A change of state was done, or it is not known whether it was.
    fn set(&mut self, done: bool, key: String, value: Option<Vec<u8>>) {
        match value.filter(|_| done) {
            Some(value) => self.state.insert(key, value),
            None => self.state.remove(&key),
        };
    }
}

impl Seen {
    fn attached(&mut self, attachment: &Attachment) {
        let Attachment { alias, epoch, next_seq, next_offset, batches, snapshot, phase, previous, .. } =
            attachment;
        if let Some(before) = self.alias {
            assert_eq!(before, *alias, "a room that is followed keeps its alias");
        }
        (self.alias, self.next_seq, self.next_offset) = (Some(*alias), *next_seq, *next_offset);
        self.is_closed = *phase == Phase::Closed;
        self.previous = previous.epochs().iter().map(|p| (p.epoch, p.next_offset)).collect();
        if self.epoch != 0 && self.epoch != *epoch {
            let held = self.previous.iter().find(|(of, _)| *of == self.epoch).map_or(0, |(_, until)| *until);
            self.texts.retain(|offset, _| *offset < held);
        }
        self.epoch = *epoch;
        self.state.clear();
        if let Some(image) = snapshot {
            let (header, _) = stream::read_header(&image.wire, usize::MAX).unwrap().unwrap();
            let Ok(ServerFrame::Snapshot(image)) = ServerFrame::decode(&image.wire[header..]) else {
                panic!("a snapshot")
            };
            self.state.extend(image.entries.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())));
        }
        for batch in batches.iter().filter(|batch| batch.has_chat()) {
            let state = self.state.clone();
            self.read(&batch.wire, batch.first_offset);
            self.state = state;
        }
    }

    fn read(&mut self, wire: &Bytes, first_offset: u64) {
        let (header, _) = stream::read_header(wire, usize::MAX).unwrap().unwrap();
        let mut reader = BatchReader::new(&wire[header + 1..]).unwrap();
        let mut offset = first_offset;
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Message(message) => {
                    let text = message.text.to_owned();
                    if let Some(before) = self.texts.insert(offset, text.clone()) {
                        assert_eq!(before, text, "offset {offset} is another message now");
                    }
                    offset += 1;
                }
                Item::State(change) => match change.value {
                    Some(value) => {
                        self.state.insert(change.key.to_owned(), value.to_vec());
                    }
                    None => {
                        self.state.remove(change.key);
                    }
                },
                _ => {}
            }
        }
    }
}

fn durability() -> impl Strategy<Value = Option<Durability>> {
    select(vec![None, Some(Durability::Memory), Some(Durability::Replicated)])
}

fn step() -> impl Strategy<Value = Step> {
    let value = proptest::option::weighted(0.8, any::<u8>());
    prop_oneof![
        2 => durability().prop_map(Step::Create),
        1 => Just(Step::Remove),
        2 => Just(Step::Close),
        2 => Just(Step::Open),
        2 => (proptest::option::of(1_000..2_000_u32), durability())
            .prop_map(|(tick, durability)| Step::Configure(tick, durability)),
        3 => (0..4_u8, value.clone()).prop_map(|(key, value)| Step::SetState(key, value)),
        2 => (0..4_u8, value).prop_map(|(key, value)| Step::Operate(key, value)),
        1 => (0..2_000_u32).prop_map(Step::SlowMode),
        4 => Just(Step::Publish),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![4 => Just(Change::None), 2 => Just(Change::HandOver), 2 => Just(Change::Claim)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn whatever_changed_a_room_and_was_acknowledged_is_there_under_the_next_owner(
        default in select(vec![Durability::Memory, Durability::Replicated]),
        steps in vec((0..ROOMS.len(), 0..NODES, step(), change()), 1..14),
    ) {
        let mut case = Case::new(default);
        let first = [Some(Durability::Memory), Some(Durability::Replicated), None];
        for (room, durability) in ROOMS.into_iter().zip(first) {
            case.do_step(0, room, &Step::Create(durability), Change::None);
        }
        for (room, node, step, change) in steps {
            case.do_step(node, ROOMS[room], &step, change);
            case.check(node);
        }
        case.change(usize::MAX, Change::HandOver);
        case.check(0);
        let spared = case.hall.owner().map_or(0, |owner| (owner + 1) % NODES);
        case.change(spared, Change::Claim);
        case.check(spared);
    }
}
