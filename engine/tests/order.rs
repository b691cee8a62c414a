//! Room order as a property: whatever workers, publications, reactions, state changes and times come in,
//! whoever follows reads the same log without holes, and every publication is answered once, with the place
//! where its text stands: over a log in memory maybe before it stands there, over a durable one after.
//!
//! Not here: single rules (`rules.rs`), threads (`node.rs`).

mod support;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use grandstand_engine::ShardConfig;
use grandstand_engine::link::*;
use grandstand_protocol::frame::Durability;
use proptest::prelude::*;
use support::{Follower, Said, Stage, WORKERS, publication};

/// Follows everything from the start and never leaves.
const WITNESS: u16 = WORKERS - 1;

const ROOMS: [&str; 2] = ["show/one", "show/two"];

#[derive(Clone, Debug)]
enum Step {
    Attach { worker: u16, room: usize },
    Detach { worker: u16, room: usize },
    Viewers { worker: u16, room: usize, count: u32 },
    Publish { worker: u16, room: usize, user: u64, nonce: u64, long: bool, reply_to: Option<u64> },
    React { room: usize, key: u8, count: u64 },
    SetState { worker: u16, room: usize, key: u8, value: Option<u8> },
    Pass { ms: u64 },
    WallClock { back_ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (worker, room) = (0..WITNESS, 0..ROOMS.len());
    let reply_to = prop::option::of(0u64..20);
    prop_oneof![
        1 => (worker.clone(), room.clone()).prop_map(|(worker, room)| Step::Attach { worker, room }),
        1 => (worker.clone(), room.clone()).prop_map(|(worker, room)| Step::Detach { worker, room }),
        1 => (worker.clone(), room.clone(), 0u32..50)
            .prop_map(|(worker, room, count)| Step::Viewers { worker, room, count }),
        8 => (worker.clone(), room.clone(), 0u64..3, 0u64..15, prop::bool::weighted(0.2), reply_to).prop_map(
            |(worker, room, user, nonce, long, reply_to)| Step::Publish { worker, room, user, nonce, long, reply_to },
        ),
        2 => (room.clone(), 0u8..6, 1u64..9).prop_map(|(room, key, count)| Step::React { room, key, count }),
        2 => (worker, room, 0u8..5, prop::option::of(0u8..3))
            .prop_map(|(worker, room, key, value)| Step::SetState { worker, room, key, value }),
        4 => (0u64..25).prop_map(|ms| Step::Pass { ms }),
        1 => (0u64..5000).prop_map(|back_ms| Step::WallClock { back_ms }),
    ]
}

fn config(leading_edge: bool) -> ShardConfig {
    ShardConfig {
        tick_ms: 10,
        leading_edge,
        // Small, so that rings, histories, waits and batches all run full.
        ring_batches_max: 5,
        history_batches_max: 9,
        pending_messages_max: 8,
        batch_bytes_max: 400,
        tally_keys_max: 4,
        tally_top: 2,
        state_keys_max: 3,
        viewers_every_ms: 30,
        ..ShardConfig::for_tests()
    }
}

/// What was asked, by connection: each request has its own.
#[derive(Debug)]
enum Asked {
    Publish { room: usize, user: u64, nonce: u64 },
    SetState { request: u32 },
}

struct World {
    stage: Stage,
    aliases: Vec<Alias>,
    // By worker and room.
    followers: BTreeMap<(WorkerId, Alias), Follower>,
    // By room: what the witness read.
    log: Vec<Vec<Said>>,
    asked: HashMap<ConnectionToken, Asked>,
    answered: HashMap<ConnectionToken, AnswerKind>,
    // Answers that came before their batch: room, user, nonce, offset and time.
    promised: Vec<(usize, u64, u64, u64, u64)>,
    // Texts by room, user and nonce in the order in which they were tried.
    tried: HashMap<(usize, u64, u64), Vec<String>>,
    reactions: u64,
    next_connection: u64,
    is_durable: bool,
}

impl World {
    fn new(leading_edge: bool, is_durable: bool) -> Self {
        let config = config(leading_edge);
        let mut stage = if is_durable { Stage::durable(config) } else { Stage::new(config) };
        let mut followers = BTreeMap::new();
        let attach = |room: &&str| {
            let attachment = stage.attach(WITNESS, room).expect("made on first use");
            followers.insert((WorkerId(WITNESS), attachment.alias), Follower::attach(&attachment));
            attachment.alias
        };
        let aliases: Vec<Alias> = ROOMS.iter().map(attach).collect();
        World {
            stage,
            log: aliases.iter().map(|_| Vec::new()).collect(),
            aliases,
            followers,
            asked: HashMap::new(),
            answered: HashMap::new(),
            promised: Vec::new(),
            tried: HashMap::new(),
            reactions: 0,
            next_connection: 0,
            is_durable,
        }
    }

    fn connection(&mut self, asked: Asked) -> ConnectionToken {
        self.next_connection += 1;
        let connection = ConnectionToken(self.next_connection);
        self.asked.insert(connection, asked);
        connection
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Attach { worker, room } => {
                self.stage.input(Input::Attach {
                    worker: WorkerId(worker),
                    room: ROOMS[room].into(),
                    opener: Opener::NODE,
                });
            }
            Step::Detach { worker, room } => {
                let (worker, alias) = (WorkerId(worker), self.aliases[room]);
                // Outputs already on the way still count.
                self.take_outputs();
                self.followers.remove(&(worker, alias));
                self.stage.input(Input::Detach { worker, alias });
            }
            Step::Viewers { worker, room, count } => {
                let alias = self.aliases[room];
                self.stage.input(Input::Viewers { worker: WorkerId(worker), alias, count });
            }
            Step::Publish { worker, room, user, nonce, long, reply_to } => {
                self.publish(worker, room, (user, nonce), long, reply_to);
            }
            Step::React { room, key, count } => {
                self.reactions += count;
                let tallies = vec![(format!("k{key}").into(), count)];
                self.stage.input(Input::React { alias: self.aliases[room], tallies });
            }
            Step::SetState { worker, room, key, value } => {
                let request = self.next_connection as u32;
                let connection = self.connection(Asked::SetState { request });
                let (key, value) = (format!("s{key}").into(), value.map(|v| Bytes::from(vec![v])));
                let from = ReplyTo { worker: WorkerId(worker), connection };
                let change = StateChange { from, request, alias: self.aliases[room], key, value };
                self.stage.input(Input::SetState(Box::new(change)));
            }
            Step::Pass { ms } => self.stage.pass_ms(ms),
            Step::WallClock { back_ms } => self.stage.clock.step_wall_ms(-(back_ms as i64)),
        }
        self.take_outputs();
    }

    fn publish(
        &mut self,
        worker: u16,
        room: usize,
        (user, nonce): (u64, u64),
        long: bool,
        reply_to: Option<u64>,
    ) {
        let tried = self.tried.entry((room, user, nonce)).or_default();
        let tail = if long { "x".repeat(200) } else { String::new() };
        let text = format!("room {room} user {user} nonce {nonce} try {}{tail}", tried.len());
        tried.push(text.clone());
        let mut publication = publication(self.aliases[room], worker, user, nonce, &text);
        publication.from.connection = self.connection(Asked::Publish { room, user, nonce });
        publication.reply_to = reply_to;
        self.stage.input(Input::Publish(publication));
    }

    fn take_outputs(&mut self) {
        for (worker, output) in self.stage.outputs() {
            match output {
                Output::Attached { result, .. } => {
                    let attachment = result.expect("the room exists");
                    self.followers.insert((worker, attachment.alias), Follower::attach(&attachment));
                }
                Output::Batch { alias, batch } => {
                    let follower =
                        self.followers.get_mut(&(worker, alias)).expect("only followers get batches");
                    follower.take(&batch);
                    if worker == WorkerId(WITNESS) {
                        let room = self.aliases.iter().position(|a| *a == alias).expect("one of ours");
                        self.log[room].clone_from(&follower.said);
                    }
                }
                Output::Answers(answers) => {
                    answers.into_iter().for_each(|answer| self.answer(worker, answer));
                }
                other => panic!("nothing of that kind: {other:?}"),
            }
        }
    }

    fn answer(&mut self, _worker: WorkerId, answer: Answer) {
        let before = self.answered.insert(answer.connection, answer.kind);
        assert!(before.is_none(), "answered twice: {before:?} and {answer:?}");
        match (&self.asked[&answer.connection], answer.kind) {
            (
                &Asked::Publish { room, user, nonce: asked },
                AnswerKind::Published { nonce, offset, time_ms, durability, .. },
            ) => {
                assert_eq!(nonce, asked);
                if durability == Durability::Memory {
                    self.promised.push((room, user, nonce, offset, time_ms));
                } else {
                    let said =
                        self.log[room].get(offset as usize).expect("the batch comes before the answer");
                    assert_eq!(said.time_ms, time_ms);
                    self.stands(room, user, nonce, offset);
                }
            }
            (Asked::Publish { nonce: asked, .. }, AnswerKind::PublishRefused { nonce, .. }) => {
                assert_eq!(nonce, *asked);
            }
            (Asked::SetState { request: asked }, AnswerKind::StateSet { request, .. }) => {
                assert_eq!(request, *asked);
            }
            (Asked::SetState { request: asked }, AnswerKind::StateRefused { request, .. }) => {
                assert_eq!(request, *asked);
            }
            (asked, kind) => panic!("{kind:?} does not answer {asked:?}"),
        }
    }

    /// What was answered for a nonce stands there.
    fn stands(&self, room: usize, user: u64, nonce: u64, offset: u64) {
        let said = &self.log[room][offset as usize];
        assert_eq!(said.offset, offset);
        assert!(self.tried[&(room, user, nonce)].contains(&said.text), "someone else's text stands there");
    }

    fn finish(&mut self) {
        self.stage.pass_ms(1000);
        self.take_outputs();
        for &(room, user, nonce, offset, time_ms) in &self.promised {
            self.stands(room, user, nonce, offset);
            assert!(self.log[room][offset as usize].time_ms >= time_ms, "a batch before its answer's time");
        }
        assert_eq!(self.answered.len(), self.asked.len(), "everything is answered");
        self.check_publications();
        self.check_followers();
        let told = self.followers.iter().filter(|((worker, _), _)| worker.0 == WITNESS);
        assert_eq!(told.map(|(_, f)| f.tallies.values().sum::<u64>()).sum::<u64>(), self.reactions);
        for room in 0..ROOMS.len() {
            self.check_history(room);
        }
    }

    /// Each thing said stands once, was acknowledged once as new, and every repetition names the same offset.
    fn check_publications(&self) {
        let mut offsets: HashMap<(usize, u64, u64), u64> = HashMap::new();
        let mut new: Vec<usize> = vec![0; ROOMS.len()];
        for (connection, kind) in &self.answered {
            let Asked::Publish { room, user, nonce } = self.asked[connection] else { continue };
            if let AnswerKind::Published { offset, repeated, .. } = *kind {
                assert_eq!(
                    *offsets.entry((room, user, nonce)).or_insert(offset),
                    offset,
                    "one nonce, one place"
                );
                new[room] += usize::from(!repeated);
            }
        }
        for (room, log) in self.log.iter().enumerate() {
            assert_eq!(new[room], log.len(), "what stands was acknowledged as new, once");
            assert_eq!(offsets.keys().filter(|(r, ..)| *r == room).count(), log.len());
            for (offset, said) in log.iter().enumerate() {
                assert_eq!(said.offset, offset as u64);
                assert!(said.reply_to.is_none_or(|to| to < said.offset));
            }
            assert!(log.windows(2).all(|pair| pair[0].time_ms <= pair[1].time_ms));
        }
    }

    /// Everybody has read the same, as far as each has been there, and stands at the same place with the same
    /// state.
    fn check_followers(&self) {
        for ((_, alias), follower) in &self.followers {
            let room = self.aliases.iter().position(|a| a == alias).expect("one of ours");
            let witness = &self.followers[&(WorkerId(WITNESS), *alias)];
            let first = follower.said.first().map_or(self.log[room].len(), |said| said.offset as usize);
            assert_eq!(follower.said, self.log[room][first..]);
            assert_eq!((follower.next_seq, follower.at), (witness.next_seq, witness.at));
            assert_eq!((&follower.state, follower.version), (&witness.state, witness.version));
        }
    }

    /// Pages from any offset give the rest of the log from there, or from the oldest that is kept.
    fn check_history(&mut self, room: usize) {
        let (alias, worker) = (self.aliases[room], WorkerId(0));
        let epoch = self.followers[&(WorkerId(WITNESS), alias)].at.epoch;
        let head = self.log[room].len() as u64;
        for start in 0..=head {
            let (mut from, mut is_first) = (start, true);
            while from < head || is_first {
                let input = Input::History { worker, request: from, alias, epoch, from, of: PageOf::Shown };
                self.stage.input(input);
                let Some((_, Output::History { request, page })) = self.stage.outputs().pop() else {
                    panic!("no page")
                };
                assert_eq!((request, page.same_epoch), (from, true));
                let Some((first, last)) = page.batches.first().zip(page.batches.last()) else {
                    assert_eq!(from, head, "an empty page is the end");
                    break;
                };
                assert!(first.next_offset > from && page.batches.iter().all(|batch| batch.has_chat()));
                // On disk nothing is forgotten, and nothing is between two pages.
                assert!(first.first_offset <= from || (is_first && !self.is_durable));
                let mut pairs = page.batches.windows(2);
                assert!(pairs.all(|pair| pair[0].next_offset == pair[1].first_offset), "a hole");
                (from, is_first) = (last.next_offset, false);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everyone_reads_the_same_log_and_every_answer_is_true(
        leading_edge in any::<bool>(),
        is_durable in any::<bool>(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new(leading_edge, is_durable);
        steps.iter().for_each(|step| world.step(step));
        world.finish();
    }
}
