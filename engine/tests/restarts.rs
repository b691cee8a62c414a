//! Rooms on disk as a property: whatever is published, repeated, synced, refused, trimmed, killed or cut off
//! from power in whatever order, nothing that was acknowledged as on disk is lost, no nonce stands twice,
//! offsets have no holes, nothing that was seen is unseen but by a power cut which says so, and every request
//! is answered exactly once while its shard lives.
//!
//! Not here: single rules (`disk.rs`), the disk itself (`grandstand-store`).

mod support;

use std::collections::{HashMap, HashSet};

use grandstand_engine::ShardConfig;
use grandstand_engine::link::*;
use grandstand_protocol::refusal::Refusal;
use proptest::prelude::*;
use support::{Disk, Follower, Stage, publication};

const ROOMS: [&str; 2] = ["show/one", "show/two"];

#[derive(Clone, Debug)]
enum Step {
    Publish { room: usize, user: u64, nonce: u64 },
    SetState { room: usize, key: u8, value: u8 },
    History { room: usize, from: u64 },
    Pass { ms: u64 },
    WallClock { ms: i64 },
    Sync { entries: usize },
    Fail { is_failing: bool },
    HoldReads,
    AnswerReads,
    Leave { room: usize },
    Kill,
    CutPower,
}

fn step() -> impl Strategy<Value = Step> {
    let room = 0..ROOMS.len();
    prop_oneof![
        12 => (room.clone(), 0u64..2, 0u64..12).prop_map(|(room, user, nonce)| Step::Publish { room, user, nonce }),
        2 => (room.clone(), 0u8..3, 0u8..3).prop_map(|(room, key, value)| Step::SetState { room, key, value }),
        2 => (room.clone(), 0u64..20).prop_map(|(room, from)| Step::History { room, from }),
        6 => (0u64..30).prop_map(|ms| Step::Pass { ms }),
        1 => (100u64..4000).prop_map(|ms| Step::Pass { ms }),
        1 => (-3_600_000i64..3_600_000).prop_map(|ms| Step::WallClock { ms }),
        5 => (1usize..5).prop_map(|entries| Step::Sync { entries }),
        1 => any::<bool>().prop_map(|is_failing| Step::Fail { is_failing }),
        1 => Just(Step::HoldReads),
        1 => Just(Step::AnswerReads),
        1 => room.prop_map(|room| Step::Leave { room }),
        1 => Just(Step::Kill),
        1 => Just(Step::CutPower),
    ]
}

fn config() -> ShardConfig {
    ShardConfig {
        tick_ms: 10,
        // Small, so that memory ends before the log does, rooms go dormant and answers come too late.
        ring_batches_max: 3,
        history_batches_max: 4,
        pending_messages_max: 6,
        answers_held_max: 12,
        batch_bytes_max: 300,
        answer_within_ms: 300,
        idle_ms: 500,
        nonce_window_ms: 2000,
        viewers_every_ms: 0,
        ..ShardConfig::for_tests()
    }
}

/// What a request asks, and where.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Publish { room: usize, user: u64, nonce: u64 },
    SetState { room: usize, key: u8, value: u8 },
}

struct World {
    disk: Disk,
    stage: Stage,
    // By room: its reader, which sees every batch.
    readers: Vec<Option<Follower>>,
    // By room: what was seen in the log of today, by offset: user and nonce.
    seen: Vec<Vec<(u64, u64)>>,
    epochs: Vec<u64>,
    // Requests of this shard that are not answered.
    asked: HashMap<ConnectionToken, Asked>,
    pages: HashSet<u64>,
    // Acknowledged as on disk: room, user, nonce; and where.
    safe: HashMap<(usize, u64, u64), u64>,
    states: HashMap<(usize, u8), Vec<u8>>,
    next: u64,
    cuts: u64,
    // Nonces are remembered for a time: each is tried within it only.
    base: u64,
}

impl World {
    fn new() -> Self {
        let disk = Disk::default();
        let stage = Stage::on(&disk, config());
        let none = || (0..ROOMS.len()).map(|_| None).collect();
        World {
            disk,
            stage,
            readers: none(),
            seen: vec![Vec::new(); ROOMS.len()],
            epochs: vec![0; ROOMS.len()],
            asked: HashMap::new(),
            pages: HashSet::new(),
            safe: HashMap::new(),
            states: HashMap::new(),
            next: 0,
            cuts: 0,
            base: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { room, user, nonce } => {
                let alias = self.follow(room);
                let nonce = self.base + nonce;
                let connection = self.connection(Asked::Publish { room, user, nonce });
                let text = format!("{user} {nonce}");
                let from = ReplyTo { worker: WorkerId(0), connection };
                let said = Publication { from, ..*publication(alias, 0, user, nonce, &text) };
                self.stage.input(Input::Publish(Box::new(said)));
            }
            Step::SetState { room, key, value } => {
                let alias = self.follow(room);
                let connection = self.connection(Asked::SetState { room, key, value });
                let from = ReplyTo { worker: WorkerId(0), connection };
                let (name, value) = (format!("k{key}").into(), Some(vec![value].into()));
                let change = StateChange { from, request: 1, alias, key: name, value };
                self.stage.input(Input::SetState(Box::new(change)));
            }
            Step::History { room, from } => {
                let alias = self.follow(room);
                self.next += 1;
                let (worker, request, of) = (WorkerId(0), self.next, PageOf::Shown);
                self.pages.insert(request);
                let epoch = self.epochs[room];
                self.stage.input(Input::History { worker, request, alias, epoch, from, of });
            }
            Step::Pass { ms } => {
                self.stage.pass_ms(ms);
                // A nonce is not used beyond its window.
                self.base += 12 * u64::from(ms >= 100);
            }
            Step::WallClock { ms } => {
                self.stage.clock.step_wall_ms(ms);
            }
            Step::Sync { entries } => self.disk.sync(entries),
            Step::Fail { is_failing } => self.disk.fail(is_failing),
            Step::HoldReads => self.disk.hold_reads(),
            Step::AnswerReads => self.disk.answer_reads(),
            Step::Leave { room } => {
                // Having seen what was said.
                self.stage.pass_ms(20);
                self.take_outputs();
                if let Some(reader) = self.readers[room].take() {
                    self.stage.input(Input::Detach { worker: WorkerId(0), alias: reader.alias });
                }
            }
            Step::Kill => {
                self.take_outputs();
                self.disk.kill();
                self.restart();
            }
            Step::CutPower => {
                self.take_outputs();
                self.cuts += 1;
                self.disk.cut_power(self.cuts);
                for (room, name) in ROOMS.iter().enumerate() {
                    // What was seen and not synced is lost; what was acknowledged must not be.
                    let stored = self.disk.room(name);
                    let held = stored.as_ref().map_or(0, |stored| stored.next_offset);
                    self.seen[room].truncate(held as usize);
                    if let Some(stored) = stored.filter(|_| self.epochs[room] > 0) {
                        let previous = stored.previous.epochs()[0];
                        // Another log, if its removal was lost: one in which nobody ever spoke.
                        assert!(previous.epoch == self.epochs[room] || held == 0);
                        assert_eq!(previous.next_offset, held);
                        self.epochs[room] = stored.room.epoch;
                    }
                }
                self.restart();
            }
        }
        self.take_outputs();
    }

    fn connection(&mut self, asked: Asked) -> ConnectionToken {
        self.next += 1;
        let connection = ConnectionToken(self.next);
        self.asked.insert(connection, asked);
        connection
    }

    /// The process is gone with all that it was asked; the next one has what the disk has.
    fn restart(&mut self) {
        let clock = self.stage.clock;
        self.stage = Stage::on(&self.disk, config());
        self.stage.clock = clock.of_next_process();
        self.asked.clear();
        self.pages.clear();
        self.readers.iter_mut().for_each(|reader| *reader = None);
    }

    /// Follow a room, if it is not followed: where it stands is where it stood.
    fn follow(&mut self, room: usize) -> Alias {
        self.take_outputs();
        if let Some(reader) = &self.readers[room] {
            return reader.alias;
        }
        let input = Input::Attach { worker: WorkerId(0), room: ROOMS[room].into(), opener: Opener::NODE };
        self.stage.input(input);
        self.take_outputs();
        self.readers[room].as_ref().expect("attached").alias
    }

    fn attached(&mut self, name: &str, a: &Attachment) {
        let room = ROOMS.iter().position(|r| *r == name).expect("one of ours");
        let is_same = a.epoch == self.epochs[room];
        if !is_same {
            assert!(!self.safe.keys().any(|(r, ..)| *r == room), "a log with acknowledged messages is gone");
            self.seen[room].clear();
        }
        self.epochs[room] = a.epoch;
        assert_eq!(a.next_offset, self.seen[room].len() as u64, "it goes on where it stood");
        let reader = Follower::attach(a);
        for said in &reader.said {
            assert_eq!(self.seen[room][said.offset as usize], who(&said.text));
        }
        self.readers[room] = Some(reader);
    }

    fn take_outputs(&mut self) {
        for (_, output) in self.stage.outputs() {
            match output {
                Output::Attached { room, result } => {
                    let attachment = result.expect("rooms may come into being");
                    self.attached(&room, &attachment);
                }
                Output::Batch { alias, batch } => self.batch(alias, &batch),
                Output::Answers(answers) => answers.iter().for_each(|answer| self.answer(*answer)),
                Output::History { request, page } => {
                    assert!(self.pages.remove(&request), "a page twice");
                    let pairs = || page.batches.windows(2);
                    assert!(pairs().all(|pair| pair[0].next_offset == pair[1].first_offset));
                }
                other => panic!("nothing of that kind: {other:?}"),
            }
        }
    }

    fn batch(&mut self, alias: Alias, batch: &Batch) {
        let room = self.readers.iter().position(|r| r.as_ref().is_some_and(|r| r.alias == alias));
        let Some(room) = room else { return };
        let reader = self.readers[room].as_mut().expect("just found");
        let before = reader.said.len();
        reader.take(batch);
        for said in &reader.said[before..] {
            assert_eq!(said.offset, self.seen[room].len() as u64);
            assert!(!self.seen[room].contains(&who(&said.text)), "a nonce stands twice");
            self.seen[room].push(who(&said.text));
        }
    }

    fn answer(&mut self, answer: Answer) {
        let asked = self.asked.remove(&answer.connection).expect("answered once");
        match (asked, answer.kind) {
            (Asked::Publish { room, user, nonce }, AnswerKind::Published { nonce: n, offset, .. }) => {
                assert_eq!(n, nonce);
                let stored = self.disk.room(ROOMS[room]).expect("on disk");
                assert!(stored.next_offset > offset, "acknowledged and not synced");
                assert_eq!(*self.safe.entry((room, user, nonce)).or_insert(offset), offset, "one place");
            }
            (Asked::SetState { room, key, value }, AnswerKind::StateSet { .. }) => {
                self.states.entry((room, key)).or_default().push(value);
                let stored = self.disk.room(ROOMS[room]).expect("on disk");
                assert!(stored.state.iter().any(|(k, _)| **k == format!("k{key}")));
            }
            (_, AnswerKind::PublishRefused { reason, retry_after_ms, .. }) => {
                let is_later = matches!(reason, Refusal::StorageUnavailable | Refusal::Overloaded);
                assert!(is_later && retry_after_ms.is_some(), "{reason:?}");
            }
            (_, AnswerKind::StateRefused { .. }) => {}
            (asked, kind) => panic!("{kind:?} does not answer {asked:?}"),
        }
    }

    fn finish(mut self) {
        self.stage.pass_ms(2 * config().answer_within_ms);
        self.take_outputs();
        assert!(self.asked.is_empty() && self.pages.is_empty(), "everything is answered, disk or not");
        self.disk.fail(false);
        self.disk.sync(usize::MAX);
        self.take_outputs();
        for (&(room, user, nonce), &offset) in &self.safe {
            assert_eq!(self.seen[room].get(offset as usize), Some(&(user, nonce)), "acknowledged and lost");
        }
        for (room, name) in ROOMS.iter().enumerate() {
            let Some(stored) = self.disk.room(name) else { continue };
            assert_eq!(stored.next_offset, stored.oldest_offset + stored.nonces.len() as u64);
            let kept: Vec<_> = stored.nonces.iter().map(|n| (n.user.0, n.nonce)).collect();
            assert!(self.seen[room].ends_with(&kept), "what is stored is what was seen");
        }
    }
}

/// User and nonce: every text says them.
fn who(text: &str) -> (u64, u64) {
    let (user, nonce) = text.split_once(' ').expect("two numbers");
    (user.parse().expect("a number"), nonce.parse().expect("a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_and_nothing_stands_twice(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.finish();
    }
}
